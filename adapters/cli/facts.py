"""``tradectl facts``: the facts, functions and codes of the policy language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from adapters.cli.output import Output, common_options
from engine.verbs.catalogue import Catalogue, FactEntry, FunctionEntry, OutputEntry, catalogue


@click.command
@click.option(
    "--markdown", is_flag=True, help="Print the reference page of the documentation, docs/facts.md."
)
@common_options
def command(output: Output, markdown: bool) -> None:
    """List what a policy may name.

    Facts by family, the fields of signals, the functions of closed bars, and the codes that decisions carry.
    """
    listed = catalogue()
    if output.as_json:
        output.document(listed.to_json())
    elif markdown:
        click.echo("\n".join(page(listed)))
    else:
        output.show("\n".join(listing(listed)))


# --- text -------------------------------------------------------------------------------------


def listing(listed: Catalogue) -> Iterator[str]:
    """Lay the catalogue out for people, line by line."""
    width = max(len(fact.name) for fact in listed.facts)
    for family in listed.families:
        yield f"{family} facts"
        for fact in listed.facts:
            if fact.family == family:
                yield f"  {fact.name:<{width}}  {fact.meaning}"
                yield f"  {'':<{width}}  {_details(fact)}"
        yield ""
    yield "signal fields, as in enhanced.side"
    for field in listed.signal_fields:
        yield f"  {field.name:<{width}}  {_kind(field.unit, field.words, field.step)}"
    yield ""
    yield "functions of closed bars"
    for function in listed.functions:
        yield f"  {function.signature}"
        yield f"  {'':<{width}}  {function.meaning}"
        yield f"  {'':<{width}}  {_outputs(function)}; needs {function.warm_up} bars ({function.source})"
    for title, codes in listed.codes.items():
        yield ""
        yield title.replace("_", " ")
        for code in codes:
            yield f"  {code.word:<{width}}  {code.meaning} ({code.code})"
    yield ""
    yield "what always holds"
    for invariant in listed.invariants:
        yield f"  {invariant}"


def _kind(unit: str, words: Sequence[str], step: str | None) -> str:
    if words:
        return " | ".join(words)
    return f"{unit} in steps of {step}" if step else unit


def _details(fact: FactEntry) -> str:
    parts = [_kind(fact.unit, fact.words, fact.step)]
    if fact.minimum is not None:
        parts.append(f"{fact.minimum} to {fact.maximum}, scale {fact.typical_scale}")
    parts += [
        f"from {fact.source}",
        f"varies with {fact.varies}",
        f"max age: {fact.max_age}",
        f"when absent: {fact.when_absent_shown}",
    ]
    return "; ".join(parts)


def _output(output: OutputEntry) -> str:
    kind = _kind(output.unit, output.words, output.step)
    return f".{output.name} {kind}" if output.name else kind


def _outputs(function: FunctionEntry) -> str:
    return ", ".join(_output(output) for output in function.outputs)


# --- the page ---------------------------------------------------------------------------------


def page(listed: Catalogue) -> Iterator[str]:
    """Write the reference page as Markdown."""
    yield "# Facts, functions and codes"
    yield ""
    yield "Made by `tradectl facts --markdown` from the tables that the engine itself uses."
    yield ""
    yield "A fact is a typed, named value at one instant, or Unknown with a reason. Its values lie on the"
    yield "grid of its step. *When absent* is what it is before anything happened."
    for family in listed.families:
        yield ""
        yield f"## {family.capitalize()} facts"
        yield ""
        rows = [
            (
                f"`{fact.name}`",
                fact.meaning,
                _kind(fact.unit, fact.words, fact.step),
                "" if fact.minimum is None else f"{fact.minimum} to {fact.maximum}",
                fact.typical_scale or "",
                fact.source,
                fact.max_age,
                fact.when_absent_shown,
                fact.varies,
            )
            for fact in listed.facts
            if fact.family == family
        ]
        heads = (
            "fact",
            "meaning",
            "type",
            "range",
            "scale",
            "source",
            "max age",
            "when absent",
            "varies with",
        )
        yield from _table(heads, rows)
    yield from _signals(listed)
    yield from _functions(listed)
    for title, codes in listed.codes.items():
        yield ""
        yield f"## {title.replace('_', ' ').capitalize()}"
        yield ""
        yield from _table(
            ("code", "word", "meaning"), [(str(code.code), f"`{code.word}`", code.meaning) for code in codes]
        )
    yield ""
    yield "## What always holds"
    yield ""
    for invariant in listed.invariants:
        yield f"- {invariant}"


def _signals(listed: Catalogue) -> Iterator[str]:
    yield ""
    yield "## Signals"
    yield ""
    yield "Every signal offers these, as in `enhanced.side`; one from outside has side and confidence only."
    yield ""
    rows = [
        (f"`.{field.name}`", _kind(field.unit, field.words, field.step)) for field in listed.signal_fields
    ]
    yield from _table(("field", "type"), rows)


def _functions(listed: Catalogue) -> Iterator[str]:
    yield ""
    yield "## Functions of closed bars"
    yield ""
    rows = [
        (f"`{function.signature}`", function.meaning, _outputs(function), function.warm_up, function.source)
        for function in listed.functions
    ]
    yield from _table(("function", "meaning", "gives", "bars needed", "source"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
