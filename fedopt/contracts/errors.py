"""Why a contract is refused: one named reason for each way in which it can be wrong."""

from __future__ import annotations

from typing import Literal

__all__ = ["ContractError", "Reason"]

Reason = Literal[
    "malformed",
    "algorithm-none",
    "unknown-algorithm",
    "unknown-header",
    "unknown-key",
    "revoked-key",
    "retired-key",
    "signature",
    "altered-field",
    "not-canonical",
    "schema",
    "issuer",
    "not-yet-valid",
    "expired",
    "replayed",
    "rolled-back",
    "parent",
    "unit",
    "log",
    "key",
]


class ContractError(ValueError):
    """A contract, key or registry that is refused. `reason` is one of the names above; the message says
    more.
    """

    exit_code = 5

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason: Reason = reason
        super().__init__(f"{reason}: {message}")
