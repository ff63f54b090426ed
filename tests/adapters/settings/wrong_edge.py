"""Edges of a program that let a key through, each in one way that is easily overlooked."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from adapters.cli import output
from adapters.settings.scrubbing import SecretFilter
from adapters.settings.secrets import Secret
from engine.errors import TradectlError


class RightEdge:
    """What the program really does: the subject that passes."""

    def secret(self, value: str) -> object:
        """Keep a key."""
        return Secret(value)

    def report(self, error: TradectlError) -> None:
        """Tell an error."""
        output.report(error)

    def crash(self, error: Exception, state_dir: Path) -> None:
        """Keep a traceback."""
        output.internal_error(error, state_dir)

    def handler(self) -> logging.Handler:
        """Print log records on standard error."""
        handler = logging.StreamHandler()
        handler.addFilter(SecretFilter())
        return handler


class PrintsWhatVendorsSay(RightEdge):
    """Repeats the text of an error."""

    def report(self, error: TradectlError) -> None:
        """Print it as it is."""
        click.echo(f"tradectl: {error}", err=True)


class KeepsTracebacks(RightEdge):
    """Cleans what it prints, and writes the traceback as it is."""

    def crash(self, error: Exception, state_dir: Path) -> None:
        """Write the chain of exceptions, with all they quote."""
        path = state_dir / "crashes" / f"{datetime.now(UTC):%f}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")


class FormatsMessagesOnly(RightEdge):
    """Cleans the format of a log record, and neither its arguments nor its exception."""

    def handler(self) -> logging.Handler:
        """Look at ``msg`` only."""

        def clean(record: logging.LogRecord) -> bool:
            record.msg = str(record.msg).replace("token", "***")
            return True

        handler = logging.StreamHandler()
        handler.addFilter(clean)
        return handler


@dataclass
class PlainKey:
    """A key as a dataclass: its repr shows it."""

    value: str


class KeepsPlainKeys(RightEdge):
    """Keeps keys as what they are."""

    def secret(self, value: str) -> object:
        """Show it to whoever asks."""
        return PlainKey(value)
