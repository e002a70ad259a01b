"""The thin runner: look, decide, simulate, send, journal."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from dataclasses import dataclass

from eth_utils import keccak

from offchain.chain.backends import Contract, Receipt, Reverted, Signer
from offchain.keeper.decide import decide
from offchain.keeper.state import MarketState
from offchain.keeper.view import (
    Absorb,
    Act,
    Action,
    Bid,
    ClearCall,
    EndAuction,
    FinalizePrice,
    Liquidate,
    MarginCall,
    ProposePrice,
    RepayShortfall,
    Settle,
    StartAuction,
    Wait,
)
from offchain.store import journal
from offchain.store.database import Database

log = logging.getLogger("ballast.keeper")


def _key(epoch: int, action: Action, taker: int) -> str:
    """Idempotency key: the same action under the same epoch is sent once."""
    return keccak(text=f"{epoch}/{taker}/{action}").hex()


@dataclass
class Keeper:
    """A liquidation bot around one account.

    Attributes
    ----------
    state : the market as it follows it.
    account : its own account, which takes legs; `signer` owns it.
    database : where its journal lives.
    min_profit, bad_debt : as in `View`.
    purse : its account without positions that pays for takeovers; None for none.
    only : accounts that it looks after; None for all.
    """

    state: MarketState
    account: int
    signer: Signer
    database: Database
    min_profit: int = 0
    bad_debt: bool = False
    purse: int | None = None
    only: Collection[int] | None = None

    def look(self) -> list[Receipt]:
        """One look at the market: sync, decide, carry out. Returns the mined transactions."""
        self.state.sync()
        view = self.state.view(self.account, self.min_profit, self.bad_debt, self.purse, self.only)
        actions = decide(view)
        receipts = []
        for action in actions:
            if isinstance(action, Wait):
                self._log(view.epoch, action, "waits")
                continue
            receipt = self._carry_out(view.epoch, action)
            if receipt is not None:
                receipts.append(receipt)
                self.state.sync()
        if not actions:
            log.info(json.dumps({"epoch": view.epoch, "action": "none", "reason": "nothing to do"}))
        return receipts

    def _carry_out(self, epoch: int, action: Act) -> Receipt | None:
        chain = self.state.system.chain
        key = _key(epoch, action, self.account)
        now = chain.timestamp
        with self.database.begin() as session:
            payload = {"epoch": epoch, "account": action.account}
            if not journal.plan(session, chain.chain_id, key, type(action).__name__, payload, now):
                self._log(epoch, action, "already sent")
                return None
        try:
            self._simulate(action)
            with self.database.begin() as session:
                journal.advance(session, chain.chain_id, key, "sent", now, sender=self.signer.address)
            receipt = self._send(action)
        except Reverted as error:
            with self.database.begin() as session:
                journal.advance(session, chain.chain_id, key, "failed", now, reason=error.reason)
            self._log(epoch, action, f"failed: {error.reason}")
            return None
        with self.database.begin() as session:
            journal.advance(session, chain.chain_id, key, "mined", receipt.timestamp, tx_hash=receipt.tx_hash)
        self._log(epoch, action, "mined", receipt)
        return receipt

    def transaction(self, action: Act) -> tuple[Contract, str, tuple[object, ...]]:
        """Which function of which contract an action is, and its arguments."""
        system, number = self.state.system, action.account
        match action:
            case MarginCall() | ClearCall():
                name = "margin_call" if isinstance(action, MarginCall) else "clear_call"
                return system.liquidator, name, (number, self._witness(number))
            case StartAuction() | EndAuction():
                name = "start" if isinstance(action, StartAuction) else "end"
                return system.takeover, name, (number, self._witness(number))
            case Liquidate():
                return self._liquidation(action)
            case Bid():
                bid = (number, action.version, action.position_hash, action.limit, self.purse, action.top_up)
                return system.takeover, "take_over", (bid, self._witness(number))
            case Absorb():
                return system.takeover, "absorb", (number,)
            case RepayShortfall():
                return system.takeover, "repay_shortfall", ()
            case Settle():
                return system.settlement, "settle", (number, list(action.instruments))
            case FinalizePrice():
                return system.settlement, "finalize_price", (action.underlying, action.expiry)
            case ProposePrice():
                assert self.state.epoch is not None
                place = len(self.state.epoch.leaves) + self.state.epoch.settlements.index(action.word)
                proof = self.state.epoch.instrument_tree.proof(place)
                return system.settlement, "propose_price", (action.word, proof)

    def _witness(self, account: int) -> object:
        return self.state.ensure(account, self.signer)

    def _liquidation(self, action: Liquidate) -> tuple[Contract, str, tuple[object, ...]]:
        assert self.state.epoch is not None
        legs, proof, flags = self.state.epoch.legs([instrument for instrument, _ in action.takes])
        takes = [(meta, array, lots) for (meta, array), (_, lots) in zip(legs, action.takes, strict=True)]
        witnesses = self._witness(action.account), self._witness(self.account)
        arguments = (action.account, self.account, takes, proof, flags, *witnesses)
        if action.fallback:
            return self.state.system.fallback, "liquidate", arguments
        return self.state.system.liquidator, "liquidate", (*arguments, b"")

    def _simulate(self, action: Act) -> None:
        contract, name, arguments = self.transaction(action)
        getattr(contract.call, name)(*arguments, sender=self.signer.address)

    def _send(self, action: Act) -> Receipt:
        contract, name, arguments = self.transaction(action)
        receipt: Receipt = getattr(contract.send, name)(*arguments, sender=self.signer)
        return receipt

    def _log(self, epoch: int, action: Action, result: str, receipt: Receipt | None = None) -> None:
        line: dict[str, object] = {
            "epoch": epoch, "action": type(action).__name__, "account": action.account, "result": result,
        }  # fmt: skip
        if isinstance(action, Wait):
            line["reason"] = action.reason
        if isinstance(action, Liquidate):
            line |= {"takes": {str(i): n for i, n in action.takes}, "reward": action.reward, "deficit": action.deficit}
            line["by"] = "fallback" if action.fallback else "epoch"
        if isinstance(action, Bid):
            line |= {"limit": action.limit, "top_up": action.top_up, "profit": action.profit}
        if receipt is not None:
            line |= {"tx": receipt.tx_hash, "gas": receipt.gas_used}
        log.info(json.dumps(line))
