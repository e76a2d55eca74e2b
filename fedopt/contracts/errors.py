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
    "file",
]


class ContractError(ValueError):
    """A contract, key or registry that is refused. `reason` is one of the names above; the message says
    more. The exit code is that of a broken promise, or that of bad input (`bad_input`; always for a key or a
    file that cannot be used).
    """

    def __init__(self, reason: Reason, message: str, bad_input: bool = False) -> None:
        self.reason: Reason = reason
        self.exit_code = 2 if bad_input or reason in ("key", "file") else 5
        super().__init__(f"{reason}: {message}")
