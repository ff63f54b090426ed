"""Decisions out of the journal: made again, with other facts, by another policy; or refused."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.journal.reading import ReadJournal, read_journal
from engine.codes import Action, UnknownReason
from engine.errors import JournalError, PolicyError
from engine.language.load import load_policy
from engine.language.policy import Policy
from engine.runtime.journal_port import StoredCycle, StoredDecision
from engine.runtime.recall import Recalled, recall, suppose, with_limits_counted
from engine.runtime.replay import recorded_policy
from engine.verbs.replay import ReplayError
from engine.verbs.statement import what_if_statement
from engine.verbs.vector import Origin
from tests.evidence import Evidence
from tests.simulation.random_policies import random_policy
from tests.simulation.world import RESTLESS, build

seeds = st.integers(0, 2**32 - 1)


def restless(*changes: tuple[str, str]) -> Policy:
    """Return the restless policy with some of its texts replaced."""
    text = RESTLESS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return load_policy(text, "restless.yaml").required()


def stored_decisions(cycles: list[StoredCycle]) -> Iterator[StoredDecision]:
    """Yield every decision with its cycle's head."""
    for cycle in cycles:
        for record in cycle.decisions:
            yield StoredDecision(cycle.head, record)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadJournal]:
    """The journal of a run of the restless policy."""
    folder = tmp_path_factory.mktemp("restless")
    world = build(folder)
    world.agent.start()
    world.run(25)
    world.close()
    reader = read_journal(folder / "journal.db")
    yield reader
    reader.close()


@pytest.fixture
def bought(journal: ReadJournal) -> StoredDecision:
    """The first decision that bought."""
    found = stored_decisions(list(journal.cycles()))
    return next(stored for stored in found if stored.record.decision.action is Action.BUY)


@pytest.fixture
def held(journal: ReadJournal) -> StoredDecision:
    """A decision to hold a position."""
    for stored in stored_decisions(list(journal.cycles())):
        slots = [slot.name for slot in stored.record.layout.slots]
        waits = stored.record.decision.action is Action.HOLD and stored.record.working is None
        if waits and stored.record.values[slots.index("held")] == 1.0:
            return stored
    raise AssertionError("the run holds nothing")


def supposed(journal: ReadJournal, stored: StoredDecision, *overrides: str) -> Recalled:
    """Decide a record with other facts."""
    return suppose(journal, recall(stored), what_if=what_if_statement(overrides))


def fact(recalled: Recalled, name: str) -> tuple[float, Origin, UnknownReason]:
    """Return value, origin and reason of a fact."""
    slot = recalled.lowered.slot(name)
    vector = recalled.vector
    return vector.values[slot], vector.origins[slot], UnknownReason(vector.reasons[slot])


# --- properties -------------------------------------------------------------------------------


@example(523)  # a position whose quote is missing
@settings(max_examples=5)
@given(seeds)
def test_facts_read_again_decide_the_same(seed: int) -> None:
    """Read again by name, with limits counted from the journal, every record decides as it did.

    Both by its own policy and by one of another digest that says the same.
    """
    text = random_policy(random.Random(seed))
    twin = load_policy(text.replace("version: 1.0.0", "version: 1.0.1"), "twin.yaml").required()
    with TemporaryDirectory() as folder:
        world = build(Path(folder), policy=load_policy(text, "random.yaml").required(), seed=seed % 1000)
        world.agent.start()
        world.run(10)
        world.close()
        reader = read_journal(Path(folder) / "journal.db")
        for stored in stored_decisions(list(reader.cycles())):
            recalled = recall(stored)
            assert recalled.replayed.differences == ()
            by_twin = suppose(reader, recalled, policy=twin, listing=twin.listing(stored.record.symbol))
            for again in (suppose(reader, recalled), by_twin):
                assert again.supposed
                used = stored.record.decision.limit_usage
                if stored.head.account.estimated_millionths:  # a price from before: no record of it has it
                    assert all(a in (None, b) for a, b in zip(again.decision.limit_usage, used, strict=True))
                    continue
                assert again.decision.limit_usage == used
                assert again.decision == recalled.decision
        reader.close()


def test_what_limits_had_used_is_counted_as_it_was_recorded(journal: ReadJournal, evidence: Evidence) -> None:
    """Where a buy was sized, the count from the journal is the one that the agent made."""
    counted = used = 0
    for stored in stored_decisions(list(journal.cycles())):
        if stored.record.decision.limit_usage:
            recalled = with_limits_counted(journal, recall(stored))
            assert recalled.vector.situation.usage == stored.record.decision.limit_usage
            counted += 1
            used += any(recalled.vector.situation.usage)
    evidence(f"{counted} records with limits counted again, {used} with something used")
    assert used > 5


# --- what if ----------------------------------------------------------------------------------


def test_a_record_as_it_was(bought: StoredDecision) -> None:
    """Nothing is supposed: facts are recorded, the decision and its policy are those of the journal."""
    recalled = recall(bought)
    assert not recalled.supposed
    assert recalled.limits_asked
    assert recalled.policy.digest == bought.head.policy.digest
    assert recalled.decision == bought.record.decision
    assert fact(recalled, "rsi")[1] is Origin.RECORDED


def test_another_value_decides_otherwise(journal: ReadJournal, bought: StoredDecision) -> None:
    """The buy is not made at another RSI; the record is not touched."""
    recalled = supposed(journal, bought, "rsi=99")
    assert recalled.decision.action is Action.HOLD
    assert recalled.replayed.decision.action is Action.BUY
    assert fact(recalled, "rsi") == (99.0, Origin.WHAT_IF, UnknownReason.KNOWN)


def test_what_follows_from_an_override_follows(journal: ReadJournal, held: StoredDecision) -> None:
    """Another price moves value and gain, and fires the stop that reads the gain."""
    was = recall(held)
    price, _, _ = fact(was, "price")
    recalled = supposed(journal, held, f"price={round(price * 0.9, 2)} USD")
    assert fact(recalled, "gain")[1] is Origin.DERIVED
    assert fact(recalled, "gain")[0] < fact(was, "gain")[0] - 0.05
    assert recalled.lowered.rules[recalled.decision.rule].name == "stop"
    assert recalled.decision.order is not None
    assert recalled.decision.order.quantity == was.vector.situation.quantity


def test_an_override_may_contradict_the_record(journal: ReadJournal, held: StoredDecision) -> None:
    """A gain that price and entry price do not make is what was asked, and is said."""
    recalled = supposed(journal, held, "gain=-9%")
    assert recalled.decision.action is Action.SELL
    assert any("'gain' is -9 %" in note and "as recorded" in note for note in recalled.vector.notes)


def test_overrides_may_not_contradict_each_other(journal: ReadJournal, held: StoredDecision) -> None:
    """Two overrides of which one follows from the other are a mistake of the person."""
    with pytest.raises(PolicyError) as error:
        supposed(journal, held, "bid=2 USD", "price=1 USD")
    assert "contradiction" in error.value.render()


def test_the_situation_moves_with_the_facts(journal: ReadJournal, bought: StoredDecision) -> None:
    """Position, cash and an open order are also what a decision has beside its facts."""
    was = recall(bought).vector.situation
    flat = supposed(journal, bought, "cash=0 USD")
    assert flat.vector.situation.cash_available == 0
    assert flat.decision.order is None
    owned = supposed(journal, bought, "position_qty=0.5")
    assert owned.vector.situation.quantity == 500_000_000 != was.quantity
    assert owned.vector.situation.counted
    waiting = supposed(journal, bought, "open_order=buy")
    assert waiting.vector.situation.working is not None
    assert waiting.decision.order is None


def test_unknown_can_be_supposed(journal: ReadJournal, bought: StoredDecision) -> None:
    """A fact that had not been known: the buy is withheld."""
    recalled = supposed(journal, bought, "rsi=unknown")
    assert recalled.decision.action is Action.HOLD


# --- another policy ---------------------------------------------------------------------------


def otherwise(journal: ReadJournal, stored: StoredDecision, policy: Policy) -> Recalled:
    """Decide a record's facts by another policy."""
    return suppose(journal, recall(stored), policy=policy, listing=policy.listing(stored.record.symbol))


def test_another_policy_decides_the_recorded_facts(journal: ReadJournal, bought: StoredDecision) -> None:
    """With another threshold the same facts are held."""
    recalled = otherwise(journal, bought, restless(("rsi < 50", "rsi < 0.01")))
    assert recalled.decision.action is Action.HOLD
    assert recalled.policy.digest != bought.head.policy.digest


def test_a_series_is_known_by_what_it_is(journal: ReadJournal, bought: StoredDecision) -> None:
    """An indicator of another name is the same series; one of the same name may be another."""
    words = (("rsi: rsi(2)", "strength: rsi(2)"), ("rsi >", "strength >"), ("rsi <", "strength <"))
    renamed = otherwise(journal, bought, restless(*words))
    assert renamed.decision.action is Action.BUY
    assert fact(renamed, "strength") == fact(recall(bought), "rsi")
    other = otherwise(journal, bought, restless(("rsi: rsi(2)", "rsi: rsi(14)")))
    assert fact(other, "rsi")[1:] == (Origin.ABSENT, UnknownReason.NOT_STATED)
    assert other.decision.action is Action.HOLD


def test_what_the_record_lacks_is_unknown(journal: ReadJournal, bought: StoredDecision) -> None:
    """A fact that the recorded policy did not read is Unknown, never a default."""
    recalled = otherwise(journal, bought, restless(("rsi < 50", "rsi < 50 and entries < 3")))
    assert fact(recalled, "entries")[1:] == (Origin.ABSENT, UnknownReason.NOT_STATED)
    assert recalled.decision.action is Action.HOLD


def test_bars_of_another_interval_are_others(journal: ReadJournal, bought: StoredDecision) -> None:
    """What is counted in bars of the policy, and what comes from them, is not taken over."""
    recalled = otherwise(journal, bought, restless(("bars: 1m", "bars: 5m")))
    assert fact(recalled, "rsi")[1] is Origin.ABSENT


def test_the_policys_own_words_are_its_own(journal: ReadJournal, bought: StoredDecision) -> None:
    """Target weight and time of day are those of the policy that decides, not of the recorded one."""
    recalled = otherwise(journal, bought, restless((": 15%", ": 4%")))
    equity, _, _ = fact(recalled, "equity")
    assert fact(recalled, "target")[0] == pytest.approx(0.04 * equity, abs=0.01)
    assert recalled.decision.order is not None
    assert recalled.replayed.decision.order is not None
    assert recalled.decision.order.quantity < recalled.replayed.decision.order.quantity


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "said"), [("engine_digest", "engine older"), ("vocabulary_digest", "vocabulary")]
)
def test_another_meaning_is_refused(part: str, said: str, bought: StoredDecision) -> None:
    """What another engine or vocabulary decided is not decided again by this one."""
    text = replace(bought.head.policy, **{part: "older"})
    stored = replace(bought, head=replace(bought.head, policy=text))
    with pytest.raises(ReplayError, match=said):
        recall(stored)


def test_a_damaged_policy_is_refused(bought: StoredDecision) -> None:
    """A text that is not what its digest says is no policy."""
    text = bought.head.policy
    with pytest.raises(JournalError, match=r"policy restless 1\.0\.0 .* is damaged"):
        recorded_policy(replace(text, text=text.text.replace("rsi < 50", "rsi < 51")))


def test_a_pruned_cycle_counts_no_limits(tmp_path: Path) -> None:
    """Of a pruned cycle only decisions with orders are left: limits are not counted from them."""
    world = build(tmp_path)
    world.agent.start()
    world.run(12)
    world.agent.ports.journal.prune(keep_cycles=2)
    world.close()
    reader = read_journal(tmp_path / "journal.db")
    pruned = next(cycle for cycle in reader.cycles() if cycle.pruned)
    recalled = supposed(reader, StoredDecision(pruned.head, pruned.decisions[0]), "rsi=10")
    reader.close()
    assert set(recalled.vector.situation.usage) == {None}
