"""Requirement 32: one suite runs on paper, Alpaca and ccxt alike, and a wrong broker does not pass it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from pathlib import Path

import pytest

from adapters.brokers.paper import PaperBroker
from engine.codes import IntentState
from engine.model import OrderReport, OrderRequest
from engine.runtime.ports import OrderRejected
from engine.verbs.fill import FillModel
from tests.adapters.brokers.test_alpaca_contract import TestAlpaca as Alpaca
from tests.adapters.brokers.test_ccxt_contract import TestBinanceUs as Ccxt
from tests.adapters.brokers.test_paper_contract import PaperVenue
from tests.adapters.brokers.test_paper_contract import TestPaper as Paper
from tests.contracts.broker import BrokerContract

TESTS = [name for name in vars(BrokerContract) if name.startswith("test_")]


def check_requirement_32(suites: Iterable[type[BrokerContract]]) -> None:
    """Each suite has every test of the contract, as it is written there."""
    for suite in suites:
        changed = [name for name in TESTS if getattr(suite, name) is not getattr(BrokerContract, name)]
        assert not changed, (suite.__name__, changed)


class Lenient(Alpaca):
    """A suite that leaves out what its broker cannot do."""

    __test__ = False

    def test_a_client_id_is_taken_for_ever(self, venue: object) -> None:
        """Pass."""


@pytest.mark.requirement(32)
def test_requirement_32() -> None:
    """The three brokers have one suite."""
    assert len(TESTS) > 15
    check_requirement_32([Paper, Alpaca, Ccxt])


@pytest.mark.requirement(32)
def test_requirement_32_fails_a_suite_of_its_own() -> None:
    """A suite that changes a test is noticed."""
    with pytest.raises(AssertionError):
        check_requirement_32([Paper, Lenient])


class SendsAgain(PaperBroker):
    """A broker that makes an order out of every send."""

    def submit(self, order: OrderRequest) -> OrderReport:
        """Take the order under another name where its own is taken."""
        try:
            return super().submit(order)
        except OrderRejected:
            object.__setattr__(order, "client_id", f"{order.client_id}-again")
            return super().submit(order)


class LosesCancels(PaperBroker):
    """A broker that says that an order has ended, and leaves it at the venue."""

    def cancel(self, client_id: str) -> None:
        """Do nothing."""

    def find(self, client_id: str) -> OrderReport | None:
        """Tell what is hoped for."""
        found = super().find(client_id)
        if found is not None and not found.state.final:
            object.__setattr__(found, "state", IntentState.CANCELLED)
        return found


@pytest.mark.requirement(32)
@pytest.mark.parametrize("wrong", [SendsAgain, LosesCancels])
def test_requirement_32_fails_wrong_brokers(
    wrong: type[PaperBroker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers that would lose or double orders do not pass the suite."""
    monkeypatch.setattr("tests.adapters.brokers.test_paper_contract.PaperBroker", wrong)
    failed = []
    for number, name in enumerate(("test_a_client_id_is_taken_for_ever", "test_cancel")):
        (tmp_path / str(number)).mkdir()
        venue = PaperVenue(tmp_path / str(number), FillModel())
        suite = Paper()
        suite.numbers = count(1)
        try:
            getattr(suite, name)(venue)
        except (AssertionError, OrderRejected):
            failed.append(name)
        for paper in venue.opened:
            paper.close()
    assert failed
