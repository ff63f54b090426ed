"""Conditions of the typed tree as text."""

from __future__ import annotations

from engine.language.types import Combined, Compared, Condition, Negated


def condition_text(condition: Condition) -> str:
    """Return a condition as it would be written on one line."""
    match condition:
        case Compared(text=text):
            return text
        case Negated(operand=operand):
            return f"not {_bracketed(operand)}"
        case Combined(every=every, operands=operands):
            return (" and " if every else " or ").join(_bracketed(operand) for operand in operands)
    raise AssertionError(condition)  # vetoed_by stands in promises only


def _bracketed(condition: Condition) -> str:
    text = condition_text(condition)
    return f"({text})" if isinstance(condition, Combined) else text
