"""What is said of a promise: whether it holds, how that is known, and what shows that it does not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engine.errors import Span
from engine.prove.example import Example
from engine.prove.region import Region


class Verdict(StrEnum):
    """What became of a promise; what is UNDECIDED is never taken for proved."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Trace:
    """Cycles that break a promise over time, confirmed: a case file that ``test-policy`` replays.

    ``words`` has one entry per cycle: "after 30s: BTC-USD buy (dip)".  ``breach`` says what is broken.
    """

    text: str
    words: tuple[str, ...]
    breach: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What is said of one promise for the symbols of one variant.

    ``how`` says how far it goes ("for every snapshot", "by induction over cycles (k = 1)", "for up to 6
    cycles, not beyond"), ``stage`` what was modelled.
    """

    promise: str
    span: Span
    symbols: tuple[str, ...]
    verdict: Verdict
    how: str
    stage: str
    region: Region | None = None
    example: Example | None = None
    trace: Trace | None = None
