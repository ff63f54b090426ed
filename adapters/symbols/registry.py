"""The one symbol registry: what a symbol is, and how each source writes it.

Three kinds of knowledge, the surest first: what a venue's own list of assets says, what a source answered
when it was asked, and what follows from the form of a symbol (``adapters.symbols.notation``).  Before a
venue's list was read nothing is denied: an unknown symbol is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Final, Protocol

from adapters.symbols.assets import Asset
from adapters.symbols.directory import NotServed, Spelled
from adapters.symbols.inferred import ALWAYS_OPEN, infer_asset_class
from adapters.symbols.notation import CCXT, STAND_INS, joined, notation_of, pair_of
from engine.model import AssetClass, Instrument
from engine.units import PRICE_SCALE, QUANTITY_SCALE, ceil_to

ALPACA: Final = "alpaca"
_ONE_LIST: Final[Mapping[str, str]] = {"alpaca_stream": ALPACA, "alpaca_positions": ALPACA}
"""Sources that are other doors of a venue: its list speaks for them."""

_CENT: Final = Decimal("0.01")
_FRACTION_OF_A_SHARE: Final = Decimal("1e-9")
_LEAST, _MOST = Decimal("1e-18"), Decimal("1e12")
_LEAST_ORDER: Final[Mapping[bool, Decimal]] = {True: Decimal(10), False: Decimal(1)}
"""Alpaca's floors in US dollars: of an order for a coin, and of one for a fraction of a share."""


class Listed(Protocol):
    """A symbol of a policy's universe."""

    @property
    def symbol(self) -> str:
        """The canonical symbol."""

    @property
    def asset_class(self) -> str:
        """The class that the policy puts it in."""

    @property
    def calendar(self) -> str:
        """The calendar that the policy trades it by."""


@dataclass(frozen=True, slots=True)
class VenueList:
    """A venue's list of assets, and its indexes.  ``kinds``: whether it has coins (True), shares (False).

    A list without a single share says nothing about shares: it may have been asked for coins only.
    """

    at_ms: int
    rows: tuple[Asset, ...]  # as the venue listed them
    assets: Mapping[str, Asset]  # by canonical symbol
    symbols: Mapping[tuple[bool, str], str]  # by kind and the venue's text, with and without the slash
    identifiers: Mapping[str, str]  # canonical symbols by the venue's identifier
    kinds: frozenset[bool]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A symbol that a source was asked for and does not serve."""

    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Registry:
    """What is known of symbols, as one immutable value; implements ``SymbolDirectory``.

    ``universe`` is the policy's word on class and calendar, which goes before any venue's.
    """

    universe: Mapping[str, Listed] = field(default_factory=dict)
    lists: Mapping[str, VenueList] = field(default_factory=dict)
    refusals: Mapping[tuple[str, str], Refusal] = field(default_factory=dict)  # by source and symbol
    _written: dict[str, dict[tuple[bool, str], str]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )  # the universe by source, kind and text: made when it is first asked for

    @classmethod
    def of(cls, universe: Iterable[Listed]) -> Registry:
        """Return what a policy's universe alone says."""
        return cls(MappingProxyType({listing.symbol: listing for listing in universe}))

    # --- what a symbol is ---------------------------------------------------------------------

    def asset_class(self, symbol: str) -> AssetClass:
        """Return the class of a canonical symbol: the policy's word, a venue's, or by its form."""
        if symbol in self.universe:
            return AssetClass(self.universe[symbol].asset_class)
        inferred = infer_asset_class(symbol)
        for venue in self.lists.values():
            if symbol in venue.assets:
                told = venue.assets[symbol].asset_class
                # To a venue a commodity fund is a share like any other: it does not contradict.
                return told if (told, inferred) != (AssetClass.STOCK, AssetClass.COMMODITY) else inferred
        return inferred

    def calendar(self, symbol: str) -> str:
        """Return the calendar that a canonical symbol trades by."""
        if symbol in self.universe:
            return self.universe[symbol].calendar
        return ALWAYS_OPEN if self._is_coin(symbol) else "NYSE"

    def _is_coin(self, symbol: str) -> bool:
        return self.asset_class(symbol) is AssetClass.CRYPTO

    # --- how sources write it -----------------------------------------------------------------

    def spelled(self, source: str, symbol: str) -> Spelled | NotServed:
        """Return how a source writes a canonical symbol, or why it does not serve it.

        The currency is the one that prices come in there: where an exchange has no dollar market the
        spelling is that of a coin that follows the dollar, and says so.  ValueError for an unknown source.
        """
        plain = notation_of(source).write(symbol, self._is_coin(symbol))
        refusal = self.refusals.get((source, symbol))
        if isinstance(plain, NotServed):
            return plain
        if refusal is not None:
            return NotServed(refusal.reason)
        asset = self._listed(source, symbol)
        if asset is None:
            return plain
        if isinstance(asset, NotServed):
            return asset
        text = joined(asset.text) if source == "alpaca_positions" else asset.text
        return Spelled(text, _currency(asset))

    def canonical(
        self, source: str, text: str, asset_class: AssetClass | None = None, venue_id: str = ""
    ) -> str | None:
        """Return the canonical symbol of a text of a source; None where that cannot be told.

        The venue's identifier goes first, then its list, then the policy's universe, then the rule of its
        notation.  Without a class a bare ``ETH`` is the share.  Two symbols may be written alike (Finnhub
        prices BTC-USD in USDT): then the universe's is meant, else the one in dollars.
        """
        venue = self.lists.get(_venue(source))
        if venue is not None and venue_id in venue.identifiers:
            return venue.identifiers[venue_id]
        is_coin = None if asset_class is None else asset_class is AssetClass.CRYPTO
        kinds = (False, True) if is_coin is None else (is_coin,)
        plain = notation_of(source).read(text, is_coin)
        if plain is not None and plain in self.universe and self._is_coin(plain) in kinds:
            return plain
        known = (self._universe_as_written(source), {} if venue is None else venue.symbols)
        for symbols in known:
            for kind in kinds:
                if (kind, text) in symbols:
                    return symbols[kind, text]
        return plain if plain is not None and self._is_coin(plain) in kinds else None

    def _universe_as_written(self, source: str) -> Mapping[tuple[bool, str], str]:
        if source not in self._written:
            written: dict[tuple[bool, str], str] = {}
            for symbol in self.universe:
                spelled = self.spelled(source, symbol)
                if isinstance(spelled, Spelled):
                    written.setdefault((self._is_coin(symbol), spelled.text), symbol)
            self._written[source] = written
        return self._written[source]

    # --- what a venue trades ------------------------------------------------------------------

    def tradable(self, source: str, symbol: str) -> Asset | NotServed | None:
        """Return the asset that orders for a symbol are for, or why there is none; None: not known yet."""
        asset = self._listed(source, symbol)
        if isinstance(asset, Asset) and not asset.tradable:
            return NotServed(f"{symbol} is listed by {source} and cannot be traded there")
        return asset

    def instrument(self, symbol: str, source: str = ALPACA) -> Instrument | None:
        """Return a venue's steps and minimums of a symbol; None where its list does not say it trades it.

        Steps are multiples of the venue's that can be counted in whole units of ``engine.units``; a
        minimum is a whole number of steps.  What the venue does not tell is a cent, a thousand-millionth
        of a unit (a whole one where it knows no fractions), 10 dollars for coins and 1 for other fractions.
        """
        asset = self.tradable(source, symbol)
        if not isinstance(asset, Asset):
            return None
        is_coin = asset.asset_class is AssetClass.CRYPTO
        smallest = _FRACTION_OF_A_SHARE if asset.fractionable else Decimal(1)
        quantity_step = _countable(_known(asset.quantity_step) or smallest, QUANTITY_SCALE)
        least = _known(asset.minimum_quantity) or quantity_step
        floor = _LEAST_ORDER[is_coin] if is_coin or asset.fractionable else Decimal(0)
        told = asset.minimum_notional
        return Instrument(
            symbol=symbol,
            asset_class=self.asset_class(symbol),
            calendar=self.calendar(symbol),
            price_step=_countable(_known(asset.price_step) or _CENT, PRICE_SCALE),
            quantity_step=quantity_step,
            minimum_quantity=ceil_to(least, quantity_step),
            minimum_notional=told if told is not None and told.is_finite() and told >= 0 else floor,
        )

    def _listed(self, source: str, symbol: str) -> Asset | NotServed | None:
        """Return a symbol's row of the list that speaks for a source; None where none speaks."""
        venue = self.lists.get(_venue(source))
        is_coin = self._is_coin(symbol)
        if venue is None or is_coin not in venue.kinds:
            return None
        pair = pair_of(symbol) if is_coin and source.startswith(CCXT) else None
        names = [symbol]
        if pair is not None and pair[1] == "USD":
            names += [f"{pair[0]}-{coin}" for coin in STAND_INS if coin != pair[0]]
        for name in names:
            asset = venue.assets.get(name)
            if asset is not None and (asset.asset_class is AssetClass.CRYPTO) is is_coin:
                return asset
        day = datetime.fromtimestamp(venue.at_ms / 1000, UTC).date()
        return NotServed(f"{symbol} is not in the list of assets of {_venue(source)} of {day}")

    # --- learning -----------------------------------------------------------------------------

    def refreshed_ms(self, source: str) -> int | None:
        """Return when the list that speaks for a source was read; None where it was not."""
        venue = self.lists.get(_venue(source))
        return None if venue is None else venue.at_ms

    def refreshed(self, source: str, assets: Iterable[Asset], at_ms: int) -> Registry:
        """Return a registry with a venue's list of now; what its sources once refused is forgotten."""
        venue = _venue(source)
        lists = {**self.lists, venue: _indexed(venue, assets, at_ms)}
        refusals = {key: refusal for key, refusal in self.refusals.items() if _venue(key[0]) != venue}
        return replace(self, lists=MappingProxyType(lists), refusals=MappingProxyType(refusals))

    def not_served(self, source: str, symbol: str, reason: str, at_ms: int) -> Registry:
        """Return a registry that knows that a source was asked for a symbol and does not serve it."""
        notation_of(source)
        refusals = {**self.refusals, (source, symbol): Refusal(reason, at_ms)}
        return replace(self, refusals=MappingProxyType(refusals))


def _venue(source: str) -> str:
    return _ONE_LIST.get(source, source)


def _currency(asset: Asset) -> str:
    _, slash, currency = asset.text.partition("/")
    return currency if slash else asset.currency


def _indexed(venue: str, assets: Iterable[Asset], at_ms: int) -> VenueList:
    notation = notation_of(venue)
    rows = tuple(assets)
    by_symbol: dict[str, Asset] = {}
    by_text: dict[tuple[bool, str], str] = {}
    by_id: dict[str, str] = {}
    for asset in rows:
        is_coin = asset.asset_class is AssetClass.CRYPTO
        symbol = notation.read(asset.text, is_coin)
        looks_like_coin = symbol is not None and infer_asset_class(symbol) is AssetClass.CRYPTO
        if symbol is None or (looks_like_coin and not is_coin):
            continue  # a row that no canonical symbol can name is of no use to a policy
        if asset.venue_id:
            by_id[asset.venue_id] = symbol
        if symbol in by_symbol and not asset.tradable:
            continue  # a name that was given again: the old bearer is still listed
        by_symbol[symbol] = asset
        by_text[is_coin, asset.text] = by_text[is_coin, joined(asset.text)] = symbol
    kinds = frozenset(asset.asset_class is AssetClass.CRYPTO for asset in by_symbol.values())
    return VenueList(at_ms, rows, by_symbol, by_text, by_id, kinds)


def _known(value: Decimal | None) -> Decimal | None:
    """Return what a venue told, None where no order could be counted in it."""
    return value if value is not None and value.is_finite() and _LEAST <= value <= _MOST else None


def _countable(step: Decimal, scale: int) -> Decimal:
    """Return the smallest multiple of a step that is a whole number of 1 / ``scale``."""
    return Decimal((Fraction(step) * scale).numerator) / scale
