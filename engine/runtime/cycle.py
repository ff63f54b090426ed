"""The agent: one cycle is one straight line.

receipts -> quotes -> bars -> facts -> decisions -> intents -> journal "planned" -> broker -> journal
"receipt"

Everything outside comes in through ports; every change of state goes through
``engine.verbs.state.advance``, from the journal's own events, so that a restart replays to the same
state.  What a port cannot answer makes facts Unknown, or the cycle is skipped and says so: it never ends
the agent, and loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from engine.codes import Action, UnknownReason
from engine.errors import UnavailableError
from engine.evaluate.agreed import AgreedEvaluator
from engine.evaluate.agreement import Agreement
from engine.language.lower import lower, lower_all
from engine.language.policy import Listing, Policy
from engine.lowered import LoweredPolicy, LoweredRule, Once
from engine.model import (
    Fill,
    Instrument,
    NoQuote,
    OrderRequest,
    OrderSide,
    Quote,
    QuoteKind,
    SizedOrder,
)
from engine.runtime.desk import ALWAYS_OPEN, DAY_SECONDS, BarDesk, history_needed_seconds
from engine.runtime.guard import DrawdownGates, drawdown_gate_is_true, is_unguarded, protects
from engine.runtime.journal_port import (
    AccountEvent,
    AccountNumbers,
    CycleRecord,
    Incident,
    Intent,
    IntentEvent,
    JournalFullError,
    JournalPort,
    PolicyText,
    StateSnapshot,
)
from engine.runtime.orders import Heard as Heard
from engine.runtime.orders import OrderDesk
from engine.runtime.ports import (
    BarSource,
    Broker,
    Calendar,
    Clock,
    OrderHints,
    QuoteSource,
    SessionFacts,
    VenueAccount,
)
from engine.runtime.reconcile import RECONCILE_EVERY_SECONDS, Reconciler
from engine.runtime.restore import after, restored
from engine.units import PRICE_SCALE
from engine.verbs.decide import ESTIMATED_SHARE
from engine.verbs.facts import (
    CLOCK_TOLERANCE_MS,
    AccountFigures,
    FactMaker,
    JudgedQuote,
    Known,
    Moment,
    SymbolView,
    account_figures,
    judge_quote,
    minimum_quantity,
    once_stamp,
)
from engine.verbs.ledger import Holding, Ledger
from engine.verbs.plan import Planned, Subject, open_book, plan
from engine.verbs.record import DecisionRecord, Layout, layout_of
from engine.verbs.replay import CONTEXT, ENGINE_SEMANTICS, pack_context, vocabulary_digest
from engine.verbs.state import (
    NEVER,
    STATE_VERSION,
    BarSeen,
    CancelAsked,
    DrawdownLatched,
    EquitySeen,
    GuardSeen,
    IntentPlanned,
    QuantitySeen,
    QuoteSeen,
    Seen,
    State,
    advance_all,
    forget_buys,
    pack_state,
)
from engine.verbs.terms import slots_of_term
from engine.vocabulary import POSITION_SIZE_FACTS

_DAY_MS: Final = DAY_SECONDS * 1000
_JUMP_GUARD: Final = 0.20


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the person sets beside the policy.  ``jump_guards`` are shares of the price, by asset class."""

    account: str = "paper"
    quote_max_age_seconds: int = 300
    jump_guards: Mapping[str, float] = field(default_factory=dict)
    fee_ppm: int = 200
    deadline_ms: int = 5000
    unguarded_after_seconds: int = 60
    finest_cadence_seconds: int = 0  # bars may be the finest that quotes have
    calendar_digest: str = ""
    reconcile_every_seconds: int = RECONCILE_EVERY_SECONDS

    def jump_guard(self, asset_class: str) -> float:
        """Return how far a quote may be from the last accepted one before a second must agree."""
        return self.jump_guards.get(asset_class, _JUMP_GUARD)


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything from outside."""

    clock: Clock
    quotes: QuoteSource
    bars: BarSource
    calendar: Calendar
    broker: Broker
    journal: JournalPort
    hints: OrderHints | None = None  # of a venue that tells unasked


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What a cycle did, for those who watch.

    ``halted`` says why nothing, or nothing but exits, could be made durable; ``skipped`` why there was no
    cycle at all (its number is then the last one's).  Neither needs a disk to be told.
    """

    cycle: int
    at_ms: int
    figures: AccountFigures
    planned: Sequence[Planned]
    intents: Sequence[Intent]
    fills: Sequence[Fill]
    incidents: Sequence[Incident]
    unguarded: Sequence[str]
    events: Sequence[IntentEvent] = ()
    halted: str = ""
    skipped: str = ""


class Agent:
    """One agent over one account: restored from its journal, stepped cycle by cycle."""

    def __init__(
        self, policy: Policy, ports: Ports, settings: AgentSettings, served: frozenset[str] | None = None
    ) -> None:
        """Lower the policy and build its evaluators; PolicyError where it cannot be lowered.

        ``served`` are the symbols that the sources know at all: of the universe only those are decided.
        """
        self.policy = policy
        self.ports = ports
        self.settings = settings
        self.heard_at_start = Heard()
        self._orders = OrderDesk(
            ports.broker, ports.journal, self._now_ms, self._running_ms, self._least_held
        )
        self._reconciler = Reconciler(
            self._orders,
            ports.broker,
            ports.journal,
            self._running_ms,
            settings.account,
            ports.hints,
            settings.reconcile_every_seconds,
        )
        self._lowered = dict(lower_all(policy))
        self._listings = {
            listing.symbol: listing for listing in policy.traded if served is None or listing.symbol in served
        }
        self._evaluators: dict[int, AgreedEvaluator] = {}
        self._makers: dict[int, FactMaker] = {}
        self._layouts: dict[int, Layout] = {}
        self._drawdown_gates: dict[int, DrawdownGates] = {}
        self._instruments: dict[str, Instrument] = {}
        self._calendars = {listing.symbol: listing.calendar for listing in policy.universe}
        self._desk = BarDesk(ports.bars, ports.calendar, self._calendar_of, policy.bars_seconds)
        self._watched: set[str] = set()
        self._zone = ZoneInfo(policy.timezone)
        self._nonce = ""
        self._figures = AccountFigures(0, 0, 1.0, 0.0)

    @property
    def state(self) -> State:
        """All that the agent remembers."""
        return self._orders.state

    @state.setter
    def state(self, state: State) -> None:
        self._orders.state = state

    # --- start --------------------------------------------------------------------------------

    def start(self) -> list[Incident]:
        """Restore the state, keep the policy, and bring what was under way to its end."""
        journal = self.ports.journal
        self._nonce = journal.nonce()
        self.state = restored(journal, self._least_held)
        if self.state.cycle == 0 and self.state.ledger == Ledger():
            broker = self.ports.broker
            if not journal.fill_cursor():  # what was filled before this journal began is none of its business
                journal.append_receipt((), (), broker.fills_since("")[1])
            opening = AccountEvent("deposit", self._now_ms(), broker.account().cash, "opening cash")
            if opening.amount:
                journal.append_account_event(opening)
                self.state = after(self.state, opening, journal, self._least_held)
        journal.add_policy(
            PolicyText(
                self.policy.digest,
                self.policy.name,
                self.policy.version,
                self.policy.canonical,
                ENGINE_SEMANTICS,
                vocabulary_digest(),
                self.settings.calendar_digest,
            ),
            self._now_ms(),
        )
        self.heard_at_start = self._reconciler.resume()
        return self.heard_at_start.incidents

    def close(self) -> None:
        """Let go of the rules engines."""
        for evaluator in self._evaluators.values():
            evaluator.close()

    def _least_held(self, state: State, fill: Fill) -> int:
        trusted = state.memory(fill.symbol).trusted_bid or fill.price
        return minimum_quantity(self._instrument(fill.symbol), trusted) or 1

    # --- time ---------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        """Cycle time never goes back: the wall clock, or the last journalled cycle if that is later."""
        return max(self.ports.clock.now_utc_ms(), self.state.cycle_ms, 0)

    def _clock_is_behind(self) -> bool:
        return self.ports.clock.now_utc_ms() < self.state.cycle_ms - CLOCK_TOLERANCE_MS

    def _running_ms(self) -> int:
        """Return time that goes on: a clock that stepped back must not stop the agent.

        Cadence, times to live and the age of an order are measured on it.
        """
        return self.ports.clock.now_utc_ms() if self._clock_is_behind() else self._now_ms()

    def next_cycle_ms(self) -> int:
        """Return when the next cycle is due: at the policy's cadence, after the last one.

        The cadence is ``every`` where quotes are as fine as that, else the closes of the bars that are there.
        """
        now_ms = self._running_ms()
        every, finest = self.policy.every_seconds, self.settings.finest_cadence_seconds
        if every is not None and every >= finest:
            return now_ms - now_ms % (every * 1000) + every * 1000
        interval = finest if every is not None else max(self.policy.bars_seconds, finest)
        calendars = {listing.calendar for listing in self._listings.values()}
        due = [close for name in calendars if (close := self._next_close_ms(name, interval, now_ms))]
        return min(due, default=now_ms + interval * 1000)

    def _next_close_ms(self, calendar: str, interval: int, now_ms: int) -> int | None:
        """Return when the next bar of a calendar closes; None where none does within twelve days."""
        # what closes after now opened after this; a daily bar carries the date of its session
        start_ms = now_ms - (2 * _DAY_MS if interval == DAY_SECONDS else interval * 1000)
        for horizon_ms in (interval * 1000, 2 * _DAY_MS, 12 * _DAY_MS):
            expected = self.ports.calendar.expected_bars(calendar, interval, start_ms, now_ms + horizon_ms)
            for open_ms in expected:
                close_ms = self.ports.calendar.bar_close_ms(calendar, interval, open_ms)
                if close_ms > now_ms:
                    return close_ms
        return None

    def next_wake_ms(self) -> int:
        """Return when to act next: at the next cycle, or to ``tend`` open orders before it.

        Their time to live may end between two cycles, what rests outside the session meets the open, and
        they are compared with the venue's on a timer.
        """
        now_ms = self._running_ms()
        due = [self.next_cycle_ms()]
        for symbol, memory in self.state.memories.items():
            if memory.working is None or memory.frozen:
                continue
            calendar, expires_ms = self._calendar_of(symbol), memory.working.expires_ms
            if expires_ms is not None and expires_ms > now_ms:
                due.append(expires_ms)
            opens_ms = self._opens_ms(calendar, now_ms)
            if opens_ms > now_ms:
                due.append(opens_ms)
            due.append(max(self._reconciler.due_ms, now_ms))
        return min(due)

    def _opens_ms(self, calendar: str, now_ms: int) -> int:
        """Return now in a regular session, else when the next one opens."""
        if calendar == ALWAYS_OPEN or self.ports.calendar.facts(calendar, now_ms).session == "regular":
            return now_ms
        for days in (4, 12):
            minutes = self.ports.calendar.expected_bars(calendar, 60, now_ms, now_ms + days * _DAY_MS)
            if minutes:
                return minutes[0]
        return now_ms

    def tend(self) -> Heard:
        """Between two cycles: end what is over, and take in what became of open orders."""
        return self._reconciler.tend()

    def heed(self) -> Heard:
        """When a hint ended the sleep: ask the broker about what it tells of."""
        return self._reconciler.heed()

    # --- the cycle ----------------------------------------------------------------------------

    def cycle(self) -> CycleReport:
        """Run one cycle now."""
        heard = self._reconciler.tend()
        venue = None if heard.trouble else self._reconciler.account(heard)
        if venue is None:
            return self._skipped(heard)
        now_ms = self._now_ms()

        symbols = self._symbols()
        self._watch(symbols, now_ms)
        quotes = self._quotes([*symbols, *self._foreign(venue, symbols)])
        sessions = self._sessions(quotes, now_ms)
        self._see_bars(symbols, now_ms, heard)
        foreign = self._see_quantities(venue)
        self._reconciler.compare_positions(heard)
        prices = self._prices(quotes, sessions)
        figures = self._value(venue, prices)
        moment = self._moment(now_ms, figures)

        views = {
            symbol: self._view(symbol, quotes[symbol], sessions[symbol], venue, now_ms) for symbol in symbols
        }
        subjects = [self._subject(view, moment) for view in views.values()]
        book = open_book(
            self.policy,
            self.state,
            now_ms,
            {symbol: price for symbol, (price, _) in prices.items()},
            foreign,
            self.settings.fee_ppm,
            {symbol: self._listing(symbol).asset_class for symbol in quotes},
        )
        book.cash = min(book.cash, venue.cash)
        account = AccountNumbers(
            figures.cash,
            figures.cash - max(0, min(book.cash, figures.cash)),
            figures.equity,
            round(figures.estimated_share * 1_000_000),
        )
        disagreements: dict[str, list[Agreement]] = {}
        planned = plan(
            self.policy,
            subjects,
            book,
            self.settings.fee_ppm,
            lambda item: self._note_disagreements(item, disagreements),
        )

        incidents = self._disagreement_incidents(disagreements, now_ms)
        unguarded = self._guard(planned, sessions, disagreements, now_ms, incidents)
        self._latch_drawdown(planned, figures, now_ms, incidents)
        intents, cancels, halted = self._commit(planned, views, moment, account, incidents)

        for symbol, client_id in cancels:
            self._orders.cancel(symbol, client_id)
        self._orders.send(intents, heard)
        if heard.trouble:
            self._reconciler.lost()
        return CycleReport(
            self.state.cycle,
            now_ms,
            figures,
            planned,
            intents,
            tuple(heard.fills),
            (*heard.incidents, *incidents),
            unguarded,
            tuple(heard.events),
            halted,
        )

    def _skipped(self, heard: Heard) -> CycleReport:
        """Report that the broker could not be heard: nothing can be decided, and nothing is guarded."""
        now_ms = self._now_ms()
        unguarded = [
            symbol
            for symbol, memory in self.state.memories.items()
            if memory.episode_began_ms != NEVER and protects(self._policy_of(symbol))
        ]
        for symbol in self._long_unguarded(unguarded, now_ms):
            self._orders.tell(
                heard, "unguarded", f"held, and the broker cannot be heard: {heard.trouble}", symbol
            )
        return CycleReport(
            self.state.cycle,
            now_ms,
            self._figures,
            (),
            (),
            tuple(heard.fills),
            tuple(heard.incidents),
            unguarded,
            tuple(heard.events),
            skipped=heard.trouble,
        )

    # --- the snapshot -------------------------------------------------------------------------

    def _symbols(self) -> list[str]:
        """The symbols under decision: the universe as written, then own positions and orders outside it."""
        symbols = list(self._listings)
        others = {*self.state.ledger.holdings} | {
            symbol for symbol, memory in self.state.memories.items() if memory.working is not None
        }
        return symbols + sorted(others - set(symbols))

    def _foreign(self, venue: VenueAccount, symbols: Sequence[str]) -> list[str]:
        """The symbols that someone else holds in this account: valued, never decided."""
        return sorted({symbol for symbol, quantity in venue.positions.items() if quantity} - set(symbols))

    def _instrument(self, symbol: str) -> Instrument | None:
        if symbol not in self._instruments:
            try:
                found = self.ports.broker.instrument(symbol)
            except UnavailableError:
                return None  # asked again in the next cycle; until then it is Unknown
            if found is None:
                return None
            self._instruments[symbol] = found
        return self._instruments[symbol]

    def _calendar_of(self, symbol: str) -> str:
        if symbol not in self._calendars:
            instrument = self._instrument(symbol)
            if instrument is None:
                return ALWAYS_OPEN
            self._calendars[symbol] = instrument.calendar
        return self._calendars[symbol]

    def _listing(self, symbol: str) -> Listing:
        """A symbol's listing; one outside the universe keeps all its exits and gets no entries."""
        if symbol not in self._listings:
            instrument = self._instrument(symbol)
            asset_class = instrument.asset_class.value if instrument is not None else "stock"
            return Listing(symbol, asset_class, self._calendar_of(symbol), None, False)
        return self._listings[symbol]

    def _policy_of(self, symbol: str) -> LoweredPolicy:
        if symbol not in self._lowered:
            self._lowered[symbol] = lower(self.policy, self._listing(symbol))
        return self._lowered[symbol]

    def _watch(self, symbols: Sequence[str], now_ms: int) -> None:
        """Start the indicators of new symbols, from the same first bar as before a restart."""
        new = [symbol for symbol in symbols if symbol not in self._watched]
        if not new:
            return
        known = {(calendar, interval): at_ms for calendar, interval, at_ms in self.state.history_from_ms}
        from_ms = dict(known)
        for symbol in {id(self._policy_of(symbol)): symbol for symbol in new}.values():
            needed = history_needed_seconds(self._policy_of(symbol), symbol, self._calendar_of)
            for source, seconds in needed.items():
                if source not in known:
                    from_ms[source] = min(from_ms.get(source, now_ms), now_ms - seconds * 1000)
        interval = self.policy.bars_seconds
        for symbol in new:
            from_ms.setdefault((self._calendar_of(symbol), interval), now_ms - 10 * interval * 1000)
        history = tuple(sorted((*source, at_ms) for source, at_ms in from_ms.items()))
        self.state = replace(self.state, history_from_ms=history)
        anchors = {(symbol, interval): at_ms for symbol, interval, at_ms in self.state.anchors_ms}
        for symbol in new:
            self._desk.watch(symbol, self._policy_of(symbol), from_ms, anchors)
            self._watched.add(symbol)

    def _quotes(self, symbols: Sequence[str]) -> dict[str, JudgedQuote]:
        """Ask for all quotes in one call and judge each; a source out of reach has no quotes."""
        deadline_ms = self.ports.clock.now_utc_ms() + self.settings.deadline_ms
        answers: Mapping[str, Quote | NoQuote]
        try:
            answers = self.ports.quotes.snapshot(symbols, deadline_ms)
        except UnavailableError as error:
            answers = {symbol: NoQuote(symbol, UnknownReason.MISSING, str(error)) for symbol in symbols}
        # Asking takes time: what was stamped meanwhile is not from the future.
        wall_ms = self.ports.clock.now_utc_ms()
        judged = {}
        seen: list[Seen] = []
        for symbol in symbols:
            judged[symbol] = found = judge_quote(
                answers.get(symbol),
                self.state.memory(symbol),
                wall_ms,
                self.settings.quote_max_age_seconds,
                self.settings.jump_guard(self._listing(symbol).asset_class),
            )
            quote = found.quote
            if quote is not None and found.state in ("tradable", "unconfirmed"):
                trusted = found.state == "tradable"
                seen.append(QuoteSeen(symbol, quote.bid, quote.source_time_ms, trusted, quote.source))
        self.state = advance_all(self.state, seen)
        return judged

    def _sessions(self, symbols: Iterable[str], now_ms: int) -> dict[str, SessionFacts]:
        by_calendar: dict[str, SessionFacts] = {}
        sessions = {}
        for symbol in symbols:
            calendar = self._calendar_of(symbol)
            if calendar not in by_calendar:
                by_calendar[calendar] = self.ports.calendar.facts(calendar, now_ms)
            sessions[symbol] = by_calendar[calendar]
        return sessions

    def _see_bars(self, symbols: Sequence[str], now_ms: int, heard: Heard) -> None:
        """Feed the indicators; a held position's peak sees each close since it began."""
        seen: list[Seen] = []
        for symbol in symbols:
            self._desk.update(symbol, now_ms)
            if self.state.memory(symbol).episode_began_ms != NEVER:
                seen += [
                    BarSeen(symbol, bar.open_time_ms, round(bar.close * PRICE_SCALE))
                    for bar in self._desk.fresh_bars(symbol)
                    if 0 < bar.close < float("inf")
                ]
        self.state = advance_all(self.state, seen)
        anchors = tuple(sorted((*source, at_ms) for source, at_ms in self._desk.anchors().items()))
        if anchors != self.state.anchors_ms:
            self.state = replace(self.state, anchors_ms=anchors)
        if self._desk.troubles:
            (symbol, interval), why = min(self._desk.troubles.items())
            detail = f"bars of {symbol} ({interval} s) cannot be read: {why}"
            self._orders.tell(heard, "bars-unavailable", detail)
        else:
            self._orders.settled("bars-unavailable")

    def _see_quantities(self, venue: VenueAccount) -> dict[str, int]:
        """Compare the broker's quantities with our fills; return what it has beside our own, by symbol."""
        own = {symbol: holding.quantity for symbol, holding in self.state.ledger.holdings.items()}
        touched = [
            symbol
            for symbol, memory in self.state.memories.items()
            if memory.foreign or memory.changed_quantity
        ]
        symbols = sorted({*own, *venue.positions, *touched})
        seen = [
            QuantitySeen(symbol, own.get(symbol, 0), venue.positions.get(symbol, 0)) for symbol in symbols
        ]
        self.state = advance_all(self.state, seen)
        return {sight.symbol: sight.broker - sight.own for sight in seen if sight.broker != sight.own}

    def _prices(
        self, quotes: Mapping[str, JudgedQuote], sessions: Mapping[str, SessionFacts]
    ) -> dict[str, tuple[int, bool]]:
        """The price that values each symbol, and whether it is fresh.

        Outside its regular session an instrument's official close is its fresh valuation.  A stored close
        values, never as fresh, what has no price yet.
        """
        prices = {}
        for symbol, judged in quotes.items():
            memory = self.state.memory(symbol)
            price, fresh = memory.trusted_bid, judged.state == "tradable"
            if not fresh and sessions[symbol].session != "regular":
                last = self._desk.last_close(symbol)
                if last is not None and last[1] >= memory.trusted_ms and 0 < last[0] < float("inf"):
                    price = round(last[0] * PRICE_SCALE)
                fresh = price > 0
            if not price and judged.quote is not None and judged.quote.kind is QuoteKind.HISTORY:
                price = judged.quote.bid
            prices[symbol] = price, fresh
        return prices

    def _value(self, venue: VenueAccount, prices: Mapping[str, tuple[int, bool]]) -> AccountFigures:
        """Value the account once per cycle: own cash, and everything the broker holds."""
        state = self.state
        figures = account_figures(
            state.ledger.cash, venue.positions, prices, state.peak_equity, state.latched_drawdown
        )
        if figures.estimated_share <= ESTIMATED_SHARE:
            self._orders.advance(EquitySeen(figures.equity))
        self._figures = figures
        return figures

    def _moment(self, now_ms: int, figures: AccountFigures) -> Moment:
        local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(self._zone)
        longest = max((limit.window_seconds for limit in self.policy.limits), default=0)
        self.state = forget_buys(self.state, now_ms - longest * 1000)
        return Moment(
            now_ms=now_ms,
            weekday=local.weekday(),
            time_seconds=local.hour * 3600 + local.minute * 60 + local.second,
            day=local.toordinal(),
            figures=figures,
            agent_state=self.state.agent_state,
            clock_state="behind" if self._clock_is_behind() else "ok",
            lease=True,
        )

    def _view(
        self, symbol: str, quote: JudgedQuote, session: SessionFacts, venue: VenueAccount, now_ms: int
    ) -> SymbolView:
        listing = self._listing(symbol)
        holding = self.state.ledger.holding(symbol)
        less = holding.quantity - venue.positions.get(symbol, 0)
        if less > 0:
            # what the broker does not have cannot be ours
            holding = holding.sold(less) if less < holding.quantity else Holding(0, 0)
        feeds: dict[str, Known] = {}
        return SymbolView(
            listing=listing,
            instrument=self._instrument(symbol),
            quote=quote,
            session=session,
            memory=self.state.memory(symbol),
            holding=holding,
            series=self._desk.readings(symbol),
            bar_stamp=self._desk.last_bar_ms(symbol),
            bars_since=lambda since_ms: self._desk.bars_since(symbol, since_ms, now_ms),
            feeds=feeds,
            equity_weight=None if listing.weight is None else float(listing.weight),
            reconciled=self._reconciler.is_reconciled(symbol),
        )

    def _subject(self, view: SymbolView, moment: Moment) -> Subject:
        lowered = self._policy_of(view.listing.symbol)
        values, reasons = self._maker(lowered).make(view, moment)
        return Subject(
            view.listing,
            self._evaluator(lowered),
            values,
            reasons,
            view.instrument,
            view.holding.quantity,
            view.memory.working,
            view.listing.traded,
            moment.now_ms < view.memory.buy_backoff_until_ms,
            view.holding.cost if view.memory.episode_began_ms == NEVER else 0,
        )

    def _maker(self, lowered: LoweredPolicy) -> FactMaker:
        if id(lowered) not in self._makers:
            self._makers[id(lowered)] = FactMaker(lowered)
        return self._makers[id(lowered)]

    def _evaluator(self, lowered: LoweredPolicy) -> AgreedEvaluator:
        if id(lowered) not in self._evaluators:
            self._evaluators[id(lowered)] = AgreedEvaluator(lowered)
            self._drawdown_gates[id(lowered)] = DrawdownGates.of(lowered)
        return self._evaluators[id(lowered)]

    # --- after the decisions ------------------------------------------------------------------

    @staticmethod
    def _note_disagreements(item: Planned, into: dict[str, list[Agreement]]) -> None:
        evaluator = item.subject.evaluator
        if isinstance(evaluator, AgreedEvaluator) and evaluator.disagreements:
            into[item.decision.symbol] = evaluator.disagreements.copy()
            evaluator.disagreements.clear()

    def _disagreement_incidents(
        self, disagreements: Mapping[str, Sequence[Agreement]], now_ms: int
    ) -> list[Incident]:
        """Say of each symbol what the evaluators differed about; its facts are in the decision's record."""
        incidents = []
        for symbol, agreements in disagreements.items():
            policy = self._policy_of(symbol)
            names = {policy.rules[rule].name: None for found in agreements for rule in found.differing}
            fault = next((found.fault for found in agreements if found.fault), "")
            detail = f"the evaluators differ about: {', '.join(names)}" if names else ""
            if fault:
                detail = f"durable-rules gave no verdict ({fault})" + (f"; {detail}" if detail else "")
            incidents.append(Incident("disagreement", now_ms, detail, symbol))
        return incidents

    def _guard(
        self,
        planned: Sequence[Planned],
        sessions: Mapping[str, SessionFacts],
        disagreements: Mapping[str, Sequence[Agreement]],
        now_ms: int,
        incidents: list[Incident],
    ) -> list[str]:
        """Return the held symbols that no protective rule could leave now; tell of it after a while."""
        unguarded = []
        for item in planned:
            symbol = item.decision.symbol
            if is_unguarded(item, sessions[symbol], disagreements.get(symbol, ())):
                unguarded.append(symbol)
        detail = "held, and a protective rule is Unknown or cannot be sent"
        incidents += [
            Incident("unguarded", now_ms, detail, symbol)
            for symbol in self._long_unguarded(unguarded, now_ms)
        ]
        return unguarded

    def _long_unguarded(self, unguarded: Sequence[str], now_ms: int) -> list[str]:
        """Note which positions are unguarded; return those that are so for long and nobody was told of."""
        before = [s for s, memory in self.state.memories.items() if memory.unguarded_since_ms != NEVER]
        seen = [GuardSeen(symbol, symbol in unguarded, now_ms) for symbol in sorted({*unguarded, *before})]
        self.state = advance_all(self.state, seen)
        reached_ms = now_ms - self.settings.unguarded_after_seconds * 1000
        memories = self.state.memories
        told = [
            symbol
            for symbol in unguarded
            if memories[symbol].unguarded_since_ms <= reached_ms and not memories[symbol].unguarded_told
        ]
        self.state = advance_all(self.state, [GuardSeen(symbol, True, now_ms, told=True) for symbol in told])
        return told

    def _latch_drawdown(
        self, planned: Sequence[Planned], figures: AccountFigures, now_ms: int, incidents: list[Incident]
    ) -> None:
        """A gate on drawdown that once was true stays so until a person rebases."""
        latched = self.state.latched_drawdown
        if figures.drawdown <= latched or not drawdown_gate_is_true(planned, self._drawdown_gates):
            return
        self._orders.advance(DrawdownLatched(figures.drawdown))
        if not latched:
            detail = f"a gate on drawdown holds at {figures.drawdown:.2%}, until a person rebases"
            incidents.append(Incident("drawdown-latched", now_ms, detail))

    # --- from decisions to durable intents ----------------------------------------------------

    def _commit(
        self,
        planned: Sequence[Planned],
        views: Mapping[str, SymbolView],
        moment: Moment,
        account: AccountNumbers,
        incidents: Sequence[Incident],
    ) -> tuple[list[Intent], list[tuple[str, str]], str]:
        """Make the cycle durable; return what to send, what to cancel, and why the agent is halted.

        On a full disk a cycle is kept for its sells, out of the reserve; one without sells is not kept, and
        what it remembered of its buys is forgotten, because they are never sent.
        """
        before = self.state
        cycle = before.cycle + 1
        cancels = [
            (item.decision.symbol, item.decision.cancel)
            for item in planned
            if item.decision.cancel is not None
        ]
        named = [(item, self._named(item, cycle)) for item in planned if item.decision.order is not None]
        intents = [intent for _, intent in named]

        def remember(keep: Sequence[Intent]) -> None:
            self.state = before
            for item, intent in named:
                if intent in keep:
                    self._orders.advance(self._planned_event(item, intent, views, moment))
            for symbol, _ in cancels:
                self._orders.advance(CancelAsked(symbol))
            self.state = replace(self.state, cycle=cycle, cycle_ms=moment.now_ms)

        remember(intents)
        record = CycleRecord(
            cycle,
            moment.now_ms,
            self.policy.digest,
            account,
            [self._record(item) for item in planned],
            intents,
            StateSnapshot(STATE_VERSION, pack_state(self.state)),
            incidents=incidents,
        )
        try:
            self.ports.journal.commit_cycle(record)
        except JournalFullError as full:
            sells = [intent for intent in intents if intent.order.side is OrderSide.SELL]
            if not sells:
                self.state = before
                return [], cancels, f"no cycle can be kept: {full}"
            try:
                self.ports.journal.commit_exits(record)
            except JournalFullError as nothing:
                self.state = before
                return [], [], f"HALTED, no intent can be made durable and nothing was sent: {nothing}"
            remember(sells)
            return sells, cancels, f"exits only: {full}"
        return intents, cancels, ""

    def _named(self, item: Planned, cycle: int) -> Intent:
        """Give the order of a decision its name: made once, kept with the intent, read back ever after."""
        decision = item.decision
        sized = decision.order
        assert sized is not None
        created_ms = self._running_ms()
        rule = self._rule_of(item)
        order = OrderRequest(
            "-".join((self._nonce, self.settings.account, str(cycle), decision.symbol, sized.side.value)),
            decision.symbol,
            sized.side,
            sized.quantity,
            sized.limit_price,
            sized.order_type,
            sized.time_in_force,
            self._expires_ms(item, sized, created_ms),
            created_ms,
        )
        return Intent(order, rule.name, rule.protective, cycle)

    def _expires_ms(self, item: Planned, sized: SizedOrder, now_ms: int) -> int | None:
        """Return when an order's time to live ends: it begins when the order can be filled at all."""
        if sized.good_for_seconds is None:
            return None
        policy = item.subject.evaluator.policy
        style = policy.buy_style if sized.side is OrderSide.BUY else policy.sell_style
        calendar = self._calendar_of(item.decision.symbol)
        begins_ms = now_ms if style.extended_hours else self._opens_ms(calendar, now_ms)
        return begins_ms + sized.good_for_seconds * 1000

    @staticmethod
    def _rule_of(item: Planned) -> LoweredRule:
        return item.subject.evaluator.policy.rules[item.decision.rule]

    def _planned_event(
        self, item: Planned, intent: Intent, views: Mapping[str, SymbolView], moment: Moment
    ) -> IntentPlanned:
        """Return what an intent uses up, and whether its rule may send what is left of it when it ends."""
        rule, view = self._rule_of(item), views[item.decision.symbol]
        policy = item.subject.evaluator.policy
        stamp = None if rule.once is None else once_stamp(rule.once, view, moment)
        moves = rule.size is not None and any(
            policy.slots[slot].name in POSITION_SIZE_FACTS for slot in slots_of_term(rule.size)
        )
        begins = rule.once is Once.POSITION and rule.action is Action.BUY
        return IntentPlanned(
            intent.order, rule.name, stamp, level=not rule.additive and not moves, retry=moves or begins
        )

    def _record(self, item: Planned) -> DecisionRecord:
        lowered = item.subject.evaluator.policy
        if id(lowered) not in self._layouts:
            self._layouts[id(lowered)] = layout_of(lowered, CONTEXT)
        return DecisionRecord(
            self._layouts[id(lowered)],
            item.subject.values,
            bytes(item.subject.reasons),
            0,
            item.decision,
            item.subject.working,
            pack_context(item.situation, self._desk.last_bar_ms(item.decision.symbol)),
        )
