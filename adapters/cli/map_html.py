"""The map of a policy as one page: no script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Final

from adapters.cli.map_policy import OF_KNOWN_FACTS, counted, heading_of
from engine.prove.policy_map import PolicyMap, RegionView, SymbolsMap

_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
       color: #1b1f24; background: #fff; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; }
p { margin: .3rem 0; } .digest, .proof, .note { color: #57606a; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #d8dee4; }
th { background: #f6f8fa; font-weight: 600; } td.number { text-align: right; color: #57606a; }
code { font: 13px/1.5 ui-monospace, monospace; background: #f6f8fa; border-radius: 4px; padding: .05rem .3rem;
       margin-right: .35rem; display: inline-block; }
.sell td.action { color: #a40e26; font-weight: 600; } .buy td.action { color: #116329; font-weight: 600; }
.hold td.action { color: #57606a; } .open td.action { color: #9a6700; font-weight: 600; }
nav a { margin-right: 1rem; }
@media (prefers-color-scheme: dark) {
  body { color: #e6edf3; background: #0d1117; } th, code { background: #161b22; }
  th, td { border-color: #30363d; } .digest, .proof, .note, td.number, .hold td.action { color: #9198a1; }
  .sell td.action { color: #ff7b72; } .buy td.action { color: #56d364; } a { color: #79c0ff; } }
@media print { nav { display: none; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""


def html_page(mapped: PolicyMap) -> str:
    """Return the page."""
    return "\n".join(_lines(mapped)) + "\n"


def _lines(mapped: PolicyMap) -> Iterator[str]:
    policy = mapped.policy
    title = escape(f"{policy.name} {policy.version}")
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}: the map</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{title}</h1>"
    yield f'<p class="digest">digest {escape(policy.digest)}</p>'
    yield f'<p class="note">{escape(OF_KNOWN_FACTS)}</p>'
    if len(mapped.maps) > 1:
        links = (f'<a href="#map-{n}">{escape(part.words)}</a>' for n, part in enumerate(mapped.maps, 1))
        yield f"<nav>{''.join(links)}</nav>"
    for number, part in enumerate(mapped.maps, 1):
        yield from _part(number, part)
    yield "</body></html>"


def _part(number: int, part: SymbolsMap) -> Iterator[str]:
    yield f'<section><h2 id="map-{number}">{escape(part.words)}</h2>'
    yield f"<p>{escape(', '.join(part.symbols))}</p>"
    yield f'<p class="proof">{escape(counted(part))}</p>'
    yield "<table><thead><tr><th>#</th><th>decision</th><th>when all of this holds</th></tr></thead>"
    for _, regions in groupby(part.regions, heading_of):
        yield "<tbody>"
        for region in regions:
            yield _row(region)
        yield "</tbody>"
    yield "</table>"
    if part.gates:
        yield "<table><thead><tr><th>gates</th><th>closed while any of this holds</th></tr></thead><tbody>"
        for group in part.gates:
            yield f"<tr><td>{escape(group.name)}</td><td>{_codes(group.gates)}</td></tr>"
        yield "</tbody></table>"
    yield "</section>"


def _row(region: RegionView) -> str:
    kind = "open" if region.action is None else region.action.name.lower()
    return (
        f'<tr class="{kind}"><td class="number">{region.number}</td>'
        f'<td class="action">{escape(heading_of(region))}</td>'
        f"<td>{_codes(region.conditions) or 'always'}</td></tr>"
    )


def _codes(texts: tuple[str, ...]) -> str:
    return " ".join(f"<code>{escape(text)}</code>" for text in texts)
