"""Making a plan binding: every operator prepares its share, then all commit, or all abort.

The decision is written down before anyone hears of it, and told until everyone has heard; so a broker that
dies anywhere and comes back finishes what it began. An operator that prepared may still refuse to commit,
where its hold ran out or its capacity was lowered; then the others take their commits back, and nothing is
booked. One that does not answer any more delays its own share, and is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fedopt.federated.protocol.messages import (
    MessageError,
    Outcome,
    Prepare,
    Promise,
    Reservation,
    Settle,
    parse_answer,
    to_bytes,
)
from fedopt.federated.public import operator_of
from fedopt.federated.report import promises_of
from fedopt.federated.transport.https import Failure, Reply, plain_text

if TYPE_CHECKING:
    from fedopt.federated.transport.broker_journal import BrokerJournal, BrokerRun, Exchange
    from fedopt.instance import Instance
    from fedopt.plan import Plan

__all__ = ["Settled", "booking_of", "release", "reserve"]

Order = Literal["commit", "abort", "rollback"]


@dataclass(frozen=True)
class Settled:
    """What became of a plan's reservations.

    `decision`: commit, abort or rollback, the same for all; `granted`: the operators that carried it out;
    `refused`: why not, by operator: of an abort or a rollback those that caused it; `silent`: those that have
    not heard of it yet and are told again when the run is resumed.
    """

    decision: Order
    granted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every operator has carried out the commit."""
        return self.decision == "commit" and not self.refused and not self.silent


def booking_of(plan: Plan, instance: Instance, next_sequence: Mapping[str, int]) -> dict[str, Any]:
    """What is to be reserved with whom, as the journal keeps it: every operator that was asked has a share,
    if an empty one, so that its side of the run ends. Rates are in work per unit of time; where the operators
    keep the rates, what was agreed stands in their place."""
    shares: dict[str, list[dict[str, Any]]] = {operator: [] for operator in next_sequence}
    for entry in plan.tenants:
        if entry.admitted and "agreement" in entry.parameters:
            for hop, promise in promises_of(entry.id, entry.count, entry.path, entry.parameters):
                shares[operator_of(instance.offer(hop)[0])].append(promise.model_dump(mode="json"))
        elif entry.admitted:
            for hop in entry.path:
                domain, _ = instance.offer(hop)
                rate = entry.reservations[domain.id]
                one = Reservation(tenant=entry.id, offer=hop, count=entry.count, rate=rate)
                shares[operator_of(domain)].append(one.model_dump(mode="json"))
    return {"shares": shares, "next": dict(next_sequence)}


def reserve(
    run: BrokerRun,
    journal: BrokerJournal,
    booking: Mapping[str, Any],
    *,
    term: float = 600.0,
    replaces: str | None = None,
) -> Settled:
    """Prepare each operator's share and settle it, from wherever the journal says that it stopped."""
    first: Mapping[str, int] = booking["next"]
    refused: dict[str, str] = {}
    silent: dict[str, str] = {}
    record = journal.run(run.run)
    decision = None if record is None else record.decision
    if decision is None:
        asked = {
            operator: Prepare(
                run=run.run,
                sequence=first[operator],
                reservations=tuple(Reservation(**one) for one in share if "rate" in one),
                promises=tuple(Promise(**one) for one in share if "rate" not in one),
                term=term,
                replaces=replaces,
            )
            for operator, share in booking["shares"].items()
        }
        replies = run.broadcast({name: (m.sequence, to_bytes(m)) for name, m in asked.items()})
        for operator, reply in replies.items():
            _sort(operator, reply, [], refused, silent)
        decision = journal.decide(run.run, "abort" if refused or silent else "commit")
    settled = Settled(decision)
    if decision != "rollback":
        settled = _told(run, first, 1, decision)
        if decision == "commit" and settled.refused:
            decision = journal.decide(run.run, "rollback")
            refused = settled.refused
    if decision == "rollback":
        settled = _told(run, first, 2, decision)
    if decision != "commit":  # why, rather than who could not be told
        settled.refused.update(refused | silent)
    if not settled.silent or decision == "abort":
        ends = {"commit": "booked", "abort": "aborted", "rollback": "rolled back"}
        journal.finish(run.run, ends[decision])
    return settled


def _told(run: BrokerRun, first: Mapping[str, int], step: int, decision: Order) -> Settled:
    """Tell everyone the decision, those again that were silent before."""
    messages = {
        operator: Settle(run=run.run, sequence=sequence + step, decision=decision)
        for operator, sequence in first.items()
    }
    replies = run.broadcast(
        {name: (m.sequence, to_bytes(m)) for name, m in messages.items()}, failures_stand=False
    )
    settled = Settled(decision)
    for operator, reply in replies.items():
        _sort(operator, reply, settled.granted, settled.refused, settled.silent)
    return settled


def release(run: str, journal: BrokerJournal, exchange: Exchange, operators: Sequence[str]) -> dict[str, str]:
    """End a run's reservations everywhere; why it failed, by operator. May be asked again."""
    last = journal.last(run)
    told = {
        operator: Settle(run=run, sequence=last.get(operator, 0) + 1, decision="release")
        for operator in operators
        if operator in last
    }
    failed: dict[str, str] = {}
    replies = exchange(run, {name: (m.sequence, to_bytes(m)) for name, m in told.items()})
    for operator, reply in replies.items():
        _sort(operator, reply, [], failed, failed)
    return failed or ({} if told else {"broker": "this run reserved nothing through this broker"})


def _sort(
    operator: str, reply: Reply | Failure, granted: list[str], refused: dict[str, str], silent: dict[str, str]
) -> None:
    """Put an operator where its reply belongs."""
    if isinstance(reply, Failure):
        waiting = reply.kind == "silent" or reply.reason == "disk-full"
        (silent if waiting else refused)[operator] = reply.message
        return
    try:
        said = parse_answer(reply.body)
    except MessageError as error:
        refused[operator] = plain_text(f"its answer cannot be read: {error}")
        return
    if isinstance(said, Outcome) and said.granted:
        granted.append(operator)
    else:
        refused[operator] = (
            plain_text(said.reason) if isinstance(said, Outcome) else "it answered something else"
        )
