"""The command `ballast`. Exit codes: 0 done, 1 a verification found a mismatch, 2 bad input or environment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from offchain.commands.attack import attack
from offchain.commands.backtest import backtest
from offchain.commands.calibrate import calibrate
from offchain.commands.compare import compare
from offchain.commands.compress import compress
from offchain.commands.margin import margin
from offchain.commands.options import prices_option
from offchain.commands.simulate import simulate
from offchain.commands.stress import stress
from offchain.config import BallastError


class Group(click.Group):
    """Shows `BallastError` as one line and exits with its code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BallastError as error:
            click.echo(f"ballast: {error}", err=True)
            sys.exit(error.exit_code)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ballast")
def main() -> None:
    """On-chain margin that can be checked: replay a crash, run a keeper, audit a deployment.

    \b
    Examples:
      ballast demo                                   a synthetic crash on a local chain
      ballast demo --prices BTC=FILE --prices ETH=FILE --start 2020-03-11 --hours 72
      ballast verify --rpc URL                       recompute everything that a deployment posted
      ballast margin docs/examples/book.json --model ballast --explain
      ballast compare docs/examples/book.json        the same book under every model
      ballast stress docs/examples/book.json         what breaks it
      ballast compress docs/examples/books.json      trades that lower everybody's margin
      ballast attack                                 search for a sequence that robs the contracts
      ballast backtest --prices BTC=FILE             margin models on real days
      ballast calibrate --prices BTC=FILE            volatility, scan ranges, haircuts
      ballast simulate black-thursday                a market failure on the real contracts, and what held
    Every command explains itself with --help.
    """


def _progress(quiet: bool) -> Callable[[str], None]:
    def show(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    return show


@main.command()
@prices_option
@click.option("--start", default="2020-03-11", show_default=True, help="First hour, UTC.")
@click.option("--hours", default=72, show_default=True, help="Hours to replay.")
@click.option("--accounts", default=60, show_default=True, help="Accounts that trade.")
@click.option("--seed", default=7, show_default=True, help="Seed of all chance.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/demo"), show_default=True, help="Folder.")
@click.option("--tamper", type=click.Choice(["leaf", "root", "cash", "signature"]), help="Plant a fault to be found.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="No progress.")
def demo(
    prices: dict[str, Path],
    start: str,
    hours: int,
    accounts: int,
    seed: int,
    out: Path,
    tamper: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Replay a crash on a local chain and verify every number.

    Deploys the contracts, opens a two-sided market among random accounts, posts a signed epoch every hour, lets a
    keeper liquidate, lets healthy accounts withdraw, recomputes everything from chain events and bundles, and writes an
    HTML report. Without --prices it replays a synthetic crash.

    \b
    Examples:
      ballast demo
      ballast demo --prices BTC=btc_1h.csv --prices ETH=eth_1h.csv --start 2020-03-11 --hours 72 --json
      ballast demo --tamper leaf          exits with 1 and names the leaf
    """
    from offchain.demo.plan import Plan
    from offchain.demo.run import run_demo

    plan = Plan(prices, start, hours, accounts, seed, out, tamper or "")
    result = run_demo(plan, _progress(quiet))
    if as_json:
        click.echo(json.dumps(result.figures, indent=2))
    else:
        width = max(len(label) for label, _ in result.summary)
        for label, value in result.summary:
            click.echo(f"{label:<{width}}  {value}")
        for mismatch in result.verification.mismatches:
            click.echo(f"mismatch: {mismatch}")
        click.echo(f"report: {result.report}")
        click.echo(result.verification.line())
    sys.exit(0 if result.verification.ok else 1)


@main.command()
@click.option("--rpc", default="http://127.0.0.1:8545", show_default=True, help="URL of the node.")
@click.option("--deployment", type=click.Path(path_type=Path), default=Path("out/deployment.json"), show_default=True)
@click.option("--bundles", type=click.Path(path_type=Path), default=Path("out/bundles"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(rpc: str, deployment: Path, bundles: Path, as_json: bool) -> None:
    """Recompute everything that a deployment posted, from chain events and bundles.

    \b
    Example:
      ballast verify --rpc http://127.0.0.1:8545 --deployment out/deployment.json --bundles out/bundles
    """
    from offchain.audit.record import read_record
    from offchain.audit.verify import verify as run
    from offchain.chain.system import System
    from offchain.chain.web3_chain import Web3Chain

    if not bundles.is_dir():
        raise BallastError(f"no bundles at {bundles}: name the folder with --bundles")
    record = read_record(System.load(Web3Chain.connect(rpc), deployment), bundles)
    found = run(record)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        for mismatch in found.mismatches:
            click.echo(f"mismatch: {mismatch}")
        click.echo(found.line())
    sys.exit(0 if found.ok else 1)


main.add_command(margin)
main.add_command(compare)
main.add_command(compress)
main.add_command(attack)
main.add_command(backtest)
main.add_command(calibrate)
main.add_command(stress)
main.add_command(simulate)

if __name__ == "__main__":
    main()
