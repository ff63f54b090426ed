"""What the local Alpaca answers where it refuses: the real one's statuses, codes and words."""

from __future__ import annotations

from typing import Final

INVALID: Final = 42210000
MALFORMED: Final = 40010001
FORBIDDEN: Final = 40310000
NOT_FOUND: Final = 40410000


class Refusal(Exception):
    """An answer other than success; ``details`` stand beside code and message in the body."""

    def __init__(self, status: int, code: int | None, message: str, **details: object) -> None:
        """Keep the HTTP status and the body."""
        super().__init__(message)
        self.status = status
        self.body: dict[str, object] = {} if code is None else {"code": code}
        self.body |= {"message": message, **details}


def invalid(message: str) -> Refusal:
    """Return a 422: an order or a parameter that the rules do not allow."""
    return Refusal(422, INVALID, message)


def malformed(message: str) -> Refusal:
    """Return a 422: a parameter that is missing or cannot be read."""
    return Refusal(422, MALFORMED, message)


def forbidden(message: str, **details: object) -> Refusal:
    """Return a 403: not enough money or shares, a wash trade, too small."""
    return Refusal(403, FORBIDDEN, message, **details)


def not_found(message: str) -> Refusal:
    """Return a 404."""
    return Refusal(404, NOT_FOUND, message)


def bad_request(message: str) -> Refusal:
    """Return a 400 of the market data."""
    return Refusal(400, None, message)
