"""The codec of decision records: exact round trips, small deltas, and no damage that goes unseen."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codes import Action, Denial, IntentState, UnknownReason
from engine.errors import JournalError
from engine.model import Decision, OrderSide, OrderType, SizedOrder, TimeInForce, WorkingOrder
from engine.units import ELAPSED_CAP_SECONDS, quantise
from engine.verbs.record import (
    DecisionRecord,
    Image,
    Motion,
    full_of,
    layout_from_text,
    pack_delta,
    pack_frame,
    pack_full,
    pack_roster,
    record_of,
    seal,
    unpack_delta,
    unpack_frame,
    unpack_full,
    unpack_roster,
    unseal,
)
from tests.journal_records import LAYOUT, Market, at_ms

_RULES = len(LAYOUT.rules)
_integers = st.integers(-(2**70), 2**70)
_money = st.none() | _integers
_texts = st.text(max_size=12)
_sides, _states = st.sampled_from(OrderSide), st.sampled_from(IntentState)

_orders = st.builds(
    SizedOrder,
    side=_sides,
    quantity=_integers,
    limit_price=_money,
    order_type=st.sampled_from(OrderType),
    time_in_force=st.sampled_from(TimeInForce),
    good_for_seconds=st.none() | st.integers(0, 10**6),
    limited_by=st.integers(-1, 40),
)
_working = st.builds(
    WorkingOrder,
    client_id=_texts,
    side=_sides,
    quantity=_integers,
    filled_quantity=_integers,
    limit_price=_money,
    state=_states,
    cancelling=st.booleans(),
    expires_ms=_money,
    rule=_texts,
    created_ms=_integers,
)
_decisions = st.builds(
    Decision,
    symbol=st.just("A-USD"),
    action=st.sampled_from(Action),
    rule=st.integers(-1, _RULES - 1),
    truths=st.binary(min_size=_RULES, max_size=_RULES).map(lambda data: bytes(byte % 3 for byte in data)),
    dispositions=st.binary(min_size=_RULES, max_size=_RULES).map(
        lambda data: bytes(byte % 12 for byte in data)
    ),
    causes=st.tuples(*[st.integers(-1, 99)] * _RULES),
    signal_dispositions=st.binary(max_size=3),
    order=st.none() | _orders,
    cancel=st.none() | _texts,
    denial=st.sampled_from(Denial),
    limit_usage=st.lists(_money, max_size=4).map(tuple),
)


def _value(k: int) -> st.SearchStrategy[float]:
    """On the grid, off the grid, Unknown, huge, infinite: what a slot may ever hold."""
    on = st.integers(-(10**12), 10**12).map(lambda step: step / (k or 1))
    return st.one_of(on, on, on, st.just(math.nan), st.floats())


_records = st.builds(
    DecisionRecord,
    layout=st.just(LAYOUT),
    values=st.tuples(*(_value(slot.steps_per_unit) for slot in LAYOUT.slots)).map(list),
    reasons=st.lists(
        st.sampled_from([0, 0, 0, *UnknownReason]),
        min_size=len(LAYOUT.slots),
        max_size=len(LAYOUT.slots),
    ).map(bytes),
    stated=st.integers(0, 2**20),
    decision=_decisions,
    working=st.none() | _working,
    context=st.tuples(*[_integers] * len(LAYOUT.context)),
)


def _same(one: DecisionRecord, other: DecisionRecord) -> bool:
    """Compare records; a NaN equals a NaN."""
    pairs = zip(one.values, other.values, strict=True)
    values = all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in pairs)
    return values and replace(one, values=()) == replace(other, values=())


@given(_records)
def test_full_round_trip(record: DecisionRecord) -> None:
    """A full record comes back the same, whatever its facts hold."""
    data, image = pack_full(record, 1000)
    read = unpack_full(LAYOUT, data, 1000)
    assert _same(record_of(read, "A-USD"), record)
    assert read == image


@given(st.lists(st.tuples(_records, st.integers(0, 10**9)), min_size=2, max_size=5))
def test_chain_round_trip(steps: list[tuple[DecisionRecord, int]]) -> None:
    """Each delta of a chain gives its record back, after any time and any change."""
    (first, now), *rest = steps
    data, written = pack_full(first, now)
    read = unpack_full(LAYOUT, data, now)
    for record, later in rest:
        now += later
        delta, written = pack_delta(record, written, now)
        read = unpack_delta(read, delta, now)
        assert _same(record_of(read, "A-USD"), record)
        assert unpack_full(LAYOUT, full_of(read), now) == read == written


def test_negative_zero_is_zero() -> None:
    """The sign of a zero is not kept: no evaluator can see it."""
    record = Market("A-USD").record(1, rsi=-0.0)
    data, _ = pack_full(record, at_ms(1))
    assert record_of(unpack_full(LAYOUT, data, at_ms(1)), "A-USD") == record


def test_off_grid_value_is_exact() -> None:
    """A fact off its grid keeps all 64 bits, beside one on it."""
    third = 1 / 3
    record = Market("A-USD").record(1, rsi=third, gain=0.1)
    image = unpack_full(LAYOUT, pack_full(record, at_ms(1))[0], at_ms(1))
    values = dict(zip((slot.name for slot in LAYOUT.slots), record_of(image, "A-USD").values, strict=True))
    assert quantise(third, 10**4) != third
    assert (values["rsi"], values["gain"]) == (third, 0.1)


def test_predicted_hold_costs_nothing() -> None:
    """A HOLD whose facts only moved with time packs to no byte, for as long as that goes on."""
    market = Market("A-USD")
    _, image = pack_full(market.record(1), at_ms(1))
    for cycle in range(2, 4000):
        data, image = pack_delta(market.record(cycle), image, at_ms(cycle))
        assert data == b""


def test_caps_are_predicted() -> None:
    """What never was stays so, and a countdown ends at zero."""
    market = Market("A-USD")
    near = {"since_order": float(ELAPSED_CAP_SECONDS - 5), "until_close": 10.0}
    _, image = pack_full(market.record(1, **near), at_ms(1))
    data, _ = pack_delta(
        market.record(2, since_order=float(ELAPSED_CAP_SECONDS), until_close=0.0), image, at_ms(2)
    )
    assert data == b""


def test_unknown_comes_and_goes_cheaply() -> None:
    """A fact that is Unknown for a cycle costs a few bytes, not its value again."""
    market = Market("A-USD")
    _, image = pack_full(market.record(1), at_ms(1))
    gone, image = pack_delta(market.record(2, rsi=math.nan), image, at_ms(2))
    back, _ = pack_delta(market.record(3), image, at_ms(3))
    assert 0 < len(gone) <= 6
    assert 0 < len(back) <= 4


def test_full_record_of_forty_facts_is_small() -> None:
    """A full decision of forty facts packs to less than 300 bytes, before any store."""
    market = Market("A-USD")
    assert len(LAYOUT.slots) == 40
    assert max(len(pack_full(pack, 0)[0]) for pack in (market.sell(1), market.buy(1))) < 300


def test_motions_follow_the_names() -> None:
    """Elapsed times, ages, countdowns and the time of day move; spans and the rest stand still."""
    motions = {slot.name: slot.motion for slot in LAYOUT.slots if slot.motion is not Motion.STILL}
    assert motions == {
        "since_order": Motion.RISING,
        "since_buy": Motion.RISING,
        "since_sell": Motion.RISING,
        "held_for": Motion.RISING,
        "quote_age": Motion.RISING,
        "until_close": Motion.FALLING,
        "time": Motion.TIME_OF_DAY,
    }


def test_layout_text_round_trip() -> None:
    """A layout is read back from its text, words of enumerations and all."""
    again = layout_from_text(LAYOUT.text)
    assert again == LAYOUT
    assert again.digest == LAYOUT.digest


@given(st.text(max_size=60) | st.sampled_from(["{}", "[]", '{"slots":[[1]]}', LAYOUT.text[:-1]]))
def test_layout_text_without_meaning(text: str) -> None:
    """What is no layout is a JournalError."""
    with pytest.raises(JournalError):
        layout_from_text(text)


@given(_records, st.data())
def test_every_changed_byte_is_seen(record: DecisionRecord, data: st.DataObject) -> None:
    """Changing any byte of a full record, or cutting or adding any, is a JournalError."""
    packed, _ = pack_full(record, 1000)
    at = data.draw(st.integers(0, len(packed) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = packed[:at] + bytes((packed[at] ^ flip,)) + packed[at + 1 :]
    for damaged in (changed, packed[:at], packed[at + 1 :], packed + b"\0"):
        with pytest.raises(JournalError):
            unpack_full(LAYOUT, damaged, 1000)


def _image() -> Image:
    return pack_full(Market("A-USD").record(1), at_ms(1))[1]


@given(st.binary(max_size=200))
def test_bytes_without_meaning(data: bytes) -> None:
    """Bytes that only look sealed give a record or a JournalError, nothing else."""
    for read in (
        lambda: record_of(unpack_full(LAYOUT, seal(data), 0), "A-USD"),
        lambda: record_of(unpack_delta(_image(), data, at_ms(2)), "A-USD"),
        lambda: unpack_frame(seal(data)),
        lambda: unpack_roster(seal(data)),
        lambda: unpack_full(LAYOUT, data, 0),
    ):
        try:
            read()
        except JournalError as error:
            assert str(error)


@given(st.lists(st.none() | st.binary(max_size=600), max_size=30), st.data())
def test_frame_round_trip(entries: list[bytes | None], data: st.DataObject) -> None:
    """A frame gives its deltas back, short, long, empty and absent, and shows any damage."""
    frame = pack_frame(entries)
    assert unpack_frame(frame) == entries
    at = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(JournalError):
        unpack_frame(frame[:at] + bytes((frame[at] ^ 1,)) + frame[at + 1 :])


@given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 300)), max_size=30))
def test_roster_round_trip(members: list[tuple[int, int]]) -> None:
    """A roster gives its members back in their order."""
    assert unpack_roster(pack_roster(members)) == tuple(members)


def test_other_forms_are_refused() -> None:
    """A record of another release's form is named as such."""
    import zlib

    body = b"\x02abc"
    with pytest.raises(JournalError, match="form 2 by another release"):
        unseal(body + zlib.crc32(body).to_bytes(4, "little"))


@pytest.mark.parametrize(
    "change",
    [
        {"values": [0.0]},
        {"reasons": b""},
        {"context": ()},
        {"stated": -1},
        {"reasons": bytes([200] * 40)},
    ],
)
def test_records_of_another_shape_are_refused(change: dict[str, object]) -> None:
    """A record that is not of its layout's shape is refused, not bent."""
    record = replace(Market("A-USD").record(1), **change)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(JournalError):
        pack_full(record, 0)


def test_decisions_of_another_shape_are_refused() -> None:
    """A decision with other rules than the layout's, or an unknown code, is refused."""
    record = Market("A-USD").record(1)
    for decision in (
        replace(record.decision, causes=(1,)),
        replace(record.decision, dispositions=bytes([16] * _RULES)),
    ):
        with pytest.raises(JournalError):
            pack_full(replace(record, decision=decision), 0)


def test_delta_of_another_layout_is_refused() -> None:
    """A delta across two layouts is refused: the integers would mean other facts."""
    other = replace(LAYOUT, rules=tuple(f"other-{n}" for n in range(_RULES)))
    record = replace(Market("A-USD").record(2), layout=other)
    with pytest.raises(JournalError, match="same layout"):
        pack_delta(record, _image(), at_ms(2))
