"""An order desk and its reconciler on a real journal, before a venue that is a plain model.

The model knows no rule of ours: it fills, cancels and expires as it is told, takes a client id once, and
would sell what is not held.  What the network does to its answers is set call by call.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from adapters.journal.store import Journal, open_journal
from engine.codes import IntentState
from engine.errors import NotFoundError, UnavailableError
from engine.model import Fill, Instrument, OrderReport, OrderRequest, OrderSide, OrderType, TimeInForce
from engine.runtime.cycle import Heard
from engine.runtime.journal_port import AccountEvent, CycleRecord, Intent, StateSnapshot
from engine.runtime.orders import OrderDesk
from engine.runtime.ports import AmbiguousOutcome, Hint, OrderRejected, VenueAccount, VenueClock
from engine.runtime.reconcile import Reconciler
from engine.runtime.restore import after, any_quantity, restored
from engine.units import PRICE_SCALE, QUANTITY_SCALE, notional
from engine.verbs.state import STATE_VERSION, CancelAsked, IntentPlanned, pack_state
from tests.journal_records import ACCOUNT, POLICY, RULES, START_MS, Market

PRICE: Final = 10 * PRICE_SCALE
UNIT: Final = QUANTITY_SCALE
CASH: Final = 1_000_000_000_000
BUY, SELL = OrderSide.BUY, OrderSide.SELL
SYMBOLS: Final = ("ADA-USD", "SOL-USD")


@dataclass
class VenueOrder:
    """An order at the venue, with every report it ever could have given."""

    request: OrderRequest
    told: list[OrderReport] = field(default_factory=list)

    @property
    def now(self) -> OrderReport:
        """What is true of it."""
        return self.told[-1]

    @property
    def open(self) -> bool:
        """Whether it can still be filled."""
        return not self.now.state.final


class ModelVenue:
    """The venue; ``faults[call]`` is what the network does to the next calls: see ``_meet``."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """Begin with nothing."""
        self.now_ms = now_ms
        self.orders: dict[str, VenueOrder] = {}
        self.on_the_way: dict[str, OrderRequest] = {}
        self.fills: list[Fill] = []
        self.held: dict[str, int] = {}
        self.faults: dict[str, list[str]] = {}
        self.sent: list[OrderRequest] = []
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.missing_cash = 0
        self._untrue: set[tuple[str, str]] = set()

    # --- what happens there ---------------------------------------------------------------------

    def take(self, order: OrderRequest) -> OrderReport:
        """Take an order, once by its name."""
        if order.client_id in self.orders:
            raise OrderRejected("client_order_id must be unique")
        report = OrderReport(
            order.client_id, f"v{len(self.orders)}", order.symbol, order.side, order.quantity,
            order.limit_price, IntentState.SENT, 0, self.now_ms(),
        )  # fmt: skip
        self.orders[order.client_id] = VenueOrder(order, [report])
        return report

    def arrive(self, client_id: str) -> None:
        """A request that was thought lost arrives now."""
        order = self.on_the_way.pop(client_id)
        if client_id not in self.orders:
            self.take(order)

    def fill(self, client_id: str, quantity: int) -> None:
        """Fill some of an order."""
        order = self.orders[client_id]
        filled = order.now.filled_quantity + quantity
        assert order.open and quantity > 0 and filled <= order.now.quantity
        state = IntentState.FILLED if filled == order.now.quantity else IntentState.PARTLY_FILLED
        self._say(order, state, filled)
        request = order.request
        sign = 1 if request.side is BUY else -1
        self.held[request.symbol] = self.held.get(request.symbol, 0) + sign * quantity
        self.fills.append(
            Fill(
                f"f{len(self.fills)}", client_id, request.symbol, request.side, quantity, PRICE,
                notional(quantity, PRICE), 0, self.now_ms(),
            )
        )  # fmt: skip

    def end(self, client_id: str, state: IntentState) -> None:
        """End an order."""
        order = self.orders[client_id]
        assert order.open and state.final
        self._say(order, state, order.now.filled_quantity)

    def _say(self, order: VenueOrder, state: IntentState, filled: int) -> None:
        order.told.append(replace(order.now, state=state, filled_quantity=filled, updated_ms=self.now_ms()))

    # --- the port -------------------------------------------------------------------------------

    def _meet(self, call: str, about: str = "") -> str:
        """Return the fault of a call.  No two answers in a row to the same question are untrue."""
        self.asked.append(call)
        queue = self.faults.get(call)
        fault = queue.pop(0) if queue else ""
        if fault in ("missing", "stale") and (call, about) in self._untrue:
            fault = ""
        if fault in ("missing", "stale"):
            self._untrue.add((call, about))
        elif fault != "down":
            self._untrue.discard((call, about))
        if fault == "down":
            raise UnavailableError(f"{call}: the venue is down")
        return fault

    def submit(self, order: OrderRequest) -> OrderReport:
        """Take an order; "lost_before", "late" and "lost_after" lose the answer, "late" delays the order."""
        fault = self._meet("submit")
        self.sent.append(order)
        if fault == "late":
            self.on_the_way[order.client_id] = order
        if fault in ("late", "lost_before"):
            raise AmbiguousOutcome("timeout")
        report = self.take(order)
        if fault == "lost_after":
            raise AmbiguousOutcome("504")
        return report

    def find(self, client_id: str) -> OrderReport | None:
        """Look an order up; "missing" denies it, "stale" tells what was true at first."""
        fault = self._meet("find", client_id)
        if fault == "missing" or client_id not in self.orders:
            return None
        order = self.orders[client_id]
        return order.told[0] if fault == "stale" else order.now

    def cancel(self, client_id: str) -> None:
        """Cancel; "lost_before" and "lost_after" lose the answer, "pending" leaves it for later."""
        fault = self._meet("cancel")
        self.cancelled.append(client_id)
        order = self.orders.get(client_id)
        if fault not in ("lost_before", "pending"):
            if order is None:
                raise NotFoundError(f"no order {client_id}")
            if order.open:
                self.end(client_id, IntentState.CANCELLED)
        if fault in ("lost_before", "lost_after"):
            raise AmbiguousOutcome("timeout")

    def open_orders(self) -> Sequence[OrderReport]:
        """List what is open; "stale" lists what was, "missing" nothing."""
        fault = self._meet("open_orders")
        if fault == "missing":
            return []
        if fault == "stale":
            return [order.told[0] for order in self.orders.values()]
        return [order.now for order in self.orders.values() if order.open]

    def fills_since(self, cursor: str) -> tuple[Sequence[Fill], str]:
        """Return fills; "late" none yet, "again" all from the first one on, each twice."""
        fault = self._meet("fills_since")
        if fault == "late":
            return [], cursor
        after = 0 if fault == "again" else int(cursor or 0)
        fills = self.fills[after:]
        if fault == "again":
            fills = [*fills, *fills]
        return fills, str(len(self.fills))

    def account(self) -> VenueAccount:
        """Return cash and positions."""
        self._meet("account")
        spent = sum(fill.notional * (1 if fill.side is BUY else -1) for fill in self.fills)
        return VenueAccount(CASH - spent - self.missing_cash, {s: q for s, q in self.held.items() if q})

    def instrument(self, symbol: str) -> Instrument | None:
        """Return none: nobody asks."""
        return None

    def clock(self) -> VenueClock:
        """Return the time."""
        return VenueClock(self.now_ms(), True, self.now_ms(), self.now_ms())


class ScriptedHints:
    """Hints as a test writes them."""

    def __init__(self) -> None:
        """Begin silent."""
        self.waiting: list[Hint] = []
        self.wrong = ""

    def drain(self) -> Sequence[Hint]:
        """Return what waits."""
        waiting, self.waiting = self.waiting, []
        return waiting

    def trouble(self) -> str:
        """Return what is wrong."""
        return self.wrong


class DeskWorld:
    """One account: venue, journal, desk, reconciler, and a clock in the test's hands.

    ``desk_class`` and ``reconciler_class`` may be wrong on purpose.
    """

    def __init__(
        self,
        *,
        hints: ScriptedHints | None = None,
        desk_class: type[OrderDesk] = OrderDesk,
        reconciler_class: type[Reconciler] = Reconciler,
    ) -> None:
        """Begin with cash, on an empty journal."""
        self._folder = tempfile.TemporaryDirectory(prefix="desk-")
        self.now_ms = START_MS
        self.venue = ModelVenue(lambda: self.now_ms)
        self.hints = hints
        self._desk_class = desk_class
        self._reconciler_class = reconciler_class
        self._open()
        self.journal.add_policy(POLICY, self.now_ms)
        opening = AccountEvent("deposit", self.now_ms, CASH, "opening")
        self.journal.append_account_event(opening)
        self.desk.state = after(self.desk.state, opening, self.journal, any_quantity)
        self._start()

    def _open(self) -> None:
        self.journal: Journal = open_journal(
            Path(self._folder.name) / "journal.db", at_ms=self.now_ms, nonce=lambda: "n0", reserve_exits=1
        )
        self.desk = self._desk_class(
            self.venue, self.journal, lambda: self.now_ms, lambda: self.now_ms, any_quantity
        )
        self.desk.state = restored(self.journal)
        self.reconciler = self._reconciler_class(
            self.desk, self.venue, self.journal, lambda: self.now_ms, "paper", self.hints
        )

    def _start(self) -> Heard:
        return self.reconciler.resume()

    def restart(self) -> Heard:
        """End the process, and begin another one on what is durable."""
        self.journal.close()
        self._open()
        return self._start()

    def close(self) -> None:
        """Close and remove everything."""
        self.journal.close()
        self._folder.cleanup()

    def __enter__(self) -> DeskWorld:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close everything."""
        self.close()

    # --- what an agent does -----------------------------------------------------------------------

    def may_order(self, symbol: str) -> bool:
        """Say whether the built-in vetoes let an order of a symbol pass."""
        memory = self.desk.state.memory(symbol)
        return memory.working is None and not memory.frozen and self.reconciler.is_reconciled(symbol)

    def plan(
        self, symbol: str, side: OrderSide, quantity: int, good_for_seconds: int | None = None
    ) -> Intent:
        """Make an intent durable, as a cycle does."""
        cycle = self.desk.state.cycle + 1
        expires_ms = None if good_for_seconds is None else self.now_ms + good_for_seconds * 1000
        order = OrderRequest(
            f"n0-paper-{cycle}-{symbol}-{side.value}", symbol, side, quantity, PRICE, OrderType.LIMIT,
            TimeInForce.GTC, expires_ms, self.now_ms,
        )  # fmt: skip
        intent = Intent(order, RULES[0], False, cycle)
        self.desk.advance(IntentPlanned(order, intent.rule, None, False))
        self.desk.state = replace(self.desk.state, cycle=cycle, cycle_ms=self.now_ms)
        self.keep([symbol], [intent])
        return intent

    def keep(self, symbols: Sequence[str], intents: Sequence[Intent] = ()) -> None:
        """Commit the cycle that the state stands at."""
        cycle = self.desk.state.cycle
        records = [Market(symbol).record(cycle) for symbol in symbols]
        snapshot = StateSnapshot(STATE_VERSION, pack_state(self.desk.state))
        self.journal.commit_cycle(
            CycleRecord(cycle, self.now_ms, POLICY.digest, ACCOUNT, records, intents, snapshot)
        )

    def order(
        self, symbol: str, side: OrderSide, units: int = 10, good_for_seconds: int | None = None
    ) -> str:
        """Plan an order of so many units and send it; return its name."""
        return self.send(symbol, side, units * UNIT, good_for_seconds)

    def send(self, symbol: str, side: OrderSide, quantity: int, good_for_seconds: int | None = None) -> str:
        """Plan an order of a scaled quantity and send it; return its name."""
        intent = self.plan(symbol, side, quantity, good_for_seconds)
        self.desk.send([intent], Heard())
        return intent.order.client_id

    def cancel(self, symbol: str) -> None:
        """Ask for the cancellation of the working order, as a cycle does."""
        working = self.desk.state.memory(symbol).working
        assert working is not None
        self.desk.advance(CancelAsked(symbol))
        self.desk.cancel(symbol, working.client_id)

    def tend(self, seconds: float = 30) -> Heard:
        """Let time pass, and tend."""
        self.now_ms += round(seconds * 1000)
        return self.reconciler.tend()

    # --- looking ----------------------------------------------------------------------------------

    def states(self, client_id: str) -> list[IntentState]:
        """Return the recorded states of an intent, oldest first."""
        return [event.state for event in self.journal.intent_events(client_id)]

    def held(self, symbol: str) -> int:
        """Return the ledger's quantity."""
        return self.desk.state.ledger.holding(symbol).quantity

    def incidents(self) -> list[str]:
        """Return the kinds of the incidents, oldest first."""
        return [incident.kind for incident in self.journal.incidents()]

    def booked(self) -> Mapping[str, int]:
        """Return what is recorded as filled, by client id."""
        booked: dict[str, int] = {}
        for fill in self.journal.fills():
            booked[fill.client_id] = booked.get(fill.client_id, 0) + fill.quantity
        return booked

    def working(self, symbol: str) -> Any:  # noqa: ANN401 - a WorkingOrder that the test knows to be there
        """Return the working order of a symbol, None where there is none."""
        return self.desk.state.memory(symbol).working
