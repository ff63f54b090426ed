"""``tradectl validate-policy``: every mistake and finding of policies, each in its place."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

import policies
from adapters.calendar import calendar_problem
from adapters.cli.output import ExitCode, Output, common_options
from adapters.cli.progress import ProgressBar
from adapters.cli.validate_document import document
from adapters.cli.validate_text import listing
from adapters.cli.validation import STANDARD_INPUT, Outcome, Unread, Validated
from adapters.cli.writing import require_new, write_new
from adapters.processes import at_once
from engine.errors import NotFoundError, TradectlError, UnavailableError
from engine.language.checker import suggestion
from engine.language.finding_codes import FINDING_CODES, FindingCode
from engine.language.source import MAX_BYTES
from engine.verbs.check import check

CODE_SCHEMA: Final = "finding-code-v1"
BUDGET_SECONDS: Final = 20.0
PLAIN_WIDTH: Final = 110
"""The columns of what is printed where there is no terminal."""


@click.command
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--strict", is_flag=True, help="End with 1 also where there are warnings.")
@click.option("--all", "everything", is_flag=True, help="Show all information, not only how much there is.")
@click.option("--no-proof", is_flag=True, help="Check what can be checked by reading: ask no prover.")
@click.option(
    "--budget",
    "budget_seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=BUDGET_SECONDS,
    metavar="SECONDS",
    help=f"The prover's time for each FILE [{BUDGET_SECONDS:g}].",
)
@click.option("--save-cases", metavar="CASES", help="Keep the examples in a file, for test-policy --cases.")
@click.option("--force", is_flag=True, help="Let --save-cases write over a file.")
@click.option("--explain", "code", metavar="CODE", help="Say what a finding means, and read no FILE.")
@common_options
def command(
    output: Output,
    files: tuple[str, ...],
    strict: bool,
    everything: bool,
    no_proof: bool,
    budget_seconds: float,
    save_cases: str | None,
    force: bool,
    code: str | None,
) -> ExitCode:
    """Check each FILE: a path, the name of a shipped policy, or - for standard input.

    Without a FILE, all shipped policies. Structure, types and units are checked by reading; then a prover
    looks for what is wrong with the meaning, in all facts that there can be, and says of each promise whether
    it holds. All files are read, and all mistakes of each are told. Ends with 1 if there is an error, with 3
    if a file does not exist.
    """
    if code is not None:
        if files:
            raise click.UsageError("--explain takes no FILE")
        explain(output, code)
        return ExitCode.OK
    if save_cases is not None:
        if len(files) != 1:
            raise click.UsageError("--save-cases goes with one FILE")
        if no_proof:
            raise click.UsageError("--save-cases needs the prover: leave out --no-proof")
        require_new(Path(save_cases), force=force)
    budget = None if no_proof else budget_seconds
    outcomes = [_validated(name, budget) for name in files or policies.shipped()]
    if output.as_json:
        output.document(document(outcomes, strict=strict))
    else:
        output.show("\n".join(listing(outcomes, width=_width(), everything=everything)))
    if save_cases is not None:
        for outcome in outcomes:
            said = _save(outcome, Path(save_cases), force=force)
            click.echo(said, err=output.as_json)
    return _exit_code(outcomes, strict=strict)


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_WIDTH


def _validated(name: str, budget_seconds: float | None) -> Outcome:
    """Read and check a file; prove it, too, if there is time for that and no error in it."""
    try:
        text, shown = _read(name)
    except TradectlError as error:
        return Unread(name, error)
    checked = check(text, shown, calendar_problem)
    if budget_seconds is None or checked.policy is None:
        return Validated(name, checked)
    # z3 takes longer to load than most policies to check
    from engine.evaluate.symbolic.solver import Budget
    from engine.prove.proving import prove

    began = time.monotonic()
    deadline = began + budget_seconds
    with ProgressBar(f"proving {shown}:") as bar:

        def over() -> bool:
            bar.still()  # asked before each question: a check may take many seconds
            return time.monotonic() > deadline

        budget = Budget(over, seconds_left=lambda: deadline - time.monotonic())
        proved = prove(checked.policy, checked.lowered, budget, bar.say, at_once)
    return Validated(name, checked, proved, time.monotonic() - began)


def _save(outcome: Outcome, path: Path, *, force: bool) -> str:
    """Write the examples as cases; return what is to be said about it."""
    if isinstance(outcome, Unread) or outcome.checked.policy is None or outcome.proved is None:
        return f"{path}: not written, there is no policy to write cases of"
    from engine.prove.kept import kept_cases

    checked = outcome.checked
    heading = f"What the prover found in {checked.source.name}, as cases: each says what is decided there,\n"
    heading += "not what should be. Keep what is meant; where it is not, write what should be, and mend."
    kept = kept_cases(outcome.checked.policy, checked.lowered, outcome.proved.findings, heading)
    left_out = f" ({kept.broken} left out: a case that breaks a promise fails)" if kept.broken else ""
    if not kept.text:
        return f"{path}: not written, there are no examples{left_out}"
    write_new(path, kept.text, force=force)
    number = "1 case" if kept.cases == 1 else f"{kept.cases} cases"
    return f"{path}: {number}{left_out}; tradectl test-policy {outcome.name} --cases {path} runs them"


def _read(name: str) -> tuple[bytes | str, str]:
    """Return the text of a policy, no more of it than is ever read, and its name for messages."""
    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>"
    path = Path(name)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1), name
        if path.exists():
            raise UnavailableError(f"{name}: is no file")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnavailableError(f"{name}: cannot be read ({reason})") from error
    shipped = policies.shipped()
    if name in shipped:
        return policies.read(name), f"{name}.yaml"
    hint = suggestion(name, shipped) or f"shipped policies: {', '.join(shipped)}"
    raise NotFoundError(f"there is no policy file '{name}'; {hint}")


def _exit_code(outcomes: Sequence[Outcome], *, strict: bool) -> ExitCode:
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, Unread)]
    if any(isinstance(error, NotFoundError) for error in errors):
        return ExitCode.NOT_FOUND
    if errors:
        return ExitCode.UNAVAILABLE
    checked = [outcome for outcome in outcomes if isinstance(outcome, Validated)]
    return ExitCode.OK if all(one.passes(strict=strict) for one in checked) else ExitCode.FINDING


# --- a code -----------------------------------------------------------------------------------


def explain(output: Output, code: str) -> None:
    """Print what the registry says of a code; its page in the documentation has examples."""
    found = FINDING_CODES.get(code)
    if found is None:
        hint = suggestion(code, FINDING_CODES) or f"there are: {', '.join(sorted(FINDING_CODES))}"
        raise NotFoundError(f"no finding has the code '{code}'; {hint}")
    if output.as_json:
        output.document(code_document(found))
    else:
        output.show("\n".join(code_listing(found)))


def code_listing(found: FindingCode) -> Iterator[str]:
    """Lay a row of the registry out for people."""
    yield f"{found.code}   {found.severity}, found by the {_finder(found)}"
    yield f"means    {found.meaning}"
    yield f"why      {found.why}"
    yield f"instead  {found.instead}"
    yield f"page     {found.page}"


def code_document(found: FindingCode) -> dict[str, Any]:
    """Return what ``--explain CODE --json`` prints."""
    return {
        "schema": CODE_SCHEMA,
        "code": found.code,
        "severity": found.severity.value,
        "found_by": _finder(found),
        "meaning": found.meaning,
        "why": found.why,
        "instead": found.instead,
        "page": found.page,
    }


def _finder(found: FindingCode) -> str:
    return "prover" if found.prover else "loader"
