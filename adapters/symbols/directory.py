"""How sources spell symbols: what quotes, brokers and bars ask of the symbol registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from engine.model import AssetClass


@dataclass(frozen=True, slots=True)
class Spelled:
    """A symbol in a source's own notation, and the currency that its prices there are in."""

    text: str
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class NotServed:
    """A symbol that a source does not serve, and why: for good, until the registry is refreshed."""

    reason: str


class SymbolDirectory(Protocol):
    """How sources spell symbols: what the router asks of the symbol registry."""

    def spelled(self, source: str, symbol: str) -> Spelled | NotServed:
        """Return how a source writes a canonical symbol."""

    def asset_class(self, symbol: str) -> AssetClass:
        """Return the class of a canonical symbol."""
