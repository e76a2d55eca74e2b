"""The broker's transport over HTTPS: the questions of a run, and agents that fail."""

from __future__ import annotations

from collections.abc import Mapping

from fedopt.errors import FedoptError
from fedopt.federated.messages import Answer, Message, MessageError, parse_answer, to_bytes
from fedopt.federated.operator import Lost
from fedopt.federated.transport.broker_journal import BrokerRun
from fedopt.federated.transport.https import Failure, Reply

__all__ = ["AgentFailure", "HttpsTransport"]


class AgentFailure(FedoptError, RuntimeError):
    """A run that an agent ended; the message names the agent and says why."""

    exit_code = 5

    def __init__(self, operator: str, kind: str, message: str, reason: str | None = None) -> None:
        self.operator = operator
        self.kind = kind
        self.reason = reason
        super().__init__(f"the agent of {operator}: {message}")


class HttpsTransport:
    """A transport of `fedopt.federated`: an agent that stays silent is lost; one that refuses ends the run by
    name.

    `next_sequence` is the number of the next message to each operator that was asked so far.
    """

    def __init__(self, run: BrokerRun) -> None:
        self._run = run
        self.next_sequence: dict[str, int] = {}

    def broadcast(self, messages: Mapping[str, Message]) -> dict[str, Answer | Lost]:
        """Ask each operator its question. Raises AgentFailure where one refuses, or is not who it says."""
        self.next_sequence |= {name: message.sequence + 1 for name, message in messages.items()}
        outcomes = self._run.broadcast(
            {name: (message.sequence, to_bytes(message)) for name, message in messages.items()}
        )
        return {name: _answer(name, messages[name], outcome) for name, outcome in outcomes.items()}


def _answer(operator: str, message: Message, outcome: Reply | Failure) -> Answer | Lost:
    if isinstance(outcome, Failure):
        if outcome.kind == "silent":
            return Lost(operator, outcome.message)
        raise AgentFailure(operator, outcome.kind, outcome.message, outcome.reason)
    try:
        answer = parse_answer(outcome.body)
    except MessageError as error:
        raise AgentFailure(operator, "malformed", f"its answer cannot be read: {error}") from None
    place = (message.run, message.round, message.sequence)
    if (answer.run, answer.round, answer.sequence) != place:
        raise AgentFailure(operator, "malformed", "its answer belongs to another question")
    return answer
