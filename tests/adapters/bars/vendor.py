"""A vendor of bars in memory: pages, failures and the times it was asked, for tests of who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.bars.series import BarSeries
from adapters.bars.source import Adjustment, FetchFailedError, NoSuchSymbolError, Page, PageRequest
from adapters.symbols.directory import NotServed, Spelled
from adapters.symbols.inferred import infer_asset_class
from engine.model import AssetClass, Bar


def bars_of(times: Sequence[int], close: Callable[[int], float] = lambda number: 100.0) -> list[Bar]:
    """Return a bar at each time."""
    return [
        Bar(at, close(number), close(number) + 1, close(number) - 1, close(number), 7.0)
        for number, at in enumerate(times)
    ]


@dataclass(slots=True)
class MemoryVendor:
    """Serves ``bars`` by spelling, ``page_bars`` at a time; ``failures`` are raised first, in turn."""

    name: str
    bars: Mapping[str, Sequence[Bar]]
    page_bars: int = 1000
    native: int | None = None  # the only interval it has, 0 for none; None: whatever is asked for
    stuck: bool = False  # it says that there is more, and never gives it
    reach: int | None = None
    adjustment: Adjustment = Adjustment.RAW
    failures: list[FetchFailedError | None] = field(default_factory=list)
    asked: list[PageRequest] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    def native_seconds(self, interval_seconds: int, asset_class: AssetClass) -> int | None:
        """Return the interval it has."""
        return interval_seconds if self.native is None else self.native or None

    def reach_seconds(self, interval_seconds: int) -> int | None:
        """Return how far back it goes."""
        return self.reach

    def page(self, request: PageRequest, timeout_seconds: float) -> Page:
        """Return the next bars."""
        self.before()
        self.asked.append(request)
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        if request.spelling not in self.bars:
            raise NoSuchSymbolError(f"{self.name} does not know {request.spelling}")
        found = [
            bar
            for bar in self.bars[request.spelling]
            if request.start_ms <= bar.open_time_ms < request.end_ms
        ]
        series = BarSeries(request.interval_seconds)
        for bar in found[: self.page_bars]:
            series.append(bar)
        more = len(found) > self.page_bars
        end_ms = series.open_time_ms[-1] + request.interval_seconds * 1000 if more else request.end_ms
        if self.stuck:
            return Page(BarSeries(request.interval_seconds), request.start_ms)
        return Page(series, end_ms, self.adjustment)


@dataclass(slots=True)
class Directory:
    """Spells a symbol as it is, but for those told otherwise."""

    told: dict[tuple[str, str], Spelled | NotServed] = field(default_factory=dict)

    def spelled(self, source: str, symbol: str) -> Spelled | NotServed:
        """Return what was told, or the symbol itself."""
        return self.told.get((source, symbol), Spelled(symbol))

    def asset_class(self, symbol: str) -> AssetClass:
        """Return the class by the symbol's form."""
        return infer_asset_class(symbol)
