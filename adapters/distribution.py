"""Who else owns our import names.

The packages are flat (``engine``, ``adapters``, ``policies``, ``schemas``).  Other distributions use
such names too, and two that do overwrite each other's files.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "tradectl"
PACKAGES = ("engine", "adapters", "policies", "schemas")


@dataclass(frozen=True, slots=True)
class NameClash:
    """A top-level package of ours that something else owns too, or stands in for."""

    package: str
    owner: str  # a distribution's name, or the folder that is imported instead of ours

    def __str__(self) -> str:
        """Say what is wrong and what to do."""
        return (
            f"{self.owner} also provides the package '{self.package}' of {DISTRIBUTION}: "
            f"install {DISTRIBUTION} in a virtual environment of its own"
        )


def name_clashes() -> tuple[NameClash, ...]:
    """Return the clashes in this environment, in the order of ``PACKAGES``; empty is good.

    Reads the metadata of every installed distribution (some 0.1 s): for ``doctor``, not for start-up.
    """
    distributions = metadata.packages_distributions()
    ours = Path(__file__).resolve().parents[1]
    clashes: list[NameClash] = []
    for package in PACKAGES:
        others = {name for name in distributions.get(package, ()) if _normalized(name) != DISTRIBUTION}
        clashes.extend(NameClash(package, name) for name in sorted(others))
        folder = _folder(package)
        if folder is not None and folder.parent != ours:
            clashes.append(NameClash(package, str(folder)))
    return tuple(clashes)


def _folder(package: str) -> Path | None:
    """Return the folder an import of the package reads; None where it cannot be imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _normalized(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
