"""An epoch: every leaf, both trees, the header and the bundle, from a market and the ledger's books."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from offchain.instruments import Instrument, InstrumentLeaf
from offchain.oracle.accounts import account_leaves
from offchain.oracle.book import SHORTFALL, Book
from offchain.oracle.bundles import Bundle, BundleError, SignedBody, bundle_hash
from offchain.oracle.headers import AccountLeaf, Header, Mark, instrument_leaf_hash, settlement_leaf_hash
from offchain.oracle.observations import Observation, Slot
from offchain.oracle.trees import Tree
from offchain.risk.arrays import build_leaves
from offchain.risk.policy import Policy
from offchain.risk.portfolios import Content

LegTuple = tuple[int, list[int]]
"""``(meta, array)`` as a contract's `Leg` takes it."""
WitnessTuple = tuple[int, int, list[int], list[bytes]]
"""``(head, cost, vectors, proof)`` as a contract's `Witness` takes it."""


@dataclass(frozen=True)
class Epoch:
    """An epoch with everything that its header commits to.

    Attributes
    ----------
    header : what is signed and posted.
    policy : the policy that its hash names.
    leaves : instrument leaves in ascending id.
    settlements : settlement words, after the instruments in their tree.
    rows : account leaves in ascending account id.
    bundle : the file that holds it all.
    """

    header: Header
    policy: Policy
    leaves: tuple[InstrumentLeaf, ...]
    settlements: tuple[int, ...]
    rows: tuple[AccountLeaf, ...]
    bundle: bytes

    @cached_property
    def instrument_tree(self) -> Tree:
        """Tree of instruments, then settlements."""
        return instrument_tree(self.leaves, self.settlements)

    @cached_property
    def account_tree(self) -> Tree:
        """Tree of accounts."""
        return account_tree(self.rows)

    @cached_property
    def contents(self) -> dict[int, Content]:
        """Margin content by account id, of accounts with a leaf."""
        return {row.account: Content.from_words(row.head, row.cost, row.vectors) for row in self.rows}

    def position_hash(self, account: int) -> bytes | None:
        """Position hash in an account's leaf; None where it has none."""
        place = self._account_place.get(account)
        return None if place is None else self.rows[place].position_hash

    def witness(self, account: int) -> WitnessTuple:
        """Witness of an account by its leaf. It holds while the account's position hash is the leaf's.

        A proof is never empty: a position has another side, so a tree with one account does not occur.

        Raises
        ------
        KeyError
            The account has no leaf: it had no position at the snapshot.
        """
        place = self._account_place.get(account)
        if place is None:
            raise KeyError(f"account {account} has no leaf in epoch {self.header.epoch}")
        row = self.rows[place]
        return row.head, row.cost, row.vectors, self.account_tree.proof(place)

    def leg(self, instrument: int) -> tuple[LegTuple, list[bytes]]:
        """An instrument's leaf and its proof.

        Raises
        ------
        KeyError
            The instrument has no leaf.
        """
        place = self._place(instrument)
        return self.leaves[place].pack(), self.instrument_tree.proof(place)

    def legs(self, instruments: Iterable[int]) -> tuple[list[LegTuple], list[bytes], list[int]]:
        """Several instruments' leaves in ascending id, one proof for all, and its packed flags.

        Raises
        ------
        KeyError
            An instrument has no leaf. ValueError: one is named twice.
        """
        places = sorted(self._place(instrument) for instrument in instruments)
        proof, flags = self.instrument_tree.multiproof(places)
        return [self.leaves[place].pack() for place in places], proof, flags

    @classmethod
    def from_bundle(cls, header: Header, data: bytes) -> Epoch:
        """The epoch of a posted header and its bundle, for whoever serves proofs from them.

        Raises
        ------
        BundleError
            The bundle is not the one that the header names, or does not give its roots.
        """
        if bundle_hash(data) != header.bundle_hash:
            raise BundleError(f"these bytes are not the bundle of epoch {header.epoch}")
        bundle = Bundle.decode(data)
        try:
            policy = Policy.decode(bundle.policy)
            leaves = tuple(InstrumentLeaf.unpack(meta, array) for meta, array in bundle.instruments)
        except ValueError as error:
            raise BundleError(f"the bundle of epoch {header.epoch} holds what cannot be: {error}") from error
        epoch = cls(header, policy, leaves, bundle.settlements, bundle.accounts, data)
        roots = epoch.instrument_tree.root, epoch.account_tree.root
        if header_of(bundle, policy, header.shortfall, *roots, header.bundle_hash) != header:
            raise BundleError(f"the bundle of epoch {header.epoch} does not give its header")
        return epoch

    @cached_property
    def _instrument_place(self) -> dict[int, int]:
        return {leaf.id: place for place, leaf in enumerate(self.leaves)}

    @cached_property
    def _account_place(self) -> dict[int, int]:
        return {row.account: place for place, row in enumerate(self.rows)}

    def _place(self, instrument: int) -> int:
        place = self._instrument_place.get(instrument)
        if place is None:
            raise KeyError(f"instrument {instrument:#x} has no leaf in epoch {self.header.epoch}")
        return place


def build_epoch(
    slot: Slot, market: Observation, book: Book, policy: Policy, observations: Sequence[SignedBody] = ()
) -> Epoch:
    """Price the market and put an epoch together.

    Parameters
    ----------
    slot : what the epoch is of.
    market : medians within the contract's bounds (`observations.bounded`).
    book : the ledger's books at the slot's snapshot block.
    policy : in force.
    observations : those that the medians were taken of, ascending member.

    Raises
    ------
    ValueError
        A value is out of range; the message names it.
    """
    leaves = price(slot, market, book, policy)
    return assemble(slot, marks_of(market), leaves, book, policy, observations, market.settlement_words)


def marks_of(market: Observation) -> tuple[int, ...]:
    """Words of the header's marks, ascending underlying."""
    quotes = sorted(market.underlyings.items())
    return tuple(Mark(number, q.index, q.funding, q.scan_range, q.status).pack() for number, q in quotes)


def price(slot: Slot, market: Observation, book: Book, policy: Policy) -> list[InstrumentLeaf]:
    """Instrument leaves of a market: floats at work inside, integers in and out."""
    quotes = market.underlyings
    keys = sorted(market.instruments)
    return build_leaves(
        [Instrument.from_id(key) for key in keys],
        [market.instruments[key][0] for key in keys],
        [market.instruments[key][1] for key in keys],
        {number: quote.index for number, quote in quotes.items()},
        {number: quote.funding for number, quote in quotes.items()},
        {number: quote.scan_range for number, quote in quotes.items()},
        slot.timestamp,
        policy,
        open_interest=book.open_interest(),
        missing=market.missing,
    )


def assemble(
    slot: Slot,
    marks: tuple[int, ...],
    leaves: Sequence[InstrumentLeaf],
    book: Book,
    policy: Policy,
    observations: Sequence[SignedBody] = (),
    settlements: Sequence[int] = (),
) -> Epoch:
    """Put an epoch together from leaves that are priced already: integers only, the same bytes everywhere."""
    rows = account_leaves(book, leaves)
    bundle = Bundle(
        chain_id=slot.chain_id,
        oracle=slot.oracle,
        committee_set=slot.committee_set,
        epoch=slot.epoch,
        timestamp=slot.timestamp,
        snapshot_block=slot.snapshot_block,
        snapshot_hash=slot.snapshot_hash,
        policy=policy.encode(),
        marks=marks,
        instruments=tuple((leaf.meta, leaf.words) for leaf in leaves),
        settlements=tuple(settlements),
        accounts=rows,
        observations=tuple(observations),
    )
    data = bundle.encode()
    instruments, accounts = instrument_tree(leaves, settlements), account_tree(rows)
    header = header_of(bundle, policy, shortfall_of(book), instruments.root, accounts.root, bundle_hash(data))
    epoch = Epoch(header, policy, tuple(leaves), tuple(settlements), rows, data)
    # The trees are built already: put them where `cached_property` looks.
    epoch.__dict__.update(instrument_tree=instruments, account_tree=accounts)
    return epoch


def header_of(
    bundle: Bundle, policy: Policy, shortfall: int, instrument_root: bytes, account_root: bytes, address: bytes
) -> Header:
    """The header that commits to a bundle, whose hash is `address`."""
    return Header(
        epoch=bundle.epoch,
        timestamp=bundle.timestamp,
        snapshot_block=bundle.snapshot_block,
        snapshot_hash=bundle.snapshot_hash,
        committee_set=bundle.committee_set,
        policy_hash=policy.hash,
        shortfall=shortfall,
        instrument_root=instrument_root,
        account_root=account_root,
        bundle_hash=address,
        marks=bundle.marks,
    )


def shortfall_of(book: Book) -> int:
    """Total shortfall that the ledger has recorded: what the shortfall account owes, micro-USD."""
    return max(0, -book.accounts[SHORTFALL].cash)


def instrument_tree(leaves: Sequence[InstrumentLeaf], settlements: Sequence[int] = ()) -> Tree:
    """Tree of instrument leaves, ascending id, then settlement leaves."""
    return Tree(
        [instrument_leaf_hash(leaf.meta, leaf.words) for leaf in leaves]
        + [settlement_leaf_hash(word) for word in settlements]
    )


def account_tree(rows: Sequence[AccountLeaf]) -> Tree:
    """Tree of account leaves, ascending id."""
    return Tree([row.hash for row in rows])
