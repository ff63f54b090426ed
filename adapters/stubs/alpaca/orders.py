"""An order at the local Alpaca, and what an order must be to be taken."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from adapters.stubs.alpaca.assets import Asset
from adapters.stubs.alpaca.refusal import forbidden, invalid, malformed
from adapters.stubs.alpaca.wire import instant, text

FINAL_STATES: Final = frozenset({"filled", "canceled", "expired", "replaced", "rejected"})
MATCHED_STATES: Final = frozenset({"new", "partially_filled"})
"""States in which the market may fill an order."""

CRYPTO_NOTIONAL_FLOOR: Final = Decimal(10)
"""Of buys in US dollars: sells may be smaller, and pairs in other currencies too."""

_STOCK_NOTIONAL_FLOOR: Final = Decimal(1)
_LONGEST_CLIENT_ID: Final = 128
_DECIMALS: Final = 9
_LARGEST: Final = Decimal(10) ** 15
_AVERAGE_STEP: Final = Decimal("1e-12")
_TYPES: Final = ("market", "limit", "stop", "stop_limit", "trailing_stop")
_TIMES_IN_FORCE: Final = ("day", "gtc", "opg", "cls", "ioc", "fok")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,32}(\.[0-9]{0,32})?([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Draft:
    """An order as it was asked for, within the rules; one of ``quantity`` and ``notional`` is None."""

    asset: Asset
    side: str
    type: str
    time_in_force: str
    quantity: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    extended_hours: bool
    client_order_id: str | None

    @property
    def is_buy(self) -> bool:
        """Whether it spends money."""
        return self.side == "buy"


@dataclass(slots=True)
class Order:
    """One order; money in US dollars, quantities in units of the asset, instants in milliseconds."""

    id: str
    client_order_id: str
    draft: Draft
    status: str
    created_ms: int
    updated_ms: int
    expires_ms: int
    estimate: Decimal
    """The price per unit that a market buy's money is held at."""
    filled_quantity: Decimal = Decimal(0)
    filled_cost: Decimal = Decimal(0)
    waits_for_open: bool = False
    """Whether it was accepted while its market was closed."""
    triggered: bool = False
    """Whether a stop order's price was reached."""
    filled_ms: int | None = None
    expired_ms: int | None = None
    canceled_ms: int | None = None
    failed_ms: int | None = None
    replaced_ms: int | None = None
    replaced_by: str | None = None
    replaces: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether its state is not final; a state that is not known is not."""
        return self.status not in FINAL_STATES

    @property
    def remaining(self) -> Decimal:
        """What is still to be traded; 0 for an order in money, whose rest is ``remaining_notional``."""
        return Decimal(0) if self.draft.quantity is None else self.draft.quantity - self.filled_quantity

    @property
    def remaining_notional(self) -> Decimal:
        """The money still to be traded by an order in money."""
        return Decimal(0) if self.draft.notional is None else self.draft.notional - self.filled_cost

    @property
    def held_money(self) -> Decimal:
        """The money that an open buy keeps from others."""
        if not self.is_open or not self.draft.is_buy:
            return Decimal(0)
        if self.draft.notional is not None:
            return self.remaining_notional
        return self.remaining * (self.draft.limit_price or self.estimate)

    @property
    def held_quantity(self) -> Decimal:
        """The quantity that an open sell keeps from others."""
        if not self.is_open or self.draft.is_buy:
            return Decimal(0)
        if self.draft.notional is not None and self.estimate:
            return self.remaining_notional / self.estimate
        return self.remaining

    def to_json(self) -> dict[str, object]:
        """Return the order as the trading API writes it."""
        draft = self.draft
        average = self.filled_cost / self.filled_quantity if self.filled_quantity else None
        return {
            "id": self.id,
            "client_order_id": self.client_order_id,
            "created_at": instant(self.created_ms),
            "updated_at": instant(self.updated_ms),
            "submitted_at": instant(self.created_ms),
            "filled_at": instant(self.filled_ms),
            "expired_at": instant(self.expired_ms),
            "expires_at": instant(self.expires_ms),
            "canceled_at": instant(self.canceled_ms),
            "failed_at": instant(self.failed_ms),
            "replaced_at": instant(self.replaced_ms),
            "replaced_by": self.replaced_by,
            "replaces": self.replaces,
            "asset_id": draft.asset.id,
            "symbol": draft.asset.symbol,
            "asset_class": draft.asset.asset_class,
            "notional": _or_none(draft.notional),
            "qty": _or_none(draft.quantity),
            "filled_qty": text(self.filled_quantity),
            "filled_avg_price": None if average is None else text(average.quantize(_AVERAGE_STEP)),
            "order_class": "" if draft.asset.is_crypto else "simple",
            "order_type": draft.type,
            "type": draft.type,
            "side": draft.side,
            "position_intent": "buy_to_open" if draft.is_buy else "sell_to_close",
            "time_in_force": draft.time_in_force,
            "limit_price": _or_none(draft.limit_price),
            "stop_price": _or_none(draft.stop_price),
            "status": self.status,
            "extended_hours": draft.extended_hours,
            "legs": None,
            "trail_percent": None,
            "trail_price": None,
            "hwm": None,
        }


def _or_none(number: Decimal | None) -> str | None:
    return None if number is None else text(number)


# --- what is asked for -------------------------------------------------------------------------


def drafted(body: object, assets: Mapping[str, Asset]) -> Draft:
    """Read and check the body of a POST; ``assets`` by every spelling that orders may use.

    Raises:
        Refusal: It cannot be read, or the rules do not allow it.
    """
    if not isinstance(body, dict):
        raise malformed("request body format is invalid")
    asset = _asset(body, assets)
    draft = Draft(
        asset=asset,
        side=_choice(body, "side", ("buy", "sell")),
        type=_choice(body, "type", _TYPES),
        time_in_force=_choice(body, "time_in_force", _TIMES_IN_FORCE),
        quantity=number_of(body, "qty"),
        notional=number_of(body, "notional"),
        limit_price=number_of(body, "limit_price"),
        stop_price=number_of(body, "stop_price"),
        extended_hours=_flag(body, "extended_hours"),
        client_order_id=client_id_of(body),
    )
    if body.get("order_class") not in (None, "", "simple"):
        raise invalid("only simple orders are simulated here")
    check(draft)
    return draft


def check(draft: Draft) -> None:
    """Check an order against the rules of its class; Refusal where it breaks one."""
    if (draft.quantity is None) == (draft.notional is None):
        wanted = "is required" if draft.quantity is None else "is accepted, not both"
        raise malformed(f"qty or notional {wanted}")
    if draft.type in ("limit", "stop_limit") and draft.limit_price is None:
        raise malformed(f"{draft.type} orders require limit price")
    if draft.type in ("stop", "stop_limit") and draft.stop_price is None:
        raise malformed(f"{draft.type} orders require stop price")
    if draft.type in ("market", "stop") and draft.limit_price is not None:
        raise malformed(f"{draft.type} orders must not have limit price")
    if draft.type in ("market", "limit") and draft.stop_price is not None:
        raise malformed(f"{draft.type} orders must not have stop price")
    if not draft.asset.tradable or draft.asset.status != "active":
        raise invalid(f"asset {draft.asset.symbol} is not tradable")
    if draft.asset.is_crypto:
        _check_crypto(draft)
    else:
        _check_stock(draft)
    if draft.type == "trailing_stop" or draft.time_in_force in ("opg", "cls"):
        raise invalid("trailing stops and auctions are not simulated here")


def _check_crypto(draft: Draft) -> None:
    asset = draft.asset
    if draft.type not in ("market", "limit", "stop_limit"):
        raise invalid("invalid order type for crypto order")
    if draft.time_in_force not in ("gtc", "ioc"):
        raise invalid("invalid crypto time_in_force")
    if draft.extended_hours:
        raise invalid("extended_hours is not supported for crypto order")
    for name, price in (("limit_price", draft.limit_price), ("stop_price", draft.stop_price)):
        if price is not None and price % asset.price_increment:
            raise invalid(
                f"invalid {name} {text(price)}: "
                f"not a multiple of price_increment {text(asset.price_increment)}"
            )
    if draft.quantity is None:
        return
    if draft.quantity % asset.min_trade_increment:
        raise invalid(f"qty must be a multiple of min_trade_increment {text(asset.min_trade_increment)}")
    if draft.quantity < asset.min_order_size:
        raise forbidden(f"qty must be >= minimal amount of order {text(asset.min_order_size)}")


def _check_stock(draft: Draft) -> None:
    for name, price in (("limit_price", draft.limit_price), ("stop_price", draft.stop_price)):
        if price is not None and price % Decimal("0.01" if price >= 1 else "0.0001"):
            raise invalid(
                f"invalid {name} {text(price)}. sub-penny increment does not fulfill minimum pricing criteria"
            )
    fractional = draft.quantity is None or draft.quantity % 1 != 0
    if fractional and not draft.asset.fractionable:
        raise forbidden(f'asset "{draft.asset.symbol}" is not fractionable')
    if fractional and draft.time_in_force != "day":
        raise invalid("fractional orders must be DAY orders")
    if draft.extended_hours and (draft.type, draft.time_in_force) != ("limit", "day"):
        raise invalid("extended hours order must be DAY limit orders")
    if draft.notional is not None and draft.notional < _STOCK_NOTIONAL_FLOOR:
        raise forbidden("cost basis must be >= minimal amount of order 1")


def check_notional(draft: Draft, price: Decimal) -> None:
    """Check the floor of a buy of crypto at the price it is expected to be filled at."""
    if not (draft.asset.is_crypto and draft.is_buy and draft.asset.symbol.endswith("/USD")):
        return
    cost = draft.notional if draft.notional is not None else (draft.quantity or Decimal(0)) * price
    if cost < CRYPTO_NOTIONAL_FLOOR:
        raise forbidden(
            f"cost basis must be >= minimal amount of order {text(CRYPTO_NOTIONAL_FLOOR)}",
        )


# --- fields ------------------------------------------------------------------------------------


def number_of(body: Mapping[str, object], name: str) -> Decimal | None:
    """Return a positive number that was sent as a string or as a number; Refusal if it is none."""
    value = body.get(name)
    if value is None:
        return None
    # What has a hundred digits is refused before anything is computed with it.
    if isinstance(value, bool) or not (
        isinstance(value, int | Decimal | str) and _NUMBER.fullmatch(str(value))
    ):
        raise malformed(f"{name} is not a number")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise malformed(f"{name} is not a number") from None
    if number <= 0:
        raise invalid(f"{name} must be > 0")
    if number > _LARGEST:
        raise invalid(f"{name} is too large")
    exponent = number.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_DECIMALS:
        raise invalid(f"{name} is limited to {_DECIMALS} decimal places")
    return number


def client_id_of(body: Mapping[str, object]) -> str | None:
    """Return the client's own id, None where it is absent or empty."""
    value = body.get("client_order_id")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise malformed("client_order_id must be a string")
    if len(value) > _LONGEST_CLIENT_ID:
        raise malformed(f"client_order_id must be no more than {_LONGEST_CLIENT_ID} characters")
    return value


def _asset(body: Mapping[str, object], assets: Mapping[str, Asset]) -> Asset:
    symbol = body.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise malformed("symbol is required")
    asset = assets.get(symbol)
    if asset is None:
        raise invalid(f'asset "{symbol}" not found')
    return asset


def _choice(body: Mapping[str, object], name: str, choices: tuple[str, ...]) -> str:
    value = body.get(name)
    if value is None or value == "":
        raise malformed(f"{name} is required")
    if not isinstance(value, str) or value not in choices:
        raise malformed(f"invalid {name}")
    return value


def _flag(body: Mapping[str, object], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise malformed(f"{name} must be true or false")
    return bool(value)
