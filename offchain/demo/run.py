"""The main job in one run: deploy, open a market, replay a crash hour by hour, verify every number, report.

Everything is real but the people: contracts on a local chain, a committee that signs with BLS keys, a keeper with a
journal in a database, bundles on disk. The owners are simulated (`offchain.simulation.world`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from random import Random

from offchain.audit.record import read_record
from offchain.audit.tamper import tamper
from offchain.audit.verify import verify
from offchain.chain.anvil import local_chain
from offchain.chain.backends import Chain
from offchain.demo.plan import Plan, load_prices, shifted
from offchain.demo.replay import Progress, Run
from offchain.demo.summary import Result, finish
from offchain.market.candles import Candles
from offchain.oracle.keys import Seat
from offchain.oracle.signatures import aggregate, sign
from offchain.units import HOUR


def run_demo(plan: Plan, progress: Progress, chain: Chain | None = None) -> Result:
    """Replay, verify and report.

    Parameters
    ----------
    plan : what to replay. progress : called with a line at every step.
    chain : a local chain whose time can be set; None starts one.

    Raises
    ------
    BallastError
        Bad input, or no local chain can be started.
    """
    began = time.monotonic()
    candles, start, source = load_prices(plan)
    progress(f"prices: {source}")
    shutil.rmtree(plan.out, ignore_errors=True)
    plan.out.mkdir(parents=True, exist_ok=True)
    if chain is not None:
        return _replay(plan, chain, candles, start, source, progress, began)
    with local_chain(start - 2 * HOUR) as started:
        if not started.starts_anywhere:
            progress("Node.js is not installed: running on the in-process chain (py-evm), which is slower")
        return _replay(plan, started, candles, start, source, progress, began)


def _replay(
    plan: Plan,
    chain: Chain,
    candles: Mapping[int, Candles],
    start: int,
    source: str,
    progress: Progress,
    began: float,
) -> Result:
    shift = max(-(-(chain.timestamp + HOUR - start) // HOUR) * HOUR, 0)
    if shift:
        progress(f"the chain's time is ahead of the candles': they are replayed {shift // HOUR} hours later")
        candles, start = shifted(candles, shift), start + shift
    run = Run(plan, chain, candles, start, progress)
    run.prepare()
    run.replay()
    progress("healthy accounts withdraw")
    left, paid = run.leave()
    progress("verifying")
    record = read_record(run.system, plan.out / "bundles")
    if plan.tamper:
        progress(f"planting a fault: {plan.tamper}")
        record = tamper(record, plan.tamper, Random(plan.seed), lambda d, mask: _collude(run.seats, d, mask))
    verification = verify(record)
    return finish(run, plan, source, verification, left, paid, time.monotonic() - began)


def _collude(members: Sequence[Seat], digest: bytes, mask: int) -> bytes:
    """The aggregate signature of members who take part in a fault."""
    return aggregate([sign(seat.secret, digest) for i, seat in enumerate(members) if mask >> i & 1])
