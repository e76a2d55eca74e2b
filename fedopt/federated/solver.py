"""A federated solve: openings, rounds for the relaxation, confirmations, the plan."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from fedopt.central.report import instance_reference
from fedopt.federated.bounds import BoundTracker
from fedopt.federated.flows import Flows, Pricing, Start, start_from
from fedopt.federated.integer import Choice, Confirming, Room, Shortage, short_of_capacity, whole_units
from fedopt.federated.integer_split import whole_lanes
from fedopt.federated.operator import InProcess, Operator, Transport
from fedopt.federated.public import by_operator, public_view
from fedopt.federated.report import as_broker, as_owner, entries_at_prices
from fedopt.federated.rounds import Bundle, Proposer, Run, Sharing, relax
from fedopt.federated.session import Session
from fedopt.federated.settings import Settings, SettingsError
from fedopt.federated.split.share_negotiation import ShareNegotiation
from fedopt.kernels import clock
from fedopt.plan import Explanation, Plan, TenantPlans
from fedopt.plan.progress import Progress
from fedopt.pricing import Network, Oracle, TenantClass, sizing_for

if TYPE_CHECKING:
    from fedopt.federated.problem import Build
    from fedopt.federated.protocol.messages import Service
    from fedopt.instance import Instance
    from fedopt.plan import Plan

__all__ = ["Method", "Outcome", "negotiate", "operators_of", "solve"]

Method = Literal["admm", "bundle"]

Floats = npt.NDArray[np.float64]

_WALL = 1e6

_PATIENCE = 8  # rounds without any split plan before the capacities are put to the question


@dataclass(frozen=True, eq=False)
class Outcome:
    """The plan as the broker states it, and what it rests on; `services` under the split guarantee."""

    plan: Plan
    choice: Choice | None
    prices: Floats
    services: tuple[Service, ...] = ()


def negotiate(
    public: Instance,
    transport: Transport,
    *,
    run: str | None = None,
    offers: Mapping[str, list[str]] | None = None,
    contracts: Mapping[str, str] | None = None,
    method: Method = "admm",
    guarantee: str = "minplus",
    objective: str = "cost",
    gap: float = 1e-3,
    time_limit: float | None = None,
    warm_start: Plan | None = None,
    progress: Progress | None = None,
    settings: Settings | None = None,
    replaces: str | None = None,
) -> Outcome:
    """The broker's side of a solve: a public instance, and operators behind a transport.

    `offers` names the offers of each operator (by default as the instance says whose its domains are),
    `contracts` the SHA-256 of the offers' signed contracts. Under the guarantee "split" no contract is looked
    at: domains agree on shares. `replaces` names a run whose reservations the plan will take the place of.
    Without a time limit the same answers lead to the same questions. Raises OperatorLost and BadAnswer.
    """
    settings = settings or Settings()
    started = clock()
    network = Network(public, paid=objective == "profit")
    at = {name: o for o, name in enumerate(network.names)}
    if offers is None:
        owned = by_operator(public, settings.alone)
        offers = {name: [f"{d.id}/{o.id}" for d in mine for o in d.offers] for name, mine in owned.items()}
    session = Session(
        transport,
        run or f"run-{settings.seed}",
        network.names,
        {name: np.array([at[offer] for offer in mine]) for name, mine in offers.items()},
        disclosed=method == "bundle",
        masked=settings.masked,
        staleness=settings.staleness,
        replaces=replaces,
    )
    target = 0.5 * gap if settings.relaxation is None else settings.relaxation
    agreements = ShareNegotiation(network, 0.5 * target) if guarantee == "split" else None
    oracle: ShareNegotiation | Oracle = agreements or Oracle(network, sizing_for(guarantee, network))
    flows = Flows(network, oracle, objective == "profit")
    deadline = started + time_limit if time_limit is not None else math.inf
    solve = _Solve(
        network,
        flows,
        agreements,
        session,
        Run(started, deadline, progress),
        settings,
        {
            "instance": instance_reference(network),
            "method": method,
            "guarantee": guarantee,
            "objective": objective,
        },
    )
    try:
        return solve.outcome(method, guarantee, gap, target, contracts, warm_start)
    finally:
        oracle.keep()


@dataclass(eq=False)
class _Solve:
    network: Network
    flows: Flows
    agreements: ShareNegotiation | None
    session: Session
    run: Run
    settings: Settings
    about: dict[str, Any]
    evidence: BoundTracker = field(init=False)

    def __post_init__(self) -> None:
        self.evidence = BoundTracker(self.flows, self.session.groups)

    def outcome(
        self,
        method: Method,
        guarantee: str,
        gap: float,
        target: float,
        contracts: Mapping[str, str] | None,
        warm_start: Plan | None,
    ) -> Outcome:
        """All of it, in order."""
        evidence, run, settings, shares = self.evidence, self.run, self.settings, self.agreements
        services = shares.services if shares is not None else ()
        quotes = self.session.open(self.network.instance.sha256, contracts, services)
        if shares is not None:
            shares.begin(self.session, quotes, self.flows, run)
        start = start_from(self.flows, quotes, settings, warm_start)
        unroutable = self._unroutable()
        if unroutable and not self.flows.profit:
            proven = shares is None or shares.without_any_lane()
            return self._without_plan("infeasible" if proven else "limit", unroutable)
        wall, room = _WALL * start.penalties, Room(self.network)
        proposer = self._proposer(method, start)
        patience = min(_PATIENCE, settings.most_rounds)
        reached = relax(proposer, self.session, evidence, run, target, patience, shares)
        if not reached and not run.expired():
            if not math.isfinite(evidence.upper):
                beyond = proposer.loads + self.flows.largest()
                free = self._without_costs(guarantee)
                short = short_of_capacity(self.session, evidence, run, room, free, beyond, wall, shares)
                if short is not None:
                    return self._without_plan("infeasible", [_explained(short)])
            left = max(settings.most_rounds - _PATIENCE, 0)
            relax(proposer, self.session, evidence, run, target, left, shares)
        search = (self.session, evidence, run, room, gap, wall)
        if shares is None:
            choice = whole_units(*search, settings.most_confirmations)
        else:
            choice = whole_lanes(Confirming(*search), shares, settings.most_confirmations)
        if choice is None:
            return self._without_plan("limit", [])
        return self._with_plan(choice, gap)

    def _proposer(self, method: Method, start: Start) -> Proposer:
        if method == "bundle":
            return Bundle(self.flows, start, self.evidence, self.settings)
        return Sharing(self.flows, start, self.settings)

    def _without_costs(self, guarantee: str) -> Flows:
        """The columns at hand, and where more come from, with nothing to pay."""
        network = self.network.without_costs()
        pricing: Pricing = (
            Oracle(network, sizing_for(guarantee, network))
            if self.agreements is None
            else self.agreements.without_charges()
        )
        flows = Flows(network, pricing, False)
        flows.add([replace(column, charge=0.0) for column in self.flows.columns])
        return flows

    def _unroutable(self) -> list[Explanation]:
        """Kinds that no admissible path serves, whatever it costs."""
        served = {int(kind) for kind in self.flows.kind}
        reasons = []
        for kind in self.network.kinds:
            if kind.index in served or (self.agreements is None and self._reachable(kind)):
                continue
            names = ", ".join(tenant for tenant, _ in kind.tenants[:3]) + (
                "…" if len(kind.tenants) > 3 else ""
            )
            empty = not len(self.network.paths(kind))
            why = (
                "no admissible path leaves anything of the deadline"
                if empty
                else "no admissible path meets the deadline with ε at any reservation allowed"
            )
            reasons.append(
                Explanation(
                    tenant=kind.tenants[0][0],
                    constraint="path" if empty else "guarantee",
                    message=f"{names}: {why}",
                )
            )
        return reasons

    def _reachable(self, kind: TenantClass) -> bool:
        oracle = self.flows.oracle
        return isinstance(oracle, Oracle) and bool(oracle.price(kind, np.ones(self.flows.offers)).columns)

    def _ledger(self) -> dict[str, Any]:
        document = self.session.ledger.document()
        evidence = self.evidence
        bounds = {"lower_bound": evidence.lower, "upper_bound": evidence.upper, "gap": evidence.gap}
        relaxation: dict[str, Any] = {
            key: float(value) if math.isfinite(value) else None for key, value in bounds.items()
        }
        relaxation["rounds"] = len(self.run.relaxation)
        relaxation["by_round"] = self.run.relaxation
        return {**document, "relaxation": relaxation}

    def _timing(self) -> dict[str, float]:
        return {"total": clock() - self.run.started}

    def _outcome(self, plan: Plan, choice: Choice | None) -> Outcome:
        services = tuple(self.agreements.services) if self.agreements is not None else ()
        return Outcome(plan, choice, self.evidence.below.prices, services)

    def _without_plan(self, status: Literal["infeasible", "limit"], why: list[Explanation]) -> Outcome:
        bound = self.run.lower_bound
        plan = Plan(
            **self.about,
            status=status,
            catalogue_bound=bound if math.isfinite(bound) and status == "limit" else None,
            timing=self._timing(),
            history=self.run.history,
            ledger=self._ledger(),
            explanation=why,
        )
        return self._outcome(plan, None)

    def _with_plan(self, choice: Choice, gap: float) -> Outcome:
        bound = min(self.run.lower_bound, choice.cost)
        everything = self.evidence.below.bound_on_all()  # none where domains keep their envelopes
        relaxation = self.evidence
        note = (
            f"The relaxation was certified between {relaxation.lower:.6g} and {relaxation.upper:.6g} "
            f"in {len(self.run.relaxation)} rounds; there were {self.session.rounds} rounds in all."
        )
        plan = Plan(
            **self.about,
            status="optimal" if choice.cost - bound <= gap * abs(choice.cost) else "feasible",
            cost=choice.cost,
            lower_bound=None if everything is None else min(everything, choice.cost),
            catalogue_bound=bound if math.isfinite(bound) else None,
            tenants=TenantPlans(entries_at_prices(self.network, choice, self.evidence.below.prices)),
            timing=self._timing(),
            history=self.run.history,
            ledger=self._ledger(),
            notes=[note],
        )
        return self._outcome(plan, choice)


def _explained(short: Shortage) -> Explanation:
    names = ", ".join(short.domains)
    together = "together cannot carry" if len(short.domains) > 1 else "cannot carry"
    return Explanation(
        domain=short.domains[0],
        constraint="capacity",
        message=f"{names} {together} what the tenants need, even if each could be split over paths",
    )


def solve(
    instance: Instance,
    *,
    method: Method = "admm",
    guarantee: str = "minplus",
    objective: str = "cost",
    gap: float = 1e-3,
    time_limit: float | None = None,
    warm_start: Plan | None = None,
    progress: Progress | None = None,
    transport: Transport | None = None,
    problems: Mapping[str, Build] | None = None,
    **switches: Any,
) -> Plan:
    """Plan an instance by negotiation between a broker and its operators, all in this process.

    The broker works on the public view alone; under the split guarantee that view lacks the contracts too.
    `switches` are those of `Settings`. `transport` takes the place of the operators in this process.
    `problems` states the private problems of operators in cvxpy, by operator: functions that take the
    operator's domains and return a `PrivateProblem`; what an operator pays when nothing is carried is no part
    of the cost. Operators that are not named have what the instance says.

    Status and bounds are as the central method's. Under the split guarantee the broker alone knows only the
    bound over the lanes; the one on all plans is added here from the instance. `ledger` holds what crossed
    each boundary and the interval of the relaxation (over the catalogue) by round. Raises SettingsError, and
    OperatorLost where an operator falls silent.
    """
    settings = _settings(switches)
    if transport is None:
        transport = InProcess(operators_of(instance, settings, problems))
    offers = {
        name: [f"{d.id}/{offer.id}" for d in mine for offer in d.offers]
        for name, mine in by_operator(instance, settings.alone).items()
    }
    outcome = negotiate(
        public_view(instance, contracts=guarantee != "split"),
        transport,
        offers=offers,
        method=method,
        guarantee=guarantee,
        objective=objective,
        gap=gap,
        time_limit=time_limit,
        warm_start=warm_start,
        progress=progress,
        settings=settings,
    )
    if problems:
        return as_broker(outcome, instance, sorted(problems))
    return as_owner(outcome, Network(instance, paid=objective == "profit"))


def operators_of(
    instance: Instance, settings: Settings | None = None, problems: Mapping[str, Build] | None = None
) -> dict[str, Operator]:
    """The operators of an instance as they stand in one process: by name, the same for the same settings.

    Raises ProblemError, and SettingsError for a problem of an operator that does not exist.
    """
    settings, problems = settings or Settings(), problems or {}
    owned = by_operator(instance, settings.alone)
    for name in problems:
        if name not in owned:
            raise SettingsError(f"there is no operator {name!r}; there are {', '.join(owned)}")
    if problems:
        from fedopt.federated.problem import stated
    return {
        name: Operator(
            name,
            domains,
            problem=stated(problems[name], domains) if name in problems else None,
            secret=_secret(settings, name),
            noise=settings.noise,
            seed=settings.seed,
            slot=float(instance.slot),
        )
        for name, domains in owned.items()
    }


def _secret(settings: Settings, name: str) -> bytes:
    """Of an operator in this process: chance where sums are masked; else the same every time, so that a run
    can be repeated, for there is nobody to hide from."""
    if settings.masked:
        from fedopt.federated.protocol.masking import generate_secret

        return generate_secret()
    return hashlib.sha512(f"{settings.seed} {name}".encode()).digest()


def _settings(switches: Mapping[str, Any]) -> Settings:
    known = Settings.__dataclass_fields__
    unknown = sorted(set(switches) - set(known))
    if unknown:
        raise SettingsError(f"there is no switch {unknown[0]!r}; there are {', '.join(known)}")
    return Settings(**switches)
