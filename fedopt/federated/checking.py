"""A brokered plan checked in full, by whoever is shown what the operators keep to themselves.

The broker's plan leaves out what the broker cannot know: rates under private contracts, what each domain
carries, what a tenant costs. With the operators' files all of it follows: rates from the promises, loads from
the rates, costs from the loads. What comes out is checked as any plan is, against the whole instance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.calculus import split
from fedopt.errors import InputError
from fedopt.federated.domain import offers_of
from fedopt.federated.public import operator_of, with_domains
from fedopt.federated.report import promises_of
from fedopt.federated.split.catalogue import Catalogue
from fedopt.federated.split.domain import ContractSide
from fedopt.instance import Domain, Linear
from fedopt.instance.base import LARGEST
from fedopt.plan import DomainPlan, Plan, TenantPlan, TenantPlans
from fedopt.plan.charges import domain_loads, entry_costs, offer_loads, payments
from fedopt.plan.checking import TOLERANCE, CheckReport, Finding, check
from fedopt.pricing import Network

if TYPE_CHECKING:
    from fedopt.federated.problem import Build, PrivateProblem
    from fedopt.instance import Instance

__all__ = ["check_with_private"]


def check_with_private(
    plan: Plan,
    public: Instance,
    domains: Sequence[Domain],
    problems: Mapping[str, Build] | None = None,
    *,
    tolerance: float = TOLERANCE,
) -> CheckReport:
    """Check a brokered plan in full: promises, rates, capacities and the total cost.

    Parameters
    ----------
    plan
        The broker's plan.
    public
        The public part that it was made for.
    domains
        The operators' own domains, each with its costs, capacity and contract.
    problems
        Functions that state the private problems of operators that have one, by operator.

    Raises
    ------
    InputError
        If a domain of the public part is missing, or one is given that is not in it.
    """
    given = {domain.id: domain for domain in domains}
    missing = [domain.id for domain in public.domains if domain.id not in given]
    unknown = sorted(set(given) - {domain.id for domain in public.domains})
    if missing or unknown:
        what = f"lack the domain {missing[0]!r}" if missing else f"name {unknown[0]!r}, which is not in it"
        raise InputError(f"the private parts do not fit {public.name!r}: they {what}")
    seen = check(plan, public, tolerance=tolerance)
    if seen.findings or not plan.has_plan:
        return seen
    own = [given[domain.id] for domain in public.domains]
    by_rates = with_domains(public, tuple(own))
    entries, broken = _with_rates(plan, by_rates, Network(public))
    if broken:
        return CheckReport(tuple(broken), len(plan.tenants), True)
    stating = {operator_of(domain) for domain in own} & set(problems or {})
    whole = with_domains(public, tuple(_free(d) if operator_of(d) in stating else d for d in own))
    costs = entry_costs(whole, entries)
    stated, findings = _by_problems(entries, own, {name: (problems or {})[name] for name in stating})
    paid = payments(whole, entries) if plan.objective == "profit" else 0.0
    total = math.fsum(costs) + stated - paid
    said = plan.cost or 0.0
    if math.isfinite(stated) and abs(said - total) > tolerance * max(abs(total), paid, 1e-9):
        findings.append(Finding("cost", f"the plan states a cost of {said:.9g}, it is {total:.9g}"))
    used = domain_loads(whole, entries)
    completed = plan.model_copy(
        update={
            "instance": plan.instance.model_copy(update={"name": whole.name, "sha256": whole.sha256}),
            "tenants": TenantPlans(
                entry.model_copy(update={"cost": cost}) for entry, cost in zip(entries, costs, strict=True)
            ),
            "domains": [
                DomainPlan(id=d.id, reserved=used[d.id], capacity=d.capacity, price=None)
                for d in whole.domains
            ],
            "cost": math.fsum(costs) - paid,
            "lower_bound": None,  # of the cost with the operators' own: compared above
            "catalogue_bound": math.fsum(costs) - paid,
            "gap": None,
        }
    )
    report = check(completed, whole, tolerance=tolerance)
    note = "The operators' private parts were given: rates, capacities and the total cost were checked too."
    return CheckReport((*findings, *report.findings), report.entries, True, (*report.notes, note))


def _free(domain: Domain) -> Domain:
    """A domain whose operator's own problem says what it costs and carries."""
    offers = tuple(
        offer.model_copy(update={"cost": Linear(rate=0.0, fixed=float(offer.cost.fixed))})
        for offer in domain.offers
    )
    return domain.model_copy(update={"capacity": LARGEST, "offers": offers})


def _with_rates(plan: Plan, whole: Instance, network: Network) -> tuple[list[TenantPlan], list[Finding]]:
    """The entries with the rates that keep what was agreed; `network` is the public one, whose services the
    agreements count by."""
    entries, broken = list[TenantPlan](), list[Finding]()
    names = {name: o for o, name in enumerate(network.names)}
    side: ContractSide | None = None
    known = Network(whole)
    for entry in plan.tenants:
        if not entry.admitted or entry.reservations or "agreement" not in entry.parameters:
            entries.append(entry)
            continue
        if side is None:
            services = Catalogue(network).services
            side = ContractSide(whole.domains, whole.slot, [1.0] * len(names), services)
        rates: dict[str, float] = {}
        for hop, promise in promises_of(entry.id, entry.count, entry.path, entry.parameters):
            domain = hop.partition("/")[0]
            rates[domain] = side.rate(promise, names[hop])
            if not rates[domain] > 0.0:
                message = f"no rate of {hop} keeps what was agreed"
                broken.append(Finding("share", message, tenant=entry.id, domain=domain))
        entries.append(entry.model_copy(update={"reservations": rates, **_shares(entry, known)}))
    return entries, broken


def _shares(entry: TenantPlan, known: Network) -> dict[str, Any]:
    """Deadlines and budgets of agreed shares in the terms of `fedopt.calculus.split`, which counts the delays
    of a path together."""
    kind = next(k for k in known.kinds if any(entry.id == tenant for tenant, _ in k.tenants))
    offers = np.array([known.names.index(hop) for hop in entry.path])
    path = known.path(kind, offers, float(known.links(offers[None], kind)[0]))
    terms = split.terms(path, float(entry.theta or 0.0))
    agreed = entry.parameters["agreement"]
    ids = [hop.partition("/")[0] for hop in entry.path]
    slots = np.array([one["slots"] * one["time"] for one in agreed]) - np.ceil(path.delay_latencies - 1e-9)
    deadlines = path.delay_latencies + slots / terms.stretch
    budgets = np.array([one["risk"] for one in agreed]) * np.exp(terms.log_epsilon)
    return {
        "deadlines": dict(zip(ids, (deadlines * known.slot).tolist(), strict=True)),
        "budgets": dict(zip(ids, budgets.tolist(), strict=True)),
        "parameters": {},
    }


def _by_problems(
    entries: Sequence[TenantPlan], domains: Sequence[Domain], problems: Mapping[str, Build]
) -> tuple[float, list[Finding]]:
    """What the operators' own problems say that the loads cost; findings where they cannot be carried."""
    if not problems:
        return 0.0, []
    from fedopt.federated.problem import stated

    loads, total, findings = offer_loads(entries), 0.0, list[Finding]()
    for name, build in problems.items():
        own = [domain for domain in domains if operator_of(domain) == name]
        problem: PrivateProblem = stated(build, own)
        carried = np.array([loads.get(offer, 0.0) for offer in offers_of(own)])
        cost = problem.compiled(offers_of(own)).cost(carried)
        if math.isinf(cost):
            message = f"{name}: its own problem cannot carry what the plan reserves"
            findings.append(Finding("capacity", message, domain=own[0].id))
        total += cost
    return total, findings
