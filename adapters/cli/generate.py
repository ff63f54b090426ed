"""``tradectl test-policy --generate``: cases that the prover writes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from adapters.bootstrap.policies import load_named_policy
from adapters.cli.output import ExitCode, Output
from adapters.cli.writing import write_new
from engine.evaluate.symbolic.solver import Budget
from engine.prove.case_text import case_file_text
from engine.prove.generation import generated

STANDARD_OUTPUT: Final = "-"
_HEADING: Final = """\
What {name} {version} ({digest}) does, written by the prover: each rule, each side of its comparisons,
each gate and each conflict of two rules once.  Read each case, keep what is meant, mend what is not."""


def generate(output: Output, name: str, file: str, *, force: bool) -> ExitCode:
    """Write the cases of a policy to a new file, or print them."""
    if output.as_json:
        raise click.UsageError("--generate writes a case file: leave out --json")
    loaded = load_named_policy(name)
    policy = loaded.required()
    cases = generated(policy, loaded.lowered, Budget())
    heading = _HEADING.format(name=policy.name, version=policy.version, digest=policy.digest[:6])
    text = case_file_text(policy.name, cases, heading)
    if file == STANDARD_OUTPUT:
        output.show(text.rstrip("\n"))
        return ExitCode.OK
    write_new(Path(file), text, force=force)
    output.show(f"{file}: {len(cases)} cases of {policy.name}; run them with  --cases {file}")
    return ExitCode.OK
