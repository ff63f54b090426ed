"""The file of settings: read whole, every mistake in its place, and no key in it or in what is said of it."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from adapters.settings.model import (
    SOURCES,
    USUAL_SOURCES,
    BackoffSettings,
    BreakerSettings,
    BrokerSettings,
    ClassQuotes,
    Quorum,
    QuoteSettings,
    Rate,
    Settings,
    SourceSettings,
)
from adapters.settings.reading import load_settings, read_settings, settings_path
from adapters.settings.writing import written
from engine.errors import NotFoundError, PolicyError, UnavailableError
from engine.model import AssetClass

HEAD = "apiVersion: tradectl-config/v1\n"


def refused(text: str | bytes) -> str:
    """Return what is said of a file that cannot be used."""
    with pytest.raises(PolicyError) as caught:
        load_settings(text, "config.yaml")
    return caught.value.render()


# --- written and read -------------------------------------------------------------------------

spans = st.integers(1, 900_000)
shares = st.decimals(min_value=0, max_value=Decimal("0.99"), places=8)
exchanges = st.from_regex("ccxt:[a-z0-9]{1,10}", fullmatch=True).filter(lambda name: not name[5:].isdigit())
names = st.one_of(st.sampled_from(SOURCES), exchanges)
addresses = st.none() | st.sampled_from(["http://127.0.0.1:80", "https://x.example/a/b", "wss://[::1]:1"])
visible = st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])
paths = st.text(visible, min_size=1).map(str.strip)
brokers = st.sampled_from(["paper", "alpaca"]) | exchanges


@st.composite
def classes(draw: st.DrawFn) -> ClassQuotes:
    """Draw the quotes of a class."""
    sources = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    order = draw(spans)
    voices = len([name for name in sources if name != "history"])
    quorum = draw(st.none() | st.builds(Quorum, st.integers(2, voices), shares)) if voices > 1 else None
    currencies = draw(st.lists(st.sampled_from(["USD", "USDT", "USDC"]), min_size=1, unique=True))
    return ClassQuotes(tuple(sources), order, draw(st.integers(order, 999_999)), tuple(currencies), quorum)


@st.composite
def all_settings(draw: st.DrawFn) -> Settings:
    """Draw settings that can be meant."""
    connect, read, deadline, longest = (draw(spans) for _ in range(4))
    broker = BrokerSettings(
        draw(brokers), draw(st.booleans()), draw(addresses), connect, read,
        draw(st.integers(max(connect, read), 999_999)), draw(shares),
    )  # fmt: skip
    quotes = QuoteSettings(
        deadline,
        draw(st.integers(1, deadline)),
        BreakerSettings(draw(st.integers(1, 1000)), draw(spans)),
        BackoffSettings(draw(st.integers(1, longest)), longest),
        draw(classes()),
        draw(classes()),
        draw(classes()),
    )
    one = st.builds(
        SourceSettings,
        addresses,
        st.lists(st.builds(Rate, st.integers(1, 10**6), spans), max_size=3).map(tuple),
        st.integers(1, 1000),
        st.none() | st.sampled_from(["iex", "sip", "null", "on"]),
        spans,
    )
    own = draw(st.dictionaries(exchanges, one.filter(lambda source: source.feed is None), max_size=2))
    certificate = draw(st.none() | st.sampled_from(["proxy.pem", "~/my proxy/a # b.pem", "C:\\it's.pem"]))
    yahoo = replace(USUAL_SOURCES["yahoo"], certificate=certificate)
    alpaca = draw(one.filter(lambda source: source.feed is not None))
    return Settings(
        draw(st.none() | st.sampled_from(["main", "null", "7", "a.b-c"])),
        draw(paths.filter(bool)),
        broker,
        quotes,
        {**USUAL_SOURCES, "alpaca": alpaca, "yahoo": yahoo, **own},
        draw(st.none() | st.sampled_from(["~/bars", "C:\\bars", "a b # c", "it's"])),
        draw(spans),
        draw(spans),
    )


@given(all_settings())
def test_what_is_written_reads_as_the_same(settings: Settings) -> None:
    """Whatever is set, the file that ``init`` would write of it means exactly that."""
    text = written(settings)
    if any(character in settings.policy for character in ":=@") and "key-in-file" in _said(text):
        return  # a path that looks like a key is refused, which is right
    assert load_settings(text, "config.yaml") == settings


def _said(text: str) -> str:
    try:
        load_settings(text, "config.yaml")
    except PolicyError as error:
        return error.render()
    return ""


def test_the_defaults_need_no_file_and_are_safe() -> None:
    """Nothing set is paper trading, in dollars; the smallest file means the same."""
    assert load_settings(HEAD, "config.yaml") == Settings()
    assert load_settings(written(Settings()), "config.yaml") == Settings()
    settings = Settings()
    assert (settings.broker.name, settings.broker.paper) == ("paper", True)
    for asset_class in AssetClass:
        quotes = settings.quotes.of(asset_class)
        assert quotes.currencies == ("USD",)
        assert quotes.sources[-1] == "history"  # it values positions where nobody answers
    assert settings.source("ccxt:kraken") == SourceSettings()
    assert settings.source("twelvedata").budget[0] == Rate(8, 60)


def test_a_source_keeps_what_is_not_mentioned() -> None:
    """Setting one thing of a source leaves its other values as they are usually."""
    text = HEAD + "sources: {finnhub: {batch: 3}, ccxt:kraken: {budget: [5 per 1s]}, yahoo: {budget: []}}\n"
    settings = load_settings(text, "config.yaml")
    assert settings.source("finnhub").budget == (Rate(30, 1), Rate(60, 60))
    assert settings.source("finnhub").batch == 3
    assert settings.source("ccxt:kraken").budget == (Rate(5, 1),)
    assert settings.source("yahoo").budget == ()
    assert settings.source("alpaca") == Settings().source("alpaca")


# --- the schema -------------------------------------------------------------------------------


def _leaves(schema: dict[str, Any], root: dict[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return every value that may be set, by its path, with its schema."""
    reference = schema.get("$ref", "").rpartition("/")[2]
    schema = {**root["$defs"].get(reference, {}), **schema}
    entries = schema.get("properties", {})
    for pattern in schema.get("patternProperties", {}).values():
        entries = {"alpaca": pattern}
    if not entries:
        return {".".join(path): schema}
    return {
        key: value
        for name, one in entries.items()
        for key, value in _leaves(one, root, (*path, name)).items()
    }


def _settable() -> int:
    """Count what may be set by the dataclasses: parts once each, those of a class for each class."""
    parts = (BrokerSettings, QuoteSettings, BreakerSettings, BackoffSettings, SourceSettings)
    whole = {"broker", "quotes", "breaker", "backoff", "stock", "commodity", "crypto", "quorum"}
    own = [one.name for one in fields(Settings) if one.name not in whole | {"sources"}]
    once = [one.name for part in parts for one in fields(part) if one.name not in whole]
    per_class = [one.name for part in (ClassQuotes, Quorum) for one in fields(part) if one.name not in whole]
    return len(own) + len(once) + len(AssetClass) * len(per_class)


def test_the_schema_knows_what_the_file_holds() -> None:
    """Each value of the schema stands in what is written, explained, and its default is ours."""
    schema = schemas.load("config-v1")
    leaves = _leaves(schema, schema)
    assert len(leaves) == _settable() + len(["apiVersion"])
    text = written(Settings())
    uncommented = "\n".join(re.sub(r"^( *)# (?=[\w:]+: ?\S* *#)", r"\1", line) for line in text.split("\n"))
    for path, leaf in leaves.items():
        assert leaf.get("description") or leaf.get("enum"), path
        assert re.search(rf"\b{path.rpartition('.')[2]}:", uncommented), path
        if "default" in leaf:
            value = leaf["default"]
            shown = f"[{', '.join(value)}]" if isinstance(value, list) else str(value).lower()
            mapping = "".join(
                f"{'  ' * depth}{key}:\n" for depth, key in enumerate(path.split(".")[:-1])
            ) + f"{'  ' * path.count('.')}{path.rpartition('.')[2]}: {shown}\n"  # fmt: skip
            assert load_settings(HEAD + mapping, "config.yaml") == Settings(), path


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("broker: {nmae: paper}", "2:10", "did you mean 'name'"),
        ("brokers: {name: paper}", "2:1", "did you mean 'broker'"),
        ("broker: {name: alpacca}", "2:16", "did you mean 'alpaca'"),
        ("broker: {name: 'ccxt:'}", "2:16", "there is no broker"),
        ("broker: {fee: 0.02}", "2:15", "is not a percentage"),
        ("broker: {paper: maybe}", "2:17", "true or false"),
        ("broker: {timeout: 1.5s}", "2:19", "is not a length of time"),
        ("broker: {timeout: 2s}", "2:10", "10s  or more"),
        ("broker: {url: ''}", "2:15", "is not an address"),
        ("broker: {url: http://x/}", "2:15", "is not an address"),
        ("broker: {url: 'http://x:70000'}", "2:10", "there is no port 70000"),
        ("quotes: {crypto: {sources: [yahooo]}}", "2:29", "did you mean 'yahoo'"),
        ("quotes: {crypto: {sources: [yahoo, yahoo]}}", "2:36", "twice"),
        ("quotes: {crypto: {sources: []}}", "2:28", "is empty"),
        ("quotes: {crypto: {currencies: [EUR]}}", "2:32", "USD"),
        ("quotes: {crypto: {max_age: {order: 8d}}}", "2:19", "too old to value"),
        ("quotes: {stock: {sources: [yahoo, history], quorum: {sources: 2, within: 1%}}}", "2:54", "1 are"),
        ("quotes: {source_deadline: 6s}", "2:10", "longer than a whole pass"),
        ("quotes: {backoff: {first: 5m}}", "2:20", "longer than the longest"),
        ("sources: {finhub: {batch: 1}}", "2:11", "did you mean 'finnhub'"),
        ("sources: {history: {batch: 1}}", "2:11", "there is no source 'history'"),
        ("sources: {yahoo: {budget: [60/m]}}", "2:28", "is not a rate of requests"),
        ("history: {path: ' '}", "2:17", "is not a folder"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_place(text: str, place: str, said: str) -> None:
    """Each mistake is told with file, line and column, and with what to write."""
    message = refused(HEAD + text + "\n")
    assert f"config.yaml:{place}: error[" in message, message
    assert said in message


def test_all_mistakes_are_told_at_once() -> None:
    """A file with several mistakes is mended in one go."""
    message = refused(HEAD + "agnt: x\nbroker: {fee: 2}\nquotes: {stock: {max_age: {order: 1}}}\n")
    assert message.count("error[") == 3


@pytest.mark.parametrize(
    "text",
    ["", "- a\n", "apiVersion: tradectl-config/v2\n", "a: &b c\n", b"\xff\xfea\x00", "a: b: c", "x" * 2**21],
)
def test_a_file_of_another_kind(text: str | bytes) -> None:
    """Hostile or foreign files are refused in words."""
    assert "config.yaml:" in refused(text)


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_no_text_makes_it_fall_over(tail: str | bytes) -> None:
    """Any text is settings or problems, never another exception."""
    text: str | bytes = HEAD.encode() + tail if isinstance(tail, bytes) else HEAD + tail
    try:
        load_settings(text, "config.yaml")
    except PolicyError as error:
        assert error.render()


# --- keys -------------------------------------------------------------------------------------

SENTINEL = "sEnTiNeL-0f-a-key"


@pytest.mark.parametrize(
    "line",
    [
        "sources: {alpaca: {key: %s}}",
        "broker: {name: alpaca, api_key: %s}",
        "broker:\n  secretKey: %s",
        "broker:\n  'client-secret': %s and more of it",
        "APCA_API_SECRET_KEY: %s",
        "# FINNHUB_API_KEY=%s",
        "token: '%s'",
        "broker: {password: \"%s",
        "broker: {url: 'https://me:%s@example.org'}",
        "sources: {finnhub: {url: 'https://example.org/?token=%s'}}",
        "broker: [}\nsecret: %s\n\t- x",
    ],
)  # fmt: skip
def test_a_key_in_the_file_is_refused_and_not_shown(line: str) -> None:
    """What is named like a key is refused, with its place, and nothing of it is repeated."""
    message = refused(HEAD + line % SENTINEL + "\n")
    assert "key-in-file" in message and "environment" in message
    assert SENTINEL not in message and "and more of it" not in message
    binary = refused((HEAD + line % SENTINEL).encode() + b"\xff")
    assert "key-in-file" in binary and SENTINEL not in binary


@pytest.mark.parametrize(
    "value", ["PKABCDEFGHIJKLMNOPQR", "AK2345678901234567890123", "c0ffee00" * 4, "aB3" * 14]
)
def test_what_has_the_shape_of_a_key_is_refused(value: str) -> None:
    """A key under an innocent name is found by its shape."""
    message = refused(f"{HEAD}agent: {value}\n")
    assert "key-in-file" in message and value not in message


@pytest.mark.parametrize(
    "line",
    [
        "history: {path: /data/0123456789abcdef0123456789abcdef}",
        "policy: monkey",
        "# author: me",
        "agent: keys",
    ],
)
def test_what_is_no_key_is_read(line: str) -> None:
    """Paths with digests in them and innocent words are not taken for keys."""
    load_settings(HEAD + line + "\n", "config.yaml")


# --- where it is ------------------------------------------------------------------------------


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As given, else TRADECTL_CONFIG, else the XDG folder; only a file that was asked for must be there."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert settings_path() == tmp_path / "xdg" / "tradectl" / "config.yaml"
    assert read_settings() == (Settings(), None)
    mine = tmp_path / "mine.yaml"
    mine.write_text(HEAD + "policy: conservative\n", encoding="utf-8")
    assert read_settings(str(mine)) == (Settings(policy="conservative"), mine)
    monkeypatch.setenv("TRADECTL_CONFIG", str(mine))
    assert read_settings()[1] == mine
    monkeypatch.setenv("TRADECTL_CONFIG", str(tmp_path / "gone.yaml"))
    with pytest.raises(NotFoundError, match="TRADECTL_CONFIG"):
        read_settings()
    with pytest.raises(NotFoundError, match="init --path"):
        read_settings(str(mine / "below"))
    with pytest.raises(UnavailableError, match="cannot be read"):
        read_settings(str(tmp_path))


def test_a_certificate_is_for_those_who_can_be_given_one() -> None:
    """Yahoo alone: who gives it to another would believe it in use."""
    text = f"{HEAD}sources: {{yahoo: {{certificate: proxy.pem}}}}\n"
    assert load_settings(text, "config.yaml").source("yahoo").certificate == "proxy.pem"
    told = refused(f"{HEAD}sources: {{alpaca: {{certificate: proxy.pem}}}}\n")
    assert "config.yaml:2:20" in told and "alpaca cannot be given a certificate" in told


def test_the_page_names_all_that_may_be_set() -> None:
    """The page on configuration mentions every key of the schema, and the defaults that are one word."""
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text("utf-8")
    schema = schemas.load("config-v1")
    for path, leaf in _leaves(schema, schema).items():
        key = path.rpartition(".")[2]
        assert re.search(rf"\b{key}\b", page), path
        default = leaf.get("default")
        if isinstance(default, str) and path.startswith(("broker", "reconcile", "symbols")):
            row = next(line for line in page.split("\n") if line.startswith("| `") and f"{key}`" in line)
            assert default in row, path
