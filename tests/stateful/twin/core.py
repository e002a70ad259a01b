"""The ledger's twin: accounts, positions, checkpoints, and the journal that takes back what a refused action did."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from offchain.instruments import InstrumentLeaf, unpack_array
from offchain.oracle.headers import encode_account
from offchain.oracle.trees import hash_pair, keccak256
from offchain.risk.portfolios import Content, Margin, evaluate

INSURANCE, CLEARING, SHORTFALL, FEES, FIRST = 1, 2, 3, 4, 256
RESERVED = (INSURANCE, CLEARING, SHORTFALL, FEES)
SUM_LIMIT, CASH_LIMIT = 2**32, 2**127
TOKEN = 5
ZERO = "0x" + "00" * 20

Witness = tuple[int, int, Sequence[int], Sequence[bytes]]
NOTHING: Witness = (0, 0, [], [])
Leg = tuple[int, Sequence[int]]
GONE = object()


class Refused(Exception):
    """An action that the contracts refuse; its text is the reason."""


def need(holds: bool, reason: str) -> None:
    """Refuse for a reason unless something holds."""
    if not holds:
        raise Refused(reason)


@dataclass(frozen=True)
class Account:
    """An account as the ledger keeps it. `last` is the epoch of its last trade; `isolated`: one underlying at most."""

    owner: str = ZERO
    version: int = 0
    cash: int = 0
    last: int = 0
    positions: Mapping[int, int] = field(default_factory=dict)
    hash: bytes = bytes(32)
    isolated: bool = False

    def head(self, number: int) -> int:
        """The head's word."""
        word = number << 192 | len(self.positions) << 64 | sum(map(abs, self.positions.values()))
        for place, underlying in enumerate(sorted({i >> 88 for i in self.positions})):
            word |= underlying << (176 - 16 * place)
        return word


def merkle_root(leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """Where a leaf and its siblings lead."""
    node = leaf
    for sibling in proof:
        node = hash_pair(node, sibling)
    return node


def merkle_root_of_many(leaves: Sequence[bytes], proof: Sequence[bytes], flags: Sequence[int]) -> bytes:
    """Where leaves and a multiproof lead, as OpenZeppelin's `processMultiProof`."""
    steps = len(leaves) + len(proof) - 1
    need(len(flags) == (steps + 255) // 256, "merkle: wrong number of flags")
    queue, rest = list(leaves), list(proof)
    used = 0
    for j in range(steps):
        a, used = queue[used], used + 1
        if flags[j // 256] >> (j % 256) & 1:
            need(used < len(queue), "merkle: malformed multiproof")
            b, used = queue[used], used + 1
        else:
            need(bool(rest), "merkle: malformed multiproof")
            b = rest.pop(0)
        queue.append(hash_pair(a, b))
        need(used < len(queue), "merkle: malformed multiproof")
    need(not rest, "merkle: malformed multiproof")
    need(not steps or flags[-1] >> ((steps - 1) % 256 + 1) == 0, "merkle: malformed multiproof")
    return queue[used]


def leaf_of(leg: Leg) -> bytes:
    """Hash of an instrument leaf."""
    body = b"".join(word.to_bytes(32, "big") for word in (leg[0], *leg[1]))
    return keccak256(keccak256(body))


def read_leg(leg: Leg) -> InstrumentLeaf:
    """The fields of a leaf that was proven."""
    return InstrumentLeaf.unpack(*leg)


def mark_of(leg: Leg) -> int:
    """Value of a lot in row 0."""
    return unpack_array(leg[1])[0]


def healthy(content: Content, margin: Margin) -> bool:
    """Whether an account may do everything."""
    return margin.im_excess >= 0 and margin.pv >= content.collateral


def owed(pv: int, requirement: int) -> int:
    """What insurance owes for an account in the end: its debt, and the incentive that it is not worth."""
    return max(-pv, 0) + max(requirement // 10 - max(pv, 0), 0)


@dataclass
class Core:
    """What every twin shares: the ledger's tables, time, and who calls.

    Attributes
    ----------
    now, number : time and number of the block in which the action would be.
    sender : who acts. tokens : balances of the settlement token outside the ledger, and what the ledger may take.
    """

    accounts: dict[int, Account]
    checkpoints: dict[int, bytes]
    markets: dict[int, int]
    closed: dict[int, bool]
    tokens: dict[str, int]
    scalars: dict[str, Any]
    now: int = 0
    number: int = 0
    sender: str = ZERO
    _undo: list[tuple[dict[Any, Any], Hashable, Any]] = field(default_factory=list)

    # the journal
    def put(self, table: dict[Any, Any], key: Hashable, value: Any) -> None:
        """Change a table so that it can be taken back."""
        self._undo.append((table, key, table.get(key, GONE)))
        table[key] = value

    def run(self, now: int, number: int, sender: str, name: str, args: Sequence[Any]) -> tuple[str | None, Any]:
        """An action by name: None and what it returns, or the reason of a refusal, and nothing has changed."""
        self.now, self.number, self.sender = now, number, sender
        self._undo = []
        try:
            return None, getattr(self, name)(*args)
        except Refused as refused:
            self.take_back()
            return str(refused), None

    def take_back(self) -> None:
        """Undo the last action."""
        for table, key, value in reversed(self._undo):
            if value is GONE:
                table.pop(key, None)
            else:
                table[key] = value
        self._undo = []

    # reading
    def account(self, number: int) -> Account:
        """An account; an empty one if it does not exist."""
        return self.accounts.get(number, Account())

    @property
    def next_account(self) -> int:
        return int(self.scalars["next_account"])

    @property
    def held(self) -> int:
        """Settlement tokens that the ledger's books hold."""
        return int(self.scalars["tokens_held"])

    @property
    def short(self) -> int:
        """What nobody can pay: bare debts and recorded shortfall, less insurance."""
        bare = sum(max(-a.cash, 0) for n, a in self.accounts.items() if n >= FIRST and not a.positions)
        owed = bare - self.account(SHORTFALL).cash
        return max(owed - self.account(INSURANCE).cash, 0) if owed > 0 else 0

    # writing
    def change(self, number: int, **fields: Any) -> Account:
        """Change an account's fields."""
        account = replace(self.account(number), **fields)
        self.put(self.accounts, number, account)
        return account

    def add_cash(self, number: int, amount: int) -> None:
        """Change cash, within the word."""
        need(-CASH_LIMIT < amount < CASH_LIMIT, "ledger: amount out of range")
        cash = self.account(number).cash + amount
        need(-CASH_LIMIT <= cash < CASH_LIMIT, "ledger: cash out of range")
        self.change(number, cash=cash)

    def move_cash(self, giver: int, taker: int, amount: int) -> None:
        """Move cash, if there is any."""
        if amount:
            need(amount < CASH_LIMIT, "ledger: amount out of range")
            self.add_cash(giver, -amount)
            self.add_cash(taker, amount)

    def move_position(self, giver: int, taker: int, instrument: int, lots: int, cash: int, epoch: int) -> None:
        """Move lots against cash from taker to giver."""
        need(giver != taker, "ledger: one account on both sides")
        need(0 < lots < SUM_LIMIT, "ledger: lots out of range")
        if CLEARING not in (giver, taker) and instrument & 255 != TOKEN:
            need(not self.closed.get(instrument >> 88), "ledger: underlying is closed")
        more = self._change(giver, instrument, -lots, cash, epoch) + self._change(taker, instrument, lots, -cash, epoch)
        if more:
            self.put(self.markets, instrument >> 88, self.markets.get(instrument >> 88, 0) + more)

    def _change(self, number: int, instrument: int, change: int, cash: int, epoch: int) -> int:
        account = self.account(number)
        before = account.positions.get(instrument, 0)
        after = before + change
        need(-CASH_LIMIT < cash < CASH_LIMIT, "ledger: amount out of range")
        need(-CASH_LIMIT <= account.cash + cash < CASH_LIMIT, "ledger: cash out of range")
        positions = {i: q for i, q in account.positions.items() if i != instrument}
        if after:
            positions[instrument] = after
        if number == CLEARING:
            need(abs(after) < 2**50, "ledger: too many lots")
            self.change(number, cash=account.cash + cash, positions=positions)
            return 0
        need(after >= 0 or instrument & 255 != TOKEN, "ledger: more tokens than it has")
        need(sum(map(abs, positions.values())) < SUM_LIMIT, "ledger: too many lots")
        if not before:
            need(len(account.positions) < 128, "ledger: too many positions")
            need(len({i >> 88 for i in positions}) <= 4, "ledger: too many underlyings")
            need(len({i >> 88 for i in positions}) == 1 or not account.isolated, "ledger: account is isolated")
        words = (int.from_bytes(account.hash, "big"), number, instrument, change % 2**256)
        digest = keccak256(b"".join(word.to_bytes(32, "big") for word in words))
        self.change(number, cash=account.cash + cash, positions=positions, last=epoch, hash=digest)
        return max(after, 0) - max(before, 0)

    # anyone
    def open_account(self, owner: str, isolated: bool = False) -> int:
        need(owner != ZERO, "ledger: no owner")
        number = self.next_account
        self.put(self.scalars, "next_account", number + 1)
        self.put(self.accounts, number, Account(owner=owner, isolated=isolated))
        return number

    def open_isolated(self, owner: str) -> int:
        return self.open_account(owner, True)

    def transfer_account(self, number: int, owner: str) -> None:
        need(owner != ZERO, "ledger: no owner")
        account = self.account(number)
        need(account.owner == self.sender, "ledger: not the owner")
        self.assign(number, owner)

    def assign(self, number: int, owner: str) -> None:
        """Another owner and version."""
        self.change(number, owner=owner, version=self.account(number).version + 1)

    def trespass(self, *_: Any) -> None:
        """What only engines may do."""
        raise Refused("ledger: only engines")

    def set_engines(self, _: Any) -> None:
        need(self.sender == self.scalars["deployer"], "ledger: only the deployer")
        raise Refused("ledger: engines are fixed")

    # margin
    def believe(self, number: int, witness: Witness, epoch: int, root: bytes) -> Content:
        """The margin content of a witness that holds for an account as it is."""
        account = self.account(number)
        head, cost, words, proof = witness
        if not account.positions:
            need(head == 0 and cost == 0, "witness: account has no positions")
            need(not words and not proof, "witness: account has no positions")
            return Content(number, (), 0, 0, 0, 0, ())
        mine = account.head(number)
        need(head >> 192 == number, "witness: foreign account")
        need(head == mine, "witness: stale")
        need(len(words) == 10 * len({i >> 88 for i in account.positions}), "witness: wrong length")
        digest = keccak256(encode_account(head, account.hash, cost, words))
        stored = self.checkpoints.get(number)
        if proof or stored != keccak256(epoch.to_bytes(32, "big") + digest):
            need(merkle_root(keccak256(digest), proof) == root, "witness: not proven")
        return Content.from_words(head, cost, words)

    def store(self, number: int, content: Content, epoch: int) -> None:
        """Keep the checkpoint of a content."""
        account = self.account(number)
        if account.positions:
            digest = keccak256(encode_account(content.head, account.hash, content.cost, content.vector_words))
            self.put(self.checkpoints, number, keccak256(epoch.to_bytes(32, "big") + digest))

    def changed(self, content: Content, leg: Leg, held: int, change: int, number: int) -> Content:
        """The content after a position changed, by plain sums; `number` has the position already."""
        leaf = read_leg(leg)
        key = leaf.id >> 88
        vectors = dict(zip(content.underlyings, content.vectors, strict=True))
        old = vectors.get(key, (0,) * 40)
        vectors[key] = tuple(a + change * v for a, v in zip(old, leaf.array, strict=True))
        positions = self.account(number).positions
        stay = sorted({i >> 88 for i in positions})

        def cost(lots: int) -> int:
            return lots * leaf.c_long if lots > 0 else -lots * leaf.c_short

        return Content(
            number,
            tuple(stay),
            len(positions),
            sum(map(abs, positions.values())),
            content.closeout + cost(held + change) - cost(held),
            content.collateral + (change * leaf.array[0] if leaf.id & 255 == TOKEN else 0),
            tuple(vectors[u] for u in stay),
        )

    def judge(self, content: Content, cash: int, params: Any) -> Margin:
        """The margin rule."""
        return evaluate(content, cash, params)
