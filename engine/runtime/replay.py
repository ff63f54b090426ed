"""Replay of a journal: each record is decided again by the very policy that decided it, or refused."""

from __future__ import annotations

import hashlib

from engine.errors import JournalError
from engine.language.load import load_recorded
from engine.language.policy import Policy
from engine.lowered import LoweredPolicy
from engine.runtime.journal_port import CycleHead, PolicyText
from engine.verbs.record import DecisionRecord
from engine.verbs.replay import (
    ENGINE_SEMANTICS,
    Replayed,
    Replayer,
    ReplayError,
    vocabulary_digest,
)


class JournalReplayer:
    """Decides the records of a journal again; reads each policy once.

    Calendars need no comparison: what they said is among the recorded facts.
    """

    def __init__(self) -> None:
        """Begin with no policy."""
        self._replayers: dict[str, Replayer] = {}

    def replay(self, head: CycleHead, record: DecisionRecord) -> Replayed:
        """Decide a record of a cycle again.

        Raises ReplayError where another engine or vocabulary decided it, or the record does not fit its
        policy; JournalError where the policy's text is damaged.
        """
        require_same_meaning(head.policy)
        return self._replayer(head.policy).replay(record)

    def lowered(self, head: CycleHead, record: DecisionRecord) -> LoweredPolicy:
        """Return the form of its policy that decided a record; raises as ``replay``, other engines apart."""
        return self._replayer(head.policy).lowered(record)

    def policy(self, head: CycleHead) -> Policy:
        """Return the policy of a cycle, read from the journal; JournalError, ReplayError."""
        return self._replayer(head.policy).policy

    def _replayer(self, text: PolicyText) -> Replayer:
        if text.digest not in self._replayers:
            self._replayers[text.digest] = Replayer(recorded_policy(text))
        return self._replayers[text.digest]


def require_same_meaning(text: PolicyText) -> None:
    """Refuse what another engine or vocabulary decided; ReplayError."""
    others = [
        f"{what} {short(recorded)} (here {short(ours)})"
        for what, recorded, ours in (
            ("engine", text.engine_digest, ENGINE_SEMANTICS),
            ("vocabulary", text.vocabulary_digest, vocabulary_digest()),
        )
        if recorded != ours
    ]
    if others:
        raise ReplayError(
            f"decided by {' and '.join(others)}: what this release would decide says nothing of it"
        )


def short(digest: str) -> str:
    """Return the first digits of a digest; a name stays whole."""
    return digest[:6] if len(digest) == 64 else digest


def recorded_policy(text: PolicyText) -> Policy:
    """Read a policy as it decided.

    Raises JournalError where its text is not what its digest says, ReplayError where this release reads
    it otherwise.
    """
    what = f"policy {text.name} {text.version} ({short(text.digest)})"
    if hashlib.sha256(text.text.encode()).hexdigest() != text.digest:
        raise JournalError(f"the journal's text of {what} is damaged: it is not what its digest says")
    loaded = load_recorded(text.text, f"{text.name} {text.version} (journal)")
    if loaded.policy is None or loaded.policy.digest != text.digest:
        raise ReplayError(f"this release reads {what} otherwise than the one that recorded it")
    return loaded.policy
