"""From ``Settings`` to a file of them that explains itself: what ``tradectl init`` writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from adapters.settings.model import (
    TRUSTING,
    USUAL_SOURCES,
    ClassQuotes,
    QuoteSettings,
    Rate,
    Settings,
    SourceSettings,
)
from adapters.settings.reading import API_VERSION
from engine.language.expression import decimal_text, duration_text

_COMMENT_AT: Final = 36
_PLAIN: Final = re.compile("[A-Za-z][A-Za-z0-9_./-]*")


def written(settings: Settings) -> str:
    """Return a commented file that reads as exactly these settings.

    What is not set stands there as a comment, with an example.
    """
    return "\n".join(_lines(settings)) + "\n"


def _lines(settings: Settings) -> Iterator[str]:
    broker, quotes = settings.broker, settings.quotes
    yield "# The settings of tradectl, beside the policy.  All of them are here, with a value in force each;"
    yield "# a line that is deleted is as it was: its value is the default.  Times are 30s, 5m, 1h, 7d."
    yield "#"
    yield "# Keys are never in this file.  They come from the environment or from the system's keyring"
    yield "# ('tradectl init --store-keys'), under these names:"
    yield "#   alpaca      APCA_API_KEY_ID and APCA_API_SECRET_KEY"
    yield "#   finnhub     FINNHUB_API_KEY"
    yield "#   twelvedata  TWELVEDATA_API_KEY"
    yield "#   ccxt:NAME   CCXT_NAME_KEY and CCXT_NAME_SECRET, to trade there; prices need none"
    yield "#   yahoo       none"
    yield "# 'tradectl doctor' says what is missing, and what to do."
    yield f"apiVersion: {API_VERSION}"
    yield ""
    agent = None if settings.agent is None else _text(settings.agent)
    yield _line("", "agent", agent, "one per account; else named after policy and market", "main")
    yield _line("", "policy", _text(settings.policy), "a shipped policy by name, or a path")
    yield ""
    yield "broker:"
    yield _line("  ", "name", broker.name, "paper, alpaca or ccxt:NAME")
    yield _line("  ", "paper", str(broker.paper).lower(), "no real money; false alone trades none either")
    yield _line("  ", "url", broker.url, "another address for orders", "http://127.0.0.1:8080")
    yield _line("  ", "connect_timeout", duration_text(broker.connect_timeout_seconds), "to be connected")
    yield _line("  ", "read_timeout", duration_text(broker.read_timeout_seconds), "of silence")
    yield _line("  ", "timeout", duration_text(broker.timeout_seconds), "of a whole call")
    yield _line("  ", "fee", _share(broker.fee), "of an order's amount, reckoned with")
    yield ""
    yield "reconcile:"
    yield _line("  ", "every", duration_text(settings.reconcile_seconds), "our orders against the broker's")
    yield ""
    yield "symbols:"
    refresh = duration_text(settings.refresh_symbols_seconds)
    yield _line("  ", "refresh", refresh, "how old a venue's list of symbols may be")
    yield ""
    if settings.history is None:
        yield "# history:"
        yield _line("", "#   path", "~/bars", "where bars are stored; else  history  in the state folder")
    else:
        yield "history:"
        yield _line("  ", "path", _text(settings.history), "where bars are stored")
    yield ""
    yield from _quotes(quotes)
    yield ""
    yield "sources:                            # budgets: what the vendors allow without payment"
    for name in (*USUAL_SOURCES, *(name for name in settings.sources if name not in USUAL_SOURCES)):
        yield from _source(name, settings.source(name))
    yield "  # ccxt:kraken: {budget: [60 per 1m]}"


def _quotes(quotes: QuoteSettings) -> Iterator[str]:
    yield "quotes:"
    yield _line("  ", "deadline", duration_text(quotes.deadline_seconds), "of a pass over all symbols")
    source_deadline = duration_text(quotes.source_deadline_seconds)
    yield _line("  ", "source_deadline", source_deadline, "of one source, before the next is asked")
    breaker, backoff = quotes.breaker, quotes.backoff
    failing = f"{{failures: {breaker.failures}, open: {duration_text(breaker.open_seconds)}}}"
    yield _line("  ", "breaker", failing, "a failing source is left alone")
    first, longest = duration_text(backoff.first_seconds), duration_text(backoff.longest_seconds)
    yield _line("  ", "backoff", f"{{first: {first}, longest: {longest}}}", "and a symbol that fails there")
    for name, one in (("stock", quotes.stock), ("commodity", quotes.commodity), ("crypto", quotes.crypto)):
        yield from _class(name, one)


def _class(name: str, one: ClassQuotes) -> Iterator[str]:
    yield f"  {name}:"
    yield _line("    ", "sources", _list(one.sources), "in this order")
    order, value = duration_text(one.order_age_seconds), duration_text(one.value_age_seconds)
    ages = f"{{order: {order}, value: {value}}}"
    yield _line("    ", "max_age", ages, "to price an order, to value a position")
    yield _line("    ", "currencies", _list(one.currencies), "taken for US dollars; or name USDT, too")
    quorum = one.quorum
    agreed = None if quorum is None else f"{{sources: {quorum.sources}, within: {_share(quorum.within)}}}"
    yield _line("    ", "quorum", agreed, "who must agree, or there is no quote", "{sources: 2, within: 1%}")


def _source(name: str, source: SourceSettings) -> Iterator[str]:
    yield f"  {name}:"
    yield _line("    ", "url", source.url, "another address than its own", "http://127.0.0.1:8080")
    counted = "symbols asked for, at most" if name == "twelvedata" else "requests, at most"
    yield _line("    ", "budget", _list([_rate(rate) for rate in source.budget]), counted)
    yield _line("    ", "batch", str(source.batch), "symbols in one call")
    if source.feed is not None or name.startswith("alpaca"):
        feed = None if source.feed is None else _text(source.feed)
        yield _line("    ", "feed", feed, "of stock prices: iex, or sip where you subscribe", "iex")
    if name in TRUSTING:
        trusted = None if source.certificate is None else _text(source.certificate)
        yield _line("    ", "certificate", trusted, "to trust: of a proxy that reads along", "proxy.pem")
    yield _line("    ", "timeout", duration_text(source.timeout_seconds), "of a call for bars or lists")


def _line(indent: str, key: str, value: str | None, comment: str, example: str = "") -> str:
    text = f"{indent}{key}: {value}" if value is not None else f"{indent}# {key}: {example}"
    return f"{text:<{_COMMENT_AT - 1}} # {comment}"


def _list(items: Sequence[str]) -> str:
    return f"[{', '.join(items)}]"


def _rate(rate: Rate) -> str:
    return f"{rate.requests} per {duration_text(rate.seconds)}"


def _share(share: Decimal) -> str:
    return f"{decimal_text(share * 100)}%"


def _text(text: str) -> str:
    """Return a text as YAML reads it back: in quotes where it could be taken for something else."""
    plain = _PLAIN.fullmatch(text) and text.lower() not in ("null", "true", "false")
    return text if plain else "'" + text.replace("'", "''") + "'"
