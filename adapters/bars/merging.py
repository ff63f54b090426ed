"""How a source's bars are merged into stored ones, and when they are refused.

*Merging.*  No bar stands twice.  The same source's newer word replaces its older one.  Of two sources the
earlier-ranked one wins; where their prices differ by more than ``CONFLICT_RATIO`` that is a conflict, counted
and told.  Volumes are not compared: they are those of different venues.

*Scales.*  A split, a change of currency or unit puts prices on another scale.  Where new bars overlap stored
ones at another scale, or prices jump from bar to bar as no trading does, nothing is merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.bars.partition import CLOSE, NUMBERS, Columns, Origin
from adapters.bars.reading import CLOSE_FACTOR, GAP_FACTOR, instant_text
from adapters.bars.source import Adjustment
from engine.errors import DataError

CONFLICT_RATIO: Final = 0.001
"""Prices of two sources that differ by more are a conflict; less is the noise between tapes."""

SCALE_RATIO: Final = 0.05
"""Shared bars whose closes differ by more in the median are on two scales: the smallest split is 11:10."""


class ScaleError(DataError):
    """Bars that do not fit those beside them: a split, another currency or unit, a bad print."""


@dataclass(slots=True)
class Merge:
    """What merging came to, in bars; ``conflict`` tells the first one."""

    added: int = 0
    revised: int = 0  # the same source's newer word
    replaced: int = 0  # an earlier-ranked source's, in place of a later one's
    conflicts: int = 0
    conflict: str = ""

    def add(self, other: Merge) -> None:
        """Count another one in."""
        self.added += other.added
        self.revised += other.revised
        self.replaced += other.replaced
        self.conflicts += other.conflicts
        self.conflict = self.conflict or other.conflict


def merged(old: Columns, new: Columns, ranking: Sequence[str], name: str) -> tuple[Columns, Merge]:
    """Merge bars of one origin into stored ones.

    ``ranking`` lists sources, the most trusted first; one that is absent ranks last.  ``name`` is what the
    bars are called in ``Merge.conflict``.  Returns ``old`` itself where nothing is new.
    """
    import numpy as np

    origin = new.origins[0]
    _, left, right = np.intersect1d(old.times, new.times, assume_unique=True, return_indices=True)
    holder = old.origin[left]
    ranks = np.array([_rank(ranking, known.source) for known in old.origins], np.int64)
    own = np.array([known.source == origin.source for known in old.origins], bool)[holder]

    changed = old.traded[left] != new.traded[right]
    apart = np.zeros(len(left), bool)
    for name_of_column, before, after in zip(NUMBERS, old.numbers, new.numbers, strict=True):
        one, other = before[left], after[right]
        differs = ~((one == other) | (np.isnan(one) & np.isnan(other)))
        changed |= differs
        if name_of_column != "volume":
            apart |= differs & ~(np.abs(one - other) <= CONFLICT_RATIO * np.abs(one))
    conflicts = apart & ~own
    # The same word again is no news: the stored bar stays, and says when it was first heard.
    wins = np.where(own, changed, ranks[holder] > _rank(ranking, origin.source))

    result = Merge(
        added=len(new) - len(right),
        revised=int(np.count_nonzero(wins & own)),
        replaced=int(np.count_nonzero(wins & ~own)),
        conflicts=int(np.count_nonzero(conflicts)),
    )
    if result.conflicts:
        at = int(np.argmax(conflicts))
        stored = old.origins[int(holder[at])].source
        result.conflict = (
            f"{name} {instant_text(int(old.times[left[at]]))}: {stored} closes at"
            f" {old.numbers[CLOSE][left[at]]:.10g}, {origin.source} at"
            f" {new.numbers[CLOSE][right[at]]:.10g}; {origin.source if wins[at] else stored} goes first"
        )
    if not result.added and not wins.any():
        return old, result
    keeps, takes = np.ones(len(old), bool), np.ones(len(new), bool)
    keeps[left[wins]] = False
    takes[right[~wins]] = False
    origins, index = _with_origin(old.origins, origin)
    return _both(old.taken(keeps), new.taken(takes), origins, index), result


def _both(kept: Columns, taken: Columns, origins: tuple[Origin, ...], index: int) -> Columns:
    import numpy as np

    both = Columns(
        np.concatenate([kept.times, taken.times]),
        tuple(np.concatenate(pair) for pair in zip(kept.numbers, taken.numbers, strict=True)),
        np.concatenate([kept.traded, taken.traded]),
        np.concatenate([kept.origin, np.full(len(taken), index, np.int16)]),
        origins,
    )
    return both.taken(np.argsort(both.times, kind="stable"))


def _rank(ranking: Sequence[str], source: str) -> int:
    return ranking.index(source) if source in ranking else len(ranking)


def _with_origin(origins: tuple[Origin, ...], origin: Origin) -> tuple[tuple[Origin, ...], int]:
    """Return the origins with one more, or with its newer time, and where it stands."""
    for index, known in enumerate(origins):
        if known.is_like(origin):
            return (*origins[:index], origin, *origins[index + 1 :]), index
    return (*origins, origin), len(origins)


# --- what is refused --------------------------------------------------------------------------


def check_bars(name: str, new: Columns, start_ms: int, end_ms: int) -> None:
    """Refuse what are no bars of the span [start_ms, end_ms); DataError naming the first one."""
    import numpy as np

    if not len(new):
        return
    if (new.times[1:] <= new.times[:-1]).any():
        raise DataError(f"{name}: the bars do not ascend in time")
    if new.times[0] < start_ms or new.times[-1] >= end_ms:
        raise DataError(f"{name}: there are bars outside the span they were asked for")
    opened, high, low, close, volume = new.numbers
    # A column that a source does not have is NaN, which is no mistake; the close is always there.
    wrong = ~((close > 0) & (close < np.inf)) | (volume < 0) | (volume == np.inf)
    for price in (opened, high, low):
        wrong |= (price <= 0) | (price == np.inf)
    wrong |= (low > high) | (close > high) | (close < low)
    if wrong.any():
        at_ms = int(new.times[np.argmax(wrong)])
        raise DataError(f"{name}: what it gives for {instant_text(at_ms)} is no bar")


def check_origins(symbol: str, origin: Origin, stored: Iterable[Origin]) -> None:
    """Refuse to mix calendars, currencies, or prices less dividends with others: no seam would show it."""
    for other in stored:
        if other.calendar != origin.calendar:
            raise ScaleError(
                f"{symbol}: stored are bars of the calendar {other.calendar}, these are of {origin.calendar};"
                " keep them in another store"
            )
        if other.currency != origin.currency:
            raise ScaleError(
                f"{symbol}: {origin.source} has prices in {origin.currency}, stored are prices in"
                f" {other.currency} from {other.source}; keep them in another store"
            )
        if Adjustment.ALL in (other.adjustment, origin.adjustment) and other.adjustment != origin.adjustment:
            raise ScaleError(
                f"{symbol}: {origin.source} has {_WORDS[origin.adjustment]} prices, stored are"
                f" {_WORDS[other.adjustment]} ones from {other.source}; fetch all of it anew, of one kind"
            )


_WORDS: Final = {
    Adjustment.RAW: "raw",
    Adjustment.SPLIT: "split-adjusted",
    Adjustment.ALL: "split- and dividend-adjusted",
}


def check_scale(symbol: str, old: Columns, new: Columns) -> None:
    """Refuse new bars that overlap stored ones at another scale."""
    import numpy as np

    _, left, right = np.intersect1d(old.times, new.times, assume_unique=True, return_indices=True)
    if not len(left):
        return
    ratio = float(np.median(new.numbers[CLOSE][right] / old.numbers[CLOSE][left]))
    if abs(ratio - 1) > SCALE_RATIO:
        raise ScaleError(
            f"{symbol}: {new.origins[0].source} now gives prices {ratio:.4g} times those stored for the same"
            f" {len(left)} bar(s) from {instant_text(int(new.times[right[0]]))} on: a split since they were"
            " fetched? Nothing was stored; fetch all of it anew"
        )


def check_jumps(symbol: str, parts: Sequence[Columns], new: Columns) -> None:
    """Refuse a jump beside or between the new bars, by the rule of ``adapters.bars.reading``.

    ``parts`` are merged bars, ascending, with the stored ones on both sides.
    """
    import numpy as np

    times = np.concatenate([part.times for part in parts])
    _, high, low, close, _ = (
        np.concatenate([part.numbers[column] for part in parts]) for column in range(len(NUMBERS))
    )
    ceiling, floor = np.where(np.isnan(high), close, high), np.where(np.isnan(low), close, low)
    jumps = (floor[1:] > ceiling[:-1] * GAP_FACTOR) | (ceiling[1:] * GAP_FACTOR < floor[:-1])
    jumps |= (close[1:] > close[:-1] * CLOSE_FACTOR) | (close[1:] * CLOSE_FACTOR < close[:-1])
    # What was stored before was looked at then, and perhaps allowed.
    fresh = np.isin(times, new.times, assume_unique=True)
    jumps &= fresh[1:] | fresh[:-1]
    if not jumps.any():
        return
    at = int(np.argmax(jumps))
    raise ScaleError(
        f"{symbol}: from {instant_text(int(times[at]))} to {instant_text(int(times[at + 1]))} the price goes"
        f" from {close[at]:.10g} to {close[at + 1]:.10g}, a factor {close[at + 1] / close[at]:.4g}, without"
        " trading between: an unadjusted split, a wrong unit, a bad print? Nothing was stored"
    )
