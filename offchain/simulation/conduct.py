"""What agents want, carried to the chain and back into the records: causes, liquidations, hedges, cures, attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from offchain.chain.backends import Receipt, Reverted
from offchain.instruments import Instrument
from offchain.keeper.bot import Keeper as Bot
from offchain.keeper.view import Absorb, Act, Bid, ClearCall, Liquidate, MarginCall, StartAuction
from offchain.simulation.agents import Keeper, action_of
from offchain.simulation.depth import lots_to_move
from offchain.simulation.measures import DEBT
from offchain.simulation.scenario import Move
from offchain.store.database import Database
from offchain.units import MICRO

if TYPE_CHECKING:
    from offchain.simulation.laboratory import Laboratory


@dataclass
class Conduct:
    """Attributes
    ----------
    lab : the run. shadow, shadow_cash : what owners did of their own will since the beginning, by account.
    called : time of each running margin call, by account.
    """

    lab: Laboratory
    shadow: dict[int, dict[int, int]] = field(default_factory=dict)
    shadow_cash: dict[int, int] = field(default_factory=dict)
    called: dict[int, int] = field(default_factory=dict)
    bots: dict[str, Bot] = field(default_factory=dict)
    _moves: dict[str, int] = field(default_factory=dict)
    _left: bool = False
    _cured: set[int] = field(default_factory=set)
    _called_event: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        floor, journal = self.lab.floor, Database("sqlite://")
        for each in self.lab.keepers:
            signer = floor.owners[each.account]
            self.bots[each.spec.name] = Bot(floor.state, each.account, signer, journal, purse=each.purse)

    # keepers
    def keeper(self, keeper: Keeper, time: int) -> None:
        """Let a keeper look, and send what it wants."""
        lab = self.lab
        spec = keeper.spec
        for act in keeper.look(lab.floor, lab.traffic.native, lab.traffic.base_fee):
            if isinstance(act, Liquidate) and act.reward < self._slippage(keeper, act, time):
                keeper.pass_over(lab.floor, act.account)
                continue
            key = (action_of(act), act.account)
            keeper.waiting.add(key)

            def done(receipt: Receipt | None, reason: str, key: tuple[str, int] = key, act: Act = act) -> None:
                keeper.waiting.discard(key)
                if receipt is not None:
                    self._succeeded(keeper, act, receipt)

            lab.traffic.send(
                f"keeper {spec.name}", key[0], lambda act=act: self._carry(keeper, act), done,  # type: ignore[misc]
                time=time - 1, tip=spec.tip, cap=spec.max_fee, raises=spec.replaces, life=lab.scenario.cadence.slot,
            )  # fmt: skip

    def _slippage(self, keeper: Keeper, act: Liquidate, time: int) -> int:
        """What selling the legs outside would cost now, micro-USD; nothing for a keeper that takes bad debts anyway."""
        lab = self.lab
        if not keeper.spec.hedges or (keeper.spec.bad_debt and act.reward <= 0):
            return 0  # `decide` wants nothing without a reward but what is worth nothing at the price it goes by
        cost = 0.0
        for number, lots in lab.floor.delta(dict(act.takes), lab.floor.state.leaves).items():
            fill = lab.truth.markets.preview(number, -lots, float(time))
            price = lab.truth.bare(number, time) / lab.policy.underlying(number).lots_per_unit
            cost += abs(lots) * price * abs(fill.average - fill.before)
        return round(cost)

    def _carry(self, keeper: Keeper, act: Act) -> Receipt:
        bot = self.bots[keeper.spec.name]
        contract, name, arguments = bot.transaction(act)
        receipt: Receipt = getattr(contract.send, name)(*arguments, sender=bot.signer)
        return receipt

    def _succeeded(self, keeper: Keeper, act: Act, receipt: Receipt) -> None:
        lab, account = self.lab, act.account
        held = dict(lab.floor.state.book.accounts[account].positions)
        lab.floor.apply(receipt)
        name = keeper.spec.name
        if isinstance(act, MarginCall):
            self.called[account] = lab.time
            self._called_event[account] = lab.recorder.event(
                lab.time, "margin call", f"{name} calls account {account}", lab.epoch_event
            )
        elif isinstance(act, ClearCall):
            self.called.pop(account, None)
        elif isinstance(act, StartAuction):
            lab.recorder.event(lab.time, "auction", f"{name} puts account {account} on auction", self._cause(account))
        elif isinstance(act, Liquidate):
            kind = "FallbackLiquidated" if act.fallback else "Liquidated"
            self._liquidated(keeper, account, receipt.event(kind).args, receipt.gas_used, act.fallback)
        elif isinstance(act, Bid):
            self._taken_over(keeper, account, receipt.event("TakenOver").args, receipt.gas_used, held)
        elif isinstance(act, Absorb):
            args = receipt.event("Absorbed").args
            paid = args["insurance"] + args["shortfall"]
            self._row(
                account, keeper.account, {}, DEBT, receipt.gas_used, 0, penalty=0, reward=0, worth=-paid, covered=paid
            )

    def _cause(self, account: int) -> int:
        return self._called_event.get(account, self.lab.epoch_event)

    def _liquidated(self, keeper: Keeper, account: int, args: Mapping[str, Any], gas: int, fallback: bool) -> None:
        takes = {instrument: lots for instrument, lots, _ in args["takes"]}
        event = self.lab.recorder.event(
            self.lab.time,
            "liquidation",
            f"{keeper.spec.name} takes {len(takes)} legs of account {account}",
            self._cause(account),
        )
        if account not in self.lab.floor.state.called:
            self.called.pop(account, None)
        impact = self._hedge(keeper, takes, event)
        kind = "fallback" if fallback else "leg" if args["before"][3] < 0 else "tokens"
        self._row(
            account, args["taker"], takes, kind, gas, impact, penalty=args["penalty"],
            reward=args["reward"], worth=args["before"][0], covered=0,
        )  # fmt: skip

    def _taken_over(
        self, keeper: Keeper, account: int, args: Mapping[str, Any], gas: int, held: Mapping[int, int]
    ) -> None:
        worth, price = f"{args['before'][0] / MICRO:,.2f}", f"{args['price'] / MICRO:,.2f}"
        text = f"{keeper.spec.name} takes over account {account}, worth {worth} USD, for {price}"
        event = self.lab.recorder.event(self.lab.time, "takeover", text, self._cause(account))
        impact = self._hedge(keeper, held, event)
        paid = args["insurance"] + args["shortfall"]
        self._row(
            account, keeper.account, held, "takeover", gas, impact, penalty=max(args["before"][0] - args["price"], 0),
            reward=paid, worth=args["before"][0], covered=paid,
        )  # fmt: skip
        lab = self.lab
        lab.floor.owners[account] = lab.floor.owners[keeper.account]
        lab.owners.pop(account, None)

    def _row(
        self, account: int, taker: int, takes: Mapping[int, int], kind: str, gas: int, impact: int, **values: int
    ) -> None:
        lab = self.lab
        assert lab.floor.state.epoch is not None
        header = lab.floor.state.epoch.header
        notional = sum(
            abs(lots) * header.mark(i >> 88).index // lab.policy.underlying(i >> 88).lots_per_unit
            for i, lots in takes.items()
        )
        since, block = lab.watch.breach(account, kind)
        seconds, blocks = (lab.time - since, lab.traffic.space.number - block) if since >= 0 else (-1, -1)
        lab.recorder.add(
            "liquidations", time=lab.time, block=lab.traffic.space.number, account=account, taker=taker,
            legs=len(takes), notional=notional, kind=kind, breach_time=since, latency_s=seconds, latency_blocks=blocks,
            gas=gas, price_impact=impact, **values,
        )  # fmt: skip

    def _hedge(self, keeper: Keeper, takes: Mapping[int, int], cause: int) -> int:
        """Sell outside what came in; returns the largest impact, 1e-6."""
        lab = self.lab
        if not keeper.spec.hedges:
            return 0
        assert lab.floor.state.epoch is not None
        worst = 0
        for number, lots in lab.floor.delta(takes, lab.floor.state.leaves).items():
            fill = lab.truth.markets.trade(number, -lots, float(lab.time))
            worst = max(worst, abs(fill.impact), key=abs)
            lab.recorder.event(
                lab.time, "hedge",
                f"{keeper.spec.name} trades {-lots / lab.policy.underlying(number).lots_per_unit:,.2f} "
                f"{lab.scenario.names[number]} outside: {fill.impact / 1e4:+.2f} %", cause,
            )  # fmt: skip
        return worst

    # owners
    def owners(self, time: int) -> None:
        """Owners who cure and were called long enough ago pay in what they lack and a fifth more."""
        lab = self.lab
        for account, since in list(self.called.items()):
            owner = lab.owners.get(account)
            if owner is None or not owner.cures or owner.wallet <= 0 or time < since + owner.group.patience:
                continue
            if account in self._cured:
                continue
            margin, content = lab.floor.state.margin_of(account), lab.floor.state.content(account)
            lacking = max(-margin.im_excess, content.collateral - margin.pv)
            amount = min(lacking + lacking // 5, owner.wallet)
            if amount <= 0:
                continue
            self._cured.add(account)
            owner.wallet -= amount
            self._deposit(account, amount, time)

    def _deposit(self, account: int, amount: int, time: int) -> None:
        lab = self.lab
        key = lab.floor.owners[account]

        def carry() -> Receipt:
            lab.system.token.send.mint(key.address, amount, sender=key)
            lab.system.token.send.approve(lab.system.ledger.address, amount, sender=key)
            return lab.system.clearing.send.deposit(account, amount, sender=key)  # type: ignore[no-any-return]

        def done(receipt: Receipt | None, reason: str) -> None:
            self._cured.discard(account)
            if receipt is not None:
                lab.floor.apply(receipt)
                lab.deposited[account] += amount
                self.shadow_cash[account] = self.shadow_cash.get(account, 0) + amount
                text = f"{lab.roles[account]} {account} pays in {amount / MICRO:,.2f} USD"
                lab.recorder.event(lab.time, "cure", text, self._cause(account))

        lab.traffic.send(f"{lab.roles[account]} {account}", "deposit", carry, done, time=time - 1, tip=3.0)

    # attackers
    def attack(self, time: int) -> None:
        """Send the moves of attackers whose time has come, and let everybody leave whose time that is."""
        for spec in self.lab.scenario.attackers:
            done = self._moves.get(spec.name, 0)
            while done < len(spec.moves) and spec.moves[done].time <= time:
                self._move(f"attacker {spec.name}", self.lab.attackers[spec.name], spec.moves[done], time - 1)
                done += 1
            self._moves[spec.name] = done
        if 0 < self.lab.scenario.leave <= time and not self._left:
            self._left = True
            for account in self.lab.leavers():
                self.withdraw(account, 1.0, "leave", time - 1)

    def _move(self, role: str, mine: Mapping[str, int], move: Move, time: int) -> None:
        lab = self.lab
        if move.action == "push":
            number = move.get("underlying")
            depth = lab.truth.markets.depth(number)
            fill = lab.truth.markets.trade(number, round(lots_to_move(depth, move.get("move"))), float(time))
            cost = round(abs(fill.lots) * abs(fill.average - fill.before) * lab.truth.bare(number, time))
            cost //= lab.policy.underlying(number).lots_per_unit
            lab.recorder.add(
                "transactions", time=time, block=-1, sender=role, action="push", ok=1, reason="", gas=0, fee_paid=cost
            )
            lab.recorder.event(time, "push", f"{role} moves {lab.scenario.names[number]} by {fill.impact / 1e4:+.2f} %")
            return
        account = mine[move.get("account")]
        if move.action == "deposit":
            self._deposit(account, round(move.get("amount") * MICRO), time)
        elif move.action == "withdraw":
            self.withdraw(account, move.get("share", 1.0), "withdraw", time)
        else:
            self._trade(role, mine, move, time)

    def _trade(self, role: str, mine: Mapping[str, int], move: Move, time: int) -> None:
        """Take as much of a position as asked for, as margins and limits allow when it is included."""
        lab = self.lab
        number, account = move.get("underlying"), mine[move.get("account")]
        perpetual = min(key for key in lab.listed if key >> 88 == number)
        wanted = round(move.get("units", 1e9) * lab.policy.underlying(number).lots_per_unit)
        other = mine[move.get("with")] if move.get("with", "makers") != "makers" else 0
        self._fill(role, "open", account, other, {perpetual: 1 if wanted > 0 else -1}, abs(wanted), time)

    def _fill(
        self, role: str, action: str, account: int, other: int, leg: Mapping[int, int], wanted: int, time: int
    ) -> None:
        """Trade at most `wanted` lots of one leg with `other`, or with a maker (0)."""
        lab = self.lab
        ((instrument, side),) = leg.items()
        number = instrument >> 88

        def carry() -> Receipt:
            floor = lab.floor
            against = other or lab.maker(number)
            lots = wanted
            if action == "open":
                lots = min(lots, lab.room(number, (account, against)))
                for each, sign in ((account, side), (against, -side)):
                    lots = min(lots, floor.most(each, {instrument: sign}, floor.fee(instrument, lots), lots))
            if lots < 1:
                raise Reverted("no room for the position")
            buyer, seller = (account, against) if side > 0 else (against, account)
            price = max(floor.mark(instrument), 0)
            return floor.trade(buyer, seller, instrument, lots, price, floor.owners[account])

        def done(receipt: Receipt | None, reason: str) -> None:
            if receipt is None:
                return
            filled = receipt.event("Filled").args
            paid = filled["lots"] * (filled["price"] - lab.floor.funding(instrument))
            bought = {filled["maker"]: 1 if filled["maker_buys"] else -1}
            bought[filled["taker"]] = -bought[filled["maker"]]
            for each, sign in bought.items():
                mine = self.shadow.setdefault(each, {})
                mine[instrument] = mine.get(instrument, 0) + sign * filled["lots"]
                self.shadow_cash[each] = self.shadow_cash.get(each, 0) - sign * paid - filled["fee"]
            units = side * filled["lots"] / lab.policy.underlying(number).lots_per_unit
            text = f"{role} trades {units:,.2f} {Instrument.from_id(instrument).symbol(lab.scenario.names)}"
            lab.recorder.event(lab.time, "attack" if role.startswith("attacker") else "trade", text)

        lab.traffic.send(role, action, carry, done, time=time, tip=5.0)

    def trade_some(self, time: int) -> None:
        """Owners who trade add to a position or take a part off; those below initial margin only take off."""
        lab = self.lab
        for owner in list(lab.owners.values()):
            held = lab.floor.state.book.accounts[owner.account].positions
            if not held or owner.group.trades == 0 or lab.rng.random() >= owner.group.trades:
                continue
            instrument = sorted(held)[int(lab.rng.integers(len(held)))]
            lots, share = held[instrument], float(lab.rng.uniform(0.05, 0.3))
            healthy = lab.floor.state.margin_of(owner.account).im_excess >= 0
            grow = healthy and bool(lab.rng.random() < 0.5)
            side = 1 if (lots > 0) == grow else -1
            wanted = max(round(abs(lots) * share), 1)
            role = f"{lab.roles[owner.account]} {owner.account}"
            self._fill(role, "open" if grow else "close", owner.account, 0, {instrument: side}, wanted, time)

    def withdraw(self, account: int, share: float, action: str, time: int) -> None:
        """Take out a share of what is free. What was paid of what was asked goes into the record of one who leaves."""
        lab = self.lab
        key = lab.floor.owners[account]
        asked: list[int] = []
        due: list[int] = []

        def carry() -> Receipt:
            asked.append(int(lab.floor.free(account) * share))
            due.append(lab.floor.due(asked[-1]))
            if asked[-1] <= 0:
                raise Reverted("nothing is free")
            witness = lab.floor.witness(account, key)
            receipt: Receipt = lab.system.clearing.send.withdraw(account, asked[-1], key.address, witness, sender=key)
            return receipt

        def done(receipt: Receipt | None, reason: str) -> None:
            paid = 0
            if receipt is not None:
                lab.floor.apply(receipt)
                paid = receipt.event("Withdrawal").args["amount"]
                lab.withdrawn[account] += paid
                self.shadow_cash[account] = self.shadow_cash.get(account, 0) - asked[-1]
                text = f"{lab.roles[account]} {account} takes out {paid / MICRO:,.2f} of {asked[-1] / MICRO:,.2f} USD"
                lab.recorder.event(lab.time, action, text)
            if action == "leave" and asked:
                lab.recorder.add(
                    "withdrawals", time=lab.time, account=account, asked=max(asked[-1], 0), paid=paid, due=due[-1]
                )

        sender = lab.roles[account] if action == "withdraw" else f"{lab.roles[account]} {account}"
        lab.traffic.send(sender, action, carry, done, time=time, tip=4.0)
