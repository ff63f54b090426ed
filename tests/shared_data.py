"""Where the tests find real market data and the example policies: the folder ``shared``.

It lies beside the repository and is not part of it; ``TRADECTL_SHARED`` names another place.
Tests that need it are skipped, with the reason, where it is absent.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("TRADECTL_SHARED") or Path(__file__).resolve().parents[2] / "shared")


def shared_path(*parts: str) -> Path:
    """Return a path below the shared folder; skip the calling test (or module) where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        wanted = "/".join(("shared", *parts))
        pytest.skip(f"needs {wanted}, which is not here: set TRADECTL_SHARED", allow_module_level=True)
    return path


def shared_data(*parts: str) -> Path:
    """Return a path below the real market data, or skip like ``shared_path``."""
    return shared_path("data", *parts)
