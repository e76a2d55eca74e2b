"""A federated run from its contracts to its reservations, by a broker that may be stopped anywhere.

Contracts are fetched and verified, the method plans over the agents, the plan is made binding. What was asked
and answered is on the disk, so the same command, given again after a crash, goes on with the same run.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fedopt.federated.messages import Settle, to_bytes
from fedopt.federated.negotiation import OperatorLost
from fedopt.federated.operator import Transport
from fedopt.federated.public import operator_of
from fedopt.federated.transport.broker_journal import BrokerJournal, BrokerRun, Diverged
from fedopt.federated.transport.federation import AgentFailure, HttpsTransport
from fedopt.federated.transport.https import Patience
from fedopt.federated.transport.published import with_published
from fedopt.federated.transport.reserving import Settled, reservations_of, reserve

if TYPE_CHECKING:
    from fedopt.federated.transport.https import Connections
    from fedopt.instance import Instance
    from fedopt.plan import Plan

__all__ = ["Brokered", "Planner", "broker", "without"]

Planner = Callable[["Instance", Transport, str, Mapping[str, str]], "Plan"]
"""Plans an instance over a transport, in a run of this name, under these contracts (SHA-256 by offer)."""

HASTY = Patience(attempt=2.0, total=2.0)
"""How long a run that failed waits for an agent to take note of its end."""


@dataclass(frozen=True)
class Brokered:
    """A plan, what became of its reservations (None where none were asked for), and what went over the wires.

    `lost`: operators that were left out because they did not answer, and what was heard of them.
    """

    run: str
    plan: Plan
    settled: Settled | None
    lost: dict[str, str] = field(default_factory=dict)
    traffic: dict[str, dict[str, int]] = field(default_factory=dict)


def broker(
    instance: Instance,
    connections: Connections,
    public_keys: Mapping[str, Mapping[str, Any]],
    journal: BrokerJournal,
    planner: Planner,
    *,
    options: Mapping[str, Any],
    published: bool = True,
    leave_out_lost: bool = False,
    reserving: bool = True,
    term: float = 600.0,
    replaces: str | None = None,
) -> Brokered:
    """Plan `instance` (its public part) with the agents and reserve the plan.

    `options` is what else the plan depends on: a run is gone on with only where they are the same.
    `published`: contracts are fetched and put into the instance. `leave_out_lost`: plan without the operators
    that fall silent, instead of giving up. Raises AgentFailure and OperatorLost, naming the agent, and
    ContractError.
    """
    digests: dict[str, str] = {}
    if published:
        instance, digests = with_published(instance, connections, public_keys, journal)
    lost: dict[str, str] = {}
    while True:
        task = _digest(instance.sha256, digests, dict(options))
        run = journal.unfinished(task) or _new_run(journal, task)
        transport = HttpsTransport(BrokerRun(run, connections.exchange, journal))
        try:
            plan = planner(instance, transport, run, digests)
            break
        except Diverged:
            _give_up(run, transport, connections, journal, "diverged")
        except OperatorLost as error:
            _give_up(run, transport, connections, journal, "lost")
            if not leave_out_lost:
                raise
            lost |= dict.fromkeys(error.operators, str(error))
            instance = without(instance, error.operators)
            digests = {s: digest for s, digest in digests.items() if s in instance._offers_by_name}
        except AgentFailure:
            _give_up(run, transport, connections, journal, "failed")
            raise
    settled = None
    if reserving and plan.has_plan:
        shares = dict.fromkeys(transport.next_sequence, ()) | reservations_of(plan, instance)
        run_over = BrokerRun(run, connections.exchange, journal)
        settled = reserve(run_over, journal, shares, transport.next_sequence, term=term, replaces=replaces)
    else:
        _give_up(run, transport, connections, journal, "planned")
    traffic = {name: vars(connections.traffic(name)).copy() for name in connections.links}
    return Brokered(run, plan, settled, lost, traffic)


def without(instance: Instance, operators: tuple[str, ...]) -> Instance:
    """The instance without these operators' domains."""
    gone = {domain.id for domain in instance.domains if operator_of(domain) in operators}
    domains = tuple(
        domain.model_copy(update={"dependent_with": tuple(d for d in domain.dependent_with if d not in gone)})
        for domain in instance.domains
        if domain.id not in gone
    )
    left = {domain.stage for domain in domains}
    empty = [stage for stage in instance.stages if stage not in left]
    if empty:
        names = ", ".join(operators)
        raise OperatorLost({names: f"and without it nobody serves the stage {empty[0]!r}"})
    links = instance.links
    if links is not None:
        links = tuple(link for link in links if link.from_ not in gone and link.to not in gone)
    # policies may go on naming the domains that are gone; a copy is not checked for that
    return instance.model_copy(update={"domains": domains, "links": links})


def _new_run(journal: BrokerJournal, task: str) -> str:
    run = f"run-{secrets.token_hex(8)}"
    journal.open_run(run, task)
    return run


def _give_up(
    run: str, transport: HttpsTransport, connections: Connections, journal: BrokerJournal, why: str
) -> None:
    """Tell the agents that were asked that the run is over, as far as they hear it, and note it."""
    over = {
        operator: (sequence, to_bytes(Settle(run=run, sequence=sequence, decision="abort")))
        for operator, sequence in transport.next_sequence.items()
    }
    if over:
        connections.exchange(run, over, HASTY)
    journal.finish(run, why)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
