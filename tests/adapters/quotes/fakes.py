"""Sources that do as they are told, a directory in a dictionary, and a router made of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from adapters.quotes.router import QuoteRouter
from adapters.quotes.router_settings import RouterSettings
from adapters.quotes.source import Answer, Miss, Outcome, SourceFailedError, SourceQuote
from adapters.symbols.directory import NotServed, Spelled
from adapters.symbols.inferred import infer_asset_class
from engine.errors import NotFoundError
from engine.model import AssetClass, QuoteKind
from tests.adapters.quotes.virtual import FOREVER, VirtualClock, virtual

NO_BUDGETS = RouterSettings()
_A_CALL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Act:
    """What a source does when it is asked for a symbol: its answer, and how long that takes."""

    answer: Answer | SourceFailedError | Exception | None
    seconds: float = _A_CALL_SECONDS


HANGS = Act(None, FOREVER)
SILENT = Act(None)
NO_DATA = Act(Miss(Outcome.NO_DATA, "it has no price now"))
UNSUPPORTED = Act(Miss(Outcome.UNSUPPORTED, "it does not know the symbol"))
FAILS = Act(SourceFailedError("HTTP 500"))
ONE_FAILS = Act(Miss(Outcome.FAILED, "it cannot be read"))
RATE_LIMITED = Act(SourceFailedError("HTTP 429", retry_after_seconds=30.0))
BROKEN_CLIENT = Act(RuntimeError("https://vendor.example?token=SENTINEL-KEY"))

Behaviour = Callable[[str], Act]


@dataclass
class FakeSource:
    """A source; ``act`` says what it does for a spelling.  ``calls`` has when it was asked, and for what."""

    name: str
    clock: VirtualClock
    act: Behaviour = lambda spelling: SILENT
    batch: int = 1
    calls: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Do as told; whatever fails in a batch fails all of it, and the slowest is waited for."""
        assert 0 < len(spellings) <= self.batch
        assert timeout_seconds > 0
        self.calls.append((self.clock.monotonic_ns(), tuple(spellings)))
        acts = {spelling: self.act(spelling) for spelling in spellings}
        self.clock.sleep(max(act.seconds for act in acts.values()))
        answers: dict[str, Answer] = {}
        for spelling, act in acts.items():
            if isinstance(act.answer, Exception):
                raise act.answer
            if act.answer is not None:
                answers[spelling] = act.answer
        return answers

    @property
    def asked(self) -> list[str]:
        """Every spelling that was asked for, in order."""
        return [spelling for _, spellings in self.calls for spelling in spellings]


@dataclass
class FakeDirectory:
    """A ``SymbolDirectory`` of spellings by (source, symbol); what is not in it is spelled as it is."""

    spellings: dict[tuple[str, str], Spelled | NotServed] = field(default_factory=dict)

    def spelled(self, source: str, symbol: str) -> Spelled | NotServed:
        """Return how a source writes a symbol."""
        return self.spellings.get((source, symbol), Spelled(symbol))

    def asset_class(self, symbol: str) -> AssetClass:
        """Return the class that the symbol's form says; NO-SUCH is no symbol."""
        if symbol == "NO-SUCH":
            raise NotFoundError("there is no symbol NO-SUCH")
        return infer_asset_class(symbol)


def price(
    clock: VirtualClock,
    text: str = "100",
    *,
    age_seconds: float | None = 1.0,
    spread: str = "0",
    currency: str = "USD",
    kind: QuoteKind = QuoteKind.QUOTE,
) -> SourceQuote:
    """Return a price that a source stamped so long ago; None: it gives no time."""
    now_ms = clock.now_utc_ms()
    value = Decimal(text)
    stamp = None if age_seconds is None else now_ms - round(age_seconds * 1000)
    return SourceQuote(value, value - Decimal(spread), value + Decimal(spread), currency, kind, stamp, now_ms)


def fresh(clock: VirtualClock, text: str = "100", seconds: float = _A_CALL_SECONDS) -> Behaviour:
    """Return the behaviour of a source that works."""
    return lambda spelling: Act(price(clock, text), seconds)


def always(act: Act) -> Behaviour:
    """Return a behaviour that is the same for every symbol."""
    return lambda spelling: act


@dataclass
class World:
    """Everything a router is made of."""

    clock: VirtualClock
    sources: Mapping[str, FakeSource]
    order: Mapping[AssetClass, Sequence[str]]
    directory: FakeDirectory
    settings: RouterSettings
    seed: int = 1

    def router(self) -> QuoteRouter:
        """Return the real one."""
        return QuoteRouter(
            self.order,
            self.sources,
            self.directory,
            self.clock,
            random.Random(self.seed),
            self.settings,
            **virtual(self.clock),
        )

    def deadline_ms(self, after_ms: int = 5_000) -> int:
        """Return a deadline so long from now."""
        return self.clock.now_utc_ms() + after_ms


def world(
    *behaviours: Act | Callable[[VirtualClock], Behaviour],
    batch: int = 1,
    settings: RouterSettings = NO_BUDGETS,
    directory: FakeDirectory | None = None,
) -> World:
    """Return a world of sources named a, b, c ... asked in that order for every class."""
    clock = VirtualClock()
    names = [chr(ord("a") + index) for index in range(len(behaviours))]
    sources = {
        name: FakeSource(name, clock, always(told) if isinstance(told, Act) else told(clock), batch)
        for name, told in zip(names, behaviours, strict=True)
    }
    order = dict.fromkeys(AssetClass, tuple(names))
    return World(clock, sources, order, directory or FakeDirectory(), settings)
