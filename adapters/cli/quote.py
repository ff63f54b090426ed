"""``tradectl quote``: every source's answer for a symbol, and why it was used or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from adapters.bootstrap.quoting import OpenQuotes, open_market_router, open_router
from adapters.cli.configured import config_option
from adapters.cli.figures import instant, iso, laid_out, rows, span
from adapters.cli.output import ExitCode, Output, common_options
from adapters.cli.symbols import parse_symbols
from adapters.symbols.inferred import calendar_of, infer_asset_class, infer_instrument
from engine.model import NoQuote, Quote, QuoteKind
from engine.units import PRICE_SCALE, unscaled

if TYPE_CHECKING:
    from adapters.quotes.hop import Hop, Routed

SCHEMA: Final = "quote-v1"
_HEADS: Final = ("source", "asked as", "price", "bid", "ask", "age", "kind", "currency", "took", "outcome")
_NOTHING: Final = "-"
_YEAR_9999_MS: Final = 253_370_764_800_000
_OWN: Final = frozenset({"history"})
"""Sources that are on this machine: hearing them is not reaching anyone."""


@click.command
@click.argument("symbols", metavar="SYMBOL...", nargs=-1, required=True)
@click.option(
    "--quotes",
    metavar="live|sim|bars:GLOB",
    help="Whom to ask: the sources of the settings, a simulated market, files of bars"
    " [live where there are settings, else sim].",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the simulated market.")
@config_option
@common_options
def command(
    output: Output, symbols: tuple[str, ...], quotes: str | None, seed: int, config: str | None
) -> ExitCode:
    """Ask every source for a symbol, and show what each said and why it was used or not.

    The exit code is 0 where each symbol has a price to trade on, 1 where one has none, 5 where no source
    could be reached.
    """
    asked = parse_symbols(symbols)
    with _opened(quotes, config, output.state_dir, asked, seed) as market:
        # The router's own settings bound the pass; this only says that nobody else does.
        deadline_ms = market.clock.now_utc_ms() + 60_000
        told = market.router.survey(asked, deadline_ms)
        now_ms = market.clock.now_utc_ms()
    if output.as_json:
        output.document(document(told, market.notes, now_ms))
    else:
        output.show("\n".join(listing(told, market.notes, now_ms)))
    return exit_code(told)


def _opened(
    quotes: str | None, config: str | None, state_dir: Path, symbols: Sequence[str], seed: int
) -> AbstractContextManager[OpenQuotes]:
    if quotes not in (None, "live"):
        return open_market_router(quotes, state_dir, symbols, seed)
    from adapters.clock import WallClock
    from adapters.settings.model import DAY
    from adapters.settings.reading import read_settings
    from adapters.symbols.store import FILE, SymbolStore

    settings, path = read_settings(config)
    if quotes is None and path is None:
        return open_market_router("sim", state_dir, symbols, seed)
    clock = WallClock()
    days = max(1, settings.refresh_symbols_seconds // DAY)
    registry = SymbolStore(state_dir / FILE, now_ms=clock.now_utc_ms(), stale_after_days=days)
    return open_router(settings, state_dir, registry, clock, symbols)


def exit_code(told: Mapping[str, Routed]) -> ExitCode:
    """Return 0 where every symbol has a fresh price; 5 where nobody was reached; else 1."""
    if all(_fresh(routed) for routed in told.values()):
        return ExitCode.OK
    hops = [hop for routed in told.values() for hop in routed.hops if hop.source not in _OWN]
    asked = [hop for hop in hops if hop.request or hop.outcome in ("failed", "skipped")]
    if asked and all(hop.outcome in ("failed", "skipped") for hop in asked):
        return ExitCode.UNAVAILABLE
    return ExitCode.FINDING


def _fresh(routed: Routed) -> bool:
    return isinstance(routed.answer, Quote) and routed.answer.kind is not QuoteKind.HISTORY


# --- text -------------------------------------------------------------------------------------


def listing(told: Mapping[str, Routed], notes: Sequence[str], now_ms: int) -> Iterator[str]:
    """Lay out what was said, symbol by symbol."""
    for index, routed in enumerate(told.values()):
        if index:
            yield ""
        yield _headline(routed, now_ms)
        if routed.hops:
            step = _step(routed)
            table = [_HEADS, *(_row(routed, hop, step, now_ms) for hop in routed.hops)]
            yield from (f"  {line}" for line in laid_out(table))
    if notes:
        yield ""
        yield from rows("note", notes)


def _headline(routed: Routed, now_ms: int) -> str:
    answer = routed.answer
    head = f"{routed.symbol}  {instant(now_ms)}  "
    if isinstance(answer, NoQuote):
        unsettled = f": {answer.detail}" if not routed.hops or answer.reason.word == "unconfirmed" else ""
        return f"{head}no price ({answer.reason.word}){unsettled}"
    step = _step(routed)
    bid, ask = (_text(unscaled(side, PRICE_SCALE), step) for side in (answer.bid, answer.ask))
    use = "" if _fresh(routed) else "; it values positions and prices no order"
    return (
        f"{head}bid {bid}  ask {ask}  USD  from {routed.used}, {_age(answer.source_time_ms, now_ms)} old{use}"
    )


def _row(routed: Routed, hop: Hop, step: Decimal, now_ms: int) -> tuple[str, ...]:
    quote = hop.quote
    if quote is None:
        figures: tuple[str, ...] = (_NOTHING,) * 6
    else:
        prices = (_text(price, step) for price in (quote.price, quote.bid, quote.ask))
        figures = (*prices, _age(quote.source_time_ms, now_ms), quote.kind, quote.currency)
    took = f"{hop.elapsed_ms} ms" if hop.request else _NOTHING
    return hop.source, hop.spelling or _NOTHING, *figures, took, verdict(routed, hop)


def verdict(routed: Routed, hop: Hop) -> str:
    """Say what a source's answer was, and why it was used or not."""
    if hop.source == routed.used:
        return f"used ({hop.reason})" if hop.reason else "used"
    if hop.outcome == "fresh":
        why = f"not needed: {routed.used} goes before it" if routed.used else "not used: see above"
        return f"fresh, {why}"
    return f"{hop.outcome.replace('_', ' ')}: {hop.reason}"


def _step(routed: Routed) -> Decimal:
    """Return the step that the symbol's prices suggest."""
    asset_class = infer_asset_class(routed.symbol)
    prices = [
        float(hop.quote.price) for hop in routed.hops if hop.quote is not None and hop.quote.price.is_finite()
    ]
    return infer_instrument(routed.symbol, asset_class, calendar_of(routed.symbol), prices[:1]).price_step


def _text(price: Decimal, step: Decimal) -> str:
    from adapters.quotes.prices import price_text

    return price_text(price, step) if price.is_finite() else str(price)


def _age(source_time_ms: int | None, now_ms: int) -> str:
    if source_time_ms is None:
        return "unknown"
    seconds = (now_ms - source_time_ms) // 1000
    return span(seconds)


# --- JSON -------------------------------------------------------------------------------------


def document(told: Mapping[str, Routed], notes: Sequence[str], now_ms: int) -> dict[str, Any]:
    """Return what ``--json`` prints: schema quote-v1.  Prices are texts, with every digit they came with."""
    return {
        "schema": SCHEMA,
        "at": iso(now_ms),
        "symbols": [_symbol(routed, now_ms) for routed in told.values()],
        "notes": list(notes),
    }


def _symbol(routed: Routed, now_ms: int) -> dict[str, Any]:
    quote, missed = None, None
    if isinstance(routed.answer, NoQuote):
        missed = routed.answer
    else:
        quote = routed.answer
    return {
        "symbol": routed.symbol,
        "used": routed.used,
        "tradable": _fresh(routed),
        "bid": None if quote is None else f"{unscaled(quote.bid, PRICE_SCALE):f}",
        "ask": None if quote is None else f"{unscaled(quote.ask, PRICE_SCALE):f}",
        "reason": None if missed is None else missed.reason.word,
        "detail": "" if missed is None else missed.detail,
        "sources": [_source(routed, hop, now_ms) for hop in routed.hops],
    }


def _source(routed: Routed, hop: Hop, now_ms: int) -> dict[str, Any]:
    quote = hop.quote
    stamp_ms = None if quote is None else quote.source_time_ms
    return {
        "source": hop.source,
        "spelling": hop.spelling,
        "outcome": hop.outcome,
        "used": hop.source == routed.used,
        "why": verdict(routed, hop),
        "price": None if quote is None else f"{quote.price:f}",
        "bid": None if quote is None else f"{quote.bid:f}",
        "ask": None if quote is None else f"{quote.ask:f}",
        "kind": None if quote is None else quote.kind,
        "currency": None if quote is None else quote.currency,
        "source_time": _stamp(stamp_ms),
        "received": None if quote is None else iso(quote.receive_time_ms),
        "age_seconds": None if stamp_ms is None else (now_ms - stamp_ms) / 1000,
        "request": hop.request or None,
        "elapsed_ms": hop.elapsed_ms,
    }


def _stamp(at_ms: int | None) -> str | None:
    """Return a source's time, None where it has none or says what is no time."""
    return None if at_ms is None or not 0 < at_ms < _YEAR_9999_MS else iso(at_ms)
