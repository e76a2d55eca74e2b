"""Making a plan binding: every operator prepares its share, then all commit or all abort.

The decision is written down before anyone hears of it, and told until everyone has heard; so a broker that
dies anywhere and comes back finishes what it began. An operator that does not answer any more delays only its
own share, and is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from fedopt.federated.messages import (
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
from fedopt.federated.split.report import promises_of
from fedopt.federated.transport.https import Failure, Reply

if TYPE_CHECKING:
    from fedopt.federated.transport.broker_journal import BrokerJournal, BrokerRun, Decision, Exchange
    from fedopt.instance import Instance
    from fedopt.plan import Plan

__all__ = ["Settled", "release", "reservations_of", "reserve"]


@dataclass(frozen=True)
class Settled:
    """What became of a plan's reservations.

    `decision`: commit or abort, the same for all; `granted`: the operators that carried it out; `refused` and
    `silent`: those that did not, and why. A silent one is told again when the broker runs again.
    """

    decision: Literal["commit", "abort"]
    granted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every operator has carried out the commit."""
        return self.decision == "commit" and not self.refused and not self.silent


def reservations_of(plan: Plan, instance: Instance) -> dict[str, tuple[Reservation | Promise, ...]]:
    """The reservations of a plan by operator: rates in work per unit of time, or what was agreed where the
    operators keep the rates."""
    found: dict[str, list[Reservation | Promise]] = {}
    for entry in plan.tenants:
        if entry.admitted and "agreement" in entry.parameters:
            for hop, promise in promises_of(entry.id, entry.count, entry.path, entry.parameters):
                found.setdefault(operator_of(instance.offer(hop)[0]), []).append(promise)
        elif entry.admitted:
            for hop in entry.path:
                domain, _ = instance.offer(hop)
                rate = entry.reservations[domain.id]
                reservation = Reservation(tenant=entry.id, offer=hop, count=entry.count, rate=rate)
                found.setdefault(operator_of(domain), []).append(reservation)
    return {operator: tuple(reservations) for operator, reservations in found.items()}


def reserve(
    run: BrokerRun,
    journal: BrokerJournal,
    shares: Mapping[str, tuple[Reservation | Promise, ...]],
    next_sequence: Mapping[str, int],
    *,
    term: float = 600.0,
    replaces: str | None = None,
) -> Settled:
    """Prepare each operator's share and settle it; `next_sequence` is the number of its next message.

    All operators of `shares` are settled, also those with nothing to reserve, so that their side of the run
    ends.
    """
    refused: dict[str, str] = {}
    silent: dict[str, str] = {}
    decision: Decision | None = journal.decision(run.run)
    if decision is None:
        asked = {
            operator: Prepare(
                run=run.run,
                sequence=next_sequence[operator],
                reservations=tuple(one for one in share if isinstance(one, Reservation)),
                promises=tuple(one for one in share if isinstance(one, Promise)),
                term=term,
                replaces=replaces,
            )
            for operator, share in shares.items()
        }
        replies = run.broadcast({name: (m.sequence, to_bytes(m)) for name, m in asked.items()})
        for operator, reply in replies.items():
            _sort(operator, reply, [], refused, silent)
        decision = journal.decide(run.run, "abort" if refused or silent else "commit")
    settled = Settled(decision)
    told = {
        operator: Settle(run=run.run, sequence=next_sequence[operator] + 1, decision=decision)
        for operator in shares
    }
    replies = run.broadcast(
        {name: (m.sequence, to_bytes(m)) for name, m in told.items()}, failures_stand=False
    )
    for operator, reply in replies.items():
        _sort(operator, reply, settled.granted, settled.refused, settled.silent)
    if decision == "abort":  # why, rather than who could not be told: an abort needs nobody's consent
        settled.refused.update(refused)
        settled.silent.update(silent)
    if not settled.silent or decision == "abort":
        journal.finish(run.run, decision)
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
        (silent if reply.kind == "silent" else refused)[operator] = reply.message
        return
    try:
        said = parse_answer(reply.body)
    except MessageError as error:
        refused[operator] = f"its answer cannot be read: {error}"
        return
    if isinstance(said, Outcome) and said.granted:
        granted.append(operator)
    else:
        refused[operator] = said.reason if isinstance(said, Outcome) else "it answered something else"
