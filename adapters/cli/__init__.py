"""The command line: one module per command, imported when that command runs."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Final

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("run", "Run an agent: a simulated market and a paper venue, unless told otherwise."),
    "explain": ("explain", "Say why a symbol was decided as it was, and why not otherwise."),
    "funnel": ("funnel", "Count what became of each directional signal, from birth to its one disposition."),
    "validate-policy": ("validate", "Check policies: every mistake and finding, each in its place."),
    "test-policy": ("test_policy", "Run the cases of policies: does each decide what it should?"),
    "map-policy": ("map_policy", "Show all that a policy does, region by region: disjoint and covering."),
    "fmt-policy": ("fmt_policy", "Lay policies out: what they say, and their comments, stay."),
    "migrate-policy": ("migrate_policy", "Bring policies of an older version of the language to the newest."),
    "diff-policy": ("diff_policy", "Compare two policies: decided alike, or where not, with examples."),
    "quote": ("quote", "Ask every source for a price: what each said, and why it was used or not."),
    "fetch-history": ("fetch_history", "Fetch bars into the history store that backtests read."),
    "facts": ("facts", "List the facts, functions and codes of the policy language."),
    "status": ("status", "Say how an agent stands: account, positions, orders, what needs a person."),
    "journal": ("journal", "Look into an agent's journal, check it, prune it."),
    "resume": ("resume", "Lift a latched drawdown, or free a frozen symbol."),
    "stub": ("stub", "Serve a local Alpaca (or another vendor) to try an agent against."),
    "init": ("init", "Write a file of settings in which everything is explained."),
    "doctor": ("doctor", "Check this installation, the settings, keys and broker, and an agent's state."),
}
"""Name of each command: the module in this package whose ``command`` it is, and its line of help."""


def main() -> None:
    """Run the command line; the process ends with one of ``adapters.cli.output.ExitCode``."""
    # Imports make many objects and no garbage: looking for it is an eighth of a short command's time.
    gc.set_threshold(50_000, 20, 20)
    from adapters.cli.group import cli

    cli(prog_name="tradectl")
