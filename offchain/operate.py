"""What an operator does, a step at a time: deploy, post an epoch, run the keeper. The Ape scripts are thin on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from offchain.chain.backends import Chain, Receipt, Signer
from offchain.chain.system import System
from offchain.config import BallastError, Settings
from offchain.demo.plan import shifted
from offchain.demo.replay import COMMITTEE
from offchain.keeper.bot import Keeper
from offchain.keeper.state import MarketState
from offchain.market.candles import Candles, load_candles, timestamp_of
from offchain.market.sources import CandleMarket
from offchain.market.synthetic import synthetic_crash
from offchain.oracle.bundles import BundleStore
from offchain.oracle.keys import load_or_make
from offchain.oracle.node import Outcome, local_nodes, run_slot
from offchain.oracle.sources import ReplaySource, ScanRanges
from offchain.risk.policy import default_policy
from offchain.simulation.world import listing
from offchain.store.database import Database
from offchain.units import DAY, MICRO

LIFETIME = 7 * DAY
"""Instruments that a deployment lists expire at least this long after it."""
KEEPER_CAPITAL = 1_000_000 * MICRO
PURSE_SHARE = 4
"""One part in so many of a keeper's capital is its purse, from which it takes accounts over."""
TEST_TOKENS = 10_000_000 * MICRO
SNAPSHOT_DEPTH = 1
"""Blocks under the latest: a node simulates a transaction within the latest block, later than any snapshot."""


@dataclass(frozen=True)
class Market:
    """Candles as of a moment of theirs, `at`, which stands for the present."""

    candles: Mapping[int, Candles]
    at: int
    seed: int = 7

    @classmethod
    def load(cls, prices: Mapping[str, Path], at: str, settings: Settings | None = None) -> Market:
        """Candle files by underlying name; none: the synthetic crash.

        Raises
        ------
        BallastError
            A file, a name or the time is not usable.
        """
        settings = settings or Settings()
        try:
            moment = timestamp_of(at)
        except ValueError as error:
            raise BallastError(f"at {at!r} is no UTC time like 2020-03-12T00:00:00Z: {error}") from error
        if not prices:
            return cls(synthetic_crash(), moment)
        found = {settings.underlying(name): load_candles(path) for name, path in prices.items()}
        missing = [name for name, number in settings.underlyings.items() if number not in found]
        if missing:
            raise BallastError(f"no prices of {', '.join(missing)}: add --prices {missing[0]}=FILE")
        return cls(found, moment)

    def as_of(self, timestamp: int) -> dict[int, Candles]:
        """The candles moved so that `at` falls on a time."""
        return shifted(self.candles, timestamp - self.at)


def deploy(chain: Chain, deployer: Signer, settings: Settings, market: Market, token: str | None = None) -> System:
    """Deploy everything, seat a committee whose keys are made here, list instruments, write the deployment's file.

    Parameters
    ----------
    token : settlement token; None deploys a test token that anyone may mint, for test networks only, and gives
        the deployer some.
    """
    members = load_or_make(settings.out / "committee.json", COMMITTEE)
    now = chain.timestamp
    instruments = listing(market.as_of(now), now, now + LIFETIME)
    system = System.deploy(
        chain, deployer, default_policy(settings.cadence.slot).encode(), members, settings.cadence, token,
        [i.id for i in instruments],
    )  # fmt: skip
    if token is None:
        system.token.send.mint(deployer.address, TEST_TOKENS, sender=deployer)
    system.save(settings.deployment)
    return system


def post(system: System, settings: Settings, market: Market, wallet: Signer) -> Outcome:
    """Have the whole committee, in this process, agree on the epoch of the present slot, and post it.

    Raises
    ------
    BallastError
        The slot was skipped; the message says why.
    """
    members = load_or_make(settings.out / "committee.json", COMMITTEE)
    slot = int(system.oracle.call.slot_seconds())
    timestamp = system.chain.timestamp // slot * slot
    markets = [CandleMarket(market.as_of(timestamp), seed=market.seed * 100 + i) for i in range(len(members))]
    ranges = ScanRanges(markets[0])
    nodes = local_nodes(
        system,
        [m.secret for m in members],
        [ReplaySource(m, ranges) for m in markets],
        wallet,
        settings.out,
        lambda: system.chain.timestamp,
    )
    for node in nodes.values():
        node.depth = SNAPSHOT_DEPTH
    outcome = run_slot(nodes, timestamp)
    if not outcome.posted:
        raise BallastError(f"slot {outcome.slot} was skipped: {outcome.reason}")
    return outcome


def keeper(system: System, settings: Settings, signer: Signer, progress: Callable[[str], None]) -> Keeper:
    """A keeper with two accounts of its own, opened and funded on first use, and its journal in the store.

    One account takes legs. The other, the purse, holds no positions and pays for takeovers, as Takeover.vy wants it.

    Raises
    ------
    BallastError
        The signer's wallet holds no settlement tokens to fund a new account with.
    """
    database = Database(settings.database)
    state = MarketState(system)
    state.sync()
    kept = settings.out / "keeper.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    accounts = known.get(signer.address, {}).get(system.ledger.address)
    if not isinstance(accounts, dict) or not set(accounts.values()) <= set(state.book.accounts):
        held = int(system.token.call.balanceOf(signer.address))
        if not held:
            raise BallastError(
                f"{signer.address} holds no settlement tokens: send it some of {system.token.address}, then start again"
            )
        capital = min(held, KEEPER_CAPITAL)
        accounts = {}
        for name, part in (("legs", capital - capital // PURSE_SHARE), ("purse", capital // PURSE_SHARE)):
            accounts[name] = system.open_account(signer)
            if part:
                system.deposit(accounts[name], part, signer)
            progress(f"opened account {accounts[name]} ({name}) with {part / MICRO:,.2f} USD")
        known.setdefault(signer.address, {})[system.ledger.address] = accounts
        kept.write_text(json.dumps(known, indent=2) + "\n")
    return Keeper(state, accounts["legs"], signer, database, purse=accounts["purse"])


def look(bot: Keeper, settings: Settings) -> list[Receipt]:
    """One look of a keeper at the latest epoch, whose bundle is read from the settings' folder."""
    bot.state.follow(BundleStore(settings.bundles))
    return bot.look()


def system_of(
    chain: Chain, deployer: Signer, settings: Settings, market: Market, progress: Callable[[str], None]
) -> System:
    """The deployment of the settings' folder; on a fresh local chain, which cannot have one, a new one.

    Raises
    ------
    BallastError
        There is none, or it does not match the chain.
    """
    if settings.deployment.exists() or not chain.accounts:
        try:
            return System.load(chain, settings.deployment)
        except BallastError:
            if not chain.accounts:
                raise
    progress("no deployment on this local chain: deploying")
    return deploy(chain, deployer, settings, market)
