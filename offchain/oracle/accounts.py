"""Account leaves of a whole book at once: the bytes that the tree hashes, from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from offchain.instruments import InstrumentLeaf
from offchain.oracle.book import Book
from offchain.oracle.headers import FIXED, VECTOR_WORDS, AccountLeaf
from offchain.risk.bulk import BulkBook, Ints, leaf_columns
from offchain.units import MAX_UNDERLYINGS

VECTOR_BYTES = 32 * VECTOR_WORDS
_B63 = np.uint64(1 << 63)


_arrays: WeakKeyDictionary[Book, tuple[int, tuple[int, ...], BulkBook]] = WeakKeyDictionary()


def holdings(book: Book, instruments: Sequence[int]) -> BulkBook:
    """Positions of all accounts with a leaf as arrays, ascending; kept until a position of the book changes.

    Parameters
    ----------
    book : the ledger's books. instruments : ids, ascending.

    Raises
    ------
    ValueError
        A position is in none of the instruments, or an account exceeds a limit.
    """
    key = book.position_version, tuple(instruments)
    kept = _arrays.get(book)
    if kept is None or kept[:2] != key:
        kept = *key, BulkBook.of({account: book.positions(account) for account in book.holders()}, instruments)
        _arrays[book] = kept
    return kept[2]


def account_leaves(book: Book, leaves: Sequence[InstrumentLeaf]) -> tuple[AccountLeaf, ...]:
    """Leaves of every account with a position, ascending.

    Parameters
    ----------
    book : the ledger's books. leaves : of every instrument, ascending id.

    Raises
    ------
    ValueError
        A position's instrument has no leaf, an account exceeds a limit, or a token is held short.
    """
    bulk = holdings(book, [leaf.id for leaf in leaves])
    return encode_leaves(bulk, leaves, [book.accounts[each].position_hash for each in bulk.accounts.tolist()])


def encode_leaves(
    book: BulkBook, leaves: Sequence[InstrumentLeaf], position_hashes: Sequence[bytes]
) -> tuple[AccountLeaf, ...]:
    """Leaves of a bulk book, in which every account holds something: `headers.encode_account` for all at once.

    Parameters
    ----------
    book : positions. leaves : one for each of its instruments, in their order. position_hashes : one for each account.

    Raises
    ------
    ValueError
        The leaves are of other instruments; a token is held short.
    """
    found = book.evaluate_vectors(*leaf_columns(leaves, book.instruments))
    widths = book.held.sum(axis=1)
    owner, place = np.nonzero(book.held)  # pairs of account and underlying, ascending
    ends = np.cumsum(widths)
    slots = np.zeros((len(widths), MAX_UNDERLYINGS), dtype=">u2")
    slots[owner, np.arange(len(owner)) - (ends - widths)[owner]] = book.underlyings[place]
    words = np.zeros((len(widths), FIXED // 8), dtype=">u8")  # five words of four fields, most significant first
    words[:, 0] = book.accounts
    words[:, 1:2] = slots.view(">u8")
    words[:, 2] = book.counts
    words[:, 3] = book.sum_abs
    words[:, 4:8] = np.frombuffer(b"".join(position_hashes), dtype=">u8").reshape(-1, 4)
    words[:, 9] = found.closeout.astype(np.uint64)  # sum |q| < 2^32 lots at less than 2^32 each
    words[:, 11] = book.collateral(leaves)
    words[:, 15] = FIXED - 32  # where the vectors begin, as `abi.encode` says it
    words[:, 19] = VECTOR_WORDS * widths
    heads, vectors = words.tobytes(), pack_vectors(found.vectors[owner, place])
    stops = (VECTOR_BYTES * ends).tolist()
    return tuple(
        AccountLeaf(heads[FIXED * at : FIXED * (at + 1)] + vectors[start:stop])
        for at, (start, stop) in enumerate(zip([0, *stops], stops, strict=False))
    )


def pack_vectors(vectors: Ints | npt.NDArray[Any]) -> bytes:
    """Scenario vectors as words, one after another: the bytes of `portfolios.pack_vector`.

    Parameters
    ----------
    vectors : int64 (n, 40).
    """
    lanes = np.ascontiguousarray(vectors, dtype=np.int64).view(np.uint64) ^ _B63  # adds 2^63 modulo 2^64
    # Lane 0 is the least significant of its word, so it comes last.
    return lanes.reshape(-1, VECTOR_WORDS, 4)[:, :, ::-1].astype(">u8").tobytes()
