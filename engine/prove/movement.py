"""Movement: which facts of a decided situation the market or the clock can change, and what follows.

A situation is a point.  Here are the directions in which it can move, each a ``Coordinate``: a whole number
of steps from where it is.  Coordinates of one indicator, one bar, one quote, one signal or of the clock are
a group: they change together or are said not to.  What follows from them follows:

* with the bid: the ask at its distance, the position's value, equity, weight, target, gain and drawdown; the
  quantity, the entry price, the peak and all other parts of the account stay;
* with time: every ``since_*`` and ``held_for`` grows by the same seconds, ``until_close`` falls.  The session
  stays what it is while time passes within it; that another one begins is a movement of its own.

What is Unknown may become known where the market would tell it; what is known stays known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from engine.indicators.functions import FUNCTIONS, LikeInput
from engine.language.policy import Listing, Policy
from engine.lowered import FactSlot, LimitKind, LoweredPolicy, Once, SlotOrigin
from engine.series import Column, Lag, SeriesCall, SeriesNode
from engine.units import ELAPSED_CAP_SECONDS, GRID_PER_UNIT, MONEY_SCALE, Measure, Words, on_grid, quantise
from engine.verbs.decide import Situation
from engine.verbs.vector import Vector, series_bounds
from engine.vocabulary import (
    CLOCK_STATE,
    FACTS,
    IN_BARS,
    QUOTE_STATE,
    SESSION,
    SIDE,
    SIGNAL_FIELDS,
)

ALWAYS_OPEN: Final = "24/7"
CAP: Final = ELAPSED_CAP_SECONDS
DAY: Final = 86400
_SHARE: Final = 20
"""An indicator's typical scale is this part of the range where it usually lies; a price's, of its level."""
_MOST: Final = 1e9
"""No indicator is larger, but one that is already."""

QUOTE: Final = "quote"
CLOCK: Final = "clock"
SECONDS: Final = "seconds"
BARS: Final = "bars"


@dataclass(frozen=True, slots=True)
class Coordinate:
    """One direction: ``base + stride * n`` steps of its fact's grid; ``rest`` is n as it is, None if Unknown.

    ``scale`` is what counts as one, in n; ``usual`` is the n at which an Unknown one would lie; ``allowed``
    are the only n, where few are.
    """

    name: str
    group: int
    unit: Measure | Words
    per_unit: int
    slots: tuple[int, ...]
    base: int
    stride: int
    rest: int | None
    low: int
    high: int
    scale: float
    usual: int = 0
    allowed: tuple[int, ...] = ()

    def value(self, n: int) -> float:
        """Return the fact's value at ``n``."""
        steps = self.base + self.stride * n
        return steps / self.per_unit if self.per_unit else float(steps)

    def distance(self, n: int) -> Fraction:
        """Return how far ``n`` is from rest, over the typical scale; a word or a new fact counts one."""
        if self.rest is None or self.counted:
            return Fraction(n != self.rest)
        return abs(n - self.rest) * self.weight

    @property
    def weight(self) -> Fraction:
        """The distance of one step."""
        return Fraction(1) if self.counted else Fraction(1000, max(1, round(self.scale * 1000)))

    @property
    def counted(self) -> bool:
        """Whether it has no distances: a word or a truth value."""
        return self.per_unit == 0


Point = Mapping[int, int]
"""Coordinates that are not at rest, and where they are."""


@dataclass(frozen=True, slots=True)
class Line:
    """A fact that follows from the bid: ``slope * bid + constant``, in the fact's unit."""

    slope: Fraction
    constant: Fraction = Fraction(0)


class Movement:
    """The movable facts of one situation, as coordinates in groups."""

    def __init__(self, policy: Policy, listing: Listing, lowered: LoweredPolicy, vector: Vector) -> None:
        """Find the coordinates; the facts as they are come from ``vector``."""
        self.policy = policy
        self.listing = listing
        self.lowered = lowered
        self.vector = vector
        self.values = list(vector.values)
        self.coordinates: list[Coordinate] = []
        self.groups: list[str] = []
        self.names = {slot.name: index for index, slot in enumerate(lowered.slots)}
        self.bid = self.ask = -1  # coordinates
        self.gap = 0  # of ask and bid, in steps
        self.lines: dict[int, Line] = {}  # slots that follow from the bid
        self.share = Fraction(0)  # of equity that is the target
        self.weight = -1  # the slot of the weight, if it follows
        self.seconds = self.bars = -1  # coordinates
        self.by_node = {
            slot.series: index for index, slot in enumerate(lowered.slots) if slot.series is not None
        }
        self.sums: dict[int, Mapping[int, Fraction]] = dict(self._sums())  # slots, by what they are made of
        self.phase: int | None = None  # seconds since the last bar closed, where bars close all the time
        self._quote()
        self._clock()
        self._words()
        self._series()
        self._signals()
        self.movable: dict[int, tuple[int, ...]] = dict(self._movable())
        self.ordered = [
            (low, high) for low, high in self._ordered() if not self.values[low] > self.values[high]
        ]
        self.sides = list(self._sides())

    # --- what can move ------------------------------------------------------------------------

    def _group(self, name: str) -> int:
        if name not in self.groups:
            self.groups.append(name)
        return self.groups.index(name)

    def _add(self, coordinate: Coordinate) -> int:
        self.coordinates.append(coordinate)
        return len(self.coordinates) - 1

    def value(self, name: str) -> float:
        """Return a fact of the vocabulary; NaN where it is Unknown or not read."""
        return self.values[self.names[name]] if name in self.names else math.nan

    def _quote(self) -> None:
        group, slots = self._group(QUOTE), tuple(self.names[name] for name in ("price", "bid"))
        price, ask = self.value("price"), self.value("ask")
        k = self.lowered.slots[slots[0]].steps_per_unit
        instrument = self.vector.situation.instrument
        tick = instrument.price_steps_per_unit if instrument else k
        stride = k // tick if tick and k % tick == 0 else 1
        known, usual = price == price, self._usual_price()
        if known and not (on_grid(price, k // stride) and (ask != ask or on_grid(ask, k // stride))):
            stride = 1
        base = round(price * k) if known else 0
        least = max(1, math.ceil(self._least_bid() * k))
        top = round(FACTS["price"].maximum * k)
        self.bid = self._add(
            Coordinate(
                name="price",
                group=group,
                unit=Measure.PRICE,
                per_unit=k,
                slots=slots,
                base=base,
                stride=stride,
                rest=0 if known else None,
                low=-((base - least) // stride) if known else -(-least // stride),
                high=(top - base) // stride,
                scale=max(1.0, (price if known else usual) * k / stride / _SHARE),
                usual=round(usual * k / stride),
            )
        )
        self.gap = round((ask - price) * k) if known and ask == ask else 0
        self.ask = self._add(
            Coordinate(
                name="ask",
                group=group,
                unit=Measure.PRICE,
                per_unit=k,
                slots=(self.names["ask"],),
                base=base + self.gap,
                stride=stride,
                rest=None if known and ask != ask else 0,
                low=-(self.gap // stride),
                high=(top - base - self.gap) // stride,
                scale=self.coordinates[self.bid].scale,
            )
        )
        self._followers()
        if "quote_age" in self.names:
            age = self.value("quote_age")
            fresh = age == age
            self._add(
                self._plain("quote_age", group, 0 if fresh else None, low=round(-age) if fresh else 0, high=0)
            )

    def _usual_price(self) -> float:
        near = [self.value(name) for name in ("price", "entry_price", "ask")]
        near += [
            self.values[index]
            for index, slot in enumerate(self.lowered.slots)
            if isinstance(slot.series, Column) and slot.series.symbol == "" and slot.unit is Measure.PRICE
        ]
        return next((price for price in near if price > 0), 100.0)

    def _least_bid(self) -> float:
        """Return the bid below which what is held would count as dust: no bid makes a position vanish."""
        instrument, owned = self.vector.situation.instrument, self.value("position_qty")
        if instrument is None or self.value("held") != 1.0 or not owned > 0:
            return 0.0
        return min(float(instrument.minimum_notional) / owned, self._usual_price())

    def _followers(self) -> None:
        """Find the facts that follow from the bid, as lines through what they are now."""
        price, worth, owned = self.value("price"), self.value("position_value"), self.value("position_qty")
        known = price == price
        equity, entry, gain = self.value("equity"), self.value("entry_price"), self.value("gain")
        quantity: Fraction | None = None
        if known and worth == worth:
            exact = (
                quantise(owned * price, GRID_PER_UNIT[Measure.MONEY]) == worth if owned == owned else False
            )
            quantity = _fraction(owned) if exact else _fraction(worth) / _fraction(price)
        elif not known and owned > 0 and worth != worth:
            quantity = _fraction(owned)
        if quantity:
            self._line("position_value", quantity)
            if equity == equity and worth == worth:
                others = _fraction(equity) - _fraction(worth)
                self._line("equity", quantity, others)
                self._target(quantity, others, equity)
                fallen = self.value("drawdown")
                if equity > 0 and 0 <= fallen <= 1:
                    left = (1 - _fraction(fallen)) / _fraction(equity)
                    self._line("drawdown", -left * quantity, 1 - left * others)
            if equity > 0 and "weight" in self.names:
                self.weight = self.names["weight"]
        if entry > 0 and (not known or quantise(price / entry - 1, self._steps("gain")) == gain):
            if known or gain != gain:
                self._line("gain", 1 / _fraction(entry), Fraction(-1))
        elif known and gain == gain:
            self._line("gain", (1 + _fraction(gain)) / _fraction(price), Fraction(-1))

    def _steps(self, name: str) -> int:
        return (
            self.lowered.slots[self.names[name]].steps_per_unit
            if name in self.names
            else FACTS[name].steps_per_unit
        )

    def _line(self, name: str, slope: Fraction, constant: Fraction = Fraction(0)) -> None:
        if name in self.names:
            self.lines[self.names[name]] = Line(slope, constant)

    def _target(self, quantity: Fraction, others: Fraction, equity: float) -> None:
        target = self.value("target")
        if target != target or not equity > 0:
            return
        share = _fraction(target) / _fraction(equity)
        if self.listing.weight is not None:
            weight = Fraction(self.listing.weight)
            if quantise(float(weight) * equity, GRID_PER_UNIT[Measure.MONEY]) == target:
                share = weight
        self.share = share
        self._line("target", share * quantity, share * others)

    def _plain(
        self,
        name: str,
        group: int,
        rest: int | None,
        low: int,
        high: int,
        *,
        allowed: tuple[int, ...] = (),
        usual: int = 0,
    ) -> Coordinate:
        """Return a coordinate of one vocabulary fact in its own steps."""
        index = self.names[name]
        slot, fact = self.lowered.slots[index], FACTS[name]
        counted = slot.steps_per_unit == 0
        base = round(self.values[index] * (slot.steps_per_unit or 1)) if rest == 0 and not counted else 0
        scale = fact.typical_scale * (slot.steps_per_unit or 1)
        return Coordinate(
            name,
            group,
            slot.unit,
            slot.steps_per_unit,
            (index,),
            base,
            1,
            rest,
            low,
            high,
            scale,
            usual,
            allowed,
        )

    # --- the clock ----------------------------------------------------------------------------

    def _clock(self) -> None:
        group, every = self._group(CLOCK), self.policy.bars_seconds
        longest = max((self.value(name) for name in self._growing()), default=0.0)
        high = CAP - round(longest)
        left = self.value("until_close")
        if self.listing.calendar != ALWAYS_OPEN and left == left and left < CAP:
            high = min(high, round(left) - 1)
        dates = self.value("until_earnings")
        if dates == dates and dates < CAP:
            high = min(high, round(dates))
        at = self.value("time")
        if at == at:
            whole = not any(
                name in self.names
                for name in ("weekday", "session_of_week", "session_of_month", "until_earnings")
            )
            high = min(high, DAY - 1 if whole else DAY - 1 - round(at))
        self.seconds = self._add(
            Coordinate(SECONDS, group, Measure.DURATION, 1, (), 0, 1, 0, 0, max(0, high), 300.0)
        )
        counted = [name for name in IN_BARS.values() if self.value(name) == self.value(name)]
        if not counted:
            return
        if self.listing.calendar == ALWAYS_OPEN and self.vector.at_ms is not None:
            self.phase = self.vector.at_ms // 1000 % every
            return
        now = max(self.value(name) if self.value(name) < CAP else 0.0 for name in counted)
        scale = FACTS["held_for_bars"].typical_scale
        self.bars = self._add(
            Coordinate(BARS, group, Measure.BARS, 1, (), 0, 1, 0, 0, CAP - round(now), scale)
        )

    @property
    def daily(self) -> bool:
        """Whether bars close but once in a session or less: then bars pass by the day, at the same hour."""
        return self.phase is None and self.policy.bars_seconds >= DAY

    def _growing(self) -> Iterator[str]:
        """Yield the elapsed times that grow: all that are known, and not never."""
        for name in ("since_order", "since_buy", "since_sell", "since_open", "held_for"):
            value = self.value(name)
            if value == value and value < CAP and (name != "held_for" or self.value("held") == 1.0):
                yield name

    def _growing_bars(self) -> Iterator[str]:
        for name in IN_BARS.values():
            value = self.value(name)
            if value == value and value < CAP and (name != "held_for_bars" or self.value("held") == 1.0):
                yield name

    def _falling(self) -> Iterator[str]:
        for name in ("until_close", "until_earnings"):
            value = self.value(name)
            if value == value and value < CAP:
                yield name

    # --- words --------------------------------------------------------------------------------

    def _words(self) -> None:
        # 24/7 is always regular; facts that say otherwise may come to be as they should.
        sessions = ("regular",) if self.listing.calendar == ALWAYS_OPEN else SESSION.words
        for name, words, group, wanted in (
            ("quote_state", QUOTE_STATE, QUOTE, ("tradable",)),
            ("clock_state", CLOCK_STATE, "clock_state", ("ok",)),
            ("session", SESSION, "session", sessions),
        ):
            if name not in self.names:
                continue
            now = self.value(name)
            allowed = tuple(words.words.index(word) for word in wanted)
            if now == now and allowed == (round(now),):
                continue
            rest = round(now) if now == now else None
            if rest is not None:
                allowed = tuple(sorted({*allowed, rest}))
            self._add(
                self._plain(
                    name, self._group(group), rest, 0, len(words.words) - 1, allowed=allowed, usual=allowed[0]
                )
            )
        for index, slot in enumerate(self.lowered.slots):
            rule = next((r for r in self.lowered.rules if slot.name == f"once.{r.name}"), None)
            if slot.origin is not SlotOrigin.ONCE or rule is None or rule.once in (None, Once.POSITION):
                continue
            if self.values[index] == 1.0:
                self._add(
                    Coordinate(
                        slot.name, self._group(slot.name), Measure.BOOLEAN, 0, (index,), 0, 1, 1, 0, 1, 1.0
                    )
                )

    # --- bars ---------------------------------------------------------------------------------

    def _series(self) -> None:
        for index, slot in enumerate(self.lowered.slots):
            if slot.origin is not SlotOrigin.SERIES or slot.series is None or index in self.sums:
                continue
            node, _ = _unlagged(slot.series)
            value, k = self.values[index], slot.steps_per_unit
            low, high = series_bounds(slot.series)
            if isinstance(node, Column):
                low, high = FACTS[node.name].minimum, FACTS[node.name].maximum
            usual, scale, at_least = self._typical(slot, node)
            most = FACTS["price"].maximum if slot.unit is Measure.PRICE else _MOST
            low, high = max(low, -most), min(high, most)
            group = self._group(_family(node))
            known = value == value
            if k == 0:
                words = slot.unit.words if isinstance(slot.unit, Words) else ("false", "true")
                rest = round(value) if known else None
                first = 1 if slot.unit is not Measure.BOOLEAN else 0
                coordinate = Coordinate(
                    slot.name, group, slot.unit, 0, (index,), 0, 1, rest, first, len(words) - 1, 1.0, first
                )
            else:
                base = round(value * k) if known else 0
                low = max(low, at_least)
                coordinate = Coordinate(
                    slot.name,
                    group,
                    slot.unit,
                    k,
                    (index,),
                    base,
                    1,
                    0 if known else None,
                    min(0, math.ceil(low * k) - base) if known else math.ceil(low * k),
                    max(0, math.floor(high * k) - base) if known else math.floor(high * k),
                    max(1.0, scale * k),
                    round(usual * k),
                )
            self._add(coordinate)

    def _typical(self, slot: FactSlot, node: SeriesNode) -> tuple[float, float, float]:
        """Return where a series usually lies, its typical scale, and what it is never below."""
        level = self._usual_price() if slot.unit is Measure.PRICE else 1.0
        if isinstance(node, Column):
            if slot.unit is Measure.PRICE:
                return level, level / _SHARE, 0.0
            return FACTS["volume"].typical_scale, FACTS["volume"].typical_scale, 0.0
        if isinstance(node, SeriesCall):
            spec = FUNCTIONS[node.function].output(node.output)
            low, high = spec.typical
            if isinstance(spec.unit, LikeInput):
                at_least = 0.0 if low >= 0 and slot.unit in (Measure.PRICE, Measure.QUANTITY) else -math.inf
                return level * (low + high) / 2, level * (high - low) / _SHARE, at_least
            return (low + high) / 2, (high - low) / _SHARE, -math.inf
        if slot.unit is Measure.RATIO:
            return 0.0, 1 / _SHARE, -math.inf
        return level if slot.unit is Measure.PRICE else 0.0, level / _SHARE, -math.inf

    def _sums(self) -> Iterator[tuple[int, Mapping[int, Fraction]]]:
        """Yield slots that follow from others of their indicator or bar: a histogram, a typical price."""
        for index, slot in enumerate(self.lowered.slots):
            if slot.series is None:
                continue
            node, lag = _unlagged(slot.series)
            of: list[tuple[SeriesNode, Fraction]] = []
            if isinstance(node, SeriesCall) and (node.function, node.output) == ("macd", "histogram"):
                of = [(replace(node, output="line"), _ONE), (replace(node, output="signal"), -_ONE)]
            elif isinstance(node, Column) and node.name == "typical":
                of = [(replace(node, name=name), _ONE / 3) for name in _BAR]
            else:
                continue
            parts = [(self.by_node.get(_lagged(part, lag), -1), share) for part, share in of]
            if all(
                one >= 0 and self.values[one] == self.values[one] for one in (index, *(p for p, _ in parts))
            ):
                yield index, dict(parts)

    def _ordered(self) -> Iterator[tuple[int, int]]:
        """Yield pairs of slots of which the first is never above the second, in a bar or an indicator."""
        by_node = self.by_node
        for series, index in by_node.items():
            node, lag = _unlagged(series)
            for low, high in _ORDER:
                if isinstance(node, Column) and node.name == low:
                    yield from _pair(index, by_node.get(_lagged(replace(node, name=high), lag)))
                if isinstance(node, SeriesCall) and (node.function, node.output) == ("bollinger", low):
                    yield from _pair(index, by_node.get(_lagged(replace(node, output=high), lag)))
            if isinstance(node, SeriesCall) and node.function in ("highest", "lowest"):
                inside = by_node.get(_lagged(node.inputs[0], lag))
                if inside is not None:
                    yield (inside, index) if node.function == "highest" else (index, inside)

    # --- signals ------------------------------------------------------------------------------

    def _signals(self) -> None:
        """Outside signals move, and voted ones that are given: as a side and a confidence."""
        for feed in self.lowered.feeds:
            self._signal(
                feed.name,
                [(name, slot) for name, slot in zip(_FIELDS, (feed.side, feed.confidence), strict=True)],
            )
        for index, signal in enumerate(self.lowered.signals):
            if self.vector.stated_mask >> index & 1:
                self._signal(signal.name, list(zip(_FIELDS, signal.slots, strict=False)), signal.entry_slots)

    def _signal(self, name: str, fields: Iterable[tuple[str, int]], twins: Sequence[int] = ()) -> None:
        group = self._group(f"signal {name}")
        for place, (field, index) in enumerate(fields):
            if index < 0:
                continue
            slot, value = self.lowered.slots[index], self.values[index]
            known, k = value == value, slot.steps_per_unit
            slots = tuple(dict.fromkeys((index, *twins[place : place + 1])))
            if field == "side":
                top, scale = len(SIDE.words) - 1, 1.0
            else:
                top, scale = round(SIGNAL_FIELDS[field][2] * k), FACTS["gain"].typical_scale * k
            base = round(value * k) if known and k else 0
            rest = None if not known else 0 if k else round(value)
            self._add(
                Coordinate(
                    f"{name}.{field}",
                    group,
                    slot.unit,
                    k,
                    slots,
                    base,
                    1,
                    rest,
                    -base,
                    top - base,
                    scale,
                    1 if not k else 0,
                )
            )

    def _sides(self) -> Iterator[tuple[int, int]]:
        """Yield side and confidence of the signals that move: only no side has no confidence."""
        pairs = [(feed.side, feed.confidence) for feed in self.lowered.feeds]
        pairs += [(signal.slots[0], signal.slots[1]) for signal in self.lowered.signals]
        for side, confidence in pairs:
            known = all(self.values[one] == self.values[one] for one in (side, confidence) if one >= 0)
            if {side, confidence} <= set(self.movable) and self._is_a_side(
                self.values, side, confidence
            ) == known:
                yield side, confidence

    @staticmethod
    def _is_a_side(values: Sequence[float], side: int, confidence: int) -> bool:
        return (values[side] != SIDE.index("none")) == (values[confidence] > 0)

    def possible(self, point: Point) -> bool:
        """Say whether a point is within the ranges and keeps what ties facts together."""
        for index, n in point.items():
            one = self.coordinates[index]
            if not one.low <= n <= one.high or (one.allowed and n not in one.allowed):
                return False
        after, _ = self.at(point)
        if any(after[low] > after[high] for low, high in self.ordered):
            return False
        if any(
            after[side] == after[side]
            and after[confidence] == after[confidence]
            and not self._is_a_side(after, side, confidence)
            for side, confidence in self.sides
        ):
            return False
        if self.bars < 0 or self.daily:
            return True
        seconds, bars, every = point.get(self.seconds, 0), point.get(self.bars, 0), self.policy.bars_seconds
        return (bars == 0 or (bars - 1) * every < seconds) and seconds < (bars + 1) * every

    # --- reading it ---------------------------------------------------------------------------

    def _movable(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield every slot that can move, with the coordinates it moves with."""
        for index, coordinate in enumerate(self.coordinates):
            for slot in coordinate.slots:
                yield slot, (self.bid, self.ask) if index == self.ask else (index,)
        for slot in (*self.lines, *([self.weight] if self.weight >= 0 else [])):
            yield slot, (self.bid,)
        for slot, parts in self.sums.items():
            yield (
                slot,
                tuple(index for index, one in enumerate(self.coordinates) if set(parts) & set(one.slots)),
            )
        clock = (self.seconds, self.bars) if self.bars >= 0 else (self.seconds,)
        for name in (
            *self._growing(),
            *self._falling(),
            *(["time"] if self.value("time") == self.value("time") else []),
        ):
            if name in self.names:
                yield self.names[name], clock if self.daily and name not in _BY_THE_HOUR else (self.seconds,)
        for name in self._growing_bars():
            yield self.names[name], (self.bars,) if self.bars >= 0 else (self.seconds,)

    @property
    def growing_bars(self) -> tuple[str, ...]:
        """Elapsed times that grow with the bars."""
        return tuple(self._growing_bars())

    @property
    def falling(self) -> tuple[str, ...]:
        """Times to something, which fall with the seconds."""
        return tuple(self._falling())

    def by_the_day(self, name: str) -> bool:
        """Say whether an elapsed time grows by whole days with daily bars, too."""
        return self.daily and self.bars >= 0 and name not in _BY_THE_HOUR

    def at(self, point: Point) -> tuple[list[float], Situation]:
        """Return the facts at a point, and what a decision reads beside them."""
        after = list(self.values)
        for index, n in point.items():
            coordinate = self.coordinates[index]
            if index in (self.bid, self.ask):
                continue
            for slot in coordinate.slots:
                after[slot] = coordinate.value(n)
        for slot, parts in self.sums.items():
            if any(after[part] != self.values[part] for part in parts):
                after[slot] = self._sum(slot, parts, after)
        situation = self.vector.situation
        if self.bid in point or self.ask in point:
            situation = self._at_a_quote(point, after)
        if self.seconds in point or self.bars in point:
            situation = self._later(point, after, situation)
        return after, situation

    def _at_a_quote(self, point: Point, after: list[float]) -> Situation:
        bid = self.coordinates[self.bid]
        if bid.rest is None and self.bid not in point:
            return self.vector.situation
        steps = bid.base + bid.stride * point.get(self.bid, 0)
        price = steps / bid.per_unit
        for slot in bid.slots:
            after[slot] = price
        ask = self.coordinates[self.ask]
        if ask.rest is not None or self.ask in point:
            after[self.names["ask"]] = (steps + self.gap + ask.stride * point.get(self.ask, 0)) / ask.per_unit
        situation = self.vector.situation
        if self.bid not in point:
            return situation
        for slot, line in self.lines.items():
            fact = self.lowered.slots[slot]
            exact = line.slope * Fraction(steps, bid.per_unit) + line.constant
            value = round(exact * fact.steps_per_unit) / fact.steps_per_unit
            after[slot] = max(0.0, value) if fact.name == "drawdown" else value
        self._as_made(after, price)
        if self.weight >= 0:
            worth, equity = (after[self.names[name]] for name in ("position_value", "equity"))
            k = self.lowered.slots[self.weight].steps_per_unit
            after[self.weight] = quantise(worth / equity, k) if equity > 0 else math.nan
        worth, was = after[self.names["position_value"]], self.value("position_value")
        if worth == worth and was == was:
            more = round((worth - was) * GRID_PER_UNIT[Measure.MONEY]) * (
                MONEY_SCALE // GRID_PER_UNIT[Measure.MONEY]
            )
            usage = [
                used + more if used is not None and limit.kind is LimitKind.EXPOSURE_AT_MOST else used
                for used, limit in zip(situation.usage, self.lowered.limits, strict=True)
            ]
            situation = replace(situation, usage=tuple(usage))
        return situation

    def _as_made(self, after: list[float], price: float) -> None:
        """Round as the fact maker does, in float64, fact from fact: it may differ from the exact number."""
        cents = GRID_PER_UNIT[Measure.MONEY]
        owned, entry = self.value("position_qty"), self.value("entry_price")
        value, equity, target, gain = (
            self.names.get(name, -1) for name in ("position_value", "equity", "target", "gain")
        )
        if owned == owned and self.lines.get(value) == Line(_fraction(owned)):
            after[value] = quantise(owned * price, cents)
        if equity in self.lines:
            after[equity] = quantise(self.values[equity] - self.values[value] + after[value], cents)
        if target in self.lines:
            after[target] = quantise(float(self.share) * after[equity], cents)
        if gain in self.lines and entry > 0 and self.lines[gain].slope == 1 / _fraction(entry):
            after[gain] = quantise(price / entry - 1, self.lowered.slots[gain].steps_per_unit)

    def _sum(self, slot: int, parts: Mapping[int, Fraction], after: list[float]) -> float:
        fact = self.lowered.slots[slot]
        if fact.series is not None and isinstance(_unlagged(fact.series)[0], Column):
            return quantise(sum(after[part] for part in parts) / 3, fact.steps_per_unit)
        moved = sum(
            share * (_fraction(after[part]) - _fraction(self.values[part])) for part, share in parts.items()
        )
        return round((_fraction(self.values[slot]) + moved) * fact.steps_per_unit) / fact.steps_per_unit

    def passed(self, point: Point) -> int:
        """Return how many seconds later a point is."""
        days = point.get(self.bars, 0) * self.policy.bars_seconds if self.daily and self.bars >= 0 else 0
        return point.get(self.seconds, 0) + days

    def _later(self, point: Point, after: list[float], situation: Situation) -> Situation:
        seconds = point.get(self.seconds, 0)
        bars = point.get(self.bars, 0)
        if self.phase is not None:
            bars = (self.phase + seconds) // self.policy.bars_seconds
        for name in self._growing():
            days = bars * self.policy.bars_seconds if self.by_the_day(name) else 0
            after[self.names[name]] = self.value(name) + seconds + days
        for name in self._growing_bars():
            after[self.names[name]] = self.value(name) + bars
        for name in self._falling():
            after[self.names[name]] = self.value(name) - seconds
        if self.value("time") == self.value("time"):
            after[self.names["time"]] = (self.value("time") + seconds) % DAY
        passed = self.passed(point)
        usage = [
            0 if limit.kind is LimitKind.BUYS_AT_MOST and passed >= limit.window_seconds else used
            for used, limit in zip(situation.usage, self.lowered.limits, strict=True)
        ]
        return replace(situation, usage=tuple(usage))


_FIELDS: Final = ("side", "confidence")
_BY_THE_HOUR: Final = ("since_open", "until_close", "until_earnings", "time")
_ONE: Final = Fraction(1)
_BAR: Final = ("high", "low", "close")
_ORDER: Final = (
    ("low", "open"),
    ("low", "close"),
    ("low", "high"),
    ("open", "high"),
    ("close", "high"),
    ("lower", "middle"),
    ("middle", "upper"),
    ("lower", "upper"),
)


def _fraction(value: float) -> Fraction:
    return Fraction(repr(value))


def _pair(low: int, high: int | None) -> Iterator[tuple[int, int]]:
    if high is not None:
        yield low, high


def _unlagged(node: SeriesNode) -> tuple[SeriesNode, int]:
    lag = 0
    while isinstance(node, Lag):
        lag += node.bars
        node = node.operand
    return node, lag


def _lagged(node: SeriesNode, lag: int) -> SeriesNode:
    return Lag(node, lag) if lag else node


def _family(node: SeriesNode) -> str:
    """Return what all outputs of an indicator, or all columns of a bar, have in common."""
    if isinstance(node, Column):
        return f"bar {node.symbol} {node.interval_seconds}" + (" volume" if node.name == "volume" else "")
    if isinstance(node, SeriesCall):
        return repr(replace(node, output=""))
    return repr(node)
