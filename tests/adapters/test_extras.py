"""Optional dependencies: present, absent, broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.extras import require
from engine.errors import ConfigurationError

pytestmark = pytest.mark.wheel


def test_a_module_that_is_there_is_returned() -> None:
    """What is installed is imported and handed over."""
    assert require("json", "parquet") is json


def test_a_missing_module_names_the_line_that_installs_it() -> None:
    """The message holds the one line to run."""
    with pytest.raises(ConfigurationError, match=r"pip install 'tradectl\[parquet\]'"):
        require("no_such_module.part", "parquet")


def test_a_broken_module_keeps_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is installed, but lacks something itself, is not called missing."""
    (tmp_path / "broken_module_of_a_test.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        require("broken_module_of_a_test", "parquet")
