"""Policies that were written once load for ever, and mean what they meant.

Should ``test_a_frozen_policy_keeps_its_digest`` fail, do not put the new digest here.  Journals keep
decisions by digest, and a policy that is in use somewhere would stop being the one that was decided with.
Either the change of the language was not meant: undo it.  Or the canonical form changes on purpose: then it
is a new ``apiVersion`` with a migration (``engine.language.migrate``), and these files stay as they are, to
be migrated.  To a shipped policy of a new version belong a new copy beside these and a new line.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import policies
from engine.language.load import load_policy

FROZEN = Path(__file__).parent / "frozen" / "v1"
DIGESTS = {
    "conservative-1.1.0": "8be867fdd11976dd96405f4b588eb81a55be56f446d8501518b222bcc2a9cdbc",
    "conservative-1.0.0": "8b5f094af090af78fcc9b944b4dedbb336205447cbc44f2e03b443c866b860a4",
    "default-1.1.0": "e59242d79c50a03ec461337bd7272f5188733f5cb047bad0927f2904ee9629ca",
    "default-1.0.0": "2c513efa3907845fae44ddaae7664648c169f1e3860955fa386f726d93a44748",
    "legacy-2025-11-18-1.0.0": "c5e5d72c5c53b9dbe9d46c9fc38d29a1386546397519ab8817812cc6438065d1",
}


def test_every_frozen_file_has_its_digest_here() -> None:
    """No file is forgotten, and none is missing."""
    assert sorted(path.stem for path in FROZEN.glob("*.yaml")) == sorted(DIGESTS)


@pytest.mark.parametrize("name", DIGESTS)
def test_a_frozen_policy_keeps_its_digest(name: str) -> None:
    """The same meaning, to the character of its canonical text (what to do if not: see above)."""
    policy = load_policy((FROZEN / f"{name}.yaml").read_bytes(), name).required()
    assert policy.digest == DIGESTS[name]


@pytest.mark.parametrize("name", DIGESTS)
def test_a_canonical_text_is_the_same_policy(name: str) -> None:
    """What a journal keeps of a frozen policy can be loaded, with the same digest."""
    policy = load_policy((FROZEN / f"{name}.yaml").read_bytes(), name).required()
    assert load_policy(policy.canonical, "canonical").required().digest == DIGESTS[name]


@pytest.mark.parametrize("name", policies.shipped())
def test_each_shipped_policy_is_frozen_in_its_version(name: str) -> None:
    """A shipped policy that would decide otherwise has another version, and a frozen copy of its own."""
    policy = load_policy(policies.read(name), name).required()
    assert DIGESTS.get(f"{name}-{policy.version}") == policy.digest
