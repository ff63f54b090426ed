"""What the router needs of the settings, and what only it has to set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from adapters.quotes.budget import BudgetSettings
from adapters.quotes.judging import Demands
from adapters.settings.model import QuoteSettings, Settings
from engine.model import AssetClass

COUNTED_BY_SYMBOL: Final = frozenset({"twelvedata"})
"""Sources whose limits count the symbols of a call, not the call."""


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Settings of quotes, a budget for each source, and small spans in milliseconds."""

    quotes: QuoteSettings = field(default_factory=QuoteSettings)
    budgets: Mapping[str, BudgetSettings] = field(default_factory=dict)
    margin_ms: int = 50
    """How long before its deadline a pass stops waiting."""
    least_call_ms: int = 50
    """No call is begun with less time than this before its limit."""
    workers: int = 4
    """Threads for each source."""

    @classmethod
    def of(cls, settings: Settings, sources: Iterable[str]) -> RouterSettings:
        """Return what a person's settings say of these sources."""
        budgets = {
            name: BudgetSettings(settings.source(name).budget, name in COUNTED_BY_SYMBOL) for name in sources
        }
        return cls(settings.quotes, budgets)

    @property
    def total_ms(self) -> int:
        """The longest pass, whatever deadline its caller gives."""
        return self.quotes.deadline_seconds * 1000

    @property
    def hop_ms(self) -> int:
        """The longest that one source is waited for; less where the others would have no time left."""
        return self.quotes.source_deadline_seconds * 1000

    def demands(self, asset_class: AssetClass) -> Demands:
        """Return what is demanded of quotes of a class."""
        wanted = self.quotes.of(asset_class)
        return Demands(wanted.order_age_seconds, wanted.value_age_seconds, frozenset(wanted.currencies))
