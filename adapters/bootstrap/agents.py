"""Where an agent keeps its things, and what must be so before it goes on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import ConfigurationError, NotFoundError, UnavailableError
from engine.language.load import load_policy
from engine.language.policy import Policy

if TYPE_CHECKING:
    from adapters.journal.reading import ReadJournal

_CURRENT: Final = "current-agent"


@dataclass(frozen=True, slots=True)
class AgentFolder:
    """The folder of one agent: its journal and the paper venue's file."""

    path: Path

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.path / "journal.db"

    @property
    def venue(self) -> Path:
        """The paper venue's file."""
        return self.path / "venue.db"


def agent_folder(state_dir: Path, name: str) -> AgentFolder:
    """Return the folder of an agent by its name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigurationError(f"'{name}' is no name for an agent: use letters, digits, '.', '_' and '-'")
    return AgentFolder(state_dir / "agents" / name)


def note_current(state_dir: Path, name: str) -> None:
    """Remember the agent that ran last: what ``explain`` and the others ask when none is named."""
    try:
        (state_dir / _CURRENT).write_text(name + "\n", encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{state_dir}: cannot be written ({error.strerror})") from error


def current_agent(state_dir: Path, name: str | None = None) -> AgentFolder:
    """Return the named agent, or the one that ran last; NotFoundError where there is none."""
    if name is None:
        try:
            name = (state_dir / _CURRENT).read_text(encoding="utf-8").strip()
        except OSError:
            raise NotFoundError("no agent has run here yet: 'tradectl run' starts one") from None
    folder = agent_folder(state_dir, name)
    if not folder.journal.is_file():
        raise NotFoundError(f"there is no agent '{name}' in {state_dir}; 'tradectl run' starts one")
    return folder


def open_reader(folder: AgentFolder) -> ReadJournal:
    """Open an agent's journal for reading, beside the agent if it runs."""
    from adapters.journal.reading import read_journal

    return read_journal(folder.journal)


def set_aside(folder: AgentFolder) -> None:
    """Move an agent's folder out of the way; nothing recorded is lost.

    UnavailableError where the agent runs: it would go on trading beside the new one.
    """
    if not folder.path.exists():
        return
    from adapters.journal.lease import Lease

    Lease(folder.journal).release()
    number = 1
    while (aside := folder.path.with_name(f"{folder.path.name}.{number}")).exists():
        number += 1
    try:
        folder.path.rename(aside)
    except OSError as error:
        raise UnavailableError(f"{folder.path}: cannot be set aside ({error.strerror})") from error


def last_moment_ms(folder: AgentFolder) -> int | None:
    """Return when the agent's last journalled cycle was, or what came after it; None for a new one."""
    if not folder.journal.exists():
        return None
    reader = open_reader(folder)
    try:
        last = reader.last_cycle()
        if last is None:
            return None
        return max([last.at_ms, *(event.at_ms for _, event in reader.events_after(last.sequence))])
    finally:
        reader.close()


def require_guarded(folder: AgentFolder, policy: Policy) -> None:
    """Refuse a policy that would leave a held position without the protective rules it has."""
    if not folder.journal.exists():
        return
    from engine.runtime.restore import restored

    reader = open_reader(folder)
    try:
        last = reader.last_cycle()
        if last is None or last.policy.digest == policy.digest:
            return
        before = load_policy(last.policy.text, last.policy.name).policy
        held = [symbol for symbol, holding in restored(reader).ledger.holdings.items() if holding.quantity]
    finally:
        reader.close()
    bare = [
        symbol
        for symbol in held
        if before is not None and _protects(before, symbol) and not _protects(policy, symbol)
    ]
    if bare:
        raise ConfigurationError(
            f"policy {policy.name} {policy.version} has no protective rule for {', '.join(bare)}, which "
            f"this agent holds and {last.policy.name} {last.policy.version} guards; add one, or run with "
            "--swap-unguarded"
        )


def _protects(policy: Policy, symbol: str) -> bool:
    from engine.language.lower import lower
    from engine.runtime.guard import protects

    listing = policy.listing(symbol)
    return listing is not None and protects(lower(policy, listing))
