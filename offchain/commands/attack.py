"""`ballast attack`: look for a sequence of actions that makes an attacker rich, on the real contracts."""

from __future__ import annotations

import json
import sys

import click


@click.command()
@click.option("--budget", type=click.IntRange(5), default=200, show_default=True, help="Sequences to play.")
@click.option("--without", "off", multiple=True, metavar="GUARD", help="Switch a guard off; may be repeated.")
@click.option("--seed", default=1, show_default=True, help="Seed of all chance.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="No progress.")
def attack(budget: int, off: tuple[str, ...], seed: int, as_json: bool, quiet: bool) -> None:
    """Search for the most profitable attack, from oracle lag, self-liquidation, squeezes and wash trades on.

    Every sequence is played on the contracts in three worlds, in which the price stays, jumps up, or jumps down; its
    profit is the mean. Exit code 0 if nothing pays, 1 if something does, 2 for bad input.

    \b
    Examples:
      ballast attack --budget 500
      ballast attack --without scan_range      margin for less than the jump: an abandoned loser pays
    """
    from offchain.simulation.search import Arena, search

    def show(done: int, of: int, best: int) -> None:
        if not quiet:
            click.echo(f"\r{done} of {of} sequences, best {best / 1e6:,.2f} USD ", nl=done == of, err=True)

    found = search(Arena(off), budget, seed, show)
    if as_json:
        click.echo(json.dumps({"without": list(off), "seed": seed, **found.as_json()}, indent=2))
    else:
        click.echo(f"most profit of {found.tried} sequences: {found.profit / 1e6:,.2f} USD")
        for name, value in zip(("calm", "up", "down"), found.worlds, strict=True):
            click.echo(f"  {name:<5} {value / 1e6:,.2f} USD")
        for number, move in enumerate(found.sequence, 1):
            click.echo(f"  {number:>2}. {move}")
    sys.exit(1 if found.profit > 0 else 0)
