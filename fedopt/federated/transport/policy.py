"""What an agent answers at most, to each broker: a file of the operator's own, kept at the agent.

The protocol shows a broker what it needs, and a curious one asks for more: a sum over all operators and a sum
over all but one differ by that one's numbers; the same question often, or about capacity alone, draws a cost
curve and finds every capacity. Nothing of that can be prevented message by message. It is limited here: which
sums are opened, over whom, and how many questions a broker has in a day.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, StrictBool, StrictInt

from fedopt.errors import FedoptError
from fedopt.federated.protocol.messages import Keys, Message, Opening, Proposal
from fedopt.instance.base import Document
from fedopt.instance.reading import read_document

__all__ = ["DAY", "REASONS", "STATUS", "Policy", "Reason", "Refusal", "Spent"]

DAY = 86_400.0
"""Seconds over which budgets count, up to the question."""

Count = Annotated[StrictInt, Field(ge=0, le=1_000_000_000)]


class Spent(Document):
    """What a broker was answered: questions about cost and about capacity in the last day, about capacity in
    this run, and the sets of operators of its masked runs in the last day."""

    questions: int = 0
    capacity: int = 0
    capacity_in_run: int = 0
    circles: frozenset[frozenset[str]] = frozenset()


class Policy(Document):
    """What brokers may ask of an agent.

    masking_required: only runs with masked sums are answered, where there are peers to mask with.
    survivors: over how many operators a sum is opened at least; null: over all of the run. Whatever the
    number, all sums of a run are opened over the same operators.
    operator_sets_per_day: masked runs over how many different sets of operators a broker may begin in a day.
    Each set but the first tells it sums that differ by single operators.
    questions_per_day: questions about cost that a broker is answered in a day, over all its runs; also about
    shares of promises.
    capacity_questions_per_run, capacity_questions_per_day: questions about capacity alone. Where a domain
    falls short of what is asked, an answer shows where it ends.
    """

    fedopt: Literal[1] = 1
    kind: Literal["policy"] = "policy"
    masking_required: StrictBool = True
    survivors: Annotated[StrictInt, Field(ge=2)] | None = None
    operator_sets_per_day: Annotated[Count, Field(ge=1)] = 2
    questions_per_day: Count = 5_000
    capacity_questions_per_run: Count = 60
    capacity_questions_per_day: Count = 300

    @classmethod
    def load(cls, path: str | Path | None) -> Policy:
        """Read the file; the defaults without one. Raises InstanceError with every wrong place."""
        return cls() if path is None else read_document(path, cls, "an agent's policy")

    def check(self, message: Message, spent: Spent, peers: bool) -> None:
        """Raises Refusal("policy") for a message that goes beyond; `peers`: there is someone to mask with."""
        match message:
            case Opening():
                if self.masking_required and peers and not message.masked:
                    raise Refusal("policy", "this agent answers masked runs alone")
            case Keys():
                circle = frozenset(message.keys)
                if circle not in spent.circles and len(spent.circles) >= self.operator_sets_per_day:
                    raise Refusal(
                        "policy",
                        f"masked runs over {self.operator_sets_per_day} different sets of operators were "
                        "answered in a day; sums over yet another would show single operators",
                    )
            case Proposal(of="capacity"):
                if spent.capacity_in_run >= self.capacity_questions_per_run:
                    raise Refusal("policy", "no more questions about capacity are answered in this run")
                if spent.capacity >= self.capacity_questions_per_day:
                    raise Refusal("policy", "no more questions about capacity are answered today")
            case Proposal():
                if spent.questions >= self.questions_per_day:
                    raise Refusal("policy", "no more questions of this broker are answered today")


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
