"""``tradectl diff-policy``: do two policies decide alike, and where not?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from adapters.bootstrap.policies import load_named_policy
from adapters.cli.diff_on import History, history, history_document, history_lines
from adapters.cli.listed import wrapped
from adapters.cli.output import ExitCode, Output, common_options

if TYPE_CHECKING:
    from engine.language.policy import Policy
    from engine.prove.compared import GroupDifference, OutcomeView, Place, PolicyDifference

SCHEMA: Final = "diff-policy-v1"
BUDGET_SECONDS: Final = 60.0


@click.command
@click.argument("old_name", metavar="OLD")
@click.argument("new_name", metavar="NEW")
@click.option(
    "--budget",
    "budget_seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=BUDGET_SECONDS,
    metavar="SECONDS",
    help=f"The time there is; what it leaves undecided is said [{BUDGET_SECONDS:g}].",
)
@click.option(
    "--on",
    metavar="JOURNAL|bars:GLOB",
    help="Also what history would have been: an agent's name, a journal's file, or files of bars.",
)
@click.option(
    "--cycles", type=click.IntRange(1), help="How many cycles --on bars: runs [until the bars end]."
)
@common_options
def command(
    output: Output, old_name: str, new_name: str, budget_seconds: float, on: str | None, cycles: int | None
) -> ExitCode:
    """Compare what the policies OLD and NEW (files, or names of shipped ones) decide.

    Either it is proved that they decide alike, or the regions are shown where they do not, each with an
    example on which both were run. Ends with 0 if they decide alike, else with 1, also if that is undecided.
    """
    if cycles is not None and not (on or "").startswith("bars:"):
        raise click.UsageError("--cycles goes with --on bars:GLOB")
    old, new = load_named_policy(old_name), load_named_policy(new_name)
    old.required(), new.required()
    from engine.evaluate.symbolic.solver import Budget  # z3 takes longer to load than a policy
    from engine.prove.compared import compare

    until = time.monotonic() + budget_seconds
    budget = Budget(lambda: time.monotonic() > until, lambda: until - time.monotonic())
    found = compare(old.required(), new.required(), old.lowered, new.lowered, budget)
    past = None if on is None else history(on, old.required(), new.required(), output.state_dir, cycles)
    if output.as_json:
        output.document(document(found, past))
    else:
        output.show("\n".join(listing(found, past)))
    return ExitCode.OK if found.equal else ExitCode.FINDING


# --- text -------------------------------------------------------------------------------------


def listing(found: PolicyDifference, past: History | None = None) -> Iterator[str]:
    """Lay the comparison out for people."""
    yield f"OLD  {_title(found.old)}"
    yield f"NEW  {_title(found.new)}"
    yield ""
    for which, symbols in (("OLD", found.only_old), ("NEW", found.only_new)):
        if symbols:
            yield f"traded by {which} only: {', '.join(symbols)}"
    for group in found.groups:
        yield from _group(group)
    if found.beside:
        yield ""
        yield "also said differently"
        yield from (f"  {line}" for line in found.beside)
    if past is not None:
        yield ""
        yield from history_lines(past)
    yield ""
    yield verdict(found)


def _title(policy: Policy) -> str:
    return f"{policy.name} {policy.version} ({policy.digest[:6]})   {policy.source.name}"


def verdict(found: PolicyDifference) -> str:
    """Return the answer as a sentence."""
    if found.equal:
        return "They decide alike, whatever the facts: proved."
    if found.equal is None:
        return "Undecided: no difference was found, and none was ruled out."
    return "They decide differently."


def _group(group: GroupDifference) -> Iterator[str]:
    yield f"{group.words}: {_summary(group)}"
    for number, place in enumerate(group.places, 1):
        if place.conditions:
            yield from wrapped(f"{number:5}  ", place.conditions)
        else:
            yield f"{number:5}  one example, without the region around it"
        yield f"         OLD  {outcome_words(place.old)}"
        yield f"         NEW  {outcome_words(place.new)}"
        facts = [f"{name} {value}" for name, value in place.facts]
        yield from wrapped(f"         as in  {place.symbol}: ", facts)


def _summary(group: GroupDifference) -> str:
    if group.equal:
        return "decided alike, proved"
    if group.redefined:
        what = f"what these mean differs, so no proof covers it: {', '.join(group.redefined)}"
        return what if not group.places else f"decided differently; {what}"
    if group.equal is None:
        return "undecided"
    count = sum(bool(place.conditions) for place in group.places)
    where = f"in {count} region{'s' if count != 1 else ''}" if count else "somewhere"
    return (
        f"decided differently {where}, proved to be all"
        if group.complete
        else f"decided differently {where}, at least"
    )


def outcome_words(outcome: OutcomeView) -> str:
    """Return what one policy does on the example."""
    if outcome.action.name == "HOLD":
        return f"HOLD{f'  by {outcome.rule}' if outcome.rule else ''}"
    return f"{outcome.action.name}  {outcome.then}, by {outcome.rule}  ({outcome.order})"


# --- json -------------------------------------------------------------------------------------


def document(found: PolicyDifference, past: History | None = None) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    return {
        "schema": SCHEMA,
        "old": _policy(found.old),
        "new": _policy(found.new),
        "equal": found.equal,
        "only_old": list(found.only_old),
        "only_new": list(found.only_new),
        "groups": [
            {
                "for": group.words,
                "symbols": list(group.symbols),
                "equal": group.equal,
                "complete": group.complete,
                "redefined": list(group.redefined),
                "regions": [_place(place) for place in group.places],
            }
            for group in found.groups
        ],
        "beside": list(found.beside),
        "history": None if past is None else history_document(past),
    }


def _policy(policy: Policy) -> dict[str, Any]:
    return {"name": policy.name, "version": policy.version, "digest": policy.digest}


def _place(place: Place) -> dict[str, Any]:
    return {
        "conditions": list(place.conditions),
        "old": _outcome(place.old),
        "new": _outcome(place.new),
        "example": {
            "symbol": place.symbol,
            "facts": dict(place.facts),
            "reproduces": place.reproduces,
        },
    }


def _outcome(outcome: OutcomeView) -> dict[str, Any]:
    return {
        "action": outcome.action.name.lower(),
        "rule": outcome.rule or None,
        "then": outcome.then,
        "order": outcome.order or None,
    }
