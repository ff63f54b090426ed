"""A local Alpaca: trading, market data and streams on loopback, to test against and to try an agent with."""

from adapters.stubs.alpaca.assets import DEFAULT_ASSETS, Asset, crypto, stock
from adapters.stubs.alpaca.orders import Order
from adapters.stubs.alpaca.server import AlpacaStub
from adapters.stubs.alpaca.venue import Activity, Venue

__all__ = ["DEFAULT_ASSETS", "Activity", "AlpacaStub", "Asset", "Order", "Venue", "crypto", "stock"]
