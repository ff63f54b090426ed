"""An agent wired to a local Alpaca: what it asks for, what it says of what it lacks, and what wakes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from time import time_ns
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from adapters.bootstrap import live
from adapters.bootstrap.live import plan_live
from adapters.bootstrap.running import RunPlan
from adapters.bootstrap.venues import refuses_keys
from adapters.clock import WallClock
from adapters.settings.model import BrokerSettings, ClassQuotes, QuoteSettings, Settings, SourceSettings
from adapters.stubs.alpaca import AlpacaStub
from adapters.stubs.exchange import ExchangeStub, Pair
from adapters.stubs.faults import Fault, Kind
from engine.errors import ConfigurationError, UnavailableError
from engine.language.load import load_policy
from engine.language.policy import Policy
from engine.model import Bar
from engine.units import PRICE_SCALE, QUANTITY_SCALE

KEY_ID: Final = "PKSENTINELOFLIVE0001"
SECRET: Final = "sentinelSecretOfLiveNeverToBeSeen0000001"
HOUR_SECONDS: Final = 3600
DAY_SECONDS: Final = 86_400
_POLICY: Final = """
apiVersion: tradectl/v1
policy: small
version: 1.0.0
selection: exits_first
every: 1m
bars: {bars}
universe: {{{universe}}}
indicators: {{{indicators}}}
rules:
  out: {{priority: 900, protective: true, when: held and gain <= -50%, then: sell all}}
  in:  {{priority: 100, when: "not held and {when}", then: buy to target, once: bar}}
gates:
  drawdown-halt: {{vetoes: [buy], when: drawdown > 50%}}
orders:
  buy: {{limit: 99% of ask, good_for: 10m}}
"""
BITCOIN: Final = "crypto: {calendar: 24/7, weights: {BTC-USD: 20%}}"


def policy(
    universe: str = BITCOIN,
    indicators: str = "mean: sma(3)",
    when: str = "close > 0.5 * mean",
    bars: str = "1m",
) -> Policy:
    """Return a policy that buys a little below the market."""
    text = _POLICY.format(universe=universe, indicators=indicators, when=when, bars=bars)
    return load_policy(text, "small.yaml").required()


def _weekdays(start_ms: int, end_ms: int) -> list[int]:
    """Return the midnights of New York at which Alpaca's bars of a day open."""
    zone = ZoneInfo("America/New_York")
    first, last = (datetime.fromtimestamp(at_ms / 1000, zone).date() for at_ms in (start_ms, end_ms))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    opens = [
        round(datetime.combine(day, time(), zone).timestamp()) * 1000 for day in days if day.weekday() < 5
    ]
    return [open_ms for open_ms in opens if start_ms <= open_ms <= end_ms]


class Served:
    """A local Alpaca where a bitcoin costs 100, and what was asked of its bars: symbol and start."""

    def __init__(self, stub: AlpacaStub, folder: Path) -> None:
        """Serve bars without end."""
        self.stub, self.folder = stub, folder
        self.asked: list[tuple[str, int]] = []
        stub.venue.prices.history = self._bars
        stub.venue.set_quote("BTC/USD", "99.98", "100")

    def _bars(self, symbol: str, interval_seconds: int, start_ms: int, end_ms: int) -> Sequence[Bar]:
        self.asked.append((symbol, start_ms))
        if interval_seconds == DAY_SECONDS:
            opens: Sequence[int] = _weekdays(start_ms, end_ms)
        else:
            step_ms = interval_seconds * 1000
            opens = range(-(-start_ms // step_ms) * step_ms, end_ms + 1, step_ms)
        return [Bar(open_ms, 100.0, 101.0, 99.0, 100.0, 1.0) for open_ms in opens]

    @property
    def settings(self) -> Settings:
        """The settings that lead here, as ``tradectl stub alpaca`` prints them."""
        only = ClassQuotes(sources=("alpaca",))
        return Settings(
            broker=BrokerSettings("alpaca", url=self.stub.url),
            quotes=QuoteSettings(stock=only, commodity=only, crypto=only),
            sources={"alpaca": SourceSettings(url=self.stub.data_url, budget=(), batch=100, feed="iex")},
        )

    @contextmanager
    def planned(
        self, one: Policy, settings: Settings | None = None, restart: bool = False
    ) -> Iterator[RunPlan]:
        """Wire an agent, and let it go in the end."""
        plan = plan_live(one, settings or self.settings, state_dir=self.folder, restart=restart)
        try:
            yield plan
        finally:
            plan.close()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Serve a local Alpaca whose keys are in the environment."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY_ID)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    with AlpacaStub(clock=WallClock(), key_id=KEY_ID, secret=SECRET, cash=Decimal(10_000)) as stub:
        yield Served(stub, tmp_path)


# --- the bars that are wanted -----------------------------------------------------------------


def reach(served: Served) -> dict[str, float]:
    """Return how far back bars were asked for, seconds by symbol."""
    now_ms = WallClock().now_utc_ms()
    found: dict[str, float] = {}
    for symbol, start_ms in served.asked:
        found[symbol] = max((now_ms - start_ms) / 1000, found.get(symbol, 0.0))
    return found


def test_the_bars_that_indicators_read_are_there_at_the_start(served: Served) -> None:
    """Each symbol's own, of each interval, and those of another symbol; as far back as they are read."""
    indicators = "mean: sma(30), hours: sma(20) on 1h, index: ema(10) on SPY 1d"
    universe = f"{BITCOIN}, stock: {{calendar: NYSE, watch: [SPY]}}"
    when = "close > 0.5 * mean and hours > 0 and index > 0"
    with served.planned(policy(universe, indicators, when)) as plan:
        assert plan.notes == []
        _ = plan.agent.start()
        report = plan.agent.cycle()
    back = reach(served)
    assert 21 * HOUR_SECONDS <= back["BTC/USD"] <= 21 * HOUR_SECONDS + 3 * DAY_SECONDS
    assert back["SPY"] >= 21 * DAY_SECONDS * 7 / 5, "trading days are fewer than days"
    assert set(back) == {"BTC/USD", "SPY"}
    assert [intent.rule for intent in report.intents] == ["in"], "an indicator is unknown"


def test_a_policy_that_reads_no_indicator_has_the_bars_of_its_decisions(served: Served) -> None:
    """They are few."""
    with served.planned(policy(indicators="", when="close > 0")):
        pass
    assert set(reach(served)) == {"BTC/USD"}
    assert reach(served)["BTC/USD"] <= 3 * DAY_SECONDS


# --- what is said -----------------------------------------------------------------------------


def test_what_is_not_traded_there_is_told(served: Served) -> None:
    """One note for all of them; what is traded goes on."""
    coins = "crypto: {calendar: 24/7, weights: {BTC-USD: 20%, ADA-USD: 10%}}"
    universe = f"{coins}, stock: {{calendar: NYSE, weights: {{ZZZZ: 5%}}}}"
    with served.planned(policy(universe)) as plan:
        (note,) = [note for note in plan.notes if "not traded" in note]
        assert "ADA-USD (" in note and "ZZZZ (" in note and "BTC-USD" not in note


def test_nothing_of_the_policy_is_traded_there(served: Served) -> None:
    """An agent that could never trade is a mistake in the settings, told before it has a folder."""
    with (
        pytest.raises(ConfigurationError, match="alpaca trades nothing of policy small: not ADA-USD"),
        served.planned(policy("crypto: {calendar: 24/7, weights: {ADA-USD: 20%}}")),
    ):
        pass


class BarsAway:
    """No bars, everything else is well."""

    def fault(self, method: str, path: str) -> Fault | None:
        """Spoil what is asked of bars."""
        return Fault(Kind.STATUS_500) if path.endswith("/bars") else None


def test_bars_that_cannot_be_had_are_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason; the agent starts none the less, and says for what it waits."""
    served.stub.plan = BarsAway()
    monkeypatch.setattr(live, "_SILENT_SECONDS", 0.001)
    monkeypatch.setattr(live, "WARM_UP_SECONDS", 20.0)
    said: list[str] = []
    plan = plan_live(policy(), served.settings, state_dir=served.folder, say=said.append)
    plan.close()
    (note,) = plan.notes
    assert "not all bars of BTC-USD 1m could be had" in note and "HTTP 500" in note
    assert said == ["waiting for bars, for 20 s at most"]


def test_a_source_without_its_key_is_left_out(served: Served) -> None:
    """And said; the others are asked."""
    two = ClassQuotes(sources=("finnhub", "alpaca"))
    settings = replace(served.settings, quotes=QuoteSettings(stock=two, commodity=two, crypto=two))
    with served.planned(policy(), settings) as plan:
        (note,) = plan.notes
        assert note.startswith("finnhub is not asked") and "FINNHUB_API_KEY" in note


def test_real_money_is_refused(served: Served) -> None:
    """Whatever asks for it."""
    settings = replace(served.settings, broker=BrokerSettings("alpaca", paper=False))
    with pytest.raises(ConfigurationError, match="paper only"), served.planned(policy(), settings):
        pass


def test_keys_that_are_refused_are_a_mistake_of_the_settings(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a network that may be back in a minute."""
    monkeypatch.setenv("APCA_API_SECRET_KEY", "sentinelOfAnotherKey")
    with pytest.raises(ConfigurationError, match="refused the keys") as raised, served.planned(policy()):
        pass
    assert "sentinel" not in str(raised.value)


def test_what_an_exchange_has_no_market_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and the agent goes on with the others; a wrong secret is a mistake of the settings."""
    # Not the stub's usual ones: what was once read as a key is covered in every later log.
    monkeypatch.setenv("CCXT_BINANCEUS_KEY", KEY_ID)
    monkeypatch.setenv("CCXT_BINANCEUS_SECRET", SECRET)
    coins = "crypto: {calendar: 24/7, weights: {BTC-USD: 20%, LINK-USD: 20%}}"
    universe = f"{coins}, stock: {{calendar: NYSE, weights: {{SPY: 5%}}}}"
    bitcoin = Pair("BTC", step=Decimal("0.00001"))
    with ExchangeStub(pairs=[bitcoin], key=KEY_ID, secret=SECRET) as stub:
        stub.set_quote("BTCUSD", Decimal("99.98"), Decimal(100))
        broker = BrokerSettings("ccxt:binanceus", url=stub.url)
        with served.planned(policy(universe), replace(served.settings, broker=broker)) as plan:
            (note,) = [note for note in plan.notes if "not traded" in note]
            assert "LINK-USD (ccxt:binanceus has no market for it" in note and "SPY (" in note
            _ = plan.agent.start()
            report = plan.agent.cycle()
            assert [intent.order.symbol for intent in report.intents] == ["BTC-USD"], report.skipped
        monkeypatch.setenv("CCXT_BINANCEUS_SECRET", "sentinelOfAnotherSecret")
        with served.planned(policy(), replace(served.settings, broker=broker, agent="wrong")) as plan:
            with pytest.raises(UnavailableError) as raised:
                _ = plan.agent.start()
            assert refuses_keys(raised.value)


def test_restart_sets_nothing_aside_where_the_settings_cannot_be_used(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgotten key must not cost the journal."""
    with served.planned(policy()) as plan:
        journal = plan.folder.journal
    monkeypatch.delenv("APCA_API_KEY_ID")
    with pytest.raises(ConfigurationError), served.planned(policy(), restart=True):
        pass
    assert journal.is_file()
    assert [path.name for path in journal.parents[1].iterdir()] == [journal.parent.name]


@pytest.mark.parametrize(("seconds", "words"), [(-30, "30.0 s ahead of"), (0, ""), (45, "45.0 s behind")])
def test_a_clock_that_is_wrong_is_told(served: Served, seconds: int, words: str) -> None:
    """By a wrong clock every quote is of the past or the future, and nothing would say why none is used."""
    skewed = WallClock(wall_ns=lambda: time_ns() + seconds * 10**9)
    with AlpacaStub(clock=skewed, key_id=KEY_ID, secret=SECRET) as stub:
        elsewhere = Served(stub, served.folder)
        with elsewhere.planned(policy()) as plan:
            told = [note for note in plan.notes if "the clocks differ" in note]
    assert len(told) == bool(words)
    assert words in "".join(told)


def test_one_agent_of_a_name(served: Served) -> None:
    """A second one under the same name is refused, also one that would set the first aside."""
    with served.planned(policy()) as plan:
        for restart in (False, True):
            with pytest.raises(UnavailableError, match="in use"), served.planned(policy(), restart=restart):
                pass
        assert plan.folder.journal.is_file()


# --- what it does -----------------------------------------------------------------------------


def test_a_fill_wakes_the_agent(served: Served) -> None:
    """An order that is filled between two cycles ends the sleep, and is in the books before the next one."""
    with served.planned(policy()) as plan:
        _ = plan.agent.start()
        report = plan.agent.cycle()
        (intent,) = report.intents
        assert intent.order.limit_price == 99 * PRICE_SCALE
        served.stub.venue.set_quote("BTC/USD", "98.97", "98.99")
        ends_ms, fills = plan.clock.now_utc_ms() + 30_000, list(report.fills)
        while not fills and plan.clock.now_utc_ms() < ends_ms:
            plan.clock.sleep_until(ends_ms)
            fills += plan.agent.heed().fills
        assert plan.clock.now_utc_ms() < ends_ms, "nothing ended the sleep"
        assert [fill.client_id for fill in fills] == [intent.order.client_id]
        held = plan.agent.state.ledger.holdings["BTC-USD"]
        assert held.quantity == intent.order.quantity


def test_the_paper_venue_at_the_quotes_of_today(served: Served) -> None:
    """The settings need no broker: orders are filled on this machine, at the prices of the sources."""
    settings = replace(served.settings, broker=BrokerSettings())
    with served.planned(policy(), settings) as plan:
        assert plan.name == "paper-small-live"
        _ = plan.agent.start()
        (intent,) = plan.agent.cycle().intents
        assert intent.order.quantity == round(Decimal(20_000) / 99 * QUANTITY_SCALE)
    assert not served.stub.venue.orders()
