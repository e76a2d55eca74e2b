"""Tenants whose work is not the same on every stage: bits on the radio, tokens on a GPU, of their own each.

One unit of a tenant's work may be `w` units on a stage (`work: {gpu: 300 token}`). A domain there that gives
such a tenant the rate R serves R/w of its units, and an impairment I takes I/w of them: for the tenant it is
a domain whose rates, impairments and speeds are divided by w, whose capacity a unit of rate uses w times and
whose price is w times as high. Every method therefore plans such tenants over offers of their own, made here
from those that the instance states, and all guarantees hold for them as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .costs import Linear
from .errors import Problem
from .impairments import (
    ExponentialImpairment,
    GammaImpairment,
    LearnedImpairment,
    NoImpairment,
    OnOffImpairment,
    PoissonImpairment,
    TableImpairment,
)

if TYPE_CHECKING:
    from .documents import Domain, Instance, Offer, Tenant

MOST_WEIGHTS = 64
"""Different amounts of work of a stage: each has an offer of its own beside every one that is stated."""


def scaled_impairment(impairment: Any, factor: float) -> Any:
    """An impairment that takes `factor` times the work.

    Raises
    ------
    ValueError
        For a kind that cannot be scaled.
    """
    if factor == 1.0 or isinstance(impairment, NoImpairment):
        return impairment
    if isinstance(impairment, ExponentialImpairment):
        return impairment.model_copy(update={"mean": impairment.mean * factor})
    if isinstance(impairment, GammaImpairment):
        return impairment.model_copy(update={"scale": impairment.scale * factor})
    if isinstance(impairment, PoissonImpairment):
        size = impairment.size
        larger = (
            size * factor
            if isinstance(size, int | float)
            else size.model_copy(update={"exponential": size.exponential * factor})
        )
        return impairment.model_copy(update={"size": larger})
    if isinstance(impairment, OnOffImpairment):
        return impairment.model_copy(update={"peak": impairment.peak * factor})
    if isinstance(impairment, TableImpairment):
        return impairment.model_copy(
            update={
                "theta": tuple(theta / factor for theta in impairment.theta),
                "kappa": tuple(kappa * factor for kappa in impairment.kappa),
                "eta": tuple(eta * factor for eta in impairment.eta),
            }
        )
    raise ValueError(f"an impairment of the kind {type(impairment).__name__} cannot be scaled")


def weighed(offer: Offer, weight: float, make: Callable[..., Offer]) -> Offer:
    """An offer as tenants see it whose unit of work is `weight` units there; `make` is its class.

    Raises
    ------
    ValueError
        If its cost is not linear or its impairment cannot be scaled.
    """
    if type(offer.cost) is not Linear:
        raise ValueError("its cost is a curve of the rate of all tenants together, not linear")
    fields: dict[str, Any] = {name: getattr(offer, name) for name in type(offer).model_fields}
    return make(
        **{
            **fields,
            "id": f"{offer.id}@{weight:.12g}",
            "weight": weight,
            "speed": None if offer.speed is None else offer.speed / weight,
            "impairment": scaled_impairment(offer.impairment, 1.0 / weight),
            "cost": offer.cost.model_copy(update={"rate": offer.cost.rate * weight}),
            "max_rate": None if offer.max_rate is None else offer.max_rate / weight,
            "work_factor": offer.work_factor * weight,
        }
    )


def stated(domains: tuple[Domain, ...]) -> tuple[Domain, ...]:
    """The domains with the offers that the instance states, without those made for tenants' own work."""
    if all(weight_of(offer) is None for domain in domains for offer in domain.offers):
        return domains
    return tuple(
        domain.model_copy(update={"offers": tuple(o for o in domain.offers if weight_of(o) is None)})
        for domain in domains
    )


def weight_of(offer: Offer) -> float | None:
    """What the unit of work of the tenants is that an offer was made for, None for one that is stated."""
    return getattr(offer, "weight", None)


def with_weighed_offers(
    instance: Instance, make: Callable[..., Offer]
) -> tuple[tuple[Domain, ...], list[Problem]]:
    """The domains with an offer for every amount of work of its tenants, and what keeps one from being made.

    What answers taught of a domain is about traffic as it stands, so offers without a contract are left to
    tenants without work of their own.
    """
    weights: dict[str, dict[float, int]] = {}
    for t, tenant in enumerate(instance.tenants):
        for stage, weight in (tenant.work or {}).items():
            if weight != 1.0:
                weights.setdefault(stage, {}).setdefault(weight, t)
    domains = stated(instance.domains)
    if not weights:
        return domains, []
    problems = [
        Problem(
            f"tenants[{t}].work.{stage}",
            f"there is no stage {stage!r}",
            f"use one of {', '.join(instance.stages)}",
        )
        for t, tenant in enumerate(instance.tenants)
        for stage in (tenant.work or {})
        if stage not in instance.stages
    ]
    for stage, found in weights.items():
        if len(found) > MOST_WEIGHTS:
            place = f"tenants[{list(found.values())[MOST_WEIGHTS]}].work.{stage}"
            words = f"is one of {len(found)} different amounts there; at most {MOST_WEIGHTS} are planned"
            problems.append(Problem(place, words, "round amounts up to fewer"))
    if problems:
        return domains, problems
    changed = []
    for domain in domains:
        offers = list(domain.offers)
        for weight, t in weights.get(domain.stage, {}).items():
            for offer in domain.offers:
                if isinstance(offer.impairment, LearnedImpairment):
                    continue
                try:
                    offers.append(weighed(offer, weight, make))
                except ValueError as error:
                    place = f"tenants[{t}].work.{domain.stage}"
                    words = f"cannot be planned over {domain.id}/{offer.id}: {error}"
                    remedy = "leave it out, or put such tenants on a stage with domains of their own"
                    problems.append(Problem(place, words, remedy))
        ids = [offer.id for offer in offers]
        if len(set(ids)) < len(ids) and len({offer.id for offer in domain.offers}) == len(domain.offers):
            twice = next(id for id in ids if ids.count(id) > 1)
            words = f"{twice!r} is the name of an offer made for tenants with work of their own"
            problems.append(Problem(f"domains.{domain.id}", words, "rename the offer"))
        changed.append(domain.model_copy(update={"offers": tuple(offers)}))
    return tuple(changed), problems


def fits(tenant: Tenant, domain: Domain, offer: Offer) -> bool:
    """Whether an offer is made for work such as the tenant's."""
    return (weight_of(offer) or 1.0) == (tenant.work or {}).get(domain.stage, 1.0)
