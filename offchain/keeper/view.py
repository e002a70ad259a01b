"""What a keeper sees, and what it can do: the two sides of `decide`. Nothing here talks to a chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from offchain.instruments import InstrumentLeaf
from offchain.risk.fallback import Place
from offchain.risk.policy import MarginParams
from offchain.risk.portfolios import Content

LIVE, PROVISIONAL, DISPUTED = 1, 2, 3


@dataclass(frozen=True)
class AccountView:
    """An account as the latest epoch and the ledger have it.

    Attributes
    ----------
    account : account id.
    cash : micro-USD.
    positions : lots by instrument id, without zeros.
    content : its scenario vectors and close-out under the latest epoch.
    called_at : oracle-live time of its margin call, seconds; None if it is not called.
    own_used : lots taken beyond the buckets in this epoch, on its own share.
    auction : oracle-live time and timestamp of its auction's start, seconds; None without one.
    version, position_hash : which a bid names.
    settleable : instruments of its positions that have a final price.
    """

    account: int
    cash: int
    positions: Mapping[int, int]
    content: Content
    called_at: int | None = None
    own_used: int = 0
    auction: tuple[int, int] | None = None
    version: int = 0
    position_hash: bytes = bytes(32)
    settleable: tuple[int, ...] = ()


@dataclass(frozen=True)
class Settling:
    """A settlement price on its way: `word` is the leaf that the epoch states, 0 if it was proposed and is due."""

    underlying: int
    expiry: int
    word: int = 0


@dataclass(frozen=True)
class View:
    """All that a decision rests on.

    Attributes
    ----------
    epoch, live, fresh : of the oracle: latest epoch, oracle-live clock in seconds, whether the epoch is young enough.
    margin : the margin parameters of that epoch.
    leaves : instrument leaves of that epoch by id.
    accounts : the accounts watched.
    taker : the keeper's own account, which takes the legs.
    min_profit : least reward, micro-USD, for which a solvent account is liquidated.
    bad_debt : also take legs of accounts that are worth less than nothing, for no reward.
    timestamp : of the latest epoch, seconds.
    statuses : status that holds by underlying; live where none is given.
    grace : whether owners of what is worth something have grace after an outage.
    rooms : lots that the bucket of each underlying has left; None for no limit.
    share : an account's own share a slot, 1e-6.
    gas_price : base fee and tip, wei. coin_price : of the chain's coin, micro-USD per 1e18 wei; 0 for no floor.
    auction_length : oracle-live seconds; 0 where no takeovers are wanted.
    purse : the keeper's account without positions, which pays for takeovers; None for none.
    insurance, shortfall : cash of those reserved accounts, micro-USD.
    settling : settlement prices that can be proposed or are due.
    places : where the feeds' prices stand, by underlying with a usable feed: of all while fallback is open (None
        before); of the disputed ones while the epoch is fresh.
    """

    epoch: int
    live: int
    fresh: bool
    margin: MarginParams
    leaves: Mapping[int, InstrumentLeaf]
    accounts: tuple[AccountView, ...]
    taker: AccountView
    min_profit: int = 0
    bad_debt: bool = False
    timestamp: int = 0
    statuses: Mapping[int, int] = field(default_factory=dict)
    grace: bool = False
    rooms: Mapping[int, int] | None = None
    share: int = 1_000_000
    gas_price: int = 0
    coin_price: int = 0
    auction_length: int = 0
    purse: AccountView | None = None
    insurance: int = 0
    shortfall: int = 0
    settling: tuple[Settling, ...] = ()
    places: Mapping[int, Place] | None = None


@dataclass(frozen=True)
class MarginCall:
    account: int
    deficit: int


@dataclass(frozen=True)
class ClearCall:
    account: int


@dataclass(frozen=True)
class Liquidate:
    """Take `takes` (instrument id to signed lots, as the taker receives them) from `account`; maybe by fallback,
    which also serves accounts with a disputed underlying."""

    account: int
    takes: tuple[tuple[int, int], ...]
    reward: int
    deficit: int
    fallback: bool = False


@dataclass(frozen=True)
class StartAuction:
    """Put the account on auction, or begin anew after an outage."""

    account: int
    deficit: int


@dataclass(frozen=True)
class EndAuction:
    account: int


@dataclass(frozen=True)
class Bid:
    """Take the account over: `limit` is the most to pay (negative: the least to get paid in), micro-USD."""

    account: int
    version: int
    position_hash: bytes
    limit: int
    top_up: int
    profit: int


@dataclass(frozen=True)
class Absorb:
    account: int
    debt: int


@dataclass(frozen=True)
class RepayShortfall:
    account: int
    amount: int


@dataclass(frozen=True)
class ProposePrice:
    account: int
    word: int


@dataclass(frozen=True)
class FinalizePrice:
    account: int
    underlying: int
    expiry: int


@dataclass(frozen=True)
class Settle:
    account: int
    instruments: tuple[int, ...]


@dataclass(frozen=True)
class Wait:
    """No action, and why."""

    account: int
    reason: str


Act = (
    MarginCall | ClearCall | Liquidate | StartAuction | EndAuction | Bid | Absorb | RepayShortfall | ProposePrice
    | FinalizePrice | Settle
)  # fmt: skip
Action = Act | Wait
