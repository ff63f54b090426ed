"""What a run came to: orders by rule, fills, and the facts that stayed Unknown and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from adapters.cli.figures import instant, iso, laid_out, money, money_number, percent, rows
from engine.codes import UnknownReason
from engine.indicators import bars_needed
from engine.language.expression import duration_text
from engine.lowered import FactSlot, LoweredPolicy, SlotOrigin
from engine.model import Fill
from engine.runtime.cycle import Agent, CycleReport, Heard
from engine.runtime.desk import ALWAYS_OPEN
from engine.runtime.journal_port import Intent
from engine.series import SELF, columns
from engine.verbs.facts import AccountFigures

_ALWAYS_SHOWN: float = 0.1
"""A fact that was Unknown in this share of the cycles is told of, even if it is known by now."""


@dataclass(frozen=True, slots=True)
class UnknownFact:
    """A fact that was Unknown for a reason, over all symbols that it was so for."""

    fact: str
    reason: str
    meaning: str
    symbols: tuple[str, ...]
    share: float  # of the decisions on these symbols
    now: bool  # still, in the last cycle
    detail: str


def missing_facts(policy: LoweredPolicy, reasons: Sequence[int]) -> dict[str, UnknownReason]:
    """Return the facts that a decision lacked, by name; what needs a position is not missing without one."""
    found: dict[str, UnknownReason] = {}
    for slot, reason in zip(policy.slots, reasons, strict=True):
        if reason and reason != UnknownReason.NO_POSITION:
            found.setdefault(_name(slot), UnknownReason(reason))
    return found


def _name(slot: FactSlot) -> str:
    """The fields of a signal are Unknown together: its name stands for them."""
    if slot.origin in (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL):
        return slot.name.partition(".")[0]
    return slot.name


@dataclass(slots=True)
class Tally:
    """Counts the cycles of a run."""

    cycles: int = 0
    skipped: int = 0
    trouble: str = ""  # what stood in the way of the last cycle
    first_ms: int = 0
    last_ms: int = 0
    orders: Counter[str] = field(default_factory=Counter)
    fills: int = 0
    incidents: int = 0
    traded: str = ""  # the symbol of the last order
    figures: AccountFigures | None = None
    unguarded: Sequence[str] = ()
    _reasons: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    _policies: dict[str, LoweredPolicy] = field(default_factory=dict)
    _last: dict[str, bytes] = field(default_factory=dict)

    def add(self, report: CycleReport) -> None:
        """Count a cycle; one that was skipped decided nothing."""
        self.trouble = report.halted or report.skipped
        self.unguarded = report.unguarded
        if report.skipped:
            self.skipped += 1
            self._count(report.fills, (), len(report.incidents))
            return
        self.cycles += 1
        self.first_ms = self.first_ms or report.at_ms
        self.last_ms = report.at_ms
        self.figures = report.figures
        self.orders.update(intent.rule for intent in report.intents)
        self._count(report.fills, report.intents, len(report.incidents))
        self._last = {}
        for item in report.planned:
            symbol, reasons = item.decision.symbol, bytes(item.subject.reasons)
            self._reasons[symbol, reasons] += 1
            self._policies[symbol] = item.subject.evaluator.policy
            self._last[symbol] = reasons

    def tended(self, heard: Heard) -> None:
        """Count what was heard between two cycles."""
        self._count(heard.fills, (), len(heard.incidents))

    def _count(self, fills: Sequence[Fill], intents: Sequence[Intent], incidents: int) -> None:
        self.fills += len(fills)
        self.incidents += incidents
        if intents:
            self.traded = intents[-1].order.symbol

    def unknown_facts(self, agent: Agent) -> list[UnknownFact]:
        """Return the facts that were Unknown in some cycle, most often first."""
        decisions: Counter[str] = Counter()
        lacked: Counter[tuple[str, UnknownReason, str]] = Counter()
        for (symbol, reasons), count in self._reasons.items():
            decisions[symbol] += count
            for fact, reason in missing_facts(self._policies[symbol], reasons).items():
                lacked[fact, reason, symbol] += count
        symbols: dict[tuple[str, UnknownReason], list[str]] = {}
        for fact, reason, symbol in lacked:
            symbols.setdefault((fact, reason), []).append(symbol)
        found = [
            UnknownFact(
                fact,
                reason.word,
                reason.meaning,
                tuple(affected),
                sum(lacked[fact, reason, symbol] for symbol in affected)
                / sum(decisions[symbol] for symbol in affected),
                any(self._lacks(fact, reason, symbol) for symbol in affected),
                self._detail(agent, fact, reason, affected),
            )
            for (fact, reason), affected in symbols.items()
        ]
        return sorted(found, key=lambda unknown: (-unknown.share, unknown.fact))

    def _lacks(self, fact: str, reason: UnknownReason, symbol: str) -> bool:
        now = self._last.get(symbol)
        return now is not None and missing_facts(self._policies[symbol], now).get(fact) is reason

    def _detail(self, agent: Agent, fact: str, reason: UnknownReason, symbols: Sequence[str]) -> str:
        """Say how many bars in a row a fact needs, and how many there were at most."""
        if reason not in (UnknownReason.WARM_UP, UnknownReason.NO_BARS):
            return ""
        had: dict[str, dict[str, None]] = {}
        for symbol in symbols:
            for slot in self._policies[symbol].slots:
                if slot.name != fact or slot.series is None:
                    continue
                for column in columns(slot.series):
                    source, interval = (
                        symbol if column.symbol == SELF else column.symbol,
                        column.interval_seconds,
                    )
                    need = f"needs {bars_needed(slot.series)} bars of {duration_text(interval)} in a row"
                    most = longest_run(agent, source, interval, self.last_ms)
                    had.setdefault(need, {})[f"{source} {most}"] = None
        return "; ".join(f"{need}, had at most: {', '.join(most)}" for need, most in had.items())


def longest_run(agent: Agent, symbol: str, interval_seconds: int, until_ms: int) -> int:
    """Return the most bars that came without one of the expected ones missing."""
    there = {bar.open_time_ms for bar in agent.ports.bars.closed(symbol, interval_seconds, -1, until_ms)}
    if not there:
        return 0
    listing = agent.policy.listing(symbol)
    calendar = ALWAYS_OPEN if listing is None else listing.calendar
    longest = run = 0
    for open_ms in agent.ports.calendar.expected_bars(calendar, interval_seconds, min(there), max(there) + 1):
        run = run + 1 if open_ms in there else 0
        longest = max(longest, run)
    return longest


# --- the summary ------------------------------------------------------------------------------


def summary_document(tally: Tally, agent: Agent) -> dict[str, Any]:
    """Return what a run came to, as JSON."""
    ledger = agent.state.ledger
    figures = tally.figures
    return {
        "cycles": tally.cycles,
        "skipped": tally.skipped,
        "first_at": iso(tally.first_ms) if tally.cycles else None,
        "last_at": iso(tally.last_ms) if tally.cycles else None,
        "orders": dict(tally.orders),
        "fills": tally.fills,
        "incidents": tally.incidents,
        "fees": money_number(ledger.fees),
        "realised": money_number(ledger.realised),
        "cash": money_number(ledger.cash),
        "equity": None if figures is None else money_number(figures.equity),
        "drawdown": None if figures is None else figures.drawdown,
        "unguarded": list(tally.unguarded),
        "unknown_facts": [asdict(unknown) for unknown in tally.unknown_facts(agent)],
    }


def summary_text(tally: Tally, agent: Agent, name: str, symbols: Sequence[str]) -> Iterator[str]:
    """Lay out what a run came to, line by line."""
    ledger, policy = agent.state.ledger, agent.policy
    if tally.cycles:
        cycles = f"{tally.cycles} cycle{'s' if tally.cycles > 1 else ''}"
        if tally.skipped:
            cycles += f" ({tally.skipped} more skipped)"
        time = f"{instant(tally.first_ms)} to {instant(tally.last_ms)}"
        yield from rows(
            "run", [f"{cycles}, {time}   {policy.name} {policy.version} ({policy.digest[:6]})   agent {name}"]
        )
        by_rule = ", ".join(f"{rule} {count}" for rule, count in tally.orders.most_common())
        yield from rows("orders", [f"{tally.orders.total()}{f': {by_rule}' if by_rule else ''}"])
        yield from rows("fills", [f"{tally.fills}"])
    figures = tally.figures
    account = {"cash": ledger.cash, "realised": ledger.realised, "fees": ledger.fees}
    if figures is not None:
        account = {"equity": figures.equity, **account}
    texts = [f"{word} {money(amount)}" for word, amount in account.items()]
    if figures is not None:
        texts.append(f"drawdown {percent(figures.drawdown)}")
    yield from rows("account", ["   ".join(texts)])
    if tally.unguarded:
        yield from rows("unguarded", [", ".join(tally.unguarded)])
    if tally.incidents:
        yield from rows("incidents", [f"{tally.incidents}: tradectl journal incidents"])
    told = [fact for fact in tally.unknown_facts(agent) if fact.now or fact.share >= _ALWAYS_SHOWN]
    if told:
        yield ""
        yield "facts that stayed Unknown, and why"
        yield from (f"  {line}" for line in laid_out(_grouped(told, len(symbols))))
    yield ""
    subject = tally.traded or next(iter(symbols), "SYMBOL")
    yield from rows("next", [f"tradectl explain {subject}", "tradectl funnel"])


def _grouped(unknowns: Sequence[UnknownFact], symbols: int) -> list[tuple[str, str, str]]:
    """Return (share, symbols, facts and why), facts with the same story in one row."""
    facts: dict[tuple[str, str, str], list[str]] = {}
    for unknown in unknowns:
        share = "all cycles" if unknown.share == 1 else f"{unknown.share * 100:.0f} % of cycles"
        affected = "all symbols" if len(unknown.symbols) == symbols > 1 else ", ".join(unknown.symbols)
        why = unknown.detail or unknown.meaning
        facts.setdefault((share, affected, why), []).append(unknown.fact)
    return [
        (share, affected, f"{', '.join(names)}: {why}") for (share, affected, why), names in facts.items()
    ]
