"""Alpaca's fills: one row each, and a cursor that loses none and gives none twice.

Alpaca's own cursor is the id of the last fill seen, and ids begin with the time of the fill.  A fill that
is listed late, behind one that happened after it, would never be seen; so would the second of two at the
same instant.  Ours therefore goes back a little with every question, and knows what it has seen there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from hashlib import blake2b
from typing import Final

from adapters.brokers.alpaca.orders import side_of
from adapters.brokers.alpaca.reading import OddRowError, Row, id_of, instant_of, number_of, text_of
from engine.errors import DataError
from engine.model import Fill, OrderSide
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, scaled

LATE_MS: Final = 60_000
"""So late behind a later one a fill may be listed and is still seen."""

_CURSOR: Final = re.compile(r"([0-9a-f]{8})/(\d{1,15})((?:\.[0-9a-f]{16})*)")
_EXACT: Final = Context(prec=80)


@dataclass(frozen=True, slots=True)
class VenueFill:
    """One fill of the venue's, as one row tells it; ``symbol`` is the venue's text."""

    fill_id: str
    order_id: str
    symbol: str
    side: OrderSide
    quantity: Decimal
    price: Decimal
    at_ms: int

    def of(self, client_id: str, symbol: str) -> Fill:
        """Return the fill as ours.

        Its notional is exact, then rounded once.  Its fee is 0: Alpaca takes none for stocks, and lists
        those for coins as activities of their own, at the end of the day and not by order.
        """
        with localcontext(_EXACT):
            return Fill(
                fill_id=self.fill_id,
                client_id=client_id,
                symbol=symbol,
                side=self.side,
                quantity=scaled(self.quantity, QUANTITY_SCALE),
                price=scaled(self.price, PRICE_SCALE),
                notional=scaled(self.quantity * self.price, MONEY_SCALE),
                fee=0,
                at_ms=self.at_ms,
            )


def fill_of(row: Row) -> VenueFill:
    """Read a row of ``/v2/account/activities/FILL``; OddRowError where it does not say what it must."""
    quantity, price = number_of(row, "qty"), number_of(row, "price")
    if quantity <= 0 or price <= 0:
        raise OddRowError(f"a fill of {quantity} at {price}")
    return VenueFill(
        fill_id=text_of(row, "id"),
        order_id=id_of(row, "order_id"),
        symbol=text_of(row, "symbol"),
        side=side_of(row),
        quantity=quantity,
        price=price,
        at_ms=instant_of(row, "transaction_time"),
    )


@dataclass(frozen=True, slots=True)
class FillCursor:
    """What was seen of an account's fills: all up to ``LATE_MS`` before the newest, and some after that."""

    account: str
    newest_ms: int = 0
    seen: frozenset[str] = frozenset()  # tags of the fills of the last LATE_MS

    @property
    def from_ms(self) -> int:
        """The instant from which on fills are asked for again."""
        return max(0, self.newest_ms - LATE_MS)

    def is_new(self, fill: VenueFill) -> bool:
        """Say whether a fill was not seen before."""
        return fill.at_ms >= self.from_ms and _tag(fill.fill_id) not in self.seen

    def after(self, listed: Iterable[VenueFill]) -> FillCursor:
        """Return the cursor behind all that was listed from ``from_ms`` on."""
        fills = list(listed)
        newest_ms = max((fill.at_ms for fill in fills), default=0)
        if newest_ms < self.newest_ms:
            return self  # the list has become shorter: what was seen is not forgotten
        kept = {_tag(fill.fill_id) for fill in fills if fill.at_ms >= newest_ms - LATE_MS}
        return FillCursor(self.account, newest_ms, frozenset(kept))

    def __str__(self) -> str:
        """Write it as the journal keeps it."""
        return f"{self.account}/{self.newest_ms}{''.join(f'.{tag}' for tag in sorted(self.seen))}"


def cursor_of(text: str, account: str) -> FillCursor:
    """Read a cursor ("" for all) of an account; DataError for one of another account or venue."""
    if not text:
        return FillCursor(account)
    parts = _CURSOR.fullmatch(text)
    if parts is None or parts[1] != account:
        raise DataError(
            f"the fill cursor {text[:40]!r} is not of this account of Alpaca's: do the keys belong to"
            " another account than this agent's journal?"
        )
    return FillCursor(account, int(parts[2]), frozenset(parts[3].split(".")[1:]))


def account_tag(account_id: str) -> str:
    """Return what stands for an account in its cursors."""
    return blake2b(account_id.encode(), digest_size=4).hexdigest()


def _tag(fill_id: str) -> str:
    return blake2b(fill_id.encode(), digest_size=8).hexdigest()
