"""The account behind a time series of cases: real state, advanced by real events.

Every order is filled whole, at once, at the quote's own price and without fee.  What the agent
remembers (positions, cooldowns, ``once``, peaks, order rates, cash) is never stated by a step: it
follows from the steps before it.  The market is what each step states.  Bars are counted on the clock,
in the policy's interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from engine.codes import Action, IntentState, UnknownReason
from engine.language.policy import Listing, Policy
from engine.lowered import LoweredPolicy, SlotOrigin
from engine.model import (
    Decision,
    Fill,
    Instrument,
    OrderRequest,
    OrderSide,
    OrderType,
    Quote,
    SessionFacts,
    TimeInForce,
)
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, notional
from engine.verbs.facts import (
    AccountFigures,
    FactMaker,
    JudgedQuote,
    Moment,
    SymbolView,
    account_figures,
    minimum_quantity,
    once_stamp,
)
from engine.verbs.plan import Book, open_book
from engine.verbs.state import (
    BarSeen,
    CashMoved,
    EquitySeen,
    Filled,
    IntentPlanned,
    OrderMoved,
    QuoteSeen,
    State,
    advance,
)
from engine.verbs.vector import Vector
from engine.vocabulary import FACTS, Family

KEPT_FAMILIES: Final = frozenset({Family.ACCOUNT, Family.POSITION, Family.MEMORY})
"""What a series keeps itself; ``minimum`` is the venue's and so are the weights the policy's."""
_SESSION: Final = SessionFacts("regular", 0, 0, 0, 1, 1)  # the calendar's facts are what the step states


def kept(name: str) -> bool:
    """Say whether a series keeps a fact itself."""
    return (name in FACTS and FACTS[name].family in KEPT_FAMILIES) or name.startswith("once.")


class Series:
    """One account through the steps of a time series."""

    def __init__(self, policy: Policy, start_ms: int, cash: int) -> None:
        """Begin with money (scaled) and nothing else."""
        self.policy = policy
        self.now_ms = start_ms
        self.zone = ZoneInfo(policy.timezone)
        self.state = advance(State(), CashMoved(cash)) if cash else State()
        self.prices: dict[str, int] = {}
        self.orders = 0

    # --- time ---------------------------------------------------------------------------------

    def bar(self, at_ms: int) -> int:
        """Return how many bars have closed at an instant, counted on the clock."""
        return at_ms // (self.policy.bars_seconds * 1000)

    # --- facts --------------------------------------------------------------------------------

    def see(
        self, listing: Listing, lowered: LoweredPolicy, instrument: Instrument, vector: Vector, close: float
    ) -> Vector:
        """Take in what a step states of the market; return its facts with what is remembered put in.

        ``close`` is that of the bar just closed, NaN where the step states none; peaks are made of it.
        """
        symbol = listing.symbol
        read = {slot.name: value for slot, value in zip(lowered.slots, vector.values, strict=True)}
        quote = self._quote(symbol, read["price"], read["ask"])
        if quote.quote is not None:
            self.prices[symbol] = quote.quote.bid
            self.state = advance(self.state, QuoteSeen(symbol, quote.quote.bid, self.now_ms, True))
        if close == close:
            opened_ms = (self.bar(self.now_ms) - 1) * self.policy.bars_seconds * 1000
            self.state = advance(self.state, BarSeen(symbol, opened_ms, round(close * PRICE_SCALE)))
        figures = self._figures()
        if figures.estimated_share == 0:
            self.state = advance(self.state, EquitySeen(figures.equity))
        view, moment = self._view(listing, instrument, quote), self._moment(figures)
        made, made_reasons = FactMaker(lowered).make(view, moment)
        values, reasons = list(vector.values), bytearray(vector.reasons)
        for index, slot in enumerate(lowered.slots):
            remembered = slot.origin is SlotOrigin.ONCE or (
                slot.origin is SlotOrigin.VOCABULARY and FACTS[slot.name].family in KEPT_FAMILIES
            )
            if remembered:
                values[index], reasons[index] = made[index], made_reasons[index]
        book = self._book()
        limits = {limit.name: limit for limit in self.policy.limits}
        situation = replace(
            vector.situation,
            quantity=self.state.ledger.holding(symbol).quantity,
            cash_available=book.cash,
            usage=tuple(book.usage(limits[limit.name], listing) for limit in lowered.limits),
            counted=symbol in book.positions,
        )
        return replace(vector, at_ms=self.now_ms, values=values, reasons=bytes(reasons), situation=situation)

    def _quote(self, symbol: str, bid: float, ask: float) -> JudgedQuote:
        if bid != bid or ask != ask:
            return JudgedQuote(None, "missing", UnknownReason.NOT_STATED)
        scaled_bid, scaled_ask = round(bid * PRICE_SCALE), round(ask * PRICE_SCALE)
        quote = Quote(symbol, scaled_bid, scaled_ask, "case", self.now_ms, self.now_ms)
        return JudgedQuote(quote, "tradable", UnknownReason.KNOWN)

    def _figures(self) -> AccountFigures:
        ledger = self.state.ledger
        return account_figures(
            ledger.cash,
            {symbol: holding.quantity for symbol, holding in ledger.holdings.items()},
            {symbol: (price, True) for symbol, price in self.prices.items()},
            self.state.peak_equity,
            self.state.latched_drawdown,
        )

    def _book(self) -> Book:
        return open_book(self.policy, self.state, self.now_ms, self.prices, {}, 0)

    def _moment(self, figures: AccountFigures) -> Moment:
        local = datetime.fromtimestamp(self.now_ms / 1000, UTC).astimezone(self.zone)
        seconds = local.hour * 3600 + local.minute * 60 + local.second
        return Moment(self.now_ms, local.weekday(), seconds, local.toordinal(), figures, "active", "ok", True)

    def _view(self, listing: Listing, instrument: Instrument, quote: JudgedQuote) -> SymbolView:
        return SymbolView(
            listing=listing,
            instrument=instrument,
            quote=quote,
            session=_SESSION,
            memory=self.state.memory(listing.symbol),
            holding=self.state.ledger.holding(listing.symbol),
            series={},
            bar_stamp=self.bar(self.now_ms),
            bars_since=lambda since_ms: self.bar(self.now_ms) - self.bar(since_ms),
            feeds={},
            equity_weight=None if listing.weight is None else float(listing.weight),
        )

    # --- orders -------------------------------------------------------------------------------

    def fill(
        self, listing: Listing, lowered: LoweredPolicy, instrument: Instrument, decision: Decision, ask: float
    ) -> None:
        """Send a decision's order, if it has one, and fill all of it."""
        sized = decision.order
        if sized is None:
            return
        rule = lowered.rules[decision.rule]
        bid = self.prices[listing.symbol]
        price = round(ask * PRICE_SCALE) if sized.side is OrderSide.BUY else bid
        quote = JudgedQuote(None, "missing", UnknownReason.NOT_STATED)  # a period depends on no quote
        stamp = None
        if rule.once is not None:
            stamp = once_stamp(
                rule.once, self._view(listing, instrument, quote), self._moment(self._figures())
            )
        level = rule.action is Action.BUY and not rule.additive
        self._trade(listing.symbol, sized.side, sized.quantity, price, instrument, rule.name, stamp, level)

    def hold(self, symbol: str, quantity: int, entry_price: int, instrument: Instrument) -> None:
        """Begin with a position that was bought now; its cost comes on top of the cash."""
        self.state = advance(self.state, CashMoved(max(1, notional(quantity, entry_price))))
        self.prices.setdefault(symbol, entry_price)
        self.state = advance(self.state, QuoteSeen(symbol, entry_price, self.now_ms, True))
        self._trade(symbol, OrderSide.BUY, quantity, entry_price, instrument, "account", None, False)

    def _trade(
        self,
        symbol: str,
        side: OrderSide,
        quantity: int,
        price: int,
        instrument: Instrument,
        rule: str,
        stamp: int | None,
        level: bool,
    ) -> None:
        self.orders += 1
        client_id = f"case-{self.orders}"
        order = OrderRequest(
            client_id, symbol, side, quantity, None, OrderType.MARKET, TimeInForce.GTC, None, self.now_ms
        )
        fill = Fill(
            client_id, client_id, symbol, side, quantity, price, notional(quantity, price), 0, self.now_ms
        )
        minimum = minimum_quantity(instrument, price) or 1
        for event in (
            IntentPlanned(order, rule, stamp, level),
            OrderMoved(client_id, symbol, IntentState.SENT, self.now_ms, 0),
            Filled(fill, minimum),
            OrderMoved(client_id, symbol, IntentState.FILLED, self.now_ms, quantity),
        ):
            self.state = advance(self.state, event)


def money(value: float) -> int:
    """Turn a number of the account currency into scaled money."""
    return round(value * MONEY_SCALE)


def quantity(value: float) -> int:
    """Turn a quantity into a scaled one."""
    return round(value * QUANTITY_SCALE)


def begin(
    policy: Policy,
    account: Mapping[str, tuple[int, int, int]],
    cash: int,
    start_ms: int,
    instruments: Mapping[str, Instrument],
) -> Series:
    """Begin a series: ``account`` gives (quantity, entry price, seconds held) of each symbol."""
    series = Series(policy, start_ms, cash)
    for symbol, (size, price, held_seconds) in sorted(account.items(), key=lambda item: -item[1][2]):
        series.now_ms = start_ms - held_seconds * 1000
        series.hold(symbol, size, price, instruments[symbol])
    series.now_ms = start_ms
    return series
