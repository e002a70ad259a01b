"""The demo on the network that Ape is connected to: `ape run demo --network ethereum:local:foundry`."""

from pathlib import Path

import click

from offchain.chain.ape import chain_of
from offchain.commands.connected import Connected
from offchain.commands.options import price_options
from offchain.demo.plan import Plan
from offchain.demo.run import run_demo


@click.command(cls=Connected)
@price_options
@click.option("--start", default="2020-03-11", show_default=True, help="First hour, UTC.")
@click.option("--hours", default=72, show_default=True, help="Hours to replay.")
@click.option("--accounts", "owners", default=60, show_default=True, help="Accounts that trade.")
@click.option("--seed", default=7, show_default=True, help="Seed of all chance.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/demo"), show_default=True, help="Folder.")
def cli(provider, prices, at, start, hours, owners, seed, out):  # type: ignore[no-untyped-def]
    """Replay a crash on a local chain and verify every number (needs a chain whose time can be set)."""
    result = run_demo(Plan(prices, start, hours, owners, seed, out), click.echo, chain_of(provider))
    for label, value in result.summary:
        click.echo(f"{label:<32}{value}")
    click.echo(f"report: {result.report}")
    click.echo(result.verification.line())
    if not result.verification.ok:
        raise SystemExit(1)
