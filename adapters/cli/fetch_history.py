"""``tradectl fetch-history``: bars of vendors into the history store that backtests read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from adapters.bootstrap.history import OpenHistory, open_history
from adapters.bootstrap.policies import load_named_policy
from adapters.cli.configured import config_option
from adapters.cli.figures import instant, iso, rows
from adapters.cli.instants import parse_instant
from adapters.cli.output import ExitCode, Output, common_options
from adapters.cli.progress import ProgressBar
from adapters.cli.symbols import parse_symbols

if TYPE_CHECKING:
    from adapters.bars.fetching import Filled, Gap, Wanted
    from adapters.symbols.registry import Registry

SCHEMA: Final = "fetch-history-v1"
_DAY_SECONDS: Final = 86_400
_RUNS_IN_JSON: Final = 1000


class Outcome(StrEnum):
    """What became of a symbol."""

    COMPLETE = "complete"
    GAPS = "gaps"  # every source has answered, and some expected bars nobody has
    REFUSED = "refused"  # bars came that do not fit what is stored
    UNKNOWN = "unknown"  # no source knows the symbol, or has a single bar of it
    UNREACHABLE = "unreachable"  # bars are missing, and a source could not be heard


@dataclass(frozen=True, slots=True)
class _Fetched:
    """One symbol's part of the report."""

    filled: Filled
    outcome: Outcome
    set_aside: Path | None


@click.command
@click.argument("symbols", metavar="[SYMBOL...]", nargs=-1)
@click.option("--policy", "policy_name", metavar="FILE|NAME", help="The symbols, and bars, of a policy.")
@click.option("--interval", metavar="15m", help="Of the bars: 1m to 1d [the policy's].")
@click.option("--from", "start", required=True, metavar="DATE", help="The first day (UTC), or an instant.")
@click.option("--to", "end", metavar="DATE", help="The day behind the last, or an instant [now].")
@click.option(
    "--source",
    "sources",
    metavar="NAME",
    multiple=True,
    help="Whom to ask (alpaca, yahoo, ccxt:EXCHANGE), the most trusted first [those of the settings].",
)
@click.option("--store", metavar="DIR", help="The history store [that of the settings].")
@click.option(
    "--adjustment",
    type=click.Choice(["raw", "split", "all"]),
    help="What earlier prices are adjusted by, where a source lets one choose [raw; days: split].",
)
@click.option("--again", is_flag=True, help="Ask also for bars that a source did not have before.")
@click.option("--anew", is_flag=True, help="Set aside what is stored of these bars and begin anew.")
@click.option("--allow-jumps", is_flag=True, help="Take prices that jump as no trading does.")
@click.option(
    "--timeout",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    metavar="SECONDS",
    help="For one page with all its attempts.",
)
@config_option
@common_options
def command(
    output: Output,
    symbols: tuple[str, ...],
    policy_name: str | None,
    interval: str | None,
    start: str,
    end: str | None,
    sources: tuple[str, ...],
    store: str | None,
    adjustment: str | None,
    again: bool,
    anew: bool,
    allow_jumps: bool,
    timeout: int,
    config: str | None,
) -> ExitCode:
    """Fetch what is missing of a span of bars; what is there is not fetched again.

    A fetch that was broken off goes on where it stopped.  The exit code is 0 where no expected bar is
    missing, 1 where some are (or do not fit), 3 for an unknown symbol, 5 where a source could not be reached.
    """
    from adapters.clock import WallClock
    from adapters.settings.model import DAY
    from adapters.settings.reading import read_settings
    from adapters.symbols.store import FILE, SymbolStore

    if bool(symbols) == bool(policy_name):
        raise click.UsageError("name symbols, or a policy with --policy")
    settings, _ = read_settings(config)
    clock = WallClock()
    policy = load_named_policy(policy_name).required() if policy_name else None
    registry = SymbolStore(
        output.state_dir / FILE,
        policy.universe if policy else (),
        now_ms=clock.now_utc_ms(),
        stale_after_days=max(1, settings.refresh_symbols_seconds // DAY),
    )
    names = [listing.symbol for listing in policy.universe] if policy else list(parse_symbols(symbols))
    seconds = _seconds(interval, policy.bars_seconds if policy else None)
    wanted = _wanted(names, registry.registry, seconds, adjustment)
    start_ms = _instant(start, "--from")
    end_ms = clock.now_utc_ms() if end is None else _instant(end, "--to")
    if start_ms >= min(end_ms, clock.now_utc_ms()):
        raise click.BadParameter("there is nothing between --from and --to (or now)", param_hint="'--from'")
    place = Path(store).expanduser() if store else None
    with open_history(
        settings, output.state_dir, registry, clock, sources=sources, store=place, page_seconds=timeout
    ) as history:
        if not output.as_json:
            for line in rows("note", [*registry.notes, *history.notes]):
                click.echo(line, err=True)
        fetched: list[_Fetched] = []
        for number, one in enumerate(wanted, start=1):
            aside = history.fetcher.store.set_aside(one.symbol, seconds) if anew else None
            with ProgressBar(f"{one} ({number} of {len(wanted)})") as bar:
                filled = history.fetcher.fill(
                    one, start_ms, end_ms, again=again, allow_jumps=allow_jumps, progress=bar
                )
            fetched.append(_Fetched(filled, _outcome(filled, history), aside))
            if not output.as_json:
                click.echo("\n".join(_lines(fetched[-1])))
                sys.stdout.flush()
        if output.as_json:
            output.document(_document(history, fetched, seconds, (start_ms, end_ms)))
        else:
            click.echo("\n".join(_summary(history, fetched)))
    return _exit_code([one.outcome for one in fetched])


# --- what was asked for -----------------------------------------------------------------------


def _wanted(symbols: Iterable[str], known: Registry, seconds: int, adjustment: str | None) -> list[Wanted]:
    from adapters.bars.fetching import Wanted
    from adapters.bars.source import Adjustment

    kind = Adjustment(adjustment or ("split" if seconds == _DAY_SECONDS else "raw"))
    return [
        Wanted(symbol, known.asset_class(symbol), known.calendar(symbol), seconds, kind) for symbol in symbols
    ]


def _seconds(interval: str | None, usual: int | None) -> int:
    from adapters.bars.reading import interval_seconds_of

    if interval is None:
        if usual is None:
            raise click.UsageError("say the interval of the bars, such as --interval 15m")
        return usual
    seconds = interval_seconds_of(interval)
    if not seconds:
        raise click.BadParameter(
            f"'{interval}' is no interval up to 1d: write one such as 15m", param_hint="'--interval'"
        )
    return seconds


def _instant(text: str, option: str) -> int:
    """Return a day's midnight in UTC, or an instant with its zone."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return parse_instant(text, option)
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


# --- what came of it --------------------------------------------------------------------------


def _outcome(filled: Filled, history: OpenHistory) -> Outcome:
    if not filled.gaps:
        return Outcome.COMPLETE
    if filled.failures or not filled.complete:
        return Outcome.UNREACHABLE
    if filled.refused:
        return Outcome.REFUSED
    stored = history.fetcher.store.intervals(filled.wanted.symbol)
    nothing = filled.missing == filled.expected and filled.wanted.interval_seconds not in stored
    return Outcome.UNKNOWN if nothing and not filled.limited else Outcome.GAPS


def _exit_code(outcomes: Sequence[Outcome]) -> ExitCode:
    for outcome, code in (
        (Outcome.UNREACHABLE, ExitCode.UNAVAILABLE),
        (Outcome.UNKNOWN, ExitCode.NOT_FOUND),
        (Outcome.REFUSED, ExitCode.FINDING),
        (Outcome.GAPS, ExitCode.FINDING),
    ):
        if outcome in outcomes:
            return code
    return ExitCode.OK


def _longest(gaps: Sequence[Gap]) -> Gap:
    return max(gaps, key=lambda gap: gap.bars)


# --- text -------------------------------------------------------------------------------------


def _lines(one: _Fetched) -> Iterator[str]:
    """Say what became of one symbol."""
    filled, merge = one.filled, one.filled.merge
    by_source = ", ".join(f"{source} {count:,}" for source, count in filled.bars.items())
    written = sum(filled.bars.values())
    head = f"{filled.wanted}  {written:,} bars written{f' ({by_source})' if by_source else ''}"
    if one.outcome is Outcome.UNKNOWN:
        yield f"{head}; no source has a bar of it: is that its name?"
    elif filled.gaps:
        longest = _longest(filled.gaps)
        yield (
            f"{head}; {filled.missing:,} of {filled.expected:,} missing in {len(filled.gaps):,}"
            f" {'gap' if len(filled.gaps) == 1 else 'gaps'}, the longest {longest.bars:,}"
            f" from {instant(longest.start_ms)} to {instant(longest.end_ms)}"
        )
    else:
        yield f"{head}; none of {filled.expected:,} missing"
    details = []
    if one.set_aside is not None:
        details.append(f"what was stored before is in {one.set_aside}")
    if merge.revised or merge.replaced:
        details.append(
            f"{merge.revised:,} corrected by their source, {merge.replaced:,} by a more trusted one"
        )
    if merge.conflicts:
        details.append(f"{merge.conflicts:,} conflicts; the first: {merge.conflict}")
    if filled.unreadable:
        details.append(f"{filled.unreadable:,} rows that are no bars were left out")
    if filled.gaps:
        for told in (filled.failures, filled.refused, filled.unused):
            details += [f"{source}: {reason}" for source, reason in told.items()]
    yield from (f"  {detail}" for detail in details)


def _summary(history: OpenHistory, fetched: Sequence[_Fetched]) -> Iterator[str]:
    written = sum(sum(one.filled.bars.values()) for one in fetched)
    missing = sum(one.filled.missing for one in fetched)
    count = f"{len(fetched)} symbol{'' if len(fetched) == 1 else 's'}"
    yield f"{count}: {written:,} bars written, {missing:,} missing; in {history.fetcher.store.folder}"
    if any(one.outcome is Outcome.UNREACHABLE for one in fetched):
        yield "the same command goes on from here"


# --- JSON -------------------------------------------------------------------------------------


def _document(
    history: OpenHistory, fetched: Sequence[_Fetched], seconds: int, span: tuple[int, int]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "store": str(history.fetcher.store.folder),
        "interval_seconds": seconds,
        "from": iso(span[0]),
        "to": iso(span[1]),
        "sources": list(history.sources),
        "notes": list(history.notes),
        "symbols": [_symbol_document(one) for one in fetched],
    }


def _symbol_document(one: _Fetched) -> dict[str, Any]:
    filled, merge = one.filled, one.filled.merge
    return {
        "symbol": filled.wanted.symbol,
        "calendar": filled.wanted.calendar,
        "adjustment": filled.wanted.adjustment,
        "outcome": one.outcome,
        "expected": filled.expected,
        "written": filled.bars,
        "revised": merge.revised,
        "replaced": merge.replaced,
        "conflicts": merge.conflicts,
        "first_conflict": merge.conflict or None,
        "unreadable": filled.unreadable,
        "missing": filled.missing,
        "gap_count": len(filled.gaps),
        "longest_gap": _gap(_longest(filled.gaps)) if filled.gaps else None,
        "gaps": [_gap(gap) for gap in filled.gaps[:_RUNS_IN_JSON]],
        "unused": filled.unused,
        "failures": filled.failures,
        "refused": filled.refused,
        "requests": filled.requests,
        "set_aside": None if one.set_aside is None else str(one.set_aside),
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {"from": iso(gap.start_ms), "to": iso(gap.end_ms), "bars": gap.bars}
