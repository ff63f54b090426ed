"""``tradectl resume``: what only a person may lift."""

from __future__ import annotations

import click

from adapters.bootstrap.agents import current_agent
from adapters.cli.output import Output, common_options
from engine.codes import IntentState
from engine.errors import NotFoundError
from engine.model import WorkingOrder
from engine.runtime.journal_port import AccountEvent, IntentEvent
from engine.runtime.restore import restored


@click.command
@click.option("--rebase", is_flag=True, help="Lift a latched drawdown: it is counted from now on.")
@click.option(
    "--unfreeze",
    metavar="SYMBOL",
    help="Free a symbol after its contradicting order was settled by hand at the venue.",
)
@click.option("--agent", metavar="NAME", help="Which agent [the one that ran last].")
@common_options
def command(output: Output, rebase: bool, unfreeze: str | None, agent: str | None) -> None:
    """Lift what only a person may lift.

    It is written to the agent's journal, so stop the agent first; it holds from the next run on.
    """
    if not rebase and unfreeze is None:
        raise click.UsageError("say what to lift: --rebase, or --unfreeze SYMBOL")
    from adapters.clock import WallClock
    from adapters.journal.store import open_journal

    folder = current_agent(output.state_dir, agent)
    journal = open_journal(folder.journal, at_ms=WallClock().now_utc_ms())
    done: list[str] = []
    try:
        state = restored(journal)
        # A simulated agent's time is its own: an event must not be later than its next cycle.
        at_ms = max(0, state.cycle_ms)
        if unfreeze is not None:
            memory = state.memory(unfreeze)
            if not memory.frozen:
                frozen = [symbol for symbol, other in state.memories.items() if other.frozen]
                hint = f"frozen are {', '.join(frozen)}" if frozen else "nothing is frozen"
                raise NotFoundError(f"agent {folder.path.name} has not frozen '{unfreeze}': {hint}")
            if memory.working is not None:
                journal.append_receipt([_settled(memory.working, at_ms)])
            journal.append_account_event(AccountEvent("unfreeze", at_ms, detail=unfreeze))
            done.append(f"{unfreeze} is free again")
        if rebase:
            if state.latched_drawdown > 0:
                journal.append_account_event(AccountEvent("rebase", at_ms))
                done.append(f"the drawdown of {state.latched_drawdown:.1%} is lifted and counted anew")
            else:
                done.append("no drawdown is latched: nothing to lift")
    finally:
        journal.close()
    if output.as_json:
        output.document({"schema": "resume-v1", "agent": folder.path.name, "done": done})
    else:
        output.show("\n".join(done))


def _settled(working: WorkingOrder, at_ms: int) -> IntentEvent:
    """End an order whose fate a person has settled: it is not asked for again."""
    return IntentEvent(
        working.client_id,
        IntentState.CANCELLED,
        at_ms,
        working.filled_quantity,
        reason="settled by a person",
    )
