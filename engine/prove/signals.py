"""Directional signals that come to nothing, or are traded against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from engine.codes import Action, Disposition, Side
from engine.errors import Severity, Span
from engine.evaluate.symbolic.formulas import Formula, every, negation, some
from engine.evaluate.symbolic.solver import Answer
from engine.lowered import LoweredPolicy
from engine.prove.example import Outcome
from engine.prove.finding import (
    MOST_TOLD,
    Finding,
    again,
    ask_plainly,
    enough,
    found,
    shown_in,
    shown_near,
)
from engine.prove.region import Region, region_around
from engine.prove.variant import Variant
from engine.verbs.terms import atoms_of_node


def check_signals(variant: Variant, promised: frozenset[tuple[int, int]]) -> Iterator[Finding]:
    """Find signals that can be lost, and buys against a SELL.

    ``promised`` are sides of signals of which a promise says when they are acted upon: that others come to
    nothing is then known, and only information.
    """
    for index, span in enumerate(_spans(variant.lowered)):
        for side in (Side.SELL, Side.BUY):
            yield from _lost(variant, index, side, span, known=(index, int(side)) in promised)
        yield from islice(_against(variant, index), MOST_TOLD)


def _spans(policy: LoweredPolicy) -> list[Span]:
    return [signal.span for signal in policy.signals]


def _name(variant: Variant, index: int) -> str:
    return variant.lowered.signals[index].name


def _is(variant: Variant, index: int, side: Side) -> Formula:
    slots = variant.lowered.signals[index].slots
    value = variant.terms.variable(slots[0])
    return every((value.known, value.value == int(side)))


def _lost(variant: Variant, index: int, side: Side, span: Span, *, known: bool) -> Iterator[Finding]:
    """A signal is lost where it could be acted upon, no rule takes it up, and no rule does the same."""
    action = Action.SELL if side is Side.SELL else Action.BUY
    rules = variant.rules(action)
    adopting = [rule for rule in rules if (index, int(side)) in variant.lowered.rules[rule].adopts]
    place = variant.lowered.rules[adopting[0]].span if adopting else span

    def confirms(outcome: Outcome) -> bool:
        is_side = outcome.values[variant.lowered.signals[index].slots[0]] == side
        lost = outcome.decision.signal_dispositions[index] == Disposition.NOT_ADOPTED
        return is_side and lost and outcome.decision.action is not action

    if (earlier := again(variant, "lost-signal", place, confirms)) is not None:
        yield earlier
        return
    could = variant.held if side is Side.SELL else negation(variant.held)
    matches = [variant.terms.candidates[rule].matches for rule in rules]
    fault = every((_is(variant, index, side), could, negation(some(matches))))
    if ask_plainly(variant, [fault, variant.in_order]) is not Answer.POSSIBLE:
        return
    atoms = [
        atom for rule in adopting for atom in atoms_of_node(variant.lowered, variant.lowered.rules[rule].when)
    ]
    model = variant.model()
    shown = shown_near(variant, model, [fault, variant.in_order], confirms) if variant.is_large else None
    where = region_around(variant, model, fault, given=[variant.in_order], prefer=atoms)
    shown = shown or shown_in(variant, where, [fault, variant.in_order], confirms)
    if shown is None:
        return
    if not adopting and (where is None or not where.literals):
        could_be = "held" if side is Side.SELL else "not held"
        where = Region((), (could_be, f"{_name(variant, index)}.side == {side.name.lower()}"))
    clause = _losing_clause(variant, where, adopting)
    message = f"a {side.name} of '{_name(variant, index)}' can come to nothing"
    if not adopting:
        message += ": no rule acts on it"
    elif clause:
        names = " and ".join(f"'{variant.lowered.rules[rule].name}'" for rule in adopting)
        message += f": {names} {'drops' if len(adopting) == 1 else 'drop'} it where {clause}"
    one = found(variant, "lost-signal", message, place, region=where, example=shown)
    if known or side is Side.BUY:
        one = replace(one, problem=replace(one.problem, severity=Severity.INFORMATION))
        variant.told[one.problem.code, place] = one
    yield one


def _losing_clause(variant: Variant, where: Region | None, adopting: list[int]) -> str:
    """Return the conditions of a region that alone keep the adopting rules from being true."""
    if where is None:
        return ""
    matches = some(variant.terms.candidates[rule].matches for rule in adopting)
    kept = []
    for literal in where.literals:
        truth = variant.terms.atom(literal.atom)
        holds = truth.true if literal.holds else truth.false
        if variant.ask(holds, matches) is Answer.IMPOSSIBLE:
            kept.append(literal)
    return where.restricted(variant.lowered, kept)


def _buying_against(variant: Variant, index: int) -> set[int]:
    """Return the buys of which it is open whether they can be made while the signal says to sell."""
    buys = variant.rules(Action.BUY)
    if variant.is_large and not enough(variant, "entry-against-signal"):
        any_of_them = some(variant.terms.candidates[rule].acts for rule in buys)
        sells = [_is(variant, index, Side.SELL), any_of_them, variant.in_order]
        if variant.ask(*sells) is Answer.IMPOSSIBLE:
            return set()
    return set(buys)


def _against(variant: Variant, index: int) -> Iterator[Finding]:
    """A buy is decided while the signal says to sell."""
    possible = _buying_against(variant, index)
    for rule in variant.rules(Action.BUY):
        lowered = variant.lowered.rules[rule]

        def confirms(outcome: Outcome, rule: int = rule) -> bool:
            side = outcome.values[variant.lowered.signals[index].slots[0]]
            return outcome.decision.rule == rule and side == Side.SELL

        if (earlier := again(variant, "entry-against-signal", lowered.span, confirms)) is not None:
            yield earlier
            continue
        if enough(variant, "entry-against-signal") or rule not in possible:
            continue
        fault = every((_is(variant, index, Side.SELL), variant.terms.candidates[rule].wins))
        acts = every((fault, variant.terms.candidates[rule].acts))
        formulas = [acts, variant.in_order]
        if (
            ask_plainly(variant, formulas if variant.is_large else [fault, variant.in_order])
            is not Answer.POSSIBLE
        ):
            continue
        model = variant.model()
        shown = shown_near(variant, model, formulas, confirms, rule) if variant.is_large else None
        if variant.is_large and shown is None:
            continue
        would_exit = list(variant.terms.would_exit.values())
        where = region_around(variant, model, fault, given=[variant.in_order], beside=would_exit)
        shown = shown or shown_in(variant, where, formulas, confirms)
        if shown is not None:
            message = f"entry '{lowered.name}' buys while '{_name(variant, index)}' says SELL"
            yield found(variant, "entry-against-signal", message, lowered.span, region=where, example=shown)
