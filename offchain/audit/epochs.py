"""Every word of a posted epoch, against what the chain's own events and the policy make it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eth_abi import encode

from offchain.audit.ground import MALFORMED, Findings, Ground, Snapshot
from offchain.audit.observed import Last, expected_inputs, expected_marks, expected_settlements, same_slot, status_of
from offchain.audit.recompute import (
    DISPUTED,
    FEED_DISAGREES,
    Header,
    Mark,
    Priced,
    account_leaf,
    account_row,
    merkle_root,
    price,
    signing_digest,
)
from offchain.audit.record import Record
from offchain.audit.signatures import Signed
from offchain.chain.backends import Event
from offchain.instruments import Instrument
from offchain.keccak import keccak256
from offchain.risk.policy import Policy

SHORTFALL = 3
"""The account that carries what insurance could not pay."""


@dataclass(frozen=True)
class Epoch:
    """A posted epoch as far as it could be computed again.

    Attributes
    ----------
    priced : instruments by id, from the leaf's inputs; one that cannot be priced is missing.
    signed : signatures that it rests on, still to be checked.
    leaves : leaves found identical.
    settlements : settlement words that it states.
    """

    header: Header
    policy: Policy
    marks: dict[int, Mark]
    priced: dict[int, Priced]
    signed: tuple[Signed, ...]
    leaves: int
    settlements: tuple[int, ...] = ()


@dataclass
class Check:
    """The checks of one epoch.

    Attributes
    ----------
    in_force : hashes of the policies that it may be under: the one in force, and the one before.
    changed : `StatusChanged` events of its transaction. before : the epoch before, as it was checked.
    """

    record: Record
    ground: Ground
    findings: Findings
    event: Event
    in_force: Sequence[bytes]
    last: Last | None
    changed: Sequence[Event] = ()
    before: Epoch | None = None
    unquoted: dict[int, tuple[Priced, int]] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)

    def run(self) -> Epoch | None:
        """Check everything; None where there is too little to stand on."""
        try:
            self.header = Header.of(self.event.args["header"])
            self.where = f"epoch {self.header.epoch}"
            return self._run()
        except MALFORMED as error:
            number = self.event.args.get("epoch", 0)
            self.findings.add("header", f"epoch {number}", "a well-formed epoch", repr(error), number)
            return None

    def same(self, kind: str, what: str, expected: Any, found: Any) -> bool:
        return self.findings.same(kind, f"{self.where}, {what}", expected, found, self.event.args["epoch"])

    def wrong(self, kind: str, what: str, expected: Any, found: Any) -> None:
        self.findings.add(kind, f"{self.where}, {what}", expected, found, self.event.args["epoch"])

    def _run(self) -> Epoch | None:
        header = self.header
        self.same("header", "hash", header.hash, self.event.args["header_hash"])
        self.same("header", "number in the event", header.epoch, self.event.args["epoch"])
        self.same("header", "slot of its timestamp", header.timestamp // self.record.slot_seconds, header.epoch)
        known = self.record.block_hashes.get(header.snapshot_block)
        self.same("header", f"hash of snapshot block {header.snapshot_block}", known, header.snapshot_hash)
        if header.snapshot_block >= self.event.block_number:
            self.wrong("header", "snapshot block", f"before block {self.event.block_number}", header.snapshot_block)
        if header.policy_hash not in self.in_force:
            self.wrong("policy", "hash", self.in_force[0], header.policy_hash)
        signed = self._committee()
        bundle = self._bundle()
        policy = self.ground.policies.get(header.policy_hash)
        if policy is None:
            self.wrong("policy", "content", "a policy that was enacted", header.policy_hash)
            return None
        marks = {m.underlying: m for m in map(Mark.of, header.marks)}
        self.same("header", "underlyings", [u.underlying for u in policy.underlyings], [w >> 240 for w in header.marks])
        self.same("header", "unused bits of its marks", 0, sum(w & (1 << 72) - 1 for w in header.marks))
        marks = self._statuses(marks, policy)
        snapshot = self.ground.snapshots[header.snapshot_block]
        self.same("shortfall", "total", max(0, -snapshot.cash.get(SHORTFALL, 0)), header.shortfall)
        if bundle is None:
            return Epoch(header, policy, marks, {}, tuple(signed), 0)
        signed += self._observations(bundle, policy)
        self._fields(bundle, policy)
        priced, instruments = self._instruments(bundle, policy, marks, snapshot)
        accounts = self._accounts(bundle, priced, snapshot)
        settlements = tuple(map(unword, bundle["settlements"]))
        return Epoch(header, policy, marks, priced, tuple(signed), instruments + accounts, settlements)

    def _statuses(self, marks: Mapping[int, Mark], policy: Policy) -> dict[int, Mark]:
        """The marks with the statuses that hold: the worst of the stated one, a jump, and a feed that disagrees."""
        changed = {event.args["underlying"]: event.args for event in self.changed}
        out = {}
        for number, mark in marks.items():
            expected = status_of(mark, self.last, self.header, policy)
            said = changed.pop(number, None)
            if said is not None and said["feed"] == FEED_DISAGREES:
                far = abs(mark.index - said["price"]) * 1_000_000 > said["price"] * policy.shocks.dispute
                self.same("status", f"underlying {number}, feed disagrees", far, True)
                expected = DISPUTED
            found = mark.status if said is None else said["status"]
            self.same("status", f"underlying {number}", expected, found)
            out[number] = replace(mark, status=found)
        if changed:
            self.wrong("status", "underlyings", "those of the header", sorted(changed))
        return out

    def _committee(self) -> list[Signed]:
        """The quorum; its signature is checked later, with all others."""
        mask, signature = self.event.args["mask"], self.event.args["signature"]
        seated = self.ground.committees.get(self.header.committee_set)
        if seated is None:
            self.wrong("signature", "committee set", "one that was seated", self.header.committee_set)
            return []
        if mask >> len(seated.keys):
            self.wrong("signature", "mask", f"below 2^{len(seated.keys)}", mask)
            return []
        signers = [key for i, key in enumerate(seated.keys) if mask >> i & 1]
        if len(signers) < seated.quorum:
            self.wrong("signature", "signers", f"{seated.quorum} or more", len(signers))
        digest = self.header.digest(self.record.chain_id, self.record.oracle)
        return [Signed(f"{self.where}, header", tuple(signers), digest, signature)]

    def _bundle(self) -> dict[str, Any] | None:
        data = self.record.bundles.get(self.header.bundle_hash)
        if data is None:
            self.wrong("bundle", "file", f"bytes that hash to 0x{self.header.bundle_hash.hex()}", "nothing")
            return None
        self.same("bundle", "hash", self.header.bundle_hash, keccak256(data))
        try:
            bundle = json.loads(data)
        except ValueError as error:
            self.wrong("bundle", "content", "JSON", error)
            return None
        if canonical(bundle) != data:
            self.wrong("bundle", "content", "canonical JSON", "another spelling")
        if not isinstance(bundle, dict):
            self.wrong("bundle", "content", "an object", type(bundle).__name__)
            return None
        return bundle

    def _fields(self, bundle: Mapping[str, Any], policy: Policy) -> None:
        header = self.header
        expected = {
            "version": 1,
            "chain_id": self.record.chain_id,
            "oracle": self.record.oracle.lower(),
            "committee_set": header.committee_set,
            "epoch": header.epoch,
            "timestamp": header.timestamp,
            "snapshot_block": header.snapshot_block,
            "snapshot_hash": f"0x{header.snapshot_hash.hex()}",
            "policy": f"0x{policy.encode().hex()}",
            "marks": [word(w) for w in header.marks],
        }
        lists = {"instruments", "accounts", "observations", "settlements"}
        self.same("bundle", "keys", sorted(lists | set(expected)), sorted(bundle))
        for key, value in expected.items():
            self.same("bundle", key, value, bundle.get(key))

    def _observations(self, bundle: Mapping[str, Any], policy: Policy) -> list[Signed]:
        """Who observed, what they signed, and that the epoch's inputs are their medians."""
        seated = self.ground.committees.get(self.header.committee_set)
        if seated is None:
            return []
        out = []
        members = [item["member"] for item in bundle["observations"]]
        if members != sorted(set(members)) or not set(members) <= set(range(len(seated.keys))):
            self.wrong("observation", "members", "members of the committee, ascending", members)
            return []
        if len(members) < seated.quorum:
            self.wrong("observation", "count", f"{seated.quorum} or more", len(members))
        for item in bundle["observations"]:
            digest = signing_digest(
                "ballast.observation.v1",
                self.record.chain_id,
                self.record.oracle,
                self.header.committee_set,
                self.header.epoch,
                keccak256(canonical(item["body"])),
            )
            where = f"{self.where}, observation of member {item['member']}"
            out.append(Signed(where, (seated.keys[item["member"]],), digest, unhex(item["signature"])))
            if set(item) != {"member", "body", "signature"} or not same_slot(item["body"], self.header):
                self.wrong("observation", f"member {item['member']}", "one of this slot", item["body"].get("epoch"))
        self._medians([item["body"] for item in bundle["observations"]], bundle, policy, seated.quorum)
        return out

    def _medians(
        self, bodies: Sequence[Mapping[str, Any]], bundle: Mapping[str, Any], policy: Policy, quorum: int
    ) -> None:
        try:
            marks = [mark.word for mark in expected_marks(bodies, self.header, self.last, policy)]
            self.same("median", "marks", marks, list(self.header.marks))
        except MALFORMED as error:
            self.wrong("median", "marks", "medians of observations", error)
        for row in bundle["instruments"]:
            meta = unword(row[0])
            inputs = (meta >> 104 & (1 << 48) - 1, meta >> 72 & (1 << 32) - 1)
            key, where = meta >> 152, f"instrument {meta >> 152:#x}"
            try:
                expected = expected_inputs(bodies, key, quorum) or self._carried(key)
                self.same("median", where, expected, inputs)
            except MALFORMED as error:
                self.wrong("median", where, "medians of observations", error)
        held = [Instrument.from_id(unword(row[0]) >> 152) for row in bundle["instruments"]]
        due = {(i.underlying, i.expiry) for i in held if i.kind.is_dated and i.expiry <= self.header.timestamp}
        earlier = self.before.settlements if self.before is not None else ()
        stated = {(w >> 240, w >> 208 & (1 << 32) - 1): w >> 144 & (1 << 64) - 1 for w in earlier}
        try:
            words = expected_settlements(bodies, due, stated, quorum)
            self.same("median", "settlement prices", words, list(map(unword, bundle["settlements"])))
        except MALFORMED as error:
            self.wrong("median", "settlement prices", "medians of observations", error)
        self.unknown = {key for key in self.ground.listed if expected_inputs(bodies, key, quorum) is None}

    def _carried(self, key: int) -> tuple[int, int]:
        """Inputs of an instrument that no quorum saw: those of the epoch before, the forward moved with the index.

        Raises
        ------
        ValueError
            It was not in that epoch either.
        """
        if self.before is None or key not in self.before.priced:
            raise ValueError(f"no quorum observed instrument {key:#x}, and no epoch before has it")
        was = self.before.priced[key]
        self.unquoted[key] = (was, self.header.timestamp - self.before.header.timestamp)
        index = {mark.underlying: mark.index for mark in map(Mark.of, self.header.marks)}
        forward = (was.meta >> 104 & (1 << 48) - 1) * index[key >> 88] // self.before.marks[key >> 88].index
        return max(forward, 1), was.meta >> 72 & (1 << 32) - 1

    def _instruments(
        self, bundle: Mapping[str, Any], policy: Policy, marks: dict[int, Mark], snapshot: Snapshot
    ) -> tuple[dict[int, Priced], int]:
        """Price every instrument again from its leaf's inputs; the leaves, their order, and the root."""
        rows = [tuple(map(unword, row)) for row in bundle["instruments"]]
        ids = [row[0] >> 152 for row in rows]
        if ids != sorted(set(ids)):
            self.wrong("instrument leaf", "order", "ascending ids, each once", [hex(i) for i in ids])
        listed = {i for i, block in self.ground.listed.items() if block <= self.header.snapshot_block}
        needed = {i for i, lots in snapshot.open_interest.items() if lots} | {
            i for i in listed if (i >> 56 & (1 << 32) - 1 or self.header.timestamp + 1) > self.header.timestamp
        }
        never = {key for key in self.unknown if self.before is None or key not in self.before.priced}
        for key in sorted(needed - set(ids) - never):
            self.wrong("instrument leaf", f"instrument {key:#x}", "a leaf", "none")
        for key in sorted(set(ids) - needed):
            self.wrong(
                "instrument leaf", f"instrument {key:#x}", "none: not listed, or expired and held by nobody", "one"
            )
        priced: dict[int, Priced] = {}
        metas = [row[0] for row in rows]
        try:
            priced = price(metas, marks, self.header.timestamp, snapshot.open_interest, policy, self.unquoted)
        except MALFORMED:
            for meta in metas:
                try:
                    args = (self.header.timestamp, snapshot.open_interest, policy, self.unquoted)
                    priced |= price([meta], marks, *args)
                except MALFORMED as error:
                    self.wrong("instrument leaf", f"instrument {meta >> 152:#x}", "inputs that can be priced", error)
        good = 0
        for row in rows:
            made = priced.get(row[0] >> 152)
            if made is not None:
                good += self.same("instrument leaf", f"instrument {row[0] >> 152:#x}", (made.meta, *made.words), row)
        leaves = [made.leaf for _, made in sorted(priced.items())] + self._settlements(bundle, marks)
        self.same("root", "instruments", merkle_root(leaves), self.header.instrument_root)
        return priced, good

    def _settlements(self, bundle: Mapping[str, Any], marks: Mapping[int, Mark]) -> list[bytes]:
        """Encoded settlement leaves: of listed underlyings and past expiries, each once, ascending."""
        words = list(map(unword, bundle["settlements"]))
        keys = [w >> 208 for w in words]
        if keys != sorted(set(keys)):
            self.wrong("settlement leaf", "order", "ascending, each once", list(map(hex, words)))
        for each in words:
            expiry, stated = each >> 208 & (1 << 32) - 1, each >> 144 & (1 << 64) - 1
            formed = each >> 240 in marks and stated and not each & (1 << 144) - 1
            if not formed or not expiry or expiry > self.header.timestamp:
                self.wrong("settlement leaf", "word", "a price of an expiry that has passed", hex(each))
        return [encode(["uint256"], [each]) for each in words]

    def _accounts(self, bundle: Mapping[str, Any], priced: dict[int, Priced], snapshot: Snapshot) -> int:
        """Every account with positions at the snapshot has its leaf, no other has one, in order; and the root."""
        rows = bundle["accounts"]
        order = [unword(row[0]) >> 192 for row in rows]
        found = dict(zip(order, rows, strict=True))
        if order != sorted(set(order)):
            self.wrong("account leaf", "order", "ascending ids, each once", order)
        good, leaves = 0, []
        for account, positions in sorted(snapshot.positions.items()):
            try:
                made = account_row(account, positions, snapshot.hashes[account], priced)
            except KeyError as error:
                self.wrong("account leaf", f"account {account}", f"a leaf for its instrument {error}", "none")
                continue
            leaf = account_leaf(made)
            leaves.append(leaf)
            if account not in found:
                self.wrong("account leaf", f"account {account}", "a leaf", "none")
            elif (row := found.pop(account)) == spelled(leaf):
                good += 1
            else:
                head, position_hash, cost, vectors = row
                stated = unword(head), unhex(position_hash), unword(cost), [unword(w) for w in vectors]
                self._difference(account, made, stated)
        for account in found:
            self.wrong("account leaf", f"account {account}", "no leaf: it has no position", "one")
        self.same("root", "accounts", merkle_root(leaves), self.header.account_root)
        return good

    def _difference(self, account: int, made: Sequence[Any], row: Sequence[Any]) -> None:
        """Name the first field in which two account leaves differ."""
        for name, ours, theirs in zip(("head", "position hash", "cost"), made, row, strict=False):
            if ours != theirs:
                self.wrong("account leaf", f"account {account}, {name}", ours, theirs)
                return
        if len(made[3]) != len(row[3]):
            self.wrong("account leaf", f"account {account}, words of vectors", len(made[3]), len(row[3]))
            return
        places = [i for i, (ours, theirs) in enumerate(zip(made[3], row[3], strict=True)) if ours != theirs]
        if not places:
            self.wrong("account leaf", f"account {account}", "lists of words", "the same words otherwise arranged")
            return
        place = places[0]
        self.wrong("account leaf", f"account {account}, word {place} of vectors", made[3][place], row[3][place])


def canonical(value: Any) -> bytes:
    """Bundle spelling of a JSON value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def word(value: int) -> str:
    """Bundle spelling of a word. Raises ValueError where it is none."""
    if not 0 <= value < 1 << 256:
        raise ValueError(f"{value} is not a 256-bit word")
    return f"0x{value:064x}"


def spelled(leaf: bytes) -> list[Any]:
    """An encoded account leaf as a bundle's row: head, position hash, cost, and the vectors' words."""
    head, position_hash, cost, _, _, *vectors = [f"0x{text}" for text in leaf.hex(",", 32).split(",")]
    return [head, position_hash, cost, vectors]


def unword(text: str) -> int:
    """A word from its bundle spelling. Raises ValueError where it is spelled otherwise."""
    value = int(text, 16)
    if word(value) != text:
        raise ValueError(f"{text!r} is not a word of 64 lower-case digits after 0x")
    return value


def unhex(text: str) -> bytes:
    """Bytes from their bundle spelling. Raises ValueError where it is spelled otherwise."""
    value = bytes.fromhex(text[2:])
    if f"0x{value.hex()}" != text:
        raise ValueError(f"{text[:20]!r} is not lower-case hexadecimal after 0x")
    return value
