"""Synthetic instances of any size: access, transport and compute domains, tenants in policy groups."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .arrivals import ExponentialSize, ExponentialWork, Poisson
from .costs import Linear, Quadratic
from .documents import MAX_COUNT, MAX_DOMAINS, MAX_TENANTS, SLO, Domain, Instance, Link, Offer, Policy, Tenant
from .errors import InstanceError, Problem
from .impairments import ExponentialImpairment, GammaImpairment, PoissonImpairment
from .placing import place, rounded, rounded_up

OPERATORS = ("opA", "opB", "opC", "opD")
REGIONS = ("north", "east", "south", "west")
CLASSES = ("standard", "gold", "bronze", "silver")
SIDE_KM = 300.0
"""Side of the square on which the domains of three stages lie; more stages divide its delays."""

MS_PER_KM = 0.005
"""Propagation in glass fibre."""

NEAREST = 24
"""Domains of the next stage that a domain is linked to at most."""

CURVED = 0.2
"""Share of the domains whose costs are quadratic."""

TIGHTER = 0.5
"""What the planner reserves in a stage, about, per unit of the first placement by the closed form."""

ARRIVALS = (
    Poisson(rate=0.5, size=1.0),
    Poisson(rate=0.2, size=1.0),
    Poisson(rate=1.0, size=0.5),
    Poisson(rate=0.1, size=ExponentialSize(exponential=1.5)),
    Poisson(rate=0.3, size=ExponentialSize(exponential=0.6)),
    ExponentialWork(mean=0.4),
)
PROMISES = ((40.0, 1e-2), (60.0, 1e-3), (100.0, 1e-3), (100.0, 1e-4), (160.0, 1e-5))


def generate(
    tenants: int,
    stages: int,
    domains: int,
    seed: int,
    *,
    offers: int = 1,
    groups: int = 6,
    binding: float = 1 / 3,
    kinds: int | None = None,
    name: str | None = None,
) -> Instance:
    """A synthetic instance, the same for the same arguments.

    `tenants` are served over `stages` stages of `domains` domains each, with `offers` offers per domain (at
    the last stage AI models of rising accuracy and work). Tenants fall into `groups` policy groups
    (operators, regions, trust, accuracy), six arrival models and five promises; `kinds` of them are listed,
    each with a `count`, by default every one on its own. The instance is feasible by construction, with
    capacities such that about the share `binding` of the domains is full at the optimum. Times are in ms,
    work in jobs.

    Raises `InstanceError` for sizes that make no instance.
    """
    _check(tenants, stages, domains, seed, offers, groups, binding, kinds)
    rng = np.random.default_rng(np.random.SeedSequence([seed, tenants, stages, domains, offers, groups]))
    names = stage_names(stages)
    side = SIDE_KM * 3.0 / max(stages, 3)
    spots = rng.uniform(0, side, (stages * domains, 2)).tolist()
    sites = [_Site(k // domains, k % domains, x, y, side) for k, (x, y) in enumerate(spots)]
    drawn = [
        _domain(rng, names[site.layer], site, site.layer == stages - 1, offers, stages) for site in sites
    ]
    links = _links(sites, drawn, stages)
    asked = _tenants(rng, drawn, names, tenants, kinds or tenants, groups, offers)
    # Without limits first: what is asked of each stage in all, from which capacities are shared out.
    loads = place(names, drawn, links, asked, 1.0, rng).loads
    shared = _shared_out(rng, names, drawn, loads, binding)
    placement = place(names, shared, links, asked, 1.0, rng)
    final = tuple(
        domain.model_copy(
            update={"capacity": rounded_up(max(domain.capacity, placement.loads[domain.id] * 1.001), 4)}
        )
        for domain in shared
    )
    if placement.unserved:
        message = f"{len(placement.unserved)} of the tenants have no path"
        raise InstanceError(
            [Problem("stages", message, "ask for fewer stages or another seed")], source="generate"
        )
    paid = tuple(_paid(rng, tenant, placement.costs[tenant.id]) for tenant in asked)
    return Instance(
        name=name or f"generated-{tenants}x{stages}x{domains}-seed{seed}",
        stages=names,
        domains=final,
        links=links or None,
        tenants=paid,
    )


def stage_names(stages: int) -> tuple[str, ...]:
    """Names for that many stages: access, transport (numbered where there are several) and compute."""
    if stages == 1:
        return ("compute",)
    between = stages - 2
    middle = ("transport",) if between == 1 else tuple(f"transport-{i}" for i in range(1, between + 1))
    return ("access", *middle, "compute")


@dataclass(frozen=True)
class _Site:
    """Where a domain lies."""

    layer: int
    number: int
    x: float
    y: float
    side: float

    @property
    def region(self) -> str:
        """The quarter of the square."""
        return REGIONS[2 * (self.y > self.side / 2) + (self.x > self.side / 2)]


def _check(
    tenants: int,
    stages: int,
    domains: int,
    seed: int,
    offers: int,
    groups: int,
    binding: float,
    kinds: int | None,
) -> None:
    limits = {
        "tenants": (tenants, 1, MAX_COUNT),
        "stages": (stages, 1, 20),
        "domains": (domains, 1, MAX_DOMAINS // 20),
        "seed": (seed, 0, 2**63),
        "offers": (offers, 1, 100),
        "groups": (groups, 1, 10_000),
        "kinds": (tenants if kinds is None else kinds, 1, min(tenants, MAX_TENANTS)),
    }
    problems = [
        Problem(
            name,
            f"must be between {low:,} and {high:,}, is {value:,}",
            f"give a number of {name} in that range",
        )
        for name, (value, low, high) in limits.items()
        if not low <= value <= high
    ]
    if not 0 <= binding <= 0.7:
        problems.append(
            Problem("binding", f"must be between 0 and 0.7, is {binding:g}", "give a smaller share")
        )
    if problems:
        raise InstanceError(problems, source="generate")


def _domain(
    rng: np.random.Generator, stage: str, site: _Site, last: bool, offers: int, stages: int
) -> Domain:
    """A domain with offers of its stage's kind; its capacity is set later."""
    scale = 3.0 / max(stages, 3)  # more stages share the same budget of delay and impairment
    latency = rng.uniform(0.5, 3.0) * scale
    impairment = _impairment(rng, scale)
    price = rng.uniform(2.0, 5.0) if last else rng.uniform(0.5, 2.0)
    listed = []
    for k in range(offers):
        # Better classes cost more; a larger AI model is slower, more accurate and uses more capacity.
        better = k / max(offers - 1, 1)
        factor = 1.0 + better
        extra: dict[str, Any] = {}
        if last and offers > 1:
            extra = {"accuracy": rounded(0.8 + 0.15 * better), "work_factor": rounded(factor)}
        rate = rounded(price * (1 + 0.6 * better))
        listed.append(
            Offer(
                id=_offer_name(k, last, offers),
                latency=rounded(latency * (1 + better if last else 1 - 0.5 * better), 2),
                latency_kind="rate" if last or site.layer == 0 else "delay",
                impairment=impairment,
                cost=Linear(rate=rate),
                **extra,
            )
        )
    return Domain(
        id=f"{stage}-{site.number + 1}",
        stage=stage,
        operator=str(rng.choice(OPERATORS)),
        region=site.region,
        trust=int(rng.integers(1, 6)),
        capacity=1e12,
        offers=tuple(listed),
    )


def _offer_name(k: int, last: bool, offers: int) -> str:
    if last and offers > 1:
        return f"model-{k + 1}"
    return CLASSES[k] if k < len(CLASSES) else f"class-{k + 1}"


def _impairment(rng: np.random.Generator, scale: float) -> Any:
    """Cross traffic of a tenth to a third of a job per ms."""
    mean = rounded(rng.uniform(0.08, 0.3) * scale)
    match int(rng.integers(3)):
        case 0:
            return ExponentialImpairment(mean=mean)
        case 1:
            return GammaImpairment(shape=rounded(mean / 0.2), scale=0.2)
        case _:
            return PoissonImpairment(rate=rounded(mean / 0.25), size=0.25)


def _links(sites: list[_Site], domains: list[Domain], stages: int) -> tuple[Link, ...]:
    """From every domain to the nearest of the next stage, and to each of those from its nearest."""
    found: dict[tuple[str, str], Link] = {}
    layers = [
        [(s, d) for s, d in zip(sites, domains, strict=True) if s.layer == layer] for layer in range(stages)
    ]
    for layer, following in pairwise(layers):
        here = np.array([(site.x, site.y) for site, _ in layer])
        there = np.array([(site.x, site.y) for site, _ in following])
        distance = np.hypot(*(here[:, None, :] - there[None, :, :]).transpose(2, 0, 1))
        near = {
            (i, int(j)) for i in range(len(layer)) for j in np.argsort(distance[i], kind="stable")[:NEAREST]
        }
        near |= {(int(i), j) for j, i in enumerate(np.argmin(distance, axis=0))}
        for i, j in sorted(near):
            start, end = layer[i][1].id, following[j][1].id
            found[start, end] = Link(from_=start, to=end, delay=rounded(float(distance[i, j]) * MS_PER_KM))
    return tuple(found.values())


def _tenants(
    rng: np.random.Generator,
    domains: list[Domain],
    stages: tuple[str, ...],
    tenants: int,
    kinds: int,
    groups: int,
    offers: int,
) -> list[Tenant]:
    """`kinds` entries whose counts add up to `tenants`."""
    policies = [_policy(rng, domains, stages, free=g == 0) for g in range(groups)]
    accuracies = [rounded(float(a)) if offers > 1 else None for a in rng.uniform(0.75, 0.92, groups)]
    promises = [
        [
            SLO(deadline=deadline, epsilon=epsilon, min_accuracy=accuracy if k % 2 else None)
            for k, (deadline, epsilon) in enumerate(PROMISES)
        ]
        for accuracy in accuracies
    ]
    group, arrivals, promise = (rng.integers(0, n, kinds) for n in (groups, len(ARRIVALS), len(PROMISES)))
    counts = (
        1 + rng.multinomial(tenants - kinds, rng.dirichlet(np.full(kinds, 4.0))) if tenants > kinds else None
    )
    digits = len(str(kinds))
    return [
        Tenant(
            id=f"t{i + 1:0{digits}d}",
            count=1 if counts is None else int(counts[i]),
            arrivals=ARRIVALS[arrivals[i]],
            slo=promises[group[i]][promise[i]],
            policy=policies[group[i]],
        )
        for i in range(kinds)
    ]


def _policy(rng: np.random.Generator, domains: list[Domain], stages: tuple[str, ...], free: bool) -> Policy:
    """A policy that leaves at least two domains on every stage (or all, where there are fewer)."""
    if free:
        return Policy()
    operators = sorted(str(name) for name in rng.choice(OPERATORS, 3, replace=False))
    regions = sorted(str(name) for name in rng.choice(REGIONS, 3, replace=False))
    trust = int(rng.integers(1, 4))
    draft: dict[str, Any] = {"min_trust": trust, "operators": operators, "regions": regions}
    draft = {key: draft[key] for key in draft if rng.random() < 0.6}
    for key, attribute in (("operators", "operator"), ("regions", "region")):
        if key in draft:
            present = {getattr(domain, attribute) for domain in domains}
            draft[key] = [name for name in draft[key] if name in present]
    while draft:
        policy = Policy(**draft)
        left = [sum(_fits(policy, domain) for domain in domains if domain.stage == stage) for stage in stages]
        if min(left) >= min(2, len(domains) // len(stages)):
            return policy
        draft.popitem()
    return Policy()


def _fits(policy: Policy, domain: Domain) -> bool:
    return (
        (policy.operators is None or domain.operator in policy.operators)
        and (policy.regions is None or domain.region in policy.regions)
        and (policy.min_trust is None or domain.trust >= policy.min_trust)
    )


def _shared_out(
    rng: np.random.Generator,
    stages: tuple[str, ...],
    domains: list[Domain],
    loads: dict[str, float],
    binding: float,
) -> list[Domain]:
    """Capacities such that the cheap domains of a stage, about the share `binding`, take all of its load."""
    result = []
    for stage in stages:
        members = [domain for domain in domains if domain.stage == stage]
        total = sum(loads[domain.id] for domain in members) * TIGHTER
        shares = rng.uniform(0.6, 1.4, len(members))
        shares /= shares.sum()
        ample = 3.0 * total if binding * len(members) < 0.5 else 0.0
        for domain, share in zip(members, shares, strict=True):
            capacity = max(total / max(binding, 0.01) * float(share), ample)
            capacity = rounded_up(max(capacity, 1e-6), 4)
            offers = domain.offers
            if rng.random() < CURVED:
                offers = tuple(
                    offer.model_copy(update={"cost": _curved(offer.cost, capacity)}) for offer in offers
                )
            result.append(domain.model_copy(update={"capacity": capacity, "offers": offers}))
    return result


def _curved(cost: Any, capacity: float) -> Quadratic:
    """A cost whose slope is half as much again at full capacity."""
    return Quadratic(rate=cost.rate, quad=rounded(0.25 * cost.rate / capacity))


def _paid(rng: np.random.Generator, tenant: Tenant, cost: float) -> Tenant:
    """The tenant with a payment around what serving it costs, so that some pay and some do not."""
    payment = rounded(cost * float(rng.uniform(0.7, 2.0)))
    return tenant.model_copy(update={"payment": payment, "penalty": rounded(5 * payment)})
