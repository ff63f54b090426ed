"""A local Alpaca that is wrong on purpose: it writes numbers where the real one writes strings."""

from __future__ import annotations

import json
import re
from typing import Any

from adapters.stubs.alpaca import AlpacaStub

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class NumbersForStrings(AlpacaStub):
    """Answers ``"qty": 1.5`` for ``"qty": "1.5"``."""

    def written(self, document: object) -> str:
        """Return the body with a number in the place of each string that reads like one."""
        return json.dumps(_loosened(document))


class TextForNumbers(AlpacaStub):
    """Answers ``"bp": "100.1"`` for ``"bp": 100.1``."""

    def written(self, document: object) -> str:
        """Return the body with a string in the place of each number."""
        return json.dumps(_tightened(document))


def _loosened(value: Any) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case dict():
            return {key: _loosened(inner) for key, inner in value.items()}
        case list():
            return [_loosened(inner) for inner in value]
        case str() if _NUMBER.fullmatch(value):
            return float(value)
        case _:
            return value


def _tightened(value: Any) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case dict():
            return {key: _tightened(inner) for key, inner in value.items()}
        case list():
            return [_tightened(inner) for inner in value]
        case bool() | None:
            return value
        case _:
            return str(value)
