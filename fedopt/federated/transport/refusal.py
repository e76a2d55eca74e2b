"""Why an agent refuses a message: one name for each reason, the same in code, over HTTP and in the broker's
words.
"""

from __future__ import annotations

from typing import Literal, get_args

from fedopt.errors import FedoptError

__all__ = ["REASONS", "STATUS", "Reason", "Refusal"]

Reason = Literal[
    "malformed",
    "unsigned",
    "unknown-peer",
    "not-yours",
    "unknown-run",
    "replayed",
    "closed",
    "contract-changed",
    "refused",
    "policy",
    "problem",
    "disk-full",
    "too-large",
    "too-many",
    "too-slow",
    "defect",
]

REASONS: tuple[str, ...] = get_args(Reason)

STATUS: dict[Reason, int] = {
    "malformed": 422,
    "unsigned": 401,
    "unknown-peer": 403,
    "not-yours": 403,
    "unknown-run": 404,
    "replayed": 409,
    "closed": 410,
    "contract-changed": 409,
    "refused": 409,
    "policy": 403,
    "problem": 409,
    "disk-full": 507,
    "too-large": 413,
    "too-many": 429,
    "too-slow": 408,
    "defect": 500,
}
"""The HTTP status of each reason."""


class Refusal(FedoptError):
    """A message that is not answered. `reason` is one of the names above; the message says more, but no
    number.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason: Reason = reason
        self.message = message
        super().__init__(f"{reason}: {message}")
