"""The map of a policy: its regions for each group of symbols, in words, the most important first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from engine.codes import Action
from engine.evaluate.symbolic.formulas import begin_anew
from engine.evaluate.symbolic.solver import Budget
from engine.evaluate.verdict import WOULD_EXIT
from engine.language.policy import Listing, Policy
from engine.lowered import LoweredPolicy
from engine.prove.region_words import conditions, gate_words, gates_words, then_words, with_numbers
from engine.prove.regions import (
    UNKNOWN,
    Clause,
    Kind,
    MapRegion,
    Outcome,
    Proof,
    RegionMap,
    Subject,
    decompose,
)

_ORDER: Final = (Action.SELL, Action.BUY, Action.HOLD)
_NOBODY: Final = "no rule applies"
_SHORT: Final = 2
"""A region with so few conditions is told apart from what all others have in common."""


@dataclass(frozen=True, slots=True)
class RegionView:
    """A region for people.  ``then`` is what is done; ``why`` the deciding rule, or why nobody decides.

    ``conditions`` are all that must hold; ``told`` those that not nearly all regions of the map share.
    ``action`` is None where the region was left open.
    """

    number: int
    action: Action | None
    rule: str
    then: str
    why: str
    conditions: tuple[str, ...]
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group of gates that is told by one name, and what is in it."""

    name: str
    gates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SymbolsMap:
    """The map for the symbols that are decided alike."""

    words: str
    symbols: tuple[str, ...]
    regions: tuple[RegionView, ...]
    common: tuple[str, ...]
    gates: tuple[GroupView, ...]
    leaves: int
    proof: Proof

    @property
    def open(self) -> int:
        """How many regions were left open."""
        return sum(region.action is None for region in self.regions)


@dataclass(frozen=True, slots=True)
class PolicyMap:
    """The map of a whole policy."""

    policy: Policy
    maps: tuple[SymbolsMap, ...]

    @property
    def proved(self) -> bool:
        """Whether everything that it says is proved."""
        return all(part.proof.holds for part in self.maps)


def map_policy(
    policy: Policy, lowered: Mapping[str, LoweredPolicy], budget: Budget, scope: str = ""
) -> PolicyMap:
    """Return the regions of a policy; ``scope``, a class or a symbol, leaves the others out."""
    begin_anew()
    listings = [one for one in policy.traded if scope in ("", one.symbol, one.asset_class)]
    maps = tuple(
        _mapped(policy, members, lowered[members[0].symbol], budget) for members in _alike(listings, lowered)
    )
    return PolicyMap(policy, maps)


def _alike(listings: Sequence[Listing], lowered: Mapping[str, LoweredPolicy]) -> list[list[Listing]]:
    """Return the symbols that are decided alike together: what only orders read may differ."""
    groups: list[tuple[LoweredPolicy, list[Listing]]] = []
    for listing in listings:
        form = lowered[listing.symbol]
        decides = replace(
            form,
            asset_class="",
            buy_style=replace(form.buy_style, time_in_force=""),
            sell_style=replace(form.sell_style, time_in_force=""),
            limits=(),
        )
        found = next((members for other, members in groups if other == decides), None)
        if found is None:
            groups.append((decides, [listing]))
        else:
            found.append(listing)
    return [members for _, members in groups]


def _mapped(policy: Policy, members: Sequence[Listing], lowered: LoweredPolicy, budget: Budget) -> SymbolsMap:
    mapped = decompose(lowered, budget)
    shown = with_numbers(policy, members[0], lowered)
    common = _common(mapped.regions)
    ordered = sorted(mapped.regions, key=lambda region: _rank(mapped, region))
    views = tuple(
        _view(policy, members[0], shown, number, region, common) for number, region in enumerate(ordered, 1)
    )
    return SymbolsMap(
        words=symbols_words(policy, [listing.symbol for listing in members]),
        symbols=tuple(listing.symbol for listing in members),
        regions=views,
        common=tuple(conditions(shown, common)),
        gates=tuple(_groups(shown, mapped)),
        leaves=mapped.leaves,
        proof=mapped.proof,
    )


def _rank(mapped: RegionMap, region: MapRegion) -> tuple[int, int, int, tuple[str, ...]]:
    """Exits first, then entries, in the order of choice; what is left open last."""
    if region.outcome is None:
        return len(_ORDER), 0, 0, ()
    action, rule, stopped = region.outcome
    decider = rule if rule >= 0 else len(mapped.lowered.rules)
    return _ORDER.index(action), decider, len(stopped), stopped


def _common(regions: Sequence[MapRegion]) -> tuple[Clause, ...]:
    """Return the clauses that all regions share but those that are told in a few words."""
    long = [region.clauses for region in regions if len(region.clauses) > _SHORT]
    first = long[0] if long else ()
    return tuple(clause for clause in first if all(clause in other for other in long))


def _view(
    policy: Policy,
    listing: Listing,
    shown: LoweredPolicy,
    number: int,
    region: MapRegion,
    common: Sequence[Clause],
) -> RegionView:
    own = [clause for clause in region.clauses if clause not in common]
    if len(region.clauses) <= _SHORT:
        own = list(region.clauses)
    words, told = conditions(shown, region.clauses), conditions(shown, own)
    if region.outcome is None:
        return RegionView(number, None, "", "left open", "no time left", tuple(words), tuple(told))
    action, index, _ = region.outcome
    rule = shown.rules[index].name if index >= 0 else ""
    then = next(
        (then_words(policy, listing, one.then_text) for one in policy.rules if one.name == rule), "hold"
    )
    return RegionView(number, action, rule, then, rule or _why(region.outcome), tuple(words), tuple(told))


def _why(outcome: Outcome) -> str:
    named = {
        WOULD_EXIT: "an exit would follow the entry",
        UNKNOWN: "a condition is unknown",
        "once": "once is used up",
    }
    return " and ".join(named.get(name, gates_words(name)) for name in outcome.stopped_by) or _NOBODY


def _groups(shown: LoweredPolicy, mapped: RegionMap) -> Iterator[GroupView]:
    """Yield the groups of gates that some region speaks of."""
    spoken: dict[Subject, None] = {}
    for region in mapped.regions:
        for clause in region.clauses:
            spoken |= dict.fromkeys(one.subject for one in clause if one.subject.kind is Kind.GATES)
    told: set[str] = set()
    for _, nodes, name in spoken:
        if name not in told:
            told.add(name)
            yield GroupView(gates_words(name), tuple(gate_words(shown, nodes)))


def symbols_words(policy: Policy, symbols: Sequence[str]) -> str:
    """Return symbols in few words: "stock, crypto but DOGE-USD"."""
    parts: list[str] = []
    for asset_class in dict.fromkeys(listing.asset_class for listing in policy.traded):
        members = [one.symbol for one in policy.traded if one.asset_class == asset_class]
        chosen = [symbol for symbol in members if symbol in symbols]
        missing = [symbol for symbol in members if symbol not in symbols]
        if chosen and not missing:
            parts.append(asset_class)
        elif chosen and len(missing) < len(chosen):
            parts.append(f"{asset_class} but {', '.join(missing)}")
        else:
            parts += chosen
    return ", ".join(parts)
