"""Orders, what became of them, fills and incidents as JSON: the same in each command that prints them."""

from __future__ import annotations

from typing import Any

from adapters.cli import figures as f
from engine.model import Fill
from engine.runtime.journal_port import Incident, Intent, IntentEvent


def order_document(intent: Intent) -> dict[str, Any]:
    """Return an order as JSON."""
    order = intent.order
    return {
        "client_id": order.client_id,
        "cycle": intent.cycle,
        "at": f.iso(order.created_ms),
        "symbol": order.symbol,
        "side": order.side.value,
        "quantity": f.quantity_number(order.quantity),
        "type": order.order_type.value,
        "limit_price": f.price_number(order.limit_price),
        "time_in_force": order.time_in_force.value,
        "expires_at": None if order.expires_ms is None else f.iso(order.expires_ms),
        "rule": intent.rule,
        "protective": intent.protective,
    }


def event_document(event: IntentEvent) -> dict[str, Any]:
    """Return what became of an order as JSON."""
    return {
        "client_id": event.client_id,
        "at": f.iso(event.at_ms),
        "state": event.state.word,
        "filled_quantity": f.quantity_number(event.filled_quantity),
        "reason": event.reason,
    }


def fill_document(fill: Fill) -> dict[str, Any]:
    """Return a fill as JSON."""
    return {
        "fill_id": fill.fill_id,
        "client_id": fill.client_id,
        "at": f.iso(fill.at_ms),
        "symbol": fill.symbol,
        "side": fill.side.value,
        "quantity": f.quantity_number(fill.quantity),
        "price": f.price_number(fill.price),
        "notional": f.money_number(fill.notional),
        "fee": f.money_number(fill.fee),
    }


def incident_document(incident: Incident) -> dict[str, Any]:
    """Return an incident as JSON."""
    return {
        "kind": incident.kind,
        "at": f.iso(incident.at_ms),
        "symbol": incident.symbol or None,
        "client_id": incident.client_id or None,
        "detail": incident.detail,
    }
