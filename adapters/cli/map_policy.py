"""``tradectl map-policy``: all that a policy does, region by region, on the terminal and as one page."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from adapters.bootstrap.policies import load_named_policy
from adapters.cli.listed import WIDTH, wrapped
from adapters.cli.output import ExitCode, Output, common_options
from adapters.cli.writing import require_new, write_new
from engine.errors import NotFoundError

if TYPE_CHECKING:
    from engine.language.policy import Policy
    from engine.prove.policy_map import PolicyMap, RegionView, SymbolsMap
    from engine.prove.regions import Proof

SCHEMA: Final = "map-policy-v1"
BUDGET_SECONDS: Final = 60.0
OF_KNOWN_FACTS: Final = (
    "What is decided where facts are known. Where one is unknown, a rule that reads it proposes nothing, and "
    "an entry that could depend on it is withheld: an unknown fact never makes a buy."
)


@click.command
@click.argument("name", metavar="POLICY")
@click.option("--for", "scope", metavar="NAME", default="", help="Only this asset class or symbol.")
@click.option(
    "--html", "page", metavar="FILE", help="Write the map to FILE, too: one page, nothing from elsewhere."
)
@click.option("--force", is_flag=True, help="Let --html write over a file.")
@click.option(
    "--budget",
    "budget_seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=BUDGET_SECONDS,
    metavar="SECONDS",
    help=f"The time there is; what it leaves open is said [{BUDGET_SECONDS:g}].",
)
@common_options
def command(
    output: Output, name: str, scope: str, page: str | None, force: bool, budget_seconds: float
) -> ExitCode:
    """Show all that POLICY (a file, or the name of a shipped one) does, region by region.

    Each region is a condition with its outcome and the rule that decides. The regions of a symbol are proved
    to be disjoint and to cover all known facts. Ends with 1 if something could not be proved in time.
    """
    loaded = load_named_policy(name)
    policy = loaded.required()
    _require_scope(policy, scope)
    if page is not None:
        require_new(Path(page), force=force)
    from engine.evaluate.symbolic.solver import Budget  # z3 takes longer to load than a policy
    from engine.prove.policy_map import map_policy

    until = time.monotonic() + budget_seconds
    budget = Budget(lambda: time.monotonic() > until, lambda: until - time.monotonic())
    mapped = map_policy(policy, loaded.lowered, budget, scope)
    if page is not None:
        from adapters.cli.map_html import html_page

        write_new(Path(page), html_page(mapped), force=force)
    if output.as_json:
        output.document(document(mapped))
    else:
        output.show("\n".join(listing(mapped)))
    return ExitCode.OK if mapped.proved else ExitCode.FINDING


def _require_scope(policy: Policy, scope: str) -> None:
    names = dict.fromkeys(name for one in policy.traded for name in (one.asset_class, one.symbol))
    if scope and scope not in names:
        raise NotFoundError(f"{policy.source.name}: trades no '{scope}'; there are: {', '.join(names)}")


# --- text -------------------------------------------------------------------------------------


def listing(mapped: PolicyMap) -> Iterator[str]:
    """Lay the map out for people."""
    policy = mapped.policy
    yield f"{policy.name} {policy.version} ({policy.digest[:6]})"
    for part in mapped.maps:
        yield ""
        yield from _part(part)
    yield ""
    yield from textwrap.wrap(OF_KNOWN_FACTS, WIDTH)


def _part(part: SymbolsMap) -> Iterator[str]:
    yield f"{part.words}: {counted(part)}"
    if part.common:
        short = [str(region.number) for region in part.regions if region.told == region.conditions]
        but = f", but in {' and '.join(short)}" if short else ""
        yield f"  always{but}: {', '.join(part.common)}"
    for heading, regions in groupby(part.regions, heading_of):
        yield f"  {heading}"
        for region in regions:
            yield from wrapped(f"{region.number:5}  ", region.told or ("always",))
    if part.gates:
        yield "  closed while any of these holds"
        for group in part.gates:
            yield from wrapped(f"       {group.name}: ", group.gates)


def heading_of(region: RegionView) -> str:
    """Return what a region's outcome is: "SELL  sell all, by stop-loss"."""
    if region.action is None:
        return "LEFT OPEN  there was no time to decide it"
    if region.action.name == "HOLD":
        return f"HOLD  {'by ' if region.rule else ''}{region.why}"
    return f"{region.action.name}  {region.then}, by {region.rule}"


def counted(part: SymbolsMap) -> str:
    """Return how many regions there are, and what is proved of them."""
    count = len(part.regions)
    left = f" ({part.open} left open)" if part.open else ""
    return f"{count} region{'s' if count != 1 else ''}{left}; {proof_words(part.proof)}"


def proof_words(proof: Proof) -> str:
    """Return what is proved, refuted (a mistake of ours), or undecided."""
    if proof.holds:
        return "proved: disjoint, covering, each decided as it says"
    parts = {"covering": proof.covering, "disjoint": proof.disjoint, "decided as they say": proof.decided}
    words = {True: "proved", False: "REFUTED", None: "undecided"}
    return ", ".join(f"{what}: {words[found]}" for what, found in parts.items())


# --- json -------------------------------------------------------------------------------------


def document(mapped: PolicyMap) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    policy = mapped.policy
    return {
        "schema": SCHEMA,
        "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest},
        "proved": mapped.proved,
        "maps": [_part_document(part) for part in mapped.maps],
    }


def _part_document(part: SymbolsMap) -> dict[str, Any]:
    return {
        "for": part.words,
        "symbols": list(part.symbols),
        "proof": {
            "covering": part.proof.covering,
            "disjoint": part.proof.disjoint,
            "decided": part.proof.decided,
        },
        "regions_before_merging": part.leaves,
        "regions": [
            {
                "number": region.number,
                "action": None if region.action is None else region.action.name.lower(),
                "rule": region.rule or None,
                "then": region.then,
                "why": region.why,
                "conditions": list(region.conditions),
            }
            for region in part.regions
        ],
        "gates": [{"name": group.name, "any_of": list(group.gates)} for group in part.gates],
    }
