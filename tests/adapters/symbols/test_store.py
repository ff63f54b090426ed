"""The registry's file: it comes back whole, begins anew where it cannot, and never stops anybody."""

from __future__ import annotations

import errno
import json
import os
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.symbols.assets import Asset
from adapters.symbols.directory import NotServed, Spelled
from adapters.symbols.store import STALE_AFTER_DAYS, SymbolStore
from engine.model import AssetClass
from tests.adapters.symbols.test_registry import ALPACA, UNIVERSE

NOW_MS = 1_763_424_000_000
DAY_MS = 86_400_000


def opened(path: Path, now_ms: int = NOW_MS) -> SymbolStore:
    """Open the store of the test's policy."""
    return SymbolStore(path, UNIVERSE, now_ms=now_ms)


def filled(path: Path) -> SymbolStore:
    """Open a store that has read a venue's list and one refusal."""
    store = opened(path)
    store.refresh("alpaca", ALPACA, NOW_MS)
    store.learn("finnhub", {"SHIB-USD": "zeros"}, NOW_MS)
    return store


def test_it_comes_back_whole(tmp_path: Path) -> None:
    """What was learned is there after a restart, exactly."""
    path = tmp_path / "state" / "symbols.json"
    assert opened(path).notes == []
    store = filled(path)
    again = opened(path)
    assert again.registry == store.registry
    assert again.notes == []
    assert isinstance(again.spelled("alpaca", "ADA-USD"), NotServed)
    assert again.spelled("finnhub", "SHIB-USD") == NotServed("zeros")
    assert again.asset_class("GLD") is AssetClass.COMMODITY
    assert [entry.name for entry in path.parent.iterdir()] == ["symbols.json"]


texts = st.text(max_size=8)
assets = st.builds(
    Asset,
    texts,
    texts,
    st.sampled_from(AssetClass),
    texts,
    st.booleans(),
    st.booleans(),
    *[st.one_of(st.none(), st.decimals(allow_nan=False))] * 4,
    st.sampled_from(["USD", "USDT"]),
)


@given(rows=st.lists(assets, max_size=5))
def test_any_row_comes_back(rows: list[Asset], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever a venue listed is kept as it was."""
    path = tmp_path_factory.mktemp("store") / "symbols.json"
    store = opened(path)
    store.refresh("ccxt:kraken", rows, NOW_MS)
    assert store.notes == []
    assert opened(path).registry == store.registry


def test_stale_lists_and_old_refusals(tmp_path: Path) -> None:
    """A list is asked for again after some days; a refusal is forgotten then."""
    path = tmp_path / "symbols.json"
    store = opened(path)
    assert store.is_stale("alpaca", NOW_MS)
    store = filled(path)
    last_fresh_ms = NOW_MS + STALE_AFTER_DAYS * DAY_MS - 1
    assert not store.is_stale("alpaca", last_fresh_ms) and not store.is_stale("alpaca_positions", NOW_MS)
    assert store.is_stale("alpaca", last_fresh_ms + 1) and store.is_stale("alpaca", NOW_MS - 1)
    assert isinstance(opened(path, last_fresh_ms).spelled("finnhub", "SHIB-USD"), NotServed)
    later = opened(path, last_fresh_ms + 1)
    assert isinstance(later.spelled("finnhub", "SHIB-USD"), Spelled)
    assert isinstance(later.spelled("alpaca", "ADA-USD"), NotServed)  # a stale list still speaks


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "[]", "[" * 100_000, '{"version": 1}', '"\\ud800"',
        '{"version": 1, "venues": {"alpaca": {"at_ms": 1e999, "assets": []}}, "refusals": []}',
        '{"version": 1, "venues": {"bloomberg": {"at_ms": 1, "assets": []}}, "refusals": []}',
        '{"version": 1, "venues": {"alpaca": {"at_ms": 1, "assets": [{"text": "X"}]}}, "refusals": []}',
        '{"version": 1, "venues": {}, "refusals": [["alpaca", "X"]]}',
        '{"version": 1, "venues": {}, "refusals": [["alpaca", ["X"], "no", 1763424000000]]}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_begun_anew(text: str, tmp_path: Path) -> None:
    """No damage stops the agent: it is told, and the next refresh mends the file."""
    path = tmp_path / "symbols.json"
    path.write_text(text, encoding="utf-8")
    store = opened(path)
    assert len(store.notes) == 1 and "damaged" in store.notes[0]
    assert store.spelled("alpaca", "ADA-USD") == Spelled("ADA/USD")
    store.refresh("alpaca", ALPACA, NOW_MS)
    assert opened(path).notes == []


def test_a_file_cut_anywhere(tmp_path: Path) -> None:
    """A file that ends too early is damaged, wherever it was cut."""
    path = tmp_path / "symbols.json"
    filled(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        assert len(opened(path).notes) == 1, length


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_begun_anew(version: object, tmp_path: Path) -> None:
    """A file of another version is not guessed at."""
    path = tmp_path / "symbols.json"
    path.write_text(json.dumps({"version": version, "venues": {}, "refusals": []}), encoding="utf-8")
    assert "version" in opened(path).notes[0]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder in its place, or bytes that are no text, are told."""
    (tmp_path / "folder").mkdir()
    assert "cannot be read" in opened(tmp_path / "folder").notes[0]
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    assert "not text" in opened(tmp_path / "bytes").notes[0]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes nothing leaves the registry in memory, the old file whole, and says so once."""
    path = tmp_path / "symbols.json"
    filled(path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = opened(path)
    monkeypatch.setattr(os, "fsync", full)
    store.refresh("alpaca", (*ALPACA, Asset("ADA/USD", "id-ada", AssetClass.CRYPTO)), NOW_MS)
    store.learn("yahoo", {"X": "no"}, NOW_MS)
    assert store.spelled("alpaca", "ADA-USD") == Spelled("ADA/USD")
    assert len(store.notes) == 1 and "No space left" in store.notes[0]
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["symbols.json"]


def test_exact_numbers_stay_exact(tmp_path: Path) -> None:
    """A step of a thousand-millionth is not a float on its way through the file."""
    path = tmp_path / "symbols.json"
    store = opened(path)
    store.refresh("ccxt:x", [Asset("A/USD", "", AssetClass.CRYPTO, price_step=Decimal("0.1"))], NOW_MS)
    asset = opened(path).registry.tradable("ccxt:x", "A-USD")
    assert isinstance(asset, Asset) and asset.price_step == Decimal("0.1")
