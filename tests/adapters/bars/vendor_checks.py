"""What every vendor of bars must do, on a server that answers as the vendor does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from adapters.bars.fetching import HistoryFetcher, Retry, Wanted
from adapters.bars.source import BarVendor, FetchFailedError, NoSuchSymbolError, PageRequest
from adapters.bars.store import HistoryStore
from adapters.stubs.faults import Fault, FaultPlan, Kind, Scripted
from engine.model import Bar

SILENT = (Kind.HANG,)
"""Faults that end with the timeout."""


@dataclass(frozen=True, slots=True)
class Served:
    """A vendor, what its server has of a symbol, and how to spoil the server's answers."""

    vendor: BarVendor
    request: PageRequest
    bars: list[Bar]
    spoil: Callable[[FaultPlan], None]
    secret: str = ""


def pages(served: Served, request: PageRequest | None = None) -> tuple[list[Bar], int]:
    """Return all bars of all pages, and the number of pages."""
    request = request or served.request
    bars: list[Bar] = []
    count, at_ms = 0, request.start_ms
    while at_ms < request.end_ms:
        page = served.vendor.page(
            PageRequest(
                request.spelling,
                request.asset_class,
                request.interval_seconds,
                at_ms,
                request.end_ms,
                request.adjustment,
            ),
            5.0,
        )
        assert at_ms < page.end_ms <= request.end_ms
        assert page.refused == 0
        bars += [page.bars.bar(index) for index in range(len(page.bars))]
        count, at_ms = count + 1, page.end_ms
    return bars, count


def check_fault(served: Served, kind: Kind) -> None:
    """A fault is one typed error, without a secret, within the limit; the next question is answered."""
    plan = Scripted([Fault(kind)])
    served.spoil(plan)
    with pytest.raises(FetchFailedError) as caught:
        served.vendor.page(served.request, 1.0 if kind in SILENT else 5.0)
    assert not isinstance(caught.value, NoSuchSymbolError)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert not served.secret or served.secret not in f"{chain}{chain!r}"
        chain = chain.__cause__ or chain.__context__
    assert caught.value.reason
    assert plan.count == 1, "a page is one request"


__all__ = ["HistoryFetcher", "HistoryStore", "Retry", "Served", "Wanted", "check_fault", "pages"]
