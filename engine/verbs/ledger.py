"""The ledger: cash, quantity and total cost, exact to the last integer.

A holding keeps its quantity and its *total cost*, never an average: an average does not survive
rounding.  A sale takes out the same share of the cost as of the quantity, rounded half even; so
the cost is 0 exactly when the quantity is.  Fees are no part of cost or profit but a total of
their own.  After any sequence of fills, deposits and withdrawals::

    cash + total cost == deposited + realised - fees

Money and quantities are integers scaled as ``engine.units`` states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from engine.model import Fill, OrderSide
from engine.units import MONEY_SCALE, QUANTITY_SCALE, half_even_division, unscaled


class LedgerError(AssertionError):
    """A posting that cannot be true: it would sell what is not held or spend what is not there."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A position: ``quantity`` (scaled) and what all of it cost (money, without fees)."""

    quantity: int
    cost: int

    @property
    def average_price(self) -> Decimal | None:
        """Cost per unit, for display and facts; None where nothing is held."""
        if self.quantity == 0:
            return None
        return unscaled(self.cost, MONEY_SCALE) / unscaled(self.quantity, QUANTITY_SCALE)

    def bought(self, quantity: int, cost: int) -> Holding:
        """Add a purchase."""
        return Holding(self.quantity + quantity, self.cost + cost)

    def released_cost(self, quantity: int) -> int:
        """Return the part of the cost that ``quantity`` of it takes along, half even."""
        return half_even_division(self.cost * quantity, self.quantity)

    def sold(self, quantity: int) -> Holding:
        """Take out ``quantity``, which must be held, and its share of the cost."""
        return Holding(self.quantity - quantity, self.cost - self.released_cost(quantity))


FLAT: Final = Holding(0, 0)


@dataclass(frozen=True, slots=True)
class Ledger:
    """An account at one instant.  ``holdings`` has no flat entries and is never changed in place."""

    cash: int = 0
    holdings: Mapping[str, Holding] = field(default_factory=dict)
    realised: int = 0  # profit of sales over the cost they released, before fees
    fees: int = 0
    deposited: int = 0  # deposits less withdrawals

    def holding(self, symbol: str) -> Holding:
        """Return what is held of a symbol; ``FLAT`` where nothing is."""
        return self.holdings.get(symbol, FLAT)

    @property
    def total_cost(self) -> int:
        """What all holdings together cost, money."""
        return sum(holding.cost for holding in self.holdings.values())


def deposit(ledger: Ledger, amount: int) -> Ledger:
    """Move ``amount`` (money, > 0) into the account."""
    if amount <= 0:
        raise LedgerError(f"a deposit must be above 0, not {_money(amount)}")
    return replace(ledger, cash=ledger.cash + amount, deposited=ledger.deposited + amount)


def withdraw(ledger: Ledger, amount: int) -> Ledger:
    """Move ``amount`` (money, > 0) out of the account; LedgerError where cash does not cover it."""
    if amount <= 0:
        raise LedgerError(f"a withdrawal must be above 0, not {_money(amount)}")
    cash = _covered(ledger.cash - amount, ledger.cash, f"a withdrawal of {_money(amount)}")
    return replace(ledger, cash=cash, deposited=ledger.deposited - amount)


def apply_fill(ledger: Ledger, fill: Fill) -> Ledger:
    """Book a fill.  The caller applies each ``fill_id`` once.

    Raises LedgerError where the fill would make cash negative or sell more than is held.
    """
    if fill.quantity <= 0 or fill.notional < 0:
        raise LedgerError(f"fill {fill.fill_id}: quantity must be above 0 and notional not below 0")
    held = ledger.holding(fill.symbol)
    if fill.side is OrderSide.BUY:
        after = held.bought(fill.quantity, fill.notional)
        cash_change, profit = -fill.notional, 0
    else:
        if fill.quantity > held.quantity:
            raise LedgerError(
                f"fill {fill.fill_id} sells {_quantity(fill.quantity)} {fill.symbol}"
                f" where {_quantity(held.quantity)} is held"
            )
        after = held.sold(fill.quantity)
        cash_change, profit = fill.notional, fill.notional - held.released_cost(fill.quantity)
    holdings = {**ledger.holdings, fill.symbol: after}
    if after.quantity == 0:
        del holdings[fill.symbol]
    return replace(
        ledger,
        cash=_covered(ledger.cash + cash_change - fill.fee, ledger.cash, f"fill {fill.fill_id}"),
        holdings=holdings,
        realised=ledger.realised + profit,
        fees=ledger.fees + fill.fee,
    )


def apply_fills(ledger: Ledger, fills: Iterable[Fill]) -> Ledger:
    """Book fills in their order."""
    for fill in fills:
        ledger = apply_fill(ledger, fill)
    return ledger


def _covered(after: int, before: int, what: str) -> int:
    if after < 0:
        raise LedgerError(f"{what} would leave cash at {_money(after)}; there is {_money(before)}")
    return after


def _money(amount: int) -> str:
    return f"{unscaled(amount, MONEY_SCALE):f}"


def _quantity(quantity: int) -> str:
    return f"{unscaled(quantity, QUANTITY_SCALE):f}"
