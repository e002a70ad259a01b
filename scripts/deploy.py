"""Deploy Ballast: `ape run deploy --network ethereum:local:foundry`, or any node's URL as the network."""

from pathlib import Path

import click
from ape.cli import account_option

from offchain.chain.ape import chain_of, signer_of
from offchain.commands.connected import Connected
from offchain.commands.options import out_option, price_options, settings_of
from offchain.operate import Market, deploy


@click.command(cls=Connected)
@account_option()
@price_options
@out_option
@click.option("--token", help="Settlement token; without it a test token that anyone may mint is deployed.")
def cli(provider, account, prices, at, out: Path, token):  # type: ignore[no-untyped-def]
    """Deploy every contract, seat a committee, list instruments; write OUT/deployment.json."""
    chain = chain_of(provider)
    settings = settings_of(out)
    system = deploy(chain, signer_of(account, provider), settings, Market.load(prices, at), token)
    for name in ("registry", "committee", "oracle", "ledger", "clearing", "liquidator", "token"):
        click.echo(f"{name:<11} {getattr(system, name).address}")
    click.echo(f"written to {settings.deployment}; the committee's keys are in {settings.out / 'committee.json'}")
