"""Which tests show which requirement on adapters: noted while tests are collected, before any is left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import pytest

MARKED: Final = pytest.StashKey[Mapping[int, frozenset[str]]]()
"""By number of a requirement, the tests that are marked with it, without their parameters."""


def marked(items: Iterable[pytest.Item]) -> Mapping[int, frozenset[str]]:
    """Return the tests of each requirement."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    for item in items:
        for marker in item.iter_markers("requirement"):
            for number in marker.args:
                found[number].add(item.nodeid.partition("[")[0])
    return {number: frozenset(tests) for number, tests in sorted(found.items())}
