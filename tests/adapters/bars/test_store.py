"""The history store: exact, atomic, without duplicates, one scale; damage and full disks are told."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.bars.files import BarFilesError, open_bar_files
from adapters.bars.merging import Merge, ScaleError
from adapters.bars.partition import Origin
from adapters.bars.series import BarSeries
from adapters.bars.source import Adjustment
from adapters.bars.store import MARKER, Fetched, HistoryStore, covers, joined
from adapters.calendar import ExchangeCalendars
from engine.errors import ConfigurationError, DataError, NotFoundError, UnavailableError
from engine.model import Bar
from tests.adapters.bars.writing import ms
from tests.contracts.bar_source import BarSourceContract, ServedBars
from tests.shared_data import shared_data

pytest.importorskip("pyarrow", reason="needs the extra: parquet")

_CALENDAR = ExchangeCalendars()
_START = ms("2025-01-30T00:00:00Z")
_STEP = 900
_STEP_MS = _STEP * 1000
_A = Origin("alpaca", "BTC/USD", "24/7", fetched_at_ms=7)
_B = Origin("yahoo", "BTC-USD", "24/7", fetched_at_ms=8)
_RANKING = ("alpaca", "yahoo")


def _series(bars: Sequence[Bar], step: int = _STEP) -> BarSeries:
    series = BarSeries(step)
    for bar in bars:
        series.append(bar)
    return series


def _bar(number: int, close: float = 100.0, *, start_ms: int = _START) -> Bar:
    return Bar(start_ms + number * _STEP_MS, close, close * 1.01, close * 0.99, close, 5.0 + number)


def _answer(origin: Origin, bars: Sequence[Bar], *, final: bool = True) -> Fetched:
    start, end = bars[0].open_time_ms, bars[-1].open_time_ms + _STEP_MS
    return Fetched(origin, _series(bars), start, end, end if final else start)


def _store(store: HistoryStore, origin: Origin, bars: Sequence[Bar], *, allow_jumps: bool = False) -> Merge:
    return store.append("BTC-USD", _STEP, _answer(origin, bars), _RANKING, allow_jumps=allow_jumps)


def _read(store: HistoryStore) -> list[Bar]:
    series = store.read("BTC-USD", _STEP)
    return [series.bar(index) for index in range(len(series))]


# --- round trips ------------------------------------------------------------------------------

_PRICES = st.floats(1e-8, 1e8, allow_subnormal=False)


@st.composite
def _bars(draw: st.DrawFn) -> list[Bar]:
    numbers = sorted(draw(st.sets(st.integers(0, 400), min_size=1, max_size=40)))
    untraded = draw(st.sets(st.integers(0, 400)))
    bars: list[Bar] = []
    for number in numbers:
        at_ms = _START + number * _STEP_MS
        if bars and number in untraded:
            last = bars[-1].close
            bars.append(Bar(at_ms, last, last, last, last, 0.0, traded=False))
            continue
        low, opened, close, high = sorted(draw(st.lists(_PRICES, min_size=4, max_size=4)))
        bars.append(Bar(at_ms, opened, high, low, close, draw(st.floats(0, 1e12))))
    return bars


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_bars())
def test_what_was_stored_is_read_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, bars: list[Bar]
) -> None:
    """Any finite prices, bars without a trade, gaps, two months: the same values come back."""
    store = HistoryStore(tmp_path_factory.mktemp("history"))
    assert _store(store, _A, bars, allow_jumps=True).added == len(bars)
    assert _read(HistoryStore(store.folder)) == bars


def test_absent_columns_stay_absent(tmp_path: Path) -> None:
    """A source without opens or volumes gives NaN, and NaN comes back."""
    store = HistoryStore(tmp_path)
    _store(store, _A, [Bar(_START, math.nan, math.nan, math.nan, 3.5, math.nan)])
    (bar,) = _read(store)
    assert math.isnan(bar.open) and math.isnan(bar.volume) and bar.close == 3.5


def test_a_stretch_is_read_across_partitions(tmp_path: Path) -> None:
    """Bounds include the start and exclude the end, in every month that is touched."""
    store = HistoryStore(tmp_path)
    bars = [_bar(number) for number in range(0, 40 * 96, 8)]
    _store(store, _A, bars)
    assert sorted(path.stem for path in tmp_path.rglob("*.parquet")) == ["2025-01", "2025-02", "2025-03"]
    start, end = bars[3].open_time_ms, bars[-3].open_time_ms
    found = store.read("BTC-USD", _STEP, start, end)
    assert [found.bar(index) for index in range(len(found))] == bars[3:-3]
    assert store.symbols() == ("BTC-USD",)
    assert store.intervals("BTC-USD") == (_STEP,)
    assert store.intervals("ETH-USD") == store.intervals("../x") == ()
    assert len(store.read("ETH-USD", _STEP)) == 0


def test_where_bars_came_from_is_kept(tmp_path: Path) -> None:
    """Each partition says source, spelling, adjustment, currency, calendar and the time of the fetch."""
    store = HistoryStore(tmp_path)
    _store(store, _A, [_bar(0), _bar(1)])
    _store(store, replace(_B, adjustment=Adjustment.SPLIT), [_bar(2)])
    _store(store, replace(_A, fetched_at_ms=99), [_bar(3)])
    assert store.origins("BTC-USD", _STEP) == {
        "2025-01": (replace(_A, fetched_at_ms=99), replace(_B, adjustment=Adjustment.SPLIT))
    }
    assert store.calendar_of("BTC-USD") == "24/7"


# --- merging ----------------------------------------------------------------------------------


def test_storing_again_changes_nothing(tmp_path: Path) -> None:
    """The same answer a second time is no news: no bar, and no byte, is written."""
    store = HistoryStore(tmp_path)
    bars = [_bar(number) for number in range(5)]
    _store(store, _A, bars)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    stamps = {path: path.stat().st_mtime_ns for path in before}
    assert _store(store, replace(_A, fetched_at_ms=1000), bars) == Merge()
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in before} == stamps


@pytest.mark.parametrize("first", [_A, _B])
def test_the_earlier_ranked_source_wins(tmp_path: Path, first: Origin) -> None:
    """Whichever came first: two sources that differ leave alpaca's bar, one conflict counted and told."""
    second = _B if first is _A else _A
    closes = {_A: 100.0, _B: 102.0}
    store = HistoryStore(tmp_path)
    _store(store, first, [_bar(0, closes[first]), _bar(1), _bar(2)])
    merge = _store(store, second, [_bar(0, closes[second]), _bar(1), _bar(2), _bar(3)])
    assert merge.added == 1
    assert merge.conflicts == 1
    assert merge.replaced == (3 if second is _A else 0)
    assert "BTC-USD 15m 2025-01-30T00:00:00Z" in merge.conflict
    assert "alpaca goes first" in merge.conflict
    assert [bar.close for bar in _read(store)] == [100.0] * 4


def test_noise_between_tapes_is_no_conflict(tmp_path: Path) -> None:
    """A tenth of a percent, and any volume, is how tapes differ; the first still wins."""
    store = HistoryStore(tmp_path)
    _store(store, _A, [_bar(0)])
    merge = _store(store, _B, [replace(_bar(0, 100.05), volume=1e9)])
    assert merge == Merge()
    assert _read(store) == [_bar(0)]


def test_a_source_corrects_itself(tmp_path: Path) -> None:
    """The newer word of the same source replaces its older one, and is no conflict."""
    store = HistoryStore(tmp_path)
    _store(store, _A, [_bar(0), _bar(1)])
    assert _store(store, _A, [_bar(0, 100.5)]) == Merge(revised=1)
    assert [bar.close for bar in _read(store)] == [100.5, 100.0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from([_A, _B]), st.sets(st.integers(0, 200), min_size=1)), max_size=6))
def test_merging_is_what_a_dictionary_would_do(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Origin, set[int]]]
) -> None:
    """Any sequence of answers leaves each bar once, of the best source that gave it, its newest word."""
    store = HistoryStore(tmp_path_factory.mktemp("history"))
    model: dict[int, tuple[Origin, Bar]] = {}
    for turn, (origin, numbers) in enumerate(steps):
        # No further apart than prices of one scale are.
        bars = [_bar(number, 100 + (turn + number % 3) / 4) for number in sorted(numbers)]
        _store(store, origin, bars)
        for bar in bars:
            held = model.get(bar.open_time_ms)
            if held is None or held[0] is origin or origin is _A:
                model[bar.open_time_ms] = origin, bar
    assert _read(store) == [bar for _, (_, bar) in sorted(model.items())]


def test_a_bar_without_a_trade_follows_the_close_before_it(tmp_path: Path) -> None:
    """Also where that bar was corrected, or came, after it was stored."""
    store = HistoryStore(tmp_path)
    _store(store, _A, [_bar(0), Bar(_START + 2 * _STEP_MS, 100, 100, 100, 100, 0, traded=False)])
    _store(store, _A, [_bar(1, 101.0)])
    assert [bar.close for bar in _read(store)] == [100.0, 101.0, 101.0]


# --- spans ------------------------------------------------------------------------------------


def test_what_was_answered_is_remembered(tmp_path: Path) -> None:
    """Spans join; what is not final yet is not remembered; sources are kept apart."""
    store = HistoryStore(tmp_path)
    _store(store, _A, [_bar(0), _bar(1)])
    _store(store, _A, [_bar(2), _bar(7)])
    _store(store, _B, [_bar(9)])
    store.append("BTC-USD", _STEP, _answer(_A, [_bar(8)], final=False), _RANKING)
    assert store.answered("BTC-USD", _STEP) == {
        "alpaca": [(_START, _START + 8 * _STEP_MS)],
        "yahoo": [(_START + 9 * _STEP_MS, _START + 10 * _STEP_MS)],
    }


def test_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    """That a source has nothing is known, too; it makes no partition."""
    store = HistoryStore(tmp_path)
    store.append("BTC-USD", _STEP, Fetched(_A, BarSeries(_STEP), 0, 900_000, 900_000))
    assert store.answered("BTC-USD", _STEP) == {"alpaca": [(0, 900_000)]}
    assert store.symbols() == ()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))), st.integers(-1, 51))
def test_joined_spans_cover_what_the_spans_cover(spans: list[tuple[int, int]], at: int) -> None:
    """Ascending, apart, and nothing more or less."""
    result = joined(spans)
    assert all(one[1] < other[0] for one, other in pairwise(result))
    assert covers(result, at) == any(start <= at < end for start, end in spans)


# --- scales: fault 40 -------------------------------------------------------------------------


def test_a_split_between_two_fetches_is_refused(tmp_path: Path) -> None:
    """Fault 40: adjusted prices of before and after a split overlap at half the scale: told, not mixed."""
    store = HistoryStore(tmp_path)
    before = [_bar(number) for number in range(10)]
    _store(store, _A, before)
    after = [_bar(number, 50.0) for number in range(7, 20)]
    with pytest.raises(ScaleError, match=r"prices 0\.5 times those stored for the same 3 bar\(s\)"):
        _store(store, _A, after)
    assert _read(store) == before
    assert store.answered("BTC-USD", _STEP) == {"alpaca": [(_START, _START + 10 * _STEP_MS)]}


@pytest.mark.parametrize("back", [False, True])
def test_a_jump_at_the_seam_is_refused(tmp_path: Path, back: bool) -> None:
    """Raw prices fall by a split from bar to bar: refused on either side of what is stored, in any month."""
    store = HistoryStore(tmp_path)
    one, other = [_bar(number) for number in (0, 1)], [_bar(number, 25.0) for number in (400, 401)]
    if back:
        one, other = other, one
    _store(store, _A, one)
    with pytest.raises(ScaleError, match=r"a factor 0\.25, without trading between"):
        _store(store, _A, other)
    assert _read(store) == one
    assert _store(store, _A, other, allow_jumps=True).added == 2


def test_a_bad_print_inside_an_answer_is_refused(tmp_path: Path) -> None:
    """A price x 100 between others: nothing of the answer is stored."""
    store = HistoryStore(tmp_path)
    with pytest.raises(ScaleError, match="a factor 100,"):
        _store(store, _A, [_bar(0), _bar(1, 10_000.0), _bar(2)])
    assert _read(store) == []


def test_currencies_calendars_and_dividends_are_not_mixed(tmp_path: Path) -> None:
    """USDT is not USD, a dividend-adjusted price is no raw one: no ratio would show it, so it is refused."""
    store = HistoryStore(tmp_path)
    _store(store, _A, [_bar(0)])
    for other, said in (
        (replace(_B, currency="USDT"), "prices in USDT"),
        (replace(_B, adjustment=Adjustment.ALL), "dividend-adjusted prices, stored are raw"),
        (replace(_B, calendar="NYSE"), "bars of the calendar 24/7"),
    ):
        with pytest.raises(ScaleError, match=said):
            _store(store, other, [_bar(1)])
    assert len(_read(store)) == 1


def test_the_apple_split_of_2014_in_real_prices(tmp_path: Path) -> None:
    """Fault 40 on unadjusted daily prices and the later, adjusted ones: both seams are found."""
    raw = open_bar_files(str(shared_data("stock_1d", "aapl_1d_unadjusted_2011_2012.csv.gz")), _CALENDAR)
    adjusted = open_bar_files(str(shared_data("stock_1d", "aapl_1d_2004_2018.csv.gz")), _CALENDAR)
    store = HistoryStore(tmp_path)
    origin = Origin("alpaca", "AAPL", "NYSE")
    for index, files in enumerate((raw, adjusted)):
        series = files.series("AAPL", 86_400)
        assert series is not None
        first, last = series.open_time_ms[0], series.open_time_ms[-1]
        fetched = Fetched(origin, series, first, last + 86_400_000, last)
        if index == 0:
            store.append("AAPL", 86_400, fetched)
            continue
        with pytest.raises(ScaleError, match=r"AAPL: alpaca now gives prices 0\.\d+ times those stored"):
            store.append("AAPL", 86_400, fetched)


# --- what is no bar ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        Bar(_START, 1, 2, 3, 2, 0),
        Bar(_START, 1, 2, 1, math.nan, 0),
        Bar(_START, 1, 2, 1, math.inf, 0),
        Bar(_START, 0, 2, 1, 1, 0),
        Bar(_START, 1, 2, 1, 1, -1),
        Bar(_START, 1, 2, 1, 3, 1),
        Bar(_START - _STEP_MS, 1, 1, 1, 1, 1),
    ],
)
def test_what_is_no_bar_is_refused(tmp_path: Path, wrong: Bar) -> None:
    """Prices of 0, NaN or upside down, times outside the span: a mistake to be told, not stored."""
    store = HistoryStore(tmp_path)
    fetched = Fetched(_A, _series([wrong, _bar(3, 1.0)]), _START, _START + 10 * _STEP_MS, _START)
    with pytest.raises(DataError, match="BTC-USD 15m from alpaca"):
        store.append("BTC-USD", _STEP, fetched)
    assert _read(store) == []


def test_bars_twice_or_out_of_order_are_refused(tmp_path: Path) -> None:
    """Times ascend strictly."""
    with pytest.raises(DataError, match="do not ascend"):
        _store(HistoryStore(tmp_path), _A, [_bar(0), _bar(2), _bar(1), _bar(3)])


# --- the folder -------------------------------------------------------------------------------


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder with other things in it never becomes a store by a typing error."""
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"not a history store"):
        HistoryStore(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"schema": "history-v9"}', "format 'history-v9'"), ("{", "damaged"), ("3", "None")],
)
def test_another_format_is_refused(tmp_path: Path, content: str, said: str) -> None:
    """A store of a later release, or a damaged marker, is told by name."""
    (tmp_path / MARKER).write_text(content)
    with pytest.raises(DataError, match=said) as caught:
        HistoryStore(tmp_path)
    assert str(tmp_path / MARKER) in str(caught.value)


def test_bars_set_aside_are_kept(tmp_path: Path) -> None:
    """Fetching anew deletes nothing: the old bars lie beside, twice over, and are not read."""
    store = HistoryStore(tmp_path)
    assert store.set_aside("BTC-USD", _STEP) is None
    for turn in (1, 2):
        _store(store, _A, [_bar(0, 100.0 * turn)])
        aside = store.set_aside("BTC-USD", _STEP)
        assert aside == tmp_path / "BTC-USD" / f"15m.{turn}"
        assert (aside / "2025-01.parquet").is_file()
    assert _read(store) == []
    assert store.symbols() == ()


def test_a_damaged_byte_anywhere_is_found_or_harmless(tmp_path: Path) -> None:
    """Each byte in turn: the bars come back as they were, or the error names the file and what to do."""
    store = HistoryStore(tmp_path)
    bars = [_bar(number, 100 + number % 5) for number in range(60)]
    _store(store, _A, bars)
    origins = store.origins("BTC-USD", _STEP)
    (path,) = tmp_path.rglob("*.parquet")
    whole = path.read_bytes()
    found = 0
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            assert (_read(store), store.origins("BTC-USD", _STEP)) == (bars, origins), f"byte {at}"
        except DataError as error:
            found += 1
            assert str(path) in str(error)
            assert "tradectl fetch-history BTC-USD --interval 15m --again" in str(error)
    assert found > len(whole) / 7 / 4


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet", b"PAR1" * 100])
def test_a_foreign_file_is_told_by_name(tmp_path: Path, content: bytes) -> None:
    """Cut, empty or something else: DataError with the path, for readers and for files.py."""
    store = HistoryStore(tmp_path)
    _store(store, _A, [_bar(0)])
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        _read(store)
    with pytest.raises(DataError, match=str(path)):
        _store(store, _A, [_bar(1)])
    with pytest.raises(BarFilesError, match=str(path)):
        open_bar_files(str(tmp_path), _CALENDAR)
    assert path.read_bytes() == content


def test_a_partition_in_the_wrong_place_is_told(tmp_path: Path) -> None:
    """A file copied to another symbol or month is not that symbol's."""
    store = HistoryStore(tmp_path)
    _store(store, _A, [_bar(0)])
    source = tmp_path / "BTC-USD" / "15m" / "2025-01.parquet"
    other = tmp_path / "ETH-USD" / "15m" / "2025-01.parquet"
    other.parent.mkdir(parents=True)
    shutil.copy(source, other)
    with pytest.raises(DataError, match="it holds BTC-USD"):
        store.read("ETH-USD", _STEP)
    shutil.copy(source, source.with_name("2025-02.parquet"))
    with pytest.raises(DataError, match="another partition"):
        _read(store)


def test_a_damaged_memory_of_answers_is_told(tmp_path: Path) -> None:
    """It may be deleted: then the sources are asked again."""
    store = HistoryStore(tmp_path)
    _store(store, _A, [_bar(0)])
    path = tmp_path / "BTC-USD" / "15m" / "answered.json"
    path.write_text("[]")
    with pytest.raises(DataError, match="delete it: the sources will be asked again"):
        store.answered("BTC-USD", _STEP)
    path.unlink()
    assert store.answered("BTC-USD", _STEP) == {}


# --- death, full disks, others beside ---------------------------------------------------------

_DEAD = 77
_ROUNDS = 4


def _write_rounds(folder: Path) -> None:
    store = HistoryStore(folder)
    for turn in range(_ROUNDS):
        # The second half of each answer overlaps the next one, and the months change on the way.
        _store(store, _A, [_bar(number) for number in range(turn * 90, turn * 90 + 120)])


def _die_at(folder: str, call: str) -> None:
    """Write, and end the process as kill -9 would at the n-th time the disk is asked to keep something."""
    import os

    left = int(call)
    keeping = {name: getattr(os, name) for name in ("fsync", "replace", "open", "mkdir")}

    def dying(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202  # stands in for functions of os
        def stand_in(*args: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(_DEAD)
            return keeping[name](*args, **options)

        return stand_in

    HistoryStore(Path(folder))
    for name in keeping:
        setattr(os, name, dying(name))
    _write_rounds(Path(folder))


_PROGRAM = """
import sys
from tests.adapters.bars.test_store import _die_at
_die_at(*sys.argv[1:])
"""


def test_death_at_any_step_loses_nothing(tmp_path: Path) -> None:
    """Killed at each step of writing: what is there is whole, and writing on ends in the same store."""
    _write_rounds(tmp_path / "undisturbed")
    expected = _read(HistoryStore(tmp_path / "undisturbed"))
    deaths = 0
    for call in (0, 1, 2, 3, 5, 8, 13, 16, 19, 22, 25, 28, 31, 999):
        folder = tmp_path / str(call)
        ended = subprocess.run([sys.executable, "-c", _PROGRAM, str(folder), str(call)], check=False)
        if ended.returncode == 0:
            break
        assert ended.returncode == _DEAD
        deaths += 1
        there = _read(HistoryStore(folder))
        assert there == [bar for bar in expected if bar in there]
        _write_rounds(folder)
        assert _read(HistoryStore(folder)) == expected
        assert not list(folder.rglob("*.new"))
    assert deaths >= 8


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 1 MiB."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if mount is None or umount is None:
        pytest.skip("needs mount")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run([umount, "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_loses_nothing(disk: Path) -> None:
    """With no byte left nothing is stored and all that was stays; with room again, writing goes on."""
    store = HistoryStore(disk / "history")
    bars = [_bar(number) for number in range(50)]
    _store(store, _A, bars)
    with (disk / "others").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    with pytest.raises(UnavailableError, match=r"cannot be written \(No space left.*stays"):
        _store(store, _A, [_bar(number) for number in range(40, 5000)])
    assert _read(store) == bars
    assert not list(disk.rglob("*.new"))
    (disk / "others").unlink()
    _store(store, _A, [_bar(50)])
    assert len(_read(store)) == 51


def test_a_file_that_may_not_grow_is_told(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk where none can be mounted."""
    resource = pytest.importorskip("resource", reason="needs limits on the size of files")
    store = HistoryStore(tmp_path)
    _store(store, _A, [_bar(0)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UnavailableError, match="cannot be written"):
            _store(store, _A, [_bar(number, 100 + number % 977 / 100) for number in range(5000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert _read(store) == [_bar(0)]


def test_readers_and_writers_beside_each_other(tmp_path: Path) -> None:
    """Two writers lose nothing of each other's; a reader always sees whole partitions."""
    problems: list[object] = []
    done = threading.Event()

    def write(offset: int) -> None:
        store = HistoryStore(tmp_path)
        for number in range(offset, 80, 2):
            _store(store, _A, [_bar(number)])

    def read() -> None:
        seen = 0
        while not done.is_set():
            now = len(_read(HistoryStore(tmp_path)))
            if now < seen:
                problems.append((seen, now))
            seen = now

    writers = [threading.Thread(target=write, args=(offset,)) for offset in (0, 1)]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    reader.join(60)
    assert problems == []
    assert _read(HistoryStore(tmp_path)) == [_bar(number) for number in range(80)]


# --- what reads it ----------------------------------------------------------------------------


class TestTheStoreKeepsTheContract(BarSourceContract):
    """Opened as files are, a store is a source of bars, of coarser ones too."""

    @pytest.fixture(params=["24/7 15m", "24/7 1h", "NYSE 30m", "NYSE 1h"])
    def served(self, request: pytest.FixtureRequest, tmp_path: Path) -> ServedBars:
        """A store with gaps and with bars without a trade."""
        name, wanted = str(request.param).split()
        interval = 900 if name == "24/7" else 1800
        start, end = ms("2024-02-26T00:00:00Z"), ms("2024-03-15T00:00:00Z")
        symbol = "BTC-USD" if name == "24/7" else "SPY"
        bars = BarSeries(interval)
        for number, at_ms in enumerate(_CALENDAR.expected_bars(name, interval, start, end)):
            if number % 29 == 11 and len(bars):
                last = bars.close[-1]
                bars.append(Bar(at_ms, last, last, last, last, 0, traded=False))
            elif number % 50 != 3:
                bars.append(Bar(at_ms, 10, 11, 9, 10 + number % 3 / 4, number))
        store = HistoryStore(tmp_path)
        store.append(symbol, interval, Fetched(Origin("alpaca", symbol, name), bars, start, end, end))
        seconds = {"15m": 900, "30m": 1800, "1h": 3600}[wanted]
        return ServedBars(
            open_bar_files(str(tmp_path), _CALENDAR), _CALENDAR, name, symbol, seconds, start, end
        )


def test_the_calendar_of_a_symbol_is_kept(tmp_path: Path) -> None:
    """A symbol that trades by another calendar than its form says is read back with it."""
    store = HistoryStore(tmp_path)
    at_ms = ms("2025-01-30T08:00:00Z")
    bars = _series([Bar(at_ms, 9, 9, 9, 9, 9)], 1800)
    store.append(
        "SAP", 1800, Fetched(Origin("x", "SAP.DE", "XETR", currency="EUR"), bars, at_ms, at_ms + 1, 0)
    )
    assert open_bar_files(str(tmp_path), _CALENDAR).calendar_of("SAP") == "XETR"


def test_a_part_of_a_store_is_not_taken_for_files(tmp_path: Path) -> None:
    """A glob into a store names the store; an empty one says what fills it."""
    store = HistoryStore(tmp_path / "history")
    _store(store, _A, [_bar(0)])
    for pattern in (tmp_path, tmp_path / "history" / "BTC-USD"):
        with pytest.raises(BarFilesError, match=f"part of the history store {tmp_path / 'history'}"):
            open_bar_files(str(pattern), _CALENDAR)
    with pytest.raises(NotFoundError, match="'tradectl fetch-history' gets them"):
        open_bar_files(str(tmp_path / "history"), _CALENDAR, symbols={"ETH-USD"})


def test_metadata_are_readable_by_others(tmp_path: Path) -> None:
    """A partition is plain parquet to pandas: times in UTC, numbers, and our metadata as JSON."""
    import pandas as pd
    import pyarrow.parquet

    _store(HistoryStore(tmp_path), _A, [_bar(0)])
    (path,) = tmp_path.rglob("*.parquet")
    frame = pd.read_parquet(path)
    assert list(frame) == ["ts_utc", "open", "high", "low", "close", "volume", "traded", "origin"]
    assert str(frame["ts_utc"].iloc[0]) == "2025-01-30 00:00:00+00:00"
    said = json.loads(pyarrow.parquet.read_metadata(path).metadata[b"tradectl"])
    assert said["origins"][0]["source"] == "alpaca"
