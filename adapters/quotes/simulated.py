"""A simulated market: quotes and bars that are a pure function of seed, symbol and time.

The price of a symbol is a path over *slots* of 15 seconds of trading time.  Any stretch of it is made
on its own, from hashes: nothing is iterated from a start, so a restart, another process or another
machine sees the same market, and only IEEE additions and multiplications touch the numbers.

1. Slots are grouped into blocks of 1024.  The path at the ends of blocks is *value noise*: octaves of
   hashed lattice values, interpolated (Perlin 1985, "An image synthesizer", without gradients); the
   longest octave spans 512 blocks, so a price wanders for months and stays near its base.
2. Inside a block the path is a fractional Brownian bridge by *random midpoint displacement* (Fournier,
   Fussell, Carpenter 1982) with Hurst exponent 0.7: trends persist a little, so indicators travel.
3. In one block of six the price jumps.
4. In some hours a symbol is *quiet*: for up to 25 minutes nothing is quoted, and bars that lie wholly
   inside have no trade.
5. A rare quote is a *bad print*: 100 times too low or too high, gone with the next quote.  Bars do not
   contain it.

A slot's quote is stamped at the slot's end, so the last quote of a bar is stamped at the bar's close:
at that instant bid and close are the same number.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from adapters.symbols.inferred import ALWAYS_OPEN, calendar_of, infer_asset_class, infer_instrument
from engine.codes import UnknownReason
from engine.model import AssetClass, Bar, Instrument, NoQuote, Quote
from engine.runtime.ports import Calendar, Clock
from engine.units import PRICE_SCALE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Number = TypeVar("Number", float, Floats)

SLOT_MS: Final = 15_000
FINEST_INTERVAL_SECONDS: Final = 60
HISTORY_BEGINS_MS: Final = 1_420_070_400_000  # 2015-01-01
_DAY_SECONDS: Final = 86_400
_DAY_MS: Final = _DAY_SECONDS * 1000

# Longer than any session and no daily bar: one bar of this interval opens with each session.
_WHOLE_SESSION_SECONDS: Final = 86_340

_BLOCK: Final = 1024
_OCTAVES: Final = 10
_SQRT_2: Final = 1.4142135623730951
_HALVING: Final = 0.6155722066724582  # 2 ** -0.7, the Hurst exponent
_JUMP_ONE_IN: Final = 6
_QUIET_CELL: Final = 256  # slots: 64 minutes
_QUIET_CELLS: Final = 16
_QUIET_GROUP: Final = _QUIET_CELLS * _QUIET_CELL
_QUIET_FIRST: Final = 16  # a cell's first slots are never quiet, so the last quote is always near
_QUIET_LONGEST: Final = 100
_QUIET_ONE_IN: Final = 16
_BAD_PRINT_ONE_IN: Final = 8192
_MOST_DAYS_AT_ONCE: Final = 16

_BASE_PRICES: Final = {
    "SPY": 580.0, "QQQ": 500.0, "AAPL": 230.0, "MSFT": 420.0, "NVDA": 140.0, "TSLA": 330.0, "AMZN": 205.0,
    "GOOGL": 175.0, "META": 570.0, "GLD": 245.0, "SLV": 28.0, "USO": 74.0,
    "BTC-USD": 95_000.0, "ETH-USD": 3_100.0, "SOL-USD": 140.0, "LINK-USD": 13.5, "AAVE-USD": 170.0,
    "DOGE-USD": 0.16, "ADA-USD": 0.45, "LTC-USD": 95.0, "XRP-USD": 2.2, "SHIB-USD": 0.0000085,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Character:
    """How a class of symbols behaves."""

    daily_move: float  # typical move of a day's trading time, natural logarithm
    spread: float  # ask over bid, minus 1
    slots_per_day: int  # how far the path runs from one day to the next
    volume: float  # units that a price of 1 would trade in a slot


_CHARACTERS: Final = {
    # A stock's session is 1560 slots: the 488 to the next day's are the overnight gap.
    AssetClass.STOCK: _Character(0.015, 0.0001, 2048, 2e6),
    AssetClass.COMMODITY: _Character(0.010, 0.0001, 2048, 1e6),
    AssetClass.CRYPTO: _Character(0.035, 0.0004, 5760, 2e5),
}


def simulated_instrument(symbol: str, seed: int = 0) -> Instrument:
    """Return steps and minimums for a symbol, from the base price it has under a seed."""
    asset_class = infer_asset_class(symbol)
    calendar = calendar_of(symbol)
    return infer_instrument(symbol, asset_class, calendar, [_base_price(seed, symbol, asset_class)])


class SimulatedMarket:
    """A ``QuoteSource`` and a ``BarSource`` of symbols that no one trades.

    Bars come in every multiple of a minute up to a day, expected as the calendar expects them, and add
    up: an hour's bar is its minutes' bars.  The market begins in 2015.  Nothing is quoted outside
    regular sessions: the last quote grows old.
    """

    def __init__(
        self, seed: int, instruments: Sequence[Instrument], calendar: Calendar, clock: Clock
    ) -> None:
        """Simulate ``instruments`` (see ``simulated_instrument``) at the clock's time."""
        self._clock = clock
        self._markets = {instrument.symbol: _Market(seed, instrument, calendar) for instrument in instruments}

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Return one answer per symbol; the deadline is met without looking (nothing here waits)."""
        now_ms = self._clock.now_utc_ms()
        return {symbol: self.quote(symbol, now_ms) for symbol in symbols}

    def quote(self, symbol: str, at_ms: int) -> Quote | NoQuote:
        """Return the quote that stands at an instant."""
        market = self._markets.get(symbol)
        if market is None:
            return NoQuote(symbol, UnknownReason.NO_INSTRUMENT, "the simulated market does not have it")
        if at_ms < HISTORY_BEGINS_MS:
            return NoQuote(symbol, UnknownReason.MISSING, "the simulated market begins in 2015")
        return market.quote(at_ms)

    def interval_of(self, symbol: str) -> int | None:
        """Return the finest interval served for a symbol, seconds; None if it is not served."""
        return FINEST_INTERVAL_SECONDS if symbol in self._markets else None

    def closed(self, symbol: str, interval_seconds: int, after_ms: int, until_ms: int) -> Sequence[Bar]:
        """Return the bars with ``open_time_ms > after_ms`` that closed at or before ``until_ms``.

        Nothing has closed after the clock's time, whatever ``until_ms`` says.
        """
        market = self._markets.get(symbol)
        if market is None or interval_seconds % FINEST_INTERVAL_SECONDS or interval_seconds > _DAY_SECONDS:
            return []
        until_ms = min(until_ms, self._clock.now_utc_ms())
        return market.closed(interval_seconds, max(after_ms, HISTORY_BEGINS_MS - 1), until_ms)


# --- one symbol: sessions, quotes, bars -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Session:
    """A stretch of uninterrupted trading: an exchange's regular session, or a UTC day of 24/7."""

    open_ms: int
    close_ms: int
    first_slot: int  # of the path

    @property
    def slots(self) -> int:
        return (self.close_ms - self.open_ms) // SLOT_MS


class _Market:
    """One symbol's quotes and bars."""

    def __init__(self, seed: int, instrument: Instrument, calendar: Calendar) -> None:
        self._symbol = instrument.symbol
        self._calendar = calendar
        self._calendar_name = instrument.calendar
        self._character = _CHARACTERS[instrument.asset_class]
        self._path = _Path(seed, instrument.symbol, self._character)
        base_price = _base_price(seed, instrument.symbol, instrument.asset_class)
        self._tick = instrument.price_step_scaled
        self._base_ticks = base_price * PRICE_SCALE / self._tick
        # A power of two, so that volumes add up exactly.
        self._volume_unit = math.ldexp(1.0, math.frexp(self._character.volume / base_price)[1])
        # Pure functions of what is fixed here: the caches only save work.
        self._bars_opened_in = lru_cache(maxsize=256)(self._make_bars)
        self._session_at = lru_cache(maxsize=16)(self._find_session)

    def quote(self, at_ms: int) -> Quote:
        session, slot = self._last_quoted(at_ms)
        ticks = self._ticks_at(session, slot)
        ticks = max(1, round(ticks * self._path.bad_print(session.first_slot + slot)))
        spread = max(1, math.ceil(ticks * self._character.spread))
        return Quote(
            self._symbol,
            bid=ticks * self._tick,
            ask=(ticks + spread) * self._tick,
            source="simulated",
            source_time_ms=session.open_ms + (slot + 1) * SLOT_MS,
            receive_time_ms=at_ms,
        )

    def closed(self, interval_seconds: int, after_ms: int, until_ms: int) -> list[Bar]:
        # Whole days at a time: about a hundred bars of 24/7, but no more slots than a cache holds.
        chunk_ms = min(max(1, interval_seconds * 96 // _DAY_SECONDS), _MOST_DAYS_AT_ONCE) * _DAY_MS
        bars: list[Bar] = []
        for start_ms in range(after_ms - after_ms % chunk_ms, until_ms + 1, chunk_ms):
            closes, made = self._bars_opened_in(interval_seconds, start_ms, start_ms + chunk_ms)
            first = bisect_right(made, after_ms, key=lambda bar: bar.open_time_ms)
            bars += made[first : bisect_right(closes, until_ms)]
        return bars

    def _ticks_at(self, session: _Session, slot: int) -> int:
        level = self._path.level(session.first_slot + slot)
        return max(1, int(_exponential(level) * self._base_ticks + 0.5))

    def _session(self, open_ms: int) -> _Session:
        if self._calendar_name == ALWAYS_OPEN:
            close_ms = open_ms + _DAY_MS
        else:
            close_ms = self._calendar.bar_close_ms(self._calendar_name, _WHOLE_SESSION_SECONDS, open_ms)
        return _Session(open_ms, close_ms, open_ms // _DAY_MS * self._character.slots_per_day)

    def _find_session(self, at_second: int) -> _Session:
        """Return the latest session that opened at or before a whole second."""
        if self._calendar_name == ALWAYS_OPEN:
            return self._session(at_second * 1000 // _DAY_MS * _DAY_MS)
        facts = self._calendar.facts(self._calendar_name, at_second * 1000)
        return self._session((at_second - facts.since_open_seconds) * 1000)

    def _last_quoted(self, at_ms: int) -> tuple[_Session, int]:
        """Return session and slot of the latest quote stamped at or before an instant."""
        session = self._session_at(at_ms // 1000)
        slot = min((at_ms - session.open_ms) // SLOT_MS, session.slots) - 1
        while True:
            while slot >= 0 and self._path.is_quiet(session.first_slot + slot):
                slot -= 1
            if slot >= 0:
                return session, slot
            session = self._session_at(session.open_ms // 1000 - 1)
            slot = session.slots - 1

    def _make_bars(self, interval_seconds: int, start_ms: int, end_ms: int) -> tuple[list[int], list[Bar]]:
        """Make the bars of the sessions that open in [start, end); return their closing times, and them."""
        import numpy as np

        frames = list(self._frames(interval_seconds, start_ms, end_ms))
        if not frames:
            return [], []
        opens, closes, starts, ends = zip(*frames, strict=True)
        first, count = starts[0], ends[-1] - starts[0]
        level = self._path.levels(first, count)
        quoted = ~self._path.quiet(first, count)
        slots = np.arange(float(count))
        edges = np.array([starts, ends]).T.ravel() - first

        def per_bar(reduce: np.ufunc, values: Floats, where_quiet: float) -> Floats:
            """Reduce the quoted slots of each bar; every other stretch between edges is not a bar."""
            # One slot more, because reduceat does not take the array's end for an edge.
            whole = np.full(count + 1, float(where_quiet))
            np.copyto(whole[:count], values, where=quoted)
            reduced: Floats = reduce.reduceat(whole, edges)[::2]
            return reduced

        opening = per_bar(np.minimum, slots, count)
        traded = opening < count
        at_open = np.where(traded, opening, 0).astype(np.int64)
        at_close = np.where(traded, per_bar(np.maximum, slots, -1), 0).astype(np.int64)
        highest = np.where(traded, per_bar(np.maximum, level, -np.inf), 0.0)
        lowest = np.where(traded, per_bar(np.minimum, level, np.inf), 0.0)
        volumes = per_bar(np.add, self._path.volumes(first, count), 0) * self._volume_unit
        columns = [self._prices(levels) for levels in (level[at_open], highest, lowest, level[at_close])]
        bars: list[Bar] = []
        for at_ms, has_traded, opened, high, low, close, volume in zip(
            opens, traded.tolist(), *columns, volumes.tolist(), strict=True
        ):
            if has_traded:
                bars.append(Bar(at_ms, opened, high, low, close, volume))
            else:
                last = bars[-1].close if bars else self._close_before(at_ms)
                bars.append(Bar(at_ms, last, last, last, last, 0.0, traded=False))
        return list(closes), bars

    def _frames(
        self, interval_seconds: int, start_ms: int, end_ms: int
    ) -> Iterator[tuple[int, int, int, int]]:
        """Yield each bar's open time and closing time, and its stretch [start, end) of the path."""
        name, calendar = self._calendar_name, self._calendar
        whole = _DAY_SECONDS if name == ALWAYS_OPEN else _WHOLE_SESSION_SECONDS
        for open_ms in calendar.expected_bars(name, whole, start_ms, end_ms):
            session = self._session(open_ms)
            end = session.first_slot + session.slots
            if interval_seconds == _DAY_SECONDS:
                labels = calendar.expected_bars(name, _DAY_SECONDS, open_ms - _DAY_MS, session.close_ms)
                for label in labels:
                    if calendar.bar_close_ms(name, _DAY_SECONDS, label) == session.close_ms:
                        yield label, session.close_ms, session.first_slot, end
                continue
            for bar_ms in calendar.expected_bars(name, interval_seconds, open_ms, session.close_ms):
                close_ms = min(bar_ms + interval_seconds * 1000, session.close_ms)
                start = session.first_slot + (bar_ms - open_ms) // SLOT_MS
                yield bar_ms, close_ms, start, start + (close_ms - bar_ms) // SLOT_MS

    def _prices(self, levels: Floats) -> list[float]:
        import numpy as np

        ticks = np.maximum(1.0, np.floor(_exponential(levels) * self._base_ticks + 0.5))
        prices: list[float] = (ticks * self._tick / PRICE_SCALE).tolist()
        return prices

    def _close_before(self, at_ms: int) -> float:
        return self._ticks_at(*self._last_quoted(at_ms)) * self._tick / PRICE_SCALE


# --- the path ---------------------------------------------------------------------------------


class _Path:
    """The logarithm of price over base price by slot, and what else the hashes say of a slot."""

    def __init__(self, seed: int, symbol: str, character: _Character) -> None:
        self._key = hashlib.blake2b(f"{seed}\n{symbol}".encode(), digest_size=32).digest()
        # An octave's increments per block have the variance 2/3 amplitude^2 / 2^octave: together 4/3.
        block_move = character.daily_move * math.sqrt(_BLOCK / character.slots_per_day)
        self._amplitude = block_move * math.sqrt(3 / 4)
        # A Brownian bridge has half its deviation at its middle; a uniform number on [-1, 1] deviates by
        # a root of a third.
        self._first_displacement = block_move * math.sqrt(3) / 2
        self._jump = block_move
        self._lattice = lru_cache(maxsize=4096)(self._lattice_value)
        self._quiet_spans = lru_cache(maxsize=256)(self._make_quiet_spans)
        self._block = lru_cache(maxsize=4)(lambda block: self._blocks(block, 1)[0])

    def level(self, slot: int) -> float:
        return float(self._block(slot // _BLOCK)[slot % _BLOCK])

    def levels(self, first: int, count: int) -> Floats:
        """Return the levels of ``count`` slots from ``first``."""
        block, skip = divmod(first, _BLOCK)
        return self._blocks(block, -(-(skip + count) // _BLOCK)).ravel()[skip : skip + count]

    def volumes(self, first: int, count: int) -> Floats:
        """Return small numbers in proportion to the volume of each slot."""
        import numpy as np

        block, skip = divmod(first, _BLOCK)
        blocks = range(block, block - (-(skip + count) // _BLOCK))
        digests = b"".join(self._stream(b"volume", number, _BLOCK) for number in blocks)
        return np.frombuffer(digests, np.uint8)[skip : skip + count].astype(np.float64) + 1.0

    def is_quiet(self, slot: int) -> bool:
        return any(slot in span for span in self._quiet_spans(slot // _QUIET_GROUP))

    def quiet(self, first: int, count: int) -> NDArray[np.bool_]:
        """Return whether each of ``count`` slots from ``first`` is without a quote."""
        import numpy as np

        mask = np.zeros(count, bool)
        for group in range(first // _QUIET_GROUP, (first + count - 1) // _QUIET_GROUP + 1):
            for span in self._quiet_spans(group):
                mask[max(0, span.start - first) : max(0, span.stop - first)] = True
        return mask

    def bad_print(self, slot: int) -> float:
        """Return the factor by which the slot's quote is wrong: 1, or 0.01 or 100."""
        number = int.from_bytes(self._stream(b"bad-print", slot, 4), "little")
        if number % _BAD_PRINT_ONE_IN:
            return 1.0
        return 100.0 if number // _BAD_PRINT_ONE_IN % 2 else 0.01

    def _stream(self, purpose: bytes, number: int, length: int) -> bytes:
        message = self._key + purpose + number.to_bytes(8, "little", signed=True)
        if length <= hashlib.blake2b.MAX_DIGEST_SIZE:  # four times as fast, but short
            return hashlib.blake2b(message, digest_size=length).digest()
        return hashlib.shake_128(message).digest(length)

    def _lattice_value(self, octave: int, index: int) -> float:
        number = int.from_bytes(self._stream(b"octave%d" % octave, index, 4), "little")
        return number / 2**31 - 1

    def _block_ends(self, first: int, count: int) -> Floats:
        """Return the level at the beginning of ``count`` blocks."""
        import numpy as np

        blocks = np.arange(first, first + count)
        levels = np.zeros(count)
        amplitude = self._amplitude
        for octave in range(_OCTAVES):
            lowest, highest = first >> octave, (first + count - 1) >> octave
            lattice = np.array([self._lattice(octave, index) for index in range(lowest, highest + 2)])
            index = (blocks >> octave) - lowest
            share = (blocks & ((1 << octave) - 1)) / (1 << octave)
            levels += amplitude * (lattice[index] + share * (lattice[index + 1] - lattice[index]))
            amplitude *= _SQRT_2
        return levels

    def _make_quiet_spans(self, group: int) -> list[range]:
        """Return the slots without quotes in a group of cells."""
        numbers = self._stream(b"quiet", group, 3 * _QUIET_CELLS)
        spans = []
        for cell in range(_QUIET_CELLS):
            chance, offset, length = numbers[3 * cell : 3 * cell + 3]
            if chance % _QUIET_ONE_IN == 0:
                start = group * _QUIET_GROUP + cell * _QUIET_CELL + _QUIET_FIRST
                start += offset % (_QUIET_CELL - _QUIET_FIRST - _QUIET_LONGEST)
                spans.append(range(start, start + 1 + length % _QUIET_LONGEST))
        return spans

    def _blocks(self, first: int, count: int) -> Floats:
        """Return ``count`` blocks of the path from block ``first``, one row each."""
        import numpy as np

        numbers = range(first, first + count)
        digests = b"".join(self._stream(b"path", number, 2 * _BLOCK + 4) for number in numbers)
        noise = np.frombuffer(digests, "<i2").reshape(count, _BLOCK + 2) / 32768.0
        ends = self._block_ends(first, count + 1)
        jumps, jump_at = self._jumps(numbers)
        path = np.empty((count, _BLOCK + 1))
        path[:, 0] = ends[:-1]
        path[:, _BLOCK] = ends[1:] - jumps
        displacement, step, used = self._first_displacement, _BLOCK, 0
        while step > 1:
            middles = (path[:, :-1:step] + path[:, step::step]) * 0.5
            added = middles.shape[1]
            path[:, step // 2 :: step] = middles + displacement * noise[:, used : used + added]
            displacement, step, used = displacement * _HALVING, step // 2, used + added
        path += np.where(np.arange(_BLOCK + 1) >= jump_at[:, None], jumps[:, None], 0.0)
        return path[:, :_BLOCK]

    def _jumps(self, blocks: range) -> tuple[Floats, Integers]:
        """Return each block's jump (0 for most) and the slot it happens at."""
        import numpy as np

        jumps, places = [], []
        for block in blocks:
            chance, size, sign, low, high = self._stream(b"jump", block, 5)
            happens = chance % _JUMP_ONE_IN == 0
            jumps.append(self._jump * (1 + size / 128) * (1 if sign % 2 else -1) if happens else 0.0)
            places.append((low + 256 * high) % _BLOCK)
        return np.array(jumps), np.array(places)


def _exponential(level: Number) -> Number:
    """Return (1 + x/64) ** 64, within 1 % of e ** x here, by the same bits on every machine."""
    power = 1 + level / 64
    for _ in range(6):
        power = power * power
    return power


def _base_price(seed: int, symbol: str, asset_class: AssetClass) -> float:
    """Return the price a symbol wanders around: a familiar one, or one out of the seed."""
    if symbol in _BASE_PRICES:
        return _BASE_PRICES[symbol]
    digest = hashlib.blake2b(f"{seed}\n{symbol}\nbase".encode(), digest_size=4).digest()
    mantissa = 1 + int.from_bytes(digest[:2], "little") / 2**16 * 9  # 1 to 10
    exponent = digest[2] % (5 if asset_class is AssetClass.CRYPTO else 2)
    return mantissa * (10.0**exponent / 100 if asset_class is AssetClass.CRYPTO else 10.0 * 10**exponent)
