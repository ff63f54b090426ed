"""``tradectl map-policy``: the regions as text, document and page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from adapters.cli.map_html import html_page
from engine.evaluate.symbolic.solver import Budget
from engine.language.load import load_policy
from engine.prove.policy_map import map_policy
from tests.adapters.cli.running import ROOT, document, tradectl

DIP = str(ROOT / "docs" / "how-to" / "dip.yaml")


def test_document() -> None:
    """Every region says when and what; symbols that are decided alike are together."""
    result = tradectl("map-policy", "default", "--json", "--for", "crypto")
    assert result.exit_code == 0, result.output
    read = document(result, "map-policy-v1")
    assert read["proved"] is True
    assert [part["for"] for part in read["maps"]] == ["crypto but DOGE-USD", "DOGE-USD"]
    stop = read["maps"][0]["regions"][0]
    assert (stop["action"], stop["rule"], stop["then"]) == ("sell", "stop-loss", "sell all")
    assert stop["conditions"][-1] == "gain <= -12%"
    assert read["maps"][1]["regions"][1]["conditions"][-1] == "price <= 86% of peak_price"


def test_numbers_stand_for_parameters() -> None:
    """No condition names a parameter; sums of parameters and literals are done."""
    text = tradectl("map-policy", "default", "--for", "SPY").stdout
    assert "rsi < 70" in text
    assert "overbought -" not in text
    assert "trail_after" not in text
    assert "price <= 94% of peak_price" in text
    assert "buy to 50% of target" in tradectl("map-policy", "conservative", "--for", "SPY").stdout


def test_without_time_is_said() -> None:
    """What is left open is printed, and the exit code tells."""
    result = tradectl("map-policy", DIP, "--budget", "0.000001")
    assert result.exit_code == 1
    assert "LEFT OPEN" in result.stdout
    assert "decided as they say: undecided" in result.stdout


def test_of_nothing_else() -> None:
    """A symbol that the policy does not trade has no map."""
    result = tradectl("map-policy", DIP, "--for", "SPY")
    assert result.exit_code == 3
    assert "trades no 'SPY'; there are: crypto, BTC-USD, ETH-USD" in result.stderr


def test_a_broken_policy(tmp_path: Path) -> None:
    """Mistakes are told in their places."""
    path = tmp_path / "broken.yaml"
    path.write_text(Path(DIP).read_text("utf-8").replace("rsi > 70", "rsi > seventy"), "utf-8")
    result = tradectl("map-policy", str(path))
    assert result.exit_code == 4
    assert "seventy" in result.stderr


class _Page(HTMLParser):
    """What a page is made of; unbalanced tags fail."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "br", "!doctype"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    """One file: balanced, without scripts, with links into itself only; written once, unless forced."""
    path = tmp_path / "map.html"
    assert tradectl("map-policy", "legacy-2025-11-18", "--html", str(path)).exit_code == 0
    text = path.read_text("utf-8")
    page = _Page()
    page.feed(text)
    assert not page.open
    assert "script" not in page.seen
    assert page.addresses == ["#map-1", "#map-2"]
    assert "://" not in text
    again = tradectl("map-policy", "legacy-2025-11-18", "--html", str(path))
    assert again.exit_code == 4
    assert "exists" in again.stderr


def test_page_escapes_what_the_policy_says() -> None:
    """Comparisons and names come as text, whatever they hold."""
    text = Path(DIP).read_text("utf-8").replace("version: 1.0.0", "version: 1.0.0-<b>")
    loaded = load_policy(text, "dip")
    if loaded.policy is None:  # the language does not allow it: the page must not rely on that
        loaded = load_policy(Path(DIP).read_text("utf-8"), "dip")
    page = html_page(map_policy(loaded.required(), loaded.lowered, Budget()))
    assert "rsi &lt; 30" in page
    assert "rsi < 30" not in page
    assert "<b>" not in page


@pytest.mark.parametrize("name", ["conservative", "default", "legacy-2025-11-18"])
def test_shipped_policies_are_mapped_whole(name: str) -> None:
    """Everything is proved, for every symbol, in regions that a person can read."""
    read = document(tradectl("map-policy", name, "--json"), "map-policy-v1")
    assert read["proved"] is True
    for part in read["maps"]:
        assert len(part["regions"]) <= 30
        assert all(part["proof"].values())
