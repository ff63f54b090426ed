"""Colour on a terminal: the same text, with its words of weight marked."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.theme import Theme

_THEME = Theme(
    {
        "tradectl.buy": "green",
        "tradectl.sell": "magenta",
        "tradectl.hold": "bold",
        "tradectl.false": "red",
        "tradectl.true": "green",
        "tradectl.unknown": "yellow",
        "tradectl.label": "bold cyan",
    }
)


class _Words(RegexHighlighter):
    base_style = "tradectl."
    highlights: ClassVar[list[str]] = [
        r"^(?P<label>[a-z]+(?: [a-z]+)?)  ",
        r"\b(?P<buy>BUY)\b|\b(?P<sell>SELL)\b|\b(?P<hold>HOLD)\b",
        r"\bis (?P<false>false)\b|\bis (?P<true>true)\b|\b(?P<unknown>unknown)\b",
    ]


def print_coloured(text: str) -> None:
    """Print a text line by line, never wrapped: it is the one that would be piped."""
    console = Console(theme=_THEME, highlighter=_Words(), soft_wrap=True)
    for line in text.split("\n"):
        console.print(line, markup=False)
