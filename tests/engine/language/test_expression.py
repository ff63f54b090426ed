"""The expression language: what is written is what is read, and every mistake is told in its place."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Span
from engine.language.expression import (
    KEYWORDS,
    MAXIMUM_DIGITS,
    MAXIMUM_HEIGHT,
    MAXIMUM_LENGTH,
    MAXIMUM_NESTING,
    Binary,
    Call,
    Chain,
    Crosses,
    Expression,
    ExpressionError,
    Literal,
    Logic,
    Name,
    Not,
    On,
    Text,
    Ticker,
    Unary,
    children,
    duration_text,
    literal_text,
    parse,
    tokens,
    unparse,
    walk,
)
from engine.lowered import Comparison
from engine.units import ELAPSED_CAP_SECONDS, Measure

NOWHERE = Span(0, 0)

# --- random trees -----------------------------------------------------------------------------

names = st.from_regex(r"[a-z][a-z0-9_]{0,6}(\.[a-z][a-z0-9_]{0,6})?", fullmatch=True).filter(
    lambda name: not KEYWORDS.intersection([name])
)
tickers = st.from_regex(r"[0-9]?[A-Z][A-Z0-9]{0,4}([-./][A-Z0-9]{1,3})?", fullmatch=True).filter(
    lambda ticker: ticker != "USD"
)
decimals = st.decimals(0, 10**6, places=3)
literals = st.one_of(
    st.builds(Literal, decimals.map(lambda value: value / 100), st.just(Measure.RATIO), st.just(NOWHERE)),
    st.builds(Literal, decimals, st.sampled_from([Measure.SCALAR, Measure.MONEY]), st.just(NOWHERE)),
    st.builds(
        Literal,
        st.integers(0, ELAPSED_CAP_SECONDS).map(Decimal),
        st.sampled_from([Measure.DURATION, Measure.BARS]),
        st.just(NOWHERE),
    ),
    st.builds(
        Literal,
        st.integers(0, 1440).map(lambda minutes: Decimal(60 * minutes)),
        st.just(Measure.CLOCK),
        st.just(NOWHERE),
    ),
)
leaves = st.one_of(
    literals,
    st.builds(Name, names, st.just(NOWHERE)),
    st.builds(Ticker, tickers, st.just(NOWHERE)),
    st.builds(Text, st.text("abc -'", max_size=5), st.just(NOWHERE)),
)


def _above(below: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    many = st.lists(below, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Unary, below, st.just(NOWHERE)),
        st.builds(Not, below, st.just(NOWHERE)),
        st.builds(Binary, st.sampled_from(["+", "-", "*", "/", "of"]), below, below, st.just(NOWHERE)),
        st.builds(Logic, st.booleans(), many, st.just(NOWHERE)),
        st.builds(Crosses, below, st.booleans(), below, st.just(NOWHERE)),
        many.flatmap(
            lambda operands: st.lists(
                st.sampled_from(list(Comparison)), min_size=len(operands) - 1, max_size=len(operands) - 1
            ).map(lambda comparisons: Chain(operands, tuple(comparisons), NOWHERE))
        ),
        st.builds(
            Call,
            names.map(lambda n: n.partition(".")[0]),
            st.one_of(st.just(()), many),
            st.just(NOWHERE),
            st.just(NOWHERE),
        ).filter(lambda call: call.function not in KEYWORDS),
    )


expressions = st.recursive(leaves, _above, max_leaves=12)
intervals = st.integers(1, 500).map(lambda m: Literal(Decimal(60 * m), Measure.DURATION, NOWHERE))
indicators = st.builds(On, expressions, st.one_of(st.none(), tickers), intervals, st.just(NOWHERE))


@given(st.one_of(expressions, indicators))
def test_canonical_text_reads_back_as_the_same_tree(tree: Expression) -> None:
    """Whatever the tree, its canonical text has exactly the brackets it needs."""
    text = unparse(tree)
    assert parse(text) == tree
    assert unparse(parse(text)) == text


@given(expressions)
def test_every_part_stands_where_its_span_says(tree: Expression) -> None:
    """What stands at a part's span, read alone, is that part."""
    text = unparse(tree)
    for part in walk(parse(text)):
        assert parse(text[part.span.start : part.span.end]) == part


@given(expressions, st.integers(0, 1000))
def test_places_are_mapped_to_the_file(tree: Expression, shift: int) -> None:
    """Spans are what the caller's map makes of offsets."""
    text = unparse(tree)
    moved = parse(text, lambda start, end: Span(start + shift, end + shift))
    for here, there in zip(walk(parse(text)), walk(moved), strict=True):
        assert (here.span.start + shift, here.span.end + shift) == (there.span.start, there.span.end)


WORDS = "rsi|and |or |not | of | on |crosses |above |10%|5m|1h|30 bars|100 USD|10:00|SPY|BTC-USD|1e9|\n|\x00"
FOREIGN = "\N{LATIN SMALL LETTER E WITH ACUTE}\N{ARABIC-INDIC DIGIT THREE}\N{MINUS SIGN}\N{NO-BREAK SPACE}"
PIECES = [*"()+-*/,.<>=!%:'\"#{}[]$^&|\\ \t019", *WORDS.split("|"), *FOREIGN]


@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), st.text(max_size=40)))
def test_any_text_is_a_tree_or_a_mistake_with_a_place(text: str) -> None:
    """Nothing but ExpressionError is raised, and its place lies in the text."""
    try:
        tree = parse(text)
    except ExpressionError as error:
        assert 0 <= error.span.start <= error.span.end <= len(text)
        assert error.message
        return
    assert parse(unparse(tree)) == tree


# --- literals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value", "measure", "canonical"),
    [
        ("80", 80, Measure.SCALAR, "80"),
        ("0.50", "0.5", Measure.SCALAR, "0.5"),
        ("10%", "0.1", Measure.RATIO, "10%"),
        ("10.0 %", "0.1", Measure.RATIO, "10%"),
        ("0.01%", "0.0001", Measure.RATIO, "0.01%"),
        ("60m", 3600, Measure.DURATION, "1h"),
        ("90s", 90, Measure.DURATION, "90s"),
        ("24h", 86400, Measure.DURATION, "1d"),
        ("1w", 604800, Measure.DURATION, "7d"),
        ("0m", 0, Measure.DURATION, "0s"),
        ("30 bars", 30, Measure.BARS, "30 bars"),
        ("1 bar", 1, Measure.BARS, "1 bars"),
        ("9:30", 34200, Measure.CLOCK, "09:30"),
        ("24:00", 86400, Measure.CLOCK, "24:00"),
        ("100 USD", 100, Measure.MONEY, "100 USD"),
        ("0.10  USD", "0.1", Measure.MONEY, "0.1 USD"),
    ],
)
def test_literals_carry_their_units(text: str, value: str | int, measure: Measure, canonical: str) -> None:
    """A literal is an exact number with a unit, and has one canonical spelling."""
    literal = parse(text)
    assert literal == Literal(Decimal(value), measure, NOWHERE)
    assert unparse(literal) == canonical


@given(st.integers(0, ELAPSED_CAP_SECONDS))
def test_a_duration_is_written_in_the_largest_unit_that_divides_it(seconds: int) -> None:
    """What is written is read as the same number of seconds."""
    literal = parse(duration_text(seconds))
    assert isinstance(literal, Literal)
    assert literal.value == seconds


def test_negative_numbers_are_written_with_a_sign() -> None:
    """Messages show negative parameters, whose literals are positive."""
    assert literal_text(Decimal("-0.05"), Measure.RATIO) == "-5%"
    assert literal_text(Decimal(-90), Measure.DURATION) == "-90s"
    assert literal_text(Decimal("-0"), Measure.SCALAR) == "0"


# --- trees ------------------------------------------------------------------------------------


def shape(text: str) -> str:
    """Return a text with a bracket round every operation."""

    def bracketed(tree: Expression) -> str:
        match tree:
            case Binary(operator=operator, left=left, right=right):
                return f"({bracketed(left)} {operator} {bracketed(right)})"
            case Logic(every=every, operands=operands):
                return "(" + (" and " if every else " or ").join(map(bracketed, operands)) + ")"
            case Not(operand=operand):
                return f"(not {bracketed(operand)})"
            case Unary(operand=operand):
                return f"(-{bracketed(operand)})"
            case Chain(operands=operands, comparisons=comparisons):
                signs = (*(f" {comparison.value} " for comparison in comparisons), "")
                return "(" + "".join(bracketed(o) + s for o, s in zip(operands, signs, strict=True)) + ")"
            case _:
                return unparse(tree)

    return bracketed(parse(text))


@pytest.mark.parametrize(
    ("text", "bracketed"),
    [
        ("a or b and c", "(a or (b and c))"),
        ("not a and b", "((not a) and b)"),
        ("not a < b", "(not (a < b))"),
        ("a - b - c", "((a - b) - c)"),
        ("a + b * c", "(a + (b * c))"),
        ("5% of a + b", "((5% of a) + b)"),
        ("-a * b", "((-a) * b)"),
        ("a < b + c <= d", "(a < (b + c) <= d)"),
        ("(a or b) and c", "((a or b) and c)"),
        ("a / b of c", "((a / b) of c)"),
    ],
)
def test_what_binds_tighter(text: str, bracketed: str) -> None:
    """Or, and, not, comparisons, sums, products, signs: from loose to tight, from the left."""
    assert shape(text) == bracketed


def test_symbols_may_look_like_numbers_and_truth_values() -> None:
    """A symbol is upper case, perhaps behind digits, perhaps with a dash, dot or slash."""
    for symbol in ("SPY", "BTC-USD", "1INCH", "BRK.B", "ON", "TRUE", "NO", "BTC/USD"):
        assert parse(f"symbol == {symbol}") == Chain(
            (Name("symbol", NOWHERE), Ticker(symbol, NOWHERE)), (Comparison.EQUAL,), NOWHERE
        )


def test_children_and_walk_reach_everything() -> None:
    """The parts of a tree, the tree itself first."""
    tree = parse("not a crosses above -b or max(c, 1) < d on SPY 1h")
    assert isinstance(tree, On)
    found = [part.name for part in walk(tree) if isinstance(part, Name)]
    assert found == ["a", "b", "c", "d"]
    assert children(parse("5")) == ()


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start", "message", "hint"),
    [
        ("", 0, "an expression is missing here", ""),
        ("   ", 3, "an expression is missing here", ""),
        ("rsi >> 3", 5, "expected a fact, a number or '(', found '>'", ""),
        ("rsi => 3", 4, "'=>' is not part of the language", "write '>='"),
        ("a AND b", 2, "found 'AND'", "write 'and'"),
        ("And b", 0, "'And' is written 'and'", "write 'and'"),
        ("rsi above 30", 4, "found 'above'", "crosses above"),
        ("rsi > 5 min", 8, "found 'min'", "5m (s, m, h, d, w)"),
        ("price > 100usd", 8, "'100usd' is not a number", "100 USD"),
        ("price > .5", 8, "'.5' is not a number", "write 0.5"),
        ("price > 1e-3", 8, "'1e-3' is not a number", "0.001"),
        ("Rsi > 3", 0, "'Rsi' is not a name", "lower case"),
        ("rsi > 3)", 7, "found ')'", ""),
        ("max(a b)", 6, "expected ',' or ')'", ""),
        ("'held", 0, "a text that is not closed", "close the quote"),
        ("a < 10:60", 4, "'10:60' is not a time of day", "24:00"),
        ("a\x07 < b", 1, "unexpected character 'U+0007'", ""),
        ("close on 15", 9, "expected an interval after 'on'", "on SPY 1d"),
        ("a > 4000d", 4, "'4000d' is too long", "never"),
    ],
)
def test_mistakes_are_told_where_they_are(text: str, start: int, message: str, hint: str) -> None:
    """The first mistake, its place, and what to write instead."""
    with pytest.raises(ExpressionError) as raised:
        parse(text)
    assert raised.value.span.start == start
    assert message in raised.value.message
    assert hint in raised.value.hint


WHOLE, BEHIND = MAXIMUM_DIGITS


def nested(opening: str, closing: str, times: int) -> str:
    """Return ``a`` inside so many brackets."""
    return opening * times + "a" + closing * times


@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        ("1" * WHOLE, "1" * (WHOLE + 1)),
        ("0." + "1" * BEHIND, "0." + "1" * (BEHIND + 1)),
        (nested("(", ")", MAXIMUM_NESTING), nested("(", ")", MAXIMUM_NESTING + 1)),
        ("not " * MAXIMUM_NESTING + "a", "not " * (MAXIMUM_NESTING + 1) + "a"),
        (nested("f(", ")", MAXIMUM_NESTING), nested("f(", ")", MAXIMUM_NESTING + 1)),
        ("a" + "+a" * (MAXIMUM_HEIGHT - 1), "a" + "+a" * MAXIMUM_HEIGHT),
        ("a" + " " * (MAXIMUM_LENGTH - 1), "a" + " " * MAXIMUM_LENGTH),
        (f"{ELAPSED_CAP_SECONDS}s", f"{ELAPSED_CAP_SECONDS + 1}s"),
    ],
)  # fmt: skip
def test_the_bounds_are_exact(accepted: str, refused: str) -> None:
    """The greatest that is taken is taken, and one more is refused."""
    assert parse(unparse(parse(accepted))) == parse(accepted)
    with pytest.raises(ExpressionError):
        parse(refused)


def test_an_expression_whose_canonical_text_is_too_long_is_refused() -> None:
    """Blanks that were left out count: it must be possible to read the canonical text back."""
    with pytest.raises(ExpressionError, match="10,000 characters"):
        parse("<".join(["ab"] * 3_000))


def test_a_token_knows_its_kind_and_place() -> None:
    """The lexer alone, for those who colour text."""
    found = [(token.kind, token.text, token.span.start) for token in tokens("rsi<= 5m")]
    assert found == [("name", "rsi", 0), ("compare", "<=", 3), ("duration", "5m", 6), ("end", "", 8)]
