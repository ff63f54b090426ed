"""What commands share at the edge: options, printing, exit codes.

Text for people goes to standard output, plain unless it is a terminal; ``--json`` prints one document with
a schema instead.  Errors go to standard error.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import click

from adapters.settings.secrets import redacted
from engine.errors import (
    ConfigurationError,
    DataError,
    JournalError,
    NotFoundError,
    PolicyError,
    TradectlError,
    UnavailableError,
)


class ExitCode(IntEnum):
    """What the process says when it ends; stable."""

    OK = 0
    FINDING = 1  # a finding, or a check that failed
    USAGE = 2
    NOT_FOUND = 3
    CONFIGURATION = 4  # a policy, a file or a setting that cannot be used as it is
    UNAVAILABLE = 5  # a source, venue or store that cannot be reached or read now
    INTERNAL = 70
    INTERRUPTED = 130
    TERMINATED = 143


_CODES: Final[tuple[tuple[type[TradectlError], ExitCode], ...]] = (
    (NotFoundError, ExitCode.NOT_FOUND),
    (PolicyError, ExitCode.CONFIGURATION),
    (ConfigurationError, ExitCode.CONFIGURATION),
    (DataError, ExitCode.CONFIGURATION),
    (JournalError, ExitCode.UNAVAILABLE),
    (UnavailableError, ExitCode.UNAVAILABLE),
)


# --- errors -----------------------------------------------------------------------------------


def report(error: TradectlError) -> ExitCode:
    """Print an error for people, without any secret in it; return the exit code of its class."""
    text = error.render() if isinstance(error, PolicyError) else f"tradectl: {error}"
    click.echo(redacted(text), err=True)
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.INTERNAL)


def internal_error(error: Exception, state_dir: Path) -> ExitCode:
    """Keep the traceback of a mistake of ours in a file, without any secret in it; say so in one line."""
    text = "".join(traceback.format_exception(error))
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    path = state_dir / "crashes" / f"{stamp}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(redacted(f"tradectl {' '.join(sys.argv[1:])}\n{text}"), encoding="utf-8")
        kept = f"the details are in {path}: please report it"
    except OSError as failure:
        kept = f"please report it (its details cannot be written: {failure.strerror})"
    click.echo(f"tradectl: internal error ({type(error).__name__}); {kept}", err=True)
    return ExitCode.INTERNAL


def state_directory(given: str | None) -> Path:
    """Return where agents keep what they keep: --state-dir, TRADECTL_HOME, or the XDG state folder."""
    chosen = given or os.environ.get("TRADECTL_HOME")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_state_path("tradectl")


# --- options and printing ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Output:
    """How a command was asked to print, and where its state lies."""

    as_json: bool
    colour: bool
    given_state_dir: str | None

    @property
    def state_dir(self) -> Path:
        """The state folder; it need not exist."""
        return state_directory(self.given_state_dir)

    def document(self, document: dict[str, Any]) -> None:
        """Print a JSON document; its schema is in ``schemas``."""
        click.echo(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))

    def show(self, text: str) -> None:
        """Print text for people, coloured where that is wanted."""
        if not self.colour:
            click.echo(text)
            return
        from adapters.cli.colour import print_coloured

        print_coloured(text)


def _remember(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    ctx.meta["state_dir"] = value  # contexts share it: an internal error must know where to write
    return value


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --json, --no-color and --state-dir; the command gets them as one ``output``."""

    @click.option("--json", "as_json", is_flag=True, help="Print a JSON document instead of text.")
    @click.option(
        "--no-color", is_flag=True, help="Never colour (nor with NO_COLOR set, nor off a terminal)."
    )
    @click.option(
        "--state-dir",
        metavar="DIR",
        callback=_remember,
        is_eager=True,
        help="Where agents keep their state [TRADECTL_HOME, or the XDG state folder].",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, no_color: bool, state_dir: str | None, **kwargs: Any) -> Any:  # noqa: ANN401 - click's
        plain = no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        output = Output(as_json, sys.stdout.isatty() and not plain, state_dir)
        return command(*args, output=output, **kwargs)

    return wrapped
