"""Order desks, reconcilers and readings of reports that must fail: each as it was somewhere once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any, Final

from engine.codes import IntentState
from engine.model import OrderReport, WorkingOrder
from engine.runtime.journal_port import Intent, IntentEvent
from engine.runtime.orders import Heard, OrderDesk
from engine.runtime.reconcile import Reconciler
from engine.verbs.lifecycle import advance_order
from engine.verbs.state import OrderMoved

_numbers: Final = count(1)


class NewNameForEachSend(OrderDesk):
    """Names the order when it is sent: a random name, as libraries make it."""

    def _send(self, intent: Intent, heard: Heard) -> None:
        renamed = replace(intent.order, client_id=f"uuid-{next(_numbers)}")
        super()._send(replace(intent, order=renamed), heard)


class NameTooLong(OrderDesk):
    """Puts the whole story into the name."""

    def _send(self, intent: Intent, heard: Heard) -> None:
        renamed = replace(intent.order, client_id=intent.order.client_id + "-because" * 20)
        super()._send(replace(intent, order=renamed), heard)


class OneLookIsProof(OrderDesk):
    """Believes the first look-up that finds nothing: the order never was."""

    def _not_found(self, symbol: str, working: WorkingOrder, over: bool, now_ms: int, heard: Heard) -> None:
        self._take((IntentEvent(working.client_id, IntentState.EXPIRED, now_ms),), heard)


class LostIsRejected(OrderDesk):
    """Takes a lost answer for a refusal."""

    def _take(self, events: Any, heard: Heard) -> bool:  # noqa: ANN401 - as the desk's own
        lost = IntentState.AMBIGUOUS
        return super()._take(
            [replace(e, state=IntentState.REJECTED) if e.state is lost else e for e in events], heard
        )


class CancelledWhenAsked(OrderDesk):
    """Counts an order as cancelled as soon as it asked for that."""

    def cancel(self, symbol: str, client_id: str) -> None:
        """Ask, and go on."""
        super().cancel(symbol, client_id)
        filled = self.state.memory(symbol).booked
        self.advance(OrderMoved(client_id, symbol, IntentState.CANCELLED, self._now_ms(), filled))


def sums_up(symbol: str, working: WorkingOrder, report: OrderReport) -> WorkingOrder:
    """Take each report's quantity for one more fill."""
    total = min(working.quantity, working.filled_quantity + report.filled_quantity)
    return replace(advance_order(symbol, working, report), filled_quantity=total)


def last_word(symbol: str, working: WorkingOrder, report: OrderReport) -> WorkingOrder:
    """Believe whatever came last."""
    return replace(working, state=report.state, filled_quantity=report.filled_quantity)


class NeverCompares(Reconciler):
    """Trusts what it remembers, and what it was told."""

    def _round(self, *, strict: bool = False, hinted_only: bool = False) -> Heard:
        self._lost, self._due_ms = False, 2**62
        self._hinted.pop("", None)
        return super()._round(strict=strict, hinted_only=hinted_only)


class ComparesAtTheStart(Reconciler):
    """Compares once, and never again."""

    def _round(self, *, strict: bool = False, hinted_only: bool = False) -> Heard:
        if not strict:
            self._lost, self._due_ms = False, 2**62
        return super()._round(strict=strict, hinted_only=hinted_only)

    def _listen(self, heard: Heard) -> None:
        super()._listen(heard)
        self._hinted.pop("", None)


class BelievesHints(Reconciler):
    """Takes a hint for the fill itself."""

    def _listen(self, heard: Heard) -> None:
        super()._listen(heard)
        for symbol, memory in self._desk.state.memories.items():
            working = memory.working
            if working is not None and working.client_id in self._hinted:
                filled = IntentState.FILLED
                self._desk.advance(
                    OrderMoved(working.client_id, symbol, filled, self._running_ms(), working.quantity)
                )


Advance = Callable[[str, WorkingOrder, OrderReport], WorkingOrder]
