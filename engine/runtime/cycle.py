"""The agent: one cycle is one straight line.

receipts -> quotes -> bars -> facts -> decisions -> intents -> journal "planned" -> broker -> journal "receipt"

Everything outside comes in through ports; every change of state goes through ``engine.verbs.state.advance``, from
the journal's own events, so that a restart replays to the same state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from engine.codes import Action, Disposition, IntentState, Truth
from engine.errors import UnavailableError
from engine.evaluate.agreed import AgreedEvaluator
from engine.language.lower import lower, lower_all
from engine.language.policy import Listing, Policy
from engine.lowered import LoweredPolicy
from engine.model import Fill, Instrument, NoQuote, OrderReport, OrderRequest, OrderSide, Quote
from engine.runtime.desk import ALWAYS_OPEN, DAY_SECONDS, BarDesk, history_needed_seconds
from engine.runtime.journal_port import (
    AccountEvent,
    AccountNumbers,
    CycleRecord,
    Event,
    Incident,
    Intent,
    IntentEvent,
    JournalFullError,
    JournalPort,
    PolicyText,
    StateSnapshot,
)
from engine.runtime.ports import (
    AmbiguousOutcome,
    BarSource,
    Broker,
    Calendar,
    Clock,
    OrderRejected,
    QuoteSource,
    SessionFacts,
    VenueAccount,
)
from engine.runtime.restore import after, restored
from engine.units import PRICE_SCALE
from engine.verbs.facts import (
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
from engine.verbs.ledger import Ledger
from engine.verbs.lifecycle import OrderConflict, advance_order
from engine.verbs.plan import Planned, Subject, open_book, plan
from engine.verbs.record import DecisionRecord, Layout, layout_of
from engine.verbs.replay import CONTEXT, ENGINE_SEMANTICS, pack_context, vocabulary_digest
from engine.verbs.state import (
    NEVER,
    STATE_VERSION,
    BarSeen,
    CancelAsked,
    EquitySeen,
    IntentPlanned,
    QuoteSeen,
    State,
    advance,
    forget_buys,
    pack_state,
)

CLOCK_BEHIND_MS: Final = 2000
_DAY_MS: Final = DAY_SECONDS * 1000


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the person sets beside the policy."""

    account: str = "paper"
    quote_max_age_seconds: int = 300
    jump_guard: float = 0.20
    fee_ppm: int = 200
    deadline_ms: int = 5000
    unguarded_after_seconds: int = 60
    finest_cadence_seconds: int = 0  # bars may be the finest that quotes have
    calendar_digest: str = ""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything from outside."""

    clock: Clock
    quotes: QuoteSource
    bars: BarSource
    calendar: Calendar
    broker: Broker
    journal: JournalPort


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What a cycle did, for those who watch."""

    cycle: int
    at_ms: int
    figures: AccountFigures
    planned: Sequence[Planned]
    intents: Sequence[Intent]
    fills: Sequence[Fill]
    incidents: Sequence[Incident]
    unguarded: Sequence[str]
    events: Sequence[IntentEvent] = ()


@dataclass(slots=True)
class Heard:
    """What the broker said in one round: in the journal already."""

    events: list[IntentEvent] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)


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
        self.state = State()
        self._lowered = dict(lower_all(policy))
        self._listings = {
            listing.symbol: listing
            for listing in policy.traded
            if served is None or listing.symbol in served
        }
        self._evaluators: dict[int, AgreedEvaluator] = {}
        self._makers: dict[int, FactMaker] = {}
        self._layouts: dict[int, Layout] = {}
        self._instruments: dict[str, Instrument | None] = {}
        self._calendars = {listing.symbol: listing.calendar for listing in policy.universe}
        self._desk = BarDesk(ports.bars, ports.calendar, self._calendar_of, policy.bars_seconds)
        self._watched: set[str] = set()
        self._zone = ZoneInfo(policy.timezone)
        self._nonce = ""
        self._cursor: str | None = None
        self._unguarded_since: dict[str, int] = {}

    # --- start --------------------------------------------------------------------------------

    def start(self) -> list[Incident]:
        """Restore the state, keep the policy, and bring what was under way to its end."""
        journal = self.ports.journal
        self._nonce = journal.nonce()
        self.state = restored(journal, self._least_held)
        if self.state.cycle == 0 and self.state.ledger == Ledger():
            opening = AccountEvent("deposit", self._now_ms(), self.ports.broker.account().cash, "opening cash")
            if opening.amount:
                journal.append_account_event(opening)
                self._apply(opening)
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
        heard = Heard()
        for intent, event in journal.pending_intents():
            self._resume(intent, event, heard)
        for symbol, memory in self.state.memories.items():
            if memory.working is not None and memory.working.cancelling:
                self._cancel(symbol, memory.working.client_id)
        self._hear(heard)
        return heard.incidents

    def _resume(self, intent: Intent, event: IntentEvent, heard: Heard) -> None:
        """Bring an intent whose fate was open at the crash to a known state: same id, never decided again."""
        if event.state not in (IntentState.PLANNED, IntentState.AMBIGUOUS):
            return
        report = self.ports.broker.find(intent.order.client_id)
        if report is None:
            self._send(intent, heard)
        else:
            self._take_report(intent.order.symbol, report, heard)

    def close(self) -> None:
        """Let go of the rules engines."""
        for evaluator in self._evaluators.values():
            evaluator.close()

    # --- time ---------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        """Cycle time never goes back: the wall clock, or the last journalled cycle if that is later."""
        return max(self.ports.clock.now_utc_ms(), self.state.cycle_ms, 0)

    def next_cycle_ms(self) -> int:
        """Return when the next cycle is due: at the policy's cadence, after the last one.

        The cadence is ``every`` where quotes are as fine as that, else the closes of the bars that are there.
        """
        now_ms = self._now_ms()
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

        Their time to live may end between two cycles, and what rests outside the session meets the open.
        """
        now_ms = self._now_ms()
        due = [self.next_cycle_ms()]
        for symbol, memory in self.state.memories.items():
            if memory.working is None or memory.frozen:
                continue
            calendar, expires_ms = self._calendar_of(symbol), memory.working.expires_ms
            if expires_ms is not None and expires_ms > now_ms:
                due.append(expires_ms)
            if calendar != ALWAYS_OPEN and self.ports.calendar.facts(calendar, now_ms).session != "regular":
                opens = self.ports.calendar.expected_bars(calendar, 60, now_ms + 1, due[0])
                due += opens[:1]
        return min(due)

    def tend(self) -> Heard:
        """Between two cycles: end what is over, and take in what became of open orders."""
        heard = Heard()
        self._expire(heard)
        self._hear(heard)
        return heard

    # --- the cycle ----------------------------------------------------------------------------

    def cycle(self) -> CycleReport:
        """Run one cycle now."""
        journal = self.ports.journal
        heard = self.tend()
        now_ms = self._now_ms()
        behind = self.ports.clock.now_utc_ms() < self.state.cycle_ms - CLOCK_BEHIND_MS

        symbols = self._symbols()
        self._watch(symbols, now_ms)
        answers = self.ports.quotes.snapshot(symbols, self.settings.deadline_ms)
        quotes = {symbol: self._judge(symbol, answers.get(symbol), now_ms) for symbol in symbols}
        sessions = self._sessions(symbols, now_ms)
        for symbol in symbols:
            self._desk.update(symbol, now_ms)
            self._see_bars(symbol)
        venue = self.ports.broker.account()
        figures, foreign = self._figures(venue, quotes, sessions)
        moment = self._moment(now_ms, figures, behind)

        subjects: list[Subject] = []
        views: dict[str, SymbolView] = {}
        for symbol in symbols:
            views[symbol] = self._view(symbol, quotes[symbol], sessions[symbol], now_ms)
            subjects.append(self._subject(views[symbol], moment))
        prices = {symbol: self.state.memory(symbol).trusted_bid for symbol in self.state.memories}
        book = open_book(self.policy, self.state, now_ms, prices, foreign, self.settings.fee_ppm)
        planned = plan(self.policy, subjects, book, self.settings.fee_ppm)

        incidents = [*heard.incidents, *self._disagreements(planned, now_ms)]
        unguarded = self._guard(planned, now_ms, incidents)
        self._latch_drawdown(planned, figures)
        cycle = self.state.cycle + 1
        intents = [intent for item in planned for intent in self._intents(item, views, moment, cycle)]
        cancels = [(item.decision.symbol, item.decision.cancel) for item in planned if item.decision.cancel]
        for symbol, _ in cancels:
            self.state = advance(self.state, CancelAsked(symbol))
        self.state = replace(self.state, cycle=cycle, cycle_ms=now_ms)
        record = CycleRecord(
            cycle,
            now_ms,
            self.policy.digest,
            AccountNumbers(
                figures.cash, figures.cash - max(0, min(book.cash, figures.cash)), figures.equity,
                round(figures.estimated_share * 1_000_000),
            ),
            [self._record(item) for item in planned],
            intents,
            StateSnapshot(STATE_VERSION, pack_state(self.state)),
            incidents=incidents,
        )  # fmt: skip
        intents = self._commit(journal, record)

        for symbol, client_id in cancels:
            self._cancel(symbol, client_id or "")
        for intent in intents:
            self._send(intent, heard)
        return CycleReport(
            cycle, now_ms, figures, planned, intents, tuple(heard.fills), tuple(incidents), unguarded,
            tuple(heard.events),
        )  # fmt: skip

    def _commit(self, journal: JournalPort, record: CycleRecord) -> list[Intent]:
        """Make the cycle durable; on a full disk at least its sells, out of the reserve."""
        try:
            journal.commit_cycle(record)
        except JournalFullError as error:
            sells = [intent for intent in record.intents if intent.order.side is OrderSide.SELL]
            try:
                journal.commit_exits(record)
            except JournalFullError as nothing:
                raise UnavailableError(
                    "HALTED: no intent can be made durable, nothing was sent; free disk space and start again"
                ) from nothing
            if not sells:
                raise UnavailableError(f"the journal is full: {error}") from error
            for intent in record.intents:
                if intent.order.side is OrderSide.BUY:
                    self._forget(intent)
            return sells
        return list(record.intents)

    def _forget(self, intent: Intent) -> None:
        """Take back a buy that was planned and could not be made durable: it is never sent."""
        memory = self.state.memory(intent.order.symbol)
        if memory.working_once:
            memory = memory.with_stamp(intent.rule, None)
        memory = replace(memory, working=None, working_once=False, working_level=False)
        self.state = self.state.with_memory(intent.order.symbol, memory)

    # --- what the broker says -----------------------------------------------------------------

    def _expire(self, heard: Heard) -> None:
        """Ask to cancel own orders whose time to live is over."""
        now_ms = self._now_ms()
        for symbol, memory in list(self.state.memories.items()):
            working = None if memory.frozen else memory.working
            over = working is not None and working.expires_ms is not None and working.expires_ms <= now_ms
            if working is not None and over and working.state is not IntentState.PLANNED:
                self.state = advance(self.state, CancelAsked(symbol))
                self._cancel(symbol, working.client_id)

    def _cancel(self, symbol: str, client_id: str) -> None:
        try:
            self.ports.broker.cancel(client_id)
        except (AmbiguousOutcome, OrderRejected):
            return  # the order's own state, asked for below, tells what came of it

    def _hear(self, heard: Heard) -> None:
        """Ask for the state of every working order and for new fills; make both durable, then apply."""
        for symbol, memory in list(self.state.memories.items()):
            if memory.working is None or memory.frozen:
                continue  # of a frozen one the venue was heard: a person decides
            report = self.ports.broker.find(memory.working.client_id)
            if report is not None:
                self._take_report(symbol, report, heard)
        self._take_fills((), heard)

    def _take_report(self, symbol: str, report: OrderReport, heard: Heard) -> None:
        working = self.state.memory(symbol).working
        if working is None or working.client_id != report.client_id:
            return
        try:
            moved = advance_order(symbol, working, report)
        except OrderConflict as conflict:
            incident = Incident(
                "order-conflict", self._now_ms(), conflict.detail, symbol, conflict.client_id
            )
            self.ports.journal.append_incident(incident)
            self._apply(incident)
            heard.incidents.append(incident)
            return
        if moved.state is working.state and moved.filled_quantity == working.filled_quantity:
            return
        event = IntentEvent(
            report.client_id, moved.state, self._now_ms(), moved.filled_quantity, report.venue_id, report.reason
        )
        self._take_fills((event,), heard)

    def _take_fills(self, events: Sequence[IntentEvent], heard: Heard) -> None:
        """Keep events with the fills that came with them, in one receipt: neither is known without the other."""
        journal = self.ports.journal
        if self._cursor is None:
            self._cursor = journal.fill_cursor()
        fills, cursor = self.ports.broker.fills_since(self._cursor)
        if not events and not fills and cursor == self._cursor:
            return
        fresh = journal.append_receipt(events, fills, cursor)
        self._cursor = cursor
        heard.events += events
        heard.fills += fresh
        happened: tuple[Event, ...] = (*events, *fresh)
        for item in happened:
            self._apply(item)

    def _send(self, intent: Intent, heard: Heard) -> None:
        """Send an intent once; whatever comes back is made durable before anything else is done."""
        order = intent.order
        at_ms = self._now_ms()
        try:
            report = self.ports.broker.submit(order)
        except OrderRejected as rejected:
            event = IntentEvent(order.client_id, IntentState.REJECTED, at_ms, 0, "", rejected.reason)
            if "unique" in rejected.reason:
                # the venue has this id already: an earlier send arrived, and that order is the result
                found = self.ports.broker.find(order.client_id)
                if found is not None:
                    self._take_report(order.symbol, found, heard)
                    return
        except (AmbiguousOutcome, UnavailableError) as lost:
            event = IntentEvent(order.client_id, IntentState.AMBIGUOUS, at_ms, 0, "", str(lost))
        else:
            self._take_report(order.symbol, report, heard)
            return
        self._take_fills((event,), heard)

    # --- events into state --------------------------------------------------------------------

    def _apply(self, event: Event) -> None:
        """Apply a journalled event to the state."""
        self.state = after(self.state, event, self.ports.journal, self._least_held)

    def _least_held(self, state: State, fill: Fill) -> int:
        trusted = state.memory(fill.symbol).trusted_bid or fill.price
        return minimum_quantity(self._instrument(fill.symbol), trusted) or 1

    # --- the snapshot -------------------------------------------------------------------------

    def _symbols(self) -> list[str]:
        """The symbols under decision: the universe as written, then own positions and orders outside it."""
        symbols = list(self._listings)
        others = {*self.state.ledger.holdings} | {
            symbol for symbol, memory in self.state.memories.items() if memory.working is not None
        }
        return symbols + sorted(others - set(symbols))

    def _instrument(self, symbol: str) -> Instrument | None:
        if self._instruments.get(symbol) is None:
            self._instruments[symbol] = self.ports.broker.instrument(symbol)
        return self._instruments[symbol]

    def _calendar_of(self, symbol: str) -> str:
        if symbol not in self._calendars:
            instrument = self._instrument(symbol)
            self._calendars[symbol] = instrument.calendar if instrument is not None else "24/7"
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
        for symbol in new:
            self._desk.watch(symbol, self._policy_of(symbol), from_ms)
            self._watched.add(symbol)

    def _judge(self, symbol: str, answer: Quote | NoQuote | None, now_ms: int) -> JudgedQuote:
        settings = self.settings
        memory = self.state.memory(symbol)
        judged = judge_quote(answer, memory, now_ms, settings.quote_max_age_seconds, settings.jump_guard)
        if judged.quote is not None and judged.state in ("tradable", "unconfirmed"):
            trusted = judged.state == "tradable"
            self.state = advance(
                self.state, QuoteSeen(symbol, judged.quote.bid, judged.quote.source_time_ms, trusted)
            )
        return judged

    def _sessions(self, symbols: Sequence[str], now_ms: int) -> dict[str, SessionFacts]:
        by_calendar: dict[str, SessionFacts] = {}
        sessions = {}
        for symbol in symbols:
            calendar = self._calendar_of(symbol)
            if calendar not in by_calendar:
                by_calendar[calendar] = self.ports.calendar.facts(calendar, now_ms)
            sessions[symbol] = by_calendar[calendar]
        return sessions

    def _see_bars(self, symbol: str) -> None:
        if self.state.memory(symbol).episode_began_ms == NEVER:
            return
        for bar in self._desk.fresh_bars(symbol):
            if bar.close == bar.close:
                close = round(bar.close * PRICE_SCALE)
                self.state = advance(self.state, BarSeen(symbol, bar.open_time_ms, close))

    def _figures(
        self, venue: VenueAccount, quotes: Mapping[str, JudgedQuote], sessions: Mapping[str, SessionFacts]
    ) -> tuple[AccountFigures, dict[str, int]]:
        """Value the account once; own quantity is our fills, capped by what the broker has."""
        own = {symbol: holding.quantity for symbol, holding in self.state.ledger.holdings.items()}
        foreign = {
            symbol: quantity - own.get(symbol, 0)
            for symbol, quantity in venue.positions.items()
            if quantity > own.get(symbol, 0)
        }
        bids: dict[str, tuple[int, bool]] = {}
        for symbol in {*own, *foreign}:
            judged = quotes.get(symbol)
            fresh = judged is not None and judged.state == "tradable"
            # outside its regular session an instrument's last trusted price is its fresh valuation
            closed = symbol in sessions and sessions[symbol].session != "regular"
            trusted = self.state.memory(symbol).trusted_bid
            bids[symbol] = (trusted, fresh or (closed and trusted > 0))
        holdings = {symbol: own.get(symbol, 0) + foreign.get(symbol, 0) for symbol in bids}
        figures = account_figures(
            self.state.ledger.cash, holdings, bids, self.state.peak_equity, self.state.latched_drawdown
        )
        if figures.estimated_share == 0:
            self.state = advance(self.state, EquitySeen(figures.equity))
        for symbol, quantity in own.items():
            short = venue.positions.get(symbol, 0) < quantity
            memory = self.state.memory(symbol)
            if short != memory.changed_quantity:
                self.state = self.state.with_memory(symbol, replace(memory, changed_quantity=short))
        return figures, foreign

    def _moment(self, now_ms: int, figures: AccountFigures, behind: bool) -> Moment:
        local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(self._zone)
        state = self.state
        longest = max((limit.window_seconds for limit in self.policy.limits), default=0)
        self.state = forget_buys(state, now_ms - longest * 1000)
        return Moment(
            now_ms=now_ms,
            weekday=local.weekday(),
            time_seconds=local.hour * 3600 + local.minute * 60 + local.second,
            day=local.toordinal(),
            figures=figures,
            agent_state=state.agent_state,
            clock_state="behind" if behind else "ok",
            lease=True,
        )

    def _view(self, symbol: str, quote: JudgedQuote, session: SessionFacts, now_ms: int) -> SymbolView:
        listing = self._listing(symbol)
        feeds: dict[str, Known] = {}
        return SymbolView(
            listing=listing,
            instrument=self._instrument(symbol),
            quote=quote,
            session=session,
            memory=self.state.memory(symbol),
            holding=self.state.ledger.holding(symbol),
            series=self._desk.readings(symbol),
            bar_stamp=self._desk.last_bar_ms(symbol),
            bars_since=lambda since_ms: self._desk.bars_since(symbol, since_ms, now_ms),
            feeds=feeds,
            equity_weight=None if listing.weight is None else float(listing.weight),
        )

    def _subject(self, view: SymbolView, moment: Moment) -> Subject:
        symbol = view.listing.symbol
        lowered = self._policy_of(symbol)
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
        )

    def _maker(self, lowered: LoweredPolicy) -> FactMaker:
        if id(lowered) not in self._makers:
            self._makers[id(lowered)] = FactMaker(lowered)
        return self._makers[id(lowered)]

    def _evaluator(self, lowered: LoweredPolicy) -> AgreedEvaluator:
        if id(lowered) not in self._evaluators:
            self._evaluators[id(lowered)] = AgreedEvaluator(lowered)
        return self._evaluators[id(lowered)]

    # --- after the decisions ------------------------------------------------------------------

    def _disagreements(self, planned: Sequence[Planned], now_ms: int) -> list[Incident]:
        incidents = []
        for evaluator in self._evaluators.values():
            for agreement in evaluator.disagreements:
                rules = ", ".join(evaluator.policy.rules[rule].name for rule in agreement.differing)
                detail = agreement.fault or f"the evaluators differ about: {rules}"
                incidents.append(Incident("disagreement", now_ms, detail))
            evaluator.disagreements.clear()
        return incidents

    def _guard(self, planned: Sequence[Planned], now_ms: int, incidents: list[Incident]) -> list[str]:
        """Return the held symbols whose protective rules cannot be known or sent; tell of it after a while."""
        unguarded = []
        for item in planned:
            symbol = item.decision.symbol
            if item.subject.quantity and _is_unguarded(item):
                unguarded.append(symbol)
                since = self._unguarded_since.setdefault(symbol, now_ms)
                waited = now_ms - since
                if self.settings.unguarded_after_seconds * 1000 <= waited and since != NEVER:
                    detail = "held, and a protective rule is Unknown or cannot be sent"
                    incidents.append(Incident("unguarded", now_ms, detail, symbol))
                    self._unguarded_since[symbol] = NEVER
            else:
                self._unguarded_since.pop(symbol, None)
        return unguarded

    def _latch_drawdown(self, planned: Sequence[Planned], figures: AccountFigures) -> None:
        """A gate on drawdown that once was true stays so until a person rebases."""
        if figures.drawdown <= self.state.latched_drawdown:
            return
        seen: set[int] = set()
        for item in planned:
            evaluator = item.subject.evaluator
            if id(evaluator) in seen or not isinstance(evaluator, AgreedEvaluator):
                continue
            seen.add(id(evaluator))
            gates = drawdown_gates(evaluator.policy)
            if not gates:
                continue
            truths = evaluator.reference.evaluate(item.subject.values).truths
            if any(truths[gate] == Truth.TRUE for gate in gates):
                self.state = replace(self.state, latched_drawdown=figures.drawdown)
                return

    def _intents(
        self, item: Planned, views: Mapping[str, SymbolView], moment: Moment, cycle: int
    ) -> list[Intent]:
        """Name the order of a decision, and take it into the state."""
        decision = item.decision
        sized = decision.order
        if sized is None:
            return []
        rule = item.subject.evaluator.policy.rules[decision.rule]
        client_id = "-".join(
            (self._nonce, self.settings.account, str(cycle), decision.symbol, sized.side.value)
        )
        good_for = sized.good_for_seconds
        order = OrderRequest(
            client_id,
            decision.symbol,
            sized.side,
            sized.quantity,
            sized.limit_price,
            sized.order_type,
            sized.time_in_force,
            None if good_for is None else moment.now_ms + good_for * 1000,
            moment.now_ms,
        )
        stamp = None if rule.once is None else once_stamp(rule.once, views[decision.symbol], moment)
        level = rule.action is Action.BUY and not rule.additive
        self.state = advance(self.state, IntentPlanned(order, rule.name, stamp, level))
        return [Intent(order, rule.name, rule.protective, cycle)]

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


def drawdown_gates(policy: LoweredPolicy) -> tuple[int, ...]:
    """Return the condition nodes of the gates that read ``drawdown``."""
    names = [slot.name for slot in policy.slots]
    if "drawdown" not in names:
        return ()
    text = f"slot={names.index('drawdown')})"

    def reads(node: int) -> bool:
        found = policy.nodes[node]
        if found.atom >= 0 and not found.children:
            atom = policy.atoms[found.atom] if found.kind.name == "ATOM" else None
            return atom is not None and (text in repr(atom.left) or text in repr(atom.right))
        return any(reads(child) for child in found.children)

    return tuple(gate.when for gate in policy.gates if not gate.reserved and reads(gate.when))


def _is_unguarded(item: Planned) -> bool:
    policy, decision = item.subject.evaluator.policy, item.decision
    for index, rule in enumerate(policy.rules):
        if not rule.protective:
            continue
        if decision.truths[index] == Truth.UNKNOWN:
            return True
        disposition = decision.dispositions[index]
        if disposition == Disposition.VETOED and policy.gates[decision.causes[index]].reserved:
            return True
        if disposition == Disposition.DENIED:
            return True
    return False
