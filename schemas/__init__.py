"""The JSON Schemas: of the policy file, and of what each command prints with ``--json``."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

_SUFFIX = ".json"


def shipped() -> tuple[str, ...]:
    """Return the names of the schemas, sorted."""
    entries = resources.files(__name__).iterdir()
    return tuple(
        sorted(entry.name.removesuffix(_SUFFIX) for entry in entries if entry.name.endswith(_SUFFIX))
    )


def read(name: str) -> str:
    """Return the text of a schema; KeyError for a name that is not shipped."""
    if name not in shipped():
        raise KeyError(name)
    return resources.files(__name__).joinpath(name + _SUFFIX).read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """Return a schema as JSON reads it; KeyError for a name that is not shipped."""
    schema: dict[str, Any] = json.loads(read(name))
    return schema
