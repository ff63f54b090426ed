"""An agent, wired to its market, its venue and its journal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapters.bootstrap.agents import (
    AgentFolder,
    agent_folder,
    last_moment_ms,
    note_current,
    require_guarded,
    set_aside,
)
from adapters.bootstrap.markets import from_files, simulated
from engine.errors import ConfigurationError
from engine.language.policy import Policy
from engine.units import MONEY_SCALE

if TYPE_CHECKING:
    from engine.runtime.cycle import Agent
    from engine.runtime.ports import Clock

PAPER_FEE: Final = Decimal("0.0002")
STARTING_CASH: Final = 100_000 * MONEY_SCALE


@dataclass(slots=True)
class RunPlan:
    """An agent, wired; ``end_ms`` is where its data end, None where they do not.

    ``unheard`` says why no source of quotes could be heard in the last cycle, "" where one was.
    """

    agent: Agent
    clock: Clock
    folder: AgentFolder
    name: str
    notes: list[str]
    end_ms: int | None
    symbols: Sequence[str]
    close: Callable[[], None]
    interrupt: Callable[[], None] = field(default=lambda: None)
    unheard: Callable[[], str] = field(default=lambda: "")


def plan_run(
    policy: Policy,
    *,
    state_dir: Path,
    quotes: str = "sim",
    agent_name: str | None = None,
    speed: float | None = None,
    seed: int = 1,
    restart: bool = False,
    swap_unguarded: bool = False,
) -> RunPlan:
    """Wire an agent: its market from ``quotes`` ("sim" or "bars:GLOB"), the paper venue, its journal.

    ``swap_unguarded`` allows a policy without protective rules for what the last one guards.
    Raises ConfigurationError, NotFoundError, UnavailableError or DataError, each saying what to do.
    """
    from adapters.brokers.paper import PaperBroker
    from adapters.calendar import ExchangeCalendars
    from adapters.journal.store import open_journal
    from engine.runtime.cycle import Agent, AgentSettings, Ports
    from engine.verbs.fill import FillModel

    kind, _, argument = quotes.partition(":")
    if kind not in ("sim", "bars") or (kind == "bars" and not argument):
        raise ConfigurationError(f"'{quotes}' is no source of quotes: write  sim,  bars:GLOB  or  live")
    name = agent_name or _agent_name(policy, kind, argument, seed)
    folder = agent_folder(state_dir, name)
    if restart:
        set_aside(folder)
    resume_ms = last_moment_ms(folder)
    if not swap_unguarded:
        require_guarded(folder, policy)
    calendar = ExchangeCalendars()
    if kind == "sim":
        market = simulated(policy, calendar, resume_ms, speed, seed)
    else:
        market = from_files(policy, argument, calendar, resume_ms, speed)
    with ExitStack() as undo:
        journal = open_journal(folder.journal, at_ms=market.clock.now_utc_ms())
        undo.callback(journal.close)
        broker = PaperBroker(
            folder.venue,
            market.venue_quotes,
            market.clock,
            FillModel(fee_rate=PAPER_FEE),
            STARTING_CASH,
            market.instruments,
            calendar=calendar,
        )
        undo.callback(broker.close)
        settings = AgentSettings(
            fee_ppm=int(PAPER_FEE * 1_000_000), finest_cadence_seconds=market.finest_seconds
        )
        ports = Ports(market.clock, market.quotes, market.bars, calendar, broker, journal)
        agent = Agent(policy, ports, settings, served=frozenset(market.instruments))
        undo.callback(agent.close)
        note_current(state_dir, name)
        close = undo.pop_all().close
    return RunPlan(
        agent, market.clock, folder, name, market.notes, market.end_ms, tuple(market.instruments), close,
        market.interrupt,
    )  # fmt: skip


def _agent_name(policy: Policy, kind: str, argument: str, seed: int) -> str:
    """One journal per policy and market: a market's clock cannot go back."""
    if kind == "sim":
        return f"sim-{policy.name}" if seed == 1 else f"sim-{seed}-{policy.name}"
    digest = hashlib.sha256(str(Path(argument).expanduser().absolute()).encode()).hexdigest()[:8]
    return f"bars-{policy.name}-{digest}"
