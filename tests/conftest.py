"""What every test gets: no network, a state folder of its own, seeds that are printed.

Hypothesis runs the profile named by ``TRADECTL_HYPOTHESIS``: ``quick`` (the default) or
``long``.  Each run draws one seed and prints it in the header;
``--hypothesis-seed=N`` repeats that run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import network_guard, requirements_map

# A hook and its fixture: ``pytest_plugins`` would be refused here when only one folder is collected.
from tests.evidence import evidence, pytest_terminal_summary  # noqa: F401 - pytest finds them by name

_OWN_VARIABLES = ("TRADECTL_SHARED", "TRADECTL_HYPOTHESIS")
_FOREIGN_PREFIXES = ("TRADECTL_", "APCA_", "ALPACA_", "CCXT_", "FINNHUB_", "TWELVEDATA_")

# No deadline: a slow machine is not a failed property.
for _name, _examples in {"quick": 30, "long": 2000}.items():
    settings.register_profile(
        _name, max_examples=_examples, deadline=None, derandomize=False, print_blob=True
    )


def _profile() -> str:
    return os.environ.get("TRADECTL_HYPOTHESIS") or "quick"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our own options."""
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files to what is printed now"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the profile and the run's seed (workers get the seed with the options)."""
    settings.load_profile(_profile())
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(2**32))
    network_guard.install()


def pytest_report_header(config: pytest.Config) -> str:
    """Print what repeats this run."""
    return f"hypothesis: profile {_profile()}, --hypothesis-seed={config.option.hypothesis_seed}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note which tests show which requirement, whatever is left out afterwards."""
    config.stash[requirements_map.MARKED] = requirements_map.marked(items)


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """Fail the test that tried to leave this machine, also where the refusal was swallowed."""
    network_guard.take_attempts()
    yield
    attempts = network_guard.take_attempts()
    if attempts:
        pytest.fail("only loopback is allowed in tests: " + "; ".join(attempts))


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the test an empty state folder and none of the user's keys or settings; return the folder."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in os.environ:
        if name.startswith(_FOREIGN_PREFIXES) and name not in _OWN_VARIABLES:
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("tradectl-home")
    monkeypatch.setenv("TRADECTL_HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    return home


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Say whether golden files are to be rewritten instead of compared."""
    return bool(request.config.getoption("--update-golden"))
