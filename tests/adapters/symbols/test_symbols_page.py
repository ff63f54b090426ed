"""The page on symbols says what the registry does."""

from __future__ import annotations

from pathlib import Path

from adapters.symbols.directory import Spelled
from adapters.symbols.registry import Registry

PAGE = Path(__file__).parents[3] / "docs" / "symbols.md"


def test_the_table_of_spellings() -> None:
    """Each cell of the page's table is what the registry answers before any list was read."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text("utf-8").split("\n") if line[:2] == "| "]
    sources = [cell.replace("EXCHANGE", "kraken") for cell in rows[0][1:]]
    assert len(rows) == 7
    for symbols, *cells in rows[1:]:
        for number, symbol in enumerate(symbols.split(", ")):
            for names, cell in zip(sources, cells, strict=True):
                for source in names.split(", "):
                    answer = Registry().spelled(source, symbol)
                    if cell == "not served":
                        assert not isinstance(answer, Spelled), (symbol, source)
                        continue
                    plain = cell.removesuffix(", or what the exchange has")
                    text, _, currency = plain.split(", ")[number].partition(" (")
                    assert answer == Spelled(text, currency.rstrip(")") or "USD"), (symbol, source)
