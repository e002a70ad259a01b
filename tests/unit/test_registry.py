"""The registry: bounds of every parameter, the timelock, and the listing of instruments."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak

from offchain.chain.artifacts import artifact
from offchain.chain.backends import ZERO as ZERO_ADDRESS
from offchain.chain.backends import Contract, Reverted, dev_account
from offchain.chain.revm import RevmChain
from offchain.risk.policy import ABI_TYPE, default_policy

DELAY = 86_400
ZERO = bytes(32)
GUARDIAN = dev_account(77).address
DEFAULT = default_policy().words
Words = tuple[int, int, list[int], list[int], list[int]]


def instrument(underlying: int, kind: int, expiry: int = 0, strike: int = 0) -> int:
    return underlying << 88 | expiry << 56 | strike << 8 | kind


def place(word: int, value: int, width: int, shift: int) -> int:
    """The word with one field replaced."""
    return word & ~(((1 << width) - 1) << shift) | value << shift


def with_margin(value: int, width: int, shift: int) -> Words:
    version, margin, rows, shocks, underlyings = DEFAULT
    return version, place(margin, value, width, shift), rows, shocks, underlyings


def with_row(index: int, value: int, width: int, shift: int) -> Words:
    version, margin, rows, shocks, underlyings = DEFAULT
    changed = list(rows)
    changed[index] = place(changed[index], value, width, shift)
    return version, margin, changed, shocks, underlyings


def with_shock(index: int, value: int) -> Words:
    version, margin, rows, shocks, underlyings = DEFAULT
    changed = list(shocks)
    changed[index] = value
    return version, margin, rows, changed, underlyings


def with_underlying(index: int, value: int, width: int, shift: int) -> Words:
    version, margin, rows, shocks, underlyings = DEFAULT
    changed = list(underlyings)
    changed[index] = place(changed[index], value, width, shift)
    return version, margin, rows, shocks, changed


def with_underlyings(words: list[int]) -> Words:
    return (*DEFAULT[:4], words)


def encoded(policy: Words) -> bytes:
    return encode([ABI_TYPE], [policy])


def digest(policy: Words) -> bytes:
    return keccak(encoded(policy))


@pytest.fixture
def chain() -> RevmChain:
    return RevmChain()


@pytest.fixture
def registry(chain: RevmChain) -> Contract:
    return chain.deploy(artifact("Registry"), DELAY, DEFAULT, GUARDIAN, [], [], sender=chain.accounts[0])


# Policy


def test_deploy__default_policy__in_force(chain: RevmChain, registry: Contract) -> None:
    policy = default_policy()
    terms = (True, policy.margin.word, 50_000, 30_000, tuple(DEFAULT[4]), ())
    assert registry.call.policy_hash() == policy.hash
    assert registry.call.terms(policy.hash) == terms
    assert registry.call.proposal(1, 0) == (ZERO, 0)
    assert registry.call.delay() == DELAY
    assert registry.call.owner() == chain.accounts[0].address
    assert [registry.call.underlying(u) for u in (1, 2)] == DEFAULT[4]
    proposed, enacted = chain.events([registry], 0, chain.block_number)[-2:]
    assert (proposed.name, enacted.name) == ("PolicyProposed", "PolicyEnacted")
    ready = {"policy_hash": policy.hash, "ready_at": chain.timestamp, "encoded": policy.encode()}
    assert proposed.args == ready
    assert enacted.args == {"policy_hash": policy.hash, "previous": ZERO}


def test_policy_code__is_the_encoded_policy(chain: RevmChain, registry: Contract) -> None:
    kept = b"\0" + default_policy().hash + default_policy().encode()
    code = chain.code(registry.call.policy_code())
    assert code[: len(kept)] == kept
    assert not any(code[len(kept) :])  # zeros behind it: a reader may take more than there is


@pytest.mark.parametrize("delay", [0, 30 * 86_400 + 1])
def test_deploy__delay_out_of_range__refused(chain: RevmChain, delay: int) -> None:
    with pytest.raises(Reverted, match="timelock: delay out of range"):
        chain.deploy(artifact("Registry"), delay, DEFAULT, ZERO_ADDRESS, [], [], sender=chain.accounts[0])


def test_deploy__bad_policy__refused(chain: RevmChain) -> None:
    args = (DELAY, with_margin(3_001, 16, 0), ZERO_ADDRESS, [], [])
    with pytest.raises(Reverted, match="registry: kappa out of range"):
        chain.deploy(artifact("Registry"), *args, sender=chain.accounts[0])


SHOCK_BOUNDS = [
    5_000_000, 1_000_000, 5_000_000, 1_000_000, 1_000_000, 200_000, 1_000_000, 1_000_000, 200_000, 100_000, 500_000,
    1_000_000, 500_000, 1_000_000, 10_000, 100_000_000,
]  # fmt: skip
BAD: list[tuple[str, Words]] = [
    ("registry: unknown policy version", (2, *DEFAULT[1:])),
    ("registry: kappa out of range", with_margin(3_001, 16, 0)),
    ("registry: im_factor out of range", with_margin(10_000, 16, 16)),
    ("registry: im_factor out of range", with_margin(50_001, 16, 16)),
    ("registry: keeper reserve out of range", with_margin(0, 48, 32)),
    ("registry: keeper reserve out of range", with_margin(10_000_000_001, 48, 32)),
    ("registry: penalty out of range", with_margin(6_001, 16, 80)),
    ("registry: penalty out of range", with_margin(10_001, 16, 96)),
    ("registry: penalty time out of range", with_margin(0, 32, 112)),
    ("registry: penalty time out of range", with_margin(7 * 86_400 + 1, 32, 112)),
    ("registry: liquidator share out of range", with_margin(10_001, 16, 144)),
    ("registry: dust size out of range", with_margin(10**12 + 1, 48, 160)),
    ("registry: trade fee out of range", with_margin(101, 16, 208)),
    ("registry: price band out of range", with_margin(0, 16, 224)),
    ("registry: price band out of range", with_margin(5_001, 16, 224)),
    ("registry: gas multiple out of range", with_margin(501, 16, 240)),
    ("registry: row bits not zero", with_row(3, 1, 112, 144)),
    ("registry: row of the wrong kind", with_row(3, 1, 8, 0)),
    ("registry: row of the wrong kind", with_row(27, 0, 8, 0)),
    ("registry: row of the wrong kind", with_row(36, 2, 8, 0)),
    ("registry: row volatility unknown", with_row(3, 3, 8, 8)),
    ("registry: tail volatility is not up", with_row(27, 2, 8, 8)),
    ("registry: row volatility not zero", with_row(34, 1, 8, 8)),
    ("registry: row move out of range", with_row(3, 1_000_001, 64, 16)),
    ("registry: row move out of range", with_row(3, 2**64 - 1_000_001, 64, 16)),
    ("registry: row move out of range", with_row(27, 2**64 - 1_000_000, 64, 16)),
    ("registry: row move out of range", with_row(27, 10_000_001, 64, 16)),
    ("registry: row move out of range", with_row(27, 0, 64, 16)),
    ("registry: row move out of range", with_row(34, 2**64 - 1_000_000, 64, 16)),
    ("registry: row move out of range", with_row(39, 1_000_000, 64, 16)),
    ("registry: row weight not zero", with_row(3, 1, 64, 80)),
    ("registry: row weight not zero", with_row(39, 1, 64, 80)),
    ("registry: row weight out of range", with_row(33, 0, 64, 80)),
    ("registry: row weight out of range", with_row(33, 100_000_001, 64, 80)),
    ("registry: first row is not the mark", with_row(0, 1, 8, 8)),
    ("registry: first row is not the mark", with_row(0, 1, 64, 16)),
    *(("registry: shock out of range", with_shock(i, most + 1)) for i, most in enumerate(SHOCK_BOUNDS)),
    *(("registry: limit is zero", with_shock(i, 0)) for i in range(11, 16)),
    ("registry: no underlying", with_underlyings([])),
    ("registry: underlyings not ascending", with_underlyings([DEFAULT[4][1], DEFAULT[4][0]])),
    ("registry: underlyings not ascending", with_underlyings([DEFAULT[4][0], DEFAULT[4][0]])),
    ("registry: underlyings not ascending", with_underlying(0, 0, 16, 240)),
    ("registry: lots per unit is zero", with_underlying(0, 0, 32, 208)),
    ("registry: scan range bounds out of range", with_underlying(0, 0, 32, 176)),
    ("registry: scan range bounds out of range", with_underlying(0, 400_001, 32, 176)),
    ("registry: scan range bounds out of range", with_underlying(0, 1_000_000, 32, 144)),
    ("registry: slew out of range", with_underlying(0, 0, 32, 112)),
    ("registry: slew out of range", with_underlying(0, 10_000_001, 32, 112)),
    ("registry: slew falls faster than it rises", with_underlying(0, 100_001, 32, 80)),
    ("registry: depth is zero", with_underlying(0, 0, 48, 32)),
    ("registry: open-interest limit is zero", with_underlying(1, 0, 16, 16)),
    ("registry: haircut out of range", with_underlying(1, 10_001, 16, 0)),
]  # fmt: skip


def test_propose__any_parameter_out_of_bounds__refused(chain: RevmChain, registry: Contract) -> None:
    for words, policy in BAD:
        with pytest.raises(Reverted, match=words):
            registry.send.propose_policy(policy, sender=chain.accounts[0])
    assert registry.call.proposal(1, 0) == (ZERO, 0)


GOOD: list[Words] = [
    with_margin(3_000, 16, 0),
    with_margin(10_001, 16, 16),
    with_margin(6_000, 16, 80),
    with_margin(10_000, 16, 144),
    with_row(3, 1_000_000, 64, 16),
    with_row(3, 2**64 - 1_000_000, 64, 16),
    with_row(27, 2**64 - 999_999, 64, 16),
    with_row(33, 100_000_000, 64, 80),
    with_shock(5, 200_000),
    with_underlying(0, 400_000, 32, 176),
    with_underlying(0, 999_999, 32, 144),
    with_underlying(0, 100_000, 32, 80),
    with_underlyings([*DEFAULT[4], place(DEFAULT[4][1], 3, 16, 240), place(DEFAULT[4][1], 65_535, 16, 240)]),
]


def test_propose__parameters_at_their_bounds__accepted(chain: RevmChain, registry: Contract) -> None:
    for policy in GOOD:
        receipt = registry.send.propose_policy(policy, sender=chain.accounts[0])
        assert receipt.event("PolicyProposed").args == {
            "policy_hash": keccak(encoded(policy)),
            "ready_at": receipt.timestamp + DELAY,
            "encoded": encoded(policy),
        }
        assert registry.call.proposal(1, 0) == (keccak(encoded(policy)), receipt.timestamp + DELAY)


def test_propose__underlying_removed_or_lot_changed__refused(chain: RevmChain, registry: Contract) -> None:
    with pytest.raises(Reverted, match="registry: underlying removed"):
        registry.send.propose_policy(with_underlyings([DEFAULT[4][0]]), sender=chain.accounts[0])
    with pytest.raises(Reverted, match="registry: lot size changed"):
        registry.send.propose_policy(with_underlying(1, 101, 32, 208), sender=chain.accounts[0])


def test_enact__after_the_delay__changes_everything_at_once(chain: RevmChain, registry: Contract) -> None:
    owner, first = chain.accounts[0], default_policy().hash
    policy = with_margin(1_000, 16, 0)
    policy = (*policy[:4], [*policy[4], place(policy[4][1], 7, 16, 240)])
    began = registry.send.propose_policy(policy, sender=owner).timestamp
    assert registry.call.policy_hash() == first
    chain.set_next_timestamp(began + DELAY - 1)
    with pytest.raises(Reverted, match="timelock: too early"):
        registry.send.enact_policy(digest(policy), sender=owner)
    chain.set_next_timestamp(began + DELAY)
    with pytest.raises(Reverted, match="timelock: not what was proposed"):
        registry.send.enact_policy(digest(with_margin(1_001, 16, 0)), sender=owner)
    receipt = registry.send.enact_policy(digest(policy), sender=owner)
    made = digest(policy)
    assert receipt.event("PolicyEnacted").args == {"policy_hash": made, "previous": first}
    assert registry.call.policy_hash() == made
    assert registry.call.terms(made)[:2] == (True, policy[1])
    assert registry.call.terms(made)[4] == tuple(policy[4])
    assert registry.call.terms(first)[:2] == (False, DEFAULT[1])
    assert registry.call.proposal(1, 0) == (ZERO, 0)
    assert registry.call.underlying(7) == policy[4][2]
    with pytest.raises(Reverted, match="timelock: nothing proposed"):
        registry.send.enact_policy(digest(policy), sender=owner)


def test_threat_31__timelock__cannot_be_bypassed(chain: RevmChain, registry: Contract) -> None:
    owner = chain.accounts[0]
    harmless, grab = with_margin(1_900, 16, 0), with_margin(0, 16, 0)
    with pytest.raises(Reverted, match="timelock: nothing proposed"):
        registry.send.enact_policy(digest(harmless), sender=owner)
    began = registry.send.propose_policy(harmless, sender=owner).timestamp
    chain.set_next_timestamp(began + DELAY)
    registry.send.propose_policy(grab, sender=owner)  # the clock starts again
    with pytest.raises(Reverted, match="timelock: too early"):
        registry.send.enact_policy(digest(grab), sender=owner)
    with pytest.raises(Reverted, match="timelock: not what was proposed"):
        registry.send.enact_policy(digest(harmless), sender=owner)


def test_cancel__proposal__is_gone(chain: RevmChain, registry: Contract) -> None:
    owner, policy = chain.accounts[0], with_margin(1_000, 16, 0)
    with pytest.raises(Reverted, match="timelock: nothing proposed"):
        registry.send.cancel(1, 0, sender=owner)
    began = registry.send.propose_policy(policy, sender=owner).timestamp
    receipt = registry.send.cancel(1, 0, sender=owner)
    assert receipt.event("Cancelled").args == {"kind": 1, "key": 0, "content": digest(policy)}
    assert registry.call.proposal(1, 0) == (ZERO, 0)
    chain.set_next_timestamp(began + DELAY)
    with pytest.raises(Reverted, match="timelock: nothing proposed"):
        registry.send.enact_policy(digest(policy), sender=owner)


def test_owner__alone__acts(chain: RevmChain, registry: Contract) -> None:
    stranger, policy = chain.accounts[1], with_margin(1_000, 16, 0)
    registry.send.propose_policy(policy, sender=chain.accounts[0])
    calls: list[tuple[Any, tuple[Any, ...]]] = [
        (registry.send.list_instruments, ([instrument(1, 1)],)),
        (registry.send.propose_policy, (policy,)),
        (registry.send.enact_policy, (digest(policy),)),
        (registry.send.cancel, (1, 0)),
    ]
    for call, args in calls:
        with pytest.raises(Reverted, match="ownable: caller is not the owner"):
            call(*args, sender=stranger)
    registry.send.transfer_ownership(stranger.address, sender=chain.accounts[0])
    with pytest.raises(Reverted, match="ownable: caller is not the owner"):
        registry.send.cancel(1, 0, sender=stranger)
    registry.send.accept_ownership(sender=stranger)
    registry.send.cancel(1, 0, sender=stranger)


# Instruments


def test_list__each_kind__listed(chain: RevmChain, registry: Contract) -> None:
    soon = chain.timestamp + 86_400
    ids = sorted(
        [
            instrument(1, 1),
            instrument(1, 2, soon),
            instrument(1, 3, soon, 50_000_000_000),
            instrument(1, 4, soon, 50_000_000_000),
            instrument(2, 1),
        ]
    )
    assert not any(registry.call.is_listed(i) for i in ids)
    receipt = registry.send.list_instruments(ids, sender=chain.accounts[0])
    assert receipt.event("InstrumentsListed").args == {"instruments": tuple(ids)}
    assert all(registry.call.is_listed(i) for i in ids)
    assert not registry.call.is_listed(instrument(2, 2, soon))


def test_list__malformed__refused(chain: RevmChain, registry: Contract) -> None:
    owner, soon, strike = chain.accounts[0], chain.timestamp + 86_400, 50_000_000_000
    registry.send.list_instruments([instrument(2, 1)], sender=owner)
    cases = [
        ([instrument(1, 1) | 1 << 104], "registry: not an instrument"),
        ([instrument(3, 1)], "registry: underlying is not listed"),
        ([instrument(0, 1)], "registry: underlying is not listed"),
        ([0], "registry: instruments not ascending"),
        ([instrument(1, 0)], "registry: kind cannot be listed"),
        ([instrument(1, 5, 0, 1)], "registry: kind cannot be listed"),
        ([instrument(1, 6)], "registry: kind cannot be listed"),
        ([instrument(1, 1, 0, 1)], "registry: strike does not fit the kind"),
        ([instrument(1, 2, soon, strike)], "registry: strike does not fit the kind"),
        ([instrument(1, 3, soon, 0)], "registry: strike does not fit the kind"),
        ([instrument(1, 4, soon, 0)], "registry: strike does not fit the kind"),
        ([instrument(1, 1, soon)], "registry: expiry does not fit the kind"),
        ([instrument(1, 2)], "registry: expiry is not in the future"),
        ([instrument(1, 2, chain.timestamp)], "registry: expiry is not in the future"),
        ([instrument(1, 3, 0, strike)], "registry: expiry is not in the future"),
        ([instrument(2, 1)], "registry: instrument already listed"),
        ([instrument(1, 1), instrument(1, 1)], "registry: instruments not ascending"),
        ([instrument(1, 2, soon), instrument(1, 1)], "registry: instruments not ascending"),
    ]
    for ids, words in cases:
        with pytest.raises(Reverted, match=words):
            registry.send.list_instruments(ids, sender=owner)
    assert not registry.call.is_listed(instrument(1, 1))


def test_underlying__not_in_the_policy__refused(registry: Contract) -> None:
    for number in (0, 3):
        with pytest.raises(Reverted, match="registry: underlying is not listed"):
            registry.call.underlying(number)
