"""All operators in this process: the transport of a run that no boundary divides."""

from __future__ import annotations

from collections.abc import Mapping

from fedopt.federated.messages import Answer, Message
from fedopt.federated.operator import Lost, Operator

__all__ = ["InProcess"]


class InProcess:
    """Operators asked one after another, by name."""

    def __init__(self, operators: Mapping[str, Operator]) -> None:
        self.operators = dict(operators)

    def broadcast(self, messages: Mapping[str, Message]) -> dict[str, Answer | Lost]:
        """Ask each operator its question. Raises MessageError where a question does not belong there."""
        return {name: self.operators[name].answer(message) for name, message in messages.items()}
