"""``tradectl migrate-policy``: policies of an older version of the language, in the newest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from adapters.cli.output import ExitCode, Output, common_options
from adapters.cli.rewriting import (
    Became,
    Outcome,
    Task,
    document,
    exit_code,
    passed,
    require_names,
    show,
)
from engine.language.migrate import Migrated, migrate_policy
from engine.language.structure import NEWEST_VERSION

SCHEMA: Final = "migrate-policy-v1"


@click.command
@click.argument("files", metavar="[FILE|-]...", nargs=-1, required=True)
@click.option("--check", is_flag=True, help="Write nothing; end with 1 if a file is of an older version.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change, as patch takes it.")
@common_options
def command(output: Output, files: tuple[str, ...], check: bool, diff: bool) -> ExitCode:
    """Bring each FILE to the newest apiVersion, in place; - reads standard input and prints the result.

    Each change is told with its line and its reason; comments and layout stay. What cannot be migrated with
    certainty is told in its place, and then the file is left alone.
    """
    task = Task(migrate_policy, check, diff)
    require_names(files, task)
    outcomes = task.run(files)
    if output.as_json:
        files_document = [_file(outcome, task) for outcome in outcomes]
        output.document({"schema": SCHEMA, "passed": passed(outcomes, task), "files": files_document})
    else:
        show(outcomes, task, output, "migrated", _details)
    return exit_code(outcomes, task)


def _details(outcome: Outcome) -> Iterator[str]:
    migrated = outcome.rewriting
    if isinstance(migrated, Migrated) and outcome.became is not Became.UNCHANGED:
        yield f"  from {migrated.version} to {NEWEST_VERSION}"
        for change in migrated.changes:
            yield f"  line {migrated.source.position(change.span.start)[0]}: {change.sentence}"


def _file(outcome: Outcome, task: Task) -> dict[str, Any]:
    migrated = outcome.rewriting
    changes = []
    if isinstance(migrated, Migrated):
        for change in migrated.changes:
            line, column = migrated.source.position(change.span.start)
            changes.append({"line": line, "column": column, "sentence": change.sentence})
    version = migrated.version if isinstance(migrated, Migrated) else ""
    return {
        **document(outcome, task),
        "from": version or None,
        "to": NEWEST_VERSION if version else None,
        "changes": changes,
    }
