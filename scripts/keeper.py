"""Run the keeper: `ape run keeper --network NETWORK`, after `ape run deploy` and `ape run post`."""

import time
from pathlib import Path

import click
from ape.cli import account_option

from offchain.chain.ape import chain_of, signer_of
from offchain.commands.connected import Connected
from offchain.commands.options import out_option, price_options, settings_of
from offchain.operate import Market, keeper, look, post, system_of


@click.command(cls=Connected)
@account_option()
@price_options
@out_option
@click.option("--looks", default=1, show_default=True, help="How often to look; 0 goes on until interrupted.")
@click.option("--pause", default=12.0, show_default=True, help="Seconds between looks.")
def cli(provider, account, prices, at, out: Path, looks: int, pause: float):  # type: ignore[no-untyped-def]
    """Look at every account under the latest epoch; call and liquidate those below margin."""
    chain, settings, market = chain_of(provider), settings_of(out), Market.load(prices, at)
    signer = signer_of(account, provider)
    system = system_of(chain, signer, settings, market, click.echo)
    if not system.oracle.call.clock()[0] and chain.accounts:
        click.echo("no epoch on this local chain: posting one")
        post(system, settings, market, signer)
    bot = keeper(system, settings, signer, click.echo)
    done = 0
    try:
        while True:
            receipts = look(bot, settings)
            click.echo(f"look {done + 1}: {len(receipts)} transactions, {len(bot.state.called)} accounts called")
            done += 1
            if done == looks:
                break
            time.sleep(pause)
    except KeyboardInterrupt:
        click.echo("stopped")
