"""Orders at Alpaca: paper trading and, with both switches, real money."""

from adapters.brokers.alpaca.broker import AlpacaBroker, SymbolBook

__all__ = ["AlpacaBroker", "SymbolBook"]
