"""``tradectl run``: an agent on a market, cycle by cycle."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

import click

from adapters.bootstrap.live import plan_live
from adapters.bootstrap.policies import load_named_policy
from adapters.bootstrap.running import RunPlan, plan_run
from adapters.bootstrap.venues import refuses_keys
from adapters.cli.configured import config_option
from adapters.cli.figures import instant
from adapters.cli.output import ExitCode, Output, common_options
from adapters.cli.run_tally import Tally
from adapters.cli.run_view import JsonView, LineView, TableView, View
from adapters.settings.reading import read_settings
from engine.errors import ConfigurationError, PolicyError, TradectlError, UnavailableError
from engine.runtime.cycle import Heard

DEFAULT_CYCLES: Final = 120
"""An hour of the simulated market at a policy's 30 seconds: entries and exits within seconds of real time."""


@click.command
@config_option
@click.option(
    "--policy", "policy_name", metavar="FILE|NAME", help="A policy [that of the settings: default]."
)
@click.option(
    "--quotes",
    metavar="sim|bars:GLOB|live",
    help="The market: a simulated one, files of bars, or that of today [live where the settings name a"
    " broker, else sim].",
)
@click.option(
    "--cycles",
    type=click.IntRange(1),
    help=f"How many cycles [sim: {DEFAULT_CYCLES}; bars: until they end; live: until stopped].",
)
@click.option("--forever", is_flag=True, help="Run until stopped (or until the bars end).")
@click.option("--speed", type=float, metavar="X", help="Simulated seconds per second [as fast as it can].")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the simulated market.")
@click.option("--agent", metavar="NAME", help="The agent's name [made of market and policy].")
@click.option("--restart", is_flag=True, help="Set what the agent has kept aside and begin anew.")
@click.option(
    "--swap-unguarded", is_flag=True, help="Allow a policy that does not guard what the last one guards."
)
@click.option("--live", is_flag=True, help="Refused: this release trades on paper only.")
@common_options
def command(
    output: Output,
    config: str | None,
    policy_name: str | None,
    quotes: str | None,
    cycles: int | None,
    forever: bool,
    speed: float | None,
    seed: int,
    agent: str | None,
    restart: bool,
    swap_unguarded: bool,
    live: bool,
) -> ExitCode:
    """Run an agent on paper.

    Without options: the default policy on a simulated market, for a bounded number of cycles; it needs no
    key and no network.  With settings that name a broker ('tradectl init' writes them) it trades that
    broker's paper account at the quotes of today; a simulated market and files of bars always have the
    paper venue on this machine.  An agent that ran before goes on after its last cycle.
    """
    if live:
        raise ConfigurationError("--live: this release trades on paper only; leave it out")
    if cycles is not None and forever:
        raise click.UsageError("--cycles and --forever exclude each other")
    settings, _ = read_settings(config)
    try:
        policy = load_named_policy(policy_name or settings.policy).required()
    except PolicyError as error:
        click.echo(error.render(), err=True)
        return ExitCode.FINDING
    quotes = quotes or ("sim" if settings.broker.name == "paper" else "live")
    if cycles is None and not forever and quotes == "sim":
        cycles = DEFAULT_CYCLES
    view = _view(output)
    stop = Stop()

    def plan() -> RunPlan:
        if quotes == "live":
            return plan_live(
                policy,
                settings,
                state_dir=output.state_dir,
                agent_name=agent,
                restart=restart,
                swap_unguarded=swap_unguarded,
                say=lambda line: click.echo(line, err=True),
            )
        return plan_run(
            policy,
            state_dir=output.state_dir,
            quotes=quotes,
            agent_name=agent or settings.agent,
            speed=speed,
            seed=seed,
            restart=restart,
            swap_unguarded=swap_unguarded,
        )

    with stop.listening():
        try:
            return _run(plan, cycles, view, stop)
        except StoppedAtOnce as stopped:
            click.echo(
                "stopped at once; nothing recorded is lost, and the next run goes on from there", err=True
            )
            return stopped.code
        finally:
            if isinstance(view, TableView):
                view.close()


def _view(output: Output) -> View:
    if output.as_json:
        return JsonView()
    live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return TableView(output.colour) if live else LineView()


def _run(make_plan: Callable[[], RunPlan], cycles: int | None, view: View, stop: Stop) -> ExitCode:
    plan = make_plan()
    tally = Tally()
    try:
        stop.politely(plan.interrupt)
        _start(plan)
        view.begin(plan)
        _take_in(plan.agent.heard_at_start, tally, view)
        try:
            note = _cycles(plan, cycles, tally, view, stop)
        except TradectlError:
            view.end(tally, "the run was broken off: see the error")
            raise
        if stop.asked:
            note = f"stopped by {stop.asked.name} after the cycle under way"
        view.end(tally, note)
    finally:
        plan.close()
    unheard = plan.unheard()
    trouble = tally.trouble or (unheard and f"no source of quotes could be heard: {unheard}")
    if trouble and not stop.asked:
        click.echo(f"tradectl: the last cycle: {trouble}", err=True)
        return ExitCode.UNAVAILABLE
    return stop.code


def _start(plan: RunPlan) -> None:
    """Let the agent compare itself with its venue; keys that are refused are the settings' fault."""
    try:
        _ = plan.agent.start()
    except UnavailableError as error:
        if refuses_keys(error):
            raise ConfigurationError(str(error)) from error
        raise


def _cycles(plan: RunPlan, cycles: int | None, tally: Tally, view: View, stop: Stop) -> str:
    """Run the cycles; return why they ended before the person's number was reached."""
    agent = plan.agent
    due_ms = agent.next_cycle_ms()
    while not stop.asked and (cycles is None or tally.cycles + tally.skipped < cycles):
        if plan.end_ms is not None and due_ms > plan.end_ms:
            return _exhausted(plan, plan.end_ms, tally)
        wake_ms = agent.next_wake_ms()
        plan.clock.sleep_until(wake_ms)
        if stop.asked:
            break
        if plan.clock.now_utc_ms() < wake_ms:
            _take_in(agent.heed(), tally, view)  # a hint ended the sleep
            continue
        if wake_ms < due_ms:
            _take_in(agent.tend(), tally, view)
            continue
        report = agent.cycle()
        tally.add(report)
        view.cycle(report)
        due_ms = agent.next_cycle_ms()
    return ""


def _take_in(heard: Heard, tally: Tally, view: View) -> None:
    tally.tended(heard)
    view.tended(heard)


def _exhausted(plan: RunPlan, end_ms: int, tally: Tally) -> str:
    if tally.cycles:
        return f"the bars end at {instant(end_ms)}"
    return (
        f"the bars end at {instant(end_ms)}, and agent {plan.name} has decided up to there: nothing is left "
        "to do; to begin anew, run it again with --restart (what it kept is set aside)"
    )


# --- being stopped ----------------------------------------------------------------------------


class StoppedAtOnce(BaseException):
    """Stopped a second time, or before anything ran; no handler of errors may swallow it."""

    def __init__(self, number: int) -> None:
        """Keep the signal."""
        super().__init__(number)
        self.code = _CODES[signal.Signals(number)]


_CODES: Final = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


@dataclass(slots=True)
class Stop:
    """Ctrl-C and SIGTERM: the first asks for an end after the cycle under way, the second is at once."""

    asked: signal.Signals | None = None
    _polite: bool = False
    _interrupt: Callable[[], None] = field(default=lambda: None)

    @property
    def code(self) -> ExitCode:
        """The exit code: of the signal, or that all is well."""
        return ExitCode.OK if self.asked is None else _CODES[self.asked]

    def politely(self, interrupt: Callable[[], None]) -> None:
        """From now on a first signal waits for the cycle under way; ``interrupt`` ends a sleep."""
        self._interrupt = interrupt
        self._polite = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the block."""
        before = {number: signal.signal(number, self._heard) for number in _CODES}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None or not self._polite:
            raise StoppedAtOnce(number)
        self.asked = signal.Signals(number)
        self._interrupt()
