"""Where an agent keeps its things: an agent that runs keeps them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from adapters.bootstrap.agents import agent_folder, set_aside
from adapters.journal.store import open_journal
from engine.errors import UnavailableError


def test_a_running_agent_is_not_set_aside(tmp_path: Path) -> None:
    """It would go on trading beside the new one; once it has stopped, its folder may be moved."""
    folder = agent_folder(tmp_path, "one")
    with closing(open_journal(folder.journal, at_ms=1)):
        with pytest.raises(UnavailableError, match="in use by process"):
            set_aside(folder)
        assert folder.journal.is_file()
    set_aside(folder)
    assert not folder.path.exists()
    assert (tmp_path / "agents" / "one.1" / "journal.db").is_file()


def test_nothing_to_set_aside(tmp_path: Path) -> None:
    """An agent that never ran leaves nothing behind."""
    set_aside(agent_folder(tmp_path, "one"))
    assert not (tmp_path / "agents").exists()
