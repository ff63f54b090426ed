"""A registry as it is often written: a table for some symbols, a dash for crypto, silence for the rest.

``test_registry.py`` shows that the check of requirement 22 refuses each of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from adapters.symbols.assets import Asset
from adapters.symbols.directory import NotServed, Spelled
from adapters.symbols.registry import Registry
from engine.model import AssetClass


class DashIsCrypto(Registry):
    """Takes every dash for a pair's, and every bare name for a share, whatever the venue says."""

    def asset_class(self, symbol: str) -> AssetClass:
        """Look at the dash only."""
        return AssetClass.CRYPTO if "-" in symbol else AssetClass.STOCK

    def canonical(
        self, source: str, text: str, asset_class: AssetClass | None = None, venue_id: str = ""
    ) -> str | None:
        """Undo ``replace``; a position's class and identifier are not looked at."""
        return text.replace("/", "-")


class SomeSymbols(Registry):
    """A table that holds only the symbols somebody thought of."""

    def spelled(self, source: str, symbol: str) -> Spelled | NotServed:
        """Know Bitcoin and ether, and deny the rest for ever."""
        if symbol in ("BTC-USD", "ETH-USD", "SPY"):
            return super().spelled(source, symbol)
        return NotServed("not in the table")


class AlwaysHopes(Registry):
    """Never believes a venue's list: what is not served is asked for again and again."""

    def refreshed(self, source: str, assets: Iterable[Asset], at_ms: int) -> Registry:
        """Forget the list."""
        return self

    def not_served(self, source: str, symbol: str, reason: str, at_ms: int) -> Registry:
        """Forget the refusal."""
        return self


class TetherIsADollar(Registry):
    """Takes a price in USDT for one in dollars."""

    def spelled(self, source: str, symbol: str) -> Spelled | NotServed:
        """Drop the flag."""
        answer = super().spelled(source, symbol)
        return Spelled(answer.text) if isinstance(answer, Spelled) else answer
