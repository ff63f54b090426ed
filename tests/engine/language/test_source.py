"""The YAML source: places are exact, traps are named, and no text is too hostile to refuse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import PolicyError, Problem, Severity, Source, render
from engine.language import source as source_module
from engine.language.source import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    MAX_PROBLEMS,
    Document,
    MappingNode,
    Node,
    ScalarNode,
    ScalarStyle,
    SequenceNode,
    load_document,
    resolve,
    shown,
)
from tests.golden import assert_golden
from tests.shared_data import shared_path

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).parent / "golden"
LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


def problems_of(text: str | bytes) -> tuple[Source, tuple[Problem, ...]]:
    """Return a text's problems, whether it has a tree or not."""
    try:
        document = load_document(text, "policy.yaml")
    except PolicyError as error:
        return error.source, error.problems
    return document.source, document.problems


def codes(text: str | bytes) -> list[str]:
    """Return the codes of a text's problems."""
    return [problem.code for problem in problems_of(text)[1]]


def value_of(text: str) -> ScalarNode:
    """Return the one value of a mapping with one key."""
    root = load_document(text, "policy.yaml").root
    assert isinstance(root, MappingNode)
    value = root.entries[0][1]
    assert isinstance(value, ScalarNode)
    return value


def scalars(node: Node) -> Iterator[ScalarNode]:
    """Yield every scalar, keys included."""
    if isinstance(node, ScalarNode):
        yield node
    elif isinstance(node, SequenceNode):
        for item in node.items:
            yield from scalars(item)
    else:
        for key, value in node.entries:
            yield key
            yield from scalars(value)


def same_values(ours: Node, theirs: yaml.Node) -> bool:
    """Say whether our tree has the values of PyYAML's own."""
    if isinstance(theirs, yaml.ScalarNode):
        return isinstance(ours, ScalarNode) and ours.text == theirs.value
    if isinstance(theirs, yaml.SequenceNode):
        return isinstance(ours, SequenceNode) and all(
            same_values(item, their_item) for item, their_item in zip(ours.items, theirs.value, strict=True)
        )
    assert isinstance(theirs, yaml.MappingNode)
    return isinstance(ours, MappingNode) and all(
        same_values(key, their_key) and same_values(value, their_value)
        for (key, value), (their_key, their_value) in zip(ours.entries, theirs.value, strict=True)
    )


def composed(text: str, loader: type[yaml.SafeLoader]) -> yaml.Node:
    """Return PyYAML's own tree."""
    node = yaml.compose(text, Loader=loader)
    assert node is not None
    return node


# --- traps and mistakes -----------------------------------------------------------------------

MISTAKES: dict[str, str] = {
    "comma splits a condition": "r: {when: a < b, c > d, then: sell all}\n",
    "comma splits a call": "r: {when: price > highest(high, 20) and held, then: sell all}\n",
    "comma splits a long call": "r: {when: max(a, b, c) > 1, then: sell all}\n",
    "two entries split": "r: {when: max(a, b) > 1, then: buy to min(a, b)}\n",
    "comma splits an item": "when:\n  all: [held, price > highest(high, 20), rsi > 3]\n",
    "list written as a mapping": "g: {vetoes: {buy, sell}, when: held}\n",
    "condition begins with a quote": 'when: "held" and rsi > 80\nthen: sell all\n',
    "condition begins with a quote, in braces": '{when: "held" and rsi > 80, then: sell all}\n',
    "apostrophe": "because: 'it's over'\n",
    "list before a comparison": "when: [rsi] > 3\n",
    "exclamation mark": "r: {when: !held, then: sell all}\n",
    "exclamation mark at the end": "r: {then: sell all, when: !held}\n",
    "exclamation mark and more": "when: !held and rsi > 80\n",
    "exclamation mark and a comma": "when: !held, then: x\n",
    "tag": "priority: !!str 5\n",
    "no value": "when:\nthen: sell all\n",
    "no value in braces": "r: {when: , then: sell all}\n",
    "no blank behind the colon": "r: {when:held, then: sell all}\n",
    "no blank behind a later colon": "r: {priority: 5, when:held}\n",
    "empty item": "all:\n  - held\n  -\n",
    "comment cuts a value": "because: above RSI #70\n",
    "colon in a value": "because: RSI: too high\n",
    "colon in braces": "{because: RSI: too high}\n",
    "comparison first": "when: > 80\n",
    "percent first": "when: %x\n",
    "minus and blank": "when: - 5 < gain\n",
    "at sign": "when: @held\n",
    "anchor": "a: &x 1\nb: *x\n",
    "double ampersand": "when: && held\n",
    "star": "when: * 2\n",
    "merge key": "a:\n  <<: *x\n",
    "directive": "%YAML 1.1\n---\na: b\n",
    "two documents": "a: b\n---\nc: d\n",
    "duplicate key": "a: 1\nb: 2\na: 3\n",
    "key that is a list": "? [a, b]\n: c\n",
    "template": "a: {{ x }}\n",
    "key missing": ": a\n",
    "leading zero": "priority: 010\nrange: [007, 09:30, 0.5, 0]\n",
    "tab": "a:\n\tb: c\n",
    "tab in a value's line": "a: b\n\tc: d\n",
    "list not closed": "a: [b, c\nd: e\n",
    "mapping not closed": "a: {b: c\nd: e\n",
    "quote not closed": 'a: "b\nc: d\n',
    "bracket too many": "a: {x: 1}}\n",
    "wrong bracket": "a: {b: c]\n",
    "unknown escape": 'a: "\\q"\n',
    "indented too far": "a: b\n c: d\n",
    "indented too little": "a:\n   b: 1\n  c: 2\n",
    "line without a colon": "a: b\nfoo\nc: d\n",
    "comment in a long value": "a: b # c\n  d\n",
    "list and mapping": "- a\nb: c\n",
    "empty": "",
    "comments only": "# nothing\n",
    "right to left": "a: x\u202ey\n",
    "hidden by an escape": 'a: "x\\u202ey"\n',
    "terminal sequence": "a: \x1b[31mred\n",
    "terminal sequence by an escape": 'a: "\\e[31mred"\n',
    "carriage return alone": "a: b\rc: d\n",
}


def test_mistakes_are_explained(update_golden: bool) -> None:
    """Each trap and mistake is told in our words, at its place, with what to write instead."""
    parts = []
    for name, text in MISTAKES.items():
        source, problems = problems_of(text)
        parts += [f"=== {name}", *(render(problem, source) for problem in problems), ""]
    assert_golden("\n".join(parts), GOLDEN / "source.txt", update_golden)


TWO_MISTAKES = {"two entries split", "leading zero"}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_mistake_is_one_problem(name: str) -> None:
    """No mistake causes a second message."""
    assert len(codes(MISTAKES[name])) == (2 if name in TWO_MISTAKES else 1)


@pytest.mark.parametrize("name", MISTAKES)
def test_nothing_raw_reaches_the_terminal(name: str) -> None:
    """What is rendered is printable, line breaks apart."""
    source, problems = problems_of(MISTAKES[name])
    rendered = "".join(render(problem, source) for problem in problems)
    assert rendered
    assert all(character.isprintable() or character == "\n" for character in rendered)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_found_with_and_without_libyaml(
    name: str, loader: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where libyaml is absent the pure Python parser finds a mistake, too, perhaps in other words."""
    monkeypatch.setattr(source_module, "_LOADER", loader)
    assert codes(MISTAKES[name])


@pytest.mark.parametrize(
    ("data", "offset"),
    [(b"a: \xff\n", 3), ("é: ".encode() + b"\xc3(", 3), (b"\xff\xfea\0", 0), (b"\xfe\xff\0a", 0)],
)
def test_bytes_that_are_not_utf_8(data: bytes, offset: int) -> None:
    """The first byte that is not UTF-8 is named at its character."""
    source, (problem,) = problems_of(data)
    assert (problem.code, problem.span.start) == ("encoding", offset)
    assert render(problem, source)


def test_a_byte_order_mark_is_no_mistake() -> None:
    """A mark at the beginning is dropped, and places count without it."""
    document = load_document(b"\xef\xbb\xbfa: b\n", "policy.yaml")
    assert document.source.text == "a: b\n"
    assert [scalar.span.start for scalar in scalars(document.root)] == [0, 3]


def test_the_first_of_two_equal_keys_stays_and_its_line_is_named() -> None:
    """A duplicate is dropped from the tree and reported with the line of the first."""
    document = load_document("x: 0\na: 1\nb: {c: 1, c: 2}\na: 3\n", "policy.yaml")
    assert isinstance(document.root, MappingNode)
    assert [key.text for key, _ in document.root.entries] == ["x", "a", "b"]
    assert ["line 3" in problem.message for problem in document.problems] == [True, False]
    assert ["line 2" in problem.message for problem in document.problems] == [False, True]


def test_broken_paths_name_what_later_stages_pass_over() -> None:
    """A problem at a value marks its path, and a warning marks none."""
    text = "r:\n  a: {when: x, y, then: z}\n  b: {when: !held , then: x}\n  c:\nl: [010, a #b\n  ]\n"
    document = load_document(text, "policy.yaml")
    assert document.broken == {("r", "a", "when"), ("r", "b", "when"), ("r", "c"), ("l", 0)}
    assert [problem.severity for problem in document.problems].count(Severity.WARNING) == 1


# --- scalars ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None),
        ("null", None),
        ("nULL", "nULL"),
        ("true", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("on", "on"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("12", 12),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("010", "010"),
        ("0.5", Decimal("0.5")),
        (".5", Decimal("0.5")),
        ("1e3", 1000),
        ("1.10", Decimal("1.10")),
        ("1.0.0", "1.0.0"),
        ("1_000", "1_000"),
        ("0x1f", "0x1f"),
        ("0o17", "0o17"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("09:30", "09:30"),
        ("16:00", "16:00"),
        ("2025-11-18", "2025-11-18"),
        ("24/7", "24/7"),
        ("12%", "12%"),
        ("1e9999", "1e9999"),
        ("9" * 41, "9" * 41),
        ("'12'", "12"),
        ('"true"', "true"),
        ("|\n  12", "12"),
    ],
)
def test_plain_scalars_are_read_by_the_core_schema(text: str, value: object) -> None:
    """Only what YAML 1.2 calls a number, truth value or null is one; quotes make text."""
    resolved = resolve(value_of(f"a: {text}"))
    assert resolved == value
    assert type(resolved) is type(value) or isinstance(resolved, Decimal)


def test_a_number_keeps_its_digits() -> None:
    """1.10 is not 1.1."""
    assert str(resolve(value_of("a: 1.10"))) == "1.10"


def test_keys_are_text() -> None:
    """Tickers that YAML 1.1 takes for truth values and numbers are keys as written."""
    root = load_document("{ON: 1, TRUE: 2, NO: 3, 1INCH: 4, 010: 5, ~: 6, 1.10: 7}", "policy.yaml").root
    assert isinstance(root, MappingNode)
    assert [key.text for key, _ in root.entries] == ["ON", "TRUE", "NO", "1INCH", "010", "~", "1.10"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: held and rsi > 80", "rsi"),
        ("a: held\n  and rsi > 80", "rsi"),
        ("a: held\n\n\n  and rsi > 80", "rsi"),
        ("a: held\r\n  and rsi > 80\r\n", "rsi"),
        ("a: 'held and rsi > 80'", "rsi"),
        ("a: 'it''s\n  held and rsi > 80'", "rsi"),
        ('a: "\\u0068eld \\"and\\" \\\n   rsi > 80"', "rsi"),
        ('a: "é \\x41\\U0001F600\n\n rsi"', "rsi"),
        ("a: |\n  held and\n  rsi > 80\n", "rsi"),
        ("a: |2-\n    held\n\n\n    rsi\n\n", "rsi"),
        ("a: >\n  held and\n  rsi > 80\n", "rsi"),
        ("a: >-\n  x\n\n   held\n   rsi\n  y\n", "rsi"),
        ("a: | # why\r\n\r\n  held\r\n  rsi\r\n", "rsi"),
        ("a: >+\n  é held\n  # rsi\n\n\nb: 1\n", "rsi"),
    ],
)
def test_a_place_in_a_value_is_a_place_in_the_file(text: str, part: str) -> None:
    """Words of a value are found at their place, however the value is written."""
    scalar = value_of(text)
    start = scalar.text.index(part)
    span = scalar.source_span(start, start + len(part))
    assert text[span.start : span.end] == part
    assert text.index(part) == span.start


def test_places_of_escapes_folds_and_ends() -> None:
    """An escape belongs to its character as a whole; behind the last character is a place, too."""
    text = 'a: "x\\u0041y\n   z"'
    scalar = value_of(text)
    assert scalar.text == "xAy z"
    assert [text[(s := scalar.source_span(i, i + 1)).start : s.end] for i in range(5)] == [
        "x",
        "\\u0041",
        "y",
        "\n   ",
        "z",
    ]
    behind = scalar.source_span(5, 6)
    assert (behind.start, behind.end) == (len(text) - 1, len(text) - 1)
    empty = value_of('a: ""')
    assert empty.source_span(0, 1).start == 4


ESCAPES = ['\\"', r"\n", r"\\", r"\x41", r"\u00e9", "\\\n ", "''"]
PIECES = st.sampled_from([*"a \n\té'\"\\\U0001f600", "b c", "  ", "\n  ", "\n\n ", " \n", "# x", *ESCAPES])
BODIES = st.lists(PIECES, max_size=12).map("".join)
LINES = st.lists(st.sampled_from(["", " ", "  a", "   b c", "  é # x", "    \td", "  'q'"]), max_size=7).map(
    "\n".join
)
WRITTEN = st.one_of(
    BODIES.map('a: "{}"'.format),
    BODIES.map("a: '{}'".format),
    BODIES.map("a: x{}".format),
    st.tuples(st.sampled_from(["|", ">", "|-", ">+", "|2", ">1-", "> # c"]), LINES)
    .map("\n".join)
    .map("a: {}\n".format),
    st.builds(
        lambda value, style, width: str(yaml.dump({"a": [value]}, default_style=style, width=width)),
        st.text(alphabet="ab \n'\":#-é\\", max_size=40),
        st.sampled_from([None, '"', "'", "|", ">"]),
        st.integers(3, 30),
    ),
)


@given(text=WRITTEN, breaks=st.sampled_from(["\n", "\r\n"]), loader=st.sampled_from(LOADERS))
def test_source_and_value_agree_character_by_character(text: str, breaks: str, loader: type) -> None:
    """Runs cover a value exactly, in order; where a run is verbatim, source and value are equal."""
    text = text.replace("\n", breaks)
    try:
        document = source_module._Composer(source_module._admit(text, "policy.yaml"), loader).document()
    except PolicyError:
        return
    for scalar in scalars(document.root):
        at, source_at = 0, 0
        for run in scalar.runs:
            piece = text[run.start : run.end]
            assert (run.value_start, run.start >= source_at) == (at, True)
            if len(piece) == run.length and "\n" not in piece:
                assert piece == scalar.text[at : at + run.length]
            at, source_at = at + run.length, run.end
        assert at == len(scalar.text)
        for index, character in enumerate(scalar.text):
            span = scalar.source_span(index, index + 1)
            assert 0 <= span.start < span.end <= len(text)
            if span.end - span.start == 1 and len(scalar.runs) > 1 and character not in " \n":
                assert text[span.start] == character


@given(text=WRITTEN, loader=st.sampled_from(LOADERS))
def test_values_are_those_of_the_library(text: str, loader: type[yaml.SafeLoader]) -> None:
    """Without problems, our tree has the values that PyYAML composes."""
    try:
        document = source_module._Composer(source_module._admit(text, "policy.yaml"), loader).document()
    except PolicyError:
        return
    if not document.problems:
        assert same_values(document.root, composed(text, loader))


@pytest.mark.parametrize("loader", LOADERS)
def test_the_examples_have_their_values(loader: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """All examples load without a problem, with the values PyYAML composes, with both parsers."""
    monkeypatch.setattr(source_module, "_LOADER", loader)
    paths = sorted(shared_path("examples").glob("*.yaml"))
    assert paths
    for path in paths:
        text = path.read_text(encoding="utf-8")
        document = load_document(text, path.name)
        assert (document.problems, document.broken) == ((), frozenset())
        assert same_values(document.root, composed(text, yaml.SafeLoader))
        for scalar in scalars(document.root):
            quoted = scalar.style is not ScalarStyle.PLAIN
            assert text[scalar.span.start : scalar.span.end].strip("'\"" if quoted else None) == scalar.text


# --- hostile input ----------------------------------------------------------------------------

SYNTAX = "a|b: |- |? |: |{|}|[|]|, |\n|\n  |\"|'|>|&x |*x|!t |#| #|%|@|---\n|...\n|<<: |\t|010|\\|~|é"
YAML_LIKE = st.lists(st.sampled_from([*SYNTAX.split("|"), "|", "\x00", "\ud800", "\u2028"]), max_size=30).map(
    "".join
)


@given(text=st.one_of(YAML_LIKE, st.text(max_size=60)), loader=st.sampled_from(LOADERS))
def test_no_text_raises_anything_else(text: str, loader: type) -> None:
    """Any text gives a document or a PolicyError, whose problems can be placed and shown."""
    try:
        document = source_module._Composer(source_module._admit(text, "policy.yaml"), loader).document()
        source, problems = document.source, document.problems
    except PolicyError as error:
        source, problems = error.source, error.problems
        assert problems
    for problem in problems:
        assert 0 <= problem.span.start <= problem.span.end <= max(len(source.text), 1)
        rendered = render(problem, source)
        assert all(character.isprintable() or character == "\n" for character in rendered)


@given(data=st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """Any bytes give a document or a PolicyError."""
    try:
        assert isinstance(load_document(data, "policy.yaml"), Document)
    except PolicyError as error:
        assert error.problems


@given(text=st.text())
def test_shown_text_is_short_and_printable(text: str) -> None:
    """Names in messages fit on a line and hold nothing that a terminal obeys."""
    assert len(shown(text)) <= 50
    assert shown(text).isprintable()


# Each is Python for the text, so that a child process makes it: it would not fit in an argument.
HOSTILE = {
    "aliases": (
        "'a0: &a0 [x]\\n' + ''.join(f'a{i}: &a{i} [' + f'*a{i-1}, ' * 9 + ']\\n' for i in range(1, 20))",
        "anchor",
    ),
    "brackets": ("'[' * 100_000", "too-deep"),
    "braces": ("'{a: ' * 100_000", "too-deep"),
    "brackets, 60 kB, closed": ("'a: ' + '[' * 30_000 + ']' * 30_000", "too-deep"),
    "dashes": ("'- ' * 100_000", "too-deep"),
    "question marks": ("'? ' * 100_000", "too-deep"),
    "indentation": ("''.join(' ' * i + 'a:\\n' for i in range(1_000))", "too-deep"),
    "2 MB": ("'a: ' + 'x' * 2_000_000", "too-large"),
    "2 MB in bytes": ("b'a: ' + b'x' * 2_000_000", "too-large"),
    "1 MB in few characters": ("'a: ' + '\\U0001f600' * 300_000", "too-large"),
    "200,000 keys": (
        "''.join(f'k{i}: v\\n' for i in range(70_000)) + 'a: [' + 'b,' * 130_000 + ']'",
        "too-many-nodes",
    ),
    "equal keys": ("'a: v\\n' * 20_000", "too-many-problems"),
    "NUL bytes": ("b'a: ' + b'\\0' * 1_000_000", "refused-character"),
    "invalid UTF-8": ("b'a: ' + b'\\xff' * 1_000_000", "encoding"),
    "long line": ("'a: ' + 'x ' * 500_000", None),
    "long line of quotes": ("'a: ' + '\"' * 1_000_000", "text-behind-value"),
    "blanks in quotes": ("'a: \"' + ' ' * 1_000_000 + '\"'", None),
    "folded quotes": ("'a: \"' + 'x\\n ' * 300_000 + '\"'", None),
    "escapes": ("'a: \"' + '\\\\x41' * 250_000 + '\"'", None),
    "empty lines": ("'\\n' * 1_000_000 + 'a: b'", None),
    "block of empty lines": ("'a: >+\\n' + ' x\\n\\n' * 250_000", None),
    "block of breaks": ("'a: |+\\n' + '\\n' * 1_000_000", None),
    "one long key": ("'k' * 1_000_000 + ': v'", "colon-in-value"),
    "controls": ("'a: ' + '\\x1b[2J\\u202e' * 100_000", "refused-character"),
    "strays": ("'{a: b' + ', c' * 20_000 + '}'", "comma-in-value"),
    "commas in a list": ("'a: [' + 'f(x, ' * 20_000 + ']'", None),
    "problems at the end": ("'\\n' * 400_000 + 'a: 1\\n' * 1_000", "too-many-problems"),
    "unclosed quote": ("'a: \"' + 'x\\n' * 500_000", "open-quote"),
}
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (500_000_000, 500_000_000))
resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
from engine.errors import PolicyError
from engine.language.source import load_document
from engine.language.structure import check_structure
text = eval(sys.stdin.read())
try:
    document = load_document(text, "policy.yaml")
except PolicyError as error:
    error.render()
    print(*sorted({problem.code for problem in error.problems}))
else:
    structure = check_structure(document)
    PolicyError(document.source, (*document.problems, *structure.problems)).render()
    print(*sorted({problem.code for problem in document.problems}))
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_ends_in_time_and_memory(name: str) -> None:
    """Within 2 s of CPU and 500 MB, imports included, hostile text is read, checked and shown."""
    pytest.importorskip("resource")
    text, code = HOSTILE[name]
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=text, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert (code or "") in done.stdout.split() or (code is None and not done.stdout.strip()), done.stdout


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: " + "x" * (MAX_BYTES - 3), None),
        ("a: " + "x" * (MAX_BYTES - 2), "too-large"),
        ("[" * MAX_DEPTH + "x" + "]" * MAX_DEPTH, None),
        ("[" * (MAX_DEPTH + 1) + "x" + "]" * (MAX_DEPTH + 1), "too-deep"),
        ("[" + "x," * (MAX_NODES - 1) + "]", None),
        ("[" + "x," * MAX_NODES + "]", "too-many-nodes"),
        ("- 01\n" * MAX_PROBLEMS, "leading-zero"),
        ("- 01\n" * (MAX_PROBLEMS + 1), "too-many-problems"),
    ],
)
def test_the_bounds_are_exact(text: str, code: str | None) -> None:
    """The greatest input that is taken is taken, and one more is refused."""
    found = codes(text)
    assert (found[-1] if found else None) == code
