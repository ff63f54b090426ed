"""The router beside a plain loop: ``python tests/bench/bench_router.py [--symbols 500] [--rounds 5]``.

Both ask the same servers on loopback, through the same blocking clients, in the same run, one after the
other in turns.  The loop asks symbol by symbol or batch by batch, source by source, and waits.

*Well*: one source that answers after 20 ms; first one symbol a call, then fifty.
*Ill*: before it stand a source that hangs and one at its rate limit.  The loop waits for the hang's timeout
at every call, so it is given few symbols, and its time is stated per symbol.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from adapters.clock import WallClock
from adapters.quotes.judging import judge
from adapters.quotes.prices import as_quote
from adapters.quotes.router import QuoteRouter
from adapters.quotes.router_settings import RouterSettings
from adapters.quotes.source import Outcome, SourceFailedError, SourceQuote
from adapters.settings.model import QuoteSettings
from engine.model import AssetClass, Quote
from tests.adapters.quotes.fakes import FakeDirectory
from tests.adapters.quotes.http_source import HttpSource, quotes_server

ANSWER_SECONDS: Final = 0.02
_WELL: Final = RouterSettings(QuoteSettings(deadline_seconds=60, source_deadline_seconds=60))
_ILL: Final = RouterSettings(QuoteSettings(deadline_seconds=60, source_deadline_seconds=1))
_CLOCK: Final = WallClock()


def plain_loop(
    sources: Sequence[HttpSource], symbols: Sequence[str], settings: RouterSettings
) -> dict[str, Quote]:
    """Ask one batch after the other, source by source, as one writes it first."""
    found: dict[str, Quote] = {}
    size = min(source.batch for source in sources)
    for begin in range(0, len(symbols), size):
        missing = list(symbols[begin : begin + size])
        for source in sources:
            if not missing:
                break
            try:
                answers = source.fetch(missing, AssetClass.STOCK, settings.hop_ms / 1000)
            except SourceFailedError:
                continue
            demands = settings.demands(AssetClass.STOCK)
            for symbol in missing:
                answer = answers.get(symbol)
                outcome, _ = judge(answer, _CLOCK.now_utc_ms(), demands)
                if outcome is Outcome.FRESH and isinstance(answer, SourceQuote):
                    found[symbol] = as_quote(symbol, source.name, answer)
            missing = [symbol for symbol in missing if symbol not in found]
    return found


def routed(
    sources: Sequence[HttpSource], settings: RouterSettings
) -> tuple[QuoteRouter, Callable[[Sequence[str]], int]]:
    """Return a router over the sources, and what counts its fresh answers."""
    order = dict.fromkeys(AssetClass, tuple(source.name for source in sources))
    by_name = {source.name: source for source in sources}
    router = QuoteRouter(order, by_name, FakeDirectory(), _CLOCK, random.Random(1), settings)

    def ask(symbols: Sequence[str]) -> int:
        answers = router.snapshot(symbols, _CLOCK.now_utc_ms() + 60_000)
        return sum(isinstance(answer, Quote) for answer in answers.values())

    return router, ask


def seconds_of(work: Callable[[], int], wanted: int) -> float:
    """Return how long it took; everything must have been found."""
    begin = time.perf_counter()
    found = work()
    took = time.perf_counter() - begin
    assert found == wanted, f"{found} of {wanted}"
    return took


def compare(
    title: str,
    sources: Sequence[HttpSource],
    symbols: Sequence[str],
    few: int,
    rounds: int,
    settings: RouterSettings = _WELL,
) -> float:
    """Print what both took and how many times faster the router was, by the medians per symbol."""
    router, ask = routed(sources, settings)
    loop_times, router_times = [], []
    for _ in range(rounds):
        loop_times.append(seconds_of(lambda: len(plain_loop(sources, symbols[:few], settings)), few) / few)
        router_times.append(seconds_of(lambda: ask(symbols), len(symbols)) / len(symbols))
    router.close()
    loop_ms, router_ms = (1000 * statistics.median(times) for times in (loop_times, router_times))
    print(
        f"{title:<42} loop {1000 / loop_ms:>8.0f}/s   router {1000 / router_ms:>8.0f}/s"
        f"   ratio {loop_ms / router_ms:>7.1f}   first pass {router_times[0] * len(symbols):.2f} s"
    )
    return loop_ms / router_ms


def main() -> None:
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    symbols = [f"S{number:04}" for number in range(options.symbols)]
    with quotes_server(ANSWER_SECONDS) as server:

        def source(name: str, batch: int) -> HttpSource:
            return HttpSource(name, f"{server.url}/{name}", batch)

        print(f"{len(symbols)} symbols, {options.rounds} rounds, medians; symbols a second, fresh")
        compare("one a call", [source("good", 1)], symbols, min(100, len(symbols)), options.rounds)
        compare("fifty a call", [source("good", 50)], symbols, len(symbols), options.rounds)
        ill = [source("hangs", 50), source("limited", 50), source("good", 50)]
        compare("fifty a call, one hangs, one is limited", ill, symbols, 50, options.rounds, _ILL)


if __name__ == "__main__":
    main()
