"""How failures of vendors are told: without secrets, in one line, with the time that is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.vendors.failures import quoted, retry_after_seconds, silence

NOW_MS = 1_445_412_480_000  # 2015-10-21T07:28:00Z


@given(before=st.text(max_size=300), after=st.text(max_size=300))
def test_no_secret_is_quoted(before: str, after: str) -> None:
    """Wherever a secret stands in a vendor's words, it is not in what is quoted, which is one short line."""
    told = quoted(f"{before}5ecret-key{after}", "5ecret-key", "")
    assert "5ecret-key" not in told
    assert len(told) <= 200
    assert told.isprintable()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "30"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT"}, 10.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:27:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"X-Ratelimit-Reset": "1445412485"}, 5.0),
        ({"X-Ratelimit-Reset": "1445412400"}, 0.0),
        ({"X-Ratelimit-Reset": "later"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, a date, or the instant at which the budget is full again; nothing where it cannot be read."""
    assert retry_after_seconds(headers, NOW_MS) == seconds


def test_silence_is_told_by_its_class_and_never_by_its_text() -> None:
    """The text of an exception may hold the address, and the key in it."""

    class ReadTimeout(Exception):
        pass

    class TooManyRedirects(Exception):
        pass

    for error, words in (
        (ReadTimeout("token=5ecret"), "no answer within 0.5 s"),
        (TimeoutError("token=5ecret"), "no answer within 0.5 s"),
        (TooManyRedirects("token=5ecret"), "redirect"),
        (ConnectionResetError("token=5ecret"), "ConnectionResetError"),
    ):
        reason = silence(error, 0.5).reason
        assert words in reason
        assert "5ecret" not in reason
