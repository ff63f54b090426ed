"""How each source writes symbols, by rule: what can be said without its list of assets.

A canonical symbol is a ticker as the exchange writes it (``SPY``, ``BRK.B``) or a coin and the currency it
is priced in, joined by a dash (``BTC-USD``).  Every function here is pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from adapters.symbols.directory import NotServed, Spelled
from adapters.symbols.inferred import infer_asset_class
from engine.model import AssetClass

CCXT: Final = "ccxt:"
"""Begins the name of each exchange behind ccxt: ``ccxt:kraken``."""

# No one of them ends another, so a joined pair (BTCUSDT) falls apart in one way only.
_PRICED_IN: Final = ("USDT", "USDC", "USD", "EUR", "GBP", "BTC", "ETH")
STAND_INS: Final = ("USDT", "USDC")
"""Coins that follow the dollar: an exchange without a dollar market is asked for these, in this order."""
_LONGEST_US_TICKER: Final = 5

_PLAIN_COIN: Final = re.compile("[A-Z]+")
_SHARE_CLASS: Final = re.compile(r"([A-Z0-9]+)\.([A-Z])")
_PREFERRED: Final = re.compile(r"([A-Z0-9]+)\.PR([A-Z])")
_YAHOO_SHARE_CLASS: Final = re.compile(r"([A-Z0-9]+)-([A-Z])")
_YAHOO_PREFERRED: Final = re.compile(r"([A-Z0-9]+)-P([A-Z])")

# Yahoo gives the plain name to the coin that had it first, and a number to the others: UNI-USD there
# is not Uniswap, and its price is another's.
_YAHOO_COINS: Final[Mapping[str, str]] = {
    "APT": "APT21794",
    "ARB": "ARB11841",
    "GRT": "GRT6719",
    "HYPE": "HYPE32196",
    "IMX": "IMX10603",
    "PEPE": "PEPE24478",
    "POL": "POL28321",
    "STX": "STX4847",
    "SUI": "SUI20947",
    "TAO": "TAO22974",
    "TON": "TON11419",
    "TRUMP": "TRUMP35336",
    "UNI": "UNI7083",
}
_COINS_OF_YAHOO: Final = {theirs: ours for ours, theirs in _YAHOO_COINS.items()}


@dataclass(frozen=True, slots=True)
class Notation:
    """A source's rule, both ways.

    ``write`` takes a canonical symbol and whether it is a coin.  ``read`` takes a text and whether it is
    one (None: not told) and returns None where the text names nothing that can be told.
    """

    write: Callable[[str, bool], Spelled | NotServed]
    read: Callable[[str, bool | None], str | None]


def notation_of(source: str) -> Notation:
    """Return a source's rule; ValueError for a name that is no source's."""
    if source.startswith(CCXT) and len(source) > len(CCXT):
        return _CCXT
    if source not in _NOTATIONS:
        raise ValueError(f"'{source}' is no source: {', '.join(_NOTATIONS)} or {CCXT}EXCHANGE")
    return _NOTATIONS[source]


def pair_of(symbol: str) -> tuple[str, str] | None:
    """Return (coin, currency) of a canonical pair, None where it is none."""
    coin, dash, currency = symbol.partition("-")
    return (coin, currency) if dash and coin and currency and "-" not in currency else None


# --- shares: what they have in common ---------------------------------------------------------


def _share(symbol: str) -> Spelled | NotServed:
    ticker, dash, share_class = symbol.partition("-")
    if dash:
        return NotServed(f"{symbol} is no ticker: a class of shares is written {ticker}.{share_class}")
    return Spelled(symbol)


def _read_share(text: str) -> str | None:
    """Return a ticker; what looks like a pair would be taken for a coin everywhere else."""
    return text if text and "-" not in text and "/" not in text and ":" not in text else None


def _coin(symbol: str) -> tuple[str, str] | NotServed:
    right = symbol.replace("/", "-") if "/" in symbol else f"{symbol}-USD"
    return pair_of(symbol) or NotServed(f"{symbol} is no coin with its currency: write {right}")


# --- BTC/USD ----------------------------------------------------------------------------------


def _write_slashed(symbol: str, is_coin: bool) -> Spelled | NotServed:
    if not is_coin:
        return _share(symbol)
    pair = _coin(symbol)
    return pair if isinstance(pair, NotServed) else Spelled("/".join(pair), pair[1])


def _read_slashed(text: str, is_coin: bool | None) -> str | None:
    coin, slash, currency = text.partition("/")
    if slash:
        return f"{coin}-{currency}" if is_coin is not False and coin and currency.isalnum() else None
    return _read_joined(text, is_coin)


def _write_alpaca(symbol: str, is_coin: bool) -> Spelled | NotServed:
    spelled = _write_slashed(symbol, is_coin)
    if is_coin and isinstance(spelled, Spelled) and not _PLAIN_COIN.fullmatch(spelled.text.replace("/", "")):
        # One such symbol would make Alpaca refuse the whole batch it stands in.
        return NotServed(f"Alpaca's data takes letters only in the names of coins, and {symbol} has others")
    return spelled


# --- BTCUSD -----------------------------------------------------------------------------------


def _write_joined(symbol: str, is_coin: bool) -> Spelled | NotServed:
    spelled = _write_slashed(symbol, is_coin)
    return spelled if isinstance(spelled, NotServed) else Spelled(joined(spelled.text), spelled.currency)


def joined(text: str) -> str:
    """Return a pair without its slash: ``BTCUSD`` of ``BTC/USD``."""
    return text.replace("/", "")


def _read_joined(text: str, is_coin: bool | None) -> str | None:
    if is_coin is None:
        # ETH, LINK and SOL are tickers, too; no ticker of the United States is as long as a pair.
        is_coin = text.isalnum() and len(text) > _LONGEST_US_TICKER and _split(text) is not None
    return _split(text) if is_coin else _read_share(text)


def _split(text: str) -> str | None:
    for currency in _PRICED_IN:
        coin = text.removesuffix(currency)
        if coin and coin != text:
            return f"{coin}-{currency}"
    return None


# --- BINANCE:BTCUSDT --------------------------------------------------------------------------

_BINANCE: Final = "BINANCE:"


def _write_finnhub(symbol: str, is_coin: bool) -> Spelled | NotServed:
    """Coins are asked for at Binance, whose dollar is USDT: such a price is flagged by its currency."""
    if not is_coin:
        return _share(symbol)
    pair = _coin(symbol)
    if isinstance(pair, NotServed):
        return pair
    coin, currency = pair
    if currency == "USD":
        currency = "USDT"
    if coin == currency:
        return NotServed(f"Finnhub's coins are priced in USDT, and {symbol} would be USDT in itself")
    if currency not in _PRICED_IN:
        return NotServed(f"Finnhub has no price of {coin} in {currency}")
    return Spelled(f"{_BINANCE}{coin}{currency}", currency)


def _read_finnhub(text: str, is_coin: bool | None) -> str | None:
    if not text.startswith(_BINANCE):
        return None if is_coin else _read_share(text)
    symbol = None if is_coin is False else _split(text.removeprefix(_BINANCE))
    return None if symbol is None else re.sub("-USDT$", "-USD", symbol)


# --- BTC-USD and BRK-B ------------------------------------------------------------------------


def _write_yahoo(symbol: str, is_coin: bool) -> Spelled | NotServed:
    if is_coin:
        pair = _coin(symbol)
        if isinstance(pair, NotServed):
            return pair
        coin, currency = pair
        if currency in STAND_INS:
            return NotServed(f"Yahoo prices coins in currencies of states, not in {currency}")
        return Spelled(f"{_YAHOO_COINS.get(coin, coin)}-{currency}", currency)
    share = _share(symbol)
    if isinstance(share, NotServed) or "." not in symbol:
        return share
    if match := _SHARE_CLASS.fullmatch(symbol):
        return Spelled(f"{match[1]}-{match[2]}")
    if match := _PREFERRED.fullmatch(symbol):
        return Spelled(f"{match[1]}-P{match[2]}")
    return NotServed(f"how Yahoo writes {symbol} is not known: classes of shares and preferred shares are")


def _read_yahoo(text: str, is_coin: bool | None) -> str | None:
    if is_coin is None:
        is_coin = infer_asset_class(text) is AssetClass.CRYPTO
    if is_coin:
        pair = pair_of(text)
        return None if pair is None else f"{_COINS_OF_YAHOO.get(pair[0], pair[0])}-{pair[1]}"
    if match := _YAHOO_SHARE_CLASS.fullmatch(text):
        return f"{match[1]}.{match[2]}"
    if match := _YAHOO_PREFERRED.fullmatch(text):
        return f"{match[1]}.PR{match[2]}"
    return _read_share(text)


# --- exchanges behind ccxt --------------------------------------------------------------------


def _write_ccxt(symbol: str, is_coin: bool) -> Spelled | NotServed:
    if not is_coin:
        return NotServed(f"an exchange of coins does not trade {symbol}")
    return _write_slashed(symbol, is_coin)


def _read_ccxt(text: str, is_coin: bool | None) -> str | None:
    """Read a market (``BTC/USD``), or a coin as balances name it (``BTC``): that one in dollars."""
    if is_coin is False:
        return None
    return _read_slashed(text, True) if "/" in text else f"{text}-USD"


# --- our own ----------------------------------------------------------------------------------


def _write_ours(symbol: str, is_coin: bool) -> Spelled | NotServed:
    pair = pair_of(symbol) if is_coin else None
    return Spelled(symbol, pair[1] if pair else "USD")


_CCXT: Final = Notation(_write_ccxt, _read_ccxt)
_OURS: Final = Notation(_write_ours, lambda text, _: text or None)
_ALPACA: Final = Notation(_write_alpaca, _read_slashed)
_NOTATIONS: Final[Mapping[str, Notation]] = {
    "alpaca": _ALPACA,
    "alpaca_stream": _ALPACA,
    "alpaca_positions": Notation(_write_joined, _read_joined),
    "finnhub": Notation(_write_finnhub, _read_finnhub),
    "twelvedata": Notation(_write_slashed, _read_slashed),
    "yahoo": Notation(_write_yahoo, _read_yahoo),
    "history": _OURS,
    "paper": _OURS,
}
