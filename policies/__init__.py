"""The policies that are shipped, and the cases that test them."""

from __future__ import annotations

from importlib import resources

_SUFFIX = ".yaml"


def shipped() -> tuple[str, ...]:
    """Return the names of the shipped policies, sorted."""
    entries = resources.files(__name__).iterdir()
    return tuple(
        sorted(entry.name.removesuffix(_SUFFIX) for entry in entries if entry.name.endswith(_SUFFIX))
    )


def read(name: str) -> str:
    """Return the text of a shipped policy; KeyError for any other name."""
    return _text(name, "")


def read_cases(name: str) -> str:
    """Return the text of a shipped policy's cases; KeyError where it has none."""
    return _text(name, "cases/")


def _text(name: str, folder: str) -> str:
    # Only a listed name becomes a path, so that no name leads out of the package.
    entry = resources.files(__name__).joinpath(f"{folder}{name}{_SUFFIX}")
    if name not in shipped() or not entry.is_file():
        raise KeyError(name)
    return entry.read_text(encoding="utf-8")
