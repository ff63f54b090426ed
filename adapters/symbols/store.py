"""The symbol registry on disk: one JSON file in the state folder, so that a restart asks nobody again.

The file is a copy of what venues said and can be had again: one that is damaged or of another version is
begun anew, and a disk that takes nothing leaves the registry in memory.  Both are told in ``notes``.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from adapters.symbols.assets import Asset
from adapters.symbols.directory import NotServed, Spelled
from adapters.symbols.registry import Listed, Registry
from engine.model import AssetClass

FILE: Final = "symbols.json"
STALE_AFTER_DAYS: Final = 7
_VERSION: Final = 1
_DAY_MS: Final = 86_400_000
_LATEST_MS: Final = 253_402_300_799_999  # the last of the year 9999
_EXACT: Final = ("minimum_quantity", "quantity_step", "price_step", "minimum_notional")


class SymbolStore:
    """The registry that is in force, and its file.  Implements ``SymbolDirectory``; safe in threads.

    ``notes`` says what a person should know of the file, a sentence each.
    """

    def __init__(
        self,
        path: Path,
        universe: Iterable[Listed] = (),
        *,
        now_ms: int,
        stale_after_days: int = STALE_AFTER_DAYS,
    ) -> None:
        """Read the file, if there is one.

        What sources once refused is forgotten after ``stale_after_days``, so that it is asked again.
        """
        self.path = path
        self.notes: list[str] = []
        self._stale_after_ms = stale_after_days * _DAY_MS
        self._lock = threading.Lock()
        self._registry = self._read(Registry.of(universe), now_ms)

    @property
    def registry(self) -> Registry:
        """The registry in force now."""
        return self._registry

    def spelled(self, source: str, symbol: str) -> Spelled | NotServed:
        """Return how a source writes a canonical symbol, or why it does not serve it."""
        return self._registry.spelled(source, symbol)

    def asset_class(self, symbol: str) -> AssetClass:
        """Return the class of a canonical symbol."""
        return self._registry.asset_class(symbol)

    def is_stale(self, source: str, now_ms: int) -> bool:
        """Say whether a venue should be asked for its list of assets (again)."""
        at_ms = self._registry.refreshed_ms(source)
        return at_ms is None or not 0 <= now_ms - at_ms < self._stale_after_ms

    def refresh(self, source: str, assets: Iterable[Asset], at_ms: int) -> None:
        """Put a venue's list of now in force, and keep it."""
        with self._lock:
            self._registry = self._registry.refreshed(source, assets, at_ms)
            self._write()

    def learn(self, source: str, reasons: Mapping[str, str], at_ms: int) -> None:
        """Put in force, and keep, which symbols a source was asked for and does not serve, and why."""
        with self._lock:
            for symbol, reason in reasons.items():
                self._registry = self._registry.not_served(source, symbol, reason, at_ms)
            self._write()

    # --- the file -----------------------------------------------------------------------------

    def _read(self, registry: Registry, now_ms: int) -> Registry:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return registry
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            return self._begun_anew(registry, f"cannot be read ({why})")
        try:
            kept = json.loads(text)
            version = kept["version"]
            if version != _VERSION:
                return self._begun_anew(registry, f"is of version {version!r:.20}, and {_VERSION} is read")
            for source, venue in kept["venues"].items():
                assets = [_asset(row) for row in venue["assets"]]
                registry = registry.refreshed(source, assets, _instant(venue["at_ms"]))
            for source, symbol, reason, at_ms in kept["refusals"]:
                if 0 <= now_ms - _instant(at_ms) < self._stale_after_ms:
                    registry = registry.not_served(source, symbol, str(reason), _instant(at_ms))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InvalidOperation):
            return self._begun_anew(Registry(registry.universe), "is damaged")
        return registry

    def _begun_anew(self, registry: Registry, why: str) -> Registry:
        self.notes.append(f"{self.path} {why}: the symbol registry is begun anew")
        return registry

    def _write(self) -> None:
        unfinished = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self.path.parent, prefix=f".{FILE}.", delete=False
            ) as file:
                unfinished = Path(file.name)
                json.dump(_document(self._registry), file, separators=(",", ":"))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.path)
        except OSError as error:
            if unfinished is not None:
                with contextlib.suppress(OSError):
                    unfinished.unlink(missing_ok=True)
            note = f"{self.path} cannot be written ({error.strerror}): the symbol registry is in memory only"
            if note not in self.notes:
                self.notes.append(note)


def _document(registry: Registry) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "venues": {
            source: {"at_ms": venue.at_ms, "assets": [_row(asset) for asset in venue.rows]}
            for source, venue in registry.lists.items()
        },
        "refusals": [
            [source, symbol, refusal.reason, refusal.at_ms]
            for (source, symbol), refusal in registry.refusals.items()
        ],
    }


def _row(asset: Asset) -> dict[str, Any]:
    """Return what of an asset is not the default; exact numbers as text."""
    row: dict[str, Any] = {"text": asset.text, "class": asset.asset_class.value, "id": asset.venue_id}
    row |= {name: str(value) for name in _EXACT if (value := getattr(asset, name)) is not None}
    if asset.name:
        row["name"] = asset.name
    if asset.currency != "USD":
        row["currency"] = asset.currency
    row |= {name: False for name in ("tradable", "fractionable") if not getattr(asset, name)}
    return row


def _instant(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LATEST_MS:
        raise ValueError("no instant")
    return value


def _asset(row: Mapping[str, Any]) -> Asset:
    exact = {name: Decimal(row[name]) for name in _EXACT if name in row}
    return Asset(
        str(row["text"]),
        str(row["id"]),
        AssetClass(row["class"]),
        name=str(row.get("name", "")),
        tradable=row.get("tradable", True) is True,
        fractionable=row.get("fractionable", True) is True,
        currency=str(row.get("currency", "USD")),
        **exact,
    )
