"""The one symbol registry: requirement 22, fault 37, and what is true of every symbol and source."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.symbols.assets import Asset
from adapters.symbols.directory import NotServed, Spelled
from adapters.symbols.registry import Registry
from engine.language.policy import Listing
from engine.model import AssetClass
from engine.units import PRICE_SCALE, QUANTITY_SCALE
from tests.adapters.symbols.wrong_registry import AlwaysHopes, DashIsCrypto, SomeSymbols, TetherIsADollar
from tests.shared_data import shared_data

STOCK, COMMODITY, CRYPTO = AssetClass.STOCK, AssetClass.COMMODITY, AssetClass.CRYPTO
DAY_MS = 1_763_424_000_000  # 2025-11-18
SOURCES = ("alpaca", "alpaca_stream", "alpaca_positions", "finnhub", "twelvedata", "yahoo", "ccxt:kraken",
           "history", "paper")  # fmt: skip

# Alpaca's list as far as the tests need it: it has Ethan Allen and ether, and no Cardano.
ALPACA = (
    Asset("BTC/USD", "id-btc", CRYPTO, minimum_quantity=Decimal("0.00001"), price_step=Decimal("0.01")),
    Asset("ETH/USD", "id-ether", CRYPTO),
    Asset("DOGE/USD", "id-doge", CRYPTO),
    Asset("SHIB/USD", "id-shib", CRYPTO, price_step=Decimal("0.000000001")),
    Asset("USDT/USD", "id-usdt", CRYPTO),
    Asset("ETH", "id-ethan-allen", STOCK),
    Asset("BRK.B", "id-berkshire", STOCK, fractionable=False),
    Asset("GLD", "id-gold", STOCK),
    Asset("GONE", "id-gone", STOCK, tradable=False),
)
UNIVERSE = tuple(
    Listing(symbol, asset_class, calendar, None, True)
    for asset_class, calendar, symbols in (
        ("stock", "NYSE", "SPY ETH BRK.B"),
        ("commodity", "NYSE", "GLD"),
        ("crypto", "24/7", "BTC-USD ETH-USD ADA-USD DOGE-USD SHIB-USD USDT-USD"),
    )
    for symbol in symbols.split()
)


def check_requirement_22(empty: Registry) -> None:
    """One registry: every spelling, told apart by class and identifier, denied only where known.

    ``empty`` holds nothing yet.
    """
    table = {
        "BTC-USD": ("BTC/USD", "BTC/USD", "BTCUSD", "BINANCE:BTCUSDT", "BTC/USD", "BTC-USD"),
        "ADA-USD": ("ADA/USD", "ADA/USD", "ADAUSD", "BINANCE:ADAUSDT", "ADA/USD", "ADA-USD"),
        "SHIB-USD": ("SHIB/USD", "SHIB/USD", "SHIBUSD", "BINANCE:SHIBUSDT", "SHIB/USD", "SHIB-USD"),
        "SPY": ("SPY",) * 6,
        "GLD": ("GLD",) * 6,
        "ETH": ("ETH",) * 6,
        "BRK.B": ("BRK.B", "BRK.B", "BRK.B", "BRK.B", "BRK.B", "BRK-B"),
    }
    for symbol, texts in table.items():
        for source, text in zip(SOURCES, texts, strict=False):
            answer = empty.spelled(source, symbol)
            assert isinstance(answer, Spelled), f"{symbol} is denied at {source} and nobody was asked"
            assert answer.text == text, f"{symbol} is written {answer.text} at {source}"
            assert answer.currency == ("USDT" if ":" in text else "USD"), f"{source} prices {symbol}"
    assert empty.asset_class("BRK-B") is STOCK, "a dash does not mean crypto"
    assert isinstance(empty.spelled("finnhub", "USDT-USD"), NotServed)

    known = empty.refreshed("alpaca", ALPACA, DAY_MS)
    for source in ("alpaca", "alpaca_stream", "alpaca_positions"):
        denied = known.spelled(source, "ADA-USD")
        assert isinstance(denied, NotServed), "what the venue does not list is not asked for"
        assert "ADA-USD" in denied.reason and "2025-11-18" in denied.reason
        assert known.spelled(source, "ADA-USD") == denied, "for good"
    assert known.spelled("yahoo", "ADA-USD") == Spelled("ADA-USD"), "one venue speaks for itself only"
    assert known.canonical("alpaca_positions", "BTCUSD", CRYPTO) == "BTC-USD"
    assert known.canonical("alpaca_positions", "ETHUSD", CRYPTO, "id-ether") == "ETH-USD"
    assert known.canonical("alpaca_positions", "ETH", STOCK, "id-ethan-allen") == "ETH"
    assert known.canonical("alpaca_positions", "any text", None, "id-ether") == "ETH-USD"
    assert known.canonical("yahoo", "BRK-B", STOCK) == "BRK.B"

    listed = known.refreshed("alpaca", (*ALPACA, Asset("ADA/USD", "id-ada", CRYPTO)), DAY_MS)
    assert listed.spelled("alpaca", "ADA-USD") == Spelled("ADA/USD"), "until the list is read again"
    told = empty.not_served("finnhub", "SHIB-USD", "Finnhub does not know it", DAY_MS)
    assert told.spelled("finnhub", "SHIB-USD") == NotServed("Finnhub does not know it")
    assert isinstance(told.spelled("finnhub", "DOGE-USD"), Spelled)


@pytest.mark.requirement(22)
def test_requirement_22() -> None:
    """The registry has every spelling, asks where it does not know and denies where it does."""
    check_requirement_22(Registry())


@pytest.mark.requirement(22)
@pytest.mark.parametrize("wrong", [DashIsCrypto, SomeSymbols, AlwaysHopes, TetherIsADollar])
def test_requirement_22_finds_wrong_registries(wrong: type[Registry]) -> None:
    """Registries as they are often written fail the same check."""
    with pytest.raises(AssertionError):
        check_requirement_22(wrong())


@pytest.mark.parametrize(
    ("text", "asset_class", "venue_id", "symbol"),
    [
        ("BTCUSD", CRYPTO, "", "BTC-USD"),
        ("BTC/USD", CRYPTO, "", "BTC-USD"),
        ("BTCUSD", None, "", "BTC-USD"),
        ("LINKUSD", CRYPTO, "", "LINK-USD"),  # in no list and no universe
        ("LINK", STOCK, "", "LINK"),
        ("SOL", None, "", "SOL"),
        ("ETH", CRYPTO, "id-ether", "ETH-USD"),
        ("ETHUSD", STOCK, "id-ether", "ETH-USD"),  # the identifier goes first
        ("BRK.B", STOCK, "", "BRK.B"),
        ("META", STOCK, "id-gold", "GLD"),  # renamed since: the identifier still means the old asset
        ("ODD", CRYPTO, "", None),  # a coin in no currency we know: not told, never taken for a share
    ],
)
@pytest.mark.parametrize("universe", [(), UNIVERSE])
def test_fault_37(
    text: str,
    asset_class: AssetClass | None,
    venue_id: str,
    symbol: str | None,
    universe: tuple[Listing, ...],
) -> None:
    """BTC/USD in orders and BTCUSD in positions are one symbol; a share is never a coin (fault 37)."""
    registry = Registry.of(universe).refreshed("alpaca", ALPACA, DAY_MS)
    assert registry.canonical("alpaca_positions", text, asset_class, venue_id) == symbol


def test_a_list_speaks_only_of_what_it_holds() -> None:
    """A list of coins denies no share; an empty one denies nothing."""
    coins = [asset for asset in ALPACA if asset.asset_class is CRYPTO]
    assert Registry().refreshed("alpaca", coins, DAY_MS).spelled("alpaca", "SPY") == Spelled("SPY")
    assert Registry().refreshed("alpaca", (), DAY_MS).spelled("alpaca", "ADA-USD") == Spelled("ADA/USD")


def test_the_policys_word_on_class_goes_first() -> None:
    """The universe's class, then the venue's, then the form; a venue knows no commodity funds."""
    listing = Listing("GLD", "stock", "NYSE", None, True)
    assert Registry.of([listing]).asset_class("GLD") is STOCK
    assert Registry().refreshed("alpaca", ALPACA, DAY_MS).asset_class("GLD") is COMMODITY
    odd = Registry().refreshed("ccxt:kraken", [Asset("BTC/JPY", "", CRYPTO)], DAY_MS)
    assert Registry().asset_class("BTC-JPY") is STOCK
    assert odd.asset_class("BTC-JPY") is CRYPTO
    assert odd.spelled("ccxt:kraken", "BTC-JPY") == Spelled("BTC/JPY", "JPY")


def test_a_market_in_tether_stands_in_and_says_so() -> None:
    """Where an exchange has no dollar market its spelling is another's, flagged by the currency."""
    markets = [Asset("BTC/USDT", "", CRYPTO), Asset("ETH/USD", "", CRYPTO), Asset("ETH/USDT", "", CRYPTO)]
    registry = Registry.of(UNIVERSE).refreshed("ccxt:binance", markets, DAY_MS)
    assert registry.spelled("ccxt:binance", "BTC-USD") == Spelled("BTC/USDT", "USDT")
    assert registry.spelled("ccxt:binance", "ETH-USD") == Spelled("ETH/USD")
    assert isinstance(registry.spelled("ccxt:binance", "ADA-USD"), NotServed)
    assert isinstance(registry.spelled("ccxt:binance", "SPY"), NotServed)
    assert registry.canonical("ccxt:binance", "BTC/USDT", CRYPTO) == "BTC-USD"
    assert registry.canonical("ccxt:binance", "BTC", CRYPTO) == "BTC-USD"  # as balances name it


@pytest.mark.parametrize(
    ("symbol", "source", "expected"),
    [
        ("BRK-B", "alpaca", "BRK.B"),
        ("BTC/USD", "alpaca", "BTC-USD"),
        ("1INCH-USD", "alpaca", "letters only"),  # would spoil the whole batch
        ("SAP.DE", "yahoo", "not known"),
        ("BTC-USDT", "yahoo", "USDT"),
    ],
)
def test_what_cannot_be_asked_says_why(symbol: str, source: str, expected: str) -> None:
    """A symbol that a notation cannot hold is denied with what to write instead."""
    crypto = Listing(symbol, "crypto", "24/7", None, True)
    registry = Registry.of([crypto] if symbol == "BTC/USD" else [])
    answer = registry.spelled(source, symbol)
    assert isinstance(answer, NotServed) and expected in answer.reason


def test_yahoos_numbered_coins() -> None:
    """UNI-USD at Yahoo is another coin than Uniswap."""
    assert Registry().spelled("yahoo", "UNI-USD") == Spelled("UNI7083-USD")
    assert Registry().canonical("yahoo", "UNI7083-USD") == "UNI-USD"


def test_an_unknown_source_is_a_mistake() -> None:
    """A name that is no source's is refused, not guessed about."""
    for name in ("bloomberg", "ccxt:", ""):
        with pytest.raises(ValueError, match="no source"):
            Registry().spelled(name, "SPY")


# --- instruments ------------------------------------------------------------------------------


def test_instruments() -> None:
    """Steps and minimums are the venue's; what it does not tell is filled in; no list, no instrument."""
    registry = Registry.of(UNIVERSE)
    assert registry.instrument("BTC-USD") is None
    registry = registry.refreshed("alpaca", ALPACA, DAY_MS)
    bitcoin = registry.instrument("BTC-USD")
    assert bitcoin is not None
    assert (bitcoin.minimum_quantity, bitcoin.price_step) == (Decimal("0.00001"), Decimal("0.01"))
    assert (bitcoin.calendar, bitcoin.minimum_notional) == ("24/7", Decimal(10))
    berkshire = registry.instrument("BRK.B")
    assert berkshire is not None
    assert berkshire.quantity_step == berkshire.minimum_quantity == 1
    assert berkshire.minimum_notional == 0
    assert registry.instrument("ADA-USD") is None
    gold = registry.instrument("GLD")
    assert gold is not None and gold.asset_class is COMMODITY


def test_what_is_listed_and_not_tradable() -> None:
    """It can be quoted and not ordered, and that is said."""
    registry = Registry().refreshed("alpaca", ALPACA, DAY_MS)
    assert registry.spelled("alpaca", "GONE") == Spelled("GONE")
    assert isinstance(registry.tradable("alpaca", "GONE"), NotServed)
    assert registry.instrument("GONE") is None
    assert Registry().tradable("alpaca", "GONE") is None


def test_a_real_list_of_coins() -> None:
    """A real answer: a price step that is finer than prices here are counted in becomes countable."""
    body = json.loads(shared_data("fixtures", "alpaca", "assets_crypto_two.json").read_text())["body"]
    assets = [
        Asset(
            row["symbol"],
            row["id"],
            CRYPTO,
            minimum_quantity=Decimal(row["min_order_size"]),
            quantity_step=Decimal(row["min_trade_increment"]),
            price_step=Decimal(row["price_increment"]),
        )
        for row in body
    ]
    registry = Registry().refreshed("alpaca", assets, DAY_MS)
    doge = registry.instrument("DOGE-USDC")
    assert doge is not None
    assert (doge.price_step, doge.price_step_scaled, doge.price_steps_per_unit) == (
        Decimal("1e-8"),
        1,
        10**8,
    )
    assert doge.minimum_quantity == Decimal("9.337068160")
    assert registry.spelled("alpaca", "DOGE-USDC") == Spelled("DOGE/USDC", "USDC")


steps = st.one_of(
    st.none(),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.decimals(min_value=Decimal("1e-12"), max_value=1000, places=12),
)


@given(price=steps, quantity=steps, least=steps, notional=steps, fractionable=st.booleans())
def test_whatever_a_venue_says_can_be_counted(
    price: Decimal | None,
    quantity: Decimal | None,
    least: Decimal | None,
    notional: Decimal | None,
    fractionable: bool,
) -> None:
    """Steps are positive whole numbers of the engine's units, multiples of the venue's own."""
    asset = Asset("X", "", STOCK, "", True, fractionable, least, quantity, price, notional)
    instrument = Registry().refreshed("alpaca", [asset], DAY_MS).instrument("X")
    assert instrument is not None
    for step, told, scale in (
        (instrument.price_step, price, PRICE_SCALE),
        (instrument.quantity_step, quantity, QUANTITY_SCALE),
    ):
        assert step > 0 and step * scale == int(step * scale)
        if told is not None and told.is_finite() and Decimal("1e-12") <= told <= 1000:
            assert (step / told) % 1 == 0
    assert instrument.minimum_quantity >= instrument.quantity_step
    assert instrument.minimum_quantity % instrument.quantity_step == 0
    assert instrument.minimum_notional >= 0


# --- of every symbol --------------------------------------------------------------------------

coins = st.from_regex(r"[A-Z]{2,6}", fullmatch=True)
tickers = st.from_regex(r"[A-Z]{1,5}(\.([A-Z]|PR[A-Z]))?", fullmatch=True)
symbols = st.one_of(tickers, coins.map("{}-USD".format), coins.map("{}-USDT".format))
universes = st.lists(symbols, unique=True, max_size=6).map(
    lambda names: [
        Listing(name, "crypto" if "-" in name else "stock", "24/7" if "-" in name else "NYSE", None, True)
        for name in names
    ]
)


@given(st.sampled_from(SOURCES), symbols, universes, st.booleans())
def test_reading_undoes_writing(source: str, symbol: str, universe: list[Listing], refresh: bool) -> None:
    """What a source writes is read as the same symbol; of two that it writes alike, as one of them."""
    registry = Registry.of(universe)
    if refresh:
        registry = registry.refreshed("alpaca", ALPACA, DAY_MS)
    answer = registry.spelled(source, symbol)
    if isinstance(answer, NotServed):
        assert answer.reason
        return
    read = registry.canonical(source, answer.text, registry.asset_class(symbol))
    assert read is not None
    assert registry.spelled(source, read) == answer
    alike = source == "finnhub" and "-" in symbol
    assert read == symbol or (alike and read.partition("-")[0] == symbol.partition("-")[0])


@given(st.sampled_from(SOURCES), st.text(max_size=12), st.sampled_from([None, STOCK, COMMODITY, CRYPTO]))
def test_any_text_can_be_read(source: str, text: str, asset_class: AssetClass | None) -> None:
    """No text of a source makes it fall over; what it reads is of the class it was told."""
    registry = Registry.of(UNIVERSE).refreshed("alpaca", ALPACA, DAY_MS)
    read = registry.canonical(source, text, asset_class)
    if read is not None and asset_class is not None:
        assert (registry.asset_class(read) is CRYPTO) is (asset_class is CRYPTO)


@given(st.lists(symbols), st.sampled_from(SOURCES))
def test_a_registry_never_changes(learned: list[str], source: str) -> None:
    """Learning returns another registry and leaves the old one as it was."""
    first = Registry.of(UNIVERSE)
    before = [first.spelled(source, symbol) for symbol in learned]
    later = first.refreshed("alpaca", ALPACA, DAY_MS)
    for symbol in learned:
        later = later.not_served(source, symbol, "no", DAY_MS)
        assert isinstance(later.spelled(source, symbol), NotServed)
    assert [first.spelled(source, symbol) for symbol in learned] == before
