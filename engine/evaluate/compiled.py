"""The compiled evaluator: one Python function per policy.

A condition becomes two plain expressions, "is definitely true" and "is definitely false", with
negation pushed down to the comparisons.  Unknown is NaN, and every comparison with NaN is false, so a
condition of which neither holds is Unknown: three-valued logic without a test for NaN, and with
the short circuits of ``and`` and ``or``.  Most conditions are definitely false most of the time, so
that question is asked first.

The source holds integers, floats and generated names only; no text of a policy reaches it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from engine.codes import Action, Disposition, Side, Truth
from engine.evaluate.verdict import WOULD_EXIT, Verdict
from engine.lowered import (
    ArithmeticTerm,
    Atom,
    Comparison,
    ConstantTerm,
    FactTerm,
    LoweredGate,
    LoweredPolicy,
    LoweredRule,
    LoweredSignal,
    LoweredVote,
    NodeKind,
    Operator,
    Selection,
    StepTerm,
    Term,
)
from engine.units import GRID_PER_UNIT, Measure, quantise

_T = TypeVar("_T")
_NAN = math.nan
_CACHE_ENTRIES = 4096
"""Bound of each cache below; a policy in use meets some dozens of different keys."""

# --- what generated code calls ------------------------------------------------------------------

_ROUND_BY = 1.5 * 2.0**52
"""Adding and then subtracting it rounds a float below 2**51 to an integer, half to even: floats
between 2**52 and 2**53 are one apart, and this one is even.  Three times as fast as ``round``."""
_ROUND_BELOW = 2.0**51


def _finite(value: float) -> float:
    """Return a number, or NaN for one that is not finite."""
    return value if value - value == 0.0 else _NAN


def _on_grid(value: float, steps_per_unit: float) -> float:
    """Quantise a number; NaN for one that is not finite."""
    scaled = value * steps_per_unit
    if -_ROUND_BELOW < scaled < _ROUND_BELOW:
        return (scaled + _ROUND_BY - _ROUND_BY) / steps_per_unit
    return quantise(value, int(steps_per_unit)) if value - value == 0.0 else _NAN


class _Cache(dict[int, _T]):
    """A function of an integer that remembers what it returned."""

    def __init__(self, make: Callable[[int], _T]) -> None:
        self._make = make

    def __missing__(self, key: int) -> _T:
        if len(self) >= _CACHE_ENTRIES:
            self.clear()
        value = self[key] = self._make(key)
        return value


def _members(mask: int) -> tuple[int, ...]:
    """Return the positions of the bits of a mask, ascending."""
    return tuple(position for position in range(mask.bit_length()) if mask >> position & 1)


def _truths(count: int, masks: int) -> bytes:
    """Return the truth of each of ``count`` rules, from ``true_mask | unknown_mask << count``."""
    # The masks are disjoint.
    return bytes(
        (masks >> rule & 1) * Truth.TRUE + (masks >> rule + count & 1) * Truth.UNKNOWN
        for rule in range(count)
    )


def _quiet(count: int, unknown: int) -> Verdict:
    """Return the verdict where no rule is true, from the mask of the Unknown ones."""
    return Verdict(-1, _truths(count, unknown << count), bytes(count), (-1,) * count)


_VOTES_BUY, _VOTES_SELL, _VOTES_HOLD = 1, 2, 3
_UNKNOWN_SIGNAL = (_NAN,) * 5


def _tally(votes: tuple[LoweredVote, ...], ballots: int) -> tuple[float, ...]:
    """Return the five slots of a signal from its ballots: two bits for each vote, in order."""
    weights = [0, 0, 0]
    for position, vote in enumerate(votes):
        ballot = ballots >> 2 * position & 3
        if ballot:
            weights[ballot - 1] += vote.hold_weight if ballot == _VOTES_HOLD else vote.weight
    _, second, first = sorted(weights)
    side, confidence = Side.NONE, 0.0
    if first > second:
        side = (Side.BUY, Side.SELL, Side.HOLD)[weights.index(first)]
        confidence = quantise(first / sum(weights), 100)
    return (float(side), confidence, *(weight / 1_000_000 for weight in weights))


# --- conditions as text -------------------------------------------------------------------------


class _Condition(NamedTuple):
    """A two-valued expression."""

    text: str
    loose: bool = False  # binds no tighter than ``or``: within ``and`` it needs parentheses


_ALWAYS = _Condition("True")
_NEVER = _Condition("False")


def _every(parts: Iterable[_Condition]) -> _Condition:
    kept = [part for part in dict.fromkeys(parts) if part != _ALWAYS]
    if _NEVER in kept:
        return _NEVER
    if len(kept) < 2:
        return kept[0] if kept else _ALWAYS
    return _Condition(" and ".join(f"({part.text})" if part.loose else part.text for part in kept))


def _some(parts: Iterable[_Condition]) -> _Condition:
    kept = [part for part in dict.fromkeys(parts) if part != _NEVER]
    if _ALWAYS in kept:
        return _ALWAYS
    if len(kept) < 2:
        return kept[0] if kept else _NEVER
    return _Condition(" or ".join(part.text for part in kept), loose=True)


def _indented(lines: Iterable[str]) -> list[str]:
    return ["    " + line for line in lines]


def _branches(cases: list[tuple[_Condition, list[str]]], otherwise: list[str]) -> list[str]:
    """Return ``if``, ``elif`` and ``else`` lines, without what can never or must always be taken."""
    lines: list[str] = []
    for condition, body in cases:
        if condition == _NEVER:
            continue
        if condition == _ALWAYS:
            otherwise = body
            break
        lines += [f"{'elif' if lines else 'if'} {condition.text}:", *_indented(body or ["pass"])]
    if not lines:
        return otherwise
    return [*lines, "else:", *_indented(otherwise)] if otherwise else lines


# --- numbers as text ----------------------------------------------------------------------------


class _Number(NamedTuple):
    """An expression that stands alone in any context."""

    text: str
    finite: bool  # never infinite: a fact, a constant, or checked
    depth: int = 0


def _literal(value: float) -> str:
    return f"({value!r})" if value < 0 else repr(value)


def _is_constant(term: Term) -> bool:
    match term:
        case FactTerm():
            return False
        case ConstantTerm():
            return True
        case ArithmeticTerm(_, operands):
            return all(_is_constant(operand) for operand in operands)
        case StepTerm(by, _, _):
            return _is_constant(by)


_DEEP = 12
"""Depth (of a number) or height (of a condition) beyond which a part gets a variable of its own:
the parser's limit is 200 nested parentheses."""
_LARGE = 24
"""Comparisons in a condition used more than once, beyond which it is evaluated once, ahead."""

_TRUE_TEXT = {
    Comparison.LESS: _Condition("{0} < {1}"),
    Comparison.LESS_OR_EQUAL: _Condition("{0} <= {1}"),
    Comparison.GREATER: _Condition("{0} > {1}"),
    Comparison.GREATER_OR_EQUAL: _Condition("{0} >= {1}"),
    Comparison.EQUAL: _Condition("{0} == {1}"),
    # Not ``!=``: that is true of NaN.
    Comparison.NOT_EQUAL: _Condition("{0} < {1} or {0} > {1}", loose=True),
}
_INFIX = {Operator.ADD: " + ", Operator.SUBTRACT: " - ", Operator.MULTIPLY: " * "}

_NAMESPACE: dict[str, Any] = {
    "nan": _NAN,
    "inf": math.inf,
    "log": math.log,
    "bisect": bisect_right,
    "finite": _finite,
    "on_grid": _on_grid,
    "UNKNOWN_SIGNAL": _UNKNOWN_SIGNAL,
    "Verdict": Verdict,
    "new": tuple.__new__,
}


class _Function:
    """The text of one generated function while it is written.

    Names: ``f`` facts, ``c`` computed operands (evaluated when first needed, by the functions ``q``),
    ``x`` deep numbers and ``n`` deep or large shared conditions (evaluated ahead), ``t`` temporaries.
    """

    def __init__(
        self, policy: LoweredPolicy, operands: _Operands, apart: frozenset[int] = frozenset()
    ) -> None:
        self._policy = policy
        self._operands = operands
        self._apart = apart
        self._lines: list[str] = []
        self._ahead: list[str] = []
        self._facts: set[int] = set()
        self._cells: set[int] = set()
        self._deep: dict[Term, str] = {}
        self._nodes: dict[int, str] = {}
        self._temporaries = 0

    def phase(self, lines: list[str]) -> None:
        """Append lines, after whatever they need evaluated ahead."""
        self._lines += self._ahead + lines
        self._ahead = []

    def text(self, head: str) -> str:
        """Return the function's source."""
        count = len(self._policy.slots)
        opening = []
        if 3 * len(self._facts) > count:
            names = [f"f{slot}" if slot in self._facts else "_" for slot in range(count)]
            opening.append(f"{', '.join(names)}, = values")
        else:
            opening += [f"f{slot} = values[{slot}]" for slot in sorted(self._facts)]
        if self._cells:
            opening.append(" = ".join([*(f"c{cell}" for cell in sorted(self._cells)), "None"]))
        return "\n".join([f"def {head}:", *_indented(opening + self._lines), "", ""])

    # --- numbers

    def fact(self, slot: int) -> str:
        """Return the name of a slot's value."""
        self._facts.add(slot)
        return f"f{slot}"

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"t{self._temporaries}"

    def number(self, term: Term) -> _Number:
        """Return a term as an expression, NaN where Unknown; infinite only where ``finite`` is false."""
        if term in self._deep:
            return _Number(self._deep[term], finite=False)
        match term:
            case FactTerm(slot):
                return _Number(self.fact(slot), finite=True)
            case ConstantTerm(value):
                return _Number(_literal(value), finite=True)
            case StepTerm(by, thresholds, values):
                number = self._steps(self.number(by), thresholds, values)
            case ArithmeticTerm(operator, operands):
                number = self._arithmetic(operator, [self.number(operand) for operand in operands])
        if _is_constant(term):
            return _Number(_literal(_finite(eval(number.text, _NAMESPACE.copy()))), finite=True)
        if number.depth < _DEEP:
            return number
        self._deep[term] = name = f"x{len(self._deep)}"
        self._ahead.append(f"{name} = {number.text}")
        return _Number(name, finite=False)

    def _steps(self, by: _Number, thresholds: tuple[float, ...], values: tuple[float, ...]) -> _Number:
        at = self._temporary()
        first, *others = thresholds
        table = f"({', '.join(map(repr, values))},)[bisect([{', '.join(map(repr, others))}], {at})]"
        text = f"({table} if ({at} := {_checked(by)}) >= {_literal(first)} else nan)"
        return _Number(text, finite=True, depth=by.depth + 1)

    def _arithmetic(self, operator: Operator, operands: list[_Number]) -> _Number:
        depth = max(operand.depth for operand in operands) + 1
        first, *others = operands
        if operator in _INFIX:
            # What is not finite stays so through these, and is found at the end.
            return _Number(f"({_INFIX[operator].join(o.text for o in operands)})", False, depth)
        if operator is Operator.NEGATE:
            return _Number(f"(-{first.text})", first.finite, depth)
        if operator is Operator.ABSOLUTE:
            return _Number(f"abs({first.text})", first.finite, depth)
        if operator is Operator.LOGARITHM:
            name = self._temporary()
            return _Number(f"(log({name}) if ({name} := {first.text}) > 0.0 else nan)", first.finite, depth)
        text = first.text if operator is Operator.DIVIDE else _checked(first)
        for other in others:
            right = self._temporary()
            if operator is Operator.DIVIDE:
                text = f"({text} / {right} if ({right} := {_checked(other)}) else nan)"
            else:
                left = self._temporary()
                keeps, takes = ("<=", "<") if operator is Operator.MINIMUM else (">=", ">")
                text = (
                    f"({left} if ({left} := {text}) {keeps} ({right} := {_checked(other)}) "
                    f"else {right} if {right} {takes} {left} else nan)"
                )
            depth += 1
        return _Number(text, operator is not Operator.DIVIDE, depth)

    def on_grid(self, term: Term, steps_per_unit: int) -> str:
        """Return a term put on a grid, as an expression; NaN where Unknown."""
        text = f"on_grid({self.number(term).text}, {float(steps_per_unit)!r})"
        if _is_constant(term):
            return _literal(eval(text, _NAMESPACE.copy()))
        return text

    def _operand(self, term: Term, steps_per_unit: int) -> str:
        """Return an operand of a comparison; a computed one is evaluated when first needed."""
        if isinstance(term, FactTerm | ConstantTerm):
            return self.number(term).text
        if _is_constant(term):
            return self.on_grid(term, steps_per_unit)
        cell, slots = self._operands.function(self._policy, term, steps_per_unit)
        self._cells.add(cell)
        arguments = ", ".join(map(self.fact, slots))
        return f"(c{cell} if c{cell} is not None else (c{cell} := q{cell}({arguments})))"

    # --- conditions

    def holds(self, node: int, wanted: bool) -> _Condition:
        """Return the expression "the node is definitely ``wanted``"."""
        if node not in self._apart:
            return self._holds(node, wanted)
        if node not in self._nodes:
            # From the bottom up, so that no depth of nesting is too deep.
            for part in self._parts_apart(node):
                true, false = self._holds(part, True), self._holds(part, False)
                self._nodes[part] = name = f"n{part}"
                self._ahead.append(f"{name} = 0 if {false.text} else 1 if {true.text} else 2")
        return _Condition(f"{self._nodes[node]} == {int(wanted)}")

    def _parts_apart(self, node: int) -> list[int]:
        """Return the nodes at and below ``node`` that want a variable and have none, children first."""
        found: set[int] = set()
        waiting = [node]
        while waiting:
            part = waiting.pop()
            if part not in self._nodes and part not in found:
                found.add(part)
                waiting += self._policy.nodes[part].children
        return sorted(found & self._apart)

    def _holds(self, node: int, wanted: bool) -> _Condition:
        lowered = self._policy.nodes[node]
        match lowered.kind:
            case NodeKind.CONSTANT:
                return _ALWAYS if lowered.atom == (Truth.TRUE if wanted else Truth.FALSE) else _NEVER
            case NodeKind.ATOM:
                return self._compares(self._policy.atoms[lowered.atom], wanted)
            case NodeKind.NOT:
                return self.holds(lowered.children[0], not wanted)
        parts = [self.holds(child, wanted) for child in lowered.children]
        return _every(parts) if (lowered.kind is NodeKind.ALL) == wanted else _some(parts)

    def _compares(self, atom: Atom, wanted: bool) -> _Condition:
        comparison = atom.comparison if wanted else atom.comparison.negated
        right = atom.right
        if (
            comparison is Comparison.NOT_EQUAL
            and atom.unit is Measure.BOOLEAN
            and isinstance(right, ConstantTerm)
            and right.value in (0.0, 1.0)
        ):
            comparison, right = Comparison.EQUAL, ConstantTerm(1.0 - right.value)
        condition = _TRUE_TEXT[comparison]
        text = condition.text.format(
            self._operand(atom.left, atom.steps_per_unit), self._operand(right, atom.steps_per_unit)
        )
        if _is_constant(atom.left) and _is_constant(right):
            return _ALWAYS if eval(text, _NAMESPACE.copy()) else _NEVER
        return condition._replace(text=text)

    def decide(self, node: int, when_true: list[str], when_unknown: list[str]) -> list[str]:
        """Return statements that do nothing where the node is false."""
        if when_true == when_unknown:
            return _branches([(self.holds(node, False), [])], when_true)
        if not when_unknown:
            return _branches([(self.holds(node, True), when_true)], [])
        return _branches([(self.holds(node, False), []), (self.holds(node, True), when_true)], when_unknown)

    # --- signals

    def signal(self, index: int, signal: LoweredSignal) -> list[str]:
        """Return the statements that count a signal's votes (unless it is stated) and write its slots.

        ``b`` holds the ballots; ``y`` and ``z`` say whether the signal is Unknown, as exits read it and as
        entries do.
        """
        flags = {"y": signal.slots}
        if signal.entry_slots != signal.slots:
            flags["z"] = signal.entry_slots
        lines = ["b = 0", *(f"{flag} = False" for flag in flags)]
        for position, vote in enumerate(signal.votes):
            raised = [flag for flag in flags if flag == "z" or not vote.abstain]
            lines += self._vote(position, vote, [f"{flag} = True" for flag in raised])
        writes = [(slots, f"UNKNOWN_SIGNAL if {flag} else TALLY{index}[b]") for flag, slots in flags.items()]
        for slots, value in writes:
            names = ", ".join(self.fact(slot) for slot in slots)
            first, last = slots[0], slots[-1]
            if slots == tuple(range(first, last + 1)):
                places = f"values[{first}:{last + 1}]"
            else:
                places = ", ".join(f"values[{slot}]" for slot in slots)
            lines.append(f"{names} = {places} = {value}")
        return [f"if not stated & {1 << index}:", *_indented(lines)]

    def _vote(self, position: int, vote: LoweredVote, unknown: list[str]) -> list[str]:
        def casts(ballot: int, weight: int) -> list[str]:
            return [f"b |= {ballot << 2 * position}"] if weight else []

        def truth(node: int) -> tuple[_Condition, _Condition]:
            return (self.holds(node, False), self.holds(node, True)) if node >= 0 else (_ALWAYS, _NEVER)

        no_buy, buy = truth(vote.buy)
        no_sell, sell = truth(vote.sell)
        neither = casts(_VOTES_HOLD, vote.hold_weight)
        return _branches(
            [
                (
                    no_buy,
                    _branches([(no_sell, neither), (sell, casts(_VOTES_SELL, vote.weight))], unknown),
                ),
                # Both true casts nothing.
                (buy, _branches([(no_sell, casts(_VOTES_BUY, vote.weight)), (sell, [])], unknown)),
            ],
            unknown,
        )

    def result(self, name: str, term: Term, steps_per_unit: int) -> tuple[str, tuple[int, ...]]:
        """Return the source of a function from facts to a term on a grid, and the slots it is given."""
        value = self.on_grid(term, steps_per_unit)
        slots = tuple(sorted(self._facts))
        head = f"def {name}({', '.join(map(self.fact, slots))}):"
        return "\n".join([head, *_indented([*self._ahead, f"return {value}"]), "", ""]), slots


class _Operands:
    """The computed operands of comparisons: one function each, whatever reads it."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self._known: dict[tuple[Term, int], tuple[int, tuple[int, ...]]] = {}

    def function(self, policy: LoweredPolicy, term: Term, steps_per_unit: int) -> tuple[int, tuple[int, ...]]:
        """Return the number of the function ``q``, and the slots it is given."""
        key = (term, steps_per_unit)
        if key not in self._known:
            number = len(self.sources)
            source, slots = _Function(policy, self).result(f"q{number}", term, steps_per_unit)
            self.sources.append(source)
            self._known[key] = (number, slots)
        return self._known[key]


def _checked(number: _Number) -> str:
    return number.text if number.finite else f"finite({number.text})"


# --- the whole policy ---------------------------------------------------------------------------


def _mask(positions: Iterable[int]) -> int:
    return sum(1 << position for position in positions)


class _Generator:
    """Writes the functions of one policy and the tables they read."""

    def __init__(self, policy: LoweredPolicy) -> None:
        self._policy = policy
        rules = policy.rules
        self._count = len(rules)
        of = {action: _mask(i for i, rule in enumerate(rules) if rule.action is action) for action in Action}
        self._buys, self._sells, self._holds = of[Action.BUY], of[Action.SELL], of[Action.HOLD]
        self._operands = _Operands()
        self._apart = self._nodes_apart()
        # Equal nodes count as one.
        self._first = {node: index for index, node in reversed(list(enumerate(policy.nodes)))}
        protective = _mask(i for i, rule in enumerate(rules) if rule.protective)
        self._protective, self._ordinary = self._sells & protective, self._sells & ~protective
        self._gates = tuple(_mask(self._speaking(index, rule)) for index, rule in enumerate(rules))
        two_readings = _mask(i for i, gate in enumerate(policy.gates) if gate.when != gate.when_entry)
        passing = _mask(i for i, gate in enumerate(policy.gates) if gate.pass_if_unknown)
        self._stoppers = tuple(
            gates & (two_readings if rule.protective else two_readings | ~passing)
            for gates, rule in zip(self._gates, rules, strict=True)
        )
        self._stoppable = self._buys | _mask(
            i for i, stoppers in enumerate(self._stoppers) if stoppers and self._sells >> i & 1
        )
        self.namespace: dict[str, Any] = {
            **_NAMESPACE,
            "MEMBERS": _Cache(_members),
            "TRUTHS": _Cache(partial(_truths, self._count)),
            "QUIET": _Cache(partial(_quiet, self._count)),
            "GATES": self._gates,
            # Of each rule, the gates that stop it while they are Unknown, as entries read them.
            "STOPPERS": self._stoppers,
            # Of each rule, the ones whose Unknown withholds it if it is an entry.
            "WITHHOLDING": tuple(self._sells | (1 << index) - 1 for index in range(self._count)),
            "SAME_ACTION": tuple(of[rule.action] for rule in rules),
            **{
                f"TALLY{index}": _Cache(partial(_tally, signal.votes))
                for index, signal in enumerate(policy.signals)
            },
        }

    def _speaking(self, index: int, rule: LoweredRule) -> list[int]:
        """Return the gates that can veto a rule."""

        def vetoes(gate: LoweredGate) -> bool:
            match rule.action:
                case Action.BUY:
                    return gate.vetoes_buy
                case Action.SELL:
                    return gate.vetoes_protective if rule.protective else gate.vetoes_sell
                case _:
                    return False

        return [
            position
            for position, gate in enumerate(self._policy.gates)
            if vetoes(gate) and gate.only_rule in (-1, index)
        ]

    def _nodes_apart(self) -> frozenset[int]:
        """Return the nodes that get a variable of their own, lest expressions grow without bound."""
        policy = self._policy
        uses = Counter(child for node in policy.nodes for child in node.children)
        uses.update(node for rule in policy.rules for node in (rule.when, rule.when_entry))
        uses.update(node for gate in policy.gates for node in (gate.when, gate.when_entry))
        for signal in policy.signals:
            uses.update(node for vote in signal.votes for node in (vote.buy, vote.sell))
        apart: set[int] = set()
        sizes: list[int] = []
        heights: list[int] = []
        for index, node in enumerate(policy.nodes):
            size = sum(sizes[child] for child in node.children) or 1
            height = max((heights[child] + 1 for child in node.children), default=0)
            if height > _DEEP or (size > _LARGE and uses[index] > 1):
                apart.add(index)
                size, height = 1, 0
            sizes.append(size)
            heights.append(height)
        return frozenset(apart)

    def source(self) -> str:
        """Return the text of all functions."""
        policy = self._policy
        parts = [self._verdict(), self._standing_exit()]
        for index, rule in enumerate(policy.rules):
            parts.append(self._value(f"size{index}", rule.size, rule.size_measure, absent="0.0"))
        for index, limit in enumerate(policy.limits):
            parts.append(self._value(f"bound{index}", limit.bound, Measure.MONEY))
        parts.append(self._value("sell_price", policy.sell_style.limit, Measure.PRICE))
        parts.append(self._value("buy_price", policy.buy_style.limit, Measure.PRICE))
        parts += [self._level_after(index) for index in self._trims()]
        return "\n".join(self._operands.sources + parts)

    def _function(self) -> _Function:
        """Return a function that has counted the votes."""
        function = _Function(self._policy, self._operands, self._apart)
        for index, signal in enumerate(self._policy.signals):
            function.phase(function.signal(index, signal))
        return function

    # --- the choice

    def _verdict(self) -> str:
        function = self._function()
        choice = self._exits_first(function) if self._exits_come_first else self._by_priority(function)
        function.phase(
            [
                "m = u = 0",
                *self._matches(function),
                "if m:",
                *_indented([f"d, c = bytearray({self._count}), [-1] * {self._count}", *choice]),
                f"    return new(Verdict, (w, TRUTHS[m | u << {self._count}], bytes(d), tuple(c)))",
                "return QUIET[u]",
            ]
        )
        return function.text("verdict(values, stated=0, would_exit=0, would_exit_unknown=0)")

    @property
    def _exits_come_first(self) -> bool:
        return self._policy.selection is Selection.EXITS_FIRST

    def _conjuncts(self, node: int) -> list[int]:
        lowered = self._policy.nodes[node]
        if lowered.kind is not NodeKind.ALL or node in self._apart:
            return [self._first[lowered]]
        return [part for child in lowered.children for part in self._conjuncts(child)]

    def _matches(self, function: _Function) -> list[str]:
        """Set ``m`` and ``u``: the rules that are true, and Unknown.

        Rules that share a conjunct (``held``) are skipped together where it is false.
        """
        left = {index: self._conjuncts(rule.when) for index, rule in enumerate(self._policy.rules)}
        lines: list[str] = []
        while left:
            shared = Counter(part for parts in left.values() for part in dict.fromkeys(parts))
            part, count = max(shared.items(), key=lambda item: item[1], default=(-1, 1))
            grouped = [index for index, parts in left.items() if part in parts] if count > 1 else list(left)
            inner: list[str] = []
            for index in grouped:
                others = [other for other in left.pop(index) if count == 1 or other != part]
                inner += _branches(
                    [
                        (_some(function.holds(other, False) for other in others), []),
                        (function.holds(self._policy.rules[index].when, True), [f"m |= {1 << index}"]),
                    ],
                    [f"u |= {1 << index}"],
                )
            lines += _branches([(function.holds(part, False), [])], inner) if count > 1 else inner
        return lines

    def _stopping(self, rules: int, gates_of: tuple[int, ...]) -> int:
        """Return the gates, of those each rule has, that any of these rules has."""
        stopping = 0
        for rule, gates in enumerate(gates_of):
            if rules >> rule & 1:
                stopping |= gates
        return stopping

    def _exits(self, function: _Function, stands: list[str]) -> list[str]:
        """Veto the sells; those no gate stops do ``stands``.

        ``g`` and ``h`` are the gates that stop ordinary and protective sells.
        """
        if not self._sells:
            return []
        ordinary = self._stopping(self._ordinary, self._gates)
        protective = self._stopping(self._protective, self._gates)
        lines: list[str] = []
        for index, gate in enumerate(self._policy.gates):
            stops = [f"g |= {1 << index}"] if ordinary >> index & 1 else []
            stops_protective = [f"h |= {1 << index}"] if protective >> index & 1 else []
            if stops or stops_protective:
                unknown = [] if gate.pass_if_unknown else stops
                lines += function.decide(gate.when, stops + stops_protective, unknown)
        return [
            f"e = m & {self._sells}",
            "if e:",
            *_indented(["g = h = 0", *lines]),
            "    for r in MEMBERS[e]:",
            f"        k = (h if {self._protective} >> r & 1 else g) & GATES[r]",
            "        if k:",
            f"            d[r] = {int(Disposition.VETOED)}",
            "            c[r] = MEMBERS[k][0]",
            "        else:",
            *_indented(_indented(_indented(stands))),
        ]

    def _entries(self, function: _Function) -> list[str]:
        """Veto and withhold the buys; add to ``s`` the ones that stand.

        ``p`` and ``q`` are the gates that are definitely true and Unknown, as entries read them; ``a``
        the buys that none stops.  A gate that is not definitely false and speaks of every buy leaves
        none to withhold, and is in ``p``.
        """
        if not self._buys:
            return []
        would_exit = next((i for i, gate in enumerate(self._policy.gates) if gate.name == WOULD_EXIT), -1)
        stops_buys = self._stopping(self._buys, self._gates)
        sells = self._stoppable & self._sells
        stops_sells, counts = self._stopping(sells, self._gates), self._stopping(sells, self._stoppers)
        buy_gates: list[str] = []
        sell_gates: list[str] = []
        for index, gate in enumerate(self._policy.gates):
            true, unknown = [f"p |= {1 << index}"], [f"q |= {1 << index}"]
            if gate.pass_if_unknown and gate.when == gate.when_entry:
                unknown = []
            elif stops_buys >> index & 1 and gate.only_rule < 0:
                unknown = true
            if stops_buys >> index & 1:
                buy_gates += function.decide(gate.when_entry, true, unknown)
            elif stops_sells >> index & 1:
                sell_gates += function.decide(gate.when_entry, true, unknown if counts >> index & 1 else [])
        tried = [
            "elif (would_exit | would_exit_unknown) >> r & 1:",
            f"    d[r] = {int(Disposition.VETOED)}",
            f"    c[r] = {would_exit}",
        ]
        withheld = [
            *self._entry_readings(function),
            f"k = j | would_exit_unknown & ~would_exit & {self._buys}",
            *sell_gates,
            # True, but stopped by Unknown gates only.
            "for r in MEMBERS[i]:",
            "    if not p & GATES[r] and q & STOPPERS[r]:",
            "        k |= 1 << r",
            "for r in MEMBERS[a]:",
            "    v = k & WITHHOLDING[r]",
            "    if v:",
            f"        d[r] = {int(Disposition.UNKNOWN)}",
            "        c[r] = MEMBERS[v][0]",
            "    else:",
            "        s |= 1 << r",
        ]
        return [
            f"e = m & {self._buys}",
            "if e:",
            *_indented(["p = q = a = 0", *buy_gates]),
            "    for r in MEMBERS[e]:",
            "        k = (p | q) & GATES[r]",
            "        if k:",
            f"            d[r] = {int(Disposition.VETOED)}",
            "            c[r] = MEMBERS[k][0]",
            *_indented(_indented(tried if would_exit >= 0 else [])),
            "        else:",
            "            a |= 1 << r",
            "    if a:",
            *_indented(_indented(withheld)),
        ]

    def _entry_readings(self, function: _Function) -> list[str]:
        """Set ``i`` and ``j``, as entries read the rules: true (what Unknown gates may stop) and Unknown."""
        lines: list[str] = []
        stoppable = self._stoppable
        differing = 0
        for index, rule in enumerate(self._policy.rules):
            if rule.when_entry != rule.when:
                differing |= 1 << index
                true = [f"i |= {1 << index}"] if stoppable >> index & 1 else []
                lines += function.decide(rule.when_entry, true, [f"j |= {1 << index}"])
        same = (1 << self._count) - 1 & ~differing
        return [f"i = m & {stoppable & same}", f"j = u & {same}", *lines]

    def _settle(self, standing: str, concurring: str) -> list[str]:
        """Give the standing candidates their dispositions; ``w`` won."""
        concurred, outranked = int(Disposition.CONCURRED), int(Disposition.OUTRANKED)
        return [
            f"for r in MEMBERS[{standing}]:",
            f"    d[r] = {concurred} if {concurring} >> r & 1 else {outranked}",
            "    c[r] = w",
            f"d[w] = {int(Disposition.ACTED)}",
            "c[w] = -1",
        ]

    def _exits_first(self, function: _Function) -> list[str]:
        trims = self._trims()
        stands = ["s |= 1 << r"]
        winner: list[str] = []
        if trims:
            levels = " ".join(f"level{index}(values) if r == {index} else" for index in trims)
            stands += [f"l = {levels} 0.0", "if w == -1 or l < o:", "    w, o = r, l"]
        else:
            winner = ["w = MEMBERS[s][0]"]
        return [
            "s = 0",
            "w = -1",
            *self._exits(function, stands),
            "if s:",
            *_indented([*winner, *self._settle(f"s | m & {self._buys | self._holds}", str(self._sells))]),
            "else:",
            *_indented(
                [
                    f"s = m & {self._holds}",
                    *self._entries(function),
                    "if s:",
                    "    w = MEMBERS[s][0]",
                    *_indented(self._settle("s", "SAME_ACTION[w]")),
                ]
            ),
        ]

    def _by_priority(self, function: _Function) -> list[str]:
        return [
            f"s = m & {self._holds}",
            "w = -1",
            *self._exits(function, ["s |= 1 << r"]),
            *self._entries(function),
            "if s:",
            "    w = MEMBERS[s][0]",
            *_indented(self._settle("s", "SAME_ACTION[w]")),
        ]

    # --- what surrounds the choice

    def _standing_exit(self) -> str:
        function = self._function()
        lines = ["k = -1"]
        for index, rule in enumerate(self._policy.rules):
            if rule.action is Action.SELL:
                true = [f"return ({int(Truth.TRUE)}, {index})"]
                lines += function.decide(rule.when_entry, true, ["if k == -1:", f"    k = {index}"])
        lines.append(f"return ({int(Truth.FALSE)}, -1) if k == -1 else ({int(Truth.UNKNOWN)}, k)")
        function.phase(lines)
        return function.text("standing_exit(values, stated=0)")

    def _value(self, name: str, term: Term | None, measure: Measure, absent: str = "nan") -> str:
        function = _Function(self._policy, self._operands)
        value = absent if term is None else function.on_grid(term, GRID_PER_UNIT[measure])
        function.phase([f"return {value}"])
        return function.text(f"{name}(values)")

    def _trims(self) -> tuple[int, ...]:
        """Return the sells that may leave something, where that decides."""
        if not self._exits_come_first:
            return ()
        rules = enumerate(self._policy.rules)
        return tuple(i for i, rule in rules if rule.action is Action.SELL and rule.size is not None)

    def _level_after(self, index: int) -> str:
        """Return the function for the position value a sell would leave; infinite where Unknown."""
        function = _Function(self._policy, self._operands)
        in_quantity = self._policy.rules[index].size_measure is Measure.QUANTITY
        owned = function.fact(self._policy.slot("position_qty" if in_quantity else "position_value"))
        price = f" * {function.fact(self._policy.slot('price'))}" if in_quantity else ""
        function.phase(
            [
                f"x = size{index}(values)",
                f"x = x if x <= {owned} else {owned} if {owned} < x else nan",
                f"x = on_grid(x{price}, {float(GRID_PER_UNIT[Measure.MONEY])!r})",
                "return inf if x != x else max(0.0, x)",
            ]
        )
        return function.text(f"level{index}(values)")


class _VerdictFunction(Protocol):
    def __call__(
        self, values: list[float], stated: int = 0, would_exit: int = 0, would_exit_unknown: int = 0
    ) -> Verdict: ...


class _StandingExitFunction(Protocol):
    def __call__(self, values: list[float], stated: int = 0) -> tuple[int, int]: ...


class CompiledEvaluator:
    """One function per policy, made when constructed; see ``Evaluator`` for the meaning.

    ``source`` is the generated text and ``namespace`` what it was executed in.  An instance may be
    used from one thread at a time.
    """

    policy: LoweredPolicy
    verdict: _VerdictFunction
    standing_exit: _StandingExitFunction

    def __init__(self, policy: LoweredPolicy) -> None:
        """Generate and compile the functions of ``policy``."""
        generator = _Generator(policy)
        self.policy = policy
        self.source = generator.source()
        exec(compile(self.source, "<compiled policy>", "exec"), generator.namespace)
        self._bind(generator.namespace)

    def _bind(self, namespace: dict[str, Any]) -> None:
        policy = self.policy
        self.namespace = namespace
        self.verdict = namespace["verdict"]
        self.standing_exit = namespace["standing_exit"]
        read = Callable[[list[float]], float]
        self._sizes: list[read] = [namespace[f"size{i}"] for i in range(len(policy.rules))]
        self._bounds: list[read] = [namespace[f"bound{i}"] for i in range(len(policy.limits))]
        self._prices: tuple[read, read] = (namespace["sell_price"], namespace["buy_price"])

    def size(self, rule: int, values: list[float]) -> float:
        """Return a rule's size on its measure's grid; NaN where Unknown."""
        return self._sizes[rule](values)

    def bound(self, limit: int, values: list[float]) -> float:
        """Return a limit's bound in money; NaN where Unknown."""
        return self._bounds[limit](values)

    def price(self, buy: bool, values: list[float]) -> float:
        """Return the limit price of the order style; NaN where Unknown or a market order."""
        return self._prices[buy](values)
