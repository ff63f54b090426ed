"""The bar desk: what is fresh, stale, a gap, or a bar without a trade."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.calendar import ExchangeCalendars
from engine.codes import UnknownReason
from engine.errors import DataError, UnavailableError
from engine.language.load import load_policy
from engine.lowered import LoweredPolicy
from engine.model import Bar
from engine.runtime.desk import ALWAYS_OPEN, BarDesk, Source, history_needed_seconds
from engine.verbs.facts import Known
from engine.verbs.state import NEVER
from tests.engine.verbs.deciding import lowered_of, policy_of

_R = UnknownReason
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
CALENDAR = ExchangeCalendars()  # a pure function of dates, and slow to load
RULES = "rules: {hold: {priority: 1, then: hold, when: '%s'}}\n"


def at(text: str) -> int:
    """Return an instant of New York's winter time."""
    return int(datetime.fromisoformat(text + "-05:00").astimezone(UTC).timestamp() * 1000)


def calendar_of(symbol: str) -> str:
    """A dash is a coin."""
    return ALWAYS_OPEN if "-" in symbol else "NYSE"


class Bars:
    """A source of bars that a test fills."""

    def __init__(self) -> None:
        """Begin empty."""
        self.bars: dict[Source, list[Bar]] = {}
        self.error: Exception | None = None
        self.asked = 0

    def add(
        self, symbol: str, interval: int, *opens_and_closes: tuple[int, float], traded: bool = True
    ) -> None:
        """Add flat bars."""
        known = self.bars.setdefault((symbol, interval), [])
        known += [Bar(at_ms, c, c, c, c, 1.0, traded) for at_ms, c in opens_and_closes]
        known.sort(key=lambda bar: bar.open_time_ms)

    def closed(self, symbol: str, interval_seconds: int, after_ms: int, until_ms: int) -> Sequence[Bar]:
        """Return what has closed."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        name = calendar_of(symbol)
        return [
            bar
            for bar in self.bars.get((symbol, interval_seconds), ())
            if bar.open_time_ms > after_ms
            and CALENDAR.bar_close_ms(name, interval_seconds, bar.open_time_ms) <= until_ms
        ]

    def interval_of(self, symbol: str) -> int | None:
        """Not asked."""
        return None


class Watch:
    """A desk over one policy."""

    def __init__(
        self,
        condition: str,
        symbols: Sequence[str],
        bars: Bars,
        *,
        from_ms: int,
        indicators: str = "",
        bars_interval: str = "1m",
        anchors: Mapping[Source, int] | None = None,
    ) -> None:
        """Watch the symbols from an instant on."""
        universe = ""
        for name in ("crypto", "stock"):
            listed = [symbol for symbol in symbols if ("-" in symbol) == (name == "crypto")]
            if listed:
                weights = ", ".join(f"{symbol}: 10%" for symbol in listed)
                universe += f"  {name}: {{calendar: {calendar_of(listed[0])}, weights: {{{weights}}}}}\n"
        text = f"universe:\n{universe}"
        text += f"indicators: {{{indicators}}}\n" if indicators else ""
        policy = policy_of(text + RULES % condition)
        if bars_interval != "1m":
            source = policy.source.text.replace("bars: 1m", f"bars: {bars_interval}")
            policy = load_policy(source, "desk.yaml").required()
        self.lowered: dict[str, LoweredPolicy] = {symbol: lowered_of(policy, symbol) for symbol in symbols}
        self.desk = BarDesk(bars, CALENDAR, calendar_of, policy.bars_seconds)
        self.bars = bars
        for symbol in symbols:
            needed = history_needed_seconds(self.lowered[symbol], symbol, calendar_of)
            begins = dict.fromkeys(needed, from_ms) | {(calendar_of(symbol), policy.bars_seconds): from_ms}
            self.desk.watch(symbol, self.lowered[symbol], begins, anchors)

    def read(self, symbol: str, now_ms: int) -> dict[str, float | UnknownReason]:
        """Update and return the readings: a value, or why it is Unknown."""
        self.desk.update(symbol, now_ms)
        return {name: shown(reading) for name, reading in self.desk.readings(symbol).items()}


def shown(reading: Known) -> float | UnknownReason:
    """Return a reading's value, or its reason."""
    value, reason = reading
    return value if reason is _R.KNOWN else reason


COIN = "A-USD"
T0 = at("2025-11-17T12:00")


def coin_watch(bars: Bars, condition: str = "fast > 0 USD", indicators: str = "fast: sma(3)") -> Watch:
    """Watch a coin's minutes from noon on."""
    return Watch(condition, [COIN], bars, from_ms=T0, indicators=indicators)


def minutes(first: int, *closes: float) -> list[tuple[int, float]]:
    """Return minute bars from T0 + ``first`` minutes on."""
    return [(T0 + (first + number) * MINUTE, close) for number, close in enumerate(closes)]


# --- fresh, stale, gap ------------------------------------------------------------------------


def test_too_few_bars() -> None:
    """Before the first there are none, before enough it is warming up; then it is a number."""
    bars = Bars()
    watch = coin_watch(bars)
    assert watch.read(COIN, T0)["fast"] is _R.NO_BARS
    bars.add(COIN, 60, *minutes(0, 1, 2))
    assert watch.read(COIN, T0 + 2 * MINUTE)["fast"] is _R.WARM_UP
    bars.add(COIN, 60, *minutes(2, 3))
    assert watch.read(COIN, T0 + 3 * MINUTE)["fast"] == 2.0


def test_a_bar_is_taken_in_when_it_has_closed() -> None:
    """Not a millisecond before; until the next closes the reading stands, and nobody is asked."""
    bars = Bars()
    bars.add(COIN, 60, *minutes(0, 1, 2, 3, 9))
    watch = coin_watch(bars)
    assert watch.read(COIN, T0 + 4 * MINUTE - 1)["fast"] == 2.0
    asked = bars.asked
    assert watch.read(COIN, T0 + 4 * MINUTE - 1)["fast"] == 2.0
    assert bars.asked == asked
    assert watch.read(COIN, T0 + 4 * MINUTE)["fast"] == pytest.approx(14 / 3)


def test_bars_missing_at_the_end_are_stale() -> None:
    """A bar is due and not there: Unknown(stale), asked for again each time, and fresh when it comes late."""
    bars = Bars()
    bars.add(COIN, 60, *minutes(0, 1, 2, 3))
    watch = coin_watch(bars)
    assert watch.read(COIN, T0 + 3 * MINUTE)["fast"] == 2.0
    for late_ms in (4 * MINUTE, 4 * MINUTE + 5_000, 6 * MINUTE):
        assert watch.read(COIN, T0 + late_ms)["fast"] is _R.STALE
    bars.add(COIN, 60, *minutes(3, 4, 5, 6))
    assert watch.read(COIN, T0 + 6 * MINUTE)["fast"] == 5.0


def test_a_gap_starts_everything_anew() -> None:
    """A bar absent before a later one: the average begins anew behind it, Unknown(gap) till it is warm."""
    bars = Bars()
    bars.add(COIN, 60, *minutes(0, 1, 2, 3), *minutes(4, 50, 51))
    watch = coin_watch(bars)
    assert watch.read(COIN, T0 + 6 * MINUTE)["fast"] is _R.GAP
    bars.add(COIN, 60, *minutes(6, 52))
    assert watch.read(COIN, T0 + 7 * MINUTE)["fast"] == 51.0
    assert watch.desk.anchors() == {(COIN, 60): T0 + 4 * MINUTE}


def test_a_gap_is_no_flat_bar() -> None:
    """An RSI over a hole is not an RSI: it is Unknown until it has warmed up on bars of one piece."""
    bars = Bars()
    closes = [100 + math.sin(number) for number in range(400)]
    bars.add(COIN, 60, *(bar for index, bar in enumerate(minutes(0, *closes)) if index != 350))
    watch = coin_watch(bars, "rsi > 0", "rsi: rsi(3)")
    assert isinstance(watch.read(COIN, T0 + 350 * MINUTE)["rsi"], float)
    assert watch.read(COIN, T0 + 399 * MINUTE)["rsi"] is _R.GAP


def test_a_late_bar_behind_the_gap_is_not_taken() -> None:
    """What comes after its successor comes too late; also over a restart the anchor stays behind the gap."""
    bars = Bars()
    bars.add(COIN, 60, *minutes(0, 1, 2, 3), *minutes(4, 50, 51, 52))
    watch = coin_watch(bars)
    before = watch.read(COIN, T0 + 7 * MINUTE)
    bars.add(COIN, 60, *minutes(3, 4))
    bars.add(COIN, 60, *minutes(7, 53))
    assert watch.read(COIN, T0 + 8 * MINUTE)["fast"] == 52.0
    again = Watch(
        "fast > 0 USD", [COIN], bars, from_ms=T0, indicators="fast: sma(3)", anchors=watch.desk.anchors()
    )
    assert again.read(COIN, T0 + 8 * MINUTE) == watch.read(COIN, T0 + 8 * MINUTE)
    assert before["fast"] == 51.0


def test_bars_without_a_trade_are_bars() -> None:
    """A source that proves that nothing was traded leaves no gap; too many of them are Unknown(quiet)."""
    bars = Bars()
    bars.add(COIN, 60, *minutes(0, *[5.0] * 10))
    bars.add(COIN, 60, *minutes(10, 5.0), traded=False)
    bars.add(COIN, 60, *minutes(11, *[6.0] * 2))
    watch = coin_watch(bars, "fast > 0 USD", "fast: sma(10)")
    assert watch.read(COIN, T0 + 13 * MINUTE)["fast"] == pytest.approx(5.2)
    bars.add(COIN, 60, *minutes(13, *[6.0] * 4), traded=False)
    assert watch.read(COIN, T0 + 17 * MINUTE)["fast"] is _R.QUIET


def test_bars_outside_the_expected_are_ignored() -> None:
    """A bar off the minute, or of the pre-market, is part of no indicator."""
    bars = Bars()
    bars.add(COIN, 60, *minutes(0, 1, 2), (T0 + 90_000, 1000.0), *minutes(2, 3))
    assert coin_watch(bars).read(COIN, T0 + 3 * MINUTE)["fast"] == 2.0


def test_a_number_that_is_none() -> None:
    """A NaN in a bar cuts the average off; it never becomes a number."""
    bars = Bars()
    bars.add(COIN, 60, *minutes(0, 1, 2, math.nan, 4, 5))
    watch = coin_watch(bars)
    assert watch.read(COIN, T0 + 5 * MINUTE)["fast"] is _R.WARM_UP
    bars.add(COIN, 60, *minutes(5, 6))
    assert watch.read(COIN, T0 + 6 * MINUTE)["fast"] == 5.0


@pytest.mark.parametrize("error", [UnavailableError("down"), DataError("row 7 is no bar")])
def test_a_source_that_fails(error: Exception) -> None:
    """What was read stands until a bar is due; then it is stale, and the trouble has a name."""
    bars = Bars()
    bars.add(COIN, 60, *minutes(0, 1, 2, 3, 4))
    watch = coin_watch(bars)
    assert watch.read(COIN, T0 + 3 * MINUTE)["fast"] == 2.0
    bars.error = error
    assert watch.read(COIN, T0 + 3 * MINUTE + 1)["fast"] == 2.0
    assert watch.desk.troubles == {}
    assert watch.read(COIN, T0 + 4 * MINUTE)["fast"] is _R.STALE
    assert watch.desk.troubles == {(COIN, 60): str(error)}
    bars.error = None
    assert watch.read(COIN, T0 + 4 * MINUTE)["fast"] == 3.0
    assert watch.desk.troubles == {}


# --- calendars --------------------------------------------------------------------------------


def session(day: str, count: int = 390, first: float = 100.0) -> list[tuple[int, float]]:
    """Return the minutes of a New York session."""
    open_ms = at(f"{day}T09:30")
    return [(open_ms + number * MINUTE, first + number) for number in range(count)]


def test_overnight_the_last_bar_is_fresh() -> None:
    """A stock's age is counted in expected bars: none is missing at 09:30, one at 09:31."""
    bars = Bars()
    bars.add("SPY", 60, *session("2025-11-17"))
    watch = Watch("fast > 0 USD", ["SPY"], bars, from_ms=at("2025-11-17T09:30"), indicators="fast: sma(3)")
    for now in ("2025-11-17T16:00", "2025-11-17T23:00", "2025-11-18T09:30", "2025-11-18T09:30:59"):
        assert watch.read("SPY", at(now))["fast"] == 488.0
    assert watch.read("SPY", at("2025-11-18T09:31"))["fast"] is _R.STALE
    bars.add("SPY", 60, (at("2025-11-18T09:30"), 500.0))
    assert watch.read("SPY", at("2025-11-18T09:31"))["fast"] == pytest.approx((488 + 489 + 500) / 3)


def test_an_early_close() -> None:
    """On the day after Thanksgiving the last bar is that of 12:59, and it stays fresh to Monday."""
    bars = Bars()
    bars.add("SPY", 60, *session("2025-11-28", 210))
    watch = Watch("fast > 0 USD", ["SPY"], bars, from_ms=at("2025-11-28T09:30"), indicators="fast: sma(3)")
    for now in ("2025-11-28T13:00", "2025-11-28T15:59", "2025-12-01T09:30"):
        assert watch.read("SPY", at(now))["fast"] == 308.0
    assert watch.read("SPY", at("2025-12-01T09:31"))["fast"] is _R.STALE


def test_a_bar_cut_short_by_the_close() -> None:
    """The session's last hour has half an hour: it closes with the session."""
    bars = Bars()
    open_ms = at("2025-11-17T09:30")
    bars.add("SPY", 3600, *((open_ms + number * HOUR, float(number)) for number in range(7)))
    watch = Watch(
        "slow > 0 USD", ["SPY"], bars, from_ms=open_ms, indicators="slow: sma(3) on 1h", bars_interval="1h"
    )
    assert watch.read("SPY", at("2025-11-17T15:59"))["slow"] == 4.0
    assert watch.read("SPY", at("2025-11-17T16:00"))["slow"] == 5.0
    assert watch.desk.last_close("SPY") == (6.0, at("2025-11-17T16:00"))


def test_the_summer_ends() -> None:
    """The session follows New York's clock over the change: no bar is missing, none is too many."""
    bars = Bars()
    friday, monday = at("2025-10-31T08:30"), at("2025-11-03T09:30")  # 09:30 in summer time
    bars.add("SPY", 60, *((friday + number * MINUTE, 1.0) for number in range(390)))
    bars.add("SPY", 60, *((monday + number * MINUTE, 2.0) for number in range(3)))
    watch = Watch("fast > 0 USD", ["SPY"], bars, from_ms=friday, indicators="fast: sma(4)")
    assert watch.read("SPY", monday)["fast"] == 1.0
    assert watch.read("SPY", monday + 3 * MINUTE)["fast"] == 1.75


def test_symbols_of_different_calendars() -> None:
    """At night the coin's bars go on; a coin that reads a stock's daily bar reads the last one."""
    bars = Bars()
    bars.add("SPY", 86_400, *((at(f"2025-11-{day}T00:00") - 5 * HOUR, float(day)) for day in (13, 14, 17)))
    night = at("2025-11-18T01:00")
    bars.add(COIN, 60, *((night + number * MINUTE, 7.0) for number in range(-5, 0)))
    watch = Watch(
        "fast > 0 USD and spy > 0 USD",
        [COIN, "SPY"],
        bars,
        from_ms=at("2025-11-13T00:00") - 5 * HOUR,
        indicators="fast: sma(3), spy: sma(3) on SPY 1d",
    )
    assert watch.read(COIN, night) == {"fast": 7.0, "spy": pytest.approx(44 / 3)}
    assert watch.read("SPY", night)["fast"] is _R.NO_BARS


def test_a_series_over_two_symbols() -> None:
    """It stands on the last bar that both have; where one is late it is stale."""
    bars = Bars()
    bars.add(COIN, 60, *minutes(0, 10, 20, 30))
    bars.add("B-USD", 60, *minutes(0, 1, 2, 3))
    watch = Watch(
        "ratio > 0%",
        [COIN, "B-USD"],
        bars,
        from_ms=T0,
        indicators="other: close on B-USD 1m, ratio: close / other",
    )
    assert watch.read(COIN, T0 + 3 * MINUTE)["ratio"] == 10.0
    bars.add(COIN, 60, *minutes(3, 40))
    assert watch.read(COIN, T0 + 4 * MINUTE)["ratio"] is _R.STALE
    bars.add("B-USD", 60, *minutes(3, 2))
    assert watch.read(COIN, T0 + 4 * MINUTE)["ratio"] == 20.0


# --- the policy's own bars --------------------------------------------------------------------


def test_own_bars_are_told_once() -> None:
    """Peaks see each closed bar of the policy's interval once; its open stamps `once: bar`."""
    bars = Bars()
    bars.add(COIN, 60, *minutes(0, 1, 2, 3))
    watch = coin_watch(bars, "price > 0 USD", "")
    assert watch.desk.last_bar_ms(COIN) == NEVER
    watch.desk.update(COIN, T0 + 2 * MINUTE)
    assert [bar.close for bar in watch.desk.fresh_bars(COIN)] == [1.0, 2.0]
    watch.desk.update(COIN, T0 + 2 * MINUTE + 1)
    assert watch.desk.fresh_bars(COIN) == []
    watch.desk.update(COIN, T0 + 3 * MINUTE)
    assert [bar.close for bar in watch.desk.fresh_bars(COIN)] == [3.0]
    assert watch.desk.last_bar_ms(COIN) == T0 + 2 * MINUTE
    assert watch.desk.last_close(COIN) == (3.0, T0 + 3 * MINUTE)
    assert watch.desk.last_close("unknown") is None


@pytest.mark.parametrize(
    ("since", "now", "count"),
    [
        ("2025-11-17T15:59:30", "2025-11-17T15:59:59", 0),
        ("2025-11-17T15:59:30", "2025-11-17T16:00", 1),
        ("2025-11-17T16:00", "2025-11-18T09:30", 0),
        ("2025-11-17T16:00", "2025-11-18T09:31", 1),
        ("2025-11-14T15:58", "2025-11-17T09:32", 4),  # over a weekend
        ("2025-11-17T09:30", "2025-11-17T16:00", 390),
        ("2025-11-10T09:30", "2025-11-17T09:30", 5 * 390),
    ],
)
def test_bars_since(since: str, now: str, count: int) -> None:
    """Expected bars that closed after an instant: nights and weekends have none."""
    watch = Watch("price > 0 USD", ["SPY"], Bars(), from_ms=at("2025-11-10T09:30"))
    assert watch.desk.bars_since("SPY", at(since), at(now)) == count


# --- restarts ---------------------------------------------------------------------------------

_INDICATORS = "fast: ema(3), rsi: rsi(2), bands: 'bollinger(4, 2)', macd: 'macd(2, 4, 3)', back: atr(3)"
_CONDITION = (
    "fast > 0 USD and rsi > 0 and bands.upper > 0 USD and macd.line > 0 USD and back > 0 USD"
    " and prev(close, 2) > 0 USD and highest(high, 5) > 0 USD"
)


@given(seed=st.integers(0, 2**32), late=st.booleans(), holes=st.integers(0, 4))
def test_a_restart_reads_the_same_to_the_bit(seed: int, late: bool, holes: int) -> None:
    """Bars come late, out of order or never: a desk made from the anchors reads what the old one reads."""
    rng = random.Random(seed)
    count = 240
    closes = [rng.uniform(50, 150) for _ in range(count)]
    gone = set(rng.sample(range(10, count - 1), holes))
    comes = {
        n: min(count - 1, n + (rng.randint(1, 3) if late and rng.random() < 0.1 else 0)) for n in range(count)
    }
    bars = Bars()
    watch = Watch(_CONDITION, [COIN], bars, from_ms=T0, indicators=_INDICATORS)
    live: dict[str, float | UnknownReason] = {}
    for now in range(1, count + 1):
        due = [n for n in range(count) if comes[n] == now - 1 and n not in gone]
        bars.add(COIN, 60, *((T0 + n * MINUTE, closes[n]) for n in due))
        if rng.random() < 0.7 or now == count:
            live = watch.read(COIN, T0 + now * MINUTE)
    bars.add(COIN, 60, *((T0 + n * MINUTE, closes[n]) for n in gone))  # delivered after all
    again = Watch(_CONDITION, [COIN], bars, from_ms=T0, indicators=_INDICATORS, anchors=watch.desk.anchors())
    assert again.read(COIN, T0 + count * MINUTE) == live
    assert holes or late or all(isinstance(value, float) for value in live.values())


def test_how_far_back_bars_are_needed() -> None:
    """Twice the warm-up of what is recursive, more for stocks, which trade a fifth of the time."""
    watch = Watch(
        "rsi > 0 and slow > 0 USD",
        [COIN, "SPY"],
        Bars(),
        from_ms=T0,
        indicators="rsi: rsi(14), slow: sma(50) on 1h",
    )
    coin = history_needed_seconds(watch.lowered[COIN], COIN, calendar_of)
    stock = history_needed_seconds(watch.lowered["SPY"], "SPY", calendar_of)
    assert set(coin) == {(ALWAYS_OPEN, 60), (ALWAYS_OPEN, 3600)}
    assert coin[ALWAYS_OPEN, 60] >= 20 * 14 * 60
    assert coin[ALWAYS_OPEN, 3600] >= 50 * 3600
    assert stock["NYSE", 3600] >= 50 * 3600 * 24 / 6.5
    assert DAY == 24 * HOUR
