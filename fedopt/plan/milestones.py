"""Further promises of a tenant, each up to the end of a stage.

What a request meets up to the end of a stage does not depend on later stages, so a milestone is the promise
of an instance that ends there. A plan keeps it if the first hops of its entry keep the promise of that
instance; every form, check and simulation of whole paths serves as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedopt.errors import InputError
from fedopt.plan.document import MilestoneProof, TenantPlan

if TYPE_CHECKING:
    from fedopt.instance import Instance
    from fedopt.plan.paths import Paths

__all__ = ["Part", "entry_up_to", "has_milestones", "parts_of", "prove", "refuse_milestones"]


@dataclass(frozen=True, eq=False)
class Part:
    """An instance that ends with a stage, and its tenants' promises there.

    Attributes:
        until: the stage.
        stages: how many there are up to it.
        instance: what is left of the whole one, with tenants that have a milestone there.
        place: for each of these tenants the position of the milestone in its SLO.
    """

    until: str
    stages: int
    instance: Instance
    place: dict[str, int]


def has_milestones(instance: Instance) -> bool:
    """Whether some tenant has any."""
    return any(tenant.slo.milestones for tenant in instance.tenants)


def refuse_milestones(instance: Instance, what: str) -> None:
    """Raises InputError, with the tenant's name, where some tenant has milestones; what: who cannot."""
    for tenant in instance.tenants:
        if tenant.slo.milestones:
            raise InputError(
                f"tenant {tenant.id} has milestones, which {what} does not know; plan them by the central "
                "method under minplus"
            )


def parts_of(instance: Instance) -> list[Part]:
    """One part for each stage with milestones; a tenant with several at one stage is in several parts."""
    wanted: dict[tuple[int, int], dict[str, int]] = {}
    for tenant in instance.tenants:
        met: dict[str, int] = {}
        for place, milestone in enumerate(tenant.slo.milestones):
            rank = met[milestone.until] = met.get(milestone.until, -1) + 1
            wanted.setdefault((instance.stages.index(milestone.until), rank), {})[tenant.id] = place
    return [_part(instance, stage + 1, place) for (stage, _), place in sorted(wanted.items())]


def _part(instance: Instance, stages: int, place: dict[str, int]) -> Part:
    kept = instance.stages[:stages]
    ids = {domain.id for domain in instance.domains if domain.stage in kept}
    group = instance.dependent_group  # chains of dependence may lead through domains that are left out
    domains = []
    for domain in instance.domains:
        if domain.id in ids:
            mates = {other for other in ids if group.get(other) and group.get(other) == group.get(domain.id)}
            domains.append(domain.model_copy(update={"dependent_with": tuple(sorted(mates - {domain.id}))}))
    links = None
    if instance.links is not None and stages > 1:
        links = tuple(link for link in instance.links if link.from_ in ids and link.to in ids)
    tenants = []
    for tenant in instance.tenants:
        if tenant.id in place:
            milestone = tenant.slo.milestones[place[tenant.id]]
            promise = {"deadline": milestone.deadline, "epsilon": milestone.epsilon, "milestones": ()}
            forbid = tuple(name for name in tenant.policy.forbid if name.partition("/")[0] in ids)
            update: dict[str, Any] = {"slo": tenant.slo.model_copy(update=promise)}
            update["policy"] = tenant.policy.model_copy(update={"forbid": forbid})
            tenants.append(tenant.model_copy(update=update))
    part = instance.model_copy()
    for name in [name for name in vars(part) if name not in type(part).model_fields]:
        del vars(part)[name]  # what the copy has cached of the whole
    vars(part).update(stages=kept, domains=tuple(domains), links=links, tenants=tuple(tenants))
    return Part(kept[-1], stages, part, place)


def entry_up_to(entry: TenantPlan, part: Part) -> TenantPlan:
    """The entry's first hops, with the proof that it states for the milestone."""
    proofs = [proof for n, proof in enumerate(entry.milestones) if n == part.place[entry.id]]
    stated = {} if not proofs else {name: getattr(proofs[0], name) for name in _PROOF}
    crossed = [domain for domain, _ in entry.hops()[: part.stages]]
    return TenantPlan(
        id=entry.id,
        count=entry.count,
        admitted=entry.admitted,
        path=entry.path[: part.stages],
        reservations={domain: entry.reservations[domain] for domain in crossed},
        **stated,
    )


_PROOF = ("log_bound", "form", "theta", "block", "parameters")


def prove(entry: TenantPlan, parts: list[tuple[Part, Paths]]) -> TenantPlan:
    """The entry with the best proof of each of its milestones."""
    from fedopt.calculus.minplus import evaluate

    found: dict[int, MilestoneProof] = {}
    for part, paths in parts:
        if entry.admitted and entry.id in part.place:
            first = entry_up_to(entry, part)
            proof = evaluate(paths.entry(first), paths.rates(first))
            if math.isfinite(proof.log_bound):
                found[part.place[entry.id]] = MilestoneProof(
                    until=part.until,
                    log_bound=proof.log_bound,
                    form=proof.form,  # type: ignore[arg-type]
                    theta=proof.theta,
                    block=proof.block,
                    parameters=proof.parameters,
                )
    return entry.model_copy(update={"milestones": [found[place] for place in sorted(found)]})


def milestone_violations(
    instance: Instance, entry: TenantPlan, parts: list[tuple[Part, Paths]], guarantee: str, tolerance: float
) -> Iterator[tuple[str, str | None, str]]:
    """What is wrong with an entry's milestones: each needs a proof of its own, which is recomputed."""
    from fedopt.plan.promises import promise_violations

    milestones = instance.tenant(entry.id).slo.milestones
    stated = [proof.until for proof in entry.milestones]
    if stated != [milestone.until for milestone in milestones]:
        yield (
            "milestone",
            None,
            f"milestones are proven at {stated}, the SLO asks for {[m.until for m in milestones]}",
        )
        return
    for part, paths in parts:
        if entry.id in part.place:
            first = entry_up_to(entry, part)
            path, rates = paths.entry(first), paths.rates(first)
            for constraint, domain, message in promise_violations(path, rates, first, guarantee, tolerance):
                yield constraint, domain, f"up to the end of {part.until}: {message}"
