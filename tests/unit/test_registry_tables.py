"""The registry's feeds, tokens, pauses and delistings, and what each may not do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from offchain.chain.artifacts import artifact
from offchain.chain.backends import ZERO, Contract, Reverted
from offchain.chain.revm import RevmChain
from offchain.risk.policy import default_policy
from offchain.units import MICRO

DELAY = 86_400
START = 1_700_000_000
PERP = 1 << 88 | 1
TOKEN = 1 << 88 | 1 << 8 | 5
BTC = 60_000 * MICRO


@dataclass
class Office:
    """A registry with its owner and guardian; the chain's account 3 is a stranger."""

    chain: RevmChain
    registry: Contract
    owner: LocalAccount
    guardian: LocalAccount
    stranger: LocalAccount

    def feed(self, price: int = BTC, decimals: int = 8) -> Contract:
        answer = price * 10**decimals // MICRO
        return self.chain.deploy(artifact("mocks/MockFeed"), decimals, answer, self.chain.timestamp, sender=self.owner)

    def words(self, feed: Contract, underlying: int = 1) -> tuple[int, str, int, int, int]:
        return (underlying, feed.address, 3 * DELAY, 10**8, 10**15)

    def wait(self, seconds: int = DELAY) -> None:
        self.chain.set_next_timestamp(self.chain.timestamp + seconds)
        self.chain.mine()

    def set_feed(self, words: tuple[int, str, int, int, int]) -> Any:
        """Behind the timelock."""
        self.registry.send.propose_feed(words, sender=self.owner)
        self.wait()
        return self.registry.send.enact_feed(words, sender=self.owner)

    def list_token(self, words: tuple[int, str, int]) -> Any:
        """Behind the timelock."""
        self.registry.send.propose_token(words, sender=self.owner)
        self.wait()
        return self.registry.send.enact_token(words, sender=self.owner)


@pytest.fixture
def office() -> Office:
    chain = RevmChain(timestamp=START)
    owner, guardian = chain.accounts[0], chain.accounts[2]
    words = default_policy().words
    registry = chain.deploy(artifact("Registry"), DELAY, words, guardian.address, [], [], sender=owner)
    registry.send.list_instruments([PERP], sender=owner)
    return Office(chain, registry, owner, guardian, chain.accounts[3])


def refused(words: str, call: Any, *args: Any, sender: Any) -> None:
    with pytest.raises(Reverted, match=words):
        call(*args, sender=sender)


# Pauses


def test_pause__by_the_guardian__lifted_by_the_owner_alone(office: Office) -> None:
    send, call = office.registry.send, office.registry.call
    for action in (1, 2):
        assert not call.paused(action)
        refused("registry: caller is not the guardian", send.pause, action, sender=office.stranger)
        receipt = send.pause(action, sender=office.guardian)
        assert receipt.event("PauseSet").args == {"action": action, "paused": True}
        assert call.paused(action)
        for other in (office.guardian, office.stranger):
            refused("ownable: caller is not the owner", send.unpause, action, sender=other)
        receipt = send.unpause(action, sender=office.owner)
        assert receipt.event("PauseSet").args == {"action": action, "paused": False}
        assert not call.paused(action)
        refused("registry: action is not paused", send.unpause, action, sender=office.owner)
        send.pause(action, sender=office.owner)


@pytest.mark.parametrize("action", [0, 3, 95, 96, 2**256 - 1])
def test_pause__anything_else__refused(office: Office, action: int) -> None:
    """Deposits of cash, cures, liquidation and exits have no action that could be paused."""
    for sender in (office.guardian, office.owner):
        refused("registry: action cannot be paused", office.registry.send.pause, action, sender=sender)


def test_guardian__named_by_the_owner(office: Office) -> None:
    send = office.registry.send
    refused("ownable: caller is not the owner", send.set_guardian, office.guardian.address, sender=office.guardian)
    receipt = send.set_guardian(office.stranger.address, sender=office.owner)
    assert receipt.event("GuardianSet").args == {"guardian": office.stranger.address}
    assert office.registry.call.guardian() == office.stranger.address
    refused("registry: caller is not the guardian", send.pause, 1, sender=office.guardian)
    send.pause(1, sender=office.stranger)


def test_threat_31__the_guardian__can_do_nothing_else(office: Office) -> None:
    send, policy = office.registry.send, default_policy().words
    feed = office.words(office.feed())
    for call, args in (
        (send.propose_policy, (policy,)),
        (send.enact_policy, (bytes(32),)),
        (send.propose_feed, (feed,)),
        (send.enact_feed, (feed,)),
        (send.propose_token, ((TOKEN, feed[1], 8),)),
        (send.enact_token, ((TOKEN, feed[1], 8),)),
        (send.propose_challenger, (office.guardian.address,)),
        (send.enact_challenger, (office.guardian.address,)),
        (send.cancel, (1, 0)),
        (send.relist, ([PERP],)),
        (send.list_instruments, ([PERP],)),
    ):
        refused("ownable: caller is not the owner", call, *args, sender=office.guardian)


# Delisting


def test_delist__close_only_at_once__taken_back_until_it_is_final(office: Office) -> None:
    send, call = office.registry.send, office.registry.call
    refused("registry: caller is not the guardian", send.delist, [PERP], sender=office.stranger)
    refused("registry: instrument not listed", send.delist, [PERP + (1 << 88)], sender=office.guardian)
    refused("registry: instrument not delisted", send.relist, [PERP], sender=office.owner)
    receipt = send.delist([PERP], sender=office.guardian)
    assert receipt.event("InstrumentsDelisted").args == {"instruments": (PERP,)}
    assert (call.delisted_at(PERP), call.is_listed(PERP)) == (receipt.timestamp, True)
    refused("registry: instrument already delisted", send.delist, [PERP], sender=office.owner)
    receipt = send.relist([PERP], sender=office.owner)
    assert receipt.event("InstrumentsRelisted").args == {"instruments": (PERP,)}
    assert call.delisted_at(PERP) == 0
    began = send.delist([PERP], sender=office.owner).timestamp
    office.chain.set_next_timestamp(began + DELAY)
    refused("registry: delisting is final", send.relist, [PERP], sender=office.owner)


# Feeds


def test_feed__set_changed_and_removed__behind_the_timelock(office: Office) -> None:
    send, call = office.registry.send, office.registry.call
    assert call.feed(1) == (ZERO, 0, 0, 0)
    words = office.words(office.feed())
    receipt = send.propose_feed(words, sender=office.owner)
    encoded = encode(["(uint256,address,uint256,uint256,uint256)"], [words])
    assert receipt.event("Proposed").args == {
        "kind": 2, "key": 1, "content": keccak(encoded), "ready_at": receipt.timestamp + DELAY, "encoded": encoded,
    }  # fmt: skip
    assert call.proposal(2, 1) == (keccak(encoded), receipt.timestamp + DELAY)
    refused("timelock: too early", send.enact_feed, words, sender=office.owner)
    office.wait()
    refused("timelock: not what was proposed", send.enact_feed, (*words[:4], 10**16), sender=office.owner)
    receipt = send.enact_feed(words, sender=office.owner)
    assert receipt.event("FeedSet").args["source"] == words[1]
    assert call.feed(1) == words[1:]
    office.set_feed(office.words(office.feed(3_000 * MICRO), 2))
    assert call.feed(1) == words[1:]
    terms = call.terms(default_policy().hash)
    assert [word >> 240 for word in terms[5][::3]] == [1, 2]
    office.set_feed((1, ZERO, 0, 0, 0))
    assert call.feed(1) == (ZERO, 0, 0, 0)
    assert [word >> 240 for word in call.terms(default_policy().hash)[5][::3]] == [2]


def test_feed__out_of_bounds__refused(office: Office) -> None:
    send, source = office.registry.send, office.feed().address
    for words, reason in (
        ((3, source, 60, 1, 2), "registry: underlying is not listed"),
        ((1, source, 0, 1, 2), "registry: feed age out of range"),
        ((1, source, 7 * DELAY + 1, 1, 2), "registry: feed age out of range"),
        ((1, source, 60, 2, 2), "registry: feed clamps out of range"),
    ):
        refused(reason, send.propose_feed, words, sender=office.owner)


def test_feed__of_another_unit__does_not_replace_a_good_one(office: Office) -> None:
    """Old and new must agree: a feed switched to one in another unit is how a price was once wrong by 2,000 times."""
    office.set_feed(office.words(office.feed()))
    wrong = office.words(office.feed(BTC // 1_000))
    with pytest.raises(Reverted, match="registry: feeds disagree"):
        office.set_feed(wrong)
    good = office.words(office.feed(BTC * 102 // 100, decimals=8))
    office.set_feed(good)
    assert office.registry.call.feed(1) == good[1:]


def test_feed__not_usable__is_not_taken(office: Office) -> None:
    broken = office.feed()
    broken.send.misbehave(1, sender=office.owner)
    with pytest.raises(Reverted, match="registry: feed is not usable"):
        office.set_feed(office.words(broken))


def test_proposal__forgotten__expires(office: Office) -> None:
    words = office.words(office.feed())
    office.registry.send.propose_feed(words, sender=office.owner)
    office.wait(DELAY + 14 * DELAY + 1)
    refused("timelock: proposal expired", office.registry.send.enact_feed, words, sender=office.owner)


# Tokens


def coin(office: Office, decimals: int) -> Contract:
    """Something with decimals."""
    return office.chain.deploy(artifact("mocks/MockFeed"), decimals, 1, 1, sender=office.owner)


@pytest.mark.parametrize("decimals", [6, 8, 18])
def test_token__listed__with_the_units_of_a_lot(office: Office, decimals: int) -> None:
    token = coin(office, decimals).address
    assert office.registry.call.token(TOKEN) == (ZERO, 0, 0)
    receipt = office.list_token((TOKEN, token, decimals))
    units = 10**decimals // 1_000
    listed = {"instrument": TOKEN, "token": token, "decimals": decimals, "units": units}
    assert receipt.event("TokenListed").args == listed
    assert office.registry.call.token(TOKEN) == (token, decimals, units)
    assert office.registry.call.is_listed(TOKEN)


def test_token__that_does_not_fit__refused(office: Office) -> None:
    good, two, many = coin(office, 8), coin(office, 2), coin(office, 37)
    office.list_token((TOKEN, good.address, 8))
    other = TOKEN + (1 << 8)
    for words, reason in (
        ((other, ZERO, 8), "registry: token is zero"),
        ((other, good.address, 8), "registry: token already listed"),
        ((TOKEN, two.address, 2), "registry: instrument already listed"),
        ((other, many.address, 37), "registry: token has too many decimals"),
        ((other, two.address, 8), "registry: token has other decimals"),
        ((other, two.address, 2), "registry: lot is no whole number of units"),
        ((PERP + (1 << 88), two.address, 2), "registry: kind cannot be listed"),
        ((3 << 88 | 5, two.address, 2), "registry: underlying is not listed"),
        ((other | 60 << 56, two.address, 2), "registry: expiry does not fit the kind"),
        ((other | 1 << 104, two.address, 2), "registry: not an instrument"),
    ):
        with pytest.raises(Reverted, match=reason):
            office.list_token(words)


def test_deploy__with_feeds_and_tokens__in_force_at_once(office: Office) -> None:
    feeds = [office.words(office.feed()), office.words(office.feed(3_000 * MICRO), 2)]
    token = coin(office, 8).address
    words = default_policy().words
    registry = office.chain.deploy(
        artifact("Registry"), DELAY, words, ZERO, feeds, [(TOKEN, token, 8)], sender=office.owner
    )
    assert [registry.call.feed(u) for u in (1, 2)] == [feed[1:] for feed in feeds]
    assert registry.call.token(TOKEN) == (token, 8, 10**5)


def test_sixteen_underlyings__are_the_most(office: Office) -> None:
    base = default_policy().words
    word = base[4][1]
    sixteen = (*base[:4], [word & ~(0xFFFF << 240) | u << 240 for u in range(1, 17)])
    sixteen[4][0] = base[4][0]
    registry = office.chain.deploy(artifact("Registry"), DELAY, sixteen, ZERO, [], [], sender=office.owner)
    assert registry.call.underlying(16) == sixteen[4][15]
    assert len(registry.call.terms(registry.call.policy_hash())[4]) == 16
