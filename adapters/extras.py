"""Optional dependencies: imported where they are used, or refused with the line that installs them."""

from __future__ import annotations

import importlib
from types import ModuleType

from engine.errors import ConfigurationError


def require(module: str, extra: str) -> ModuleType:
    """Import and return a module that one of our extras installs.

    Raises:
        ConfigurationError: The module is not installed; the message is the one line that mends it.
            (A module that is installed but broken raises its own error.)
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ConfigurationError(
            f"{error.name} is not installed; to install it: pip install 'tradectl[{extra}]'"
        ) from error
