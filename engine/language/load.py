"""From the text of a policy to a typed policy: every mistake in one run, each in its place.

``source`` reads the YAML, ``structure`` its shape, ``declarations`` the names, ``promises`` what must hold;
here are the rules, gates, limits and orders, and the whole.  Beside each part its canonical form is made: the
text that the digest is of, and that the journal keeps.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from itertools import count as counting
from typing import Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.codes import Action
from engine.errors import NOWHERE, PolicyError, Problem, Severity, Source, Span
from engine.language.checker import Checker
from engine.language.declarations import CalendarProblem, Canonical, Declarations
from engine.language.expression import (
    SECONDS_PER,
    Expression,
    Literal,
    Logic,
    decimal_text,
    duration_text,
    literal_text,
    parse,
    unparse,
)
from engine.language.findings import Whole, findings
from engine.language.lower import WEIGHT_STEPS, try_to_lower
from engine.language.policy import Gate, Limit, OrderTerms, Policy, Rule, Scope, Signal, Vote
from engine.language.promises import PromiseReader
from engine.language.reading import EnoughError, Entry, Reader, SkipError, root_entry
from engine.language.source import MAX_BYTES, Document, Path, load_document, shown
from engine.language.structure import check_structure
from engine.language.types import (
    Combined,
    Condition,
    Constant,
    FactRead,
    Typed,
    comparisons_of,
    facts_of,
    facts_of_condition,
    implied,
    is_zero,
    on_step,
    unit_words,
)
from engine.lowered import Comparison, LimitKind, LimitScope, LoweredPolicy, Once, Selection, SlotOrigin
from engine.units import ELAPSED_CAP_SECONDS, Measure
from engine.vocabulary import POSITION_SIZE_FACTS

MIN_STEP: Final = Decimal("0.05")
"""The share of its level by which a level order moves a position at least."""
DEFAULT_LIMITS: Final = {"buy": "100.1% of ask", "sell": "99.5% of bid"}
DEFAULT_GOOD_FOR: Final = 60
DEFAULT_TIMEZONE: Final = "UTC"

_T = TypeVar("_T")
_ALL: Final = frozenset({"buy", "sell", "protective"})
_BUY: Final = frozenset({"buy"})

INTEGRITY_GATES: Final[tuple[tuple[str, frozenset[str], str | None], ...]] = (
    ("no-tradable-quote", _ALL, "quote_state != tradable"),
    ("frozen-symbol", _ALL, "frozen"),
    ("position-unknown", _ALL, "position_state != known"),
    ("lease", _ALL, "not lease"),
    ("agent-state", _ALL, "agent_state == halted"),
    ("agent-state", _BUY, "agent_state == reducing"),
    ("clock", _BUY, "clock_state != ok"),
    ("unsendable", frozenset({"sell", "protective"}), "unsendable"),
    ("would-exit", _BUY, None),
    ("disagreement", frozenset({"buy", "sell"}), None),
)
"""The built-in vetoes (language reference, "Integrity"): name, what they veto, condition."""

LONGEST_REASON: Final = 500
"""Characters of a ``because``."""

RESERVED_GATES: Final = frozenset({name for name, _, _ in INTEGRITY_GATES} | {"once", "integrity"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy, unless errors forbid it, its lowered forms by traded symbol, and every problem found."""

    source: Source
    policy: Policy | None
    problems: tuple[Problem, ...]
    lowered: Mapping[str, LoweredPolicy] = field(default_factory=dict)

    def required(self) -> Policy:
        """Return the policy; PolicyError with all errors where there is none."""
        if self.policy is None:
            raise PolicyError(self.source, tuple(p for p in self.problems if p.severity is Severity.ERROR))
        return self.policy


def load_policy(
    text: str | bytes, name: str, calendar_problem: CalendarProblem = lambda _name: None
) -> Loaded:
    """Load a policy from its text; ``name`` is shown in messages.  Bad input is problems, never raised.

    The engine knows no calendars: ``calendar_problem`` says what is wrong with a name of one.
    """
    try:
        document = load_document(text, name)
    except PolicyError as error:
        return Loaded(error.source, None, error.problems)
    structure = check_structure(document)
    broken, problems = document.broken | structure.broken, [*document.problems, *structure.problems]
    return _load(document, broken, problems, calendar_problem)


def load_recorded(text: str, name: str) -> Loaded:
    """Load a canonical text that was loaded before: its shape was checked then, and is not again.

    For the texts that a journal keeps by digest: once their digest is found right, the comparison with
    the schema says nothing new, and the library that makes it takes a tenth of a second to import.
    """
    document = load_document(text, name)
    return _load(document, document.broken, [*document.problems], lambda _name: None)


def _load(
    document: Document, broken: frozenset[Path], problems: list[Problem], calendar_problem: CalendarProblem
) -> Loaded:
    reader = Reader(document, broken, problems)
    policy, lowered = None, None
    with suppress(EnoughError):
        policy, lowered = _Loader(reader, root_entry(reader, document), calendar_problem).load()
    ordered = tuple(sorted(dict.fromkeys(problems), key=lambda p: (p.span.start, p.span.end, p.code)))
    if reader.failed or policy is None or lowered is None:
        return Loaded(document.source, None, ordered)
    return Loaded(document.source, policy, ordered, lowered)


class _Loader:
    """Reads one document; what cannot be read is reported and left out."""

    def __init__(self, reader: Reader, root: Entry, calendar_problem: CalendarProblem) -> None:
        self.reader = reader
        self.root = root
        self.names = Declarations(reader, root, RESERVED_GATES, calendar_problem)
        self._orders = counting()
        self._members: dict[tuple[str, ...], frozenset[str]] = {}
        self._of_class: dict[str, list[str]] = defaultdict(list)
        self._unweighted: dict[str, str] = {}  # by class, by symbol and by "": a symbol without a weight
        for listing in self.names.universe:
            self._of_class[listing.asset_class].append(listing.symbol)
            if listing.traded and listing.weight is None:
                for name in ("", listing.asset_class, listing.symbol):
                    self._unweighted.setdefault(name, listing.symbol)

    def load(self) -> tuple[Policy, Mapping[str, LoweredPolicy]]:
        """Return what could be read; it is the whole policy where no error was reported."""
        names = self.names
        head = {key: self._word(key) for key in ("policy", "version", "selection")}
        timezone = self._timezone()
        every = self._try(self._every)
        signals = names.read("signals", self._signal)
        rules = names.read("rules", self._rule)
        self._equal_priorities([rule for rule, _ in rules.values()])
        gates = names.read("gates", self._gate)
        limits = names.read("limits", self._limit)
        orders = {side: self._try(partial(self._order_terms, side)) for side in DEFAULT_LIMITS}
        promises = names.read("promises", PromiseReader(self.reader, names).read)
        canonical = self._canonical(
            {"apiVersion": "tradectl/v1", **head, "timezone": timezone or DEFAULT_TIMEZONE},
            {"every": duration_text(every) if every else "", **names.canonical},
            _texts(
                {"signals": signals, "rules": rules, "gates": gates, "limits": limits, "promises": promises}
            ),
            {"orders": {side: terms[1] for side, terms in orders.items() if terms}},
        )
        buy_terms, sell_terms = (terms[0] if terms else _NO_TERMS for terms in orders.values())
        selection = Selection(head["selection"] or Selection.EXITS_FIRST)
        policy = Policy(
            source=self.reader.source,
            name=head["policy"],
            version=head["version"],
            digest=hashlib.sha256(canonical.encode()).hexdigest(),
            canonical=canonical,
            selection=selection,
            timezone=timezone or DEFAULT_TIMEZONE,
            bars_seconds=names.bars_seconds,
            every_seconds=every,
            universe=tuple(names.universe),
            parameters=names.parameters,
            indicators=names.indicators,
            signals=tuple(signal for signal, _ in signals.values()),
            rules=tuple(sorted((rule for rule, _ in rules.values()), key=lambda r: (-r.priority, r.order))),
            gates=(*self._integrity_gates(selection), *(gate for gate, _ in gates.values())),
            limits=tuple(limit for limit, _ in limits.values()),
            buy_terms=buy_terms,
            sell_terms=sell_terms,
            promises=tuple(promise for promise, _ in promises.values()),
            spans={name: span for name, (_, span) in names.declared_as.items()},
            size=names.size,
        )
        return policy, self._find_more(policy, timezone)

    def _canonical(self, *parts: Canonical) -> str:
        """Return the text that the digest is of; it can be loaded again, with the same digest."""
        whole = {key: value for part in parts for key, value in part.items() if value}
        canonical = json.dumps(whole, ensure_ascii=False, indent=1)
        if len(canonical.encode()) > MAX_BYTES:
            message = "with its defaults written out, the policy is too large"
            self.reader.report("too-large", message, self.root.key.span)
        return canonical

    def _find_more(self, policy: Policy, timezone: str) -> Mapping[str, LoweredPolicy]:
        """Look at the policy as a whole, as far as it could be read; return its lowered forms."""
        clock = self.names.clock_literal
        if clock is not None and not self.root.states("timezone"):
            message = "a time of day needs the policy's timezone"
            hint = "add a line  timezone: America/New_York  (or your own)"
            self.reader.report("timezone-missing", message, clock, hint)
        lowered, problems = try_to_lower(policy, self.names.conditions)
        for problem in problems:
            self.reader.report(problem.code, problem.message, problem.span, problem.hint)
        top = Span(self.root.node.span.start, self.root.node.span.start + 1)
        whole = Whole(self.names.declared_as, self.names.used, timezone, top)
        self.reader.problems += findings(policy, None if self.reader.failed else whole)
        return lowered

    def _try(self, read: Callable[[], _T]) -> _T | None:
        """Return what was read, None where its mistake is reported: the rest of the entry is read, too."""
        try:
            return read()
        except SkipError:
            return None

    # --- head ---------------------------------------------------------------------------------

    def _word(self, key: str) -> str:
        return self._try(lambda: self.root.word(key)) or ""

    def _timezone(self) -> str:
        """Return the timezone, "" where none is stated or it does not exist."""
        name = self._word("timezone")
        try:
            return name and ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            span = self.root.get("timezone").node.span
            message = f"there is no timezone '{name}'"
            self.reader.report("timezone", message, span, "such as America/New_York or UTC")
            return ""

    def _every(self) -> int | None:
        entry = self.root.find("every")
        return entry.duration(ELAPSED_CAP_SECONDS) if entry else None

    # --- signals ------------------------------------------------------------------------------

    def _signal(self, entry: Entry) -> tuple[Signal, Canonical]:
        if not self.names.is_declared_by(entry):  # another thing has its name
            raise SkipError
        feed = entry.word("from")
        if feed:
            max_age = entry.get("max_age").duration(ELAPSED_CAP_SECONDS)
            canonical: Canonical = {"from": feed, "max_age": duration_text(max_age)}
            return Signal(entry.name, (), feed, max_age, entry.key.span), canonical
        votes = [self._try(partial(self._vote, vote)) for vote in entry.get("votes").entries()]
        read = [vote for vote in votes if vote]
        if len(read) < len(votes):
            raise SkipError
        canonical = {"votes": {vote.name: text for vote, text in read}}
        return Signal(entry.name, tuple(vote for vote, _ in read), None, None, entry.key.span), canonical

    def _vote(self, entry: Entry) -> tuple[Vote, Canonical]:
        weights = {key: self._weight(entry.find(key)) for key in ("weight", "hold")}
        written = {side: found for side in ("buy", "sell") if (found := entry.find(side))}
        read = {side: self._try(partial(self._vote_condition, found)) for side, found in written.items()}
        sides = {side: condition for side, condition in read.items() if condition}
        if len(sides) < len(written):
            raise SkipError
        texts = {side: unparse(found.expression()) for side, found in written.items()}
        abstain = entry.word("if_unknown") == "abstain"
        canonical = {key: _json_number(weight) for key, weight in weights.items() if weight} | texts
        canonical |= {"if_unknown": "abstain"} if abstain else {}
        vote = Vote(
            entry.name, weights["weight"], sides.get("buy"), sides.get("sell"), weights["hold"], abstain,
            entry.key.span,
        )  # fmt: skip
        return vote, canonical

    def _weight(self, entry: Entry | None) -> Decimal:
        if entry is None:
            return Decimal(0)
        weight = entry.number()
        if not on_step(weight, WEIGHT_STEPS):
            self.reader.refuse("range", "a weight has at most 6 decimals", entry.node.span)
        return weight

    def _vote_condition(self, entry: Entry) -> Condition:
        condition = self.names.condition(entry.expression())
        for fact in facts_of_condition(condition):
            if fact.origin is SlotOrigin.SIGNAL:
                message = f"a vote cannot read a voted signal, and '{fact.name}' is of one"
                self.reader.refuse("vote", message, fact.span, "read what that signal reads")
        return condition

    # --- rules --------------------------------------------------------------------------------

    def _rule(self, entry: Entry) -> tuple[Rule, Canonical]:
        when = self._try(lambda: self._when(entry.get("when")))
        proposal = self._try(lambda: self._proposal(entry.get("then")))
        scope = self._try(lambda: self.names.scope(entry.find("for")))
        because = self._try(lambda: self._because(entry.find("because")))
        min_step = self._try(lambda: self._min_step(entry.find("min_step"), proposal))
        if when is None or proposal is None or scope is None or because is None or min_step is None:
            raise SkipError
        condition, expression = when
        once = entry.word("once")
        rule = Rule(
            name=entry.name,
            priority=int(entry.get("priority").number()),
            order=next(self._orders),
            action=proposal.action,
            size=proposal.size,
            size_measure=proposal.measure,
            additive=proposal.additive,
            protective=entry.flag("protective"),
            once=Once(once) if once else None,
            min_step=min_step,
            when=condition,
            scope=scope,
            because=because[0],
            span=entry.key.span,
            when_span=entry.get("when").node.span,
            then_text=proposal.text,
        )
        self._check_once(rule, entry)
        self._check_protective(rule, entry)
        facts = (*facts_of_condition(rule.when), *(facts_of(rule.size) if rule.size else ()))
        self._check_weights(rule.name, facts, scope, entry.key.span)
        canonical: Canonical = {
            "priority": rule.priority,
            "when": unparse(expression),
            "then": rule.then_text,
        }
        canonical |= {"for": list(scope.names)} if scope.names else {}
        canonical |= {"once": once} if once else {}
        canonical |= {"protective": True} if rule.protective else {}
        canonical |= {"min_step": literal_text(min_step, Measure.RATIO)} if rule.is_level else {}
        canonical |= {"because": because[1]} if because[1] else {}
        return rule, canonical

    def _when(self, entry: Entry) -> tuple[Condition, Expression]:
        """Read a condition: a text, or a list under ``all:`` or ``any:``."""
        if not entry.is_mapping:
            expression = entry.expression()
            return self.names.condition(expression), expression
        listed = entry.find("all") or entry.get("any")
        self.reader.check_count(listed.items(), f"'{listed.name}'")
        parts = [self._try(partial(self._when, item)) for item in listed.items()]
        read = [part for part in parts if part]
        if len(read) < len(parts):
            raise SkipError
        if len(read) == 1:
            return read[0]
        every, span = listed.name == "all", listed.key.span
        whole = Logic(every, tuple(expression for _, expression in read), span)
        with self.reader.explaining():  # what could not be read back is too large here, too
            parse(unparse(whole), lambda _start, _end: span)
        return Combined(every, tuple(condition for condition, _ in read)), whole

    def _proposal(self, entry: Entry) -> _Proposal:
        match = _ACTION.fullmatch(entry.text)
        verb = " ".join(match["verb"].split()) if match else ""
        if match is None or bool(match["size"].strip()) != (verb in _SIZED):
            message = f"{shown(entry.text.strip())} is not an action"
            hint = "write: sell all, sell to X, buy to X, buy X, hold"
            self.reader.refuse("action", message, entry.node.span, hint)
        if verb not in _SIZED:
            return _Proposal(Action.HOLD if verb == "hold" else Action.SELL, None, Measure.MONEY, False, verb)
        expression = entry.expression(match.start("size"))
        size = self.names.number(expression)
        if size.unit not in (Measure.MONEY, Measure.QUANTITY) and not is_zero(size):
            message = (
                f"a size is money or a quantity, and {shown(unparse(expression))} is {unit_words(size.unit)}"
            )
            self.reader.refuse("unit", message, expression.span, _money_hint(expression, size))
        action = Action.SELL if verb == "sell to" else Action.BUY
        if isinstance(size, Constant) and (size.value < 0 or (size.value == 0 and action is Action.BUY)):
            message = "nobody can own less than nothing" if size.value < 0 else "this buys nothing"
            self.reader.refuse("range", message, expression.span, "write an amount above 0")
        measure = Measure.QUANTITY if size.unit is Measure.QUANTITY else Measure.MONEY
        return _Proposal(action, size, measure, verb == "buy", f"{verb} {unparse(expression)}")

    def _because(self, entry: Entry | None) -> tuple[tuple[str | Typed, ...], str]:
        """Read a reason: text with expressions in braces; return its parts and its canonical text."""
        if entry is None:
            return (), ""
        text = entry.text
        parts: list[str | Typed] = []
        written: list[str] = []
        at = 0
        for match in _IN_BRACES.finditer(text):
            if match["expression"] is None:
                place = entry.scalar.source_span(match.start(), match.end())
                hint = "write {name of a fact}; braces cannot stand for themselves"
                self.reader.refuse("because", "this brace encloses nothing", place, hint)
            expression = entry.expression(*match.span("expression"))
            value = self.names.number(expression)
            if any(fact.name == "symbol" for fact in facts_of(value)):
                message = "'symbol' is shown with every decision"
                self.reader.refuse("because", message, expression.span, "leave it out")
            parts += [text[at : match.start()], value]
            written += [text[at : match.start()], f"{{{unparse(expression)}}}"]
            at = match.end()
        canonical = "".join((*written, text[at:]))
        if len(canonical) > LONGEST_REASON:
            self.reader.refuse(
                "too-long", f"a reason has at most {LONGEST_REASON} characters", entry.node.span
            )
        return tuple(part for part in (*parts, text[at:]) if part != ""), canonical

    def _min_step(self, entry: Entry | None, proposal: _Proposal | None) -> Decimal:
        if entry is None:
            return MIN_STEP
        if proposal is not None and (proposal.size is None or proposal.additive):
            message = "'min_step' belongs to rules that buy or sell to a level"
            self.reader.refuse("min-step", message, entry.key.span, "delete it")
        literal = entry.literal(Measure.RATIO)
        if not 0 <= literal.value <= 1:
            self.reader.refuse("range", "a share of the level is from 0% to 100%", literal.span, "such as 5%")
        return literal.value

    def _check_once(self, rule: Rule, entry: Entry) -> None:
        if rule.action is Action.HOLD and rule.once is not None:
            message = "'once' belongs to rules that send orders, and 'hold' sends none"
            self.reader.report("once", message, entry.get("once").key.span, "delete it")
        if rule.once is not None or rule.protective:
            return
        crossing = rule.action is Action.BUY and any(c.crossing for c in comparisons_of(rule.when))
        if rule.additive:
            why = "an additive buy repeats at every cycle"
        elif crossing:
            why = "a cross stays true for every cycle of its bar"
        elif _reads_own_size(rule):
            why = "the level moves with the position itself"
        else:
            return
        hint = "add  once: bar  (or day, week, month, position)"
        self.reader.report("once-missing", f"{why}: say how often", entry.get("then").node.span, hint)

    def _check_protective(self, rule: Rule, entry: Entry) -> None:
        if not rule.protective:
            return
        message = ""
        span = entry.get("protective").key.span
        hint = "delete 'protective', or make it a rule that sells"
        if rule.action is not Action.SELL:
            message = "only a rule that sells can be protective"
        elif _HELD not in implied(rule.when):
            message, span = "a protective rule's condition implies 'held', and this does not", rule.when_span
            hint = "begin the condition with  held and ..."
        elif rule.once is not None:
            message, hint = "'once' would stop a protective rule from selling again", "delete one of them"
        elif _reads_own_size(rule):
            message = "a protective level that moves with the position would sell again and again"
            hint = "write  sell all,  or a level that stands still"
        if message:
            self.reader.report("protective", message, span, hint)

    def _check_weights(self, name: str, facts: Iterable[FactRead], scope: Scope, span: Span) -> None:
        """Refuse ``target`` where a symbol has none: it would be Unknown for ever."""
        fact = next((fact for fact in facts if fact.name in ("target", "target_weight")), None)
        places = scope.names or ("",)
        symbol = next((self._unweighted[place] for place in places if place in self._unweighted), None)
        if fact is not None and symbol is not None:
            message = f"'{name}' reads '{fact.name}', and {symbol} has no weight"
            hint = "give the symbol a weight under 'weights:', or write an amount such as 100 USD"
            self.reader.report("weight-missing", message, span, hint)

    def _equal_priorities(self, rules: list[Rule]) -> None:
        by_priority: dict[int, list[Rule]] = defaultdict(list)
        for rule in rules:
            rival = next((other for other in by_priority[rule.priority] if self._rivals(rule, other)), None)
            if rival is not None:
                both = f"'{rule.name}' and '{rival.name}'"
                message = f"{both} have priority {rule.priority} and propose different things"
                self.reader.report("equal-priority", message, rule.span, "give one of them another priority")
            by_priority[rule.priority].append(rule)

    def _rivals(self, a: Rule, b: Rule) -> bool:
        """Say whether two rules may be true of one symbol at once and propose different things."""
        if (a.action, a.size, a.additive) == (b.action, b.size, b.additive):
            return False
        if a.scope.names and b.scope.names and self._covered(a.scope).isdisjoint(self._covered(b.scope)):
            return False
        return not _plainly_disjoint(a, b)

    def _covered(self, scope: Scope) -> frozenset[str]:
        if scope.names not in self._members:
            places = (self._of_class.get(name, (name,)) for name in scope.names)
            self._members[scope.names] = frozenset(symbol for place in places for symbol in place)
        return self._members[scope.names]

    # --- gates --------------------------------------------------------------------------------

    def _gate(self, entry: Entry) -> tuple[Gate, Canonical]:
        if entry.name in RESERVED_GATES:
            message = f"'{entry.name}' is the name of a built-in gate"
            self.reader.refuse("name-taken", message, entry.key.span, "choose another name")
        when = self._try(lambda: self._when(entry.get("when")))
        scope = self._try(lambda: self.names.scope(entry.find("for")))
        vetoes = [item.text for item in entry.get("vetoes").items()]
        passes = entry.word("if_unknown") == "pass"
        if passes and "buy" in vetoes:
            message = "'if_unknown: pass' on a gate that vetoes buys would let a missing fact enable an order"
            hint = "split the gate: one for buys, one for sells"
            self.reader.refuse("gate-pass", message, entry.get("if_unknown").key.span, hint)
        if when is None or scope is None:
            raise SkipError
        condition, expression = when
        self._check_weights(entry.name, facts_of_condition(condition), scope, entry.key.span)
        canonical: Canonical = {"vetoes": vetoes, "when": unparse(expression)}
        canonical |= {"for": list(scope.names)} if scope.names else {}
        canonical |= {"if_unknown": "pass"} if passes else {}
        return Gate(entry.name, frozenset(vetoes), condition, passes, scope, entry.key.span), canonical

    def _integrity_gates(self, selection: Selection) -> Iterator[Gate]:
        """Yield the built-in gates, written in the language itself."""
        for name, vetoes, text in INTEGRITY_GATES:
            if name != "would-exit" or selection is Selection.EXITS_FIRST:
                when = None if text is None else Checker(self.names).condition(parse(text))
                yield Gate(name, vetoes, when, False, Scope(), NOWHERE, reserved=True)

    # --- limits -------------------------------------------------------------------------------

    def _limit(self, entry: Entry) -> tuple[Limit, Canonical]:
        bound_entry = entry.find("at_most") or entry.get("at_least")
        per, kept = entry.word("per"), entry.word("kept")
        scope = self.names.scope(entry.find("for"))
        rate, positions = _RATE.fullmatch(bound_entry.text), _POSITIONS.fullmatch(bound_entry.text)
        bound: Typed | None = None
        count = window_seconds = 0
        if rate:
            kind = LimitKind.BUYS_AT_MOST
            count, window_seconds = int(rate[1]), int(rate[2]) * SECONDS_PER[rate[3]]
            text = f"{count} buys per {duration_text(window_seconds)}"
            if not 0 < window_seconds <= ELAPSED_CAP_SECONDS:
                message = "the window of a rate is above 0 and at most 3650d"
                self.reader.refuse("range", message, bound_entry.node.span, "such as 3 buys per 3m")
        elif positions:
            kind, count = LimitKind.POSITIONS_AT_MOST, int(positions[1])
            text = f"{count} positions"
        else:
            bound, text = self._money(bound_entry)
            self._check_weights(entry.name, facts_of(bound), scope, entry.key.span)
            kind = LimitKind.EXPOSURE_AT_MOST
            if bound_entry.name == "at_least":
                kind = LimitKind.CASH_AT_LEAST if kept else LimitKind.ORDER_AT_LEAST
            elif per == "order":
                kind = LimitKind.ORDER_AT_MOST
        message, hint = _limit_mistake(kind, bound_entry.name, per, kept)
        if message:
            self.reader.refuse("limit", message, entry.key.span, hint)
        whole = kind not in (LimitKind.ORDER_AT_LEAST, LimitKind.ORDER_AT_MOST)
        counted = LimitScope(per) if per else LimitScope.PORTFOLIO if whole else LimitScope.ORDER
        canonical: Canonical = {bound_entry.name: text}
        canonical |= {"kept": kept} if kept else {"per": counted.value}
        canonical |= {"for": list(scope.names)} if scope.names else {}
        return Limit(
            entry.name, kind, counted, bound, count, window_seconds, scope, entry.key.span
        ), canonical

    def _money(self, entry: Entry) -> tuple[Typed, str]:
        if _COUNT_LIKE.match(entry.text):
            message = f"{shown(entry.text.strip())} is neither money nor a count"
            hint = "counts are written  3 positions  or  3 buys per 3m"
            self.reader.refuse("limit", message, entry.node.span, hint)
        expression = entry.expression()
        bound = self.names.number(expression)
        if bound.unit is not Measure.MONEY and not is_zero(bound):
            message = (
                f"a limit is money or a count, and {shown(unparse(expression))} is {unit_words(bound.unit)}"
            )
            hint = (
                _money_hint(expression, bound) or "such as 15% of equity, 100 USD, 3 positions, 3 buys per 3m"
            )
            self.reader.refuse("unit", message, expression.span, hint)
        return bound, unparse(expression)

    # --- orders ------------------------------------------------------------------------------

    def _order_terms(self, side: str) -> tuple[OrderTerms, Canonical]:
        orders = self.root.find("orders")
        entry = orders.find(side) if orders else None
        stated = {found.name: found for found in entry.entries()} if entry else {}
        word = {
            key: found.text for key, found in stated.items() if key in ("type", "time_in_force", "session")
        }
        order_type = word.get("type", "limit")
        good_for = (
            stated["good_for"].duration(ELAPSED_CAP_SECONDS) if "good_for" in stated else DEFAULT_GOOD_FOR
        )
        canonical: Canonical = {"type": order_type, "good_for": duration_text(good_for)}
        limit: Typed | None = None
        if order_type == "limit":
            expression = stated["limit"].expression() if "limit" in stated else parse(DEFAULT_LIMITS[side])
            limit = self.names.number(expression)
            if limit.unit is not Measure.PRICE:
                message = (
                    f"a limit price is a price, and {shown(unparse(expression))} is {unit_words(limit.unit)}"
                )
                self.reader.refuse("unit", message, expression.span, f"such as {DEFAULT_LIMITS[side]}")
            canonical["limit"] = unparse(expression)
        elif "limit" in stated:
            message = "a market order has no limit price"
            hint = "delete 'limit', or write  type: limit"
            self.reader.refuse("orders", message, stated["limit"].key.span, hint)
        time_in_force = word.get("time_in_force", "")  # the venue's usual one where none is stated
        canonical |= {"time_in_force": time_in_force} if time_in_force else {}
        canonical["session"] = session = word.get("session", "regular")
        return OrderTerms(limit, good_for, time_in_force, session == "extended"), canonical


# --- small questions --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Proposal:
    """What stands behind ``then:``; ``text`` is canonical."""

    action: Action
    size: Typed | None
    measure: Measure
    additive: bool
    text: str


_ACTION: Final = re.compile(r"\s*(?P<verb>hold|sell\s+all|sell\s+to|buy\s+to|buy)\b(?P<size>.*)", re.DOTALL)
_SIZED: Final = ("sell to", "buy to", "buy")
_IN_BRACES: Final = re.compile(r"\{(?P<expression>[^{}]+)\}|[{}]")
_RATE: Final = re.compile(r"\s*([1-9][0-9]{0,5})\s+buys?\s+per\s+([0-9]{1,6})([smhdw])\s*")
_POSITIONS: Final = re.compile(r"\s*([1-9][0-9]{0,5})\s+positions?\s*")
_COUNT_LIKE: Final = re.compile(r"\s*[0-9]+\s+[a-z]")
_HELD: Final = ("held", Comparison.EQUAL, Decimal(1))
_NO_TERMS: Final = OrderTerms(None, None, "", False)


def _texts(made: Mapping[str, Mapping[str, tuple[object, Canonical]]]) -> Canonical:
    """Return the canonical forms of some sections."""
    return {section: {name: text for name, (_, text) in entries.items()} for section, entries in made.items()}


def _json_number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _money_hint(expression: Expression, typed: Typed) -> str:
    if typed.unit is Measure.SCALAR and isinstance(expression, Literal):
        return f"write {decimal_text(expression.value)} USD"
    return f"of what? write  {unparse(expression)} of equity" if typed.unit is Measure.RATIO else ""


def _limit_mistake(kind: LimitKind, key: str, per: str, kept: str) -> tuple[str, str]:
    """Return what does not go together in a limit, and what to do; empty texts where all does."""
    if kind in (LimitKind.BUYS_AT_MOST, LimitKind.POSITIONS_AT_MOST):
        one = ("order",) if kind is LimitKind.BUYS_AT_MOST else ("order", "symbol")
        if key == "at_least":
            return "a count is bounded from above", "write 'at_most'"
        if per in one:
            return f"there is one of it per {per} at most", "write  per: class,  or leave 'per' out"
    if kept and kind is not LimitKind.CASH_AT_LEAST:
        return "'kept' goes with an 'at_least' of money", "delete 'kept'"
    if kind is LimitKind.CASH_AT_LEAST and per:
        return "cash is kept for the account as a whole", "delete 'per'"
    if kind is LimitKind.ORDER_AT_LEAST and per != "order":
        return "'at_least' bounds an order or the cash that is kept", "add  per: order  or  kept: cash"
    return "", ""


def _reads_own_size(rule: Rule) -> bool:
    """Say whether a level moves with the position that it is for."""
    size = () if rule.size is None or rule.additive else facts_of(rule.size)
    return any(fact.name in POSITION_SIZE_FACTS for fact in size)


def _plainly_disjoint(a: Rule, b: Rule) -> bool:
    """Say whether words, or what a sell implies, keep two rules from being true together."""
    fixed = [{*implied(rule.when), *([_HELD] if rule.action is Action.SELL else [])} for rule in (a, b)]
    return any(
        name == other and _exclude((comparison, value), (other_comparison, other_value))
        for name, comparison, value in fixed[0]
        for other, other_comparison, other_value in fixed[1]
    )


def _exclude(a: tuple[Comparison, Decimal], b: tuple[Comparison, Decimal]) -> bool:
    """Say whether ``x == 1`` and ``x == 2``, or ``x == 1`` and ``x != 1``, meet."""
    comparisons = {a[0], b[0]}
    if comparisons == {Comparison.EQUAL}:
        return a[1] != b[1]
    return comparisons == {Comparison.EQUAL, Comparison.NOT_EQUAL} and a[1] == b[1]
