"""The page of requirements on adapters: every one is shown by tests, and failed by an adapter that is wrong.

Run together with the tests it tells of: ``pytest -k requirements``, with ``--update-golden`` to write it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.golden import assert_golden
from tests.requirements_map import MARKED

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "adapters.md"
REQUIREMENTS: Final = {
    1: "The client id follows from the decision, is durable before the send, and the same after a restart.",
    2: "At most one write per submit, cancel and replace: the library's own retries are off.",
    3: "Every call has an end: a server that hangs, or drips, is left within the limit.",
    4: "An answer that was lost or cannot be read is ambiguous: the order is looked up by its client id.",
    5: "'Must be unique' is looked up, and the order that is found is the result.",
    6: "One 'not found' is no proof: an unknown fate blocks the symbol; a resend keeps the name.",
    7: "Positions are never closed by the venue's own call: exits are ordinary orders with names.",
    8: "Quantities and prices are exact and on their steps before the send; what is no number is not sent.",
    9: "Minimums, time in force, fractions, extended hours and sub-pennies are checked before the send.",
    10: "All 17 states, and any unknown one, go through one table.",
    11: "One odd row never loses the list.",
    12: "Refusals with one status are told apart: buying power, held, wash trade, minimum.",
    13: "A replacement exit waits for the final cancellation.",
    14: "The final address is asserted, an empty one is an error, real money takes two switches.",
    15: "The cumulative filled quantity is the truth; repeated and late reports change nothing.",
    16: "Streams are hints: everything is compared at the start, on reconnection and on a timer.",
    17: "Handlers only note; failures are kept; refused keys and silence surface.",
    18: "A quote has price, bid, ask, source, currency, the source's time, our time and its kind.",
    19: "Without a time of the source a price is never tradable; stale is a typed answer.",
    20: "A price is finite and above 0, the bid not above the ask; zeros are 'no data'.",
    21: "Prices in another currency are flagged, and not used as dollars unless the settings allow it.",
    22: "One registry of symbols; 'not served' lasts, and is no failure of the source.",
    23: "A breaker per source and class, a backoff per source and symbol; no data is no failure.",
    24: "Every failure still reaches every remaining source; a miss tells each hop's reason.",
    25: "Stored history may value positions, and prices no order.",
    26: "Budgets per source, batched calls, rotation, the venue's own waits.",
    27: "A deadline for each hop and for all of them.",
    28: "Prices are shown in the steps of the instrument, and never rounded before use.",
    29: "No key is in any log, error, crash file or journal.",
    30: "HTML, broken JSON, plain text and redirects are typed errors.",
    31: "The real libraries, on loopback alone; proxies of the environment are not used.",
    32: "One suite for brokers runs on paper, Alpaca and ccxt alike.",
    33: "The local Alpaca answers as Alpaca's OpenAPI documents say.",
    34: "Faults before and after acceptance of every kind: never a duplicate.",
}
_HEAD: Final = """\
# What adapters must do, and the tests that show it

Vendors' libraries repeat orders, lose timestamps and swallow errors. These are the requirements on everything
between the engine and a vendor. Each is a check that passes with our adapters and fails with one that is
wrong on purpose; `pytest -m "requirement"` runs them all. [orders.md](orders.md) and [quotes.md](quotes.md)
say how it is done. This page is made from the tests.

| number | requirement | shown in | with wrong ones |
| --- | --- | --- | --- |
"""
_WRONG: Final = ("wrong", "_fails_", "careless", "mistake")


def _page(found: Mapping[int, frozenset[str]]) -> str:
    rows = []
    for number, words in REQUIREMENTS.items():
        files = sorted({test.partition("::")[0] for test in found[number]})
        links = ", ".join(f"[{Path(file).stem.removeprefix('test_')}](../{file})" for file in files)
        wrong = sorted(test.rpartition("::")[2] for test in found[number] if _is_of_wrong(test))
        rows.append(
            f"| {number} | {words} | {links} | {', '.join(f'`{name}`' for name in dict.fromkeys(wrong))} |\n"
        )
    return _HEAD + "".join(rows)


def _is_of_wrong(test: str) -> bool:
    return any(word in test.rpartition("::")[2] for word in _WRONG)


def test_the_page_of_requirements(pytestconfig: pytest.Config, update_golden: bool) -> None:
    """Each number has tests, some of them with a wrong adapter; the page says which."""
    found = pytestconfig.stash[MARKED]
    if len(found) < len(REQUIREMENTS):
        pytest.skip(
            "the tests of the requirements are not collected: run it with them, pytest -k requirements"
        )
    assert list(found) == list(REQUIREMENTS)
    alone = [number for number, tests in found.items() if not any(map(_is_of_wrong, tests))]
    assert alone == [], "no wrong adapter fails these"
    assert_golden(_page(found), PAGE, update_golden)
