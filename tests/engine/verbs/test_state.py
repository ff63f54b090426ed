"""What the agent remembers, event by event."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codes import IntentState
from engine.errors import TradectlError
from engine.model import Fill, OrderRequest, OrderSide, OrderType, TimeInForce
from engine.units import ELAPSED_CAP_SECONDS, notional
from engine.verbs.ledger import Ledger, deposit
from engine.verbs.state import (
    BUY_BACKOFF_SECONDS,
    NEVER,
    SELL_BACKOFF_SECONDS,
    STATE_VERSION,
    AgentSet,
    BarSeen,
    CancelAsked,
    CashMoved,
    DrawdownLatched,
    EquitySeen,
    Filled,
    Frozen,
    GuardSeen,
    IntentPlanned,
    Memory,
    OrderMoved,
    PositionKnown,
    QuantitySeen,
    QuoteSeen,
    Rebased,
    Seen,
    State,
    StateEvent,
    advance,
    advance_all,
    elapsed_seconds,
    forget_buys,
    pack_state,
    unpack_state,
)
from tests.engine.verbs.deciding import money, price, quantity

SOL = "SOL-USD"
BUY, SELL = OrderSide.BUY, OrderSide.SELL
SENT, AMBIGUOUS, REJECTED = IntentState.SENT, IntentState.AMBIGUOUS, IntentState.REJECTED
FILLED, CANCELLED, EXPIRED = IntentState.FILLED, IntentState.CANCELLED, IntentState.EXPIRED
PARTLY = IntentState.PARTLY_FILLED
LEAST = quantity("0.1")
MINUTE = 60_000


class Story:
    """A state and what happens to it; one second passes with each event."""

    def __init__(self, cash: int = 10_000) -> None:
        """Begin with cash."""
        self.state = State(ledger=deposit(Ledger(), money(cash)))
        self.now_ms = 1_000_000
        self.orders = 0
        self.fills = 0
        self.last = "o0"

    def then(self, event: StateEvent) -> Memory:
        """Let an event happen; return what is remembered of SOL."""
        self.state = advance(self.state, event)
        return self.memory

    @property
    def memory(self) -> Memory:
        """What is remembered of SOL."""
        return self.state.memory(SOL)

    def plan(
        self,
        side: OrderSide = BUY,
        size: float | str = 10,
        *,
        rule: str = "rule",
        stamp: int | None = None,
        level: bool = False,
        retry: bool = False,
    ) -> Memory:
        """Plan an order."""
        self.now_ms += 1000
        self.orders += 1
        self.last = f"o{self.orders}"
        order = OrderRequest(
            self.last,
            SOL,
            side,
            quantity(size),
            price(100),
            OrderType.LIMIT,
            TimeInForce.GTC,
            self.now_ms + MINUTE,
            self.now_ms,
        )
        return self.then(IntentPlanned(order, rule, stamp, level, retry))

    def move(
        self, state: IntentState, filled: float | str = 0, *, name: str = "", reached: bool = True
    ) -> Memory:
        """Hear of the order."""
        self.now_ms += 1000
        return self.then(OrderMoved(name or self.last, SOL, state, self.now_ms, quantity(filled), reached))

    def fill(
        self, size: float | str, at: float | str = 100, side: OrderSide = BUY, *, name: str = ""
    ) -> Memory:
        """Hear of a fill."""
        self.now_ms += 1000
        self.fills += 1
        amount = quantity(size)
        fill = Fill(
            f"f{self.fills}",
            name or self.last,
            SOL,
            side,
            amount,
            price(at),
            notional(amount, price(at)),
            0,
            self.now_ms,
        )
        return self.then(Filled(fill, LEAST))

    def buy(self, size: float | str = 10, at: float | str = 100) -> Memory:
        """Buy, filled at once."""
        self.plan(BUY, size)
        self.fill(size, at)
        return self.move(FILLED, size)

    def sell(self, size: float | str = 10, at: float | str = 100) -> Memory:
        """Sell, filled at once."""
        self.plan(SELL, size)
        self.fill(size, at, SELL)
        return self.move(FILLED, size)


# --- orders -----------------------------------------------------------------------------------


def test_an_order_works_until_it_is_final() -> None:
    """Planned, sent, partly filled: working; final: gone."""
    story = Story()
    assert story.plan().working is not None
    working = story.move(PARTLY, 3).working
    assert working is not None and (working.state, working.filled_quantity) == (PARTLY, quantity(3))
    assert story.then(CancelAsked(SOL)).working == replace(working, cancelling=True)
    assert story.move(CANCELLED, 3).working is None


@pytest.mark.parametrize("twice", [SENT, PARTLY, FILLED])
def test_reports_twice_and_late_change_nothing(twice: IntentState) -> None:
    """A report that repeats, goes back or is of another order leaves the state as it is."""
    story = Story()
    story.plan()
    before = story.move(twice, 3 if twice is PARTLY else 0)
    assert story.move(twice, 3 if twice is PARTLY else 0) == before
    assert story.move(IntentState.PLANNED) == before
    assert story.move(PARTLY, 1, name="another") == before


def test_an_ambiguous_order_starts_no_cooldown() -> None:
    """Only once it is known to have reached the venue, from the instant it was made."""
    story = Story()
    made_ms = story.plan().working.created_ms  # type: ignore[union-attr]  # it was just planned
    assert story.move(AMBIGUOUS).last_order_ms == NEVER
    assert story.move(SENT).last_order_ms == made_ms


def test_cooldowns_count_what_reached_the_venue() -> None:
    """Sent counts, also cancelled unfilled; rejected, or never arrived, does not."""
    story = Story()
    first = story.plan().working.created_ms  # type: ignore[union-attr]  # it was just planned
    story.move(SENT)
    assert (story.memory.last_order_ms, story.memory.last_buy_ms, story.memory.last_sell_ms) == (
        first,
        first,
        NEVER,
    )
    assert story.move(CANCELLED).last_buy_ms == first
    story.plan(SELL)
    assert story.move(REJECTED).last_order_ms == first
    story.plan(SELL)
    story.move(SENT)
    assert story.memory.last_sell_ms > first
    assert story.move(REJECTED).last_order_ms == first
    assert story.memory.last_sell_ms == NEVER
    story.plan()
    story.move(AMBIGUOUS)
    assert story.move(EXPIRED, reached=False).last_order_ms == first


@pytest.mark.parametrize(("side", "waits"), [(BUY, BUY_BACKOFF_SECONDS), (SELL, SELL_BACKOFF_SECONDS)])
def test_backoff_doubles_up_to_its_last(side: OrderSide, waits: tuple[int, int]) -> None:
    """Each rejection doubles the wait of its side alone; a filled order ends it."""
    story = Story()
    story.buy()
    first, last = waits
    for count in range(12):
        story.plan(side, 5)
        memory = story.move(REJECTED)
        until = memory.buy_backoff_until_ms if side is BUY else memory.sell_backoff_until_ms
        other = memory.sell_backoff_until_ms if side is BUY else memory.buy_backoff_until_ms
        assert until == story.now_ms + min(last, first * 2**count) * 1000
        assert other == NEVER
    story.plan(side, 5)
    story.fill(5, side=side)
    memory = story.move(FILLED, 5)
    assert (memory.buy_backoff_until_ms, memory.sell_backoff_until_ms) == (NEVER, NEVER)
    assert (memory.buy_rejections, memory.sell_rejections) == (0, 0)


# --- once -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "retry", "state", "filled", "reached", "kept"),
    [
        (False, False, FILLED, 10, True, True),
        (False, False, CANCELLED, 0, True, True),  # a sent order uses it up
        (False, False, REJECTED, 0, True, False),
        (False, False, EXPIRED, 0, False, False),  # never sent after all
        (True, False, FILLED, 10, True, True),
        (True, False, CANCELLED, 3, True, False),  # what is left is bought under the same period
        (True, False, EXPIRED, 0, True, False),
        (False, True, CANCELLED, 3, True, True),  # a level that moved with the fill
        (False, True, CANCELLED, 0, True, False),
    ],
)
def test_a_period_is_used_up_by_a_sent_order(
    level: bool, retry: bool, state: IntentState, filled: int, reached: bool, kept: bool
) -> None:
    """And given back by a rejection, or by an order that ended early where its rule may go on."""
    story = Story()
    assert story.plan(stamp=7, level=level, retry=retry).once_stamp("rule") == 7
    if filled:
        story.fill(filled)
    memory = story.move(state, filled, reached=reached)
    assert memory.once_stamp("rule") == (7 if kept else None)


def test_periods_of_several_rules() -> None:
    """Each rule has its own; an order without `once` touches none."""
    story = Story()
    story.plan(rule="a", stamp=1)
    story.move(FILLED, 10)
    story.plan(rule="b", stamp=2)
    story.move(FILLED, 10)
    story.plan(rule="a", stamp=3)
    story.move(FILLED, 10)
    story.plan(rule="c")
    memory = story.move(REJECTED)
    assert [memory.once_stamp(rule) for rule in "abc"] == [3, 2, None]


def test_positions_are_numbered_from_the_order_that_begins_them() -> None:
    """Flat, the position meant by `once` is the one to come; held, the one that is."""
    story = Story()
    assert story.memory.position == 1
    story.buy()
    assert story.memory.position == 1
    story.sell()
    assert story.memory.position == 2


@pytest.mark.parametrize(
    ("side", "level", "rule", "repeats"),
    [
        (BUY, False, "rule", True),
        (SELL, True, "rule", True),
        (SELL, False, "rule", False),
        (BUY, True, "x", False),
    ],
)
def test_a_rule_that_matches_again_speaks_of_its_own_order(
    side: OrderSide, level: bool, rule: str, repeats: bool
) -> None:
    """Its period is not held against it while its order works; a moving level is."""
    story = Story()
    assert story.plan(side, level=level, stamp=1).repeats(rule) is repeats


# --- positions --------------------------------------------------------------------------------


def test_an_episode_from_its_first_fill_to_its_last() -> None:
    """Peak, entries and age belong to it; the next one begins anew."""
    story = Story()
    story.buy(4, 100)
    began_ms = story.memory.episode_began_ms
    assert began_ms == story.now_ms - 1000
    story.buy(4, 120)
    memory = story.memory
    assert (memory.episode, memory.entries, memory.last_entry_price) == (1, 2, price(120))
    assert memory.peak_price == price(110), "the highest of entry price and closes: cost over quantity"
    assert memory.episode_began_ms == began_ms
    story.sell(7)
    assert story.memory.episode_began_ms == began_ms
    memory = story.sell(1)
    assert (memory.episode_began_ms, memory.entries, memory.peak_price) == (NEVER, 0, 0)
    memory = story.buy(1, 90)
    assert (memory.episode, memory.entries, memory.peak_price) == (2, 1, price(90))


def test_entries_count_orders_not_fills() -> None:
    """Three fills of one buy are one entry."""
    story = Story()
    story.plan()
    for size in (3, 3, 4):
        story.fill(size)
    assert story.memory.entries == 1


def test_dust_belongs_to_no_position() -> None:
    """A fill below the minimum begins none; a sale that leaves less than it ends one."""
    story = Story()
    memory = story.buy("0.05")
    assert (memory.episode, memory.entries, memory.peak_price) == (0, 0, 0)
    memory = story.buy("0.05")
    assert (memory.episode, memory.entries, memory.episode_began_ms) == (1, 1, story.now_ms - 1000)
    memory = story.sell("0.01")
    assert (memory.episode_began_ms, memory.entries) == (NEVER, 0)
    assert story.state.ledger.holding(SOL).quantity == quantity("0.09")
    assert story.buy(1).episode == 2


def test_the_peak_sees_closes_since_the_first_fill() -> None:
    """Bars that opened before, and closes below, change nothing; flat there is no peak."""
    story = Story()
    assert story.then(BarSeen(SOL, 5, price(999))).peak_price == 0
    story.buy(1, 100)
    began_ms = story.memory.episode_began_ms
    assert story.then(BarSeen(SOL, began_ms - 1, price(500))).peak_price == price(100)
    assert story.then(BarSeen(SOL, began_ms, price(120))).peak_price == price(120)
    assert story.then(BarSeen(SOL, began_ms + MINUTE, price(110))).peak_price == price(120)
    assert story.then(BarSeen(SOL, began_ms, price(500))).peak_price == price(120), "seen already, or late"


def test_the_ledger_books_every_fill_once() -> None:
    """Also one that comes after its order has ended."""
    story = Story()
    story.plan()
    story.fill(4)
    story.move(CANCELLED, 4)
    memory = story.fill(2)
    assert story.state.ledger.holding(SOL).quantity == quantity(6)
    assert memory.working is None and memory.booked == 0


def test_what_is_booked_of_the_working_order() -> None:
    """Fills of it count, others do not; the next order begins at nothing."""
    story = Story()
    story.plan()
    story.fill(4, name="older")
    assert story.memory.booked == 0
    story.fill(4)
    assert story.memory.booked == quantity(4)
    story.move(CANCELLED, 4)
    assert story.plan().booked == 0


def test_a_fee_in_coins_is_no_part_of_the_order() -> None:
    """The venue keeps some of what was bought: the order is filled, and less is held."""
    story = Story()
    story.plan()
    story.fill(4)
    story.fill("0.004", side=SELL)
    assert story.memory.booked == quantity(4)
    assert story.state.ledger.holding(SOL).quantity == quantity("3.996")


def test_a_fill_that_cannot_be_booked_freezes() -> None:
    """The ledger never holds what cannot be; a person has to look."""
    story = Story(cash=100)
    before = story.state.ledger
    assert story.fill(5).frozen
    assert story.fill(1, side=SELL).frozen
    assert story.state.ledger == before
    assert not story.then(Frozen(SOL, False)).frozen


# --- what a cycle sees ------------------------------------------------------------------------


def test_quotes() -> None:
    """The last trusted one stands; a suspect waits for its second and is forgotten with a trusted one."""
    story = Story()
    story.then(QuoteSeen(SOL, price(100), 5, True, "a"))
    memory = story.then(QuoteSeen(SOL, price(1), 6, False, "b"))
    assert (memory.trusted_bid, memory.suspect_bid, memory.suspect_ms, memory.suspect_source) == (
        price(100),
        price(1),
        6,
        "b",
    )
    memory = story.then(QuoteSeen(SOL, price(101), 7, True, "a"))
    assert (memory.trusted_bid, memory.trusted_ms, memory.suspect_bid, memory.suspect_ms) == (
        price(101),
        7,
        0,
        NEVER,
    )


@pytest.mark.parametrize(
    ("own", "broker", "foreign", "after", "changed"),
    [
        (0, 0, 0, 0, False),
        (0, 5, 0, 5, False),  # flat: all of it is someone else's
        (0, 0, 5, 0, False),
        (10, 10, 0, 0, False),
        (10, 15, 5, 5, False),
        (10, 20, 0, 0, True),  # a split
        (10, 9, 0, 0, True),
        (10, 12, 5, 2, False),  # the others sold some of theirs
        (10, 16, 5, 5, True),
    ],
)
def test_quantities_that_no_fill_explains(
    own: int, broker: int, foreign: int, after: int, changed: bool
) -> None:
    """More beside ours than there was, or less than ours: the position's facts are Unknown."""
    story = Story()
    story.state = story.state.with_memory(SOL, Memory(foreign=foreign))
    memory = story.then(QuantitySeen(SOL, own, broker))
    assert (memory.foreign, memory.changed_quantity) == (after, changed)


def test_a_changed_quantity_recovers() -> None:
    """With the old quantity, or with a person's word."""
    story = Story()
    assert story.then(QuantitySeen(SOL, 10, 8)).changed_quantity
    assert not story.then(QuantitySeen(SOL, 10, 10)).changed_quantity
    assert story.then(QuantitySeen(SOL, 10, 20)).changed_quantity
    assert not story.then(PositionKnown(SOL, 10)).changed_quantity
    assert not story.then(QuantitySeen(SOL, 10, 20)).changed_quantity


def test_what_is_bought_is_not_foreign_before_its_fill_is_heard() -> None:
    """While an own order works, what the broker has beside ours may be its fill."""
    story = Story()
    story.plan()
    story.move(SENT)
    assert story.then(QuantitySeen(SOL, 0, quantity(10))).foreign == 0
    story.fill(10)
    story.move(FILLED, 10)
    assert not story.then(QuantitySeen(SOL, quantity(10), quantity(10))).changed_quantity


def test_unguarded() -> None:
    """Since when, and whether a person was told; guarded again, both are forgotten."""
    story = Story()
    assert story.then(GuardSeen(SOL, True, 10)).unguarded_since_ms == 10
    memory = story.then(GuardSeen(SOL, True, 20, told=True))
    assert (memory.unguarded_since_ms, memory.unguarded_told) == (10, True)
    assert story.then(GuardSeen(SOL, True, 30)).unguarded_told
    memory = story.then(GuardSeen(SOL, False, 40))
    assert (memory.unguarded_since_ms, memory.unguarded_told) == (NEVER, False)


def test_many_sights_at_once() -> None:
    """They are the same as one after another; where nothing changes nothing is copied."""
    sights: list[Seen] = [
        QuoteSeen(SOL, price(100), 5, True, "a"),
        QuoteSeen("ADA-USD", price(2), 5, True, "a"),
        QuoteSeen(SOL, price(101), 6, False, "a"),
        QuantitySeen(SOL, 5, 4),
        GuardSeen("ADA-USD", True, 9),
    ]
    one_by_one = State()
    for sight in sights:
        one_by_one = advance(one_by_one, sight)
    together = advance_all(State(), sights)
    assert together == one_by_one
    assert advance_all(together, [QuantitySeen(SOL, 5, 4), GuardSeen("ADA-USD", True, 10)]) is together


# --- the account ------------------------------------------------------------------------------


def test_peaks_are_net_of_money_moved() -> None:
    """A deposit lifts the peak by its amount, a withdrawal lowers it."""
    story = Story()
    story.then(EquitySeen(money(10_000)))
    story.then(EquitySeen(money(9_000)))
    assert story.state.peak_equity == money(10_000)
    story.then(CashMoved(money(500)))
    assert story.state.peak_equity == money(10_500)
    story.then(CashMoved(-money(2_000)))
    assert (story.state.peak_equity, story.state.ledger.cash) == (money(8_500), money(8_500))


def test_a_latched_drawdown_grows_and_ends_with_a_rebase() -> None:
    """Less drawdown does not lower it."""
    story = Story()
    story.then(EquitySeen(money(10_000)))
    story.then(DrawdownLatched(0.2))
    story.then(DrawdownLatched(0.1))
    assert story.state.latched_drawdown == 0.2
    story.then(Rebased())
    assert (story.state.latched_drawdown, story.state.peak_equity) == (0.0, 0)


def test_agent_states() -> None:
    """A person's word, with a reason."""
    story = Story()
    story.then(AgentSet("halted", "holiday"))
    assert (story.state.agent_state, story.state.halt_reason) == ("halted", "holiday")


def test_buys_are_remembered_as_long_as_a_limit_looks_back() -> None:
    """Whatever became of them; sells are not among them."""
    story = Story()
    story.plan()
    story.move(REJECTED)
    story.plan(SELL)
    story.plan()
    first, second = (at_ms for at_ms, _ in story.state.recent_buys)
    assert forget_buys(story.state, first - 1) is story.state
    assert forget_buys(story.state, first).recent_buys == ((second, SOL),)


def test_elapsed_time_has_a_cap() -> None:
    """Never is exactly the cap; a clock behind gives 0."""
    assert elapsed_seconds(5, NEVER) == ELAPSED_CAP_SECONDS
    assert elapsed_seconds(10**15, 0) == ELAPSED_CAP_SECONDS
    assert elapsed_seconds(1999, 1000) == 0
    assert elapsed_seconds(500, 1000) == 0
    assert elapsed_seconds(3000, 1000) == 2


# --- packing ----------------------------------------------------------------------------------


def test_a_state_survives_its_packing() -> None:
    """Every field comes back, orders and all; what is as in a new memory is left out."""
    story = Story()
    story.buy()
    story.then(QuoteSeen(SOL, price(100), 5, True, "a"))
    story.then(QuoteSeen(SOL, price(1), 6, False, "b"))
    story.plan(SELL, stamp=4, level=True, retry=True)
    story.move(PARTLY, 3)
    story.then(QuantitySeen(SOL, 1, 3))
    story.then(GuardSeen(SOL, True, 9, told=True))
    story.then(Frozen(SOL, True))
    state = replace(
        story.state,
        peak_equity=5,
        latched_drawdown=0.25,
        cycle=7,
        cycle_ms=70,
        history_from_ms=(("24/7", 60, 5),),
        anchors_ms=((SOL, 60, 9),),
        agent_state="reducing",
        halt_reason="why",
    )
    assert unpack_state(STATE_VERSION, pack_state(state)) == state
    assert (
        "suspect_bid" not in json.loads(pack_state(State(memories={SOL: Memory(episode=1)})))["memories"][SOL]
    )


@pytest.mark.parametrize("packed", [b"", b"[]", b"{}", b'{"ledger": {}}', b"\xff"])
def test_a_damaged_state_is_refused(packed: bytes) -> None:
    """With a message, not a traceback."""
    with pytest.raises(TradectlError, match="state cannot be read"):
        unpack_state(STATE_VERSION, packed)


def test_a_state_of_another_form_is_refused() -> None:
    """Both forms are named."""
    with pytest.raises(TradectlError, match=f"has form 99, this release reads {STATE_VERSION}"):
        unpack_state(99, b"{}")


_STEPS = st.one_of(
    st.tuples(st.just("plan"), st.sampled_from([BUY, SELL]), st.booleans()),
    st.tuples(st.just("move"), st.sampled_from(list(IntentState)), st.integers(0, 10)),
    st.tuples(st.just("fill"), st.integers(1, 10), st.sampled_from([BUY, SELL])),
)


@given(st.lists(_STEPS, max_size=30))
def test_any_story_keeps_its_books(steps: list[tuple[Any, ...]]) -> None:
    """Whatever comes in whatever order: no cash below 0, no position without an episode, packing is exact."""
    story = Story(cash=2000)
    for kind, *what in steps:
        if kind == "plan" and story.memory.working is None:
            story.plan(what[0], 10, stamp=story.now_ms, level=what[1])
        elif kind == "move":
            story.move(what[0], what[1])
        elif kind == "fill":
            story.fill(what[0], side=what[1])
        memory, holding = story.memory, story.state.ledger.holding(SOL)
        assert story.state.ledger.cash >= 0
        assert (holding.quantity >= LEAST) == (memory.episode_began_ms != NEVER)
        assert (memory.entries > 0) == (memory.episode_began_ms != NEVER)
        assert memory.last_order_ms == max(memory.last_buy_ms, memory.last_sell_ms)
        assert unpack_state(STATE_VERSION, pack_state(story.state)) == story.state
