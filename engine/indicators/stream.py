"""Evaluate series nodes bar by bar: live, in replay and in backtests alike.

A ``SeriesEngine`` holds the nodes of one decision symbol.  Nodes that read the same sources (a
source is a symbol and an interval) live in one *stream* and step together, once per bar; equal
sub-nodes are computed once.  A node over several symbols lives in a stream of its own, which
steps when all of them have a bar with the same open time; a bar that one of them lacks is a gap.

Nothing is bent: a value is a float that its formula gave, or Unknown with a reason.  An Unknown
input resets the kernel that reads it (its anchor is the next known bar); so do a gap and an
overflow.  Values are not quantised here.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Final, NamedTuple

from engine.codes import UnknownReason
from engine.errors import DataError
from engine.indicators import kernels
from engine.indicators.functions import COLUMNS, FUNCTIONS, bars_needed
from engine.model import Bar
from engine.series import SELF, Column, Lag, SeriesArithmetic, SeriesCall, SeriesConstant, SeriesNode, columns

QUIET_PERCENT: Final = 20
"""A value is Unknown(quiet) where more than this share of its window's bars had no trade."""

_KNOWN: Final = int(UnknownReason.KNOWN)
_MISSING: Final = int(UnknownReason.MISSING)
_NOT_A_NUMBER: Final = int(UnknownReason.NOT_A_NUMBER)
_INFINITE: Final = int(UnknownReason.INFINITE)
_OVERFLOW: Final = int(UnknownReason.OVERFLOW)
_DIVISION_BY_ZERO: Final = int(UnknownReason.DIVISION_BY_ZERO)
_WARM_UP: Final = int(UnknownReason.WARM_UP)
_GAP: Final = int(UnknownReason.GAP)
_QUIET: Final = int(UnknownReason.QUIET)
_NO_BARS: Final = int(UnknownReason.NO_BARS)

_REASONS: Final = tuple(UnknownReason)
_NAN: Final = math.nan

_Source = tuple[str, int]


class SeriesValue(NamedTuple):
    """The value of a node after the last bar of its stream.

    ``value`` is NaN unless ``reason`` is KNOWN.  ``age_bars`` counts later bars that one symbol of
    a node over several has and another has not; it is 0 for a node over one symbol, whose age in
    expected bars only the calendar knows.  ``open_time_ms`` is the open of the bar the value
    belongs to, None before the first.
    """

    value: float
    reason: UnknownReason
    age_bars: int
    open_time_ms: int | None


def resolve(node: SeriesNode, symbol: str) -> SeriesNode:
    """Return ``node`` with ``symbol`` in the place of SELF."""
    match node:
        case SeriesConstant():
            return node
        case Column(symbol=own):
            return node if own != SELF else Column(symbol, node.interval_seconds, node.name)
        case SeriesCall():
            inputs = tuple(resolve(child, symbol) for child in node.inputs)
            return SeriesCall(node.function, inputs, node.lengths, node.output)
        case SeriesArithmetic():
            return SeriesArithmetic(node.operator, tuple(resolve(child, symbol) for child in node.operands))
        case Lag():
            return Lag(resolve(node.operand, symbol), node.bars)


def _typical(bar: Bar) -> float:
    return (bar.high + bar.low + bar.close) / 3.0


_READ_COLUMN: Final[Mapping[str, Callable[[Bar], float]]] = {
    name: _typical if name == "typical" else operator.attrgetter(name) for name in COLUMNS
}

# Arity None: two or more operands, from left to right.
_OPERATORS: Final[Mapping[str, tuple[Callable[..., float], int | None]]] = {
    "+": (operator.add, None),
    "-": (operator.sub, None),
    "*": (operator.mul, None),
    "/": (operator.truediv, None),
    "min": (min, None),
    "max": (max, None),
    "neg": (operator.neg, 1),
    "abs": (abs, 1),
    "log": (math.log, 1),
}


@dataclass(slots=True, eq=False)
class _Memory:
    """What a kernel or a lag keeps between bars.  ``state[COUNT]`` is its bars since the anchor.

    ``resume_ms`` is an anchor carried over a restart: earlier bars are not consumed.
    """

    state: list[float]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    anchor_ms: int | None = None
    resume_ms: int | None = None

    def reset(self) -> None:
        """Forget every bar."""
        if self.anchor_ms is not None:
            self.state[:] = [0.0] * len(self.state)
            self.anchor_ms = None


@dataclass(slots=True, eq=False)
class _Kernel(_Memory):
    """A kernel with its state; all outputs of one call share it."""

    step: Callable[..., int] = kernels.sma
    arguments: tuple[float, ...] = ()
    warm_up: int = 0
    span: int = 0  # bars of the stream whose trading the value rests on

    def run(self, stream: _Stream, values: list[float], reasons: list[int]) -> None:
        """Consume the inputs of the current bar and write the outputs."""
        reason = _KNOWN
        for slot in self.inputs:
            if values[slot] != values[slot]:
                reason = reasons[slot]
                break
        if reason:
            self.reset()
        elif self.resume_ms is not None and stream.open_ms < self.resume_ms:
            reason = _WARM_UP
        else:
            state = self.state
            if self.anchor_ms is None:
                self.anchor_ms = stream.open_ms
            reason = self.step(state, *[values[slot] for slot in self.inputs], *self.arguments)
            if reason == _KNOWN:
                for at, slot in enumerate(self.outputs, kernels.OUTPUT):
                    value = values[slot] = state[at]
                    if not math.isfinite(value):
                        reason = _OVERFLOW
            if reason == _OVERFLOW:
                self.reset()
            elif state[kernels.COUNT] < self.warm_up:
                reason = _WARM_UP
            elif reason == _KNOWN:
                quiet = _QUIET if stream.untraded and stream.quiet(self.span) else _KNOWN
                for slot in self.outputs:
                    reasons[slot] = quiet
                return
        for slot in self.outputs:
            values[slot] = _NAN
            reasons[slot] = reason


@dataclass(slots=True, eq=False)
class _Lag(_Memory):
    """The values and reasons of the last bars; ``state`` holds the count and the ring of values."""

    past_reasons: list[int] = field(default_factory=list)

    def run(self, stream: _Stream, values: list[float], reasons: list[int]) -> None:
        """Take in the operand's value of the current bar, give out the one of ``bars`` ago."""
        (slot,), (output,) = self.inputs, self.outputs
        if self.resume_ms is not None and stream.open_ms < self.resume_ms:
            values[output], reasons[output] = _NAN, _WARM_UP
            return
        if self.anchor_ms is None:
            self.anchor_ms = stream.open_ms
        state = self.state
        bars = len(self.past_reasons)
        count = int(state[kernels.COUNT])
        at = count % bars
        if count < bars:
            values[output], reasons[output] = _NAN, _WARM_UP
        else:
            values[output], reasons[output] = state[kernels.OUTPUT + at], self.past_reasons[at]
        state[kernels.OUTPUT + at] = values[slot]
        self.past_reasons[at] = reasons[slot]
        state[kernels.COUNT] = count + 1.0


@dataclass(slots=True, eq=False)
class _Arithmetic:
    """Arithmetic of one bar; it remembers nothing."""

    function: Callable[..., float]
    inputs: tuple[int, ...]
    output: int

    def run(self, stream: _Stream | None, values: list[float], reasons: list[int]) -> None:
        """Write the value for the current bar."""
        operands = [values[slot] for slot in self.inputs]
        output = self.output
        reason = quiet = _KNOWN
        for slot, operand in zip(self.inputs, operands, strict=True):
            if operand != operand:
                values[output], reasons[output] = _NAN, reasons[slot]
                return
            quiet = quiet or reasons[slot]
        try:
            value = self.function(*operands) if len(operands) < 3 else reduce(self.function, operands)
            if not math.isfinite(value):
                reason = _OVERFLOW
        except ZeroDivisionError:
            reason = _DIVISION_BY_ZERO
        except ValueError:
            reason = _NOT_A_NUMBER
        values[output] = _NAN if reason else value
        reasons[output] = reason or quiet


class _Pending(NamedTuple):
    """What a stream said at one bar to a stream that reads it and waits for the others."""

    open_ms: int
    traded: bool
    values: list[float]
    reasons: list[int]


@dataclass(slots=True, eq=False)
class _Link:
    """The way of values from one stream to one over more symbols: slots there, slots here."""

    reader: _Stream
    sources: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    pending: deque[_Pending] = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class _Stream:
    """The nodes over one set of sources, in the order in which they are computed."""

    sources: frozenset[_Source]
    columns: list[tuple[int, Callable[[Bar], float]]] = field(default_factory=list)
    steps: list[_Kernel | _Lag | _Arithmetic] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    readers: list[_Link] = field(default_factory=list)
    reads: dict[frozenset[_Source], tuple[_Stream, _Link]] = field(default_factory=dict)
    open_ms: int = -1  # of the last bar; -1 before the first
    bars: int = 0  # taken in
    untraded: deque[int] = field(default_factory=deque)  # numbers of the bars without a trade
    span: int = 1  # the longest window: older untraded bars are forgotten

    def quiet(self, span: int) -> bool:
        """Say whether too many of the last ``span`` bars had no trade."""
        count = len(self.untraded) - bisect_left(self.untraded, self.bars - span + 1)
        return 100 * count > QUIET_PERCENT * span

    def age(self) -> int:
        """Return how many bars some source is ahead of the last bar that all of them had."""
        return max((len(link.pending) + stream.age() for stream, link in self.reads.values()), default=0)


class SeriesEngine:
    """Values of series nodes for one decision symbol, fed with closed bars."""

    def __init__(
        self, nodes: Sequence[SeriesNode], symbol: str, anchors: Mapping[SeriesNode, int] | None = None
    ) -> None:
        """Prepare ``nodes`` (SELF means ``symbol``).

        ``anchors``, as ``anchors()`` gave them before a restart, hold back each kernel until its
        anchor bar: fed with bars from the earliest anchor on, the values are the same to the bit.
        Raises ValueError for a node that the language would not have built: an unknown function,
        column or operator, lengths out of range, mixed intervals, a kernel over no column.
        """
        self.symbol = symbol
        self._nodes = tuple(resolve(node, symbol) for node in nodes)
        self._values: list[float] = []
        self._reasons: list[int] = []
        self._streams: dict[frozenset[_Source], _Stream] = {}
        self._slots: dict[SeriesNode, int] = {}
        self._memories: dict[SeriesNode, _Memory] = {}
        self._readout = [(self._slot(node), self._stream(node)) for node in self._nodes]
        self._by_source = {
            source: stream
            for sources, stream in self._streams.items()
            if len(sources) == 1
            for source in sources
        }
        for node, anchor_ms in (anchors or {}).items():
            memory = self._memories.get(resolve(node, symbol))
            if memory is not None:
                memory.resume_ms = anchor_ms

    # --- what the outside does with it ---

    @property
    def sources(self) -> frozenset[tuple[str, int]]:
        """Every (symbol, interval in seconds) the nodes read."""
        return frozenset(self._by_source)

    def feed(self, symbol: str, interval_seconds: int, bar: Bar) -> None:
        """Take in the next closed bar of a source; a source that no node reads is ignored.

        Bars of one source come in ascending order; different sources may come in any order.
        Raises DataError for a bar that is not later than the one before it.
        """
        stream = self._by_source.get((symbol, interval_seconds))
        if stream is None:
            return
        if bar.open_time_ms <= stream.open_ms:
            raise DataError(
                f"bars of {symbol} ({interval_seconds} s) are not in order: the bar that opened at "
                f"{bar.open_time_ms} ms came after the one of {stream.open_ms} ms; sort them and drop doubles"
            )
        values, reasons = self._values, self._reasons
        for slot, read in stream.columns:
            value = read(bar)
            if math.isfinite(value):
                values[slot], reasons[slot] = value, _KNOWN
            else:
                values[slot], reasons[slot] = _NAN, _MISSING if value != value else _INFINITE
        self._advance(stream, bar.open_time_ms, bar.traded)

    def gap(self, symbol: str, interval_seconds: int) -> None:
        """Say that bars are missing here and nothing proves that there was no trade.

        Whatever reads the source is Unknown(gap) now and starts anew with the next bar.
        """
        stream = self._by_source.get((symbol, interval_seconds))
        if stream is not None:
            self._interrupt(stream)

    def values(self) -> tuple[SeriesValue, ...]:
        """Return the value of each node, in the order in which the nodes were given."""
        return tuple(self._read(slot, stream) for slot, stream in self._readout)

    def value(self, node: SeriesNode) -> SeriesValue:
        """Return the value of one node, or of a sub-node of one; KeyError if it is neither."""
        resolved = resolve(node, self.symbol)
        return self._read(self._slots[resolved], self._stream(resolved))

    def anchors(self) -> dict[SeriesNode, int]:
        """Return the open time of the first bar since its reset for each kernel and lag, sub-nodes too.

        Nodes name their symbols here; those that consumed no bar since are left out.
        """
        return {
            node: memory.anchor_ms for node, memory in self._memories.items() if memory.anchor_ms is not None
        }

    # --- stepping ---

    def _read(self, slot: int, stream: _Stream | None) -> SeriesValue:
        reason = self._reasons[slot]
        value = self._values[slot] if reason == _KNOWN else _NAN
        if stream is None:
            return SeriesValue(value, _REASONS[reason], 0, None)
        opened = stream.open_ms if stream.open_ms >= 0 else None
        return SeriesValue(value, _REASONS[reason], stream.age() if stream.reads else 0, opened)

    def _advance(self, stream: _Stream, open_ms: int, traded: bool) -> None:
        """Compute a stream whose columns (or links) hold the values of a new bar."""
        stream.open_ms = open_ms
        stream.bars += 1
        untraded = stream.untraded
        if untraded and untraded[0] <= stream.bars - stream.span:
            untraded.popleft()
        if not traded:
            untraded.append(stream.bars)
        values, reasons = self._values, self._reasons
        for step in stream.steps:
            step.run(stream, values, reasons)
        for link in stream.readers:
            at = link.sources
            link.pending.append(
                _Pending(open_ms, traded, [values[slot] for slot in at], [reasons[slot] for slot in at])
            )
            self._join(link.reader)

    def _join(self, stream: _Stream) -> None:
        """Step a stream over several symbols for every open time that all of them have."""
        links = [link for _, link in stream.reads.values()]
        while all(link.pending for link in links):
            # Each source is in order: a bar older than another's oldest will never have a partner.
            latest = max(link.pending[0].open_ms for link in links)
            lonely = False
            for link in links:
                while link.pending and link.pending[0].open_ms < latest:
                    link.pending.popleft()
                    lonely = True
            if lonely:
                if stream.bars:
                    self._interrupt(stream)
                continue
            traded = True
            for link in links:
                bar = link.pending.popleft()
                traded = traded and bar.traded
                for slot, value, reason in zip(link.targets, bar.values, bar.reasons, strict=True):
                    self._values[slot], self._reasons[slot] = value, reason
            self._advance(stream, latest, traded)

    def _interrupt(self, stream: _Stream) -> None:
        """Reset a stream and all that read it: the next bar is the first behind a gap."""
        stream.untraded.clear()
        for slot in stream.slots:
            self._values[slot], self._reasons[slot] = _NAN, _GAP
        for step in stream.steps:
            if isinstance(step, _Memory):
                step.reset()
        for link in stream.readers:
            link.pending.clear()
            self._interrupt(link.reader)

    # --- building ---

    def _stream(self, node: SeriesNode) -> _Stream | None:
        """Return the stream a resolved node belongs to; None for constants."""
        needed = columns(node)
        if not needed:
            return None
        if len({column.interval_seconds for column in needed}) > 1:
            raise ValueError(f"a series mixes intervals: {node}")
        sources = frozenset((column.symbol, column.interval_seconds) for column in needed)
        return self._streams.setdefault(sources, _Stream(sources))

    def _new_slot(self, stream: _Stream | None) -> int:
        self._values.append(_NAN)
        self._reasons.append(_NO_BARS)
        if stream is not None:
            stream.slots.append(len(self._values) - 1)
        return len(self._values) - 1

    def _slot(self, node: SeriesNode) -> int:
        """Return where the value of a resolved node is kept, making its step if it has none yet."""
        slot = self._slots.get(node)
        if slot is not None:
            return slot
        stream = self._stream(node)
        match node:
            case SeriesConstant():
                slot = self._new_slot(None)
                self._values[slot] = node.value
                self._reasons[slot] = _KNOWN if math.isfinite(node.value) else _INFINITE
            case Column() if stream is not None:
                if node.name not in _READ_COLUMN:
                    raise ValueError(f"there is no column {node.name!r}: {', '.join(COLUMNS)}")
                slot = self._new_slot(stream)
                stream.columns.append((slot, _READ_COLUMN[node.name]))
            case SeriesArithmetic():
                slot = self._arithmetic_slot(node, stream)
            case SeriesCall() if stream is not None:
                slot = self._call_slot(node, stream)
            case Lag() if stream is not None:
                slot = self._lag_slot(node, stream)
            case _:
                raise ValueError(f"a series needs a column of bars: {node}")
        self._slots[node] = slot
        return slot

    def _input(self, node: SeriesNode, stream: _Stream | None) -> int:
        """Return the slot in which ``stream`` sees the value of ``node``."""
        slot = self._slot(node)
        own = self._stream(node)
        if own is stream or own is None or stream is None:
            return slot
        if own.sources not in stream.reads:
            link = _Link(stream)
            stream.reads[own.sources] = (own, link)
            own.readers.append(link)
        _, link = stream.reads[own.sources]
        if slot not in link.sources:
            link.sources.append(slot)
            link.targets.append(self._new_slot(stream))
        return link.targets[link.sources.index(slot)]

    def _arithmetic_slot(self, node: SeriesArithmetic, stream: _Stream | None) -> int:
        if node.operator not in _OPERATORS:
            raise ValueError(f"there is no operator {node.operator!r}")
        function, arity = _OPERATORS[node.operator]
        if len(node.operands) != arity if arity else len(node.operands) < 2:
            raise ValueError(f"{node.operator} takes {arity or 'two or more'} operands: {node}")
        inputs = tuple(self._input(operand, stream) for operand in node.operands)
        step = _Arithmetic(function, inputs, self._new_slot(stream))
        if stream is None:
            step.run(None, self._values, self._reasons)
        else:
            stream.steps.append(step)
        return step.output

    def _call_slot(self, node: SeriesCall, stream: _Stream) -> int:
        spec = FUNCTIONS.get(node.function)
        if spec is None:
            raise ValueError(f"there is no function {node.function!r}")
        if problem := spec.problem(node.lengths):
            raise ValueError(problem)
        if len(node.inputs) != len(spec.columns):
            raise ValueError(f"{spec.name} reads {len(spec.columns)} series, not {len(node.inputs)}")
        names = [output.name for output in spec.outputs]
        if node.output not in names:
            raise ValueError(f"{spec.name} has no output {node.output!r}: {', '.join(names)}")
        siblings = [SeriesCall(node.function, node.inputs, node.lengths, name) for name in names]
        span = bars_needed(node)
        kernel = _Kernel(
            state=[0.0] * spec.state_size(node.lengths),
            inputs=tuple(self._input(child, stream) for child in node.inputs),
            outputs=tuple(self._new_slot(stream) for _ in siblings),
            step=spec.step,
            arguments=spec.kernel_arguments(node.lengths),
            warm_up=spec.warm_up(node.lengths),
            span=span,
        )
        stream.span = max(stream.span, span)
        stream.steps.append(kernel)
        self._memories.update(dict.fromkeys(siblings, kernel))
        self._slots.update(zip(siblings, kernel.outputs, strict=True))
        return self._slots[node]

    def _lag_slot(self, node: Lag, stream: _Stream) -> int:
        if node.bars < 1:
            raise ValueError(f"a lag is one bar or more, not {node.bars}")
        lag = _Lag(
            state=[0.0] * (kernels.OUTPUT + node.bars),
            inputs=(self._input(node.operand, stream),),
            outputs=(self._new_slot(stream),),
            past_reasons=[_WARM_UP] * node.bars,
        )
        stream.steps.append(lag)
        self._memories[node] = lag
        return lag.outputs[0]
