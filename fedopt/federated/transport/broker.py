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

from fedopt.contracts import Contract, ContractError, signed_digest, verify
from fedopt.contracts.document import with_contract
from fedopt.contracts.signing import KeyRecord, State, Version
from fedopt.errors import InputError
from fedopt.federated.operator import Transport
from fedopt.federated.protocol.messages import Settle, to_bytes
from fedopt.federated.public import by_operator, operator_of
from fedopt.federated.session import OperatorLost
from fedopt.federated.transport.broker_journal import BrokerJournal, BrokerRun, Diverged, RunRecord
from fedopt.federated.transport.https import AgentFailure, Failure, HttpsTransport, Patience
from fedopt.federated.transport.two_phase import Settled, booking_of, release, reserve

if TYPE_CHECKING:
    from fedopt.federated.transport.https import Connections
    from fedopt.instance import Instance
    from fedopt.plan import Plan

__all__ = ["Brokered", "Planner", "Terms", "broker", "cancel", "finish_booking", "without"]

Planner = Callable[["Instance", Transport, str, Mapping[str, str]], "Plan"]
"""Plans an instance over a transport, in a run of this name, under these contracts (SHA-256 by offer)."""

HASTY = Patience(attempt=2.0, total=2.0)
"""How long a run that failed waits for an agent to take note of its end."""


@dataclass(frozen=True)
class Terms:
    """What is asked of a run besides its plan.

    Attributes
    ----------
    reserving
        Whether the plan is reserved; else it is only planned.
    term
        Seconds for which agents hold what they prepared.
    replaces
        A run of this broker whose reservations the new ones take the place of.
    again
        Book even what is booked already.
    leave_out_lost
        Plan without operators that fall silent, instead of giving up.
    published
        Contracts are fetched and put into the instance.
    """

    reserving: bool = True
    term: float = 600.0
    replaces: str | None = None
    again: bool = False
    leave_out_lost: bool = False
    published: bool = True


@dataclass(frozen=True)
class Brokered:
    """A plan, what became of its reservations (None where none were asked for), and what went over the wires.

    `lost`: operators that were left out because they did not answer, and what was heard of them. `before`:
    the same had been booked before, and nothing was asked or booked now.
    """

    run: str
    plan: Plan
    settled: Settled | None
    lost: dict[str, str] = field(default_factory=dict)
    traffic: dict[str, dict[str, int]] = field(default_factory=dict)
    before: bool = False


def broker(
    instance: Instance,
    connections: Connections,
    public_keys: Mapping[str, Mapping[str, Any]],
    journal: BrokerJournal,
    planner: Planner,
    *,
    options: Mapping[str, Any],
    terms: Terms | None = None,
    opened: Callable[[str], None] = lambda run: None,
) -> Brokered:
    """Plan `instance` (its public part) with the agents and reserve the plan.

    `options` is what else the plan depends on: a run is gone on with only where they are the same. `opened`
    is told the name of a run before anything else of it happens. What this broker has booked already is not
    booked again, and a booking that was interrupted is completed first. Raises AgentFailure, BadAnswer and
    OperatorLost, naming the agent, ContractError and StorageError.
    """
    terms = terms or Terms()
    asked = {"instance": json.loads(instance.to_json()), "options": dict(options), "terms": vars(terms)}
    request = _digest(instance.sha256, dict(options), terms.replaces, terms.reserving)
    known = _booked_before(request, journal, connections, terms.again, opened)
    if known is not None:
        return known
    digests: dict[str, str] = {}
    if terms.published:
        instance, digests = with_published(instance, connections, public_keys, journal)
    lost: dict[str, str] = {}
    while True:
        task = _digest(request, instance.sha256, digests)
        run = _run_of(journal, request, task, asked)
        opened(run)
        transport = HttpsTransport(BrokerRun(run, connections.exchange, journal))
        try:
            plan = planner(instance, transport, run, digests)
            break
        except Diverged:
            _give_up(run, transport, connections, journal, "diverged")
        except OperatorLost as error:
            _give_up(run, transport, connections, journal, "lost an operator")
            if not terms.leave_out_lost:
                raise
            lost |= dict.fromkeys(error.operators, str(error))
            instance = without(instance, error.operators)
            digests = {s: digest for s, digest in digests.items() if s in instance._offers_by_name}
        except Exception:
            _give_up(run, transport, connections, journal, "failed")
            raise
    settled = None
    if terms.reserving and plan.has_plan:
        booking = {**booking_of(plan, instance, transport.next_sequence), "lost": lost}
        journal.note_plan(run, plan.to_json(indent=None), booking)
        settled = reserve(
            BrokerRun(run, connections.exchange, journal),
            journal,
            booking,
            term=terms.term,
            replaces=terms.replaces,
        )
    else:
        _give_up(run, transport, connections, journal, "planned only")
    traffic = {name: vars(connections.traffic(name)).copy() for name in connections.links}
    return Brokered(run, _with_traffic(plan, traffic), settled, lost, traffic)


def finish_booking(record: RunRecord, connections: Connections, journal: BrokerJournal) -> Brokered:
    """Complete, or take back, the booking of a run that was interrupted after its plan was made.

    Raises InputError where there is nothing to complete.
    """
    from fedopt.plan import Plan

    if record.plan is None or record.booking is None:
        raise InputError(f"{record.run}: was interrupted while planning; give its command again")
    terms = Terms(**record.asked["terms"])
    settled = reserve(
        BrokerRun(record.run, connections.exchange, journal),
        journal,
        record.booking,
        term=terms.term,
        replaces=terms.replaces,
    )
    return Brokered(record.run, Plan.loads(record.plan), settled, record.booking.get("lost", {}))


def cancel(record: RunRecord, connections: Connections, journal: BrokerJournal) -> dict[str, str]:
    """End a run, whatever state it is in: holds are dropped, reservations released. Why it failed, by
    operator; then it can be asked again."""
    if record.finished == "cancelled":
        return {}
    if record.decision == "rollback" and record.finished is None:
        settled = finish_booking(record, connections, journal).settled
        return {} if settled is None else dict(settled.silent)
    if record.decision == "commit":
        failed = release(record.run, journal, connections.exchange, list(connections.links))
        if not failed:
            journal.finish(record.run, "cancelled")
        return failed
    if record.finished is None:
        journal.decide(record.run, "abort")
        last = journal.last(record.run)
        over = {
            operator: (n + 1, to_bytes(Settle(run=record.run, sequence=n + 1, decision="abort")))
            for operator, n in last.items()
            if operator in connections.links
        }
        replies = connections.exchange(record.run, over)
        journal.finish(record.run, "cancelled")
        return {name: r.message for name, r in replies.items() if isinstance(r, Failure)}
    return {}


def _booked_before(
    request: str,
    journal: BrokerJournal,
    connections: Connections,
    again: bool,
    opened: Callable[[str], None],
) -> Brokered | None:
    """What this request has booked already, or had begun to book."""
    from fedopt.plan import Plan

    for record in reversed([record for record in journal.runs() if record.request == request]):
        if record.finished is None and record.decision is not None and record.booking is not None:
            opened(record.run)
            done = finish_booking(record, connections, journal)
            if done.settled is not None and done.settled.decision == "commit":
                return done
        elif record.finished == "booked" and record.plan is not None and record.booking and not again:
            opened(record.run)
            granted = list(record.booking["shares"])
            lost = record.booking.get("lost", {})
            return Brokered(
                record.run, Plan.loads(record.plan), Settled("commit", granted), lost, before=True
            )
    return None


def _run_of(journal: BrokerJournal, request: str, task: str, asked: Mapping[str, Any]) -> str:
    """The unfinished run of this task, or a new one."""
    for record in reversed(journal.runs()):
        if record.task == task and record.finished is None:
            return record.run
    run = f"run-{secrets.token_hex(8)}"
    journal.open_run(run, request, task, asked)
    return run


def _with_traffic(plan: Plan, traffic: Mapping[str, Mapping[str, int]]) -> Plan:
    """The plan whose ledger counts everything that went over the wires: contracts, signatures and the
    reservation too."""
    return plan.model_copy(
        update={"ledger": {**plan.ledger, "wire": {k: dict(v) for k, v in traffic.items()}}}
    )


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


def with_published(
    instance: Instance,
    connections: Connections,
    public_keys: Mapping[str, Mapping[str, Any]],
    journal: BrokerJournal,
) -> tuple[Instance, dict[str, str]]:
    """The instance with every offer as its operator signed it, and the contracts' SHA-256 by "domain/offer".

    A contract must be valid now, signed with the operator's own key, and not older than the newest that this
    broker has seen. Raises ContractError, or AgentFailure where an agent publishes none or cannot be asked.
    """
    owned = {
        operator: [f"{domain.id}/{offer.id}" for domain in domains for offer in domain.offers]
        for operator, domains in by_operator(instance).items()
    }
    missing = sorted(set(owned) - set(connections.links))
    if missing:
        raise AgentFailure(missing[0], "unknown", "there is no such agent in the configuration")
    tokens = connections.contracts(owned)
    digests: dict[str, str] = {}
    for operator, subjects in owned.items():
        for subject in subjects:
            token = tokens[subject]
            if isinstance(token, Failure):
                raise AgentFailure(operator, token.kind, f"{subject}: {token.message}", token.reason)
            contract = _verified(token, subject, operator, public_keys[operator])
            digests[subject] = signed_digest(token)
            journal.see_contract(subject, contract.version, digests[subject])
            instance = _applied(instance, contract)
    return instance, digests


def _verified(token: str, subject: str, operator: str, members: Mapping[str, Any]) -> Contract:
    """The contract, if everything about it is right now. Raises ContractError naming it."""
    kid = str(members["kid"])
    # this very text counts as the newest version: its age is judged by what the broker saw before
    state = State(
        keys={kid: KeyRecord(kid, operator, dict(members), "active", "")},
        versions={subject: [Version(1, signed_digest(token), operator, kid)]},
    )
    try:
        contract, _ = verify(token, state)
    except ContractError as error:
        raise ContractError(error.reason, f"the contract of {subject} from {operator}: {error}") from None
    if contract.subject != subject:
        raise ContractError(
            "issuer", f"{operator} published {contract.subject} where {subject} was asked for"
        )
    return contract


def _applied(instance: Instance, contract: Contract) -> Instance:
    """The instance with the offer as it was signed; itself where nothing differs."""
    _, offer = instance.offer(contract.subject)
    units = (instance.units.time, instance.units.work)
    same = (
        units == (contract.time_unit, contract.work_unit)
        and offer.latency == contract.latency
        and offer.latency_kind == contract.latency_kind
        and offer.impairment == contract.impairment
        and (contract.max_rate is None or offer.max_rate == contract.max_rate)
    )
    return instance if same else with_contract(instance, contract)
