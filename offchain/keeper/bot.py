"""The thin runner: look, decide, simulate, send, journal."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from eth_utils import keccak

from offchain.chain.backends import Receipt, Reverted, Signer
from offchain.keeper.decide import Action, ClearCall, Liquidate, MarginCall, Wait, decide
from offchain.keeper.state import MarketState
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
    """

    state: MarketState
    account: int
    signer: Signer
    database: Database
    min_profit: int = 0
    bad_debt: bool = False

    def look(self) -> list[Receipt]:
        """One look at the market: sync, decide, carry out. Returns the mined transactions."""
        self.state.sync()
        view = self.state.view(self.account, self.min_profit, self.bad_debt)
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
            log.info(json.dumps({"epoch": view.epoch, "action": "none", "reason": "every account is healthy"}))
        return receipts

    def _carry_out(self, epoch: int, action: MarginCall | ClearCall | Liquidate) -> Receipt | None:
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

    def _arguments(self, action: MarginCall | ClearCall | Liquidate) -> tuple[str, tuple[object, ...]]:
        witness = self.state.ensure(action.account, self.signer)
        if isinstance(action, MarginCall):
            return "margin_call", (action.account, witness)
        if isinstance(action, ClearCall):
            return "clear_call", (action.account, witness)
        assert self.state.epoch is not None
        legs, proof, flags = self.state.epoch.legs([instrument for instrument, _ in action.takes])
        takes = [(meta, array, lots) for (meta, array), (_, lots) in zip(legs, action.takes, strict=True)]
        mine = self.state.ensure(self.account, self.signer)
        return "liquidate", (action.account, self.account, takes, proof, flags, witness, mine, b"")

    def _simulate(self, action: MarginCall | ClearCall | Liquidate) -> None:
        name, arguments = self._arguments(action)
        getattr(self.state.system.liquidator.call, name)(*arguments, sender=self.signer.address)

    def _send(self, action: MarginCall | ClearCall | Liquidate) -> Receipt:
        name, arguments = self._arguments(action)
        receipt: Receipt = getattr(self.state.system.liquidator.send, name)(*arguments, sender=self.signer)
        return receipt

    def _log(self, epoch: int, action: Action, result: str, receipt: Receipt | None = None) -> None:
        line: dict[str, object] = {
            "epoch": epoch, "action": type(action).__name__, "account": action.account, "result": result,
        }  # fmt: skip
        if isinstance(action, Wait):
            line["reason"] = action.reason
        if isinstance(action, Liquidate):
            line |= {"takes": {str(i): n for i, n in action.takes}, "reward": action.reward, "deficit": action.deficit}
        if receipt is not None:
            line |= {"tx": receipt.tx_hash, "gas": receipt.gas_used}
        log.info(json.dumps(line))
