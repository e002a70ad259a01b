"""Post an epoch: `ape run post --network NETWORK`, after `ape run deploy`."""

from pathlib import Path

import click
from ape.cli import account_option

from offchain.chain.ape import chain_of, signer_of
from offchain.commands.connected import Connected
from offchain.commands.options import out_option, price_options, settings_of
from offchain.operate import Market, post, system_of


@click.command(cls=Connected)
@account_option()
@price_options
@out_option
def cli(provider, account, prices, at, out: Path):  # type: ignore[no-untyped-def]
    """Have the committee sign the epoch of this slot, and post it. Bundles go to OUT/bundles."""
    chain, settings, market = chain_of(provider), settings_of(out), Market.load(prices, at)
    signer = signer_of(account, provider)
    outcome = post(system_of(chain, signer, settings, market, click.echo), settings, market, signer)
    assert outcome.epoch is not None
    assert outcome.receipt is not None
    header = outcome.epoch.header
    click.echo(f"epoch {header.epoch} posted in {outcome.receipt.tx_hash}, {outcome.receipt.gas_used:,} gas")
    click.echo(f"{len(outcome.epoch.leaves)} instruments, {len(outcome.epoch.rows)} accounts with positions")
