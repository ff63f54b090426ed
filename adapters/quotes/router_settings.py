"""What may be set about routing quotes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from adapters.quotes.backoff import BackoffSettings
from adapters.quotes.breaker import BreakerSettings
from adapters.quotes.budget import BudgetSettings, Rate
from adapters.quotes.judging import Demands
from adapters.quotes.quorum import Quorum
from engine.errors import ConfigurationError
from engine.model import AssetClass

USUAL_BUDGETS: Final[Mapping[str, BudgetSettings]] = {
    "alpaca": BudgetSettings((Rate(200, 60),)),
    "finnhub": BudgetSettings((Rate(30, 1), Rate(60, 60))),
    # The day's 800 are spread out, or they would be gone within its first hours.
    "twelvedata": BudgetSettings((Rate(8, 60), Rate(50, 5_400), Rate(800, 86_400)), per_symbol=True),
}
"""What the vendors allow without payment."""


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Ages in seconds, spans of a pass in milliseconds."""

    max_age_seconds: Mapping[AssetClass, int] = field(default_factory=dict)
    """How old a price may be to be traded on, by class."""
    usual_max_age_seconds: int = 60
    """The same, for classes that are not in ``max_age_seconds``."""
    valuing_max_age_seconds: int = 7 * 86_400
    """How old a stored close may be to value a position: longer than any holiday."""
    currencies: frozenset[str] = frozenset({"USD"})
    """Currencies taken for US dollars, one to one."""
    hop_ms: int = 1_500
    """The longest that one source is waited for; less where the others would have no time left."""
    total_ms: int = 5_000
    """The longest pass, whatever deadline its caller gives."""
    margin_ms: int = 50
    """How long before the deadline a pass stops waiting."""
    least_call_ms: int = 50
    """No call is begun with less time than this before its limit."""
    workers: int = 4
    """Threads for each source."""
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    backoff: BackoffSettings = field(default_factory=BackoffSettings)
    budgets: Mapping[str, BudgetSettings] = field(default_factory=lambda: USUAL_BUDGETS)
    quorum: Mapping[AssetClass, Quorum] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; ConfigurationError."""
        ages = (*self.max_age_seconds.values(), self.usual_max_age_seconds, self.valuing_max_age_seconds)
        if min(ages) <= 0:
            raise ConfigurationError("a quote's greatest age must be above 0 seconds")
        if not self.currencies:
            raise ConfigurationError("no currency is allowed: name USD at least")
        if not 0 < self.least_call_ms < self.hop_ms <= self.total_ms or self.margin_ms < 0:
            raise ConfigurationError(
                f"a source's time must be above {self.least_call_ms} ms and not above the pass's, "
                f"{self.total_ms} ms; it is {self.hop_ms} ms"
            )
        if self.workers < 1:
            raise ConfigurationError("a source needs 1 worker at least")

    def demands(self, asset_class: AssetClass) -> Demands:
        """Return what is demanded of quotes of a class."""
        return Demands(
            self.max_age_seconds.get(asset_class, self.usual_max_age_seconds),
            self.valuing_max_age_seconds,
            self.currencies,
        )
