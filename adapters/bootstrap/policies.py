"""Policies by path or by the name of a shipped one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from engine.errors import NotFoundError, UnavailableError
from engine.language.load import Loaded, load_policy

DEFAULT_POLICY: Final = "default"


def load_named_policy(name: str) -> Loaded:
    """Load a policy by path, or by the name of a shipped one; NotFoundError where there is neither."""
    path = Path(name)
    if path.is_file():
        try:
            return load_policy(path.read_bytes(), str(path))
        except OSError as error:
            raise UnavailableError(f"{path}: cannot be read ({error.strerror})") from error
    import policies

    shipped = policies.shipped()
    if name in shipped:
        return load_policy(policies.read(name), f"{name}.yaml")
    raise NotFoundError(
        f"there is no policy file '{name}'; shipped policies: {', '.join(shipped)} (name one, or a path)"
    )
