"""Secrets are kept out of what a process says by itself: log records, warnings, tracebacks nobody caught."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import Any, Final

from adapters.settings.secrets import redacted

_FORMATTER: Final = logging.Formatter()
_lock = threading.Lock()
_installed = False


class SecretFilter(logging.Filter):
    """Takes secrets out of a record: its message, its exception and its stack.  It lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the finished and cleaned texts in the place of what they would be made of."""
        try:
            message = record.getMessage()
        except Exception:  # a record whose arguments do not fit is the library's mistake, not the reader's
            message = f"{record.msg} {record.args}"
        record.msg, record.args = redacted(message), None
        if record.exc_info:
            record.exc_text = _FORMATTER.formatException(record.exc_info)
            record.exc_info = None
        if record.exc_text:
            record.exc_text = redacted(record.exc_text)
        if record.stack_info:
            record.stack_info = redacted(record.stack_info)
        return True


def install_scrubbing() -> None:
    """Clean whatever this process logs, warns of or dies of, from now on.  Safe to call again."""
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
    make_record = logging.getLogRecordFactory()
    clean = SecretFilter()

    def make_clean_record(*arguments: Any, **named: Any) -> logging.LogRecord:  # noqa: ANN401 - logging's own
        record = make_record(*arguments, **named)
        clean.filter(record)
        return record

    # At the factory every logger and every handler is covered, those that libraries add later among them.
    logging.setLogRecordFactory(make_clean_record)
    # Whoever put a hook of their own in the place of the interpreter's answers for what it prints.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _uncaught_in_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unraisable
    format_warning = warnings.formatwarning

    def format_clean(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        return redacted(format_warning(message, category, filename, lineno, line))

    warnings.formatwarning = format_clean


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _print("".join(traceback.format_exception(kind, error, trace)))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_type is SystemExit:
        return
    name = told.thread.name if told.thread is not None else "a thread"
    trace = "".join(traceback.format_exception(told.exc_type, told.exc_value, told.exc_traceback))
    _print(f"Exception in {name}:\n{trace}")


def _unraisable(told: Any) -> None:  # noqa: ANN401 - sys.UnraisableHookArgs exists for type checkers only
    trace = "".join(traceback.format_exception(told.exc_type, told.exc_value, told.exc_traceback))
    _print(f"{told.err_msg or 'Exception ignored in'}: {told.object!r}\n{trace}")


def _print(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(redacted(text))
