"""``tradectl explain``: why a symbol was decided as it was, and why not otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from time import monotonic
from typing import Final

import click

from adapters.bootstrap.policies import DEFAULT_POLICY, load_named_policy
from adapters.cli.output import ExitCode, Output, common_options
from engine.codes import Action
from engine.errors import NotFoundError, PolicyError, Problem, UnavailableError
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.lower import lower
from engine.language.policy import Listing, Policy
from engine.language.source import MAX_BYTES, load_document
from engine.lowered import LoweredPolicy
from engine.model import Decision
from engine.verbs.decide import decide
from engine.verbs.explain import explain
from engine.verbs.explanation import Explanation, MakeIt, RuleView, WhyNot
from engine.verbs.statement import Statement, parse_statement, what_if_statement
from engine.verbs.vector import Origin, Vector, fact_vector


@dataclass(frozen=True, slots=True)
class Subject:
    """What is explained: a decision, and the facts and policy it was made of."""

    policy: Policy
    listing: Listing
    lowered: LoweredPolicy
    vector: Vector
    decision: Decision


@dataclass(frozen=True, slots=True)
class Asked:
    """What another action is asked about a decision."""

    why_not: Action | None = None
    make_it: Action | None = None


SEARCH_SECONDS: Final = 3.0
"""How long smaller changes are looked for: what was found by then is shown."""
QUESTION_LIMIT: Final = 600_000
"""Of the solver's own units: most questions need a hundredth of it, and some have no end."""


@click.command
@click.argument("symbol")
@click.option("--at", metavar="TIME", help="The decision at or before an instant [the last one].")
@click.option("--agent", metavar="NAME", help="Which agent's journal [the one that ran last].")
@click.option(
    "--facts", "facts_file", metavar="FILE", help="Facts of a file, not a journal's; - reads standard input."
)
@click.option(
    "--policy",
    "policy_name",
    metavar="FILE|NAME",
    help=f"Decide with this policy [the one that decided; with --facts: {DEFAULT_POLICY}].",
)
@click.option("--what-if", multiple=True, metavar="NAME=VALUE", help="Another value of a fact, as in rsi=81.")
@click.option(
    "--why-not",
    type=click.Choice([action.name.lower() for action in Action]),
    help="What keeps this action's rules from deciding, and what would do.",
)
@click.option(
    "--make-it",
    type=click.Choice([action.name.lower() for action in Action]),
    help="The smallest changes of market or clock that would give this action.",
)
@common_options
def command(
    output: Output,
    symbol: str,
    at: str | None,
    agent: str | None,
    facts_file: str | None,
    policy_name: str | None,
    what_if: tuple[str, ...],
    why_not: str | None,
    make_it: str | None,
) -> ExitCode:
    """Say why SYMBOL was decided as it was, and why not otherwise.

    Each rule, gate, limit and signal is shown with the values compared and by how much they miss.  A decision
    out of the journal is made again from its record, by the policy as it was then; exit code 1 says that it
    comes out differently.  --policy and --what-if ask what the same facts would decide otherwise; --make-it
    asks which smallest changes of what market and clock move would: fewest facts first, each decided again.
    """
    if why_not is not None and make_it is not None:
        raise click.UsageError("--why-not and --make-it are two questions: ask one at a time")
    asked = Asked(_action(why_not), _action(make_it))
    overrides = what_if_statement(what_if) if what_if else None
    if facts_file is None:
        from adapters.cli.explain_journal import explain_recorded

        return explain_recorded(output, symbol, at, agent, policy_name, overrides, asked)
    if at is not None or agent is not None:
        raise click.UsageError("--at and --agent ask a journal: leave them out with --facts")
    subject = decided_from_facts(symbol, facts_file, policy_name or DEFAULT_POLICY, overrides)
    explanation = explained(subject, asked)
    if output.as_json:
        output.document(explanation.to_json())
    else:
        output.show("\n".join(laid_out(explanation)))
    return ExitCode.OK


def _action(word: str | None) -> Action | None:
    return None if word is None else Action[word.upper()]


def explained(subject: Subject, asked: Asked) -> Explanation:
    """Explain a decision, and find what would have given another action where that is asked."""
    wanted = asked.why_not if asked.make_it is None else asked.make_it
    reached = None
    if wanted is not None and subject.decision.action is not wanted:
        # Only this question needs the solver, which takes as long to import as all else.
        from engine.evaluate.symbolic.solver import Budget
        from engine.prove.changes import counterfactuals

        until = monotonic() + SEARCH_SECONDS
        budget = Budget(over=lambda: monotonic() > until, question_limit=QUESTION_LIMIT)
        reached = counterfactuals(
            subject.policy, subject.listing, subject.lowered, subject.vector, wanted, budget
        )
    return explain(
        subject.policy,
        subject.lowered,
        subject.vector,
        subject.decision,
        asked.why_not,
        make_it=asked.make_it,
        reached=reached,
    )


def decided_from_facts(
    symbol: str, facts_file: str, policy_name: str, what_if: Statement | None = None
) -> Subject:
    """Decide on a facts file, as an agent would on the same facts."""
    policy = load_named_policy(policy_name).required()
    listing = traded_listing(policy, symbol)
    lowered = lower(policy, listing)
    statement = _read_facts(facts_file, symbol)
    vector = fact_vector(policy, lowered, listing, statement, what_if=what_if)
    decision = decide(ReferenceEvaluator(lowered), list(vector.values), vector.situation)
    return Subject(policy, listing, lowered, vector, decision)


def traded_listing(policy: Policy, symbol: str) -> Listing:
    """Return the listing of a symbol that a policy trades; NotFoundError."""
    listing = policy.listing(symbol)
    if listing is None or not listing.traded:
        traded = [other.symbol for other in policy.traded]
        near = get_close_matches(symbol.upper(), traded, 1)
        hint = f"did you mean {near[0]}?" if near else f"it trades {', '.join(traded)}"
        raise NotFoundError(f"policy '{policy.name}' does not trade '{symbol}': {hint}")
    return listing


def _read_facts(name: str, symbol: str) -> Statement:
    statement = parse_statement(load_document(*_bounded(name)))
    if statement.symbol is not None and statement.symbol != symbol:
        problem = Problem(
            "other-symbol",
            f"these facts are of '{statement.symbol}', and '{symbol}' was asked for",
            statement.symbol_span,
            f"ask for {statement.symbol}, or delete the line",
        )
        raise PolicyError(statement.source, (problem,))
    return statement


def _bounded(name: str) -> tuple[bytes, str]:
    """Read a file no further than it takes to see that it is too large."""
    if name == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>"
    try:
        with Path(name).open("rb") as file:
            return file.read(MAX_BYTES + 1), name
    except FileNotFoundError:
        raise NotFoundError(f"there is no facts file '{name}'") from None
    except OSError as error:
        raise UnavailableError(f"{name}: cannot be read ({error.strerror})") from error


# --- layout -----------------------------------------------------------------------------------

_LABEL = 9
_LINE = 90
_MARKS = {"none": "-", "acted": "+", "concurred": "=", "working": "=", "at_level": "="}


def laid_out(explanation: Explanation, followed: Iterable[str] = ()) -> Iterator[str]:
    """Lay an explanation out for people, line by line; ``followed`` are lines on what came of the order."""
    yield _header(explanation)
    if explanation.make_it is not None:
        yield from _to(explanation.make_it)
        return
    if explanation.why_not is None or explanation.rule is not None:
        decider = f"{explanation.rule}: " if explanation.rule is not None else ""
        yield from rows("because", [f"{decider}{explanation.because}"])
    if explanation.order is not None:
        yield from rows("order", [explanation.order.text])
    yield from followed
    width = max((len(f"{signal.name} {signal.shown}") for signal in explanation.signals), default=0)
    yield from rows(
        "signal",
        [f"{f'{signal.name} {signal.shown}':<{width}}   {signal.text}" for signal in explanation.signals],
    )
    if explanation.why_not is None:
        yield from rows("rules", _rules(explanation.rules))
        yield from rows("gates", _gates(explanation))
        yield from rows("limits", _named((limit.name, limit.text) for limit in explanation.limits))
    else:
        asked = {rule.name for rule in explanation.why_not.rules}
        yield from rows("rules", _rules([rule for rule in explanation.rules if rule.name in asked]))
        yield from _to(explanation.why_not)
    assumed = [fact for fact in explanation.facts if fact.origin == Origin.ASSUMED.value]
    yield from rows("assumed", _named((f"{fact.name} {fact.shown}", fact.because) for fact in assumed))
    if explanation.why_not is None:
        yield from rows("taken as", _named(_taken(explanation)))
        yield from rows("missing", _named(_missing(explanation)))
    yield from rows("note", explanation.notes)


def _to(asked: WhyNot | MakeIt) -> Iterator[str]:
    """Lay out what would do: on one line where that is short, else one below the other."""
    texts = [change.text for change in asked.changes] or [asked.text]
    one_line = "   or   ".join(texts)
    if len(one_line) <= _LINE:
        texts = [one_line]
    yield from rows(f"to {asked.action}", [texts[0], *(f"or   {text}" for text in texts[1:])])


def _header(explanation: Explanation) -> str:
    at = f"  {explanation.at.replace('T', ' ')}" if explanation.at else ""
    policy = f"{explanation.policy} {explanation.version} ({explanation.digest[:6]})"
    decision = f"decision: {explanation.action.upper()}"
    return f"{explanation.symbol}{at}   {policy}   {decision}   ({explanation.position})"


def rows(label: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield lines with a label before the first."""
    for index, row in enumerate(lines):
        yield f"{label if index == 0 else '':<{_LABEL}}{row}".rstrip()


def _named(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Lay pairs out in two columns."""
    listed = list(pairs)
    width = max((len(name) for name, _ in listed), default=0)
    return [f"{name:<{width}}   {text}" for name, text in listed]


def _rules(rules: Sequence[RuleView]) -> list[str]:
    """Mark what decided with +, what agreed with =, what was stopped with !, Unknown with ?."""
    marks = ["?" if rule.truth == "unknown" else _MARKS.get(rule.disposition, "!") for rule in rules]
    return _named((f"{mark} {rule.name}", rule.text) for mark, rule in zip(marks, rules, strict=True))


def _gates(explanation: Explanation) -> list[str]:
    closed = [
        gate for gate in explanation.gates if "false" not in (gate.truth, gate.entry_truth) or gate.vetoed
    ]
    rows = [
        (
            f"{'?' if gate.truth == 'unknown' else '!'} {gate.name}",
            f"{gate.text} (vetoes {', '.join(gate.vetoes)})",
        )
        for gate in closed
    ]
    opened = [gate.name for gate in explanation.gates if gate not in closed and not gate.reserved]
    return [*_named(rows), *([f"- open: {', '.join(opened)}"] if opened else [])]


def _taken(explanation: Explanation) -> Iterator[tuple[str, str]]:
    """Yield what nobody stated and has a value all the same."""
    for origin in (Origin.WHAT_IF, Origin.DERIVED, Origin.DEFAULT):
        taken = [fact for fact in explanation.facts if fact.own and fact.origin == origin.value]
        texts = [f"{fact.name} {fact.shown}" for fact in taken if fact.value is not None]
        if texts:
            yield origin.value, ", ".join(texts)


def _missing(explanation: Explanation) -> Iterator[tuple[str, str]]:
    """Group the Unknown facts that the policy reads by their reason."""
    by_reason: dict[str, list[str]] = {}
    for fact in explanation.facts:
        if fact.own and fact.reason is not None:
            by_reason.setdefault(fact.reason, []).append(fact.name)
    for reason, names in by_reason.items():
        yield reason.replace("_", " "), ", ".join(dict.fromkeys(names))
