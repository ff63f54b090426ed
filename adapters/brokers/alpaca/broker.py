"""Alpaca behind the broker port.

Every call asks a fixed small number of questions; a write is one request and is never repeated here.  What
becomes of a write whose answer is lost is looked up once by its client id; where that does not settle it,
AmbiguousOutcome says so, and who called asks again later.

A row that does not say what it must is passed over where it cannot concern us, and kept in ``oddities``.
Where it may be our order, our fill or our position the call fails: nothing odd looks like absence.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Final, Protocol, TypeVar

from adapters.brokers.alpaca.activities import FillCursor, VenueFill, account_tag, cursor_of, fill_of
from adapters.brokers.alpaca.assets import LISTED_CLASSES, asset_of
from adapters.brokers.alpaca.orders import (
    ASSET_CLASSES,
    Owner,
    VenueOrder,
    order_of,
    owner_of,
)
from adapters.brokers.alpaca.reading import (
    OddRowError,
    flag_of,
    id_of,
    instant_of,
    instant_text,
    number_of,
    row_of,
    text_of,
)
from adapters.brokers.alpaca.refusals import (
    fields_of,
    is_about_keys,
    is_alpacas,
    is_duplicate,
    reason_of,
    refusal_before,
)
from adapters.symbols.assets import Asset
from adapters.symbols.directory import NotServed
from adapters.vendors.alpaca import (
    AlpacaAccess,
    AlpacaAmbiguous,
    AlpacaRefused,
    AlpacaUnavailable,
    trading_client,
)
from engine.errors import DataError, NotFoundError, UnavailableError
from engine.model import AssetClass, Fill, Instrument, OrderReport, OrderRequest
from engine.runtime.ports import AmbiguousOutcome, OrderRejected, VenueAccount, VenueClock
from engine.units import MONEY_SCALE, QUANTITY_SCALE, scaled
from engine.verbs.fill import Refusal

SOURCE: Final = "alpaca"
_POSITIONS: Final = "alpaca_positions"
_ORDERS_PER_PAGE: Final = 500
_FILLS_PER_PAGE: Final = 100
_MOST_PAGES: Final = 10_000
_ONE_BY_ONE: Final = 3
_OWNERS_AT_HAND: Final = 50_000
_ODDITIES_KEPT: Final = 100
_NO_SUCH_ORDER: Final = 40410000

_Read = TypeVar("_Read")
_Given = TypeVar("_Given")


class SymbolBook(Protocol):
    """What the broker asks of the symbol registry."""

    def canonical(
        self, source: str, text: str, asset_class: AssetClass | None = None, venue_id: str = ""
    ) -> str | None:
        """Return the canonical symbol of a text of a source; None where that cannot be told."""

    def tradable(self, source: str, symbol: str) -> Asset | NotServed | None:
        """Return the venue's row of a symbol, or why there is none; None before its list was read."""

    def instrument(self, symbol: str, source: str = SOURCE) -> Instrument | None:
        """Return the venue's steps and minimums of a symbol."""


class AlpacaBroker:
    """One account at Alpaca.  Used by one thread at a time.

    ``symbols`` returns the registry as it is now.  Where that does not hold the venue's list of assets yet,
    the broker reads it and hands it to ``learn``.  ``spend`` is called before each request.  With
    ``extended_hours`` orders for stocks may be filled outside the regular session; then they must be limit
    orders for the day.
    """

    def __init__(
        self,
        access: AlpacaAccess,
        symbols: Callable[[], SymbolBook],
        learn: Callable[[Sequence[Asset]], None],
        *,
        spend: Callable[[], None] | None = None,
        extended_hours: bool = False,
    ) -> None:
        """Make the client; nothing is asked of the venue yet."""
        self._guarded = trading_client(access, spend)
        self._client = self._guarded.client
        self._symbols = symbols
        self._learn = learn
        self._extended_hours = extended_hours
        self._account_tag = ""
        self._owners: dict[str, Owner] = {}
        self._oddities: deque[str] = deque(maxlen=_ODDITIES_KEPT)

    def __enter__(self) -> AlpacaBroker:
        """Return itself; connections are closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its connections."""
        self.close()

    def close(self) -> None:
        """Close its connections.  Orders stay as they are."""
        self._guarded.close()

    @property
    def oddities(self) -> Sequence[str]:
        """The latest rows of the venue's that were passed over, and what was odd about each."""
        return tuple(self._oddities)

    # --- orders -------------------------------------------------------------------------------

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send an order, once; return the venue's first report, or that of the order which has its name.

        Raises OrderRejected where it is certainly not taken and should not be sent again, UnavailableError
        where it is certainly not taken for want of an answer, AmbiguousOutcome where nobody knows.
        """
        asset, instrument = self._traded(order)
        refusal = refusal_before(order, asset, instrument, extended_hours=self._extended_hours)
        if refusal is not None:
            raise OrderRejected(refusal)
        fields = fields_of(order, asset, extended_hours=self._extended_hours)
        try:
            answer = self._client.post("/orders", fields)
        except AlpacaUnavailable as unsent:
            raise UnavailableError(f"the order was not sent: {unsent.reason}") from None
        except AlpacaAmbiguous as lost:
            return self._settled(order.client_id, lost.reason)
        except AlpacaRefused as refused:
            if is_duplicate(refused):
                return self._settled(order.client_id, "Alpaca says that it has the client id already")
            if is_about_keys(refused):
                raise UnavailableError(f"the order was not taken: {refused.reason}") from None
            if not is_alpacas(refused):
                return self._settled(order.client_id, refused.reason)
            raise OrderRejected(reason_of(refused, order.side)) from None
        try:
            return self._own(order.client_id, answer).report
        except OddRowError as odd:
            return self._settled(order.client_id, f"Alpaca's answer is odd: {odd}")

    def find(self, client_id: str) -> OrderReport | None:
        """Look an order up by client id; None when the venue says that it does not know it.

        Raises UnavailableError where the venue does not say that clearly, DataError where its row of the
        order cannot be read.
        """
        try:
            order = self._find(client_id)
        except OddRowError as odd:
            self._odd(f"the order {client_id}: {odd}")
            raise DataError(f"Alpaca's row of the order {client_id} is odd: {odd}") from None
        return None if order is None else order.report

    def cancel(self, client_id: str) -> None:
        """Ask for cancellation, once; a final order stays as it is.  NotFoundError for an unknown one.

        Raises AmbiguousOutcome where it is not known whether the venue heard it, OrderRejected where the
        venue will not cancel it now, UnavailableError where it was certainly not asked.
        """
        order = self._must(f"the order {client_id}", self._find, client_id)
        if order is None:
            raise NotFoundError(f"Alpaca has no order {client_id!r}")
        if order.is_ending:
            return
        try:
            answer = self._client.delete(f"/orders/{order.report.venue_id}")
        except AlpacaUnavailable as unsent:
            raise UnavailableError(f"the cancellation was not sent: {unsent.reason}") from None
        except AlpacaAmbiguous as lost:
            reason = lost.reason
        except AlpacaRefused as refused:
            if refused.status == 404 and refused.code == _NO_SUCH_ORDER:
                raise NotFoundError(f"Alpaca has no order {client_id!r}") from None
            if is_about_keys(refused):
                raise UnavailableError(f"the cancellation was not taken: {refused.reason}") from None
            if self._is_ending(client_id):
                return
            if not is_alpacas(refused):
                raise AmbiguousOutcome(f"the cancellation of {client_id}: {refused.reason}") from None
            raise OrderRejected(reason_of(refused, order.report.side)) from None
        else:
            if answer is None:
                return
            reason = "Alpaca's answer is odd: nothing (HTTP 204) was expected"
        if not self._is_ending(client_id):
            raise AmbiguousOutcome(f"the cancellation of {client_id}: {reason}")

    def open_orders(self) -> Sequence[OrderReport]:
        """Return every order that is not final, the oldest first; those of other people, too.

        Rows that cannot be read are passed over: who misses an order looks it up by name, and is told that
        it is odd.  UnavailableError where none of them can be read.
        """
        question: dict[str, object] = {"status": "open", "direction": "asc", "limit": _ORDERS_PER_PAGE}
        reports: dict[str, OrderReport] = {}
        for _ in range(_MOST_PAGES):
            rows = self._list("/orders", question)
            before, last_ms = len(reports), None
            for row in rows:
                with self._passing_over("an open order"):
                    last_ms = instant_of(row_of(row), "submitted_at")
                    order = self._noted(row)
                    reports.setdefault(order.report.venue_id, order.report)
            if rows and len(reports) == before:
                raise UnavailableError("Alpaca's list of open orders cannot be read, or repeats itself")
            if len(rows) < _ORDERS_PER_PAGE or last_ms is None:
                return [report for report in reports.values() if not report.state.final]
            # Orders of one instant may lie on both sides of the end of a page.
            question["after"] = instant_text(last_ms - 1)
        raise UnavailableError("Alpaca's list of open orders has no end")

    # --- fills --------------------------------------------------------------------------------

    def fills_since(self, cursor: str) -> tuple[Sequence[Fill], str]:
        """Return fills after a cursor ("" for all) in the venue's order, and the new cursor.

        A fill that the venue lists up to a minute late is given then.  ``fee`` is 0: fees for coins are no
        part of a fill at Alpaca.  DataError for a cursor of another account.
        """
        since = cursor_of(cursor, self._account())
        listed = self._listed_fills(since)
        new = [fill for fill in listed.values() if since.is_new(fill)]
        self._learn_owners(new)
        owners = [self._owner(fill) for fill in new]
        fills = [fill.of(owner.client_id, owner.symbol) for fill, owner in zip(new, owners, strict=True)]
        return fills, str(since.after(listed.values()))

    def _listed_fills(self, since: FillCursor) -> Mapping[str, VenueFill]:
        """Return the fills from the cursor on, by id, as they are listed.

        The pages begin behind a fill, not behind a number of them, and go forward in time: what happens
        meanwhile comes at the end.
        """
        question: dict[str, object] = {"direction": "asc", "page_size": _FILLS_PER_PAGE}
        if since.from_ms:
            question["after"] = instant_text(since.from_ms - 1000)
        listed: dict[str, VenueFill] = {}
        for _ in range(_MOST_PAGES):
            rows = self._list("/account/activities/FILL", question)
            before = len(listed)
            last = ""
            for row in rows:
                with self._passing_over("a fill"):
                    last = text_of(row_of(row), "id")
                    fill = fill_of(row_of(row))
                    listed.setdefault(fill.fill_id, fill)
            if rows and len(listed) == before:
                raise UnavailableError("Alpaca's list of fills cannot be read, or repeats itself")
            if len(rows) < _FILLS_PER_PAGE:
                return listed
            question["page_token"] = last
        raise UnavailableError("Alpaca's list of fills has no end")

    def _learn_owners(self, fills: Sequence[VenueFill]) -> None:
        """Learn whose many orders are with one question for the latest of them."""
        unknown = [fill for fill in fills if fill.order_id not in self._owners]
        while len({fill.order_id for fill in unknown}) > _ONE_BY_ONE:
            until = instant_text(max(fill.at_ms for fill in unknown) + 1000)
            question = {"status": "all", "direction": "desc", "limit": _ORDERS_PER_PAGE, "until": until}
            for row in self._list("/orders", question):
                with contextlib.suppress(OddRowError):
                    self._keep_owner(id_of(row_of(row)), self._owner_in(row))
            still = [fill for fill in unknown if fill.order_id not in self._owners]
            if len(still) == len(unknown):
                return  # older than all of these: each is asked for by itself
            unknown = still

    def _owner(self, fill: VenueFill) -> Owner:
        """Return whose a fill is; of an order that the venue does not know nobody knows it."""
        if fill.order_id not in self._owners:
            try:
                row = self._get(f"/orders/{fill.order_id}", {})
            except _NoSuchOrderError:
                self._odd(f"a fill, {fill.fill_id}: its order does not exist")
                return Owner("", self._symbols().canonical(SOURCE, fill.symbol) or fill.symbol)
            self._keep_owner(fill.order_id, self._must("an order", self._owner_in, row))
        return self._owners[fill.order_id]

    def _owner_in(self, row: object) -> Owner:
        return owner_of(row_of(row), self._canonical)

    # --- the account and the venue ------------------------------------------------------------

    def account(self) -> VenueAccount:
        """Return cash and positions, those of other people's orders among them.

        What tradectl does not trade is passed over; UnavailableError where a position that may be ours
        cannot be read.
        """
        answer = self._get("/account", {})
        cash = self._must("the account", _cash, answer)
        self._account_tag = self._must("the account", _account_tag, answer)
        positions: dict[str, int] = {}
        for row in self._list("/positions", {}):
            held = self._must("a position", self._position, row)
            if held is not None:
                symbol, quantity = held
                positions[symbol] = positions.get(symbol, 0) + quantity
        return VenueAccount(cash=cash, positions=dict(sorted(positions.items())))

    def _position(self, held: object) -> tuple[str, int] | None:
        """Read a position; None for what tradectl does not trade."""
        row = row_of(held)
        text, word = text_of(row, "symbol"), text_of(row, "asset_class")
        asset_class, asset_id = ASSET_CLASSES.get(word), row.get("asset_id")
        symbol = None
        if asset_class is not None:
            identifier = asset_id if isinstance(asset_id, str) else ""
            symbol = self._symbols().canonical(_POSITIONS, text, asset_class, identifier)
        if symbol is None:
            self._odd(f"a position: {word} {text} is nothing that tradectl trades")
            return None
        quantity = scaled(number_of(row, "qty"), QUANTITY_SCALE)
        return symbol, -abs(quantity) if row.get("side") == "short" else quantity

    def instrument(self, symbol: str) -> Instrument | None:
        """Return the steps and minimums of a symbol; None when it is not traded here."""
        if self._asset(symbol) is None:
            raise UnavailableError("Alpaca's list of assets is not known")
        return self._symbols().instrument(symbol, SOURCE)

    def clock(self) -> VenueClock:
        """Return the venue's time, and the session of its stock market."""
        return self._must("the clock", _clock, self._get("/clock", {}))

    def read_assets(self) -> Sequence[Asset]:
        """Return the venue's list of what it trades; rows that cannot be read are passed over."""
        assets: list[Asset] = []
        for asset_class in LISTED_CLASSES:
            rows = self._list("/assets", {"status": "active", "asset_class": asset_class})
            for row in rows:
                with self._passing_over("an asset"):
                    assets.append(asset_of(row_of(row)))
        if not assets:
            raise UnavailableError("Alpaca's list of assets is empty, or cannot be read")
        return assets

    # --- symbols ------------------------------------------------------------------------------

    def _traded(self, order: OrderRequest) -> tuple[Asset, Instrument]:
        asset = self._asset(order.symbol)
        if isinstance(asset, NotServed):
            raise OrderRejected(f"{Refusal.UNKNOWN_SYMBOL}: {asset.reason}")
        instrument = self._symbols().instrument(order.symbol, SOURCE)
        if asset is None or instrument is None:
            raise UnavailableError("the order was not sent: Alpaca's list of assets is not known")
        return asset, instrument

    def _asset(self, symbol: str) -> Asset | NotServed | None:
        asset = self._symbols().tradable(SOURCE, symbol)
        if asset is None:
            self._learn(self.read_assets())
            asset = self._symbols().tradable(SOURCE, symbol)
        return asset

    def _canonical(self, text: str, asset_class: AssetClass, venue_id: str) -> str | None:
        return self._symbols().canonical(SOURCE, text, asset_class, venue_id)

    # --- one order ----------------------------------------------------------------------------

    def _settled(self, client_id: str, reason: str) -> OrderReport:
        """Return the order that a lost answer was about; AmbiguousOutcome where one look-up finds none."""
        try:
            found = self.find(client_id)
        except (UnavailableError, DataError) as error:
            raise AmbiguousOutcome(f"{reason}; it could not be looked up: {error}") from None
        if found is None:
            raise AmbiguousOutcome(f"{reason}; Alpaca does not list the order now")
        return found

    def _find(self, client_id: str) -> VenueOrder | None:
        try:
            row = self._get("/orders:by_client_order_id", {"client_order_id": client_id})
        except _NoSuchOrderError:
            return None
        return self._own(client_id, row)

    def _own(self, client_id: str, row: object) -> VenueOrder:
        order = self._noted(row)
        if order.report.client_id != client_id:
            raise OddRowError("it is another order than was asked for")
        return order

    def _is_ending(self, client_id: str) -> bool:
        """Say whether an order is final or will be without another word; False where that is not known."""
        try:
            order = self._find(client_id)
        except (UnavailableError, OddRowError):
            return False
        return order is not None and order.is_ending

    def _noted(self, row: object) -> VenueOrder:
        order = order_of(row_of(row), self._canonical)
        self._keep_owner(order.report.venue_id, Owner(order.report.client_id, order.report.symbol))
        return order

    def _keep_owner(self, venue_id: str, owner: Owner) -> None:
        if len(self._owners) >= _OWNERS_AT_HAND:
            self._owners.clear()
        self._owners[venue_id] = owner

    # --- asking -------------------------------------------------------------------------------

    def _account(self) -> str:
        """Return what stands for the account in cursors; it is asked for once."""
        if not self._account_tag:
            self._account_tag = self._must("the account", _account_tag, self._get("/account", {}))
        return self._account_tag

    def _list(self, path: str, question: Mapping[str, object]) -> Sequence[object]:
        answer = self._get(path, question)
        if not isinstance(answer, list):
            raise UnavailableError(f"Alpaca answered {path} with something that is no list")
        return answer

    def _get(self, path: str, question: Mapping[str, object]) -> object:
        """Ask; UnavailableError without an answer, its kind _NoSuchOrderError where an order is not known."""
        try:
            answer: object = self._client.get(path, dict(question))
        except AlpacaRefused as refused:
            # Another 404 than this one comes from something that is not Alpaca's list of orders.
            if refused.status == 404 and refused.code == _NO_SUCH_ORDER:
                raise _NoSuchOrderError(refused.reason) from None
            raise UnavailableError(refused.reason) from None
        except AlpacaUnavailable as error:
            raise UnavailableError(error.reason) from None
        return answer

    # --- odd rows -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _passing_over(self, what: str) -> Iterator[None]:
        try:
            yield
        except OddRowError as odd:
            self._odd(f"{what}: {odd}")

    def _must(self, what: str, read: Callable[[_Given], _Read], given: _Given) -> _Read:
        try:
            return read(given)
        except OddRowError as odd:
            self._odd(f"{what}: {odd}")
            raise UnavailableError(f"Alpaca's answer about {what} is odd: {odd}") from None

    def _odd(self, oddity: str) -> None:
        if oddity not in self._oddities:
            self._oddities.append(oddity)


class _NoSuchOrderError(UnavailableError):
    """The venue says that it does not know an order."""


def _cash(account: object) -> int:
    return scaled(number_of(row_of(account), "cash"), MONEY_SCALE)


def _account_tag(account: object) -> str:
    return account_tag(text_of(row_of(account), "id"))


def _clock(clock: object) -> VenueClock:
    row = row_of(clock)
    return VenueClock(
        now_ms=instant_of(row, "timestamp"),
        is_open=flag_of(row, "is_open"),
        next_open_ms=instant_of(row, "next_open"),
        next_close_ms=instant_of(row, "next_close"),
    )
