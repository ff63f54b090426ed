"""The durable-rules evaluator: the rules engine that fires a live agent's rules.

This is the only module that knows durable-rules, and it knows the C module alone.  Outside a
narrow envelope that module crashes, loses firings or fires wrong rules, so everything stays inside it:

* One flat fact at a time: assert it, complete every activation until there is none, retract it.
  Derived facts (signals, cut conditions) are flat facts of a later evaluation.
* A rule is one conjunction of comparisons of the fact's own fields.  A comparison with a field on the
  right stands behind a check that the field exists.
* At most 28 rules stand under one leading condition and at most 32 leading conditions in a ruleset.
* Fields have short names whose 32-bit hashes differ, numbers always a decimal point.
* A first and a last rule always fire, one never does, and rules fire in ascending order: every
  evaluation proves that nothing was lost at its ends.

durable-rules compares facts with constants and with facts.  An atom with arithmetic reaches it as a boolean
that the reference evaluator computed.  What is Unknown is left out of the fact, so that nothing that needs it
fires, on either side of a condition.  A gate always fires one of its sides: a *permit* when it is definitely
false, a *veto* when it is definitely true; silence is Unknown.  The false side of any other
condition is asked for only where one of its leaves is Unknown; else silence means false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from threading import get_ident
from types import ModuleType, TracebackType
from typing import NamedTuple, Self

from engine.codes import Action, Truth
from engine.errors import ConfigurationError, TradectlError
from engine.evaluate.normal_form import MOST_CLAUSES, Clause, Leaf, Sides, normal_forms, truth_of
from engine.evaluate.reference import ReferenceEvaluator, write_signal
from engine.evaluate.verdict import Verdict
from engine.lowered import Atom, Comparison, ConstantTerm, FactTerm, LoweredPolicy, Term

CLAUSES_PER_GROUP = 28
GROUPS_PER_RULESET = 32
FIELDS_PER_FACT = 200
"""The envelope; the C tables overflow silently or with an error at 65, 513 and 255."""
_MOST_CLAUSES = CLAUSES_PER_GROUP * (GROUPS_PER_RULESET - 1)
"""In one ruleset: the canaries have a group of their own."""

_FALSE, _TRUE, _UNKNOWN = int(Truth.FALSE), int(Truth.TRUE), int(Truth.UNKNOWN)


class EngineFault(TradectlError):
    """durable-rules failed or contradicted itself: nothing it said in this evaluation counts.

    The evaluator refuses to answer until ``DurableEvaluator.rebuild``.
    """


def durable_available() -> bool:
    """Say whether durable-rules can be imported (not on Python 3.13 and later)."""
    try:
        _engine()
    except ConfigurationError:
        return False
    return True


def _engine() -> ModuleType:
    try:
        import durable_rules_engine
    except ImportError as error:
        raise ConfigurationError(
            f"durable-rules cannot be imported here ({error}); it needs Python 3.12 or older and "
            "a C compiler. Without it the compiled evaluator decides and the reference evaluator checks it."
        ) from error
    return durable_rules_engine  # type: ignore[no-any-return]  # the C module ships no types


# --- text that durable-rules reads ------------------------------------------------------------


def number_text(value: float) -> str:
    """Return a finite number as durable-rules reads it, exactly: always with a decimal point.

    Its parser knows an exponent only behind a decimal point: ``1e-07`` is ``1.0e-07``.
    """
    text = repr(float(value))
    if "." in text:
        return text
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}"


def name_hash(name: str) -> int:
    """Return FNV-1a 32: durable-rules knows a field by this alone."""
    value = 2166136261
    for byte in name.encode("ascii"):
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


_OPERATORS = {
    Comparison.LESS: "$lt",
    Comparison.LESS_OR_EQUAL: "$lte",
    Comparison.GREATER: "$gt",
    Comparison.GREATER_OR_EQUAL: "$gte",
    Comparison.NOT_EQUAL: "$neq",
}


def _compared(comparison: Comparison, field: str, operand: str) -> str:
    inner = f'{{"{field}":{operand}}}'
    return inner if comparison is Comparison.EQUAL else f'{{"{_OPERATORS[comparison]}":{inner}}}'


def _exists(field: str) -> str:
    return f'{{"$ex":{{"{field}":1}}}}'


def _compared_fields(comparison: Comparison, left: str, right: str) -> tuple[str, str]:
    """Compare two fields.  Without the check a missing right side reads stale memory, and fires."""
    return _exists(right), _compared(comparison, left, f'{{"$m":"{right}"}}')


# The canaries' values change with the C locale's decimal point, and so do the rules' constants; no
# point makes 0.5 lie between 0.25 and 0.75 and above 1.25e-07 but the right one.
_CANARY, _TINY = "c", "d"
_CANARY_LEAD = _exists(_CANARY)
_CANARY_FACT = f'{{"id":"1","{_CANARY}":0.5,"{_TINY}":{number_text(1.25e-7)}'
_FIRST = (
    _CANARY_LEAD,
    _compared(Comparison.GREATER, _CANARY, "0.25"),
    _compared(Comparison.LESS, _CANARY, "0.75"),
)
_LAST = (
    _CANARY_LEAD,
    *_compared_fields(Comparison.GREATER, _CANARY, _TINY),
    _compared(Comparison.GREATER, _TINY, number_text(1e-7)),
    _compared(Comparison.LESS, _TINY, number_text(1.5e-7)),
)
_NEVER = (_CANARY_LEAD, _compared(Comparison.GREATER, _CANARY, "0.75"))
_RETRACT = '{"id":"1"}'


class _Field(NamedTuple):
    """A field of a fact: the letter says what ``number`` counts."""

    letter: str
    number: int


_SLOT, _ATOM, _NODE, _DOUBT, _MARKER = "f", "x", "y", "u", "g"


class _Language:
    """What leaves are in durable-rules' words."""

    def __init__(self, policy: LoweredPolicy) -> None:
        self._policy = policy
        self._hashes = {name_hash(name) for name in ("id", "sid", "m", "$s", _CANARY, _TINY)}
        self._names: dict[_Field, str] = {}

    def name(self, field: _Field) -> str:
        """Return a field's name; no two have one hash."""
        name = self._names.get(field)
        if name is None:
            name = f"{field.letter}{field.number}"
            while name_hash(name) in self._hashes:
                name += "_"
            self._hashes.add(name_hash(name))
            self._names[field] = name
        return name

    def fields(self, leaf: Leaf) -> tuple[_Field, ...]:
        """Return the fields that must be known for a leaf to be known."""
        if leaf.is_node:
            return (_Field(_NODE, leaf.number),)
        direct = _direct(self._policy.atoms[leaf.number])
        if direct is None:
            return (_Field(_ATOM, leaf.number),)
        slot, _, right = direct
        if isinstance(right, FactTerm):
            return _Field(_SLOT, slot), _Field(_SLOT, right.slot)
        return (_Field(_SLOT, slot),)

    def conditions(self, leaf: Leaf) -> tuple[str, ...]:
        """Return the conditions that hold exactly when a leaf is known and as wanted."""
        names = [self.name(field) for field in self.fields(leaf)]
        direct = None if leaf.is_node else _direct(self._policy.atoms[leaf.number])
        if direct is None:
            return (_compared(Comparison.EQUAL, names[0], _boolean(leaf.wanted)),)
        _, comparison, right = direct
        if not leaf.wanted:
            comparison = comparison.negated
        if isinstance(right, ConstantTerm):
            return (_compared(comparison, names[0], number_text(right.value)),)
        return _compared_fields(comparison, names[0], names[1])


def _direct(atom: Atom) -> tuple[int, Comparison, Term] | None:
    """Return the atom as (slot, comparison, fact or constant) where durable-rules can compare it."""
    match atom.left, atom.right:
        case FactTerm(slot), FactTerm():
            return slot, atom.comparison, atom.right
        case FactTerm(slot), ConstantTerm(value) if isfinite(value):
            return slot, atom.comparison, atom.right
        case ConstantTerm(value), FactTerm(slot) if isfinite(value):
            return slot, atom.comparison.mirrored, atom.left
    return None


def _boolean(value: bool) -> str:
    return "true" if value else "false"


# --- what one evaluation sends and asks -------------------------------------------------------

# What was heard of a node is one byte of an integer, made of these bits.
_TRUE_FIRED, _FALSE_FIRED, _SILENCE_IS_FALSE = 1, 2, 4
_CONTRADICTION = 255
_TRUTH_OF_BITS = bytes(
    (_UNKNOWN, _TRUE, _FALSE, _CONTRADICTION, _FALSE, _TRUE, _FALSE, _CONTRADICTION)
) + bytes((_CONTRADICTION,) * 248)


class _Condition(NamedTuple):
    """A node whose truth is asked for; ``loud`` where its false side is always asked for."""

    node: int
    sides: Sides
    loud: bool

    def byte(self, bits: int) -> int:
        """Return bits in the place of the node."""
        return bits << 8 * self.node


class _Question(NamedTuple):
    """A conjunction to be fired, and the bits that its firing sets."""

    conditions: tuple[str, ...]
    bits: int


@dataclass(slots=True)
class _Sheet:
    """Conditions of one stage that fit in one fact and one ruleset.  Texts end before a value."""

    marker: str
    questions: tuple[_Question, ...]
    head: str
    slots: tuple[tuple[int, str, int], ...]  # slot, text, bit of the field
    atoms: tuple[tuple[Callable[[list[float]], int], str, int], ...]
    nodes: tuple[tuple[int, str, int], ...]
    doubts: tuple[tuple[int, int, str], ...]  # bits of the fields read, bits to take back, text
    settled: int
    ruleset: _Ruleset | None = None

    def encode(self, values: list[float], truths: list[int]) -> tuple[str, int]:
        """Return the fact and the bits that are settled before anything fires."""
        parts = [self.head]
        append = parts.append
        unknown = 0
        for slot, text, bit in self.slots:
            value = values[slot]
            number = repr(value)
            if "." in number:
                append(text + number)
            elif isfinite(value):
                append(text + number_text(value))
            else:
                unknown |= bit
        for truth_in, text, bit in self.atoms:
            truth = truth_in(values)
            if truth == _UNKNOWN:
                unknown |= bit
            else:
                append(text + ("true" if truth else "false"))
        for node, text, bit in self.nodes:
            truth = truths[node]
            if truth == _UNKNOWN:
                unknown |= bit
            else:
                append(text + ("true" if truth else "false"))
        settled = self.settled
        if unknown:
            for fields, bits, text in self.doubts:
                if fields & unknown:
                    settled ^= bits
                    append(text)
        append("}")
        return "".join(parts), settled


class _Writer:
    """Writes conditions as sheets."""

    def __init__(self, policy: LoweredPolicy) -> None:
        self._policy = policy
        self._language = _Language(policy)
        self._written = 0

    def stage(self, conditions: list[_Condition]) -> tuple[_Sheet, ...]:
        """Return as many sheets as the envelope asks for; a condition is never divided."""
        sheets = []
        waiting: list[_Condition] = []
        clauses, fields = 0, set[_Field]()
        for condition in conditions:
            more_clauses = sum(len(side) for side in condition.sides)
            more_fields = self._fields(condition.sides.leaves())
            if more_clauses > _MOST_CLAUSES or len(more_fields) + 1 > FIELDS_PER_FACT:
                raise ConfigurationError(
                    f"policy {self._policy.name}: one condition reads {FIELDS_PER_FACT} facts or more, "
                    "or has more alternatives than durable-rules can hold. Divide it into several rules."
                )
            clauses += more_clauses
            fields |= more_fields
            waiting.append(condition)
            if clauses > _MOST_CLAUSES or len(fields) + len(waiting) > FIELDS_PER_FACT:
                sheets.append(self._sheet(waiting[:-1]))
                waiting, clauses, fields = [condition], more_clauses, more_fields
        return (*sheets, self._sheet(waiting)) if waiting else ()

    def _fields(self, leaves: Iterable[Leaf]) -> set[_Field]:
        return {field for leaf in leaves for field in self._language.fields(leaf)}

    def _sheet(self, conditions: list[_Condition]) -> _Sheet:
        name = self._language.name
        asked: dict[tuple[int, Clause], int] = {}  # (condition in doubt or -1, clause) -> bits
        settled = 0
        read: dict[_Field, int] = {}
        doubts = []
        for condition in conditions:
            fields = sorted(self._fields(condition.sides.leaves()))
            for field in fields:
                read.setdefault(field, 1 << len(read))
            guarded = False
            for guard, clause, bits in self._clauses(condition, set(fields)):
                guarded = guarded or guard >= 0
                if clause:
                    asked[guard, clause] = asked.get((guard, clause), 0) | condition.byte(bits)
                else:
                    settled |= condition.byte(bits)
            if not condition.loud:
                settled |= condition.byte(_SILENCE_IS_FALSE)
                doubts.append(
                    (
                        sum(read[field] for field in fields),
                        condition.byte(_SILENCE_IS_FALSE),
                        f',"{name(_Field(_DOUBT, condition.node))}":1.0' if guarded else "",
                    )
                )
        marker = name(_Field(_MARKER, self._written))
        self._written += 1
        texts = {field: f',"{name(field)}":' for field in read}
        return _Sheet(
            marker,
            tuple(self._question(guard, clause, bits) for (guard, clause), bits in asked.items()),
            f'{_CANARY_FACT},"{marker}":1.0',
            tuple((field.number, texts[field], bit) for field, bit in read.items() if field.letter == _SLOT),
            tuple(
                (truth_of(self._policy.atoms[field.number]), texts[field], bit)
                for field, bit in read.items()
                if field.letter == _ATOM
            ),
            tuple((field.number, texts[field], bit) for field, bit in read.items() if field.letter == _NODE),
            tuple(doubts),
            settled,
        )

    def _clauses(self, condition: _Condition, fields: set[_Field]) -> Iterator[tuple[int, Clause, int]]:
        """Yield (the condition whose doubt it stands behind or -1, clause, bits)."""
        for clause in sorted(condition.sides.true, key=sorted):
            yield -1, clause, _TRUE_FIRED
        for clause in sorted(condition.sides.false, key=sorted):
            if condition.loud:
                yield -1, clause, _FALSE_FIRED
            elif self._fields(clause) != fields:  # else it needs all: it cannot fire where one is Unknown
                yield condition.node, clause, _FALSE_FIRED

    def _question(self, guard: int, clause: Clause, bits: int) -> _Question:
        conditions = [_exists(self._language.name(_Field(_DOUBT, guard)))] if guard >= 0 else []
        for leaf in sorted(clause):
            conditions += [text for text in self._language.conditions(leaf) if text not in conditions]
        return _Question(tuple(conditions), bits)


# --- the ruleset ------------------------------------------------------------------------------


def _rule(name: str, conditions: Iterable[str]) -> str:
    return f'"{name}":{{"pri":{int(name)},"all":[{{"m":{{"$and":[{",".join(conditions)}]}}}}]}}'


_DIGITS = 4  # of a rule's name: as text and as numbers they have one order


class _Ruleset:
    """A ruleset in durable-rules' memory."""

    def __init__(self, name: str, sheets: list[_Sheet]) -> None:
        """Compile the questions of some sheets; raise what the C module raises."""
        rules: list[tuple[str, ...]] = [_FIRST]
        bits = [0]
        for sheet in sheets:
            for number, question in enumerate(sheet.questions):
                group = number // CLAUSES_PER_GROUP
                lead = _compared(Comparison.GREATER, sheet.marker, number_text(-1.0 - group))
                rules.append((lead, *question.conditions))
                bits.append(question.bits)
        rules += _LAST, _NEVER
        names = [f"{number:0{_DIGITS}}" for number in range(len(rules))]
        self._first, self._last, never = names[0], names[-2], names[-1]
        self._bits = dict(zip(names, [*bits, 0, 0], strict=True))
        del self._bits[never]
        self._module = module = _engine()
        self._assert_fact = module.assert_fact
        self._start = module.start_action_for_state
        self._complete = module.complete_and_start_action
        self._retract_fact = module.retract_fact
        self._fired = False
        text = ",".join(_rule(name, conditions) for name, conditions in zip(names, rules, strict=True))
        self._handle = module.create_ruleset(name, f"{{{text}}}")

    def fire(self, fact: str) -> int:
        """Return the bits of all rules that a fact fires; raise EngineFault where that is not certain."""
        handle, complete, bits = self._handle, self._complete, self._bits
        code, state = self._assert_fact(handle, fact)
        started = self._start(handle, state)
        if code or started is None:
            raise EngineFault(f"the fact was not handled (code {code})")
        self._fired = True
        message: str | None = started[1]
        heard = 0
        name = ""
        while message is not None:  # {"0007":{"m":{...}}}
            previous, name = name, message[2 : 2 + _DIGITS]
            if name <= previous or name not in bits or (not previous and name != self._first):
                raise EngineFault(f"rule {name} fired after {previous or 'none'}")
            heard |= bits[name]
            message = complete(handle, state)
        if name != self._last:
            raise EngineFault(f"the last rule that fired is {name}, not {self._last}")
        code, _ = self._retract_fact(handle, _RETRACT)
        if code:
            raise EngineFault(f"the fact was not retracted (code {code})")
        return heard

    def close(self) -> None:
        """Free the memory.  A state in which nothing ever fired holds wild pointers: it is left."""
        if self._fired:
            self._module.delete_state(self._handle, "0")
        self._module.delete_ruleset(self._handle)


# --- the evaluator ----------------------------------------------------------------------------

_Stages = tuple[tuple[_Sheet, ...], ...]
_CLOSED = "the evaluator is closed"


class DurableEvaluator:
    """Fires a policy's votes, rules and gates by durable-rules; see ``engine.evaluate.verdict``.

    For one thread.  Choosing, sizes, bounds and prices are the reference evaluator's.
    """

    def __init__(self, policy: LoweredPolicy, most_clauses: int = MOST_CLAUSES) -> None:
        """Compile a policy; conditions with more alternatives than ``most_clauses`` are cut.

        Raises ConfigurationError where durable-rules cannot be imported or cannot hold the policy,
        EngineFault where it fails.  It might also hang or crash: compile a new policy in a child
        process first (``adapters.rules_probe``).
        """
        self.policy = policy
        self._reference = ReferenceEvaluator(policy)
        self._most_clauses = most_clauses
        self._exits = tuple(
            (index, rule.when_entry) for index, rule in enumerate(policy.rules) if rule.action is Action.SELL
        )
        self._all_signals = (1 << len(policy.signals)) - 1
        votes = [vote for signal in policy.signals for vote in signal.votes]
        gates = {node for gate in policy.gates for node in (gate.when, gate.when_entry)}
        rules = {node for rule in policy.rules for node in (rule.when, rule.when_entry)}
        writer = _Writer(policy)
        sides = {side for vote in votes for side in (vote.buy, vote.sell) if side >= 0}
        self._votes = self._stages(writer, sides, loud=set())
        self._rules = self._stages(writer, rules | gates, loud=gates)
        self._rulesets: list[_Ruleset] = []
        self._fault = _CLOSED
        self.rebuild()

    def _stages(self, writer: _Writer, wanted: set[int], loud: set[int]) -> _Stages:
        forms = normal_forms(self.policy, wanted, self._most_clauses)
        loud |= forms.open
        cut = {node for level in forms.cuts for node in level}
        # To find the next rule that fires durable-rules looks through all before it: the loud go first.
        last = sorted(wanted - cut, key=lambda node: (node not in loud, node))
        return tuple(
            writer.stage([_Condition(node, forms.sides[node], node in loud) for node in nodes])
            for nodes in (*forms.cuts, last)
            if nodes
        )

    def __enter__(self) -> Self:
        """Return the evaluator; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Free what durable-rules holds.  Closing twice does nothing."""
        self._fault = _CLOSED
        while self._rulesets:
            with suppress(Exception):  # a broken ruleset may refuse: what it holds is lost, the rest is freed
                self._rulesets.pop().close()

    def rebuild(self) -> None:
        """Begin anew: after an EngineFault, or to use the evaluator from another thread."""
        self.close()
        try:
            for sheets in self._bound():
                ruleset = _Ruleset(f"{self.policy.name}-{len(self._rulesets)}", sheets)
                self._rulesets.append(ruleset)
                for sheet in sheets:
                    sheet.ruleset = ruleset
                if ruleset.fire(_CANARY_FACT + "}"):
                    raise EngineFault("rules fired without a fact")
        except ConfigurationError:
            raise
        except Exception as error:
            self.close()
            raise EngineFault(f"durable-rules cannot hold policy {self.policy.name}: {error}") from error
        self._thread = get_ident()
        self._fault = ""

    def _bound(self) -> Iterator[list[_Sheet]]:
        """Bind sheets together for one ruleset, which one is enough for but the largest policies."""
        bound: list[_Sheet] = []
        groups = 1  # the canaries'
        for sheet in (sheet for stage in (*self._votes, *self._rules) for sheet in stage if sheet.questions):
            more = -(-len(sheet.questions) // CLAUSES_PER_GROUP)
            if groups + more > GROUPS_PER_RULESET:
                yield bound
                bound, groups = [], 1
            bound.append(sheet)
            groups += more
        if bound:
            yield bound

    # --- conditions ---------------------------------------------------------------------------

    def _truths(self, values: list[float], stated: int) -> list[int]:
        """Return one truth per node, right for those that rules and gates name."""
        if self._fault:
            raise EngineFault(self._fault)
        if get_ident() != self._thread:
            raise EngineFault("durable-rules was built in another thread")
        self._fault = "an evaluation was interrupted"  # stands if this one does not reach its end
        try:
            if ~stated & self._all_signals:
                votes = self._fire(self._votes, values)
                for index, signal in enumerate(self.policy.signals):
                    if not stated >> index & 1:
                        write_signal(signal, votes, values)
            truths = self._fire(self._rules, values)
        except Exception as error:
            self._fault = f"durable-rules failed: {error}"
            raise EngineFault(self._fault) from error
        self._fault = ""
        return truths

    def _fire(self, stages: _Stages, values: list[float]) -> list[int]:
        heard = 0
        truths: list[int] = []
        for sheets in stages:
            for sheet in sheets:
                fact, settled = sheet.encode(values, truths)
                heard |= settled
                if sheet.ruleset is not None:
                    heard |= sheet.ruleset.fire(fact)
            found = heard.to_bytes(len(self.policy.nodes), "little").translate(_TRUTH_OF_BITS)
            if _CONTRADICTION in found:
                raise EngineFault(f"condition {found.index(_CONTRADICTION)} is both true and false")
            truths = list(found)
        return truths

    # --- what is asked of every evaluator -----------------------------------------------------

    def verdict(
        self, values: list[float], stated: int = 0, would_exit: int = 0, would_exit_unknown: int = 0
    ) -> Verdict:
        """Fire and choose; see ``Evaluator.verdict``.  Raises EngineFault."""
        truths = self._truths(values, stated)
        return self._reference.choose(truths, values, would_exit, would_exit_unknown)

    def standing_exit(self, values: list[float], stated: int = 0) -> tuple[int, int]:
        """Return the first exit that is true or Unknown; see ``Evaluator``.  Raises EngineFault."""
        truths = self._truths(values, stated)
        for wanted in (_TRUE, _UNKNOWN):
            for index, node in self._exits:
                if truths[node] == wanted:
                    return wanted, index
        return _FALSE, -1

    def size(self, rule: int, values: list[float]) -> float:
        """Return a rule's size on its measure's grid; NaN where Unknown."""
        return self._reference.size(rule, values)

    def bound(self, limit: int, values: list[float]) -> float:
        """Return a limit's bound in money; NaN where Unknown."""
        return self._reference.bound(limit, values)

    def price(self, buy: bool, values: list[float]) -> float:
        """Return the limit price of the order style; NaN where Unknown."""
        return self._reference.price(buy, values)
