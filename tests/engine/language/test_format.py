"""Laying out policies: what they say stays, comments stay where they belong, and twice is as good as once."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import policies
import schemas
from engine.errors import Severity, Span
from engine.language.edits import Edit, apply, place_before
from engine.language.format import format_policy
from engine.language.layout import Layout
from engine.language.load import load_policy
from tests.engine.language.small import text as small
from tests.policy_texts import policy_texts
from tests.shared_data import shared_path
from tests.untidy import Untidy, beginning, untidy

HEAD = """\
apiVersion: tradectl/v1
policy: laid-out
version: 1.0.0
selection: exits_first
bars: 15m

universe:
  stock: {calendar: NYSE, weights: {SPY: 20%, QQQ: 10%}}

indicators: {rsi: rsi(14)}

"""
RULES = """\
rules:
  out: {priority: 9, when: held and gain > 5%, then: sell all}
"""


def laid_out(text: str | bytes) -> str:
    """Return a text laid out."""
    found = format_policy(text, "policy.yaml")
    assert found.text is not None, found.problems
    return found.text


def check(before: str) -> str:
    """Lay a policy out: it means the same, it is not changed by being laid out again."""
    after = laid_out(before)
    assert load_policy(after, "after").required().digest == load_policy(before, "before").required().digest
    assert laid_out(after) == after
    lines = after.replace("\r\n", "\n").split("\n")
    assert lines.pop() == ""
    assert lines[0]
    assert lines[-1]
    return after


# --- random policies --------------------------------------------------------------------------


@given(policy_texts())
def test_random_policies_stay_what_they_are(text: str) -> None:
    """The digest is the same, and the layout of a layout is itself."""
    check(text)


def check_untidy(found: Untidy) -> None:
    """Lay out what was made untidy: no comment is lost, doubled, changed, or moved to another neighbour."""
    lines = check(found.text).replace("\r\n", "\n").split("\n")
    for number, comment in enumerate(found.comments):
        at = [index for index, line in enumerate(lines) if line.endswith(comment)]
        assert len(at) == 1, comment
        (index,) = at
        if number in found.behind:
            assert beginning(lines[index].removesuffix(comment)) == found.behind[number]
        if number in found.above:
            below = (line for line in lines[index + 1 :] if line and not line.strip().startswith("#"))
            assert beginning(next(below)) == found.above[number]
    assert not [line for line in lines if line.endswith((" ", "\t"))]
    assert "\n\n\n" not in "\n".join(lines)


@given(policy_texts(), st.integers(0, 2**32))
def test_untidy_policies_are_tidied(text: str, seed: int) -> None:
    """Comments, blanks, indentation, order and line ends of all kinds, over random policies."""
    check_untidy(untidy(text, random.Random(seed)))


@pytest.mark.parametrize("name", policies.shipped())
@pytest.mark.parametrize("seed", range(3))
def test_untidied_shipped_policies_are_tidied(name: str, seed: int) -> None:
    """The same for policies with comments and columns of their own."""
    check_untidy(untidy(policies.read(name), random.Random(seed)))


# --- policies that are laid out already -------------------------------------------------------


@pytest.mark.parametrize("name", policies.shipped())
def test_shipped_policies_are_laid_out(name: str) -> None:
    """The layout is that of the policies that are shipped."""
    assert check(policies.read(name)) == policies.read(name)


@pytest.mark.parametrize("name", ["default", "legacy"])
def test_examples_with_sections_set_apart_are_laid_out(name: str) -> None:
    """The two long examples are unchanged; the others write their sections without empty lines."""
    text = shared_path("examples", f"{name}.yaml").read_text("utf-8")
    assert check(text) == text


def test_all_examples_stay_what_they_are() -> None:
    """The same decisions, whatever they looked like."""
    for path in sorted(shared_path("examples").glob("*.yaml")):
        check(path.read_text("utf-8"))


# --- one thing at a time ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Blanks inside conditions; words and numbers stay as written.
        ("  a: {priority: 1, when: held  and gain<=-5.0%, then: sell   all}",
         "  a: {priority: 1, when: held and gain <= -5.0%, then: sell all}"),
        ("  a: {priority: 1, when: held and gain>= 10 % and rsi-10>- 5, then: sell all}",
         "  a: {priority: 1, when: held and gain >= 10% and rsi - 10 > -5, then: sell all}"),
        ("  a: {priority: 1, when: not(held)and rsi<5, then: buy to(1+1)*(5  USD)}",
         "  a: {priority: 1, when: not (held) and rsi < 5, then: buy to (1 + 1) * (5 USD)}"),
        ("  a: {priority: 1, when: 'abs ( gain )>5%  and held', then: hold}",
         "  a: {priority: 1, when: 'abs(gain) > 5% and held', then: hold}"),
        ('  a: {priority: 1, when: "max(rsi ,50)  >5", then: hold}',
         '  a: {priority: 1, when: "max(rsi, 50) > 5", then: hold}'),
        ('  a: {priority: 1, when: "rsi\\x3c30", then: hold}',
         '  a: {priority: 1, when: "rsi \\x3c 30", then: hold}'),
        # Brackets, commas, colons.
        ("  a: { priority: 1 ,when : held , then: hold, }",
         "  a: {priority: 1, when: held, then: hold}"),
        ('  a: {"priority":1,"when":"held","then":"hold"}',
         '  a: {"priority": 1, "when": "held", "then": "hold"}'),
        ("  a: {priority: 1, when: {any: [ held,[email] ]}, then: hold}".replace("[email]", "rsi<5"),
         "  a: {priority: 1, when: {any: [held, rsi < 5]}, then: hold}"),
        # The order of keys, in lines and in brackets.
        ("  a: {then: hold, when: held, priority: 1}",
         "  a: {priority: 1, when: held, then: hold}"),
        ("  a:\n    then: hold   # last\n    # first\n    priority: 1\n    when: held",
         "  a:\n    # first\n    priority: 1\n    when: held\n    then: hold   # last"),
        # A comment in brackets could be of either neighbour.
        ("  a: {then: hold,   # x\n    when: held, priority: 1}",
         "  a: {then: hold,   # x\n    when: held, priority: 1}"),
        # Indentation.
        ("    a:\n          priority: 1\n          when:\n            any:\n            - held\n"
         "            -   all: [held]\n          then: hold",
         "  a:\n    priority: 1\n    when:\n      any:\n        - held\n"
         "        - all: [held]\n    then: hold"),
        ("    a:\n      # b\n        # c\n      priority: 1\n      when: held and\n           rsi<\n"
         "       5\n      then: hold",
         "  a:\n    # b\n      # c\n    priority: 1\n    when: held and\n         rsi <\n      5\n"
         "    then: hold"),
        # Blocks of text keep their lines; what they say by indentation is kept, too.
        ("  a:\n    priority: 1\n    when: >-   # why\n            held and\n              rsi<5   \n"
         "    then: hold",
         "  a:\n    priority: 1\n    when: >-   # why\n      held and\n        rsi < 5   \n    then: hold"),
        ("   a:\n       priority: 1\n       when: |2\n           held\n       # deep enough?\n"
         "       then: hold",
         "  a:\n    priority: 1\n    when: |2\n        held\n    # deep enough?\n    then: hold"),
        # Empty lines.
        ("\n\n  a: {priority: 1, when: held, then: hold}\n\n\n\n  b: {priority: 2, when: held, then: hold}",
         "  a: {priority: 1, when: held, then: hold}\n\n  b: {priority: 2, when: held, then: hold}"),
    ],
)  # fmt: skip
def test_rules(before: str, after: str) -> None:
    """A piece of the section of rules, before and after."""
    assert check(f"{HEAD}rules:\n{before}\n") == f"{HEAD}rules:\n{after}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Columns that are shared stay, and move where something has grown.
        ("  a:   {value: 1,   range: [1, 2]}\n  bcd: {value: 1.5, range: [1, 2]}",
         "  a:   {value: 1,   range: [1, 2]}\n  bcd: {value: 1.5, range: [1, 2]}"),
        ("  a:   {value: 1,  range: [1,2]}\n  bcd: {value: 1.5,range: [1, 2]}",
         "  a:   {value: 1, range: [1, 2]}\n  bcd: {value: 1.5, range: [1, 2]}"),
        ("  a:   {value: 2.5%, range: [1%,3%], for: {SPY: 2%}}\n"
         "  bcd: {value: 5%,   range: [1%,22%],for: {SPY: 2%}}",
         "  a:   {value: 2.5%, range: [1%, 3%], for: {SPY: 2%}}\n"
         "  bcd: {value: 5%,   range: [1%, 22%], for: {SPY: 2%}}"),
        ("  a:   {range: [1,2],    value: 1}\n  bcd: {range: [1,2,],   value: 2}",
         "  a:   {value: 1, range: [1, 2]}\n  bcd: {value: 2, range: [1, 2]}"),
        # Columns that are not shared are no columns.
        ("  a:      {value: 1}\n  b: {value:    2}", "  a: {value: 1}\n  b: {value: 2}"),
        # Comments: one column, however many lines, or else the blanks that there were.
        ("  a: {value : 1}    # x\n  bc: {value: 2}    # y\n                    # of y",
         "  a: {value: 1}     # x\n  bc: {value: 2}    # y\n                    # of y"),
        ("  a: {value: 1,for: {SPY: 2}}   # x\n  bc: {value: 2,for: {SPY: 2}}  # y",
         "  a: {value: 1, for: {SPY: 2}}   # x\n  bc: {value: 2, for: {SPY: 2}}  # y"),
        ("  a: {value: 1} # x\n  bcd: {value:    2}        # y",
         "  a: {value: 1} # x\n  bcd: {value: 2}        # y"),
    ],
)  # fmt: skip
def test_columns(before: str, after: str) -> None:
    """What a writer aligned stays aligned."""
    head = HEAD.removesuffix("indicators: {rsi: rsi(14)}\n\n")
    assert check(f"{head}params:\n{before}\n\n{RULES}") == f"{head}params:\n{after}\n\n{RULES}"


def test_sections_come_in_order_with_their_comments() -> None:
    """Comments above a section go with it; the file's own stay on top, and what follows all at the end."""
    before = (
        "# of the file\n\n# of the name\npolicy: laid-out   # indeed\nrules:\n  # of out\n"
        "  out: {priority: 9, when: held and gain > 5%, then: sell all}\n# of the rules, too\n\n"
        "# of the version\nversion: 1.0.0\nselection: exits_first\n# of bars\n\nuniverse:\n"
        "  crypto: {calendar: 24/7, symbols: [BTC-USD]}\n  stock: {calendar: NYSE, symbols: [SPY]}\n"
        "bars: 15m\napiVersion: tradectl/v1\n\n# the end\n"
    )
    assert check(before) == (
        "# of the file\n\napiVersion: tradectl/v1\n# of the name\npolicy: laid-out   # indeed\n\n"
        "# of the version\nversion: 1.0.0\nselection: exits_first\n# of bars\n\nbars: 15m\n\nuniverse:\n"
        "  crypto: {calendar: 24/7, symbols: [BTC-USD]}\n  stock: {calendar: NYSE, symbols: [SPY]}\n\n"
        "rules:\n  # of out\n  out: {priority: 9, when: held and gain > 5%, then: sell all}\n"
        "# of the rules, too\n\n# the end\n"
    )


def test_maps_of_names_stay_in_their_order() -> None:
    """The order of rules, gates, votes, classes and weights has a meaning, or is their writer's choice."""
    text = (
        HEAD
        + RULES
        + "  b: {priority: 1, when: held, then: hold}\n  a: {priority: 1, when: held, then: hold}\n"
    )
    assert check(text) == text


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_line_ends_stay(line_end: str) -> None:
    """A file is written with the line ends that its first line has, at its end, too."""
    text = (HEAD + RULES).replace("\n", line_end)
    for before in (text, text.removesuffix(line_end), text + 3 * line_end, text.replace("  ", "    ")):
        assert check(before) == text


def test_a_byte_order_mark_is_dropped() -> None:
    """It says nothing."""
    assert laid_out(b"\xef\xbb\xbf" + (HEAD + RULES).encode()) == HEAD + RULES


def test_words_are_never_written_anew() -> None:
    """Quotes, spellings, unicode and tabs in comments are the writer's."""
    text = HEAD.replace("laid-out", "'laid-out'").replace("15m", '"900s"   # b\tars: ≥ 15 Minuten')
    text = (
        text.replace("indicators", "params:\n  a: {value: 1.10, range: [0.50, 10.00]}\n\nindicators") + RULES
    )
    assert check(text) == text


def test_a_policy_in_one_bracket_stays_one() -> None:
    """The canonical text of a policy, which is JSON, is laid out, too."""
    canonical = load_policy(small(), "small").required().canonical
    assert (
        load_policy(laid_out(canonical), "x").required().digest == load_policy(small(), "x").required().digest
    )
    assert check("{then: 1}".replace("then: 1", canonical[1:-1].replace("\n", " "))).count("\n") == 1


def test_markers_of_the_document_stay() -> None:
    """``---`` and ``...`` stand where they stood."""
    assert check(f"# a\n---\n{HEAD}{RULES}...\n") == f"# a\n---\n{HEAD}{RULES}...\n"


def test_a_mistake_in_a_condition_is_left_to_validate_policy() -> None:
    """The rest is laid out; the blanks of a condition that cannot be read stay."""
    text = HEAD + "rules:\n  a: {when: held &&  rsi<5,  then: hold, priority: 1}\n"
    assert laid_out(text) == HEAD + "rules:\n  a: {priority: 1, when: held &&  rsi<5, then: hold}\n"


# --- what is left alone -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("", ["empty"]),
        (b"\xff\xfe", ["encoding"]),
        ("a: [", ["open-bracket"]),
        ("apiVersion: tradectl/v1\n", ["missing-key"] * 6),
        (HEAD + "rules:\n  a: {priority: 1, whem: held, then: hold}\n", ["unknown-key"]),
        (HEAD + "rules:\n  ? a\n  : {priority: 1, when: held, then: hold}\n", ["complex-key"]),
    ],
)
def test_what_has_not_the_shape_of_a_policy_is_left_alone(text: str | bytes, codes: list[str]) -> None:
    """Its mistakes are told as validate-policy tells them."""
    found = format_policy(text, "policy.yaml")
    assert found.text is None
    assert [problem.code for problem in found.problems] == codes
    assert {problem.severity for problem in found.problems} == {Severity.ERROR}


def test_empty_lines_that_belong_to_a_text_are_kept() -> None:
    """``|+`` has a meaning for the lines behind it; none are added there, and none taken away."""
    text = HEAD + "rules:\n  a:\n    priority: 1\n    then: hold\n    when: |+\n      held\n\n\ngates: {}\n"
    assert "      held\n\n\n" in check(text)


def test_nothing_is_returned_that_says_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the layout ever lose a word or a comment, the file is left alone and the fault is told."""
    for damaged in (HEAD + RULES.replace("5%", "6%"), HEAD, HEAD + "rules: [", "# lost\n" + HEAD + RULES):
        monkeypatch.setattr(Layout, "text", lambda _self, text=damaged: text)
        found = format_policy(HEAD + RULES, "policy.yaml")
        assert found.text is None
        assert [problem.code for problem in found.problems] == ["not-laid-out"]


def test_the_order_is_the_schema_s() -> None:
    """There is one truth about which keys there are, and it says in which order they stand."""
    sections = list(schemas.load("policy-v1")["properties"])
    assert sections[:3] == ["apiVersion", "policy", "version"]
    assert [line.split(":")[0] for line in policies.read("default").split("\n") if line[:1].isalpha()] == [
        section for section in sections if section not in ("description", "define")
    ]


# --- edits ------------------------------------------------------------------------------------


def test_edits() -> None:
    """Places are replaced at once, and only those inside a stretch; two edits of one place are a mistake."""
    edits = [Edit(Span(4, 6), "x"), Edit(Span(0, 1), "abc"), Edit(Span(2, 2), "+")]
    assert apply("0123456789", edits) == "abc1+23x6789"
    assert apply("0123456789", edits, 2, 8) == "+23x67"
    with pytest.raises(ValueError, match="two edits"):
        apply("0123", [Edit(Span(0, 2), ""), Edit(Span(1, 3), "")])


@given(st.lists(st.integers(0, 30), max_size=8), st.data())
def test_places_before_edits(cuts: list[int], data: st.DataObject) -> None:
    """What no edit touched is found where it stood; what one wrote is found in what it replaced."""
    text = "abcdefghijklmnopqrstuvwxyzABCDE"
    ends = sorted(set(cuts))
    edits = [Edit(Span(a, b), data.draw(st.sampled_from(("", "-", "--------"))))
             for a, b in zip(ends[::2], ends[1::2], strict=False)]  # fmt: skip
    changed = apply(text, edits)
    for at, character in enumerate(changed):
        span = place_before(edits, Span(at, at + 1))
        if character == "-":
            assert any(edit.span == span for edit in edits)
        else:
            assert text[span.start : span.end] == character
