"""Operators in this process: every document still crosses as bytes, so that nothing else can."""

from __future__ import annotations

from collections.abc import Mapping

from fedopt.admm.messages import Answer, Message, parse_answer, parse_message, to_bytes
from fedopt.admm.operator import Lost, Operator

__all__ = ["InProcess"]


class InProcess:
    """A transport to operators that live here."""

    def __init__(self, operators: Mapping[str, Operator]) -> None:
        self.operators = dict(operators)

    def broadcast(self, messages: Mapping[str, Message]) -> dict[str, Answer | Lost]:
        """Ask each operator its question."""
        return {
            name: parse_answer(to_bytes(self.operators[name].answer(parse_message(to_bytes(message)))))
            for name, message in messages.items()
        }
