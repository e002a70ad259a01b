"""Settings and the one error that users see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType


class BallastError(Exception):
    """Bad input or an unusable environment: one line that says what and how to mend it. Commands exit with 2."""

    exit_code = 2


@dataclass(frozen=True)
class Cadence:
    """Times of a deployment, seconds.

    Attributes
    ----------
    slot : length of an oracle slot.
    max_age : oldest epoch that counts as fresh.
    min_interval : least time between two epochs.
    timelock : how long what moves risk waits.
    fallback_delay, exit_delay : staleness before liquidation by fallback, and before settlement at feed prices.
    unbonding : how long the release of a member's bond takes.
    auction : length of a takeover auction, in oracle-live time.

    Raises
    ------
    BallastError
        A time that the contracts would refuse.
    """

    slot: int = 30
    max_age: int = 180
    min_interval: int = 15
    timelock: int = 86_400
    fallback_delay: int = 900
    exit_delay: int = 7 * 86_400
    unbonding: int = 7 * 86_400
    auction: int = 3_600

    def __post_init__(self) -> None:
        if self.slot < 1:
            raise BallastError(f"slot of {self.slot} s: a slot has at least one second")
        if not self.slot <= self.max_age <= 86_400:
            raise BallastError(f"max_age of {self.max_age} s: choose at least a slot ({self.slot} s), at most a day")
        if not 0 <= self.min_interval <= self.max_age:
            raise BallastError(f"min_interval of {self.min_interval} s: choose at most max_age ({self.max_age} s)")
        if self.timelock < 1:
            raise BallastError(f"timelock of {self.timelock} s: choose at least one second")
        if not 0 <= self.fallback_delay <= 86_400:
            raise BallastError(f"fallback_delay of {self.fallback_delay} s: choose at most a day")
        if not self.fallback_delay < self.exit_delay <= 30 * 86_400:
            raise BallastError(f"exit_delay of {self.exit_delay} s: choose more than fallback_delay, at most 30 days")
        if not 86_400 < self.unbonding <= 90 * 86_400:
            raise BallastError(f"unbonding of {self.unbonding} s: choose more than a day, at most 90 days")
        if not 1 <= self.auction <= 7 * 86_400:
            raise BallastError(f"auction of {self.auction} s: choose at least one second, at most 7 days")


HOURLY = Cadence(slot=3_600, max_age=7_200, min_interval=1_800, fallback_delay=14_400, auction=14_400)
"""A step of an hour of candles is a slot of an hour."""

UNDERLYINGS: Mapping[str, int] = MappingProxyType({"BTC": 1, "ETH": 2})
"""Numbers of the underlyings of the default policy."""


@dataclass(frozen=True)
class Settings:
    """Where a program finds what it needs.

    Attributes
    ----------
    rpc : URL of the node.
    out : folder that everything a run makes goes to.
    cadence : times of the deployment.
    underlyings : number by name.
    """

    rpc: str = "http://127.0.0.1:8545"
    out: Path = Path("out")
    cadence: Cadence = field(default_factory=Cadence)
    underlyings: Mapping[str, int] = field(default_factory=lambda: UNDERLYINGS)

    @property
    def names(self) -> dict[int, str]:
        """Name of each underlying by number."""
        return {number: name for name, number in self.underlyings.items()}

    @property
    def deployment(self) -> Path:
        """File with the contracts' addresses."""
        return self.out / "deployment.json"

    @property
    def bundles(self) -> Path:
        """Folder of the bundles."""
        return self.out / "bundles"

    @property
    def database(self) -> str:
        """URL of the store."""
        return f"sqlite:///{self.out / 'ballast.sqlite'}"

    def underlying(self, name: str) -> int:
        """Number of an underlying by its name, in any case.

        Raises
        ------
        BallastError
            There is no such underlying.
        """
        number = self.underlyings.get(name.upper())
        if number is None:
            raise BallastError(f"unknown underlying {name!r}: choose one of {', '.join(sorted(self.underlyings))}")
        return number
