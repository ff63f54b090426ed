"""Case files: what a policy must decide, written beside it.

A case states facts and what is expected of the decision; a time series states one such step after another.
This file reads the form; names and values are checked against a policy where the cases are run
(``engine.verbs.cases``).

    apiVersion: tradectl/cases-v1
    policy: default
    background:
      all: {facts: {cash: 100000 USD}}
    cases:
      stop-loss-fires:
        symbol: BTC-USD
        facts: {position_qty: 0.1, entry_price: 90000 USD, price: 79200 USD}
        expect: {action: sell, rule: stop-loss}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from engine.errors import NOWHERE, PolicyError, Problem, Source, Span
from engine.language.expression import SECONDS_PER
from engine.language.source import (
    Document,
    MappingNode,
    Node,
    Path,
    ScalarNode,
    SequenceNode,
    load_document,
)
from engine.language.structure import Structure, check_structure
from engine.verbs.statement import KEYS, Statement, read_statement

CASES_SCHEMA: Final = "cases-v1"
ALL: Final = "all"
"""The background that every case starts from."""
NONE: Final = "none"

_CASE_KEYS: Final = ("because", "account", "steps", "expect")
_STEP_KEYS: Final = ("because", "after", "expect")


@dataclass(frozen=True, slots=True)
class ExpectedSignal:
    """What is expected of one signal; ``confidence`` is one value or (least, most)."""

    name: ScalarNode
    disposition: ScalarNode | None = None
    side: ScalarNode | None = None
    confidence: tuple[ScalarNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected of one decision, as it is written; what is not mentioned is not compared."""

    span: Span
    action: ScalarNode | None = None
    rule: ScalarNode | None = None
    limited_by: ScalarNode | None = None
    denied: ScalarNode | None = None
    vetoed_by: tuple[ScalarNode, ...] = ()
    dispositions: tuple[tuple[ScalarNode, ScalarNode, ScalarNode | None], ...] = ()  # rule, word, cause
    signals: tuple[ExpectedSignal, ...] = ()
    short_by: tuple[tuple[ScalarNode, ScalarNode, ScalarNode], ...] = ()  # rule, fact, how much
    no_order: ScalarNode | None = None
    order: tuple[tuple[ScalarNode, tuple[ScalarNode, ...]], ...] = ()  # field, value or (least, most)


@dataclass(frozen=True, slots=True)
class Position:
    """What a time series begins with of one symbol."""

    symbol: ScalarNode
    quantity: ScalarNode
    entry_price: ScalarNode
    held_for: ScalarNode | None


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a time series begins with."""

    cash: ScalarNode
    positions: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One decision: its own facts, closer ones first, and what is expected."""

    span: Span
    after_seconds: int
    statement: Statement
    expect: Expectation


@dataclass(frozen=True, slots=True)
class Case:
    """One case; a time series has an ``account`` and as many steps as it likes, any other case one step."""

    name: str
    span: Span
    because: str
    at_ms: int | None
    account: Account | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class CaseFile:
    """All cases of one policy; a background's ``symbol_span`` is where its scope is written."""

    source: Source
    policy: str
    policy_span: Span
    backgrounds: Mapping[str, Statement]
    cases: tuple[Case, ...]


def load_cases(text: str | bytes, name: str) -> CaseFile:
    """Read a case file; PolicyError with every mistake of its form."""
    document = load_document(text, name)
    structure = check_structure(document, CASES_SCHEMA)
    reader = _Reader(document, structure)
    file = reader.file()
    problems = (*document.problems, *structure.problems, *reader.problems)
    if problems:
        raise PolicyError(document.source, problems)
    return file


def closer(near: Statement, far: Statement | None) -> Statement:
    """Put a statement before another: what ``near`` says of a fact or limit wins."""
    if far is None:
        return near
    said = {given.name for given in near.given}
    used = {given.name for given in near.usage}
    return replace(
        near,
        symbol=near.symbol or far.symbol,
        symbol_span=near.symbol_span if near.symbol else far.symbol_span,
        at_ms=far.at_ms if near.at_ms is None else near.at_ms,
        given=(*(given for given in far.given if given.name not in said), *near.given),
        usage=(*(given for given in far.usage if given.name not in used), *near.usage),
    )


class _Reader:
    """Reads a document whose shape was checked; what is broken was reported and is passed over."""

    def __init__(self, document: Document, structure: Structure) -> None:
        self.source = document.source
        self.root = document.root
        self.broken = document.broken | structure.broken
        self.problems: list[Problem] = []

    def report(self, code: str, message: str, span: Span, hint: str = "") -> None:
        self.problems.append(Problem(code, message, span, hint))

    # --- nodes --------------------------------------------------------------------------------

    def entries(self, node: Node | None, path: Path) -> Iterator[tuple[ScalarNode, Node, Path]]:
        """Yield the usable entries of a mapping."""
        if isinstance(node, MappingNode) and path not in self.broken:
            for key, value in node.entries:
                if (*path, key.text) not in self.broken:
                    yield key, value, (*path, key.text)

    def child(self, node: Node | None, key: str, path: Path) -> Node | None:
        return next((value for name, value, _ in self.entries(node, path) if name.text == key), None)

    def scalar(self, node: Node | None, key: str, path: Path) -> ScalarNode | None:
        found = self.child(node, key, path)
        return found if isinstance(found, ScalarNode) else None

    def scalars(self, node: Node | None) -> tuple[ScalarNode, ...]:
        """Return one value, or those of a list."""
        items: Iterable[Node] = node.items if isinstance(node, SequenceNode) else (node,) if node else ()
        return tuple(item for item in items if isinstance(item, ScalarNode))

    # --- the whole ----------------------------------------------------------------------------

    def file(self) -> CaseFile:
        policy = self.scalar(self.root, "policy", ())
        backgrounds = {
            key.text: replace(self.statement(node, path, ()), symbol_span=key.span)
            for key, node, path in self.entries(self.child(self.root, "background", ()), ("background",))
        }
        cases = [
            self.case(key, node, path)
            for key, node, path in self.entries(self.child(self.root, "cases", ()), ("cases",))
        ]
        return CaseFile(
            self.source,
            policy.text if policy else "",
            policy.span if policy else NOWHERE,
            backgrounds,
            tuple(case for case in cases if case is not None),
        )

    def statement(self, node: Node, path: Path, other_keys: tuple[str, ...]) -> Statement:
        statement, problems = read_statement(
            node,
            self.source,
            path=path,
            broken=self.broken,
            reasons_required=True,
            other_keys=other_keys,
        )
        self.problems += problems
        return statement

    def case(self, name: ScalarNode, node: Node, path: Path) -> Case | None:
        own = self.statement(node, path, _CASE_KEYS)
        because = self.scalar(node, "because", path)
        steps_node = self.child(node, "steps", path)
        account_node = self.child(node, "account", path)
        expect = self.child(node, "expect", path)
        if isinstance(steps_node, SequenceNode):
            if expect is not None:
                self.report(
                    "case",
                    "a time series expects something of each step",
                    name.span,
                    "move 'expect' into a step",
                )
            if own.usage:
                self.report(
                    "case",
                    "a time series counts what its limits have used itself",
                    own.usage[0].name_span,
                    "delete 'usage', or make it a case without steps",
                )
            account = self.account(account_node, (*path, "account"))
            if account is None:
                if not self.is_broken(path, "account"):
                    self.report(
                        "case", "a time series needs an account", name.span, "add account: {cash: 100000 USD}"
                    )
                return None
            steps = [
                self.step(item, (*path, "steps", index), own) for index, item in enumerate(steps_node.items)
            ]
            kept = tuple(step for step in steps if step is not None)
            return Case(name.text, name.span, because.text if because else "", own.at_ms, account, kept)
        if account_node is not None and not self.is_broken(path, "steps"):
            self.report(
                "case",
                "'account' belongs to a time series",
                account_node.span,
                "state facts such as cash, or add steps",
            )
        if expect is None:
            if not (self.is_broken(path, "expect") or self.is_broken(path, "steps")):
                self.report("case", "the case expects nothing", name.span, "add expect: {action: hold}")
            return None
        step = Step(name.span, 0, own, self.expectation(expect, (*path, "expect")))
        self.needs_symbol(step, path)
        return Case(name.text, name.span, because.text if because else "", own.at_ms, None, (step,))

    def is_broken(self, path: Path, key: str) -> bool:
        return any(broken[: len(path) + 1] == (*path, key) for broken in self.broken)

    def needs_symbol(self, step: Step, path: Path) -> None:
        case = path[:2]
        if step.statement.symbol is None and not (
            self.is_broken(path, "symbol") or self.is_broken(case, "symbol")
        ):
            self.report("case", "of which symbol?", step.span, "add symbol: BTC-USD")

    def step(self, node: Node, path: Path, own: Statement) -> Step | None:
        if path in self.broken or not isinstance(node, MappingNode) or not node.entries:
            return None
        after = self.scalar(node, "after", path)
        expect = self.child(node, "expect", path)
        if expect is None:
            return None
        statement = closer(self.statement(node, path, _STEP_KEYS), own)
        step = Step(
            node.entries[0][0].span,
            _seconds(after.text) if after else 0,
            statement,
            self.expectation(expect, (*path, "expect")),
        )
        self.needs_symbol(step, path)
        return step

    def account(self, node: Node | None, path: Path) -> Account | None:
        cash = self.scalar(node, "cash", path)
        if cash is None:
            return None
        positions = []
        below = (*path, "positions")
        for symbol, position, place in self.entries(self.child(node, "positions", path), below):
            quantity = self.scalar(position, "quantity", place)
            entry_price = self.scalar(position, "entry_price", place)
            if quantity and entry_price:
                held_for = self.scalar(position, "held_for", place)
                positions.append(Position(symbol, quantity, entry_price, held_for))
        return Account(cash, tuple(positions))

    # --- expectations -------------------------------------------------------------------------

    def expectation(self, node: Node, path: Path) -> Expectation:
        order = self.child(node, "order", path)
        no_order = order if isinstance(order, ScalarNode) else None
        if no_order is not None and no_order.text != NONE:
            self.report(
                "order", "an order is 'none', or its quantity, notional or limit_price", no_order.span,
                "write order: none, or order: {notional: 1000 USD}",
            )  # fmt: skip
        return Expectation(
            span=node.span,
            action=self.scalar(node, "action", path),
            rule=self.scalar(node, "rule", path),
            limited_by=self.scalar(node, "limited_by", path),
            denied=self.scalar(node, "denied", path),
            vetoed_by=self.scalars(self.child(node, "vetoed_by", path)),
            dispositions=tuple(self.dispositions(node, path)),
            signals=tuple(self.signals(node, path)),
            short_by=tuple(self.short_by(node, path)),
            no_order=no_order,
            order=tuple(
                (field, self.scalars(value)) for field, value, _ in self.entries(order, (*path, "order"))
            ),
        )

    def dispositions(
        self, node: Node, path: Path
    ) -> Iterator[tuple[ScalarNode, ScalarNode, ScalarNode | None]]:
        below = (*path, "dispositions")
        for rule, value, _ in self.entries(self.child(node, "dispositions", path), below):
            words = self.scalars(value)
            if words:
                yield rule, words[0], words[1] if len(words) == 2 else None

    def signals(self, node: Node, path: Path) -> Iterator[ExpectedSignal]:
        below = (*path, "signals")
        for name, value, place in self.entries(self.child(node, "signals", path), below):
            if isinstance(value, ScalarNode):
                yield ExpectedSignal(name, value)
            else:
                yield ExpectedSignal(
                    name,
                    self.scalar(value, "disposition", place),
                    self.scalar(value, "side", place),
                    self.scalars(self.child(value, "confidence", place)),
                )

    def short_by(self, node: Node, path: Path) -> Iterator[tuple[ScalarNode, ScalarNode, ScalarNode]]:
        below = (*path, "short_by")
        for rule, facts, place in self.entries(self.child(node, "short_by", path), below):
            for fact, value, _ in self.entries(facts, place):
                if isinstance(value, ScalarNode):
                    yield rule, fact, value
                else:
                    self.report("type", f"how much '{fact.text}' is short by is one value", value.span)


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)([smhdw])", text)
    assert match is not None, "the schema lets nothing else through"
    return int(match[1]) * SECONDS_PER[match[2]]


__all__ = [
    "ALL",
    "CASES_SCHEMA",
    "KEYS",
    "NONE",
    "Account",
    "Case",
    "CaseFile",
    "Expectation",
    "ExpectedSignal",
    "Position",
    "Step",
    "closer",
    "load_cases",
]
