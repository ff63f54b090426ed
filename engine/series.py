"""What an indicator is: an expression over columns of closed bars.

A series node is a value (hashable, comparable): two facts that need the same computation share
one node.  ``engine.indicators`` evaluates nodes; the language builds them; both know only this.
"""

from __future__ import annotations

from dataclasses import dataclass

SELF = ""
"""The symbol of a column that means "the symbol under decision"."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of bars: open, high, low, close, volume, or typical (high + low + close) / 3."""

    symbol: str  # SELF or a symbol
    interval_seconds: int
    name: str


@dataclass(frozen=True, slots=True)
class SeriesConstant:
    """The same number at every bar."""

    value: float


@dataclass(frozen=True, slots=True)
class SeriesCall:
    """A kernel over series: ``function`` names it, ``lengths`` are its numeric arguments.

    ``output`` picks one of several outputs (``line`` of macd), "" where there is one.
    """

    function: str
    inputs: tuple[SeriesNode, ...]
    lengths: tuple[float, ...]
    output: str = ""


@dataclass(frozen=True, slots=True)
class SeriesArithmetic:
    """Arithmetic bar by bar: operator is one of + - * / neg abs log min max."""

    operator: str
    operands: tuple[SeriesNode, ...]


@dataclass(frozen=True, slots=True)
class Lag:
    """The operand ``bars`` closed bars ago, in the operand's own bars."""

    operand: SeriesNode
    bars: int


SeriesNode = Column | SeriesConstant | SeriesCall | SeriesArithmetic | Lag


def columns(node: SeriesNode) -> frozenset[Column]:
    """Return every bar column a node needs: the data needs of a policy, known at load."""
    match node:
        case Column():
            return frozenset((node,))
        case SeriesConstant():
            return frozenset()
        case SeriesCall(inputs=children) | SeriesArithmetic(operands=children):
            return frozenset().union(*(columns(child) for child in children))
        case Lag(operand=operand):
            return columns(operand)
