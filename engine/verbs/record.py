"""The decision record: everything one decision was made from, packed so that it can be made again.

A record is integers and small tuples.  Facts are grid steps (``value * k``), so a float on its grid
comes back as the same float; one that is not on its grid is kept as its raw 64 bits.  What a packed
record means is in its ``Layout``, which is stored once per policy variant: a record can be read
without compiling the policy.

Two forms share one body.  A *full* record is the difference from nothing, sealed with a CRC.  A
*delta* is the difference from what the symbol's last record predicts: elapsed times, ages and the time
of day have moved by the seconds between the two, all else stays.  A decision that is as predicted
packs to no byte at all.  The deltas of a cycle are sealed together in one *frame*.

Not kept: the sign of a zero on the grid, and which NaN a NaN is; no evaluator can tell them apart.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from hashlib import sha256
from itertools import accumulate, pairwise
from math import nan
from typing import Final, NamedTuple

from engine.codes import Action, Denial, IntentState
from engine.errors import JournalError
from engine.lowered import FactSlot, LoweredPolicy
from engine.model import Decision, OrderSide, OrderType, SizedOrder, TimeInForce, WorkingOrder
from engine.units import ELAPSED_CAP_SECONDS, Measure, Words, unit_name

KEYFRAME_CYCLES: Final = 64
"""A symbol has a full record at least once in this many cycles."""

_FORM: Final = 1  # first byte of what is sealed; another number is another release's
_EXACT: Final = float(2**53)
_DAY_SECONDS: Final = 86400


# --- what a packed record means -----------------------------------------------------------------


class Motion(IntEnum):
    """How a fact moves by itself from one cycle to the next."""

    STILL = 0
    RISING = 1  # by the elapsed seconds, up to the cap of elapsed times
    FALLING = 2  # by the elapsed seconds, down to 0; the cap ("never") stays
    TIME_OF_DAY = 3  # by the elapsed seconds, round the clock


_RISING_NAMES: Final = ("since_", "held_for", "quote_age")
_FALLING_NAMES: Final = ("until_",)


@dataclass(frozen=True, slots=True)
class LayoutSlot:
    """One fact of the records of a layout: what its integer stands for."""

    name: str
    unit: str
    steps_per_unit: int  # k of the grid; 0 for words and booleans
    words: tuple[str, ...]  # of an enumeration, in the order of their index
    motion: Motion


@dataclass(frozen=True)
class Layout:
    """Names and grids of one variant's records, in the order of the lowered policy."""

    slots: tuple[LayoutSlot, ...]
    rules: tuple[str, ...]
    gates: tuple[str, ...]
    limits: tuple[str, ...]
    signals: tuple[str, ...]
    context: tuple[str, ...]  # of the integers a decision depends on beside its facts

    @cached_property
    def text(self) -> str:
        """The layout as canonical JSON."""
        content = {
            "slots": [[s.name, s.unit, s.steps_per_unit, list(s.words), int(s.motion)] for s in self.slots],
            "rules": self.rules,
            "gates": self.gates,
            "limits": self.limits,
            "signals": self.signals,
            "context": self.context,
        }
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return sha256(self.text.encode()).hexdigest()

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Steps per unit of each slot; 1 for words and booleans."""
        return tuple(slot.steps_per_unit or 1 for slot in self.slots)

    @cached_property
    def moving(self) -> tuple[tuple[int, Motion, int], ...]:
        """Slot, motion and steps per second of each fact that moves by itself."""
        return tuple(
            (index, slot.motion, slot.steps_per_unit or 1)
            for index, slot in enumerate(self.slots)
            if slot.motion is not Motion.STILL
        )

    @cached_property
    def width(self) -> int:
        """How many integers a record has: one per slot, then the context."""
        return len(self.slots) + len(self.context)


def layout_of(policy: LoweredPolicy, context: Sequence[str] = ()) -> Layout:
    """Return the layout of a lowered policy's records; ``context`` names the evaluation context."""
    return Layout(
        tuple(_layout_slot(slot) for slot in policy.slots),
        tuple(rule.name for rule in policy.rules),
        tuple(gate.name for gate in policy.gates),
        tuple(limit.name for limit in policy.limits),
        tuple(signal.name for signal in policy.signals),
        tuple(context),
    )


def _layout_slot(slot: FactSlot) -> LayoutSlot:
    motion = Motion.STILL
    if slot.unit is Measure.CLOCK:
        motion = Motion.TIME_OF_DAY
    elif slot.unit is Measure.DURATION and slot.name.startswith(_RISING_NAMES):
        motion = Motion.RISING
    elif slot.unit is Measure.DURATION and slot.name.startswith(_FALLING_NAMES):
        motion = Motion.FALLING
    words = slot.unit.words if isinstance(slot.unit, Words) else ()
    return LayoutSlot(slot.name, unit_name(slot.unit), slot.steps_per_unit, words, motion)


def layout_from_text(text: str) -> Layout:
    """Read what ``Layout.text`` gave; JournalError where it is no layout."""
    try:
        content = json.loads(text)
        slots = tuple(
            LayoutSlot(str(name), str(unit), int(steps), tuple(map(str, words)), Motion(motion))
            for name, unit, steps, words, motion in content["slots"]
        )
        names = [
            tuple(map(str, content[part])) for part in ("rules", "gates", "limits", "signals", "context")
        ]
        return Layout(slots, *names)
    except (ValueError, KeyError, TypeError) as error:
        raise JournalError(f"not the layout of a record: {error}") from error


# --- the record ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One decision with all it was made from.

    ``values`` and ``reasons`` are the fact vector of ``layout.slots``: floats, NaN where Unknown, and
    an ``UnknownReason`` each.  ``stated`` is the mask of signals that were stated, not voted.
    ``context`` has one integer per name of ``layout.context``.
    """

    layout: Layout
    values: Sequence[float]
    reasons: bytes
    stated: int
    decision: Decision
    working: WorkingOrder | None = None
    context: tuple[int, ...] = field(default=())

    @property
    def symbol(self) -> str:
        """The symbol decided on."""
        return self.decision.symbol


class _Outcome(NamedTuple):
    """The parts of a record that rarely change between cycles."""

    action: int
    rule: int
    denial: int
    stated: int
    truths: bytes
    dispositions: bytes
    causes: tuple[int, ...]
    signal_dispositions: bytes


class _Trade(NamedTuple):
    """The parts of a record that most decisions do not have."""

    order: SizedOrder | None
    cancel: str | None
    working: WorkingOrder | None
    limit_usage: tuple[int | None, ...]


class Image(NamedTuple):
    """A record as the codec holds it: what the symbol's next delta is taken from."""

    layout: Layout
    at_ms: int
    cells: list[int]  # steps of each slot, then the context; never changed in place
    exceptions: bytes  # Unknown facts and facts off their grid
    outcome: _Outcome
    trade: _Trade


_DENIALS: Final = tuple(Denial)
_NO_OUTCOME: Final = _Outcome(0, -1, 0, 0, b"", b"", (), b"")
_NO_TRADE: Final = _Trade(None, None, None, ())

_CELLS, _EXCEPTIONS, _OUTCOME, _TRADE = 1, 2, 4, 8


def pack_full(record: DecisionRecord, at_ms: int) -> tuple[bytes, Image]:
    """Pack a record so that it can be read alone; return it with its image.

    Raises JournalError for a record that does not have the shape of its layout.
    """
    blank = Image(record.layout, at_ms, [0] * record.layout.width, b"", _NO_OUTCOME, _NO_TRADE)
    body, image = _pack(record, blank, at_ms)
    return seal(body), image


def pack_delta(record: DecisionRecord, previous: Image, at_ms: int) -> tuple[bytes, Image]:
    """Pack a record as its difference from the symbol's previous one, which has the same layout.

    Returns no bytes where everything is as predicted.
    """
    if record.layout is not previous.layout and record.layout != previous.layout:
        raise JournalError(f"{record.symbol}: a delta needs a previous record of the same layout")
    return _pack(record, previous, at_ms)


def unpack_full(layout: Layout, data: bytes, at_ms: int) -> Image:
    """Read a full record; JournalError where it is damaged."""
    blank = Image(layout, at_ms, [0] * layout.width, b"", _NO_OUTCOME, _NO_TRADE)
    return _unpack(blank, unseal(data), at_ms)


def unpack_delta(previous: Image, data: bytes, at_ms: int) -> Image:
    """Read a delta after the record it was taken from; JournalError where it is damaged."""
    return _unpack(previous, data, at_ms)


def record_of(image: Image, symbol: str) -> DecisionRecord:
    """Return the record an image stands for; JournalError where it makes no sense."""
    layout, _, cells, exceptions, outcome, trade = image
    with _reading("a record"):
        values = [cell / k for cell, k in zip(cells, layout.grid, strict=False)]
        reasons = bytearray(len(values))
        for slot, reason, value in _read_exceptions(exceptions):
            reasons[slot] = reason
            if value is not None:
                values[slot] = value
        decision = Decision(
            symbol,
            Action(outcome.action),
            outcome.rule,
            outcome.truths,
            outcome.dispositions,
            outcome.causes,
            outcome.signal_dispositions,
            trade.order,
            trade.cancel,
            _DENIALS[outcome.denial],
            trade.limit_usage,
        )
    context = tuple(cells[len(layout.slots) :])
    return DecisionRecord(layout, values, bytes(reasons), outcome.stated, decision, trade.working, context)


def full_of(image: Image) -> bytes:
    """Pack an image as a full record, without the records before it."""
    writer = _Writer()
    blank = [0] * len(image.cells)
    _write_body(writer, image, _changes(image.cells, blank), _NO_OUTCOME, _NO_TRADE, b"")
    return seal(writer.data)


# --- the body -----------------------------------------------------------------------------------


def _predicted(previous: Image, at_ms: int) -> list[int]:
    """Return the cells that the next record has if nothing happened but time."""
    cells = previous.cells.copy()
    elapsed = at_ms // 1000 - previous.at_ms // 1000
    if not elapsed:
        return cells
    for slot, motion, steps in previous.layout.moving:
        old = cells[slot]
        cap = ELAPSED_CAP_SECONDS * steps
        if motion is Motion.TIME_OF_DAY:
            cells[slot] = (old + elapsed * steps) % (_DAY_SECONDS * steps)
        elif old >= cap:
            continue
        elif motion is Motion.RISING:
            cells[slot] = min(old + elapsed * steps, cap)
        else:
            cells[slot] = max(old - elapsed * steps, 0)
    return cells


def _pack(record: DecisionRecord, previous: Image, at_ms: int) -> tuple[bytes, Image]:
    layout, decision, values, reasons = record.layout, record.decision, record.values, record.reasons
    slots, rules = len(layout.slots), len(layout.rules)
    if len(values) != slots or len(reasons) != slots or len(record.context) != len(layout.context):
        raise JournalError(f"{decision.symbol}: the facts or the context are not those of the layout")
    if not rules == len(decision.truths) == len(decision.dispositions) == len(decision.causes):
        raise JournalError(f"{decision.symbol}: the decision's rules are not those of the layout")

    # This loop runs for every fact of every symbol in every cycle.
    cells = _predicted(previous, at_ms)
    changes: list[tuple[int, int]] = []
    odd: list[int] = []
    for slot, (value, k, old) in enumerate(zip(values, layout.grid, cells, strict=False)):
        if value == old / k:
            continue
        scaled = value * k
        # NaN and the infinities fail the range.
        if -_EXACT < scaled < _EXACT and (step := round(scaled)) / k == value:
            changes.append((slot, step - old))
            cells[slot] = step
        else:
            odd.append(slot)
    for slot, number in enumerate(record.context, slots):
        if number != cells[slot]:
            changes.append((slot, number - cells[slot]))
            cells[slot] = number
    exceptions = _exceptions(values, reasons, odd) if odd or reasons.count(0) != slots else b""
    outcome = _Outcome(
        decision.action,
        decision.rule,
        decision.denial,
        record.stated,
        decision.truths,
        decision.dispositions,
        decision.causes,
        decision.signal_dispositions,
    )
    trade = _Trade(decision.order, decision.cancel, record.working, decision.limit_usage)
    # Equal parts are shared: thousands of images live from cycle to cycle.
    if outcome == previous.outcome:
        outcome = previous.outcome
    if trade == previous.trade:
        trade = previous.trade

    image = Image(layout, at_ms, cells, exceptions, outcome, trade)
    writer = _Writer()
    _write_body(writer, image, changes, previous.outcome, previous.trade, previous.exceptions)
    return bytes(writer.data), image


def _changes(cells: Sequence[int], before: Sequence[int]) -> list[tuple[int, int]]:
    return [
        (slot, new - old) for slot, (new, old) in enumerate(zip(cells, before, strict=True)) if new != old
    ]


def _write_body(
    writer: _Writer,
    image: Image,
    changes: list[tuple[int, int]],
    outcome_before: _Outcome,
    trade_before: _Trade,
    exceptions_before: bytes,
) -> None:
    """Write what differs, each part behind its flag; nothing at all where nothing differs."""
    flags = _CELLS if changes else 0
    if image.exceptions != exceptions_before:
        flags |= _EXCEPTIONS
    if image.outcome != outcome_before:
        flags |= _OUTCOME
    if image.trade != trade_before:
        flags |= _TRADE
    if not flags:
        return
    writer.unsigned(flags)
    if flags & _CELLS:
        mask = 0
        for slot, _ in changes:
            mask |= 1 << slot
        writer.data += mask.to_bytes((image.layout.width + 7) // 8, "little")
        writer.signed_all(delta for _, delta in changes)
    if flags & _EXCEPTIONS:
        writer.blob(image.exceptions)
    if flags & _OUTCOME:
        _write_outcome(writer, image.outcome)
    if flags & _TRADE:
        _write_trade(writer, image.trade)


def _unpack(previous: Image, data: bytes, at_ms: int) -> Image:
    layout, _, _, exceptions, outcome, trade = previous
    cells = _predicted(previous, at_ms)
    if not data:
        return Image(layout, at_ms, cells, exceptions, outcome, trade)
    with _reading("a record"):
        reader = _Reader(data)
        flags = reader.unsigned()
        if flags & _CELLS:
            size = (layout.width + 7) // 8
            mask = int.from_bytes(reader.take(size), "little")
            while mask:
                lowest = mask & -mask
                cells[lowest.bit_length() - 1] += reader.signed()
                mask ^= lowest
        if flags & _EXCEPTIONS:
            exceptions = reader.blob()
        if flags & _OUTCOME:
            outcome = _read_outcome(reader, len(layout.rules))
        if flags & _TRADE:
            trade = _read_trade(reader)
        reader.end()
    return Image(layout, at_ms, cells, exceptions, outcome, trade)


# Of an exception's second byte: the reason, and how the value is kept.
_REASON_BITS, _RAW, _NAN = 0x3F, 0x40, 0x80


def _exceptions(values: Sequence[float], reasons: bytes, odd: Iterable[int]) -> bytes:
    """List the facts that have a reason, are NaN, or are off their grid: slot, reason, raw value."""
    writer = _Writer()
    off_grid = set(odd)
    for slot in sorted(off_grid.union(slot for slot, reason in enumerate(reasons) if reason)):
        value, code = values[slot], reasons[slot]
        if code > _REASON_BITS:
            raise JournalError(f"{code} is no reason for an Unknown fact")
        writer.unsigned(slot)
        if value != value:
            writer.data.append(code | _NAN)
        elif slot in off_grid:
            writer.data.append(code | _RAW)
            writer.data += struct.pack("<d", value)
        else:
            writer.data.append(code)
    return bytes(writer.data)


def _read_exceptions(data: bytes) -> Iterator[tuple[int, int, float | None]]:
    """Yield slot, reason and value (None: the one on the grid stands)."""
    reader = _Reader(data)
    while not reader.at_end:
        slot = reader.unsigned()
        code = reader.take(1)[0]
        value = nan if code & _NAN else None
        if code & _RAW:
            (value,) = struct.unpack("<d", reader.take(8))
        yield slot, code & _REASON_BITS, value


def _write_outcome(writer: _Writer, outcome: _Outcome) -> None:
    if max(outcome.truths, default=0) > 15 or max(outcome.dispositions, default=0) > 15:
        raise JournalError("a truth or a disposition is no code of the registry")
    writer.unsigned(outcome.action)
    writer.signed(outcome.rule)
    writer.unsigned(outcome.denial)
    writer.unsigned(outcome.stated)
    writer.data += bytes(
        truth << 4 | disposition
        for truth, disposition in zip(outcome.truths, outcome.dispositions, strict=True)
    )
    writer.signed_all(outcome.causes)
    writer.blob(outcome.signal_dispositions)


def _read_outcome(reader: _Reader, rules: int) -> _Outcome:
    action, rule, denial, stated = reader.unsigned(), reader.signed(), reader.unsigned(), reader.unsigned()
    both = reader.take(rules)
    causes = tuple(reader.signed() for _ in range(rules))
    return _Outcome(
        action,
        rule,
        denial,
        stated,
        bytes(byte >> 4 for byte in both),
        bytes(byte & 15 for byte in both),
        causes,
        reader.blob(),
    )


_SIDES: Final = tuple(OrderSide)
_TYPES: Final = tuple(OrderType)
_TIMES: Final = tuple(TimeInForce)
_STATES: Final = tuple(IntentState)
_ORDER, _CANCEL, _WORKING, _USAGE = 1, 2, 4, 8


def _write_trade(writer: _Writer, trade: _Trade) -> None:
    order, cancel, working, usage = trade
    writer.unsigned(
        (_ORDER if order is not None else 0)
        | (_CANCEL if cancel is not None else 0)
        | (_WORKING if working is not None else 0)
        | (_USAGE if usage else 0)
    )
    if order is not None:
        writer.unsigned(_SIDES.index(order.side))
        writer.signed(order.quantity)
        writer.optional(order.limit_price)
        writer.unsigned(_TYPES.index(order.order_type))
        writer.unsigned(_TIMES.index(order.time_in_force))
        writer.optional(order.good_for_seconds)
        writer.signed(order.limited_by)
    if cancel is not None:
        writer.text(cancel)
    if working is not None:
        writer.text(working.client_id)
        writer.unsigned(_SIDES.index(working.side))
        writer.signed(working.quantity)
        writer.signed(working.filled_quantity)
        writer.optional(working.limit_price)
        writer.unsigned(working.state)
        writer.unsigned(working.cancelling)
        writer.optional(working.expires_ms)
        writer.text(working.rule)
        writer.signed(working.created_ms)
    if usage:
        writer.unsigned(len(usage))
        for number in usage:
            writer.optional(number)


def _read_trade(reader: _Reader) -> _Trade:
    has = reader.unsigned()
    order = cancel = working = None
    usage: tuple[int | None, ...] = ()
    if has & _ORDER:
        order = SizedOrder(
            side=_SIDES[reader.unsigned()],
            quantity=reader.signed(),
            limit_price=reader.optional(),
            order_type=_TYPES[reader.unsigned()],
            time_in_force=_TIMES[reader.unsigned()],
            good_for_seconds=reader.optional(),
            limited_by=reader.signed(),
        )
    if has & _CANCEL:
        cancel = reader.text()
    if has & _WORKING:
        working = WorkingOrder(
            client_id=reader.text(),
            side=_SIDES[reader.unsigned()],
            quantity=reader.signed(),
            filled_quantity=reader.signed(),
            limit_price=reader.optional(),
            state=_STATES[reader.unsigned()],
            cancelling=bool(reader.unsigned()),
            expires_ms=reader.optional(),
            rule=reader.text(),
            created_ms=reader.signed(),
        )
    if has & _USAGE:
        usage = tuple(reader.optional() for _ in range(reader.unsigned()))
    return _Trade(order, cancel, working, usage)


# --- frames -------------------------------------------------------------------------------------

_LONGEST_SHORT: Final = 253
_ELSEWHERE, _LONG = 254, 255
_SHORT_LENGTHS: Final = bytes(range(_ELSEWHERE)) + b"\0\0"


def pack_frame(entries: Sequence[bytes | None]) -> bytes:
    """Seal a cycle's deltas, in the order of its symbols; None where the record is a full one."""
    writer = _Writer()
    writer.unsigned(len(entries))
    writer.data += bytes(
        _ELSEWHERE if entry is None else _LONG if len(entry) > _LONGEST_SHORT else len(entry)
        for entry in entries
    )
    for entry in entries:
        if entry is not None and len(entry) > _LONGEST_SHORT:
            writer.unsigned(len(entry))
    writer.data += b"".join(filter(None, entries))
    return seal(writer.data)


def unpack_frame(data: bytes) -> list[bytes | None]:
    """Open a frame; JournalError where it is damaged."""
    body = unseal(data)
    with _reading("a frame"):
        reader = _Reader(body)
        marks = reader.take(reader.unsigned())
        lengths = list(marks.translate(_SHORT_LENGTHS))
        if _LONG in marks:
            for position, mark in enumerate(marks):
                if mark == _LONG:
                    lengths[position] = reader.unsigned()
        start = reader.offset
        ends = list(accumulate(lengths, initial=start))
        if ends[-1] != len(body):
            raise ValueError("its length is wrong")
        entries: list[bytes | None] = [body[begin:end] for begin, end in pairwise(ends)]
        if _ELSEWHERE in marks:
            for position, mark in enumerate(marks):
                if mark == _ELSEWHERE:
                    entries[position] = None
        return entries


def pack_roster(members: Sequence[tuple[int, int]]) -> bytes:
    """Seal the (symbol, layout) numbers of a cycle's records, in the order of its frame."""
    writer = _Writer()
    writer.unsigned(len(members))
    for symbol, layout in members:
        writer.unsigned(symbol)
        writer.unsigned(layout)
    return seal(writer.data)


def unpack_roster(data: bytes) -> tuple[tuple[int, int], ...]:
    """Open a roster; JournalError where it is damaged."""
    body = unseal(data)
    with _reading("a roster"):
        reader = _Reader(body)
        members = tuple((reader.unsigned(), reader.unsigned()) for _ in range(reader.unsigned()))
        reader.end()
        return members


def seal(body: bytes | bytearray) -> bytes:
    """Return ``body`` behind the number of its form and before its CRC-32."""
    sealed = bytes((_FORM,)) + body
    return sealed + zlib.crc32(sealed).to_bytes(4, "little")


def unseal(data: bytes) -> bytes:
    """Return the body of what was sealed; JournalError where a bit of it changed."""
    if len(data) < 5 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise JournalError("damaged: the checksum does not fit the bytes")
    if data[0] != _FORM:
        raise JournalError(f"written in form {data[0]} by another release; this one reads form {_FORM}")
    return data[1:-4]


# --- numbers and texts --------------------------------------------------------------------------


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn what bytes without meaning cause into a JournalError."""
    try:
        yield
    except (ValueError, IndexError, OverflowError, struct.error) as error:
        raise JournalError(f"{what} cannot be read: {error}") from error


class _Writer:
    """Appends numbers of any size, 7 bits a byte, signs folded into the lowest bit."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray()

    def unsigned(self, number: int) -> None:
        data = self.data
        if number < 0:
            raise JournalError(f"{number} cannot be kept: it is negative")
        while number > 127:
            data.append(number & 127 | 128)
            number >>= 7
        data.append(number)

    def signed(self, number: int) -> None:
        self.unsigned(number << 1 if number >= 0 else ~(number << 1))

    def signed_all(self, numbers: Iterable[int]) -> None:
        append = self.data.append
        for number in numbers:
            folded = number << 1 if number >= 0 else ~(number << 1)
            while folded > 127:
                append(folded & 127 | 128)
                folded >>= 7
            append(folded)

    def optional(self, number: int | None) -> None:
        """Write 0 for None, else one more than the folded number."""
        if number is None:
            self.unsigned(0)
        else:
            self.unsigned((number << 1 if number >= 0 else ~(number << 1)) + 1)

    def blob(self, data: bytes) -> None:
        self.unsigned(len(data))
        self.data += data

    def text(self, text: str) -> None:
        self.blob(text.encode())


class _Reader:
    """Reads what ``_Writer`` wrote; IndexError or ValueError past the end."""

    __slots__ = ("_data", "offset")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0

    @property
    def at_end(self) -> bool:
        return self.offset == len(self._data)

    def end(self) -> None:
        if not self.at_end:
            raise ValueError("bytes are left over")

    def take(self, size: int) -> bytes:
        taken = self._data[self.offset : self.offset + size]
        if len(taken) != size:
            raise ValueError("bytes are missing")
        self.offset += size
        return taken

    def unsigned(self) -> int:
        data, offset = self._data, self.offset
        byte = data[offset]
        number, shift = byte & 127, 7
        while byte > 127:
            offset += 1
            byte = data[offset]
            number |= (byte & 127) << shift
            shift += 7
        self.offset = offset + 1
        return number

    def signed(self) -> int:
        folded = self.unsigned()
        return folded >> 1 if not folded & 1 else ~(folded >> 1)

    def optional(self) -> int | None:
        folded = self.unsigned() - 1
        if folded < 0:
            return None
        return folded >> 1 if not folded & 1 else ~(folded >> 1)

    def blob(self) -> bytes:
        return self.take(self.unsigned())

    def text(self) -> str:
        return self.blob().decode()
