"""The twin of Registry: policies, listings, feeds, pauses, and the timelock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offchain.risk.policy import Policy, UnderlyingParams
from twin.core import ZERO, Core, need

POLICY, FEED, TOKEN_LISTING, CHALLENGER = 1, 2, 3, 4
WINDOW = 14 * 86_400
ONE = 1_000_000
FeedTerms = tuple[int, str, int, int, int]
TokenTerms = tuple[int, str, int]


def end_of(policy_hash: bytes) -> int:
    """The last 32 bits of a policy's hash, by which the oracle knows it."""
    return int.from_bytes(policy_hash[-4:], "big")


@dataclass(frozen=True)
class BadPolicy:
    """A policy that the registry refuses, as the contract takes it, and why."""

    body: Any
    reason: str


@dataclass(frozen=True)
class Proposal:
    content: Any
    ready: int


class RegistryTwin(Core):
    """Registry and what it is made of."""

    def begin_registry(self, policy: Policy, delay: int, guardian: str, owner: str) -> None:
        """As deployed."""
        self.delay = delay
        self.registry: dict[Any, Any] = {
            "policy": policy, "previous": None, "enacted": 0, "kept": policy, "guardian": guardian, "owner": owner,
            "pending": ZERO, "challenger": ZERO,
        }  # fmt: skip
        self.enacted: dict[int, Policy] = {end_of(policy.hash): policy}
        self.listed: dict[int, bool] = {}
        self.delisted_at: dict[int, int] = {}
        self.paused: dict[int, bool] = {}
        self.feed_terms: dict[int, FeedTerms] = {}
        self.token_terms: dict[int, TokenTerms] = {}
        self.proposals: dict[tuple[int, int], Proposal | None] = {}
        self.decimals: dict[str, int] = {}

    # reading
    @property
    def policy(self) -> Policy:
        return self.registry["policy"]  # type: ignore[no-any-return]

    @property
    def challenger(self) -> str:
        return str(self.registry["challenger"])

    def underlying(self, number: int) -> UnderlyingParams:
        """The terms of an underlying under the policy in force."""
        for each in self.policy.underlyings:
            if each.underlying == number:
                return each
        need(False, "registry: underlying is not listed")
        raise AssertionError

    def feed_of(self, underlying: int) -> tuple[str, int, int, int]:
        """Source, age and clamps of a feed; nothing without one."""
        found = self.feed_terms.get(underlying)
        return found[1:] if found and found[1] != ZERO else (ZERO, 0, 0, 0)

    def terms(self, policy_hash: bytes) -> tuple[Policy, bool]:
        """The policy of a hash, and whether it is the one in force."""
        if self.policy.hash == policy_hash:
            return self.policy, True
        previous = self.registry["previous"]
        counts = previous is not None and self.now < self.registry["enacted"] + self.delay
        need(counts and previous.hash == policy_hash, "registry: policy is not in force")
        return previous, False

    def _owner(self) -> None:
        need(self.sender == self.registry["owner"], "ownable: caller is not the owner")

    def _guardian(self) -> None:
        roles = (self.registry["guardian"], self.registry["owner"])
        need(self.sender in roles, "registry: caller is not the guardian")

    # guardian
    def delist(self, instruments: Sequence[int]) -> None:
        self._guardian()
        for each in instruments:
            need(bool(self.listed.get(each)), "registry: instrument not listed")
            need(not self.delisted_at.get(each), "registry: instrument already delisted")
            self.put(self.delisted_at, each, self.now)

    def pause(self, action: int) -> None:
        self._guardian()
        need(1 <= action <= 2, "registry: action cannot be paused")
        self.put(self.paused, action, True)

    # owner
    def unpause(self, action: int) -> None:
        self._owner()
        need(bool(self.paused.get(action)), "registry: action is not paused")
        self.put(self.paused, action, False)

    def set_guardian(self, guardian: str) -> None:
        self._owner()
        self.put(self.registry, "guardian", guardian)

    def list_instruments(self, instruments: Sequence[int]) -> None:
        self._owner()
        last = 0
        for each in instruments:
            need(each > last, "registry: instruments not ascending")
            last = each
            need(not self.listed.get(each), "registry: instrument already listed")
            self._fits(each, False)
            self.put(self.listed, each, True)

    def _fits(self, identifier: int, token: bool) -> None:
        need(identifier >> 104 == 0, "registry: not an instrument")
        numbers = [each.underlying for each in self.policy.underlyings]
        need(identifier >> 88 in numbers, "registry: underlying is not listed")
        kind, expiry, strike = identifier & 255, identifier >> 56 & 0xFFFFFFFF, identifier >> 8 & (2**48 - 1)
        if token:
            need(kind == 5, "registry: kind cannot be listed")
            need(expiry == 0, "registry: expiry does not fit the kind")
            return
        need(1 <= kind <= 4, "registry: kind cannot be listed")
        need((strike != 0) == (kind >= 3), "registry: strike does not fit the kind")
        if kind == 1:
            need(expiry == 0, "registry: expiry does not fit the kind")
        else:
            need(expiry > self.now, "registry: expiry is not in the future")

    def relist(self, instruments: Sequence[int]) -> None:
        self._owner()
        for each in instruments:
            since = self.delisted_at.get(each, 0)
            need(since != 0, "registry: instrument not delisted")
            need(self.now < since + self.delay, "registry: delisting is final")
            self.put(self.delisted_at, each, 0)

    # timelock
    def _propose(self, kind: int, key: int, content: Any) -> None:
        self.put(self.proposals, (kind, key), Proposal(content, self.now + self.delay))

    def _enact(self, kind: int, key: int, content: Any) -> None:
        found = self.proposals.get((kind, key))
        need(found is not None, "timelock: nothing proposed")
        assert found is not None
        need(found.content == content, "timelock: not what was proposed")
        need(self.now >= found.ready, "timelock: too early")
        need(self.now <= found.ready + WINDOW, "timelock: proposal expired")
        self.put(self.proposals, (kind, key), None)

    def cancel_proposal(self, kind: int, key: int) -> None:
        self._owner()
        need(self.proposals.get((kind, key)) is not None, "timelock: nothing proposed")
        self.put(self.proposals, (kind, key), None)

    def propose_policy(self, policy: Policy | BadPolicy) -> None:
        self._owner()
        if isinstance(policy, BadPolicy):
            need(False, policy.reason)
        assert isinstance(policy, Policy)
        for old in self.policy.underlyings:
            new = next((u for u in policy.underlyings if u.underlying == old.underlying), None)
            need(new is not None, "registry: underlying removed")
            assert new is not None
            need(new.lots_per_unit == old.lots_per_unit, "registry: lot size changed")
        self.put(self.registry, "kept", policy)
        self._propose(POLICY, 0, policy.hash)

    def enact_policy(self, policy_hash: bytes) -> None:
        self._owner()
        self._enact(POLICY, 0, policy_hash)
        self.put(self.registry, "previous", self.policy)
        self.put(self.registry, "enacted", self.now)
        self.put(self.registry, "policy", self.registry["kept"])
        self.put(self.enacted, end_of(policy_hash), self.registry["kept"])

    def propose_feed(self, feed: FeedTerms) -> None:
        self._owner()
        self.underlying(feed[0])
        if feed[1] != ZERO:
            need(0 < feed[2] <= 7 * 86_400, "registry: feed age out of range")
            need(feed[3] < feed[4], "registry: feed clamps out of range")
        self._propose(FEED, feed[0], feed)

    def enact_feed(self, feed: FeedTerms) -> None:
        self._owner()
        self._enact(FEED, feed[0], feed)
        if feed[1] != ZERO:
            new, usable = self.read_feed(*feed[1:])
            need(usable, "registry: feed is not usable")
            old, usable = self.read_feed(*self.feed_of(feed[0]))
            if usable:
                need(abs(new - old) * ONE <= old * self.policy.shocks.dispute, "registry: feeds disagree")
        self.put(self.feed_terms, feed[0], feed)

    def read_feed(self, source: str, max_age: int, least: int, greatest: int) -> tuple[int, bool]:
        """The oracle's twin knows."""
        raise NotImplementedError

    def propose_token(self, token: TokenTerms) -> None:
        self._owner()
        self._propose(TOKEN_LISTING, token[0], token)

    def enact_token(self, token: TokenTerms) -> None:
        self._owner()
        self._enact(TOKEN_LISTING, token[0], token)
        self.list_token(token)

    def list_token(self, token: TokenTerms) -> None:
        """A collateral token within its rules."""
        need(not self.listed.get(token[0]), "registry: instrument already listed")
        self._fits(token[0], True)
        need(token[1] != ZERO, "registry: token is zero")
        need(token[1] not in {t[1] for t in self.token_terms.values()}, "registry: token already listed")
        need(token[2] <= 36, "registry: token has too many decimals")
        need(self.decimals.get(token[1]) == token[2], "registry: token has other decimals")
        lots = self.underlying(token[0] >> 88).lots_per_unit
        need(10 ** token[2] % lots == 0, "registry: lot is no whole number of units")
        self.put(self.listed, token[0], True)
        self.put(self.token_terms, token[0], token)

    def propose_challenger(self, challenger: str) -> None:
        self._owner()
        self._propose(CHALLENGER, 0, challenger)

    def enact_challenger(self, challenger: str) -> None:
        self._owner()
        self._enact(CHALLENGER, 0, challenger)
        self.put(self.registry, "challenger", challenger)
