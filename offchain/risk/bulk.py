"""All accounts at once: scenario vectors and margins in NumPy, the same integers as `risk.portfolios`.

A book is a sparse matrix, accounts by instruments, in compressed rows. Positions of an account stand in instrument
order, instruments are ordered by underlying, so every (account, underlying) pair is one run, and all scenario vectors
are one integer matrix product.

Why 64 bits are enough, and where not. A lane is `|sum q v| <= sum |q| * 2^31 < 2^63`, so vectors always fit. PV, risk
and requirements need not: they add cash, subtract lanes, and multiply by `kappa` and `im_factor`. For each account
`bound = sum |q| * (2 max |v| + max c) + |cash| + K` is computed in floats, which cannot overflow. Below 2^58, PV and
requirement are below 2^58 too; products are split, ``f * x // 10^4 = f * (x // 10^4) + f * (x % 10^4) // 10^4``, and as
``f < 2^16`` nothing passes 7 * 2^58 < 2^61. An account beyond 2^58 (288 billion dollars) goes through the twin, and the
result's arrays hold Python integers then.

Two engines, one result: a book of `COMPILE_FROM` positions or more is added by the compiled loops of
`risk.margin_kernel`, a smaller one in NumPy, which has nothing to compile. Both are integers below the same bound, so
they agree to the last bit. `margins_of` does not keep the vectors: a million accounts on four underlyings would need
1.3 GB for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from offchain.instruments import InstrumentLeaf, Kind
from offchain.risk.policy import MarginParams
from offchain.risk.portfolios import Content, Margin, evaluate
from offchain.units import BASIS, MAX_POSITIONS, MAX_SUM_ABS, MAX_UNDERLYINGS, MAX_VALUE, SCENARIOS

Ints = npt.NDArray[np.int64]
_SAFE = 2.0**58
COMPILE_FROM = 200_000
"""Positions from which a book is worth importing the compiled loops for; NumPy takes about 50 ms for fewer."""


@dataclass(frozen=True)
class BulkMargins:
    """Margins of all accounts, arrays of shape (accounts,), micro-USD.

    int64; Python integers (dtype object) if some account is beyond the bound that the module states.
    """

    pv: npt.NDArray[Any]
    risk: npt.NDArray[Any]
    closeout: npt.NDArray[Any]
    mm_excess: npt.NDArray[Any]
    im_excess: npt.NDArray[Any]

    def __getitem__(self, place: int) -> Margin:
        """The margin of one account, by its place."""
        return Margin(
            *(int(column[place]) for column in (self.pv, self.risk, self.closeout, self.mm_excess, self.im_excess))
        )

    def __len__(self) -> int:
        return len(self.pv)


@dataclass(frozen=True)
class BulkVectors:
    """What an epoch says of all accounts.

    Attributes
    ----------
    underlyings : numbers, ascending, shape (U,).
    vectors : int64 (accounts, U, 40), micro-USD; zero where an account holds nothing.
    closeout : without the keeper reserve, (accounts,); int64, or Python integers where one does not fit.
    largest : largest magnitude of a value and of a close-out cost a lot.
    """

    underlyings: Ints
    vectors: Ints
    closeout: npt.NDArray[Any]
    largest: tuple[int, int]


class BulkBook:
    """Positions of many accounts.

    Parameters
    ----------
    instruments : instrument ids, ascending, shape (I,).
    accounts : account ids, shape (A,).
    indptr : int64 (A + 1,): positions of account `a` are those from ``indptr[a]`` to ``indptr[a + 1]``.
    columns : int (N,), places in `instruments`, strictly ascending within an account.
    lots : int64 (N,), not zero.

    Raises
    ------
    ValueError
        The arrays do not fit together, or an account exceeds a limit (positions, underlyings, lots).
    """

    def __init__(
        self,
        instruments: Sequence[int],
        accounts: Sequence[int] | Ints,
        indptr: Ints,
        columns: npt.NDArray[Any],
        lots: Ints,
    ) -> None:
        self.instruments = tuple(instruments)
        self.accounts = np.asarray(accounts, dtype=np.int64)
        self.indptr = np.asarray(indptr, dtype=np.int64)
        self.columns = np.asarray(columns, dtype=np.int32)
        self.lots = np.asarray(lots, dtype=np.int64)
        if any(a >= b for a, b in pairwise(self.instruments)):
            raise ValueError("instrument ids are not strictly ascending")
        if len(self.indptr) != len(self.accounts) + 1 or self.indptr[0] != 0 or self.indptr[-1] != len(self.lots):
            raise ValueError("indptr does not fit accounts and lots")
        if len(self.columns) != len(self.lots) or (np.diff(self.indptr) < 0).any():
            raise ValueError("columns, lots and indptr do not fit together")
        self.underlyings: Ints = np.array(sorted({key >> 88 for key in self.instruments}), dtype=np.int64)
        self._check()

    def _check(self) -> None:
        """Order within accounts, range of columns, and the limits; sets counts and run boundaries."""
        size, total = len(self.accounts), len(self.underlyings)
        if len(self.columns) and not 0 <= self.columns.min() <= self.columns.max() < len(self.instruments):
            raise ValueError("a column is no instrument")
        if (self.lots == 0).any():
            raise ValueError("a position of zero lots")
        self.counts: Ints = np.diff(self.indptr)
        owner = np.repeat(np.arange(size), self.counts)
        if ((np.diff(self.columns) <= 0) & (np.diff(owner) == 0)).any():
            raise ValueError("instruments within an account are not strictly ascending")
        places = np.searchsorted(self.underlyings, np.array([k >> 88 for k in self.instruments], dtype=np.int64))
        pair = owner * total + places[self.columns] if len(owner) else owner
        per_pair = np.bincount(pair, minlength=size * total) if total else np.zeros(0, dtype=np.int64)
        self.held = per_pair.reshape(size, total) > 0
        self._runs = np.concatenate([[0], np.cumsum(per_pair)]).astype(np.int64)
        if (np.abs(self.lots.astype(np.float64)) >= MAX_SUM_ABS).any():
            raise ValueError("a position is not below 2^32 lots")
        self.sum_abs: Ints = self._by_account(np.abs(self.lots))
        for name, values, most in (
            ("positions", self.counts, MAX_POSITIONS),
            ("underlyings", self.held.sum(axis=1), MAX_UNDERLYINGS),
            ("lots", self.sum_abs, MAX_SUM_ABS - 1),
        ):
            if (values > most).any():
                place = int(np.argmax(values > most))
                raise ValueError(f"account {self.accounts[place]} has {values[place]} {name}, more than {most}")

    def _by_account(self, values: Ints) -> Ints:
        """Sums of position values by account."""
        sums = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(values)])
        return sums[self.indptr[1:]] - sums[self.indptr[:-1]]

    @classmethod
    def of(cls, positions: Mapping[int, Mapping[int, int]], instruments: Sequence[int]) -> BulkBook:
        """A book from lots by instrument id by account id; zeros are passed over, accounts stand in ascending id.

        Raises
        ------
        ValueError
            A position is in none of `instruments`, or a limit is exceeded.
        """
        place = {key: at for at, key in enumerate(instruments)}
        accounts = sorted(positions)
        keys = [sorted(positions[account]) for account in accounts]
        lots = [positions[account][key] for account, own in zip(accounts, keys, strict=True) for key in own]
        if lots and not -MAX_SUM_ABS < min(lots) <= max(lots) < MAX_SUM_ABS:
            raise ValueError("a position is not below 2^32 lots")
        size: Ints = np.array(lots, dtype=np.int64)
        columns = np.array([place.get(key, -1) for own in keys for key in own], dtype=np.int32)
        owner = np.repeat(np.arange(len(accounts)), np.array([len(own) for own in keys], dtype=np.int64))
        held = size != 0
        strangers = np.flatnonzero(held & (columns < 0))
        if len(strangers):
            account = accounts[owner[strangers[0]]]
            unknown = next(key for key, amount in sorted(positions[account].items()) if amount and key not in place)
            raise ValueError(f"account {account} holds {unknown:#x}, which is no instrument here")
        counts = np.bincount(owner[held], minlength=len(accounts))
        indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
        return cls(instruments, accounts, indptr, columns[held], size[held])

    def evaluate_vectors(self, arrays: Ints, c_long: Ints, c_short: Ints) -> BulkVectors:
        """Scenario vectors and close-out of every account.

        Parameters
        ----------
        arrays : int64 (I, 40), risk arrays. c_long, c_short : int64 (I,).
        """
        shape = (len(self.accounts), len(self.underlyings), SCENARIOS)
        arrays = np.ascontiguousarray(arrays, dtype=np.int64)
        table = self._table(arrays)
        if table is not None:
            from offchain.risk import margin_kernel

            vectors = np.empty((shape[0] * shape[1], SCENARIOS), dtype=np.int64)
            margin_kernel.fill_vectors(self._runs, self.columns, self.lots, self.sum_abs < MAX_VALUE, table, vectors)
        else:
            rows = sparse.csr_matrix(
                (self.lots, self.columns, self._runs), shape=(shape[0] * shape[1], len(self.instruments)), copy=False
            )
            vectors = np.asarray(rows @ arrays)
        vectors = vectors.reshape(shape)
        each = np.where(self.lots > 0, c_long[self.columns], c_short[self.columns])
        most = int(max(np.max(c_long, initial=0), np.max(c_short, initial=0)))
        size: npt.NDArray[Any] = np.abs(self.lots)
        if float(self.sum_abs.max(initial=0)) * most >= 2.0**62:
            size, each = size.astype(object), each.astype(object)
        costs = size * each  # in int64 the running sum may wrap; differences of an account, below 2^62, are still exact
        sums = np.concatenate([np.zeros(1, dtype=costs.dtype), np.cumsum(costs)])
        closeout = sums[self.indptr[1:]] - sums[self.indptr[:-1]]
        if closeout.dtype == object and not (closeout >= 2**63).any():
            closeout = closeout.astype(np.int64)
        return BulkVectors(self.underlyings, vectors, closeout, (int(np.abs(arrays).max(initial=0)), most))

    def _table(self, arrays: Ints) -> npt.NDArray[np.int32] | None:
        """Risk arrays in 32 bits, if the compiled loops are worth it and hold these values."""
        if len(self.lots) < COMPILE_FROM or arrays.shape != (len(self.instruments), SCENARIOS):
            return None
        if int(arrays.max(initial=0)) >= MAX_VALUE or int(arrays.min(initial=0)) <= -MAX_VALUE:
            return None
        return arrays.astype(np.int32)

    def margins_of(
        self,
        arrays: Ints,
        c_long: Ints,
        c_short: Ints,
        cash: Sequence[int] | npt.NDArray[Any],
        params: MarginParams,
    ) -> BulkMargins:
        """``margins(evaluate_vectors(arrays, c_long, c_short), cash, params)``, without keeping the vectors.

        Parameters
        ----------
        arrays, c_long, c_short : as in `evaluate_vectors`. cash, params : as in `margins`.
        """
        arrays = np.asarray(arrays, dtype=np.int64)
        table = self._table(arrays)
        if table is None:
            return self.margins(self.evaluate_vectors(arrays, c_long, c_short), cash, params)
        from offchain.risk import margin_kernel

        most = int(max(np.max(c_long, initial=0), np.max(c_short, initial=0)))
        largest = (int(max(arrays.max(initial=0), -arrays.min(initial=0))), most)
        if isinstance(cash, np.ndarray) and cash.dtype == np.int64 and len(cash) == len(self.accounts):
            money, wide = cash, np.zeros(len(cash), dtype=np.bool_)
        else:
            money, wide = self._money(cash, largest, params)
        numbers = np.empty((len(self.accounts), 5), dtype=np.int64)
        underlying = [key >> 88 for key in self.instruments]
        margin_kernel.fill_margins(
            self.indptr,
            self.columns,
            self.lots,
            np.searchsorted(underlying, underlying, side="right").astype(np.int32),
            table,
            np.stack([c_long, c_short], axis=1).astype(np.int64),
            self.sum_abs,
            money,
            wide,
            2.0 * largest[0] + largest[1],
            _SAFE,
            params.kappa,
            params.im_factor,
            params.reserve,
            numbers,
        )
        if not wide.any():
            return BulkMargins(*numbers.T)
        mixed = numbers.astype(object)
        places = np.flatnonzero(wide)
        part = self._part(places)
        exact = part.margins(
            part.evaluate_vectors(arrays, c_long, c_short), [int(cash[place]) for place in places], params
        )
        mixed[places] = [exact[at] for at in range(len(places))]
        return BulkMargins(*mixed.T)

    def _part(self, places: Ints) -> BulkBook:
        """The book of some accounts."""
        at = np.concatenate([np.arange(self.indptr[a], self.indptr[a + 1]) for a in places])
        indptr = np.concatenate([[0], np.cumsum(self.counts[places])])
        return BulkBook(self.instruments, self.accounts[places], indptr, self.columns[at], self.lots[at])

    def _money(
        self, cash: Sequence[int] | npt.NDArray[Any], largest: tuple[int, int], params: MarginParams
    ) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Cash in 64 bits, 0 for those accounts beyond the module's bound; and which these are."""
        if len(cash) != len(self.accounts):
            raise ValueError(f"{len(cash)} cash balances for {len(self.accounts)} accounts")
        value, cost = largest
        bound = self.sum_abs.astype(np.float64) * (2.0 * value + cost) + float(params.reserve)
        bound += np.array([abs(float(c)) for c in cash])
        wide = bound >= _SAFE
        return np.array([0 if w else int(c) for c, w in zip(cash, wide.tolist(), strict=True)], dtype=np.int64), wide

    def margins(self, found: BulkVectors, cash: Sequence[int] | npt.NDArray[Any], params: MarginParams) -> BulkMargins:
        """The margin rule for every account.

        Parameters
        ----------
        found : of `evaluate_vectors`. cash : (A,), signed micro-USD. params : of the policy.
        """
        money, beyond = self._money(cash, found.largest, params)
        wide = np.flatnonzero(beyond)
        closeout = np.where(beyond, 0, found.closeout).astype(np.int64)
        vectors = found.vectors
        if len(wide):
            vectors = vectors.copy()
            vectors[wide] = 0
        columns = _rule(vectors, closeout + np.where(self.counts > 0, params.reserve, 0), money, params)
        if len(wide):
            mixed = tuple(column.astype(object) for column in columns)
            for place in wide:
                exact = evaluate(self._content(int(place), found), int(cash[place]), params)
                for column, number in zip(mixed, exact, strict=True):
                    column[place] = number
            return BulkMargins(*mixed)
        return BulkMargins(*columns)

    def _content(self, place: int, found: BulkVectors) -> Content:
        """What the margin rule needs of one account; collateral tokens are not among it."""
        held = np.flatnonzero(self.held[place])
        return Content(
            account=int(self.accounts[place]),
            underlyings=tuple(int(u) for u in self.underlyings[held]),
            count=int(self.counts[place]),
            sum_abs=int(self.sum_abs[place]),
            closeout=int(found.closeout[place]),
            collateral=0,
            vectors=tuple(tuple(vector) for vector in found.vectors[place, held].tolist()),
        )

    def collateral(self, leaves: Sequence[InstrumentLeaf]) -> Ints:
        """Value of every account's collateral tokens at the mark, micro-USD, (A,): below 2^63, as any lane.

        Parameters
        ----------
        leaves : one for each of the book's instruments, in their order.

        Raises
        ------
        ValueError
            A token is held short.
        """
        token = np.array([key & 0xFF == Kind.TOKEN for key in self.instruments], dtype=bool)
        marks = np.array([leaf.array[0] for leaf in leaves], dtype=np.int64)
        held = token[self.columns]
        short = np.flatnonzero(held & (self.lots < 0))
        if len(short):
            place = int(np.searchsorted(self.indptr, short[0], side="right")) - 1
            raise ValueError(f"account {self.accounts[place]} holds a token short: tokens cannot be short")
        return self._by_account(np.where(held, self.lots * marks[self.columns], 0))


def leaf_columns(leaves: Sequence[InstrumentLeaf], instruments: Sequence[int] | None = None) -> tuple[Ints, Ints, Ints]:
    """Risk arrays (I, 40), `c_long` (I,) and `c_short` (I,) of leaves, int64."""
    if instruments is not None and tuple(leaf.id for leaf in leaves) != tuple(instruments):
        raise ValueError("the leaves are not those of the book's instruments, in their order")
    return (
        np.array([leaf.array for leaf in leaves], dtype=np.int64).reshape(-1, SCENARIOS),
        np.array([leaf.c_long for leaf in leaves], dtype=np.int64),
        np.array([leaf.c_short for leaf in leaves], dtype=np.int64),
    )


def _rule(vectors: Ints, closeout: Ints, cash: Ints, params: MarginParams) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """The margin rule on (A, U, 40), within the module's bound."""
    marks = vectors[:, :, 0]
    mark = marks.sum(axis=1)
    apart = (marks - vectors.min(axis=2)).sum(axis=1)
    joint = mark - vectors.sum(axis=1).min(axis=1)
    spread = apart - joint
    risk = apart - (params.kappa * (spread // BASIS) + params.kappa * (spread % BASIS) // BASIS)
    requirement = risk + closeout
    initial = params.im_factor * (requirement // BASIS) - (-params.im_factor * (requirement % BASIS) // BASIS)
    pv = cash + mark
    return pv, risk, closeout, pv - requirement, pv - initial
