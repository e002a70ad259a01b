"""Anvil and the EVM in process run one scenario: every event, every balance, and gas are the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from aftermath import BTC, BTC_FUTURE, BTC_PERP, CALL, ETH_PERP, INSURANCE, SHORTFALL, Aftermath, dollars
from desk import NOTHING, START, Desk

from offchain.chain.anvil import anvil_binary, start_anvil
from offchain.chain.backends import Chain, Receipt, dev_account
from offchain.chain.revm import RevmChain, calldata_floor
from offchain.oracle.headers import Header
from offchain.oracle.keys import Seat
from offchain.oracle.signatures import SecretKey, aggregate, header_digest, sign

pytestmark = pytest.mark.skipif(anvil_binary() is None, reason="anvil is not installed: run `make setup`")
MEMBERS, QUORUM = 4, 3
Fact = tuple[str, str, tuple[tuple[str, Any], ...]]


@cache
def seats() -> tuple[Seat, ...]:
    secrets = [SecretKey.generate(bytes([number + 1]) * 32) for number in range(MEMBERS)]
    return tuple(Seat(dev_account(50 + number).address, secret) for number, secret in enumerate(secrets))


class SignedDesk(Desk):
    """A desk whose committee signs."""

    def attest(self, header: Header) -> tuple[int, bytes]:
        digest = header_digest(self.chain.chain_id, self.system.oracle.address, 1, header.epoch, header.hash)
        return 2**QUORUM - 1, aggregate([sign(seat.secret, digest) for seat in seats()[:QUORUM]])


class SignedAftermath(Aftermath):
    desk_type = SignedDesk


@dataclass
class Sent:
    """A transaction: what was sent, and what came of it."""

    label: str
    data: bytes
    receipt: Receipt


@dataclass
class Story:
    """The scenario as it went on one chain."""

    case: Aftermath
    sent: list[Sent]
    balances: dict[str, Any]

    def after_set_up(self) -> list[Sent]:
        """Without the deployment, which a committee that signs makes longer."""
        return self.sent[[sent.label for sent in self.sent].index("Ledger.set_engines") :]


def record(chain: Any) -> list[Sent]:
    """From now on, keep every transaction of a chain."""
    sent: list[Sent] = []
    transact = chain.transact

    def recording(sender: Any, to: Any, data: bytes, gas: int | None = None, label: str = "") -> Receipt:
        receipt = transact(sender, to, data, gas, label)
        sent.append(Sent(label, data, receipt))
        return receipt

    chain.transact = recording
    return sent


def tell(chain: Chain, signed: bool = False) -> Story:
    """Deploy, open accounts, trade, check, withdraw; prices fall: a margin call, legs taken, a takeover; withdraw."""
    sent = record(chain)
    seated = seats() if signed else None
    case = (SignedAftermath if signed else Aftermath)(840, chain=chain, seats=seated)
    desk = case.desk
    keeper, weak_key = desk.keys[4], desk.keys[5]
    desk.pay(case.short, dollars(10**6), case.short_key)
    desk.pay(INSURANCE, dollars(1_000), desk.keys[7])
    taker, buyer, weak = desk.fund(keeper, 100_000), desk.fund(keeper, 50_000), desk.fund(weak_key, 110)
    for identifier, lots in ((BTC_PERP, 300), (BTC_FUTURE, 50), (CALL, 10), (ETH_PERP, 20)):
        case.trade(identifier, lots)
    desk.trade(weak, case.short, BTC_PERP, 40)
    desk.check_full(case.long)
    case.post()
    desk.withdraw(case.short, dollars(1_000), case.short_key)
    house = desk.house.function("check")
    for account in (case.long, case.short):
        chain.transact(desk.keys[8], desk.house.address, house.encode((account, desk.witness(account))), None, "check")

    case.move(BTC, 8_900)
    desk.liquidator.send.margin_call(case.long, desk.witness(case.long), sender=case.stranger)
    case.post()
    desk.liquidate(case.long, taker, {BTC_PERP: 60, BTC_FUTURE: 5}, keeper, taker_witness=NOTHING)
    desk.liquidate(case.long, taker, {BTC_PERP: 20}, keeper)
    case.move(BTC, 7_000)
    takeover = desk.system.takeover
    takeover.send.start(weak, desk.witness(weak), sender=case.stranger)
    for _ in range(3):
        case.post()
    state = desk.ledger.call.account(weak)
    _, insurance, shortfall = takeover.call.quote(weak, desk.witness(weak))
    top_up = max(-desk.margin(weak)[4] - insurance - shortfall, 0)
    bid = (weak, state[1], state[5], 2**100, buyer, top_up)
    takeover.send.take_over(bid, desk.witness(weak), sender=keeper)
    case.post()
    desk.withdraw(case.short, dollars(50_000), case.short_key)
    desk.book.check()
    return Story(case, sent, balances(desk))


def balances(desk: Desk) -> dict[str, Any]:
    """Every account with its cash, hash and positions; tokens of everyone and of the ledger; the oracle's clock."""
    ids = sorted(desk.leaves)
    out: dict[str, Any] = {"clock": tuple(desk.system.oracle.call.clock())}
    for account in [INSURANCE, SHORTFALL, *range(256, max(desk.book.accounts) + 1)]:
        state = desk.ledger.call.account(account)
        out[f"account {account}"] = (state, tuple(desk.ledger.call.quantities(account, ids)))
        out[f"checkpoint {account}"] = desk.ledger.call.checkpoint(account)
    for key in desk.keys:
        out[key.address] = desk.system.token.call.balanceOf(key.address)
    out["ledger"] = desk.system.token.call.balanceOf(desk.ledger.address)
    return out


def plain(story: Story, sent: list[Sent], hashes: bool = True) -> list[list[Fact]]:
    """Events by transaction; contracts by their names, a hash of a block, or of a header with one, as "hash".

    Without `hashes` every string of bytes is "hash" (where the committee signs, contracts have other addresses, which
    orders and digests hold), and the snapshot block is left out.
    """
    names = {contract.address: contract.artifact.name for contract in story.case.desk.chain._contracts.values()}
    blocks: set[bytes] = set()

    def clean(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple(clean(each) for each in value)
        if isinstance(value, bytes) and (value in blocks or not hashes):
            return "hash"
        return names.get(value, value) if isinstance(value, str) else value

    out = []
    for each in sent:
        facts = []
        for event in each.receipt.events:
            args = dict(event.args)
            if event.name == "EpochPosted":
                blocks |= {args["header_hash"], args["header"][3]}
                if not hashes:
                    args["header"] = (*args["header"][:2], *args["header"][4:])
            facts.append((names[event.address], event.name, tuple((k, clean(v)) for k, v in args.items())))
        out.append(facts)
    return out


def calldata_gas(data: bytes) -> int:
    """Gas of the calldata before the floor: 16 a byte, 4 where it is zero."""
    return 16 * len(data) - 12 * data.count(0)


@pytest.fixture(scope="module")
def ours() -> Story:
    return tell(RevmChain(timestamp=START))


@pytest.fixture(scope="module")
def anvil_without_floor() -> Story:
    with start_anvil(START, hardfork="cancun", base_fee=0) as chain:
        return tell(chain)


def test_scenario__on_both_engines__same_events_and_balances(ours: Story, anvil_without_floor: Story) -> None:
    theirs = anvil_without_floor
    assert [s.label for s in ours.sent] == [s.label for s in theirs.sent]
    assert plain(ours, ours.sent) == plain(theirs, theirs.sent)
    assert ours.balances == theirs.balances
    happened = {name for facts in plain(ours, ours.sent) for _, name, _ in facts}
    assert happened >= {
        "PositionMoved",
        "Withdrawal",
        "MarginCalled",
        "Liquidated",
        "AccountTransferred",
        "EpochPosted",
    }
    for mine, other in zip(ours.sent, theirs.sent, strict=True):
        for name in ("block_number", "timestamp", "created"):
            assert getattr(mine.receipt, name) == getattr(other.receipt, name), mine.label


def test_scenario__gas_before_the_calldata_floor__is_the_same(ours: Story, anvil_without_floor: Story) -> None:
    """To the last unit, cold slots and refunds included. Of a header only what its block hash costs is put aside."""
    for mine, other in zip(ours.sent, anvil_without_floor.sent, strict=True):
        header = calldata_gas(mine.data) - calldata_gas(other.data)
        assert mine.data == other.data or mine.label == "RiskOracle.post", mine.label
        assert mine.receipt.gas_before_floor - header == other.receipt.gas_used, mine.label


def test_scenario__with_a_committee_that_signs__same_events_and_balances(ours: Story) -> None:
    """The stand-in for the committee changes nothing but the committee; and the calldata floor is the chain's."""
    with start_anvil(START, base_fee=0) as chain:
        theirs = tell(chain, signed=True)
        mine, other = ours.after_set_up(), theirs.after_set_up()
        assert [s.label for s in mine] == [s.label for s in other]
        assert plain(ours, mine, hashes=False) == plain(theirs, other, hashes=False)
        assert ours.balances == theirs.balances
        data = bytes(range(256)) * 20
        used = [each.transact(each.accounts[0], seats()[0].address, data).gas_used for each in (chain, RevmChain())]
        assert used == [calldata_floor(data)] * 2
