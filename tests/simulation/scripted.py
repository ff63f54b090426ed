"""A world that a test writes line by line: prices, bars, the clock, and what goes wrong at each port.

Policy, evaluators, journal on SQLite and paper venue are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from adapters.brokers.paper import PaperBroker
from adapters.calendar import ExchangeCalendars
from adapters.journal.store import Journal, open_journal
from engine.codes import Disposition, UnknownReason
from engine.errors import UnavailableError
from engine.language.load import load_policy
from engine.language.policy import Policy
from engine.model import (
    AssetClass,
    Bar,
    Decision,
    Fill,
    Instrument,
    NoQuote,
    OrderReport,
    OrderRequest,
    Quote,
)
from engine.runtime.cycle import Agent, AgentSettings, CycleReport, Ports
from engine.runtime.ports import AmbiguousOutcome, OrderHints, VenueAccount, VenueClock
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, scaled
from engine.verbs.fill import FillModel
from engine.verbs.plan import Planned
from engine.verbs.state import Memory

START_MS: Final = 1_763_390_400_000  # 2025-11-17 14:40Z, a Monday: New York is open until 21:00Z
CASH: Final = 10_000
CALENDAR: Final = ExchangeCalendars()  # a pure function of dates, and slow to load


def coin(symbol: str, least: int = 10) -> Instrument:
    """Return a crypto pair: ticks of 0.01, steps of 0.001, orders of at least ``least`` USD."""
    return Instrument(
        symbol, AssetClass.CRYPTO, "24/7", Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(least)
    )


def stock(symbol: str) -> Instrument:
    """Return a stock of New York: ticks of 0.01, whole shares."""
    return Instrument(symbol, AssetClass.STOCK, "NYSE", Decimal("0.01"), Decimal(1), Decimal(1), Decimal(1))


SOL, ADA, SPY = coin("SOL-USD"), coin("ADA-USD"), stock("SPY")


def price(value: float | str) -> int:
    """Return a scaled price."""
    return scaled(Decimal(str(value)), PRICE_SCALE)


def quantity(value: float | str) -> int:
    """Return a scaled quantity."""
    return scaled(Decimal(str(value)), QUANTITY_SCALE)


def money(value: float | str) -> int:
    """Return scaled money."""
    return scaled(Decimal(str(value)), MONEY_SCALE)


class SteppingClock:
    """A clock that stands where the test puts it, also back."""

    def __init__(self, now_ms: int = START_MS) -> None:
        """Begin at an instant."""
        self.now_ms = now_ms

    def now_utc_ms(self) -> int:
        """Return the time."""
        return self.now_ms

    def monotonic_ns(self) -> int:
        """Return the time, for measuring."""
        return self.now_ms * 1_000_000

    def sleep_until(self, at_ms: int) -> None:
        """Jump there."""
        self.now_ms = max(self.now_ms, at_ms)


class ScriptedMarket:
    """Quotes and bars as the test sets them.

    A price holds, freshly stamped, until it is set anew; ``quotes`` overrides it by a fixed answer.  A bar is
    delivered once its interval is over and ``delay_ms`` later.
    """

    def __init__(self, clock: SteppingClock) -> None:
        """Begin without any."""
        self.clock = clock
        self.prices: dict[str, tuple[int, int]] = {}
        self.quotes: dict[str, Quote | NoQuote] = {}
        self.bars: dict[tuple[str, int], list[Bar]] = {}
        self.quotes_down = self.bars_down = False
        self.delay_ms = 0

    def set(self, symbol: str, bid: float | str, ask: float | str | None = None) -> None:
        """Quote a symbol from now on; the ask is the bid unless stated."""
        self.quotes.pop(symbol, None)
        self.prices[symbol] = price(bid), price(bid if ask is None else ask)

    def pin(self, symbol: str, bid: float | str, *, age_seconds: int = 0, source: str = "script") -> None:
        """Answer with one quote, stamped once, until further notice."""
        at_ms = self.clock.now_ms - age_seconds * 1000
        self.quotes[symbol] = Quote(symbol, price(bid), price(bid), source, at_ms, at_ms)

    def drop(self, symbol: str) -> None:
        """Answer that there is no quote."""
        self.quotes[symbol] = NoQuote(symbol, UnknownReason.MISSING, "dropped")

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Return one answer per symbol."""
        assert deadline_ms > self.clock.now_ms, "a deadline is an instant to come"
        if self.quotes_down:
            raise UnavailableError("the quotes are down")
        return {symbol: self._quote(symbol) for symbol in symbols}

    def _quote(self, symbol: str) -> Quote | NoQuote:
        if symbol in self.quotes:
            return self.quotes[symbol]
        if symbol not in self.prices:
            return NoQuote(symbol, UnknownReason.MISSING, "never quoted")
        bid, ask = self.prices[symbol]
        return Quote(symbol, bid, ask, "script", self.clock.now_ms, self.clock.now_ms)

    def bar(self, symbol: str, interval: int, open_ms: int, close: float, *, traded: bool = True) -> None:
        """Add a bar that is flat at its close."""
        known = self.bars.setdefault((symbol, interval), [])
        known.append(Bar(open_ms, close, close, close, close, 1.0 if traded else 0.0, traded))
        known.sort(key=lambda bar: bar.open_time_ms)

    def closed(self, symbol: str, interval_seconds: int, after_ms: int, until_ms: int) -> Sequence[Bar]:
        """Return the bars that are over."""
        if self.bars_down:
            raise UnavailableError("the bars are down")
        calendar = "NYSE" if self.is_stock(symbol) else "24/7"
        return [
            bar
            for bar in self.bars.get((symbol, interval_seconds), ())
            if bar.open_time_ms > after_ms
            and CALENDAR.bar_close_ms(calendar, interval_seconds, bar.open_time_ms) + self.delay_ms
            <= until_ms
        ]

    @staticmethod
    def is_stock(symbol: str) -> bool:
        """Say whether a symbol trades in New York."""
        return "-" not in symbol

    def interval_of(self, symbol: str) -> int | None:
        """Return the finest interval there is."""
        return min((interval for name, interval in self.bars if name == symbol), default=None)


_T = TypeVar("_T")
Fault = Callable[[Callable[[], Any]], Any]
"""Stands around one call of a port: gets the call, returns or raises what the agent shall see."""


def lost_after(call: Callable[[], Any]) -> NoReturn:
    """The venue did it, and its answer was lost."""
    call()
    raise AmbiguousOutcome("504")


def lost_before(call: Callable[[], Any]) -> NoReturn:
    """The request never arrived, and nobody can tell."""
    raise AmbiguousOutcome("timeout")


def unreachable(call: Callable[[], Any]) -> NoReturn:
    """The venue cannot be reached."""
    raise UnavailableError("the venue is down")


def nothing(call: Callable[[], Any]) -> None:
    """The venue says that it does not know it."""
    return


class FaultyBroker:
    """The paper venue behind faults: ``faults[call]`` is a queue of them, one for each call to come.

    ``beside`` is added to the positions of the account: what others did there.
    """

    def __init__(self, inner: PaperBroker, faults: dict[str, list[Fault]], beside: dict[str, int]) -> None:
        """Stand before a venue."""
        self.inner = inner
        self.faults = faults
        self.beside = beside
        self.submitted: list[OrderRequest] = []
        self.booked: list[str] = []
        self.cancelled: list[str] = []
        self.cursor = ""

    def _call(self, name: str, call: Callable[[], _T]) -> _T:
        queue = self.faults.get(name)
        if not queue:
            return call()
        fault = queue.pop(0)
        result: _T = fault(call)
        return result

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send an order."""
        self.submitted.append(order)

        def call() -> OrderReport:
            report = self.inner.submit(order)
            self.booked.append(order.client_id)
            return report

        return self._call("submit", call)

    def find(self, client_id: str) -> OrderReport | None:
        """Look an order up."""
        return self._call("find", lambda: self.inner.find(client_id))

    def cancel(self, client_id: str) -> None:
        """Cancel an order."""
        self.cancelled.append(client_id)
        self._call("cancel", lambda: self.inner.cancel(client_id))

    def open_orders(self) -> Sequence[OrderReport]:
        """Return the open orders."""
        return self._call("open_orders", self.inner.open_orders)

    def fills_since(self, cursor: str) -> tuple[Sequence[Fill], str]:
        """Return the fills after a cursor."""
        self.cursor = cursor
        return self._call("fills_since", lambda: self.inner.fills_since(cursor))

    def account(self) -> VenueAccount:
        """Return cash and positions, what others did among them."""

        def call() -> VenueAccount:
            account = self.inner.account()
            positions = dict(account.positions)
            for symbol, size in self.beside.items():
                positions[symbol] = positions.get(symbol, 0) + size
            return VenueAccount(account.cash, {symbol: size for symbol, size in positions.items() if size})

        return self._call("account", call)

    def instrument(self, symbol: str) -> Instrument | None:
        """Return an instrument."""
        return self._call("instrument", lambda: self.inner.instrument(symbol))

    def clock(self) -> VenueClock:
        """Return the venue's time."""
        return self._call("clock", self.inner.clock)


class Script:
    """An agent in a folder, with everything around it in the test's hands."""

    def __init__(
        self,
        folder: Path,
        policy: str | Policy,
        *,
        instruments: Sequence[Instrument] = (SOL, ADA, SPY),
        cash: int = CASH,
        fee_ppm: int = 0,
        partial_rate: Decimal = Decimal(0),
        settings: AgentSettings | None = None,
        start_ms: int = START_MS,
        instant_fills: bool = True,
        hints: OrderHints | None = None,
    ) -> None:
        """Begin with cash (USD).  Without ``instant_fills`` the venue sees no prices of its own."""
        self.folder = folder
        self.policy = load(policy) if isinstance(policy, str) else policy
        self.clock = SteppingClock(start_ms)
        self.market = ScriptedMarket(self.clock)
        self.venue_market = ScriptedMarket(self.clock)
        if instant_fills:
            self.venue_market.prices = self.market.prices
        self.instruments = {instrument.symbol: instrument for instrument in instruments}
        self.cash = cash
        self.model = FillModel(fee_rate=Decimal(fee_ppm) / 1_000_000, partial_rate=partial_rate)
        self.settings = settings or AgentSettings(fee_ppm=fee_ppm)
        self.hints = hints
        self.faults: dict[str, list[Fault]] = {}
        self.beside: dict[str, int] = {}
        self.reports: list[CycleReport] = []
        self._closing = ExitStack()
        self._open()

    def _open(self, *, start: bool = True) -> None:
        self.journal: Journal = open_journal(
            self.folder / "journal.db", at_ms=self.clock.now_ms, nonce=lambda: "n0", reserve_exits=1
        )
        self._closing.callback(self.journal.close)
        paper = PaperBroker(
            self.folder / "venue.db",
            self.venue_market,
            self.clock,
            self.model,
            money(self.cash),
            self.instruments,
            calendar=CALENDAR,
        )
        self._closing.callback(paper.close)
        self.broker = FaultyBroker(paper, self.faults, self.beside)
        ports = Ports(self.clock, self.market, self.market, CALENDAR, self.broker, self.journal, self.hints)
        self.agent = Agent(self.policy, ports, self.settings)
        self._closing.callback(self.agent.close)
        if start:
            self.agent.start()

    def close(self) -> None:
        """Close everything."""
        self._closing.close()

    def restart(self, *, start: bool = True) -> None:
        """End the process and begin another one, at the same instant."""
        self._closing.close()
        self._closing = ExitStack()
        self._open(start=start)

    def __enter__(self) -> Script:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close everything."""
        self.close()

    # --- going on -----------------------------------------------------------------------------

    def cycle(self, after_seconds: float = 30) -> CycleReport:
        """Let time pass and run a cycle."""
        self.clock.now_ms += round(after_seconds * 1000)
        report = self.agent.cycle()
        self.reports.append(report)
        return report

    def at(self, symbol: str, bid: float | str, after_seconds: float = 30) -> Planned:
        """Move the market of a symbol, run a cycle, and return what was decided on it."""
        self.market.set(symbol, bid)
        self.cycle(after_seconds)
        return self.planned(symbol)

    # --- looking ------------------------------------------------------------------------------

    def planned(self, symbol: str) -> Planned:
        """Return the last decision on a symbol, with all it was made from."""
        return next(item for item in self.reports[-1].planned if item.decision.symbol == symbol)

    def decision(self, symbol: str = "SOL-USD") -> Decision:
        """Return the last decision on a symbol."""
        return self.planned(symbol).decision

    def fact(self, name: str, symbol: str = "SOL-USD") -> float | UnknownReason:
        """Return the value of a fact of the last decision, or why it was Unknown."""
        subject = self.planned(symbol).subject
        slot = subject.evaluator.policy.slot(name)
        value = subject.values[slot]
        return value if value == value else UnknownReason(subject.reasons[slot])

    def disposition(self, rule: str, symbol: str = "SOL-USD") -> str:
        """Return what became of a rule in the last decision: its word, and the gate or limit behind it."""
        item = self.planned(symbol)
        policy = item.subject.evaluator.policy
        index = next(index for index, found in enumerate(policy.rules) if found.name == rule)
        word = Disposition(item.decision.dispositions[index])
        cause = item.decision.causes[index]
        if word is Disposition.VETOED:
            return f"vetoed({policy.gates[cause].name})"
        if word is Disposition.LIMITED:
            return f"limited({policy.limits[cause].name})"
        if word is Disposition.DENIED:
            return f"denied({item.decision.denial.word})"
        return word.word

    def memory(self, symbol: str = "SOL-USD") -> Memory:
        """Return what the agent remembers of a symbol."""
        return self.agent.state.memory(symbol)

    def held(self, symbol: str = "SOL-USD") -> int:
        """Return the ledger's quantity."""
        return self.agent.state.ledger.holding(symbol).quantity

    def venue_held(self, symbol: str = "SOL-USD") -> int:
        """Return the venue's quantity."""
        return self.broker.inner.account().positions.get(symbol, 0)

    def incidents(self, kind: str = "") -> list[str]:
        """Return the kinds of the journalled incidents, or the details of one kind."""
        found = list(self.journal.incidents())
        return (
            [incident.detail for incident in found if incident.kind == kind]
            if kind
            else [i.kind for i in found]
        )


def load(text: str) -> Policy:
    """Load a policy out of its sections; the head is given where it is left out."""
    head = "apiVersion: tradectl/v1\npolicy: script\nversion: 1.0.0\n" if "apiVersion" not in text else ""
    return load_policy(head + text, "script.yaml").required()
