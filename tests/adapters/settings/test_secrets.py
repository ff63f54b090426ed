"""Keys do not show themselves: requirement 29's general part, with a sentinel."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import logging
import os
import pickle
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.settings.secrets import HIDDEN, LEAST_LENGTH, Secret, known_secrets, redacted
from engine.errors import UnavailableError
from tests.adapters.settings.wrong_edge import (
    FormatsMessagesOnly,
    KeepsPlainKeys,
    KeepsTracebacks,
    PrintsWhatVendorsSay,
    RightEdge,
)

SENTINEL = "sEnTiNeL/0f+a=key~42"


def raised(value: str) -> RuntimeError:
    """Return an exception as a client library raises it: the key is in a cause, and in an address."""
    try:
        try:
            raise ConnectionError(
                f"https://finnhub.example/quote?{urlencode({'symbol': 'X', 'token': value})}"
            )
        except ConnectionError as cause:
            raise RuntimeError(f"the server said {value}") from cause
    except RuntimeError as error:
        return error


def check_requirement_29(edge: RightEdge, state_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No key is in what a person sees, in a file of a crash, in a log, or in a key's own text."""
    secret = edge.secret(SENTINEL)
    # The same key lies in the environment: it is known whoever read it.
    own = os.environ.get("FINNHUB_API_KEY")
    os.environ["FINNHUB_API_KEY"] = SENTINEL
    try:
        capfd.readouterr()
        edge.report(UnavailableError(f"finnhub did not answer ({raised(SENTINEL).__cause__})"))
        edge.crash(raised(SENTINEL), state_dir)
        # Records by hand: how this process makes its own is another check's concern.
        failure = raised(SENTINEL)
        trace = (type(failure), failure, failure.__traceback__)
        for arguments, exception in (((SENTINEL,), None), (("X",), trace)):
            message = "GET /quote?token=%s"
            record = logging.LogRecord("vendor", logging.ERROR, "x.py", 1, message, arguments, exception)
            edge.handler().handle(record)
        said = capfd.readouterr()
    finally:
        del os.environ["FINNHUB_API_KEY"]
        if own is not None:
            os.environ["FINNHUB_API_KEY"] = own
    crashes = [path.read_text(encoding="utf-8") for path in (state_dir / "crashes").iterdir()]
    assert crashes, "the crash is kept"
    shown = [said.out, said.err, *crashes, f"{secret}", repr(secret), str([secret]), "%s" % (secret,)]  # noqa: UP031 - the way logging formats
    for text in shown:
        assert SENTINEL not in text and quote(SENTINEL, safe="") not in text, text


@pytest.mark.requirement(29)
def test_requirement_29(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The program's edge keeps keys out of everything it says or writes."""
    check_requirement_29(RightEdge(), tmp_path, capfd)


@pytest.mark.requirement(29)
@pytest.mark.parametrize(
    "wrong", [PrintsWhatVendorsSay, KeepsTracebacks, FormatsMessagesOnly, KeepsPlainKeys]
)
def test_requirement_29_finds_wrong_edges(
    wrong: type[RightEdge], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Edges that let a key through in one way fail the same check."""
    with pytest.raises(AssertionError):
        check_requirement_29(wrong(), tmp_path, capfd)


@dataclass
class Holder:
    """Something that holds a key."""

    key: Secret


def test_a_secret_hides_itself() -> None:
    """In every usual way of making text of it; only ``reveal`` shows it."""
    secret = Secret(SENTINEL)
    assert secret.reveal() == SENTINEL
    for text in (
        str(secret),
        repr(secret),
        f"{secret:>40}",
        f"{Holder(secret)}",
        str(asdict(Holder(secret))),
    ):
        assert SENTINEL not in text and HIDDEN in text
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    assert secret == Secret(SENTINEL) != Secret("another one")
    assert len({secret, Secret(SENTINEL)}) == 1
    with pytest.raises(TypeError, match="not written down"):
        pickle.dumps(Holder(secret))
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert not hasattr(secret, "__dict__")
    with pytest.raises(ValueError, match=str(LEAST_LENGTH)):
        Secret("short")


keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=LEAST_LENGTH, max_size=40)


@given(keys, st.text(max_size=20), st.text(max_size=20))
def test_no_way_of_writing_it_gets_through(key: str, before: str, after: str) -> None:
    """Plain, in an address, in JSON, in a repr, in base64 alone or behind an id: it is gone."""
    in_json, in_repr = json.dumps(key)[1:-1], repr(key)[1:-1]
    for way in (key, quote(key, safe=""), quote(key), urlencode({"a": key})[2:], in_json, in_repr):
        assert way not in redacted(f"{before}{way}{after}", [key]).replace(HIDDEN, "\0")
    for before_it in ("", "i", "id", "id:") if len(key) >= 12 else ():
        encoded = base64.b64encode((before_it + key).encode()).decode()
        left = redacted(f"Authorization {encoded}", [key])
        assert HIDDEN in left
        with contextlib.suppress(ValueError):
            assert key.encode() not in base64.b64decode(left.removeprefix("Authorization "))


@given(st.text(max_size=60))
def test_a_text_without_secrets_stays(text: str) -> None:
    """Nothing else is changed, and nothing is inserted."""
    if "=" not in text and ":" not in text:
        assert redacted(text, ["", "a secret that is not there"]) == text


@pytest.mark.parametrize(
    "text",
    [
        "https://x.example/quote?symbol=A&token=unheardof&x=1",
        "GET /price?apikey=unheardof HTTP/1.1",
        "{'APCA-API-SECRET-KEY': 'unheardof', 'Accept': '*/*'}",
        "Authorization: apikey unheardof",
        'X-Finnhub-Token: unheardof"',
        '{"signature": "unheardof"}',
    ],
)
def test_what_is_named_a_key_goes_though_nobody_knows_it(text: str) -> None:
    """Addresses and headers name their keys: those go even where this process never read them."""
    cleaned = redacted(text, [])
    assert "unheardof" not in cleaned and HIDDEN in cleaned


def test_the_environment_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in the environment are known before anybody reads them; short values are no keys."""
    monkeypatch.setenv("CCXT_KRAKEN_SECRET", f"{SENTINEL}-of-kraken\n")
    monkeypatch.setenv("TWELVEDATA_API_KEY", "a")
    assert f"{SENTINEL}-of-kraken" in known_secrets()
    assert redacted("a banana") == "a banana"


PROGRAM = """
import logging, sys, threading, warnings
from adapters.settings.keys import FoundKey, find_key
found = find_key("FINNHUB_API_KEY")
assert isinstance(found, FoundKey)
key = found.secret.reveal()
logging.getLogger("a.library").warning("asked with %s", key)
logging.getLogger("a.library").warning("%d", key)
warnings.warn(f"old key {key}")
class Dying:
    def __del__(self):
        raise ValueError(key)
Dying()
def work():
    raise ConnectionError(f"/quote?token={key}")
thread = threading.Thread(target=work); thread.start(); thread.join()
raise RuntimeError(f"uncaught {key}")
"""


@pytest.mark.requirement(29)
def test_what_nobody_catches_is_clean_too() -> None:
    """Logs, warnings, threads that die and the process itself say nothing of a key that was read."""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", PROGRAM],
        env={**os.environ, "FINNHUB_API_KEY": SENTINEL, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert SENTINEL not in done.stderr + done.stdout
    for told in ("asked with ***", "old key ***", "ValueError: ***", "token=***", "uncaught ***"):
        assert told in done.stderr, done.stderr
    assert done.returncode == 1
