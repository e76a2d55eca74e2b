"""The disclosure ledger: the fields, numbers, bytes and rounds that crossed each boundary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fedopt.federated.messages import Answer, Message, Proposal, numbers_in, to_bytes

__all__ = ["Ledger"]


@dataclass(eq=False)
class _Boundary:
    """What crossed between the broker and one operator."""

    rounds: int = 0
    messages: int = 0
    bytes: int = 0
    told: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)


class Ledger:
    """Counts every document that crosses, as it crosses."""

    def __init__(self) -> None:
        self._boundaries: dict[str, _Boundary] = {}

    def note(self, operator: str, message: Message, answer: Answer | None) -> None:
        """A question to an operator and its answer, None where there was none."""
        boundary = self._boundaries.setdefault(operator, _Boundary())
        boundary.rounds += isinstance(message, Proposal)
        boundary.messages += 1 + (answer is not None)
        boundary.bytes += len(to_bytes(message))
        boundary.asked.update(numbers_in(message))
        if answer is not None:
            boundary.bytes += len(to_bytes(answer))
            boundary.told.update(numbers_in(answer))

    @property
    def told(self) -> int:
        """Numbers that operators told the broker so far."""
        return sum(boundary.told.total() for boundary in self._boundaries.values())

    def document(self) -> dict[str, Any]:
        """The ledger as a plan states it: totals, then a record for each boundary.

        `told` are the numbers by field that the operator told the broker, `asked` those that it was told.
        """
        records = [
            {
                "operator": name,
                "rounds": boundary.rounds,
                "messages": boundary.messages,
                "numbers": boundary.told.total() + boundary.asked.total(),
                "bytes": boundary.bytes,
                "told": dict(boundary.told),
                "asked": dict(boundary.asked),
            }
            for name, boundary in self._boundaries.items()
        ]
        totals: dict[str, int] = {
            key: sum(int(record[key]) for record in records)  # type: ignore[call-overload]
            for key in ("messages", "numbers", "bytes")
        }
        rounds = max((boundary.rounds for boundary in self._boundaries.values()), default=0)
        return {"totals": {"rounds": rounds, **totals}, "boundaries": records}
