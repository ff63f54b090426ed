"""``tradectl init``: a file of settings that explains itself, and keys into the keyring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from adapters.cli.output import ExitCode, Output, common_options
from adapters.cli.writing import require_new, write_new
from adapters.settings.keys import MissingKey, find_key, key_names, store_in_keyring
from adapters.settings.model import BROKERS, BrokerSettings, Settings, is_broker
from adapters.settings.reading import load_settings, settings_path
from adapters.settings.secrets import LEAST_LENGTH, Secret
from adapters.settings.writing import written
from engine.errors import UnavailableError

SCHEMA: Final = "init-v1"


@click.command
@click.option(
    "--path",
    "given",
    metavar="FILE",
    help="Where to write it [TRADECTL_CONFIG, or tradectl/config.yaml in the XDG configuration folder].",
)
@click.option(
    "--broker",
    default="paper",
    show_default=True,
    metavar="paper|alpaca|ccxt:NAME",
    help="Who takes orders: this machine, Alpaca's paper trading, or the sandbox of a crypto exchange.",
)
@click.option("--store-keys", is_flag=True, help="Ask for the keys, unseen, and keep them in the keyring.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@common_options
def command(output: Output, given: str | None, broker: str, store_keys: bool, force: bool) -> ExitCode:
    """Write a file of settings in which everything is explained and has its default.

    With --store-keys a file that is there already is left as it is.
    """
    if not is_broker(broker):
        known = ", ".join((*BROKERS, "ccxt:NAME"))
        raise click.UsageError(f"There is no broker '{broker}'; there are {known} (such as ccxt:binanceus).")
    path = settings_path(given)
    settings = replace(Settings(), broker=BrokerSettings(broker))
    keep = store_keys and path.exists() and not force
    if not keep:
        require_new(path, force=force)
        _write(path, settings, force=force)
    stored = _store(settings) if store_keys else []
    wanted = _keys(settings)
    lacking = [name for name, optional in wanted if not optional and _lacks(name)]
    if output.as_json:
        output.document(
            {
                "schema": SCHEMA,
                "path": str(path),
                "written": not keep,
                "broker": broker,
                "keys_stored": stored,
                "keys_missing": lacking,
            }
        )
        return ExitCode.OK
    rows = [f"{path}: {'left as it is' if keep else 'written'}"]
    rows += [f"stored in the keyring: {name}" for name in stored]
    if lacking:
        rows.append(f"next: put {' and '.join(lacking)} into the environment, or")
        rows.append("      tradectl init --store-keys  to keep them in the system's keyring")
    optional_names = [name for name, optional in wanted if optional]
    rows.append(f"further sources of quotes need {' and '.join(optional_names)}; each may be left out")
    rows.append("then: tradectl doctor  says whether all of it works, and what to do")
    output.show("\n".join(rows))
    return ExitCode.OK


def _write(path: Path, settings: Settings, *, force: bool) -> None:
    text = written(settings)
    # What is handed out must be right: it is read back as a user's file would be.
    assert load_settings(text, str(path)) == settings
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"{path.parent}: cannot be made ({error.strerror})") from error
    write_new(path, text, force=force)


def _keys(settings: Settings) -> list[tuple[str, bool]]:
    """Return the names of keys, and whether one can do without: those of sources beside the broker."""
    needed = key_names(settings.broker.name, trading=True)
    sources = dict.fromkeys(
        name for one in (settings.quotes.stock, settings.quotes.crypto) for name in one.sources
    )
    others = dict.fromkeys(name for source in sources for name in key_names(source) if name not in needed)
    return [(name, False) for name in needed] + [(name, True) for name in others]


def _lacks(name: str) -> bool:
    return isinstance(find_key(name), MissingKey)


def _store(settings: Settings) -> list[str]:
    """Ask for each key and keep what is given; return the names."""
    stored = []
    for name, optional in _keys(settings):
        hint = "empty: go without" if optional else "empty: leave as it is"
        value = click.prompt(f"{name} ({hint})", default="", hide_input=True, show_default=False, err=True)
        value = value.strip()
        if not value:
            continue
        if len(value) < LEAST_LENGTH or not value.isascii() or not value.isprintable() or " " in value:
            raise click.UsageError(f"What was given for {name} is no key; nothing of it was kept.")
        store_in_keyring(name, Secret(value))
        stored.append(name)
    return stored
