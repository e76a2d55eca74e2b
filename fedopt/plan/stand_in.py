"""Planning with offers that have no contract, by ordinary offers that stand in for them.

An ask (at most this throughput, at most this delay, at a risk that was learned) stands in as an offer whose
server is the tenant's own shaper, without impairments and at the reserved rate, and whose latency is the
delay asked for. What is left of ε is the theorem's. A tenant may be planned in several variants: without
such offers at its whole ε, or with one of SHARES of ε left to them; `planned` is the instance in which every
tenant takes the variant that was chosen for it, and any method can plan it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fedopt.instance import Ask, Instance, Offer, Tenant, admissible
from fedopt.instance.impairments import LearnedImpairment, NoImpairment
from fedopt.plan.basis import total_log_bound
from fedopt.plan.document import LearnedPromise, TenantPlan

__all__ = ["SHARES", "Planned", "Variant", "mildest", "planned", "variants"]

SHARES = (0.25, 0.5, 0.75)
"""Parts of ε that may be left to domains without a contract, all of a path together."""


@dataclass(frozen=True)
class StandIn:
    """An ordinary offer in the place of a learned one, and the promise that it stands for."""

    name: str
    offer: Offer
    promise: LearnedPromise


@dataclass(frozen=True)
class Variant:
    """A tenant as it may be planned: with what is left of its ε, and what stands in for learned offers."""

    tenant: Tenant
    menu: tuple[StandIn, ...] = ()


def variants(instance: Instance, tenant: Tenant) -> list[Variant]:
    """The ways in which a tenant may be planned, the one without learned offers first.

    A share of ε is divided among the stages that have learned offers so that the delays that it buys there
    add up to the least (`_divided`); each offer then stands in with the least delay of its table whose risk
    fits into its stage's part. A larger share that reaches no shorter delay than a smaller one is left out.
    """
    usable: dict[str, list[str]] = {}
    for domain in instance.domains:
        for offer in domain.offers:
            if isinstance(offer.impairment, LearnedImpairment) and not admissible(
                tenant, domain, offer, instance.rated
            ):
                usable.setdefault(domain.stage, []).append(f"{domain.id}/{offer.id}")
    found = [Variant(tenant)]
    known: set[tuple[StandIn, ...]] = {()}
    for share in SHARES:
        parts = _divided(instance, tenant, list(usable.values()), share * tenant.slo.epsilon)
        menu = tuple(
            stand_in
            for names, budget in zip(usable.values(), parts, strict=True)
            for name in names
            for stand_in in _stand_ins(name, instance.offer(name)[1], tenant, budget)
        )
        if menu not in known:
            known.add(menu)
            slo = tenant.slo.model_copy(update={"epsilon": (1 - share) * tenant.slo.epsilon})
            found.append(Variant(tenant.model_copy(update={"slo": slo}), menu))
    return found


def mildest(instance: Instance, tenant: Tenant) -> Variant:
    """A tenant with all of its ε for contracts and all of it for learned offers too: whatever it is promised,
    in whatever parts of ε, asks no less of any domain."""
    menu = tuple(
        stand_in
        for domain in instance.domains
        for offer in domain.offers
        if isinstance(offer.impairment, LearnedImpairment)
        and not admissible(tenant, domain, offer, instance.rated)
        for stand_in in _stand_ins(f"{domain.id}/{offer.id}", offer, tenant, tenant.slo.epsilon)
    )
    return Variant(tenant, menu)


def _divided(instance: Instance, tenant: Tenant, stages: Sequence[list[str]], budget: float) -> list[float]:
    """Parts of a risk for each stage's learned offers: those whose least delays have the least sum.

    Every stage offers pairs (risk, delay), one per row and delay of its tables. Sums are built up stage by
    stage, and of those with as much risk and delay only the best are kept. Equal parts where no division
    buys a delay on every stage.
    """
    sums: list[tuple[float, float, tuple[float, ...]]] = [(0.0, 0.0, ())]
    for names in stages:
        rows = [ask for name in names for ask in _covering(instance.offer(name)[1], tenant)]
        steps = _frontier((r, d, (r,)) for ask in rows for r, d in zip(ask.risk, ask.delay, strict=True))
        sums = _frontier(
            (risk + r, delay + d, (*parts, r))
            for risk, delay, parts in sums
            for r, d, _ in steps
            if risk + r <= budget
        )
    if not sums or not stages:
        return [budget / max(len(stages), 1)] * len(stages)
    risk, _, parts = sums[-1]  # the least delay
    return [part + (budget - risk) / len(stages) for part in parts]


def _frontier(
    pairs: Iterable[tuple[float, float, tuple[float, ...]]],
) -> list[tuple[float, float, tuple[float, ...]]]:
    """Those with less delay than all of less risk, by growing risk."""
    kept: list[tuple[float, float, tuple[float, ...]]] = []
    for one in sorted(pairs):
        if not kept or one[1] < kept[-1][1]:
            kept.append(one)
    return kept


def _covering(offer: Offer, tenant: Tenant) -> list[Ask]:
    """The rows of an offer's table that hold for a tenant's traffic."""
    learned = offer.impairment
    assert isinstance(learned, LearnedImpairment)
    return [ask for ask in learned.asks if ask.covers(tenant.arrivals, 0.0)]


def _stand_ins(name: str, offer: Offer, tenant: Tenant, budget: float) -> Iterable[StandIn]:
    learned = offer.impairment
    assert isinstance(learned, LearnedImpairment)
    for ask in _covering(offer, tenant):
        place = next((k for k, risk in enumerate(ask.risk) if risk <= budget), None)
        if place is None or ask.delay[place] >= tenant.slo.deadline:
            continue
        most = min(ask.throughput, math.inf if offer.max_rate is None else offer.max_rate)
        changes = {
            "latency": ask.delay[place],
            "latency_kind": "delay",
            "impairment": NoImpairment(),
            "max_rate": most,
        }
        promise = LearnedPromise(
            delay=ask.delay[place],
            risk=ask.risk[place],
            confidence=learned.confidence,
            answers=ask.answers,
            estimate=None if ask.estimate is None else ask.estimate[place],
        )
        yield StandIn(name, offer.model_copy(update=changes), promise)


@dataclass(frozen=True)
class Planned:
    """An instance without learned offers, and the way back from its plans.

    original: the learned offer behind each stand-in's name, with its promise.
    """

    instance: Instance
    original: Mapping[str, tuple[str, LearnedPromise]] = field(default_factory=dict)

    def back(self, entry: TenantPlan) -> TenantPlan:
        """An entry of a plan of `instance` as one of the instance that it stands for."""
        if not any(hop in self.original for hop in entry.path):
            return entry
        learned = {hop.partition("/")[0]: self.original[hop][1] for hop in entry.path if hop in self.original}
        path = [self.original[hop][0] if hop in self.original else hop for hop in entry.path]
        # the ε that was left to the theorem: what its hand-overs are charged at
        parameters = {**entry.parameters, "epsilon": self.instance.tenant(entry.id).slo.epsilon}
        found = entry.model_copy(
            update={
                "path": path,
                "learned": learned,
                "parameters": parameters,
                "basis": None,
                "confidence": None,
            }
        )
        if found.log_bound is None:
            return found
        return found.model_copy(update={"log_bound": total_log_bound(found.log_bound, found)})


def planned(instance: Instance, chosen: Sequence[Variant]) -> Planned:
    """The instance in which these variants are planned; each tenant may use what stands in for it alone."""
    ids: dict[StandIn, str] = {}
    original: dict[str, tuple[str, LearnedPromise]] = {}
    domains = []
    for domain in instance.domains:
        taken = {offer.id for offer in domain.offers}
        offers = []
        for offer in domain.offers:
            if not isinstance(offer.impairment, LearnedImpairment):
                offers.append(offer)
                continue
            name = f"{domain.id}/{offer.id}"
            # nobody's: it keeps the domain from being empty
            offers.append(offer.model_copy(update={"impairment": NoImpairment()}))
            for stand_in in dict.fromkeys(s for v in chosen for s in v.menu if s.name == name):
                number = len(ids)
                while (own := f"{offer.id}~{number}") in taken:
                    number += 1
                taken.add(own)
                ids[stand_in] = f"{domain.id}/{own}"
                original[ids[stand_in]] = (name, stand_in.promise)
                offers.append(stand_in.offer.model_copy(update={"id": own}))
        domains.append(domain.model_copy(update={"offers": tuple(offers)}))
    nobodys = [
        f"{domain.id}/{offer.id}"
        for domain in instance.domains
        for offer in domain.offers
        if isinstance(offer.impairment, LearnedImpairment)
    ]
    tenants = []
    for variant in chosen:
        own_menu = {ids[stand_in] for stand_in in variant.menu}
        forbid = (
            *variant.tenant.policy.forbid,
            *nobodys,
            *(name for name in original if name not in own_menu),
        )
        policy = variant.tenant.policy.model_copy(update={"forbid": forbid})
        tenants.append(variant.tenant.model_copy(update={"policy": policy}))
    return Planned(instance.with_(domains=tuple(domains), tenants=tuple(tenants)), original)
