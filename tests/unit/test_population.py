"""Populations in bulk, and the two scenarios that the simulation's benchmark times, in small."""

from __future__ import annotations

from benchmarks.simulation_day import Replay
from benchmarks.simulation_legs import LEGS, measure
from offchain.chain.revm import RevmChain
from offchain.oracle.headers import encode_account
from offchain.oracle.trees import keccak256


def test_liquidations__each_is_checked() -> None:
    timed = measure(RevmChain(), 3)
    assert (timed.count, timed.legs) == (3, LEGS)
    assert LEGS >= 20


def test_replay__epochs_audited_and_margins_those_of_the_chain() -> None:
    """Bulk margins are the contract's, and every witness is believed, checkpoints included."""
    replay = Replay(24, 2)
    day = replay.run()
    crowd = replay.crowd
    assert day.audited == 3
    assert day.leaves == 3 * len(replay.ids) + 2 * len(crowd.judge().accounts)
    judged = crowd.judge()
    for place, account in enumerate(judged.accounts):
        found = crowd.system.clearing.call.check(account, crowd.witness(account))
        assert tuple(found) == tuple(judged.margins[place])
    assert crowd.epoch is not None
    buyer, key = replay.makers[0], replay.ids[0]
    crowd.fill(replay.makers[1], buyer, key, 1)
    head, cost, words, proof = crowd.witness(buyer)
    assert proof == []
    digest = keccak256(encode_account(head, crowd.book.accounts[buyer].position_hash, cost, words))
    stored = keccak256(crowd.epoch.header.epoch.to_bytes(32, "big") + digest)
    assert crowd.system.ledger.call.checkpoint(buyer) == stored
