"""``tradectl fmt-policy``: lay policies out; what they say is never changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

import policies
from adapters.cli.output import ExitCode, Output, common_options
from adapters.cli.rewriting import Outcome, Task, document, exit_code, passed, require_names, show
from engine.language.format import format_policy

SCHEMA: Final = "fmt-policy-v1"


@click.command
@click.argument("files", metavar="[FILE|NAME|-]...", nargs=-1)
@click.option("--check", is_flag=True, help="Write nothing; end with 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change, as patch takes it.")
@common_options
def command(output: Output, files: tuple[str, ...], check: bool, diff: bool) -> ExitCode:
    """Lay each FILE out, in place; - reads standard input and prints the result.

    Keys and sections come in one order, white space is canonical, aligned columns stay aligned. No word,
    number or comment is changed, and the digest of the policy stays what it was. A file that has not the
    shape of a policy is told and left alone. Shipped policies, by NAME, are only checked or compared;
    --check and --diff without a FILE do so for all of them.
    """
    task = Task(format_policy, check, diff, shipped=True)
    require_names(files, task)
    outcomes = task.run(files or policies.shipped())
    if output.as_json:
        files_document = [document(outcome, task) for outcome in outcomes]
        output.document({"schema": SCHEMA, "passed": passed(outcomes, task), "files": files_document})
    else:
        show(outcomes, task, output, "formatted", _no_details)
    return exit_code(outcomes, task)


def _no_details(_: Outcome) -> Iterator[str]:
    yield from ()
