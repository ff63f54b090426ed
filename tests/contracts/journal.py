"""What every journal must do, whatever store is behind it.

A test module of an adapter makes a subclass of ``JournalContract`` named ``Test...`` with a fixture
``store``; the suite then runs against the real adapter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import pytest

from engine.codes import Action, IntentState
from engine.errors import JournalError, NotFoundError
from engine.model import Fill
from engine.runtime.journal_port import (
    AccountEvent,
    Incident,
    Intent,
    IntentEvent,
    JournalPort,
    StateSnapshot,
    StoredDecision,
)
from engine.verbs.record import DecisionRecord
from tests.journal_records import ACCOUNT, POLICY, START_MS, Market, at_ms, cycle_of, intent_of

SYMBOLS = ("BTC-USD", "ETH-USD", "ON")


class Store(Protocol):
    """A journal that can be closed and opened again."""

    journal: JournalPort

    def restart(self) -> None:
        """Replace ``journal`` by one that was opened anew on the same store."""


def fill_of(intent: Intent, fill_id: str, quantity: int) -> Fill:
    """Return a fill of an intent at its limit price."""
    order = intent.order
    price = order.limit_price or 0
    return Fill(
        fill_id, order.client_id, order.symbol, order.side, quantity, price, 7, 3, order.created_ms + 5
    )


def _key(found: StoredDecision | None) -> tuple[int, DecisionRecord]:
    assert found is not None
    return found.head.cycle, found.record


class JournalContract:
    """The suite.  Each test begins with an empty journal that knows one policy."""

    @pytest.fixture
    def journal(self, store: Store) -> Iterator[JournalPort]:
        """Give the empty journal its policy."""
        store.journal.add_policy(POLICY, START_MS)
        yield store.journal
        store.journal.close()

    @staticmethod
    def run(
        journal: JournalPort, cycles: range, markets: list[Market]
    ) -> dict[tuple[int, str], DecisionRecord]:
        """Commit cycles in which markets move, stand still, drop out and sell; return all decisions."""
        written: dict[tuple[int, str], DecisionRecord] = {}
        for cycle in cycles:
            records = []
            for number, market in enumerate(markets):
                if (cycle + number) % 3 == 0:
                    market.move()
                if (cycle // 10 + number) % 7 == 6:
                    continue
                acts = cycle % 17 == number
                records.append(market.sell(cycle) if acts else market.record(cycle))
            journal.commit_cycle(cycle_of(cycle, records, state=b"state %d" % cycle))
            written.update(((cycle, record.symbol), record) for record in records)
        return written

    def test_empty(self, journal: JournalPort) -> None:
        """An empty journal answers with nothing, not with errors."""
        assert journal.last_cycle() is None
        assert journal.state() is None
        assert journal.decision_at("BTC-USD") is None
        assert not journal.pending_intents()
        assert not list(journal.decisions("BTC-USD"))
        assert not list(journal.cycles())
        assert not list(journal.events_after(0))
        assert journal.fill_cursor() == ""
        assert journal.intent("nobody") is None
        assert journal.verify() == ()

    def test_policies(self, journal: JournalPort, store: Store) -> None:
        """A policy's text comes back by its digest; keeping it twice is keeping it once."""
        journal.add_policy(POLICY, START_MS + 1)
        store.restart()
        assert store.journal.policy_text(POLICY.digest) == POLICY
        with pytest.raises(NotFoundError, match="no policy with digest"):
            store.journal.policy_text("0" * 64)

    def test_cycle_of_an_unknown_policy(self, journal: JournalPort) -> None:
        """A cycle whose policy was not added is refused and leaves nothing."""
        cycle = replace(cycle_of(1, [Market("ON").record(1)]), policy_digest="0" * 64)
        with pytest.raises(NotFoundError, match="not added"):
            journal.commit_cycle(cycle)
        assert journal.last_cycle() is None

    def test_every_decision_comes_back(self, journal: JournalPort, store: Store) -> None:
        """What was decided is read back whole: by cycle, by symbol, by time, before and after a restart."""
        markets = [Market(name) for name in SYMBOLS]
        written = self.run(journal, range(1, 120), markets)
        store.restart()
        again = store.journal
        written.update(self.run(again, range(120, 220), markets))

        read = {
            (stored.head.cycle, record.symbol): record
            for stored in again.cycles()
            for record in stored.decisions
        }
        assert read == written
        assert list(again.symbols()) == list(dict.fromkeys(symbol for _, symbol in written))
        for symbol in SYMBOLS:
            expected = [(cycle, record) for (cycle, name), record in written.items() if name == symbol]
            assert [_key(found) for found in again.decisions(symbol)] == expected
            between = [pair for pair in expected if 63 <= pair[0] <= 66]
            assert [_key(d) for d in again.decisions(symbol, at_ms(63), at_ms(66))] == between
            assert _key(again.decision_at(symbol)) == expected[-1]
            for cycle in range(expected[0][0], 220, 9):
                last = max(pair for pair in expected if pair[0] <= cycle)
                assert _key(again.decision_at(symbol, at_ms(cycle) + 7)) == last
            assert again.decision_at(symbol, at_ms(1) - 1) is None
        assert again.verify() == ()

    def test_heads(self, journal: JournalPort, store: Store) -> None:
        """A cycle comes back with its time, its policy, its account numbers and the newest state."""
        self.run(journal, range(1, 5), [Market("ON")])
        store.restart()
        head = store.journal.last_cycle()
        assert head is not None
        assert (head.cycle, head.at_ms, head.policy, head.account) == (4, at_ms(4), POLICY, ACCOUNT)
        assert store.journal.state() == (4, StateSnapshot(1, b"state 4"))
        assert store.journal.state(3) == (3, StateSnapshot(1, b"state 3"))

    def test_cycles_follow_each_other(self, journal: JournalPort) -> None:
        """A cycle that leaves a gap, comes twice or goes back in time is refused."""
        market = Market("ON")
        journal.commit_cycle(cycle_of(1, [market.record(1)]))
        for bad in (
            cycle_of(1, [market.record(1)]),
            cycle_of(3, [market.record(3)]),
            replace(cycle_of(2, [market.record(2)]), at_ms=at_ms(1) - 1),
            cycle_of(2, [market.record(2), market.record(2)]),
        ):
            with pytest.raises(JournalError):
                journal.commit_cycle(bad)
        journal.commit_cycle(cycle_of(2, [market.record(2)]))

    def test_intent_from_birth_to_end(self, journal: JournalPort, store: Store) -> None:
        """An intent is pending from its plan to its end, and keeps all that became of it."""
        decision = Market("ON").sell(1)
        intent = intent_of(decision, 1)
        client_id = intent.order.client_id
        journal.commit_cycle(cycle_of(1, [decision]))
        store.restart()
        again = store.journal
        planned = IntentEvent(client_id, IntentState.PLANNED, intent.order.created_ms)
        assert list(again.pending_intents()) == [(intent, planned)]
        assert list(again.intents_of_decision(1, "ON")) == [intent]
        assert again.intent(client_id) == intent

        sent = IntentEvent(client_id, IntentState.SENT, at_ms(1) + 1, 0, "venue-1")
        partly = IntentEvent(client_id, IntentState.PARTLY_FILLED, at_ms(1) + 2, 400)
        again.append_receipt([sent])
        again.append_receipt([partly], [fill_of(intent, "f1", 400)], cursor="c1")
        assert list(again.pending_intents()) == [(intent, partly)]
        done = IntentEvent(client_id, IntentState.CANCELLED, at_ms(1) + 3, 400, reason="by user")
        again.append_receipt([done])
        assert not again.pending_intents()
        store.restart()
        assert list(store.journal.intent_events(client_id)) == [planned, sent, partly, done]
        assert list(store.journal.fills()) == [fill_of(intent, "f1", 400)]
        assert store.journal.fill_cursor() == "c1"

        # Cancelled here, alive at the venue: it is pending again.
        store.journal.append_receipt([replace(sent, at_ms=at_ms(2))])
        assert [found.order.client_id for found, _ in store.journal.pending_intents()] == [client_id]

    def test_fill_by_two_paths(self, journal: JournalPort) -> None:
        """The same fill counts once; the same id with other content is refused with all beside it."""
        decisions = [Market(name).sell(1) for name in SYMBOLS[:2]]
        first, second = (intent_of(decision, 1) for decision in decisions)
        journal.commit_cycle(cycle_of(1, decisions))
        fill = fill_of(first, "f1", 400)
        assert list(journal.append_receipt([], [fill])) == [fill]
        other = fill_of(second, "f2", 1)
        assert list(journal.append_receipt([], [fill, other, fill])) == [other]
        with pytest.raises(JournalError, match="f1 was recorded before"):
            journal.append_receipt([], [fill_of(second, "f3", 1), replace(fill, quantity=401)], cursor="lost")
        assert list(journal.fills()) == [fill, other]
        assert list(journal.fills(symbol=SYMBOLS[1])) == [other]
        assert list(journal.fills(client_id=first.order.client_id)) == [fill]
        assert journal.fill_cursor() == ""

    def test_receipts_of_strangers(self, journal: JournalPort) -> None:
        """A receipt or a fill of a client id that is not ours is refused."""
        stranger = intent_of(Market("ON").sell(1), 1)
        event = IntentEvent(stranger.order.client_id, IntentState.SENT, at_ms(1))
        with pytest.raises(NotFoundError, match="client id"):
            journal.append_receipt([event])
        with pytest.raises(NotFoundError, match="client id"):
            journal.append_receipt([], [fill_of(stranger, "f1", 1)])

    def test_two_intents_of_one_name(self, journal: JournalPort) -> None:
        """A client id is given once; the cycle that would give it again is refused whole."""
        market = Market("ON")
        first = cycle_of(1, [market.sell(1)])
        journal.commit_cycle(first)
        second = cycle_of(2, [market.sell(2)])
        stolen = replace(second.intents[0].order, client_id=first.intents[0].order.client_id)
        with pytest.raises(JournalError):
            journal.commit_cycle(replace(second, intents=[replace(second.intents[0], order=stolen)]))
        journal.commit_cycle(second)
        assert len(list(journal.intents())) == 2

    def test_numbers_beyond_64_bits(self, journal: JournalPort) -> None:
        """A holding of a cheap coin outgrows 64 bits and comes back to the unit."""
        many = 12_345_678_901_234_567_890_123
        decision = Market("SHIB-USD").sell(1, quantity=many)
        journal.commit_cycle(cycle_of(1, [decision]))
        found = journal.decision_at("SHIB-USD")
        assert found is not None
        assert found.record == decision
        assert [intent.order.quantity for intent in journal.intents()] == [many]

    def test_events_are_one_series(self, journal: JournalPort, store: Store) -> None:
        """A restarted agent plays what came after its last cycle, in the order in which it came."""
        decision = Market("ON").sell(1)
        intent = intent_of(decision, 1)
        deposit = AccountEvent("deposit", START_MS, 5_000_000, "by wire")
        journal.append_account_event(deposit)
        journal.commit_cycle(replace(cycle_of(1, [decision]), incidents=[Incident("split", 1, "2:1", "ON")]))
        sent = IntentEvent(intent.order.client_id, IntentState.SENT, at_ms(1))
        fill = fill_of(intent, "f1", 9)
        noted = Incident("frozen", at_ms(1), "two orders of one name", "ON", intent.order.client_id)
        journal.append_receipt([sent])
        journal.append_incident(noted)
        journal.append_receipt([], [fill])
        store.restart()
        head = store.journal.last_cycle()
        assert head is not None
        assert [event for _, event in store.journal.events_after(head.sequence)] == [sent, noted, fill]
        numbers = [number for number, _ in store.journal.events_after(0)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert list(store.journal.account_events()) == [deposit]
        assert list(store.journal.incidents()) == [Incident("split", 1, "2:1", "ON"), noted]

    def test_nonce(self, journal: JournalPort, store: Store) -> None:
        """The nonce stays over a restart and changes when it is renewed, on record."""
        before = journal.nonce()
        store.restart()
        assert store.journal.nonce() == before
        assert store.journal.renew_nonce(at_ms(1), "restored") == store.journal.nonce() != before
        assert [event.detail for event in store.journal.account_events()] == ["restored"]

    @pytest.mark.parametrize("keep", [1, 3, 40, 64, 65, 100, 500])
    def test_prune(self, journal: JournalPort, store: Store, keep: int) -> None:
        """What is kept reads as before; the decision and policy of every intent stay for ever."""
        markets = [Market(name) for name in SYMBOLS]
        written = self.run(journal, range(1, 151), markets)
        intents = list(journal.intents())
        assert len(intents) > 10
        report = journal.prune(keep_cycles=keep)
        first = max(151 - keep, 1)
        assert report.cycles_removed == first - 1
        # The writer goes on in the chains it had.
        written.update(self.run(journal, range(151, 160), markets))
        store.restart()
        again = store.journal
        assert again.verify() == ()
        traded = {(intent.cycle, intent.order.symbol) for intent in intents}
        expected = {key: record for key, record in written.items() if key[0] >= first or key in traded}
        read = {
            (stored.head.cycle, record.symbol): record
            for stored in again.cycles()
            for record in stored.decisions
        }
        assert read == expected
        for symbol in SYMBOLS:
            of_symbol = [(cycle, record) for (cycle, name), record in expected.items() if name == symbol]
            assert [_key(found) for found in again.decisions(symbol)] == of_symbol
            for cycle, record in of_symbol:
                assert _key(again.decision_at(symbol, at_ms(cycle))) == (cycle, record)
        assert list(again.intents())[: len(intents)] == intents
        assert again.policy_text(POLICY.digest) == POLICY
        assert again.prune(keep_cycles=10_000).cycles_removed == 0

    def test_prune_by_age(self, journal: JournalPort) -> None:
        """Pruning by age keeps what is younger than the span before the newest cycle."""
        self.run(journal, range(1, 31), [Market("ON")])
        assert journal.prune(keep_seconds=300).cycles_removed == 19
        kept = [stored.head.cycle for stored in journal.cycles() if not stored.pruned]
        assert kept == list(range(20, 31))

    def test_actions_read_back(self, journal: JournalPort) -> None:
        """A buy with a working order and limit usage is read back with all of them."""
        decision = Market("ON").buy(1)
        journal.commit_cycle(cycle_of(1, [decision]))
        found = journal.decision_at("ON")
        assert found is not None
        assert found.record == decision
        assert found.record.decision.action is Action.BUY
        assert found.record.working is not None
        assert found.record.decision.limit_usage == (2, 5_000_000_000, None)
