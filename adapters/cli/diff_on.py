"""``diff-policy --on``: what two policies decided, or would have, on a journal's facts or on bars."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.bootstrap.agents import AgentFolder, agent_folder, current_agent, open_reader
from adapters.bootstrap.running import plan_run
from adapters.cli import figures as f
from adapters.cli.listed import WIDTH
from adapters.cli.progress import ProgressBar
from engine.codes import Action
from engine.language.policy import Policy
from engine.runtime.hindsight import Choice, Hindsight, Other, hindsight

BARS: Final = "bars:"
_MOST_SHOWN: Final = 40
_ALONE: Final = (
    "Each decision is judged alone, on the facts recorded with it: what NEW would have done before is not "
    "among them. The money is what NEW's order would have gained on OLD's by the last bid known, both filled "
    "whole at the price that sized them, without fees; it is not to be added up."
)
_RUN: Final = "The ledgers are of two whole runs on paper: there each policy lives with what it did before."


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What a run on paper came to: money, scaled."""

    equity: int | None
    cash: int
    realised: int
    fees: int
    orders: int
    cycles: int


@dataclass(frozen=True, slots=True)
class History:
    """Decisions that would have been different, and the ledgers of both policies where both were run."""

    on: str
    found: Hindsight
    old: LedgerView | None = None
    new: LedgerView | None = None


def history(on: str, old: Policy, new: Policy, state_dir: Path, cycles: int | None) -> History:
    """Decide again what a journal has, or run both policies on bars; raises as ``run`` and ``journal`` do."""
    if on.startswith(BARS):
        with tempfile.TemporaryDirectory(prefix="tradectl-") as home:
            ledgers = [
                _paper(policy, on, Path(home), name, cycles) for policy, name in ((old, "old"), (new, "new"))
            ]
            return History(on, _of_folder(agent_folder(Path(home), "old").path, old, new), *ledgers)
    path = Path(on)
    folder = path.parent if path.is_file() else current_agent(state_dir, on).path
    return History(on, _of_folder(folder, old, new))


def _of_folder(folder: Path, old: Policy, new: Policy) -> Hindsight:
    reader = open_reader(AgentFolder(folder))
    try:
        return hindsight(reader, old, new)
    finally:
        reader.close()


def _paper(policy: Policy, quotes: str, home: Path, name: str, cycles: int | None) -> LedgerView:
    """Run a policy on bars to their end, or for so many cycles."""
    plan = plan_run(policy, state_dir=home, quotes=quotes, agent_name=name)
    done = orders = 0
    equity: int | None = None
    try:
        agent = plan.agent
        _ = agent.start()
        with ProgressBar(f"{policy.name} {policy.version} on paper") as bar:
            first_ms = due_ms = agent.next_cycle_ms()
            end_ms = due_ms if plan.end_ms is None else plan.end_ms
            while due_ms <= end_ms and (cycles is None or done < cycles):
                wake_ms = agent.next_wake_ms()
                plan.clock.sleep_until(wake_ms)
                if wake_ms < due_ms:
                    _ = agent.tend()
                    continue
                report = agent.cycle()
                done += 1
                orders += len(report.intents)
                equity = report.figures.equity
                due_ms = agent.next_cycle_ms()
                bar((due_ms - first_ms) // 1000, max(1, (end_ms - first_ms) // 1000))
        ledger = agent.state.ledger
        return LedgerView(equity, ledger.cash, ledger.realised, ledger.fees, orders, done)
    finally:
        plan.close()


# --- text -------------------------------------------------------------------------------------


def history_lines(history: History) -> Iterator[str]:
    """Lay out what would have been different."""
    found = history.found
    yield f"on {history.on}"
    if not found.decisions and not found.refused:
        yield "  nothing was decided"
        return
    yield f"  {found.decisions} decisions, {f.instant(found.first_ms)} to {f.instant(found.last_ms)}"
    for reason, count in found.refused.items():
        yield f"  {count} more could not be made again: {reason}"
    if found.pruned:
        yield f"  {found.pruned} cycles are pruned: of them only decisions that made an order are judged"
    count = len(found.others)
    yield f"  {count or 'none'} would have been different"
    table = [
        (f"    {f.instant(other.at_ms)}", other.symbol, "OLD", *_cells(other.old), "NEW", *_cells(other.new),
         _worth(found, other))
        for other in found.others[:_MOST_SHOWN]
    ]  # fmt: skip
    yield from f.laid_out(table) if table else ()
    if count > _MOST_SHOWN:
        yield f"    and {count - _MOST_SHOWN} more: --json has them all"
    if history.old is not None and history.new is not None:
        yield "  on the paper ledger"
        rows = [("    ", "equity", "cash", "realised", "fees", "orders", "cycles")]
        for which, view in (("OLD", history.old), ("NEW", history.new)):
            equity = "none" if view.equity is None else f.money(view.equity)
            rows.append((
                f"    {which}", equity, f.money(view.cash), f.money(view.realised), f.money(view.fees),
                str(view.orders), str(view.cycles),
            ))  # fmt: skip
        yield from f.laid_out(rows)
    notes = [*([_ALONE] if count else []), *([_RUN] if history.old is not None else [])]
    yield from textwrap.wrap(" ".join(notes), WIDTH, initial_indent="  ", subsequent_indent="  ")


def _cells(choice: Choice) -> tuple[str, str]:
    """Return the action with its rule, and the order or what became of it."""
    if choice.order is not None:
        order = choice.order
        told = f"{f.quantity(order.quantity)} at {f.price(order.sized_at)}"
    else:
        told = "" if choice.action is Action.HOLD and not choice.rule else choice.became
    return f"{choice.action.name}{f' by {choice.rule}' if choice.rule else ''}", told


def _worth(found: Hindsight, other: Other) -> str:
    worth = found.worth(other)
    return "" if worth is None else f"{'+' if worth > 0 else ''}{f.money(worth)} USD"


# --- json -------------------------------------------------------------------------------------


def history_document(history: History) -> dict[str, Any]:
    """Return the same as JSON."""
    found = history.found
    return {
        "on": history.on,
        "decisions": found.decisions,
        "first_at": f.iso(found.first_ms) if found.first_ms else None,
        "last_at": f.iso(found.last_ms) if found.last_ms else None,
        "refused": dict(found.refused),
        "pruned_cycles": found.pruned,
        "different": [
            {
                "cycle": other.cycle,
                "at": f.iso(other.at_ms),
                "symbol": other.symbol,
                "old": _choice_document(other.old),
                "new": _choice_document(other.new),
                "worth": None if (worth := found.worth(other)) is None else f.money_number(worth),
            }
            for other in found.others
        ],
        "ledgers": None
        if history.old is None or history.new is None
        else {"old": _ledger_document(history.old), "new": _ledger_document(history.new)},
    }


def _choice_document(choice: Choice) -> dict[str, Any]:
    order = choice.order
    return {
        "action": choice.action.name.lower(),
        "rule": choice.rule or None,
        "disposition": choice.became or None,
        "quantity": None if order is None else f.quantity_number(order.quantity),
        "price": None if order is None else f.price_number(order.sized_at),
    }


def _ledger_document(view: LedgerView) -> dict[str, Any]:
    return {
        "equity": None if view.equity is None else f.money_number(view.equity),
        "cash": f.money_number(view.cash),
        "realised": f.money_number(view.realised),
        "fees": f.money_number(view.fees),
        "orders": view.orders,
        "cycles": view.cycles,
    }
