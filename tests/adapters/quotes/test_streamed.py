"""Alpaca's streams as a source, through the real alpaca-py, against the local Alpaca's websockets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from decimal import Decimal

import pytest

from adapters.clock import WallClock
from adapters.quotes.source import Answer, Miss, Outcome, SourceFailedError, SourceQuote
from adapters.quotes.streamed import StreamedSource
from adapters.stubs.alpaca import AlpacaStub
from adapters.vendors.alpaca import AlpacaAccess
from adapters.vendors.alpaca_stream import QuoteStream, StreamState
from engine.errors import ConfigurationError
from engine.model import AssetClass, QuoteKind
from tests.contracts.quote_fetch import SENTINEL

BTC = "BTC/USD"
_PATIENCE_SECONDS = 15.0


class _Hand:
    """A clock whose monotonic part is moved by hand."""

    def __init__(self) -> None:
        self.moved_seconds = 0

    def now_utc_ms(self) -> int:
        return WallClock().now_utc_ms()

    def monotonic_ns(self) -> int:
        return WallClock().monotonic_ns() + self.moved_seconds * 1_000_000_000

    def sleep_until(self, at_ms: int) -> None:
        raise AssertionError("nothing here sleeps")


@pytest.fixture
def stub() -> Iterator[AlpacaStub]:
    """Return the local Alpaca."""
    with AlpacaStub(clock=WallClock(), secret=SENTINEL) as served:
        yield served


@pytest.fixture
def access(stub: AlpacaStub) -> AlpacaAccess:
    """Return the way to it."""
    return AlpacaAccess(stub.key_id, stub.secret, trading_url=stub.url, data_url=stub.data_url)


@pytest.fixture
def clock() -> _Hand:
    """Return a clock to move."""
    return _Hand()


@pytest.fixture
def source(stub: AlpacaStub, access: AlpacaAccess, clock: _Hand) -> Iterator[StreamedSource]:
    """Return the source, which listens to a pair and a stock."""
    made = StreamedSource(
        access,
        clock,
        stocks=["SPY"],
        crypto=[BTC],
        stock_url=stub.stock_stream_url,
        crypto_url=stub.crypto_stream_url,
    )
    yield made
    made.close()


def _stream(source: StreamedSource, asset_class: AssetClass = AssetClass.CRYPTO) -> QuoteStream:
    return source._streams[asset_class is AssetClass.CRYPTO]


def _listen(source: StreamedSource, stub: AlpacaStub) -> QuoteStream:
    """Begin, and wait until the server has both subscriptions."""
    source.start()
    for kind in ("crypto", "stocks"):
        stub.wait_for_listeners(kind)
    stream = _stream(source)
    assert stream.wait_for(lambda: stream.health.state is StreamState.LIVE, _PATIENCE_SECONDS)
    return stream


def _ask(source: StreamedSource, spelling: str = BTC) -> Answer:
    asset_class = AssetClass.CRYPTO if "/" in spelling else AssetClass.STOCK
    return source.fetch([spelling], asset_class, 1.0)[spelling]


def test_the_newest_quote_has_its_own_time(source: StreamedSource, stub: AlpacaStub) -> None:
    """What was heard is answered from memory, with the time that the message carried."""
    stream = _listen(source, stub)
    at_ms = WallClock().now_utc_ms() - 5_000
    stub.venue.set_quote(BTC, Decimal(50_000), Decimal("50010.5"), at_ms=at_ms)
    assert stream.wait_for(lambda: stream.latest(BTC) is not None, _PATIENCE_SECONDS)
    quote = _ask(source)
    assert isinstance(quote, SourceQuote)
    assert (quote.bid, quote.ask, quote.source_time_ms) == (Decimal(50_000), Decimal("50010.5"), at_ms)
    assert (quote.kind, quote.currency) == (QuoteKind.QUOTE, "USD")
    assert stub.count("GET", "latest") == 0


def test_stocks_have_a_stream_of_their_own(source: StreamedSource, stub: AlpacaStub) -> None:
    """A commodity fund is on the stream of stocks."""
    _listen(source, stub)
    stub.venue.set_quote("SPY", Decimal(689), Decimal(690))
    stream = _stream(source, AssetClass.STOCK)
    assert stream.wait_for(lambda: stream.latest("SPY") is not None, _PATIENCE_SECONDS)
    assert isinstance(source.fetch(["SPY"], AssetClass.COMMODITY, 1.0)["SPY"], SourceQuote)


def test_what_was_not_heard_is_no_data(source: StreamedSource, stub: AlpacaStub) -> None:
    """A stream has no past."""
    stub.venue.set_quote(BTC, Decimal(50_000), Decimal(50_001))
    _listen(source, stub)
    answer = _ask(source)
    assert isinstance(answer, Miss)
    assert answer.outcome is Outcome.NO_DATA
    assert "live" in answer.reason


@pytest.mark.requirement(17)
def test_requirement_17_a_wrong_key_surfaces(stub: AlpacaStub, access: AlpacaAccess, clock: _Hand) -> None:
    """The library tries a wrong key for ever; here it is known at the first answer, without the key."""
    wrong = dataclasses.replace(access, secret=f"{SENTINEL}-wrong")
    source = StreamedSource(wrong, clock, crypto=[BTC], crypto_url=stub.crypto_stream_url)
    source.start()
    stream = _stream(source)
    assert stream.wait_for(lambda: stream.health.state is StreamState.FAILED, _PATIENCE_SECONDS)
    with pytest.raises(SourceFailedError, match="auth failed") as caught:
        source.fetch([BTC], AssetClass.CRYPTO, 1.0)
    assert SENTINEL not in caught.value.reason
    source.close()


@pytest.mark.requirement(17)
def test_requirement_17_silence_surfaces(source: StreamedSource, stub: AlpacaStub, clock: _Hand) -> None:
    """An open connection that says nothing is silent after its limit, and its quotes keep their age."""
    stream = _listen(source, stub)
    stub.venue.set_quote(BTC, Decimal(50_000), Decimal(50_001))
    assert stream.wait_for(lambda: stream.latest(BTC) is not None, _PATIENCE_SECONDS)
    before = _ask(source)
    stub.mute_streams()
    stub.venue.set_quote(BTC, Decimal(60_000), Decimal(60_001))
    clock.moved_seconds = 14
    assert stream.health.state is StreamState.LIVE
    clock.moved_seconds = 20
    health = source.health(AssetClass.CRYPTO)
    assert health is not None
    assert health.state is StreamState.SILENT
    assert "nothing came for" in health.reason
    after = _ask(source)
    assert isinstance(before, SourceQuote) and isinstance(after, SourceQuote)
    assert (after.price, after.source_time_ms) == (before.price, before.source_time_ms)


@pytest.mark.requirement(17)
def test_requirement_17_a_server_that_never_answers_surfaces(
    source: StreamedSource, clock: _Hand, access: AlpacaAccess
) -> None:
    """A stream that never came to life has failed after its limit."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        mute = StreamedSource(
            access, clock, crypto=[BTC], crypto_url=f"ws://127.0.0.1:{deaf.getsockname()[1]}"
        )
        mute.start()
        answer = _ask(mute)
        assert isinstance(answer, Miss) and answer.outcome is Outcome.NO_DATA
        clock.moved_seconds = 20
        with pytest.raises(SourceFailedError, match="nothing came for"):
            mute.fetch([BTC], AssetClass.CRYPTO, 1.0)
        mute.close()


def test_a_connection_that_was_lost_is_told_and_mended(source: StreamedSource, stub: AlpacaStub) -> None:
    """Between loss and return the stream has failed; what was heard before is still answered with its age."""
    stream = _listen(source, stub)
    stub.venue.set_quote(BTC, Decimal(50_000), Decimal(50_001))
    assert stream.wait_for(lambda: stream.latest(BTC) is not None, _PATIENCE_SECONDS)
    stub.drop_streams()
    assert stream.wait_for(lambda: stream.health.state is StreamState.FAILED, _PATIENCE_SECONDS)
    assert isinstance(_ask(source), SourceQuote)
    stub.wait_for_listeners("crypto")
    assert stream.wait_for(lambda: stream.health.state is StreamState.LIVE, _PATIENCE_SECONDS)
    stub.venue.set_quote(BTC, Decimal(51_000), Decimal(51_001))
    assert stream.wait_for(lambda: (stream.latest(BTC) or {}).get("bp") == 51_000, _PATIENCE_SECONDS)


def test_a_class_without_symbols_is_not_supported(access: AlpacaAccess, clock: _Hand) -> None:
    """What is not listened to is not served, and no connection is made for it."""
    source = StreamedSource(access, clock, stocks=["SPY"], stock_url="ws://127.0.0.1:1")
    answer = source.fetch([BTC], AssetClass.CRYPTO, 1.0)[BTC]
    assert isinstance(answer, Miss)
    assert answer.outcome is Outcome.UNSUPPORTED
    assert source.health(AssetClass.CRYPTO) is None
    assert source.fetch([], AssetClass.STOCK, 1.0) == {}


@pytest.mark.parametrize("url", ["ws://stream.data.alpaca.markets/v2/iex", "http://127.0.0.1:1", "nonsense"])
def test_keys_do_not_travel_in_the_clear(access: AlpacaAccess, clock: _Hand, url: str) -> None:
    """A stream is wss, or on this machine."""
    with pytest.raises(ConfigurationError, match="wss://"):
        StreamedSource(access, clock, stocks=["SPY"], stock_url=url)


def test_closing_ends_the_thread(source: StreamedSource, stub: AlpacaStub) -> None:
    """After close nobody listens, and a later question starts nothing."""
    stream = _listen(source, stub)
    source.close()
    source.close()
    thread = stream._thread
    assert thread is not None
    assert not thread.is_alive()
    source.start()
    assert stream._thread is thread
