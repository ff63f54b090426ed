"""The one registry of findings: what is legal in a policy that loads, and probably not meant.

Whatever finds something, the loader today and the prover beside it, takes code and severity from here; the
pages in ``docs/findings`` and their table are held to it by tests.  Mistakes that keep a policy from loading
are errors and are not listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from engine.errors import Problem, Severity, Span

_WARNING: Final = Severity.WARNING
_INFORMATION: Final = Severity.INFORMATION


@dataclass(frozen=True, slots=True)
class FindingCode:
    """One kind of finding: what it says, why it matters and what to write instead, a sentence each."""

    code: str
    severity: Severity
    meaning: str
    why: str
    instead: str
    prover: bool = False
    """Whether only the prover finds it."""

    @property
    def page(self) -> str:
        """The page of it, from the root of the repository."""
        return f"docs/findings/{self.code}.md"


def finding(code: str, message: str, span: Span, hint: str = "") -> Problem:
    """Return a problem of a registered kind, as severe as the registry says; another code is a KeyError."""
    return Problem(code, message, span, hint, FINDING_CODES[code].severity)


_LOADER: Final = (
    FindingCode(
        "no-protective-rule",
        _WARNING,
        "no rule is protective: nothing guards a held position",
        "any cooldown, gate or Unknown fact may keep an ordinary exit from selling in a fall",
        "mark a stop loss  protective: true",
    ),
    FindingCode(
        "no-exit",
        _WARNING,
        "no rule ever sells",
        "what is bought is held for ever, and so is the cash in it",
        "add a rule that says  sell all",
    ),
    FindingCode(
        "gate-passes-unknown",
        _INFORMATION,
        "a gate lets sells pass while its condition is Unknown",
        "it is the one place where a missing fact does not stop an order, so each is listed",
        "leave out  if_unknown: pass  where waiting is the safer thing",
    ),
    FindingCode(
        "exit-price",
        _WARNING,
        "the limit price of sells reads a fact that may be Unknown while the quote is known",
        "without a price no sell can be sent, not even a protective one",
        "price sells from the bid",
    ),
    FindingCode(
        "vote-both",
        _WARNING,
        "both sides of a vote can be true at once",
        "such a vote casts nothing, and the signal is decided by the others without a word",
        "leave a gap between buy and sell",
    ),
    FindingCode(
        "unused",
        _WARNING,
        "a parameter, indicator, signal or definition that nothing reads",
        "whoever turns this knob believes that something changed",
        "use it or delete it",
    ),
    FindingCode(
        "constant",
        _WARNING,
        "a comparison reads no fact",
        "it is the same at every moment, so its rule never looks at what it seems to look at",
        "compare a fact",
    ),
    FindingCode(
        "own-bar",
        _WARNING,
        "a value is compared with the extreme of a window that holds the same bar",
        "nothing is above the highest of the values that it is one of: the breakout never comes",
        "compare with  prev(highest(...))",
    ),
    FindingCode(
        "calendars",
        _WARNING,
        "a series mixes bars of different calendars",
        "a bar that one of them lacks is a gap, so the value is Unknown for most of the day",
        "compute each side on its own bars, and compare the results",
    ),
    FindingCode(
        "clock-window",
        _WARNING,
        "a window of the day into which no cycle, or only one second, falls",
        "the policy decides at certain times of the day only, and at none of these",
        "decide more often with  every:, or widen the window",
    ),
    FindingCode(
        "timezone-default",
        _INFORMATION,
        "days are counted from midnight UTC, because the policy states no timezone",
        "for an American stock Monday then begins on Sunday evening",
        "add a line  timezone: America/New_York",
    ),
    FindingCode(
        "watch-only",
        _WARNING,
        "something is for symbols that are only watched",
        "a watched symbol is read and never traded, so this never acts",
        "list the symbol under 'symbols:' or 'weights:', or delete what is for it",
    ),
    FindingCode(
        "weights",
        _WARNING,
        "the weights add up to more than 100%",
        "cash runs out in the order of the file, and the last symbols are never bought in full",
        "let them add up to at most 100%",
    ),
    FindingCode(
        "comment-in-value",
        _WARNING,
        "a # without a blank behind it cuts a value short",
        "YAML drops the rest of the line without a word, and what is read is not what was typed",
        "put the value in quotes if # belongs to it, or write a blank behind #",
    ),
)

_PROVER: Final = (
    FindingCode(
        "unreachable-rule",
        _WARNING,
        "the condition of a rule contradicts itself: no facts make it true",
        "it reads like a rule and never proposes anything",
        "compare its bounds, and the parameters behind them",
        prover=True,
    ),
    FindingCode(
        "shadowed-rule",
        _WARNING,
        "whenever a rule is true, another one decides",
        "its size, its reason and its tuning have no effect on any decision",
        "give the narrower rule the higher priority, or keep the two apart",
        prover=True,
    ),
    FindingCode(
        "priority-decides",
        _INFORMATION,
        "two rules that propose different things can be true at once, and their priority alone decides",
        "a new number in a diff then changes orders without changing a condition",
        "say in the conditions what keeps them apart, unless the ranking is meant",
        prover=True,
    ),
    FindingCode(
        "exit-overruled",
        _WARNING,
        "under by_priority an entry, a hold or a trim wins while an exit stands",
        "the agent buys into, or sits through, what its own exit says to sell",
        "give exits the higher priority, or write  selection: exits_first",
        prover=True,
    ),
    FindingCode(
        "lost-signal",
        _WARNING,
        "a directional signal can come to nothing although it could be acted on",
        "a SELL that no rule takes up is a decision to hold, made by the clause that drops it",
        "drop the clause that loses it, or add a rule that takes it up",
        prover=True,
    ),
    FindingCode(
        "entry-against-signal",
        _WARNING,
        "a buy can be decided while a voted signal says to sell",
        "the policy trades against its own signal, and the signal's SELL is overridden without a word",
        "ask in the entry that the signal does not sell",
        prover=True,
    ),
    FindingCode(
        "lost-exit",
        _WARNING,
        "an exit can be true, nothing else decides, and nothing is sold",
        "the rule says sell, the person believes it, and the position stays",
        "take what swallows it out of the gates, or sell all instead of down to a level",
        prover=True,
    ),
    FindingCode(
        "gate-vetoes-exit",
        _WARNING,
        "a gate that is no matter of the venue can hold an exit up while it could be sent",
        "a cooldown meant for entries makes exits wait through a fall",
        "leave 'sell' out of what the gate vetoes",
        prover=True,
    ),
    FindingCode(
        "gate-vetoes-protective",
        _WARNING,
        "a gate can hold a protective rule up while it could be sent",
        "the stop that may wait is no stop",
        "leave 'protective' out of what the gate vetoes",
        prover=True,
    ),
    FindingCode(
        "trap",
        _WARNING,
        "a position in which no market and no clock ever makes the policy sell",
        "the cash in it is gone until a person notices",
        "let one protective rule depend on nothing but held and the market",
        prover=True,
    ),
    FindingCode(
        "entry-against-exit",
        _INFORMATION,
        "an entry can be proposed while an exit stands",
        "the exit wins, and the two rules disagree about the same market",
        "let the entry exclude what the exit looks for, or say  not held",
        prover=True,
    ),
    FindingCode(
        "entry-always-exits",
        _WARNING,
        "every order of an entry would be sold again at once, so would-exit always vetoes it",
        "the entry never buys, and the vetoes look like caution",
        "let the entry ask for more than the exit's negation, with room between the two",
        prover=True,
    ),
    FindingCode(
        "gap",
        _INFORMATION,
        "facts for which no rule proposes anything",
        "holding is then what nobody decided, not what somebody meant",
        "add a rule  then: hold  where holding is meant",
        prover=True,
    ),
    FindingCode(
        "always-true",
        _WARNING,
        "a condition, or a part of one, that no facts make false",
        "a filter that lets everything pass filters nothing",
        "look for 'or' where 'and' is meant, above all between two !=",
        prover=True,
    ),
    FindingCode(
        "always-false",
        _WARNING,
        "the condition of a gate or vote, or a part of a condition, that no facts make true",
        "a gate that never closes and a vote that is never cast protect and say nothing",
        "look for 'and' where 'or' is meant, above all between two ==",
        prover=True,
    ),
    FindingCode(
        "limit-never-binds",
        _INFORMATION,
        "a limit that no order of the policy ever reaches",
        "it is read as protection and is none",
        "state it in something that the size does not follow, or lower it",
        prover=True,
    ),
    FindingCode(
        "limit-always-binds",
        _WARNING,
        "a limit that shrinks or denies every order",
        "the size that the rule states is never the size that is sent",
        "state the intended size in the rule, and keep the limit for what is exceptional",
        prover=True,
    ),
    FindingCode(
        "promise-refuted",
        _WARNING,
        "facts exist under which a promise does not hold",
        "somebody relies on what the policy does not do",
        "mend the rule, or promise less",
        prover=True,
    ),
    FindingCode(
        "promise-undecided",
        _WARNING,
        "a promise was neither proved nor refuted",
        "until it is decided it is a wish",
        "promise it about comparisons with constants, or about fewer facts",
        prover=True,
    ),
    FindingCode(
        "unknown-enables",
        _WARNING,
        "a missing fact could make or enlarge a buy",
        "no policy may have this: the language is built so that what is unknown buys nothing",
        "keep the policy from trading and report it: the fault is ours",
        prover=True,
    ),
    FindingCode(
        "budget",
        _INFORMATION,
        "a question was left open, because its share of the time was used up",
        "nothing was found and nothing was excluded",
        "ask again with more time, or split the rule",
        prover=True,
    ),
)

FINDING_CODES: Final[Mapping[str, FindingCode]] = {row.code: row for row in (*_LOADER, *_PROVER)}
"""Every kind of finding by its code: the loader's, then the prover's."""
