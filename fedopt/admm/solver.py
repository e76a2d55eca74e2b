"""A federated solve: openings, rounds for the relaxation, confirmations for whole heads, the plan."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from fedopt.admm.evidence import Evidence
from fedopt.admm.feasibility import Shortage, short_of_capacity
from fedopt.admm.flows import Flows
from fedopt.admm.negotiation import Negotiation
from fedopt.admm.operator import Operator, Transport
from fedopt.admm.public import by_operator, public_view
from fedopt.admm.report import as_owner, entries_at_prices
from fedopt.admm.room import Room
from fedopt.admm.rounds import Bundle, Proposer, Run, Sharing, relax
from fedopt.admm.settings import Settings
from fedopt.admm.start import Start, start_from
from fedopt.admm.whole import Choice, whole_heads
from fedopt.central.report import instance_reference
from fedopt.oracle import Network, Oracle, sizing_for
from fedopt.plan import Explanation, Plan, TenantPlans
from fedopt.plan.progress import Progress

if TYPE_CHECKING:
    from fedopt.instance import Instance

__all__ = ["Outcome", "negotiate", "solve"]

Method = Literal["admm", "bundle"]
Floats = npt.NDArray[np.float64]
_WALL = 1e6
_PATIENCE = 8  # rounds without any split plan before the capacities are put to the question


@dataclass(frozen=True, eq=False)
class Outcome:
    """The plan as the broker states it, and what it rests on."""

    plan: Plan
    choice: Choice | None
    prices: Floats


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
    **switches: Any,
) -> Plan:
    """Plan an instance by negotiation between a broker and its operators, all in this process.

    The broker works on the public view alone. `switches` are those of `Settings`. `transport` takes the place
    of the operators in this process.

    Status and bounds are as the central method's; `ledger` holds what crossed each boundary and the interval
    of the relaxation by round. Raises SettingsError, and OperatorLost where an operator falls silent.
    """
    settings = _settings(switches)
    owned = by_operator(instance, settings.alone)
    if transport is None:
        from fedopt.admm.masking import generate_secret
        from fedopt.admm.transport.in_process import InProcess

        transport = InProcess(
            {
                name: Operator(
                    name,
                    domains,
                    secret=generate_secret() if settings.masked else None,
                    noise=settings.noise,
                    seed=settings.seed,
                )
                for name, domains in owned.items()
            }
        )
    offers = {
        name: [f"{d.id}/{offer.id}" for d in mine for offer in d.offers] for name, mine in owned.items()
    }
    outcome = negotiate(
        public_view(instance),
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
    whole = Network(instance, paid=objective == "profit")
    return as_owner(outcome.plan, whole, outcome.choice, outcome.prices)


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
) -> Outcome:
    """The broker's side of a solve: a public instance, and operators behind a transport.

    `offers` names the offers of each operator (by default as the instance says whose its domains are),
    `contracts` the SHA-256 of the offers' signed contracts. Without a time limit the same answers lead to the
    same questions. Raises OperatorLost.
    """
    settings = settings or Settings()
    started = time.perf_counter()
    network = Network(public, paid=objective == "profit")
    at = {name: o for o, name in enumerate(network.names)}
    if offers is None:
        owned = by_operator(public, settings.alone)
        offers = {name: [f"{d.id}/{o.id}" for d in mine for o in d.offers] for name, mine in owned.items()}
    oracle = Oracle(network, sizing_for(guarantee, network))
    flows = Flows(network, oracle, objective == "profit")
    negotiation = Negotiation(
        transport,
        run or f"run-{settings.seed}",
        network.names,
        {name: np.array([at[offer] for offer in mine]) for name, mine in offers.items()},
        disclosed=method == "bundle",
        masked=settings.masked,
        staleness=settings.staleness,
    )
    deadline = started + time_limit if time_limit is not None else math.inf
    state = _Solve(network, flows, negotiation, Run(started, deadline, progress), settings)
    state.about = {
        "instance": instance_reference(network),
        "method": method,
        "guarantee": guarantee,
        "objective": objective,
    }
    try:
        return state.outcome(method, guarantee, gap, contracts, warm_start)
    finally:
        oracle.keep()


@dataclass(eq=False)
class _Solve:
    network: Network
    flows: Flows
    negotiation: Negotiation
    run: Run
    settings: Settings

    def __post_init__(self) -> None:
        self.about: dict[str, Any] = {}
        self.evidence = Evidence(self.flows, self.negotiation.groups)

    def outcome(
        self,
        method: Method,
        guarantee: str,
        gap: float,
        contracts: Mapping[str, str] | None,
        warm_start: Plan | None,
    ) -> Outcome:
        """All of it, in order."""
        evidence, run, settings = self.evidence, self.run, self.settings
        quotes = self.negotiation.open(self.network.instance.sha256, contracts)
        start = start_from(self.flows, quotes, settings, warm_start)
        lonely = self._lonely()
        if lonely and not self.flows.profit:
            return self._without_plan("infeasible", lonely)
        wall, room = _WALL * start.penalties, Room(self.network)
        proposer = self._proposer(method, start)
        target = 0.5 * gap if settings.relaxation is None else settings.relaxation
        reached = relax(
            proposer, self.negotiation, evidence, run, target, min(_PATIENCE, settings.most_rounds)
        )
        if not reached and not run.expired():
            if not math.isfinite(evidence.upper):
                beyond = proposer.loads + self.flows.largest()
                short = short_of_capacity(self.negotiation, evidence, run, room, guarantee, beyond, wall)
                if short is not None:
                    return self._without_plan("infeasible", [_explained(short)])
            left = settings.most_rounds - _PATIENCE
            relax(proposer, self.negotiation, evidence, run, target, max(left, 0))
        choice = whole_heads(self.negotiation, evidence, run, room, gap, wall, settings.most_confirmations)
        if choice is None:
            return self._without_plan("limit", [])
        return self._with_plan(choice, gap)

    def _proposer(self, method: Method, start: Start) -> Proposer:
        if method == "bundle":
            return Bundle(self.flows, start, self.evidence, self.settings)
        return Sharing(self.flows, start, self.settings)

    def _lonely(self) -> list[Explanation]:
        """Kinds that no admissible path serves, whatever it costs."""
        served = {int(kind) for kind in self.flows.kind}
        reasons = []
        for kind in self.network.kinds:
            if kind.index in served or self.flows.oracle.price(kind, np.ones(self.flows.offers)).columns:
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

    def _ledger(self) -> dict[str, Any]:
        document = self.negotiation.ledger.document()
        evidence = self.evidence
        bounds = {"lower_bound": evidence.lower, "upper_bound": evidence.upper, "gap": evidence.gap}
        relaxation: dict[str, Any] = {
            key: value if math.isfinite(value) else None for key, value in bounds.items()
        }
        relaxation["rounds"] = len(self.run.relaxation)
        relaxation["by_round"] = self.run.relaxation
        return {**document, "relaxation": relaxation}

    def _timing(self) -> dict[str, float]:
        return {"total": time.perf_counter() - self.run.started}

    def _without_plan(self, status: Literal["infeasible", "limit"], why: list[Explanation]) -> Outcome:
        bound = self.run.lower_bound
        plan = Plan(
            **self.about,
            status=status,
            lower_bound=bound if math.isfinite(bound) and status == "limit" else None,
            timing=self._timing(),
            history=self.run.history,
            ledger=self._ledger(),
            explanation=why,
        )
        return Outcome(plan, None, self.evidence.below.prices)

    def _with_plan(self, choice: Choice, gap: float) -> Outcome:
        prices = self.evidence.below.prices
        bound = min(self.run.lower_bound, choice.cost)
        relaxation = self.evidence
        note = (
            f"The relaxation was certified between {relaxation.lower:.6g} and {relaxation.upper:.6g} "
            f"in {len(self.run.relaxation)} rounds; whole heads were confirmed in "
            f"{self.negotiation.rounds - len(self.run.relaxation)} more."
        )
        plan = Plan(
            **self.about,
            status="optimal" if choice.cost - bound <= gap * abs(choice.cost) else "feasible",
            cost=choice.cost,
            lower_bound=bound if math.isfinite(bound) else None,
            tenants=TenantPlans(entries_at_prices(self.network, choice, prices)),
            timing=self._timing(),
            history=self.run.history,
            ledger=self._ledger(),
            notes=[note],
        )
        return Outcome(plan, choice, prices)


def _explained(short: Shortage) -> Explanation:
    names = ", ".join(short.domains)
    together = "together cannot carry" if len(short.domains) > 1 else "cannot carry"
    return Explanation(
        domain=short.domains[0],
        constraint="capacity",
        message=f"{names} {together} what the tenants need, even if each could be split over paths",
    )


def _settings(switches: Mapping[str, Any]) -> Settings:
    from fedopt.admm.settings import SettingsError

    known = Settings.__dataclass_fields__
    unknown = sorted(set(switches) - set(known))
    if unknown:
        raise SettingsError(f"there is no switch {unknown[0]!r}; there are {', '.join(known)}")
    return Settings(**switches)
