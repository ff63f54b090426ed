"""What the choice among rules makes of each: rules that never decide, priorities that decide alone, gaps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from engine.codes import Action, Disposition, Truth
from engine.evaluate.symbolic.formulas import Formula, every, negation, some
from engine.evaluate.symbolic.solver import Answer, Model
from engine.lowered import LoweredRule, NodeKind
from engine.prove.example import Confirms, Outcome, example, usual_account
from engine.prove.finding import MOST_TOLD, Finding, again, ask_plainly, enough, found, shown_in, shown_near
from engine.prove.region import region_around
from engine.prove.variant import Variant


def check_choice(variant: Variant) -> Iterator[Finding]:
    """Find shadowed rules, entries that always exit, priorities that decide, and gaps."""
    for index in range(len(variant.lowered.rules)):
        # A sample knows nothing of what follows an entry.
        if index not in variant.witnessed.won or _rule(variant, index).action is Action.BUY:
            yield from _never_decides(variant, index)
    sought = (one for index in range(len(variant.lowered.rules)) for one in _priority_decides(variant, index))
    told = (one for one in islice(sought, 2 * MOST_TOLD) if one is not None)
    yield from islice(told, MOST_TOLD)
    yield from _gap(variant)


def _rule(variant: Variant, index: int) -> LoweredRule:
    return variant.lowered.rules[index]


# --- rules that never decide ------------------------------------------------------------------


def _never_decides(variant: Variant, index: int) -> Iterator[Finding]:
    rule, candidate = _rule(variant, index), variant.terms.candidates[index]
    if variant.lowered.nodes[rule.when].kind is NodeKind.CONSTANT:
        return
    never = [code for code in _NEVER if (code, rule.span) in variant.told]
    if enough(variant, *_NEVER) and not never:
        return
    decides = candidate.acts if rule.action is Action.BUY else candidate.wins
    usually = variant.ask(decides, variant.in_order, *usual_account(variant), briefly=True)
    if usually is Answer.POSSIBLE or variant.ask(decides, variant.in_order) is not Answer.IMPOSSIBLE:
        return
    if variant.ask(candidate.matches, variant.in_order) is not Answer.POSSIBLE:
        return  # unreachable, which is told
    model = variant.model()
    for code in never if variant.is_large else ():
        if (earlier := again(variant, code, rule.span, _true_but_beaten(index))) is not None:
            yield earlier
            return
    stays = _stays(variant, index)
    if stays and variant.ask(candidate.matches, variant.in_order, *stays) is Answer.IMPOSSIBLE:
        yield _always_exits(variant, index)
    else:
        yield _shadowed(variant, index, model)


def _stays(variant: Variant, index: int) -> list[Formula]:
    """Return, exit by exit, that it is false on the facts after an entry."""
    after = variant.terms.after_entry(index)
    if after is None:
        return []
    return [after.node(_rule(variant, other).when_entry).false for other in variant.rules(Action.SELL)]


def _always_exits(variant: Variant, index: int) -> Finding:
    rule = _rule(variant, index)
    sells = variant.rules(Action.SELL)
    stays = _stays(variant, index)
    core = variant.least_core([variant.terms.candidates[index].matches, variant.in_order, *stays]) or []
    names = [
        f"'{_rule(variant, other).name}'"
        for other, formula in zip(sells, stays, strict=True)
        if any(formula is one for one in core)
    ]
    message = f"entry '{rule.name}' never buys: {' or '.join(names)} would sell what it bought at once"
    shown = example(
        variant,
        [variant.terms.candidates[index].matches, variant.in_order],
        lambda outcome: (
            outcome.decision.truths[index] == Truth.TRUE and outcome.decision.action is Action.HOLD
        ),
    )
    return found(variant, "entry-always-exits", message, rule.span, example=shown)


def _shadowed(variant: Variant, index: int, model: Model) -> Finding:
    rule, candidate = _rule(variant, index), variant.terms.candidates[index]
    others = [other for other in range(len(variant.lowered.rules)) if other != index]
    loses = [negation(variant.terms.candidates[other].wins) for other in others]
    gates = [(gate, negation(veto)) for gate, veto in candidate.vetoed_by]
    open_gates = [formula for _, formula in gates]
    stays = _stays(variant, index)
    most = _MOST_NAMED if variant.is_large else None
    core = variant.least_core([candidate.matches, variant.in_order, *loses, *open_gates, *stays], most) or []
    kept = {id(formula) for formula in core}
    rules = [
        f"'{_rule(variant, other).name}'"
        for other, formula in zip(others, loses, strict=True)
        if id(formula) in kept
    ]
    closed = [f"gate '{variant.lowered.gates[gate].name}'" for gate, formula in gates if id(formula) in kept]
    message = f"rule '{rule.name}' never decides"
    if rules:
        named = " or ".join(rules) if most is None or len(rules) <= most else "some other rule"
        message += f": whenever it is true, {named} does"
        message += ", or a gate vetoes it" if closed else ""
    elif closed:
        message += f": {' or '.join(closed)} always vetoes it"
    formulas, confirms = [candidate.matches, variant.in_order], _true_but_beaten(index)
    shown = shown_near(variant, model, formulas, confirms) if variant.is_large else None
    shown = shown or example(variant, formulas, confirms)
    return found(variant, "shadowed-rule", message, rule.span, example=shown)


def _true_but_beaten(index: int) -> Confirms:
    """Say of an outcome whether a rule is true and another decides, or none."""

    def confirms(outcome: Outcome) -> bool:
        return outcome.decision.truths[index] == Truth.TRUE and outcome.decision.rule != index

    return confirms


_NEVER: Final = ("shadowed-rule", "entry-always-exits")
_MOST_NAMED: Final = 4
_BEATEN: Final = (Disposition.OUTRANKED, Disposition.CONCURRED)


# --- priority ---------------------------------------------------------------------------------


def _priority_decides(variant: Variant, index: int) -> Iterator[Finding | None]:
    """Find a lower rule that would decide otherwise, were it the higher one; None where none is shown."""
    winner = variant.terms.candidates[index]
    rivals = [
        other for other in range(index + 1, len(variant.lowered.rules)) if _differ(variant, index, other)
    ]
    if not rivals:
        return
    span = _rule(variant, index).span

    def confirms(outcome: Outcome) -> bool:
        settled = outcome.decision.dispositions
        return outcome.decision.rule == index and any(settled[rival] in _BEATEN for rival in rivals)

    if (earlier := again(variant, "priority-decides", span, confirms)) is not None:
        yield earlier
        return
    if enough(variant, "priority-decides"):
        return
    higher = _rule(variant, index)
    # What follows an entry that is not sent is nobody's concern, and anything to the solver.
    acts = winner.acts if higher.action is Action.BUY else True
    meeting = {other: every((winner.wins, variant.terms.candidates[other].stands)) for other in rivals}
    asked = [some(meeting.values()), variant.in_order, *([acts] if variant.is_large else ())]
    if ask_plainly(variant, asked) is not Answer.POSSIBLE:
        return
    model = variant.model()
    other = next(rival for rival, formula in meeting.items() if model.truth(formula))
    fault = meeting[other]
    lower = _rule(variant, other)
    message = (
        f"'{higher.name}' decides over '{lower.name}' by its priority alone: "
        f"{_proposes(variant, higher)}, not {_proposes(variant, lower)}"
    )
    formulas = [fault, acts, variant.in_order]
    shown = shown_near(variant, model, formulas, confirms, index) if variant.is_large else None
    if variant.is_large and shown is None:
        yield None
        return
    where = region_around(
        variant, model, fault, given=[variant.in_order], beside=list(variant.terms.would_exit.values())
    )
    shown = shown or shown_in(variant, where, formulas, confirms)
    yield (
        None
        if shown is None
        else found(variant, "priority-decides", message, span, region=where, example=shown)
    )


def _differ(variant: Variant, one: int, other: int) -> bool:
    """Say whether swapping two rules could change a decision where both stand."""
    a, b = _rule(variant, one), _rule(variant, other)
    if variant.terms.exits_first and (a.action is Action.SELL or b.action is Action.SELL):
        return False  # the exit that leaves least wins, whatever its priority
    same_order = (a.size, a.size_measure, a.additive, a.min_step) == (
        b.size,
        b.size_measure,
        b.additive,
        b.min_step,
    )
    return a.action is not b.action or not same_order


def _proposes(variant: Variant, lowered: LoweredRule) -> str:
    return next(f"'{rule.then_text}'" for rule in variant.policy.rules if rule.name == lowered.name)


# --- gaps -------------------------------------------------------------------------------------


def _gap(variant: Variant) -> Iterator[Finding]:
    if not variant.lowered.rules:
        return
    first = variant.lowered.rules[0].span

    def confirms(outcome: Outcome) -> bool:
        return not any(outcome.decision.truths)

    if (earlier := again(variant, "gap", first, confirms)) is not None:
        yield earlier
        return
    matches: list[Formula] = [candidate.matches for candidate in variant.terms.candidates]
    fault = negation(some(matches))
    if variant.ask(fault, variant.in_order) is not Answer.POSSIBLE:
        return
    where = region_around(variant, variant.model(), fault, given=[variant.in_order])
    shown = shown_in(variant, where, [fault, variant.in_order], confirms)
    if shown is not None:
        message = "there are facts for which no rule decides"
        yield found(variant, "gap", message, first, region=where, example=shown)
