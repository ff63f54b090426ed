"""``tradectl stub`` in a process of its own, and how it is asked over HTTP."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import requests
from jsonschema import Draft202012Validator

import schemas
from tests.adapters.cli.running import start

SECONDS: Final = 30
"""A bound that nothing reaches unless it is broken."""


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Start a stub in a process of its own; give it and the document that it printed."""
    process = start("stub", *arguments, "--json")
    try:
        assert process.stdout is not None
        printed = ""
        while not printed.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, process.communicate()
            printed += line
        told = json.loads(printed)
        Draft202012Validator(schemas.load("stub-v1")).validate(told)
        yield process, told
    finally:
        process.kill()
        process.communicate()


def headers(told: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that carry the keys that were printed."""
    keys = told["environment"]
    return {
        "APCA-API-KEY-ID": keys["APCA_API_KEY_ID"],
        "APCA-API-SECRET-KEY": keys["APCA_API_SECRET_KEY"],
    }


def asking(told: Mapping[str, Any]) -> requests.Session:
    """Return a session with the keys that were printed."""
    session = requests.Session()
    session.trust_env = False
    session.headers.update(headers(told))
    return session
