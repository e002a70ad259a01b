"""The one door between the machine and the contracts: each call goes to the chain and to the twin, and they agree.

Signatures of orders are made with one nonce for all (the keys are worth nothing), because signing is then one product;
on any other chain that would give the keys away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import eth_abi
from eth_account.signers.local import LocalAccount
from eth_keys.backends.native.jacobian import fast_multiply
from market import CADENCE, START, TOKENS, Market, first_instruments, first_policy
from twin.core import INSURANCE, RESERVED, SHORTFALL, ZERO, Account
from twin.house import Signature
from twin.liquidator import Bid
from twin.oracle import Feed
from twin.registry import BadPolicy
from twin.settlement import Twin
from words import encode, integers

from offchain.chain.artifacts import Artifact, artifact
from offchain.chain.backends import RawLog, dev_account
from offchain.chain.codec import revert_reason
from offchain.chain.orders import Order
from offchain.chain.revm import RevmChain
from offchain.chain.system import POLICY_TYPE, System
from offchain.oracle.headers import Header
from offchain.oracle.trees import keccak256
from offchain.risk.policy import Policy
from offchain.risk.portfolios import Margin

N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_NONCE = 0x1234567890ABCDEF1234567890ABCDEF
_POINT = fast_multiply(_G, _NONCE)
_INVERSE = pow(_NONCE, -1, N)

# Which contract and function a method of the twin stands for, where the names differ or several could be meant.
METHODS: Mapping[str, tuple[str, str]] = {
    **{name: ("ledger", name) for name in ("open_account", "open_isolated", "transfer_account", "set_engines")},
    "trespass": ("ledger", "trespass"),
    **{name: ("clearing", name) for name in ("deposit", "withdraw", "cancel", "trade")},
    "check_full": ("examiner", "check_full"),
    "check_part": ("examiner", "check_part"),
    "deposit_tokens": ("collateral", "deposit"),
    "withdraw_tokens": ("collateral", "withdraw"),
    "withdraw_unpledged": ("collateral", "withdraw_unpledged"),
    **{name: ("liquidator", name) for name in ("margin_call", "clear_call", "liquidate")},
    **{name: ("takeover", name) for name in ("start", "end", "take_over", "absorb", "repay_shortfall")},
    "fallback_liquidate": ("fallback", "liquidate"),
    **{
        name: ("settlement", name)
        for name in (
            "record_feed", "propose_price", "finalize_price", "last_resort", "fix_delisted", "begin_exit", "fix_exit",
            "settle",
        )
    },
    **{name: ("oracle", name) for name in ("post", "reinstate", "halt")},
    **{
        name: ("registry", name)
        for name in (
            "delist", "pause", "unpause", "set_guardian", "list_instruments", "relist", "propose_policy",
            "enact_policy", "propose_feed", "enact_feed", "propose_token", "enact_token", "propose_challenger",
            "enact_challenger",
        )
    },
    "cancel_proposal": ("registry", "cancel"),
}  # fmt: skip


class Disagreement(AssertionError):
    """The chain did not do what the twin says, or an invariant does not hold."""


@dataclass(frozen=True)
class Call:
    """An attempt.

    Attributes
    ----------
    method : of the twin. args : as the twin takes them. sender : address.
    parties : accounts that agreed to lose by it, or lose by the rules. price : whether it moves a price or time.
    function : another function of the ledger (`trespass`).
    """

    method: str
    args: Sequence[Any]
    sender: str
    parties: Sequence[int] = ()
    price: bool = False
    function: str = ""


def _reason(error: RuntimeError) -> str:
    text = str(error)
    if "output: 0x" not in text:
        return text
    return revert_reason(bytes.fromhex(text.split("output: 0x")[1].split(" ")[0]))


def plain(value: Any) -> Any:
    """An argument as the codec takes it."""
    if isinstance(value, Signature):
        return value.body
    if isinstance(value, Order | Bid | Header):
        return value.as_tuple()
    if isinstance(value, Policy):
        return eth_abi.decode([POLICY_TYPE], value.encode())[0]
    if isinstance(value, BadPolicy):
        return value.body
    return value


class Bench:
    """A deployed system, its twin, and the market.

    Parameters
    ----------
    variants : artifacts in place of contracts.
    """

    def __init__(self, variants: Mapping[str, Artifact] | None = None) -> None:
        chain = self.chain = RevmChain(timestamp=START)
        self.keys: list[LocalAccount] = [dev_account(k) for k in range(10)]
        self.owner, self.guardian, self.challenger, self.stranger = (k.address for k in self.keys[:4])
        self.people = [k.address for k in self.keys[3:9]]
        self.market = Market()
        policy = first_policy()
        mocks = [chain.deploy(artifact("mocks/MockFeed"), 8, 1, START, sender=self.keys[0]) for _ in range(4)]
        self.mocks = {m.address: m for m in mocks}
        self.coins = [chain.deploy(artifact("mocks/SettlementToken"), sender=self.keys[0]).address for _ in range(4)]
        self.coarse = chain.deploy(artifact("mocks/FalseToken"), 2, sender=self.keys[0]).address
        feeds = [(u, mocks[u - 1].address, 3 * 3_600, 0, 10**20) for u in (1, 2, 3)]
        self.system = System.deploy(
            chain, self.keys[0], policy.encode(), None, CADENCE, instruments=first_instruments(),
            guardian=self.guardian, feeds=feeds, variants=variants,
            tokens=[(i, coin, 6) for i, coin in zip(TOKENS, self.coins, strict=False)],
        )  # fmt: skip
        self.contracts = {name: getattr(self.system, name) for name in {pair[0] for pair in METHODS.values()}}
        self.wallet = chain.deploy(artifact("mocks/Wallet"), self.keys[9].address, sender=self.keys[0])
        self.people.append(self.wallet.address)
        money, ledger = self.system.token.address, self.system.ledger.address
        self.flash = chain.deploy(artifact("mocks/Liquidation"), money, ledger, sender=self.keys[0])
        self.twin = self._twin(policy, feeds)
        self.filled: list[Order] = []
        self.salt = 0
        self._account = self.system.ledger.function("account").selector
        self._held = self.system.ledger.function("tokens_held").selector
        self._balance = self.system.token.function("balanceOf").selector
        self._here = bytes.fromhex(self.system.ledger.address[2:]).rjust(32, b"\0")
        self.attempts = 0

    def _twin(self, policy: Policy, feeds: Sequence[Any]) -> Twin:
        ledger = self.system.ledger.address
        scalars = {"next_account": 256, "tokens_held": 0, "deployer": self.owner, "ledger": ledger}
        twin = Twin({n: Account() for n in RESERVED}, {}, {}, {}, {}, scalars)
        twin.begin_registry(policy, CADENCE.timelock, self.guardian, self.owner)
        twin.begin_oracle(
            CADENCE.slot, CADENCE.max_age, CADENCE.min_interval, CADENCE.fallback_delay, CADENCE.exit_delay
        )
        domain = eth_abi.encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [
                keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(b"Ballast"),
                keccak256(b"1"),
                self.chain.chain_id,
                self.system.clearing.address,
            ],
        )
        twin.begin_house(keccak256(domain))
        twin.begin_liquidator(CADENCE.auction)
        twin.begin_settlement()
        twin.begin_vault()
        twin.listed = dict.fromkeys([*first_instruments(), *TOKENS], True)
        twin.token_terms = {i: (i, coin, 6) for i, coin in zip(TOKENS, self.coins, strict=False)}
        twin.feed_terms = {f[0]: tuple(f) for f in feeds}  # type: ignore[misc]
        twin.feeds = {address: Feed(1, START) for address in self.mocks}
        twin.decimals = {**dict.fromkeys(self.coins, 6), self.coarse: 2}
        twin.flash = self.flash.address
        twin.wallets = {self.wallet.address: self.keys[9].address}
        return twin

    # time and environment
    @property
    def now(self) -> int:
        """Time of the block that the next transaction would be in."""
        return self.chain.timestamp + 1

    def wait(self, seconds: int) -> None:
        """Time goes by."""
        if seconds > 0:
            self.chain.set_next_timestamp(self.chain.timestamp + seconds)
            self.chain.mine()

    def set_feed(self, address: str, answer: int, updated: int, mode: int = 0) -> None:
        """A mock feed says something else."""
        mock, feed = self.mocks[address], self.twin.feeds[address]
        self.raw(self.owner, address, mock.function("set").encode((answer, updated)))
        if feed.mode != mode:
            self.raw(self.owner, address, mock.function("misbehave").encode((mode,)))
        feed.answer, feed.updated, feed.mode = answer, updated, mode

    def mint(self, person: str, amount: int) -> None:
        """Dollars for a person, and the ledger may take them."""
        token, tokens = self.system.token, self.twin.tokens
        self.raw(person, token.address, token.function("mint").encode((person, amount)))
        self.raw(person, token.address, token.function("approve").encode((self.system.ledger.address, amount)))
        tokens[person] = tokens.get(person, 0) + amount
        tokens["allow " + person] = amount

    def mint_coin(self, token: str, person: str, amount: int) -> None:
        """Collateral tokens for a person, and the ledger may take them."""
        known, coins = self.system.token, self.twin.coins
        self.raw(person, token, known.function("mint").encode((person, amount)))
        self.raw(person, token, known.function("approve").encode((self.system.ledger.address, amount)))
        coins[token, person] = coins.get((token, person), 0) + amount
        coins[token, "allow " + person] = amount

    # orders
    def order(self, account: int, instrument: int, lots: int, price: int, reduces: bool = False) -> Order:
        """A fresh order."""
        self.salt += 1
        salt = self.salt | (1 << 255 if reduces else 0)
        return Order(account, self.twin.account(account).version, instrument, lots, price, self.now + 3_600, salt)

    def sign(self, order: Order, signer: str | None = None) -> Signature:
        """An order's signature by the owner of its account, or by another key."""
        if signer is None:
            owner = self.twin.account(order.account).owner
            signer = self.twin.wallets.get(owner, owner)
        digest = self.twin.order_hash(order)
        key = next((k for k in self.keys if k.address == signer), self.keys[0])
        r = _POINT[0] % N
        s = _INVERSE * (int.from_bytes(digest, "big") + r * int.from_bytes(key.key, "big")) % N
        v = 27 + _POINT[1] % 2
        return Signature(r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([v]), key.address, digest)

    # calls
    def peek(self, to: str, data: bytes) -> tuple[str | None, bytes]:
        """A call on a snapshot, in the block that was last: None and its answer, or the reason of the refusal."""
        evm = self.chain.evm
        evm.reset_transient_storage()
        mark = evm.snapshot()
        try:
            return None, bytes(evm.message_call(ZERO, to, data))
        except RuntimeError as error:
            return _reason(error), b""
        finally:
            evm.revert(mark)

    def raw(self, sender: str, to: str, data: bytes, commit: bool = True) -> tuple[str | None, bytes]:
        """A transaction in the next block, or one on a snapshot: None and its answer, or the reason of the refusal."""
        chain, evm = self.chain, self.chain.evm
        if sender == self.wallet.address:
            sender, to, data = self.stranger, sender, self.wallet.function("run").encode((to, data))
        if sender == self.flash.address:
            sender, to, data = self.stranger, sender, self.flash.function("run").encode(([data], [to]))
        before = chain._number, chain._time
        chain._number, chain._time = before[0] + 1, before[1] + 1
        chain._enter_block()
        evm.reset_transient_storage()
        mark = evm.snapshot()
        reason, out = None, b""
        try:
            out = bytes(evm.message_call(sender, to, data))
        except RuntimeError as error:
            reason = _reason(error)
        if reason is not None or not commit:
            evm.revert(mark)
            chain._number, chain._time = before
            chain._enter_block()
            return reason, out
        evm.commit()
        result = evm.result
        assert result is not None, "a transaction was just run"
        logs = [
            RawLog(log.address, [bytes.fromhex(t[2:]) for t in log.topics], log.data[1], chain._number, index, "")
            for index, log in enumerate(result.logs)
        ]
        chain._logs += logs
        chain._log_blocks += [chain._number] * len(logs)
        return None, out

    def read(self, contract: str, function: str, *args: Any) -> Any:
        """A view; the reason as a string where it refuses."""
        target = self.contracts[contract]
        found = target.function(function)
        values = [plain(a) for a in args]
        reason, out = self.peek(target.address, found.selector + encode(found.inputs, values))
        return found.decode(out) if reason is None else reason

    def data(self, call: Call) -> tuple[str, bytes]:
        """Where a call goes, and its calldata."""
        contract, function = METHODS[call.method]
        target = self.contracts[contract]
        found = target.function(call.function or function)
        return target.address, found.selector + encode(found.inputs, [plain(a) for a in call.args])

    def attempt(self, call: Call) -> str | None:
        """Do it on the chain and in the twin; None, or why both refused.

        Raises
        ------
        Disagreement
            They differ.
        """
        self.attempts += 1
        to, data = self.data(call)
        now, number = self.chain.timestamp + 1, self.chain.block_number + 1
        wanted, _ = self.twin.run(now, number, call.sender, call.method, call.args)
        found, _ = self.raw(call.sender, to, data)
        if found != wanted:
            raise Disagreement(f"{call.method}: the chain said {found!r}, the twin {wanted!r}")
        return found

    def would(self, call: Call) -> str | None:
        """What the twin says of a call; nothing changes."""
        reason, _ = self.twin.run(self.now, self.chain.block_number + 1, call.sender, call.method, call.args)
        if reason is None:
            self.twin.take_back()
        return reason

    # comparison
    def ledger_account(self, number: int) -> tuple[str, int, int, int, int, bytes]:
        """An account as the contract has it: owner, version, cash, last trade, head, position hash."""
        _, out = self.raw(ZERO, self.system.ledger.address, self._account + number.to_bytes(32, "big"), commit=False)
        words = [int.from_bytes(out[k : k + 32], "big") for k in range(0, 160, 32)]
        cash = words[2] - (1 << 256 if words[2] >> 255 else 0)
        return out[12:32].hex(), words[1], cash, words[3], words[4], out[160:192]

    def compare_accounts(self) -> None:
        """Every account is what the twin has, and the cash that the contract states sums to the tokens it holds."""
        total = 0
        for number, account in self.twin.accounts.items():
            found = self.ledger_account(number)
            total += found[2]
            if number in RESERVED:
                same = found[2] == account.cash
            else:
                head = account.head(number)
                wanted = (account.owner[2:].lower(), account.version, account.cash, account.last, head, account.hash)
                same = found == wanted
            if not same:
                raise Disagreement(f"account {number} is {found}, not {account}")
        _, out = self.peek(self.system.ledger.address, self._held)
        held = int.from_bytes(out, "big")
        there = self.balance(self.system.token.address)
        if not total == held == self.twin.held == there:
            raise Disagreement(
                f"cash sums to {total}, {held} are held, the twin holds {self.twin.held}, {there} are there"
            )
        for _, token, _ in self.twin.token_terms.values():
            stated, there = self.read("ledger", "collateral_held", token), self.balance(token)
            if not stated == there == self.twin.coins.get((token, "ledger"), 0):
                raise Disagreement(f"of {token} {stated} are held, {there} are there")

    def balance(self, token: str) -> int:
        """What the ledger has of a token, as the token states."""
        _, out = self.peek(token, self._balance + self._here)
        return int.from_bytes(out, "big")

    def margin_by(self, call_to: str, *args: Any) -> Margin | str:
        """A margin that a contract computes from a witness."""
        contract, function = ("examiner", "check_full") if call_to == "full" else ("clearing", "check")
        target = self.contracts[contract]
        found = target.function(function)
        reason, out = self.peek(target.address, found.selector + encode(found.inputs, args))
        return Margin(*integers(out)) if reason is None else reason

    def insurance(self) -> int:
        """What insurance has, less shortfall."""
        return self.twin.account(INSURANCE).cash + self.twin.account(SHORTFALL).cash
