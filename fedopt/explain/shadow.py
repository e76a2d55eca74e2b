"""Shadow prices: what a small change of every promise and contract is worth, per tenant and per domain.

First order, at the plan's paths, forms and prices (offers at their marginal cost, capacity at its price):

    dCost/dq = Σ_entries units · Σ_i p_i R_i · d ln c/dq,

the growth d ln c/dq of the reservations by `growth_of`. Exact for the relaxation where a tenant's path is its
only cheapest one (the envelope theorem: neither prices nor paths need be followed); where it has several, or
whole tenants do not fit as the relaxation would have them, one-sided. A capacity's own is its price. A
deadline and the latency of a pure delay count in whole slots (save under paper-path), so what one slot more
or less changes is stated instead of a slope: between two whole slots nothing changes at all.

Reservations are scaled together, which is one way to keep the promise. Planning again may turn them as well:
not to first order where rates are optimal in every direction (split), but where they lie on a profile
(minplus with unequal rates) the slope of one domain's κ, η or latency is an upper bound in size.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.explain.growth import growth_of, slots_cost
from fedopt.explain.oracle import Budget
from fedopt.plan.charges import offer_loads
from fedopt.plan.document import Plan, TenantPlan
from fedopt.plan.paths import Paths

if TYPE_CHECKING:
    from fedopt.calculus.path import Path
    from fedopt.instance import Instance

__all__ = ["Shadow", "ShadowPrices", "shadow_prices"]


@dataclass(frozen=True)
class Shadow:
    """What one parameter is worth.

    Attributes:
        parameter: capacity | deadline | epsilon | arrival-rate | arrival-burst | latency | kappa | eta.
        place: the dotted path of what it belongs to.
        unit: of the parameter.
        slope: change of the plan's cost per unit, first order; None where only whole slots count.
        slot_more, slot_less: change of the plan's cost by one whole slot more, less; None elsewhere, and
            where no reservation on the path keeps the promise then.
        change: the change that the message speaks of, in words, and `effect` what it does to the cost.
        per_cent: the effect, of the plan's cost.
    """

    parameter: str
    place: str
    unit: str
    slope: float | None
    slot_more: float | None
    slot_less: float | None
    change: str
    effect: float
    per_cent: float | None

    @property
    def message(self) -> str:
        """The change and its effect in words."""
        text = f"{self.change} {_effect(self.effect, self.per_cent)}"
        if self.slope is None and self.parameter in ("deadline", "latency"):
            worse = self.slot_less if self.parameter == "deadline" else self.slot_more
            word = "less" if self.parameter == "deadline" else "more"
            text += f", one {word} " + (
                "cannot be kept on these paths" if worse is None else _effect(worse, None)
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data, the message included."""
        return {**asdict(self), "message": self.message}


@dataclass(frozen=True)
class ShadowPrices:
    """All shadow prices of a plan, the most valuable first.

    `share` is the part of the reservations' cost that they speak for: below 1 where time ran out, or where a
    form has no slopes.
    """

    prices: tuple[Shadow, ...] = ()
    share: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data."""
        return {"share": self.share, "prices": [price.to_dict() for price in self.prices]}


@dataclass
class _Sum:
    """Slopes and steps added up over entries; a step that some entry cannot take has no sum."""

    slope: float | None = None
    more: float = 0.0
    less: float = 0.0
    mean: float = 0.0

    def add(self, slope: float, more: float = 0.0, less: float = 0.0) -> None:
        if math.isfinite(slope):
            self.slope = (self.slope or 0.0) + slope
        self.more += more
        self.less += less


@dataclass
class _Sums:
    """By (parameter, tenant or offer)."""

    of: dict[tuple[str, str], _Sum] = field(default_factory=dict)

    def __call__(self, parameter: str, owner: str) -> _Sum:
        return self.of.setdefault((parameter, owner), _Sum())


def shadow_prices(instance: Instance, plan: Plan, budget: Budget | None = None) -> ShadowPrices:
    """The shadow prices of a plan, entries of the largest cost first while the budget lasts."""
    budget = budget or Budget()
    priced = _Priced(instance, plan)
    sums, spoken, total = _Sums(), 0.0, 0.0
    known: dict[tuple[Any, ...], _Entry | None] = {}
    entries = sorted((e for e in plan.tenants if e.admitted and e.count), key=lambda e: -e.cost)
    for entry in entries:
        cost = entry.count * float(priced.prices(entry) @ priced.rates(entry))
        total += cost
        key = priced.key(entry)
        if key not in known:
            known[key] = None if budget.spent else _value(priced, entry)
        value = known[key]
        if value is not None:
            spoken += cost
            _add(sums, entry, value)
    found = [*_capacities(instance, plan), *_shadows(instance, plan, sums)]
    found.sort(key=lambda shadow: -abs(shadow.effect))
    return ShadowPrices(tuple(found), spoken / total if total > 0.0 else 1.0)


@dataclass(frozen=True, eq=False)
class _Entry:
    """Changes of the cost of one unit of demand, per unit of each parameter in the user's units.

    `steps` are by one slot of deadline more and less; `stepped` says whose latency counts in slots, (L,).
    """

    deadline: float
    steps: tuple[float, float]
    epsilon: float
    rho: float
    sigma: float
    kappa: np.ndarray
    eta: np.ndarray
    latency: np.ndarray
    stepped: np.ndarray


class _Priced:
    """Paths, rates and marginal prices of a plan's entries."""

    def __init__(self, instance: Instance, plan: Plan) -> None:
        self.instance, self.plan = instance, plan
        self.paths = Paths(instance)
        self.slot = float(instance.slot)
        price = {domain.id: domain.price or 0.0 for domain in plan.domains}
        loads = offer_loads(plan.tenants)
        self._price: dict[str, float] = {}
        self._high: dict[str, float] = {}
        for domain in instance.domains:
            for offer in domain.offers:
                name = f"{domain.id}/{offer.id}"
                slope = float(offer.cost.marginal(loads.get(name, 0.0)))
                self._price[name] = slope + price.get(domain.id, 0.0) * offer.work_factor
                most = domain.capacity / offer.work_factor
                self._high[name] = min(most, offer.max_rate if offer.max_rate is not None else math.inf)

    def prices(self, entry: TenantPlan) -> np.ndarray:
        """Cost of one more unit of rate along the path, shape (L,)."""
        return np.array([self._price[hop] for hop in entry.path])

    def rates(self, entry: TenantPlan) -> np.ndarray:
        """Reservations along the path, work per unit of time, shape (L,)."""
        return np.array([entry.reservations[domain] for domain, _ in entry.hops()])

    def highs(self, entry: TenantPlan) -> np.ndarray:
        """Largest rate of one unit along the path, work per unit of time, shape (L,)."""
        return np.array([self._high[hop] for hop in entry.path])

    def key(self, entry: TenantPlan) -> tuple[Any, ...]:
        """What entries must share to be worth the same."""
        tenant = self.instance.tenant(entry.id)
        stated = tenant.arrivals
        arrivals = stated.model_dump_json() if hasattr(stated, "model_dump_json") else id(stated)
        rates = tuple(f"{rate:.9g}" for rate in self.rates(entry))
        return arrivals, tenant.slo, tuple(entry.path), rates, entry.form, entry.theta, entry.block


def _value(priced: _Priced, entry: TenantPlan) -> _Entry | None:
    if entry.milestones:  # the slopes are those of one promise; which of several binds changes with a step
        return None
    path, slot = priced.paths.entry(entry), priced.slot
    rates = priced.paths.rates(entry)
    growth = growth_of(path, rates, entry)
    if growth is None:
        return None
    prices = priced.prices(entry)
    cost = float(prices @ priced.rates(entry))
    steps = (math.nan, math.nan)
    if math.isnan(growth.deadline):
        steps = _steps(priced, entry, path, rates, prices)
    stepped = ~path.rate_latency & (entry.form != "paper-path")
    return _Entry(
        deadline=cost * growth.deadline / slot,
        steps=steps,
        epsilon=cost * growth.epsilon / priced.instance.tenant(entry.id).slo.epsilon,
        rho=cost * growth.rho * slot,
        sigma=cost * growth.sigma,
        kappa=cost * growth.kappa * slot,
        eta=cost * growth.eta,
        latency=cost * growth.latency / slot,
        stepped=stepped,
    )


def _steps(
    priced: _Priced, entry: TenantPlan, path: Path, rates: np.ndarray, prices: np.ndarray
) -> tuple[float, float]:
    """Change of a unit's cost by one whole slot of deadline more and less; +inf where it cannot be kept."""
    grid = priced.instance.theta
    thetas = np.array(grid, float) if grid is not None else None
    highs = priced.highs(entry) * priced.slot
    given = (path, rates, prices / priced.slot, highs, priced.plan.guarantee)
    now = slots_cost(*given, 0, thetas)
    if not math.isfinite(now):
        return math.nan, math.nan
    more, less = (slots_cost(*given, slots, thetas) - now for slots in (1, -1))
    return min(more, 0.0), max(less, 0.0)


def _add(sums: _Sums, entry: TenantPlan, value: _Entry) -> None:
    units = entry.count
    more, less = value.steps
    sums("deadline", entry.id).add(units * value.deadline, units * more, units * less)
    sums("epsilon", entry.id).add(units * value.epsilon)
    sums("arrival-rate", entry.id).add(units * value.rho)
    sums("arrival-burst", entry.id).add(units * value.sigma)
    for i, hop in enumerate(entry.path):
        sums("kappa", hop).add(units * value.kappa[i])
        sums("eta", hop).add(units * value.eta[i])
        if value.stepped[i]:  # a slot more of a pure delay is a slot less of deadline
            sums("latency", hop).add(math.nan, units * less, units * more)
        else:
            sums("latency", hop).add(units * value.latency[i])


def _capacities(instance: Instance, plan: Plan) -> list[Shadow]:
    unit = f"{instance.units.work}/{instance.units.time}"
    return [
        Shadow(
            "capacity",
            f"domains.{domain.id}.capacity",
            unit,
            -domain.price,
            None,
            None,
            f"1 {unit} more capacity in {domain.id}",
            -domain.price,
            _share(-domain.price, plan),
        )
        for domain in plan.domains
        if domain.price is not None and domain.price > 0.0
    ]


def _shadows(instance: Instance, plan: Plan, sums: _Sums) -> list[Shadow]:
    found = []
    for (parameter, owner), total in sums.of.items():
        place, unit, size, change = _natural(instance, parameter, owner)
        if total.slope is not None:
            slope, more, less, effect = total.slope, None, None, total.slope * size
        elif parameter in ("deadline", "latency"):
            slope, more, less = None, _finite(total.more), _finite(total.less)
            better, word = (more, "more") if parameter == "deadline" else (less, "less")
            slots = f"one whole slot ({instance.slot:g} {instance.units.time}) {word}"
            noun = f"deadline for {owner}" if parameter == "deadline" else f"latency in {owner}"
            if better is None:
                continue
            effect, change = better, f"{slots} {noun}"
        else:
            continue
        found.append(Shadow(parameter, place, unit, slope, more, less, change, effect, _share(effect, plan)))
    return found


def _natural(instance: Instance, parameter: str, owner: str) -> tuple[str, str, float, str]:
    """(place, unit, a change of a natural size, the change in words)"""
    time, work = instance.units.time, instance.units.work
    if parameter in ("deadline", "epsilon", "arrival-rate", "arrival-burst"):
        slo = instance.tenant(owner).slo
        place = f"tenants.{owner}"
        match parameter:
            case "deadline":
                return f"{place}.slo.deadline", time, 1.0, f"1 {time} more deadline for {owner}"
            case "epsilon":
                size = 0.1 * slo.epsilon
                return (
                    f"{place}.slo.epsilon",
                    "1",
                    size,
                    f"ε of {owner} larger by a tenth ({1.1 * slo.epsilon:g})",
                )
            case "arrival-rate":
                size = 0.01 * _mean(instance, owner)
                words = f"1 % more work from {owner} ({size:.3g} {work}/{time}, evenly)"
                return f"{place}.arrivals", f"{work}/{time}", size, words
        return f"{place}.arrivals", work, 1.0, f"a burst of 1 {work} more from {owner}"
    domain, offer = owner.split("/", 1)
    # where there is no impairment there is nothing to be lowered
    lower, way = (
        (1.0, "higher")
        if getattr(instance.offer(owner)[1].impairment, "model", "") == "none"
        else (-1.0, "lower")
    )
    place = f"domains.{domain}.offers.{offer}"
    match parameter:
        case "latency":
            return f"{place}.latency", time, -1.0, f"1 {time} less latency in {owner}"
        case "kappa":
            words = f"κ of {owner} {way} by 0.01 {work}/{time}"
            return f"{place}.impairment", f"{work}/{time}", 0.01 * lower, words
    return f"{place}.impairment", work, lower, f"η of {owner} {way} by 1 {work}"


def _mean(instance: Instance, tenant: str) -> float:
    """Mean work per unit of time that a tenant sends."""
    from fedopt.laws import build

    return float(build(instance.tenant(tenant).arrivals, instance.slot).mean) / float(instance.slot)


def _effect(effect: float, per_cent: float | None) -> str:
    share = "" if per_cent is None else f" ({abs(per_cent):.2g} %)"
    return f"{'saves' if effect <= 0.0 else 'costs'} {abs(effect):.4g}{share}"


def _share(effect: float, plan: Plan) -> float | None:
    return 100.0 * effect / abs(plan.cost) if plan.cost else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
