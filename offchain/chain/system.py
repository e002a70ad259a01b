"""The one deployer: every test, script and demonstration gets its contracts from here, wired and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eth_abi import decode

from offchain.chain.artifacts import Artifact, artifact
from offchain.chain.backends import ZERO, Chain, Contract, Reverted, Signer
from offchain.config import HOURLY, BallastError, Cadence

POLICY_TYPE = "(uint256,uint256,uint256[40],uint256[16],uint256[])"
MAX_LISTED_AT_ONCE = 128
MEMBER_BOND = 100_000 * 10**6
INSURANCE, CLEARING, SHORTFALL, FEES, FIRST_ACCOUNT = 1, 2, 3, 4, 256
_NAMES = {
    "token": "mocks/SettlementToken",
    "registry": "Registry",
    "committee": "Committee",
    "oracle": "RiskOracle",
    "ledger": "Ledger",
    "clearing": "ClearingHouse",
    "liquidator": "Liquidator",
    "settlement": "Settlement",
    "takeover": "Takeover",
    "fallback": "Fallback",
    "examiner": "Examiner",
    "collateral": "Collateral",
}
_ENGINES = ("clearing", "liquidator", "settlement", "takeover", "fallback", "examiner", "collateral")


class Seat(Protocol):
    """A future member of the committee, as enrolment needs it."""

    @property
    def address(self) -> str:
        """Address that names the member."""
        ...

    @property
    def key(self) -> bytes:
        """Public key, 256 bytes."""
        ...

    def possession(self, chain_id: int, committee: str) -> bytes:
        """Proof of possession of the key for that Committee on that chain, 128 bytes."""
        ...


@dataclass(frozen=True)
class System:
    """A deployed Ballast. Each attribute but the first and last is a `Contract`."""

    chain: Chain
    token: Contract
    registry: Contract
    committee: Contract
    oracle: Contract
    ledger: Contract
    clearing: Contract
    liquidator: Contract
    settlement: Contract
    takeover: Contract
    fallback: Contract
    examiner: Contract
    collateral: Contract
    deployed_at: int

    @classmethod
    def deploy(
        cls,
        chain: Chain,
        deployer: Signer,
        policy: bytes,
        seats: Sequence[Seat] | None,
        cadence: Cadence = HOURLY,
        token: str | None = None,
        instruments: Sequence[int] = (),
        guardian: str = ZERO,
        feeds: Sequence[tuple[int, str, int, int, int]] = (),
        tokens: Sequence[tuple[int, str, int]] = (),
        bond: int | None = None,
        coin: int = 2,
        variants: Mapping[str, Artifact] | None = None,
    ) -> System:
        """Deploy and wire everything, then check the wiring.

        Parameters
        ----------
        policy : the first policy, ABI-encoded as in docs/protocol.md.
        seats : the first committee, in order; `None` deploys `mocks/AnySignature` in its place, which believes
            everything, for in-process chains without BLS precompiles.
        token : address of the settlement token; `None` deploys a test token that anyone may mint.
        instruments : ids to list, ascending.
        guardian : who may pause and delist, besides the deployer.
        feeds : `(underlying, source, max_age, min_answer, max_answer)` of each feed; answers in its decimals.
        tokens : `(instrument, token, decimals)` of each collateral token.
        bond : of each member, micro-USD, paid by the deployer; `None` is 100,000 USD with the test token, else nothing.
        coin : the underlying that is the chain's coin, in which gas is paid; 2 is ETH.
        variants : artifacts to deploy in place of contracts, by name (`offchain.chain.variants`); for experiments only.

        Raises
        ------
        Reverted
            A contract refused, with its reason. BallastError: the wiring is wrong.
        """
        left = dict(variants or {})

        def made(name: str) -> Artifact:
            return left.pop(name) if name in left else artifact(name)

        began = chain.block_number
        if token is None:
            money = chain.deploy(made(_NAMES["token"]), sender=deployer)
        else:
            money = chain.at(artifact(_NAMES["token"]), token)
        values = decode([POLICY_TYPE], policy)[0]
        registry = chain.deploy(
            made("Registry"), cadence.timelock, values, guardian, list(feeds), list(tokens), sender=deployer
        )
        if seats is None:
            committee = chain.deploy(made("mocks/AnySignature"), sender=deployer)
        else:
            if bond is None:
                bond = 0 if token else MEMBER_BOND
            committee = chain.deploy(made("Committee"), registry, money, bond, cadence.unbonding, sender=deployer)
            if bond and token is None:
                money.send.mint(deployer.address, bond * len(seats), sender=deployer)
            if bond:
                money.send.approve(committee.address, bond * len(seats), sender=deployer)
            for seat in seats:
                if bond:
                    committee.send.deposit_bond(seat.address, sender=deployer)
                proof = seat.possession(chain.chain_id, committee.address)
                committee.send.enrol(seat.address, seat.key, proof, sender=deployer)
            committee.send.seat(sender=deployer)
        oracle = chain.deploy(
            made("RiskOracle"), committee, registry, cadence.slot, cadence.max_age, cadence.min_interval,
            cadence.fallback_delay, cadence.exit_delay, sender=deployer,
        )  # fmt: skip
        ledger = chain.deploy(made("Ledger"), money, sender=deployer)
        clearing = chain.deploy(made("ClearingHouse"), ledger, oracle, registry, sender=deployer)
        liquidator = chain.deploy(made("Liquidator"), ledger, oracle, registry, coin, sender=deployer)
        settlement = chain.deploy(made("Settlement"), ledger, oracle, registry, sender=deployer)
        takeover = chain.deploy(made("Takeover"), ledger, oracle, liquidator, cadence.auction, sender=deployer)
        fallback = chain.deploy(made("Fallback"), ledger, oracle, liquidator, sender=deployer)
        examiner = chain.deploy(made("Examiner"), ledger, oracle, sender=deployer)
        collateral = chain.deploy(made("Collateral"), ledger, oracle, registry, sender=deployer)
        engines = (clearing, liquidator, settlement, takeover, fallback, examiner, collateral)
        ledger.send.set_engines([each.address for each in engines], sender=deployer)
        if left:
            raise BallastError(f"no contract {', '.join(sorted(left))} was deployed: a variant without effect")
        system = cls(chain, money, registry, committee, oracle, ledger, *engines, began + 1)
        system.list_instruments(instruments, deployer)
        system.check()
        return system

    def list_instruments(self, instruments: Sequence[int], owner: Signer) -> None:
        """List instrument ids, ascending, in as few transactions as the contract allows."""
        for start in range(0, len(instruments), MAX_LISTED_AT_ONCE):
            self.registry.send.list_instruments(list(instruments[start : start + MAX_LISTED_AT_ONCE]), sender=owner)

    def check(self) -> None:
        """Ask every contract whom it trusts. Raises BallastError, naming the wrong link."""
        links = {
            "ledger.token": (self.ledger.call.token(), self.token),
            "oracle.committee": (self.oracle.call.committee(), self.committee),
            "oracle.registry": (self.oracle.call.registry(), self.registry),
            "clearing.registry": (self.clearing.call.registry(), self.registry),
            "collateral.registry": (self.collateral.call.registry(), self.registry),
            "settlement.registry": (self.settlement.call.registry(), self.registry),
            "takeover.liquidator": (self.takeover.call.liquidator(), self.liquidator),
            "fallback.liquidator": (self.fallback.call.liquidator(), self.liquidator),
            "liquidator.registry": (self.liquidator.call.registry(), self.registry),
        }
        for name in _ENGINES:
            links[f"{name}.ledger"] = (getattr(self, name).call.ledger(), self.ledger)
            links[f"{name}.oracle"] = (getattr(self, name).call.oracle(), self.oracle)
        for link, (found, wanted) in links.items():
            if found != wanted.address:
                raise BallastError(f"{link} is {found}, not {wanted.address}: deploy again")
        for engine in (getattr(self, name) for name in _ENGINES):
            if not self.ledger.call.is_engine(engine.address):
                raise BallastError(f"{engine.artifact.name} is no engine of the ledger: deploy again")

    # accounts
    def open_account(self, owner: Signer, isolated: bool = False) -> int:
        """Open an account owned by `owner`, isolated if it shall hold one underlying at most; returns its id."""
        send = self.ledger.send
        receipt = (send.open_isolated if isolated else send.open_account)(owner.address, sender=owner)
        return int(receipt.event("AccountOpened").args["account"])

    def deposit(self, account: int, amount: int, payer: Signer) -> None:
        """Approve and deposit `amount` micro-USD of the settlement token from `payer`."""
        self.token.send.approve(self.ledger.address, amount, sender=payer)
        self.clearing.send.deposit(account, amount, sender=payer)

    # addresses
    def save(self, path: Path) -> None:
        """Write the addresses to a JSON file, which `load` reads."""
        path.parent.mkdir(parents=True, exist_ok=True)
        body: dict[str, object] = {name: getattr(self, name).address for name in _NAMES}
        body |= {"chain_id": self.chain.chain_id, "deployed_at": self.deployed_at}
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps(body, indent=2) + "\n")
        scratch.replace(path)

    @classmethod
    def load(cls, chain: Chain, path: Path) -> System:
        """A deployment from its file.

        Raises
        ------
        BallastError
            No such file, not ours, of another chain, or the wiring does not hold.
        """
        try:
            body = json.loads(path.read_text())
            contracts = {name: chain.at(artifact(kind), body[name]) for name, kind in _NAMES.items()}
            began, chain_id = int(body["deployed_at"]), int(body["chain_id"])
        except FileNotFoundError as error:
            raise BallastError(f"no deployment at {path}: run `ape run deploy` first, or name the file") from error
        except (KeyError, ValueError, TypeError) as error:
            raise BallastError(f"{path} is not a deployment file: {error}") from error
        if chain_id != chain.chain_id:
            raise BallastError(f"{path} is of chain {chain_id}, the node of {chain.chain_id}: choose the other")
        system = cls(chain, **contracts, deployed_at=began)
        try:
            system.check()
        except Reverted as error:
            raise BallastError(f"{path} does not match the chain: {error}; deploy again") from error
        return system
