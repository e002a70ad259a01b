"""Gas of a takeover: an account with 126 legs changes hands in one transaction, by its leaf in a tree of 2^20 accounts.

`measure_takeover(bench)` adds `takeover_126` to a running bench of `benchmarks.gas`;
`python -m benchmarks.gas_takeover` measures it alone.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
from eth_utils import keccak

from benchmarks.accounts import take_leg
from benchmarks.gas import BTC, ETH, MEMBERS, NOW, SPOT, USD, Seat
from offchain.chain.anvil import start_anvil
from offchain.chain.backends import dev_account
from offchain.oracle import signatures
from offchain.risk.portfolios import evaluate

if TYPE_CHECKING:
    from benchmarks.gas import Bench

LEGS = 126
RISE = 112
"""Percent of the price at which the account is called and taken over."""


def measure_takeover(bench: Bench) -> None:
    """Trade an account into 126 short options, let the price rise, call it, auction it, take it over; record the last.

    Parameters
    ----------
    bench : with any history; prices go on from the latest epoch's.

    Raises
    ------
    AssertionError
        The account did not become liquidatable and solvent, so another path would be measured.
    """
    chain, system = bench.chain, bench.system

    def post(spot: dict[int, int], wait: int = 120, tree: bool = True) -> None:
        bench.post((chain.timestamp + wait) // 60 * 60, spot, account_tree=tree)

    here = {BTC: next(iter(bench.leaves.values())).forward, ETH: SPOT[ETH]} if hasattr(bench, "leaves") else SPOT
    post(here, tree=False)
    post(here, tree=False)  # where the first was a jump, the second confirms it
    account = bench.open(40_000_000 * USD)
    for number, each in enumerate(bench.listed[256 : 256 + LEGS]):
        bench.trade(account, each.id, -(200 + number % 7))

    def margin() -> tuple[int, int, int, int, int]:
        return evaluate(bench.content(account), system.ledger.call.account(account)[2], bench.params)

    post(here)
    owner = bench.keys[account]
    free = margin()[4] - 100 * USD
    system.clearing.send.withdraw(account, free, owner.address, bench.witness(account), sender=owner)
    higher = {u: price * RISE // 100 for u, price in here.items()}
    post(higher, tree=False)
    post(higher)
    pv, _, _, excess, _ = margin()
    assert excess < 0 < pv, f"the account should be liquidatable and solvent, its MM excess is {excess}, PV {pv}"
    system.liquidator.send.margin_call(account, bench.witness(account), sender=bench.deployer)
    take_leg(bench, account, f"leg_liquidation_1_of_{LEGS}")
    post(higher, 1_860)
    system.takeover.send.start(account, bench.witness(account), sender=bench.deployer)

    taker = bench.open(20_000_000 * USD)
    price, insurance, shortfall = system.takeover.call.quote(account, bench.witness(account))
    assert price > 0 == insurance + shortfall
    state = system.ledger.call.account(account)
    bid = (account, state[1], state[5], price, taker, -margin()[4])
    receipt = system.takeover.send.take_over(bid, bench.witness(account), sender=bench.keys[taker])
    assert receipt.event("TakenOver").args["heir"] != 0
    bench.record(f"takeover_{LEGS}", receipt)


def main() -> int:
    from benchmarks.gas import Bench

    seats = [Seat(dev_account(900 + i).address, signatures.SecretKey.generate(keccak(b"member %d" % i)))
             for i in range(MEMBERS)]  # fmt: skip
    with start_anvil(NOW - 3600) as chain:
        bench = Bench(chain, seats, np.random.default_rng(7))
        bench.post(NOW, SPOT)
        measure_takeover(bench)
    print(json.dumps(bench.gas, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
