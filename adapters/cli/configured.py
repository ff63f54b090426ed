"""The option that names the file of settings, for the commands that read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add -c / --config; the command gets it as ``config``, None where it was not given."""
    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        help="The settings [TRADECTL_CONFIG, or tradectl/config.yaml in the XDG configuration folder].",
    )(command)
