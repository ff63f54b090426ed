"""``tradectl stub``: servers on this machine that answer as the vendors do, with a market that moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

import click

from adapters.bootstrap.policies import DEFAULT_POLICY, load_named_policy
from adapters.cli.figures import laid_out, rows
from adapters.cli.output import ExitCode, Output, common_options
from adapters.cli.run import Stop, StoppedAtOnce
from adapters.clock import WallClock
from adapters.extras import require
from adapters.symbols.directory import Spelled
from adapters.symbols.inferred import ALWAYS_OPEN
from adapters.symbols.registry import Registry
from engine.errors import NotFoundError
from engine.model import AssetClass, Bar

if TYPE_CHECKING:
    from adapters.calendar import ExchangeCalendars
    from adapters.cli.stub_market import StubMarket, Tick
    from adapters.stubs.board import QuoteStub
    from adapters.stubs.faults import FaultPlan

SCHEMA: Final = "stub-v1"
_SECOND_MS: Final = 1000
_MINUTE_MS: Final = 60_000
_ALSO: Final = ("AAVE-USD", "SHIB-USD", "USDT-USD", "BRK.B")
"""Served beside what the policy trades: odd symbols, to be looked at."""

_EXCHANGE: Final = "ccxt:binanceus"
_NOT_AT_ALPACA: Final = frozenset({"ADA-USD"})
"""The real one does not list it either."""


class _Money(click.ParamType[Decimal]):
    """An amount of money above 0, exact."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Read it; a usage error where it is none."""
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            amount = Decimal(0)
        if not (amount.is_finite() and 0 < amount < 10**12):
            self.fail(f"{value!r} is no amount of money above 0.", param, ctx)
        return amount


@click.command
@click.argument("name", required=False)
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Where to listen [a free port].")
@click.option("--cash", type=_Money(), default="100000", show_default=True, help="The account's, in dollars.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the market.")
@click.option(
    "--faults",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Spoil this share of the requests, from 0 to 1, by chance [0].",
)
@click.option(
    "--policy",
    "policy_name",
    default=DEFAULT_POLICY,
    show_default=True,
    metavar="FILE|NAME",
    help="Serve what this policy trades.",
)
@common_options
def command(
    output: Output,
    name: str | None,
    port: int,
    cash: Decimal,
    seed: int,
    faults: float,
    policy_name: str,
) -> ExitCode:
    """Serve a local stand-in of a vendor until Ctrl-C; without NAME, list them.

    It listens on this machine only, needs no account and trades no money.  Its market is simulated: the same
    seed makes the same prices.  Point an agent at it with what it prints.
    """
    if name is None:
        _list(output)
        return ExitCode.OK
    if name not in STUBS:
        raise NotFoundError(f"there is no stub '{name}'; there are {', '.join(STUBS)}")
    require("aiohttp", "stub")
    from adapters.calendar import ExchangeCalendars
    from adapters.cli.stub_market import StubMarket

    clock, calendar, stop = WallClock(), ExchangeCalendars(), Stop()
    policy = load_named_policy(policy_name).required()
    symbols = tuple(dict.fromkeys((*(listing.symbol for listing in policy.universe), *_ALSO)))
    market = StubMarket(symbols, seed, calendar, clock)
    with stop.listening():
        try:
            stop.politely(clock.interrupt)
            served = STUBS[name].opened(_Wishes(port, cash, seed, faults), symbols, market, calendar, clock)
            try:
                _move(served, market, None)
                _tell(output, name, served)
                _serve(served, market, clock, stop)
            finally:
                served.close()
        except StoppedAtOnce as stopped:
            return stopped.code
    return stop.code


def _serve(served: _Served, market: StubMarket, clock: WallClock, stop: Stop) -> None:
    """Move the market each second, until asked to stop."""
    now_ms = clock.now_utc_ms()
    while not stop.asked:
        last_ms, now_ms = now_ms, now_ms - now_ms % _SECOND_MS + _SECOND_MS
        clock.sleep_until(now_ms)
        now_ms = max(now_ms, clock.now_utc_ms())
        _move(served, market, None if now_ms // _MINUTE_MS == last_ms // _MINUTE_MS else now_ms)


def _move(served: _Served, market: StubMarket, minute_ended_ms: int | None) -> None:
    for tick in market.ticks():
        served.quote(tick)
        if minute_ended_ms is not None:
            opened_ms = minute_ended_ms - minute_ended_ms % _MINUTE_MS - _MINUTE_MS
            for bar in market.bars(tick.symbol, 60, opened_ms, opened_ms):
                served.bar(tick.symbol, bar)


# --- the stubs ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What was asked for on the command line."""

    port: int
    cash: Decimal
    seed: int
    faults: float

    @property
    def plan(self) -> FaultPlan:
        """The faults that requests meet."""
        from adapters.stubs.faults import NoFaults, Seeded

        return Seeded(self.seed, self.faults) if self.faults else NoFaults()


@dataclass(frozen=True, slots=True)
class _Served:
    """A stub that is up: where it is, how an agent is pointed at it, and how its market is moved."""

    addresses: Mapping[str, str]
    environment: Mapping[str, str]
    settings: str
    quote: Callable[[Tick], None]
    close: Callable[[], None]
    bar: Callable[[str, Bar], None] = lambda symbol, bar: None


_Opened = Callable[[_Wishes, Sequence[str], "StubMarket", "ExchangeCalendars", WallClock], _Served]


@dataclass(frozen=True, slots=True)
class _Stub:
    """One vendor's stand-in: its line in the list, and how it is opened."""

    line: str
    opened: _Opened


def _alpaca(
    wishes: _Wishes,
    symbols: Sequence[str],
    market: StubMarket,
    calendar: ExchangeCalendars,
    clock: WallClock,
) -> _Served:
    from adapters.stubs.alpaca import DEFAULT_ASSETS, AlpacaStub, crypto, stock

    registry = Registry()
    listed = [symbol for symbol in symbols if symbol not in _NOT_AT_ALPACA]
    spelled = {symbol: _spelled(registry, "alpaca", symbol) for symbol in listed}
    known = {text: symbol for symbol, text in spelled.items() if text is not None}
    stub = AlpacaStub(
        clock=clock,
        port=wishes.port,
        cash=wishes.cash,
        calendar=calendar,
        assets=[
            crypto(text) if registry.asset_class(symbol) is AssetClass.CRYPTO else stock(text)
            for text, symbol in known.items()
            if text not in {asset.symbol for asset in DEFAULT_ASSETS}
        ],
    )
    stub.plan = wishes.plan

    def history(symbol: str, interval_seconds: int, start_ms: int, end_ms: int) -> Sequence[Bar]:
        ours = known.get(symbol)
        return [] if ours is None else market.bars(ours, interval_seconds, start_ms, end_ms)

    def quote(tick: Tick) -> None:
        text = spelled.get(tick.symbol)
        if text is not None:
            stub.venue.set_quote(text, tick.bid, tick.ask, at_ms=tick.at_ms)

    def bar(symbol: str, told: Bar) -> None:
        text = spelled.get(symbol)
        if text is not None:
            stub.venue.tell_bar(text, told)

    stub.venue.prices.history = history
    return _Served(
        {
            "url": stub.url,
            "data_url": stub.data_url,
            "stream_url": stub.stream_url,
            "stock_stream_url": stub.stock_stream_url,
            "crypto_stream_url": stub.crypto_stream_url,
        },
        {"APCA_API_KEY_ID": stub.key_id, "APCA_API_SECRET_KEY": stub.secret},
        f"broker: {{name: alpaca, url: {stub.url}}}\n" + _only("alpaca", stub.data_url),
        quote,
        stub.close,
        bar,
    )


def _board(source: str, variable: str, make: Callable[[int, str], QuoteStub]) -> _Opened:
    """Return how a vendor of quotes alone is opened."""

    def opened(
        wishes: _Wishes,
        symbols: Sequence[str],
        market: StubMarket,
        calendar: ExchangeCalendars,
        clock: WallClock,
    ) -> _Served:
        key = f"stub-{source}-key"
        stub = make(wishes.port, key)
        stub.plan = wishes.plan
        registry = Registry()

        def quote(tick: Tick) -> None:
            text = _spelled(registry, source, tick.symbol)
            if text is not None:
                stub.set_price(text, tick.bid, tick.at_ms)

        return _Served({"url": stub.url}, {variable: key}, _only(source, stub.url), quote, stub.close)

    return opened


def _exchange(
    wishes: _Wishes,
    symbols: Sequence[str],
    market: StubMarket,
    calendar: ExchangeCalendars,
    clock: WallClock,
) -> _Served:
    """Open an exchange of coins: Binance's interface, a fee of 0.1 % out of what a trade brings."""
    from adapters.quotes.simulated import simulated_instrument
    from adapters.stubs.exchange import KEY, PAIRS, SECRET, ExchangeStub, Pair

    registry = Registry()
    known = {pair.name: pair for pair in PAIRS}
    names: dict[str, str] = {}
    for symbol in symbols:
        text = _spelled(registry, _EXCHANGE, symbol)
        base, _, money = (text or "").partition("/")
        if money == "USD":
            tick = Decimal(simulated_instrument(symbol, wishes.seed).price_step)
            pair = known.setdefault(base + money, Pair(base, tick=tick))
            names[pair.name] = symbol
    stub = ExchangeStub(
        port=wishes.port,
        pairs=[known[name] for name in names],
        balances={"USD": wishes.cash},
        fee_rate=Decimal("0.001"),
        now_ms=clock.now_utc_ms,
    )
    stub.plan = wishes.plan

    def history(name: str, interval_seconds: int, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return market.bars(names[name], interval_seconds, start_ms, end_ms, untraded=True)

    stub.history = history
    by_symbol = {symbol: known[name] for name, symbol in names.items()}

    def quote(tick: Tick) -> None:
        pair = by_symbol.get(tick.symbol)
        if pair is not None:
            bid = tick.bid.quantize(pair.tick)
            stub.set_quote(pair.name, bid, max(bid + pair.tick, tick.ask.quantize(pair.tick)))

    broker = f"broker: {{name: '{_EXCHANGE}', url: {stub.url}, fee: 0.1%}}\n"
    return _Served(
        {"url": stub.url},
        {"CCXT_BINANCEUS_KEY": KEY, "CCXT_BINANCEUS_SECRET": SECRET},
        broker + _only(_EXCHANGE, stub.url),
        quote,
        stub.close,
    )


def _yahoo(
    wishes: _Wishes,
    symbols: Sequence[str],
    market: StubMarket,
    calendar: ExchangeCalendars,
    clock: WallClock,
) -> _Served:
    from adapters.stubs.yahoo import YahooStub

    registry = Registry()
    spelled = {symbol: _spelled(registry, "yahoo", symbol) for symbol in symbols}
    known = {text: symbol for symbol, text in spelled.items() if text is not None}
    stub = YahooStub(port=wishes.port)
    stub.plan = wishes.plan

    def history(text: str, interval: str, start_ms: int, end_ms: int) -> tuple[str, Sequence[Bar]] | None:
        from adapters.bars.reading import interval_seconds_of

        symbol, seconds = known.get(text), interval_seconds_of(interval)
        if symbol is None or not seconds:
            return None
        zone = "UTC" if market.calendar(symbol) == ALWAYS_OPEN else "America/New_York"
        return zone, market.bars(symbol, seconds, start_ms, end_ms, untraded=True)

    stub.history = history

    def quote(tick: Tick) -> None:
        text = spelled.get(tick.symbol)
        if text is not None:
            stub.set_price(text, tick.bid, tick.at_ms)

    return _Served(
        {"url": stub.proxy_url},
        {},
        _only("yahoo", stub.proxy_url, f", certificate: '{stub.certificate}'"),
        quote,
        stub.close,
    )


def _finnhub(port: int, key: str) -> QuoteStub:
    from adapters.stubs.finnhub import FinnhubStub

    return FinnhubStub(port=port, key=key)


def _twelvedata(port: int, key: str) -> QuoteStub:
    from adapters.stubs.twelvedata import TwelveDataStub

    return TwelveDataStub(port=port, key=key)


STUBS: Final[Mapping[str, _Stub]] = {
    "alpaca": _Stub("Alpaca: an account, orders, quotes, bars and streams.", _alpaca),
    "exchange": _Stub("Binance US through ccxt: an account, orders, quotes and bars.", _exchange),
    "finnhub": _Stub("Finnhub: quotes.", _board("finnhub", "FINNHUB_API_KEY", _finnhub)),
    "twelvedata": _Stub("Twelve Data: quotes.", _board("twelvedata", "TWELVEDATA_API_KEY", _twelvedata)),
    "yahoo": _Stub("Yahoo: quotes and bars, behind a proxy with a certificate of its own.", _yahoo),
}
"""Every stub by name."""


def _spelled(registry: Registry, source: str, symbol: str) -> str | None:
    found = registry.spelled(source, symbol)
    return found.text if isinstance(found, Spelled) else None


def _only(source: str, url: str, more: str = "") -> str:
    """Return the settings under which one source is asked, and no other."""
    name = f"'{source}'" if ":" in source else source
    classes = ", ".join(f"{one.value}: {{sources: [{name}]}}" for one in AssetClass)
    return f"quotes: {{{classes}}}\nsources: {{{name}: {{url: {url}{more}}}}}\n"


# --- what is told ------------------------------------------------------------------------------


def _list(output: Output) -> None:
    if output.as_json:
        stubs = [{"name": name, "line": stub.line} for name, stub in STUBS.items()]
        output.document({"schema": SCHEMA, "stubs": stubs})
    else:
        output.show("\n".join(laid_out([(name, stub.line) for name, stub in STUBS.items()])))


def _tell(output: Output, name: str, served: _Served) -> None:
    settings = f"apiVersion: tradectl-config/v1\n{served.settings}"
    if output.as_json:
        output.document(
            {
                "schema": SCHEMA,
                "name": name,
                "addresses": dict(served.addresses),
                "environment": dict(served.environment),
                "settings": settings,
            }
        )
    else:
        output.show("\n".join(_lines(name, served, settings)))


def _lines(name: str, served: _Served, settings: str) -> Iterator[str]:
    yield from rows("stub", [f"{name}   on this machine only, until Ctrl-C"])
    yield from rows("at", laid_out([*served.addresses.items()]))
    yield ""
    if served.environment:
        yield "To point an agent at it, in its environment:"
        yield from (f"  export {variable}={value}" for variable, value in served.environment.items())
        yield "and in its settings (TRADECTL_CONFIG, or --config FILE):"
    else:
        yield "To point an agent at it, in its settings (TRADECTL_CONFIG, or --config FILE):"
    yield from (f"  {line}" for line in settings.splitlines())
