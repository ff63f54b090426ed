"""Exits that do not come about: overruled, vetoed, at their level, or out of reach for a whole position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from engine.codes import Action, Disposition, Truth
from engine.errors import Severity, Span
from engine.evaluate.symbolic.formulas import Formula, every, implies, negation, some
from engine.evaluate.symbolic.solver import Answer, Model
from engine.lowered import LoweredGate, Selection, SlotOrigin
from engine.prove.example import Confirms, Outcome, example
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
from engine.prove.region import Literal, Region, conditions, decisive_atoms, region_around
from engine.prove.variant import Variant
from engine.verbs.terms import atoms_of_node, slots_of_node, slots_of_term
from engine.vocabulary import FACTS, POSITION_SIZE_FACTS, SESSION, Family, Varies

_VENUE: Final = frozenset(fact.name for fact in FACTS.values() if fact.family is Family.CALENDAR) | {
    "quote_age",
    "quote_state",
}
"""What says whether the venue would take an order now: an exit may wait for it."""
_WORTH_ROUNDING: Final = 10
"""Of less money than this, half of it may round to nothing, and a level to all of it."""
_CALM: Final = "with a fresh quote, in a regular session"


_BEATEN: Final = (Disposition.OUTRANKED, Disposition.CONCURRED)


def check_exits(variant: Variant) -> Iterator[Finding]:
    """Find everything that keeps an exit from selling."""
    if variant.lowered.selection is Selection.BY_PRIORITY:
        yield from _overruled(variant)
    else:
        yield from islice(_entries_beside_exits(variant), MOST_TOLD)
    yield from _closed_gates(variant)
    yield from _lost_exits(variant)
    yield from _traps(variant)


def _sendable(variant: Variant) -> list[Formula]:
    """The venue would take an order: the session is regular, the quote new, equity not estimated."""
    said: list[Formula] = [variant.in_order]
    for name, value in (
        ("session", SESSION.words.index("regular")),
        ("quote_age", 0),
        ("equity_estimated", 0),
    ):
        variable = variant.snapshot.find(name)
        if variable is not None:
            said.append(variable.value == value)
    worth = variant.terms.variable(variant.lowered.slot("position_value"))
    said.append(implies(variant.held, worth.value >= _WORTH_ROUNDING * worth.slot.steps_per_unit))
    said += [
        negation(variable.value)
        for variable in variant.snapshot.variables.values()
        if variable.slot.origin is SlotOrigin.ONCE
    ]
    return said


# --- overruled --------------------------------------------------------------------------------


def _overruled(variant: Variant) -> Iterator[Finding]:
    """Under by_priority something that leaves more of the position wins over a standing exit."""
    rules, candidates = variant.lowered.rules, variant.terms.candidates
    for index, rule in enumerate(rules):
        exits = [
            other
            for other in variant.rules(Action.SELL)
            if other > index
            and (rule.action is not Action.SELL or rule.size not in (None, rules[other].size))
        ]

        def confirms(outcome: Outcome, index: int = index, exits: list[int] = exits) -> bool:
            settled = outcome.decision.dispositions
            return outcome.decision.rule == index and any(settled[other] in _BEATEN for other in exits)

        if (earlier := again(variant, "exit-overruled", rule.span, confirms)) is not None:
            yield earlier
            continue
        meeting = {other: every((candidates[index].wins, candidates[other].stands)) for other in exits}
        if not meeting or variant.ask(some(meeting.values()), *_sendable(variant)) is not Answer.POSSIBLE:
            continue
        model = variant.model()
        other = next(one for one, formula in meeting.items() if model.truth(formula))
        where = region_around(variant, model, meeting[other], given=_sendable(variant))
        shown = shown_in(variant, where, [meeting[other], *_sendable(variant)], confirms)
        if shown is not None:
            what = {Action.BUY: "entry", Action.SELL: "trim", Action.HOLD: "hold"}[rule.action]
            message = f"{what} '{rule.name}' wins while exit '{rules[other].name}' stands"
            hint = "give exits the higher priority, or write  selection: exits_first"
            yield found(
                variant, "exit-overruled", message, rule.span, hint, region=where, example=shown, given=_CALM
            )


def _entries_beside_exits(variant: Variant) -> Iterator[Finding]:
    """An entry is true while an exit is: the exit wins, and the two disagree about the market."""
    rules, candidates = variant.lowered.rules, variant.terms.candidates
    sells = variant.rules(Action.SELL)
    for index in variant.rules(Action.BUY):
        span = rules[index].span

        def confirms(outcome: Outcome, index: int = index) -> bool:
            truths = outcome.decision.truths
            return truths[index] == Truth.TRUE and any(truths[other] == Truth.TRUE for other in sells)

        if (earlier := again(variant, "entry-against-exit", span, confirms)) is not None:
            yield earlier
            continue
        if enough(variant, "entry-against-exit"):
            continue
        meeting = {other: every((candidates[index].matches, candidates[other].stands)) for other in sells}
        asked = [some(meeting.values()), *_sendable(variant)]
        if ask_plainly(variant, asked) is not Answer.POSSIBLE:
            continue
        model = variant.model()
        other = next(one for one, formula in meeting.items() if model.truth(formula))
        formulas = [meeting[other], *_sendable(variant)]
        shown = shown_near(variant, model, formulas, confirms) if variant.is_large else None
        if variant.is_large and shown is None:
            continue
        where = region_around(variant, model, meeting[other], given=_sendable(variant))
        shown = shown or shown_in(variant, where, formulas, confirms)
        if shown is not None:
            message = f"entry '{rules[index].name}' is proposed while exit '{rules[other].name}' stands"
            yield found(
                variant, "entry-against-exit", message, span, region=where, example=shown, given=_CALM
            )


# --- gates ------------------------------------------------------------------------------------


def _closed_gates(variant: Variant) -> Iterator[Finding]:
    """A gate that is no matter of the venue keeps exits from selling while they could be sent."""
    for index, gate in enumerate(variant.lowered.gates):
        if gate.reserved or not (gate.vetoes_sell or gate.vetoes_protective) or _of_the_venue(variant, gate):
            continue
        earlier = again(
            variant, "gate-vetoes-protective", gate.span, _vetoes(variant, index, protective=True)
        )
        earlier = earlier or again(
            variant, "gate-vetoes-exit", gate.span, _vetoes(variant, index, protective=False)
        )
        if earlier is not None:
            yield earlier
            continue
        stopped = [
            rule
            for rule in variant.rules(Action.SELL)
            if variant.ask(_vetoed(variant, rule, index), *_sendable(variant)) is Answer.POSSIBLE
        ]
        protective = [rule for rule in stopped if variant.lowered.rules[rule].protective]
        if not stopped:
            continue
        rule = (protective or stopped)[0]
        fault = _vetoed(variant, rule, index)
        if variant.ask(fault, *_sendable(variant)) is not Answer.POSSIBLE:
            continue
        atoms = atoms_of_node(variant.lowered, gate.when)
        where = region_around(variant, variant.model(), fault, given=_sendable(variant), prefer=atoms)
        confirms = _vetoes(variant, index, protective=bool(protective))
        shown = shown_in(variant, where, [fault, *_sendable(variant)], confirms)
        if shown is None:
            continue
        names = ", ".join(f"'{variant.lowered.rules[one].name}'" for one in (protective or stopped))
        code = "gate-vetoes-protective" if protective else "gate-vetoes-exit"
        what = "protective " if protective else ""
        message = f"gate '{gate.name}' keeps {what}{names} from selling"
        yield found(variant, code, message, gate.span, region=where, example=shown, given=_CALM)


def _vetoes(variant: Variant, gate: int, *, protective: bool) -> Confirms:
    """Say of an outcome whether a gate vetoed an exit, a protective one or another."""
    exits = [
        rule for rule in variant.rules(Action.SELL) if variant.lowered.rules[rule].protective == protective
    ]

    def confirms(outcome: Outcome) -> bool:
        settled, causes = outcome.decision.dispositions, outcome.decision.causes
        return any(settled[rule] == Disposition.VETOED and causes[rule] == gate for rule in exits)

    return confirms


def _vetoed(variant: Variant, rule: int, gate: int) -> Formula:
    return some(veto for index, veto in variant.terms.candidates[rule].vetoed_by if index == gate)


def _of_the_venue(variant: Variant, gate: LoweredGate) -> bool:
    """Say whether a gate asks only whether the venue would take an order, and on what quote."""
    names = {variant.lowered.slots[slot].name for slot in slots_of_node(variant.lowered, gate.when)}
    return names <= _VENUE


# --- exits that are true and sell nothing -----------------------------------------------------


def _lost_exits(variant: Variant) -> Iterator[Finding]:
    """An exit is true, nothing else decides, and nothing is sold."""
    terms, rules = variant.terms, variant.lowered.rules
    nothing = every(
        (
            *(
                negation(candidate.wins)
                for candidate, rule in zip(terms.candidates, rules, strict=True)
                if rule.action is not Action.SELL
            ),
            *(negation(terms.candidates[index].acts) for index in variant.rules(Action.SELL)),
        )
    )
    sells = variant.rules(Action.SELL)
    sent = [implies(terms.candidates[index].wins, terms.sent(index)) for index in sells]
    moving = [terms.moves[index] for index in sells if index in terms.moves]
    calm = [*_sendable(variant), *sent, *_gates_open(variant)]
    any_of_them = every((nothing, some(terms.candidates[index].matches for index in sells)))
    asked = [any_of_them, *calm, *moving]
    none_moving = variant.is_large and variant.ask(*asked) is Answer.IMPOSSIBLE
    for index in sells:
        fault = every((terms.candidates[index].matches, nothing))
        one = None if none_moving else _lost_exit(variant, index, fault, [*calm, *moving])
        if one is None and index in terms.moves and not _reads_size(variant, index):
            at_level = negation(terms.moves[index])
            one = _lost_exit(variant, index, every((fault, at_level)), calm, beside=moving)
            if one is not None:  # a person may mean just that, where a rule takes a part off the table
                one = replace(one, problem=replace(one.problem, severity=Severity.INFORMATION))
                variant.told["lost-exit", rules[index].span] = one
        if one is not None:
            yield one


def _lost_exit(
    variant: Variant, index: int, fault: Formula, given: list[Formula], beside: Sequence[Formula] = ()
) -> Finding | None:
    rule = variant.lowered.rules[index]

    def confirms(outcome: Outcome) -> bool:
        decision = outcome.decision
        return decision.truths[index] == Truth.TRUE and decision.action is Action.HOLD

    if (earlier := again(variant, "lost-exit", rule.span, confirms)) is not None:
        return earlier
    if enough(variant, "lost-exit") or ask_plainly(variant, [fault, *given]) is not Answer.POSSIBLE:
        return None
    model, formulas = variant.model(), [fault, *given]
    shown = shown_near(variant, model, formulas, confirms) if variant.is_large else None
    if shown is None and beside and variant.is_large:
        return None  # only information: not worth a longer search
    atoms = atoms_of_node(variant.lowered, rule.when)
    where = region_around(variant, model, fault, given=given, prefer=atoms, beside=beside)
    shown = shown or shown_in(variant, where, formulas, confirms)
    if shown is None:
        return None
    why = _why(shown.outcome, index, variant)
    if where is not None and beside:
        where = replace(
            where, conditions=(*where.conditions, f"the position is at the level of '{rule.name}'")
        )
    message = f"exit '{rule.name}' can be true and nothing is sold{why}"
    return found(variant, "lost-exit", message, rule.span, region=where, example=shown, given=_CALM)


def _reads_size(variant: Variant, index: int) -> bool:
    """Say whether a rule asks itself how large the position is."""
    slots = slots_of_node(variant.lowered, variant.lowered.rules[index].when)
    return any(variant.lowered.slots[slot].name in POSITION_SIZE_FACTS for slot in slots)


def _gates_open(variant: Variant) -> list[Formula]:
    """The gates that can stop an exit are open: what they keep from selling is told gate by gate."""
    return [
        variant.terms.node(gate.when).false
        for gate in variant.lowered.gates
        if not gate.reserved and (gate.vetoes_sell or gate.vetoes_protective)
    ]


def _why(outcome: Outcome, index: int, variant: Variant) -> str:
    settled, cause = outcome.decision.dispositions[index], outcome.decision.causes[index]
    if settled == Disposition.VETOED:
        return f": gate '{variant.lowered.gates[cause].name}' vetoes it"
    return f": {Disposition(settled).word.replace('_', ' ')}" if settled else ""


# --- traps ------------------------------------------------------------------------------------


def _traps(variant: Variant) -> Iterator[Finding]:
    """Find positions that nothing sells, whatever market and clock do.

    Sought are situations that sell.  What each needs of the account, generalised, is ruled out for the next;
    when none is left, every position that meets none of these needs is a trap.
    """
    sells = variant.terms.decides(Action.SELL)
    estimated = variant.terms.variable(variant.lowered.slot("equity_estimated")).value
    given = [variant.in_order, variant.held, estimated == 0]
    if not variant.rules(Action.SELL) or _always_a_way_out(variant):
        return
    needs: list[list[_Need]] = []
    excluded: list[Formula] = []
    while (answer := variant.ask(sells, *given, *excluded)) is Answer.POSSIBLE:
        need = _account_needs(variant, variant.model(), sells, given)
        if not need or len(needs) == _MOST_NEEDS:
            return  # the market alone can make it sell
        needs.append(need)
        excluded.append(some(negation(one.formula) for one in need))
    if answer is not Answer.IMPOSSIBLE or variant.ask(*given, *excluded) is not Answer.POSSIBLE:
        return
    matches = [variant.terms.candidates[index].matches for index in variant.rules(Action.SELL)]
    tempted = [every(matches), some(matches), True]
    asked = next((one for one in tempted if variant.ask(*given, *excluded, one) is Answer.POSSIBLE), None)
    if asked is None:
        return  # left open: the time is up
    model = variant.model()
    unmet = [next(one for one in need if not model.truth(one.formula)) for need in needs]
    literals = dict.fromkeys(
        Literal(one.literal.atom, not one.literal.holds) for one in unmet if one.literal is not None
    )
    words = [
        *conditions(variant.lowered, literals),
        *dict.fromkeys(one.otherwise for one in unmet if one.literal is None),
    ]
    where = Region(tuple(literals), ("held", *words))
    shown = example(
        variant,
        [*given, *excluded, asked],
        lambda outcome: (
            outcome.decision.action is not Action.SELL and bool(outcome.vector.situation.quantity)
        ),
    )
    if shown is None:
        return
    message = f"nothing ever sells a position while {' and '.join(words) or 'held'}"
    yield found(
        variant,
        "trap",
        message,
        _blamed(variant, literals),
        region=where,
        example=shown,
        given="whatever market and clock do",
    )


_MOST_NEEDS: Final = 24


def _always_a_way_out(variant: Variant) -> bool:
    """Say whether a rule sells all on facts that market and clock move, whatever the account says.

    Where exits come first such a rule, and the gates that can stop it, need only be possible once.
    """
    if not variant.terms.exits_first:
        return False
    for index in variant.rules(Action.SELL):
        rule = variant.lowered.rules[index]
        gates = [
            gate.when for _, gate in variant.terms.gates_of(index) if not gate.reserved or gate.only_rule >= 0
        ]
        atoms = {atom for node in (rule.when, *gates) for atom in atoms_of_node(variant.lowered, node)}
        if rule.size is not None or any(not _is_movable(variant, atom) for atom in atoms):
            continue
        if variant.ask(variant.terms.candidates[index].stands, variant.in_order) is Answer.POSSIBLE:
            return True
    return False


def _is_movable(variant: Variant, atom: int) -> bool:
    """Say whether a comparison reads nothing of the account but that something is held."""
    lowered = variant.form.lowered.atoms[atom]
    slots = {*slots_of_term(lowered.left), *slots_of_term(lowered.right)}
    return all(variant.form.lowered.slots[slot].name == "held" or not _stays(variant, slot) for slot in slots)


class _Need(NamedTuple):
    """Something about the account that a sell needs; ``otherwise`` says in words that it is not so."""

    formula: Formula
    literal: Literal | None
    otherwise: str


def _account_needs(variant: Variant, model: Model, sells: Formula, given: list[Formula]) -> list[_Need]:
    """Return what a situation that sells needs of the facts that neither market nor clock moves.

    Of all that makes it sell, what the market and the clock can bring about is kept rather than what they
    cannot.
    """
    own = {atom for atom in decisive_atoms(variant.form.lowered) if _is_fixed(variant, atom)}
    literals = [
        Literal(atom, holds)
        for atom in decisive_atoms(variant.form.lowered)
        for holds in (True, False)
        if model.truth(_formula(variant, Literal(atom, holds)))
    ]
    needs = [_Need(_formula(variant, one), one, "") for one in literals if one.atom in own]
    needs += [
        _Need(moves if model.truth(moves) else negation(moves), None, _at_level(variant, index))
        for index, moves in variant.terms.moves.items()
        if variant.lowered.rules[index].action is Action.SELL
    ]
    movable = [_formula(variant, one) for one in literals if one.atom not in own]
    open_points = [*variant.terms.helping.values(), *variant.terms.would_exit.values(), *variant.delivered]
    beside = [one if model.truth(one) else negation(one) for one in open_points]
    with variant.supposing(negation(sells), *given):
        core = variant.least_core([*movable, *beside, *(need.formula for need in needs)])
    kept = {id(formula) for formula in core or ()}
    return [need for need in needs if id(need.formula) in kept]


def _at_level(variant: Variant, index: int) -> str:
    return f"position_value is at the level of '{variant.lowered.rules[index].name}'"


def _formula(variant: Variant, literal: Literal) -> Formula:
    truth = variant.terms.atom(literal.atom)
    return truth.true if literal.holds else truth.false


def _is_fixed(variant: Variant, atom: int) -> bool:
    """Say whether a comparison reads only facts that stay as they are while nothing is ordered."""
    lowered = variant.form.lowered.atoms[atom]
    slots = {*slots_of_term(lowered.left), *slots_of_term(lowered.right)}
    return all(_stays(variant, slot) for slot in slots)


def _stays(variant: Variant, slot: int) -> bool:
    lowered = variant.form.lowered.slots[slot]
    if lowered.origin is SlotOrigin.ONCE:
        return True
    fact = FACTS.get(lowered.name) if lowered.origin is SlotOrigin.VOCABULARY else None
    return fact is not None and fact.varies in (Varies.ACCOUNT, Varies.FIXED)


def _blamed(variant: Variant, unmet: Iterable[Literal]) -> Span:
    """Return the place of the gate, or else of the rule, that asks for what the position has not."""
    atoms = {literal.atom for literal in unmet}
    for gate in variant.lowered.gates:
        if not gate.reserved and atoms.intersection(atoms_of_node(variant.lowered, gate.when)):
            return gate.span
    sells = [variant.lowered.rules[index] for index in variant.rules(Action.SELL)]
    for rule in sells:
        if atoms.intersection(atoms_of_node(variant.lowered, rule.when)):
            return rule.span
    return sells[0].span
