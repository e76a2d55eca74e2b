"""The smallest changes, each alone, that give a tenant a plan when all capacity is its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fedopt.explain.oracle import Feasibility, exact, least
from fedopt.plan.document import Remedy

if TYPE_CHECKING:
    from fedopt.instance import Instance, Tenant

DEADLINE_FACTOR = 1e4
LARGEST_EPSILON = 0.5
CAPACITY_FACTOR = 1e4


def deadline_remedy(
    instance: Instance, tenant: Tenant, feasible: Feasibility, milestone: int | None = None
) -> Remedy | None:
    """The shortest deadline of the tenant (of its milestone of that number) with which there is a plan."""
    slo, inner = tenant.slo, "" if milestone is None else f".milestones.{milestone}"
    place = f"tenants.{tenant.id}.slo{inner}.deadline"
    now = slo.deadline if milestone is None else slo.milestones[milestone].deadline
    needed = least(lambda value: feasible(instance.with_({place: value})), now, now * DEADLINE_FACTOR)
    if needed is None:
        return None
    time = instance.units.time
    return Remedy(
        change="deadline",
        place=place,
        current=now,
        needed=needed,
        message=f"a deadline of {exact(needed)} {time} for {tenant.id}{_until(tenant, milestone)} instead of "
        f"{now:g} {time}",
    )


def _until(tenant: Tenant, milestone: int | None) -> str:
    """Up to which stage a promise counts, where it is a milestone."""
    return "" if milestone is None else f" up to the end of {tenant.slo.milestones[milestone].until}"


def epsilon_remedy(
    instance: Instance, tenant: Tenant, feasible: Feasibility, milestone: int | None = None
) -> Remedy | None:
    """The smallest violation probability of the tenant (of its milestone of that number) with which there is
    a plan."""
    slo, inner = tenant.slo, "" if milestone is None else f".milestones.{milestone}"
    place = f"tenants.{tenant.id}.slo{inner}.epsilon"
    now = slo.epsilon if milestone is None else slo.milestones[milestone].epsilon
    if now >= LARGEST_EPSILON:
        return None
    needed = least(
        lambda value: feasible(instance.with_({place: value})), now, LARGEST_EPSILON, precision=1e-2
    )
    if needed is None:
        return None
    return Remedy(
        change="epsilon",
        place=place,
        current=now,
        needed=needed,
        message=f"ε = {exact(needed)} for {tenant.id}{_until(tenant, milestone)} instead of {now:g}",
    )


def capacity_remedies(instance: Instance, domains: list[str], feasible: Feasibility) -> Iterator[Remedy]:
    """For each of `domains` the smallest capacity that helps; if none helps alone, one factor for all."""
    found = False
    for name in domains:
        domain = instance.domain(name)
        place = f"domains.{name}.capacity"

        def with_capacity(value: float, place: str = place) -> bool:
            return feasible(instance.with_({place: value}))

        if feasible.budget.spent or not with_capacity(domain.capacity * CAPACITY_FACTOR):
            continue
        needed = least(with_capacity, domain.capacity, domain.capacity * CAPACITY_FACTOR)
        if needed is not None:
            found = True
            yield Remedy(
                change="capacity",
                place=place,
                current=domain.capacity,
                needed=needed,
                message=f"a capacity of {exact(needed)} in {name} instead of {domain.capacity:g}",
            )
    if found or feasible.budget.spent:
        return

    def scaled(factor: float) -> bool:
        return feasible(
            instance.with_({f"domains.{d.id}.capacity": d.capacity * factor for d in instance.domains})
        )

    factor = least(scaled, 1.0, CAPACITY_FACTOR)
    if factor is not None:
        message = f"{exact(factor)} times the capacity in every domain"
        yield Remedy(
            change="capacity", place="domains.*.capacity", current=1.0, needed=factor, message=message
        )


def joint_capacity_remedy(
    instance: Instance, extra: dict[str, float], feasible: Feasibility
) -> Remedy | None:
    """Capacities of several domains together, none of which can be smaller while the others stay.

    `extra` is what they lack together when tenants may be split. It is raised by one common factor until
    whole tenants fit; then each domain in turn gives back what the others make up for.
    """
    now = {f"domains.{name}.capacity": instance.domain(name).capacity for name in extra}

    def enlarged(factor: float) -> dict[str, float]:
        return {
            place: capacity + factor * missing
            for (place, capacity), missing in zip(now.items(), extra.values(), strict=True)
        }

    def serves(capacities: dict[str, float]) -> bool:
        return feasible(instance.with_(capacities))

    needed = enlarged(1.0 + 1e-6)
    if not serves(needed):
        factor = least(lambda value: serves(enlarged(value)), 1.0, CAPACITY_FACTOR, precision=1e-2)
        if factor is None:
            return None
        needed = enlarged(factor)
    for place, capacity in now.items():

        def with_one(value: float, place: str = place) -> bool:
            return serves({**needed, place: value})

        if with_one(capacity):
            del needed[place]
        else:
            needed[place] = least(with_one, capacity, needed[place]) or needed[place]
    words = " and ".join(
        f"{exact(value)} in {place.split('.', 1)[1].removesuffix('.capacity')} instead of {now[place]:g}"
        for place, value in needed.items()
    )
    if len(needed) == 1:
        place, value = next(iter(needed.items()))
        message = f"a capacity of {words}"
        return Remedy(change="capacity", place=place, current=now[place], needed=value, message=message)
    return Remedy(change="capacity", current=None, needed=needed, message=f"together capacities of {words}")


def max_rate_remedies(instance: Instance, feasible: Feasibility) -> Iterator[Remedy]:
    """For each offer with a largest rate per tenant the smallest such rate that helps."""
    for domain in instance.domains:
        for offer in domain.offers:
            now = offer.max_rate
            if now is None or feasible.budget.spent:
                continue
            place = f"domains.{domain.id}.offers.{offer.id}.max_rate"

            def with_rate(value: float | None, place: str = place) -> bool:
                return feasible(instance.with_({place: value}))

            if not with_rate(None):
                continue
            needed = least(with_rate, now, now * CAPACITY_FACTOR)
            if needed is not None:
                message = f"a largest rate of {exact(needed)} for {domain.id}/{offer.id} instead of {now:g}"
                yield Remedy(change="max-rate", place=place, current=now, needed=needed, message=message)


def policy_remedies(instance: Instance, tenant: Tenant, feasible: Feasibility) -> Iterator[Remedy]:
    """The smallest single relaxations of the tenant's policy and quality demands that help."""
    for change, message, options in _relaxations(instance, tenant):
        for place, now, value, words in options:
            if feasible.budget.spent:
                return
            if _helps(instance.with_({place: value}), tenant.id, feasible):
                yield Remedy(
                    change=change,  # type: ignore[arg-type]
                    place=place,
                    current=now,
                    needed=value,
                    message=message.format(words, tenant.id),
                )
                break


Option = tuple[str, Any, Any, str]
"""(dotted place, value now, new value, the change in words)."""


def _relaxations(instance: Instance, tenant: Tenant) -> Iterator[tuple[str, str, list[Option]]]:
    """Kinds of relaxation, their options from the smallest change on; the first that helps is the answer."""
    policy, slo = tenant.policy, tenant.slo
    root = f"tenants.{tenant.id}"
    offers = [offer for domain in instance.domains for offer in domain.offers]

    def listing(
        name: str, allowed: tuple[str, ...] | None, values: Callable[[], set[str | None]]
    ) -> list[Option]:
        if allowed is None:
            return []
        others = sorted(value for value in values() if value is not None and value not in allowed)
        place = f"{root}.policy.{name}"
        single = [(place, list(allowed), (*allowed, other), other) for other in others]
        return [*single, (place, list(allowed), None, "all")] if len(others) > 1 else single

    yield (
        "policy",
        "operator {} allowed to serve {}",
        listing("operators", policy.operators, lambda: {domain.operator for domain in instance.domains}),
    )
    yield (
        "policy",
        "region {} allowed for {}",
        listing("regions", policy.regions, lambda: {domain.region for domain in instance.domains}),
    )
    if policy.min_trust is not None:
        floor = policy.min_trust
        lower = sorted({domain.trust for domain in instance.domains if domain.trust < floor}, reverse=True)
        place = f"{root}.policy.min_trust"
        yield "policy", "a least trust of {} for {}", [(place, floor, value, f"{value:g}") for value in lower]
    if policy.forbid:
        place = f"{root}.policy.forbid"
        options: list[Option] = [
            (place, list(policy.forbid), tuple(other for other in policy.forbid if other != name), name)
            for name in policy.forbid
        ]
        if len(options) > 1:
            options.append((place, list(policy.forbid), (), "all"))
        yield "policy", "{} no longer forbidden to {}", options
    if slo.min_accuracy is not None:
        worse = {o.accuracy for o in offers if o.accuracy is not None and o.accuracy < slo.min_accuracy}
        place = f"{root}.slo.min_accuracy"
        descending = sorted(worse, reverse=True)
        now = slo.min_accuracy
        yield (
            "quality",
            "an accuracy of {} for {}",
            [(place, now, value, f"{value:g}") for value in descending],
        )
    if slo.max_staleness is not None:
        older = {o.staleness for o in offers if o.staleness is not None and o.staleness > slo.max_staleness}
        place = f"{root}.slo.max_staleness"
        limit = slo.max_staleness
        yield (
            "quality",
            "a staleness of {} s for {}",
            [(place, limit, age, f"{age:g}") for age in sorted(older)],
        )


def _helps(changed: Instance, tenant_id: str, feasible: Feasibility) -> bool:
    return changed.graph(tenant_id).number_of_nodes() > 0 and feasible(changed)
