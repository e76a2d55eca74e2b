"""A first placement of all tenants, cheapest first, that proves capacities sufficient.

Synthetic and imported instances must be feasible. Each batch of identical tenants takes the cheapest path
that still has room at the rate of `ville_rate`; what fits nowhere enlarges the capacities on its cheapest
path.

The rate is that of the Ville form for equal rates, minimised over θ:
R = max(ρ + κ_Σ, [log(1/ε) + θ(σ + κ_Σ τ)] / [θ(τ − T_Σ)]). It is a guarantee of the fluid, above what the
planner's tighter forms reserve for it; whole requests take more, for which capacities leave room. It covers
the models without memory, which are the ones that `generate` and `import` use, and envelopes: without
independent increments the monotone form takes the place of Ville's, which asks for a margin
Δ = θ(R − ρ − κ_Σ) > 0 and adds −log(e^Δ − 1) to what is promised.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .arrivals import EnvelopeArrivals, ExponentialSize, ExponentialWork, Poisson, TokenBucket
from .documents import SLO, Domain, Link, Offer, Tenant
from .graph import RatedStages, admissible
from .impairments import ExponentialImpairment, GammaImpairment, NoImpairment, PoissonImpairment

BATCHES = 24
"""Batches into which the tenants of one kind are divided, so that they may take different paths."""


@dataclass
class Placement:
    """Loads (work per unit of time, by domain id), and by tenant id the cost and the rate that each kind met.

    `unserved` names the tenants that no path can serve whatever the capacities.
    """

    loads: dict[str, float]
    costs: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    unserved: list[str] = field(default_factory=list)


class _Layers:
    """The stage graph as arrays: the offers of each stage and the link costs and delays between them."""

    def __init__(
        self, stages: Sequence[str], domains: Sequence[Domain], links: Sequence[Link] | None
    ) -> None:
        self.offers: list[list[tuple[Domain, Offer]]] = [
            [(domain, offer) for domain in domains if domain.stage == stage for offer in domain.offers]
            for stage in stages
        ]
        self.rated = RatedStages.of(stages, domains)
        joined = None if links is None else {(link.from_, link.to): link for link in links}
        self.delays: list[np.ndarray] = []
        self.costs: list[np.ndarray] = []
        for layer, following in zip(self.offers[:-1], self.offers[1:], strict=True):
            delay = np.zeros((len(layer), len(following)))
            cost = np.zeros_like(delay)
            if joined is not None:
                for i, (start, _) in enumerate(layer):
                    for j, (end, _) in enumerate(following):
                        link = joined.get((start.id, end.id))
                        delay[i, j], cost[i, j] = (link.delay, link.cost) if link else (math.inf, math.inf)
            self.delays.append(delay)
            self.costs.append(cost)

    def least(self, weights: Sequence[np.ndarray], between: Sequence[np.ndarray]) -> list[int] | None:
        """The path of least total weight of offers and links, as one index per stage, or None."""
        value, choices = weights[0], []
        for link, weight in zip(between, weights[1:], strict=True):
            total = value[:, None] + link
            choices.append(np.argmin(total, axis=0))
            value = np.min(total, axis=0) + weight
        if not np.isfinite(np.min(value)):
            return None
        path = [int(np.argmin(value))]
        for choice in reversed(choices):
            path.append(int(choice[path[-1]]))
        return path[::-1]


def place(
    stages: Sequence[str],
    domains: Sequence[Domain],
    links: Sequence[Link] | None,
    tenants: Sequence[Tenant],
    slot: float,
    rng: np.random.Generator,
) -> Placement:
    """Place all tenants on `domains` with their present capacities as the room that there is."""
    layers = _Layers(stages, domains, links)
    room = {domain.id: domain.capacity for domain in domains}
    placement = Placement({domain.id: 0.0 for domain in domains})
    kinds: dict[object, list[Tenant]] = {}
    for tenant in tenants:
        own = tuple(sorted((tenant.work or {}).items()))
        kinds.setdefault((tenant.arrivals, tenant.slo, tenant.policy, own), []).append(tenant)
    batches: list[tuple[_Kind, int]] = []
    for members in kinds.values():
        kind = _Kind(layers, members[0], slot)
        heads = sum(tenant.count for tenant in members)
        if kind.rate == math.inf:
            placement.unserved += [tenant.id for tenant in members]
            continue
        placement.costs.update((tenant.id, kind.cost) for tenant in members)
        placement.rates.update((tenant.id, kind.rate) for tenant in members)
        size = max(1, math.ceil(heads / BATCHES))
        batches += [(kind, min(size, heads - first)) for first in range(0, heads, size)]
    for k in rng.permutation(len(batches)):
        kind, heads = batches[k]
        path, rate = kind.path(room, heads)
        for domain, offer in path:
            used = heads * rate * offer.work_factor
            room[domain.id] -= used
            placement.loads[domain.id] += used
    return placement


class _Kind:
    """Tenants that differ in nothing but their names."""

    def __init__(self, layers: _Layers, tenant: Tenant, slot: float) -> None:
        self.layers, self.tenant, self.slot = layers, tenant, slot
        self.allowed = [
            np.array([not admissible(tenant, domain, offer, layers.rated) for domain, offer in layer])
            for layer in layers.offers
        ]
        self.rates: dict[tuple[int, ...], float] = {}
        self.guess = 1.0
        self.rate, self.cost = math.inf, math.inf
        for _ in range(2):  # the second time with the rate of the first path for a guess
            path = layers.least(self._weights(None, 1), layers.costs)
            if path is None:
                return
            self.rate = self._rate(path)
            self.guess = self.rate if math.isfinite(self.rate) else self.guess
        if self.rate == math.inf:
            path = self._fastest()
            self.rate = math.inf if path is None else self._rate(path)
        if math.isfinite(self.rate):
            assert path is not None
            self.guess, self.first = self.rate, path
            self.cost = self._cost(path, self.rate)

    def path(self, room: Mapping[str, float], heads: int) -> tuple[list[tuple[Domain, Offer]], float]:
        """The path of a batch and the rate of each of its tenants there."""
        path = self.layers.least(self._weights(room, heads), self.layers.costs)
        if path is None or not math.isfinite(self._rate(path)):
            path = self.first
        return [layer[i] for layer, i in zip(self.layers.offers, path, strict=True)], self._rate(path)

    def _weights(self, room: Mapping[str, float] | None, heads: int) -> list[np.ndarray]:
        weights = []
        for layer, allowed in zip(self.layers.offers, self.allowed, strict=True):
            weight = np.array(
                [
                    offer.cost.variable(self.guess) + offer.cost.fixed
                    if offer.max_rate is None or offer.max_rate >= self.guess
                    else math.inf
                    for _, offer in layer
                ]
            )
            if room is not None:
                left = [room[d.id] - heads * self.guess * offer.work_factor for d, offer in layer]
                weight[np.array(left) < 0] = math.inf
            weight[~allowed] = math.inf
            weights.append(weight)
        return weights

    def _fastest(self) -> list[int] | None:
        """The path with the least total of latencies and delays."""
        weights = [np.array([offer.latency for _, offer in layer], float) for layer in self.layers.offers]
        for weight, allowed in zip(weights, self.allowed, strict=True):
            weight[~allowed] = math.inf
        return self.layers.least(weights, self.layers.delays)

    def _rate(self, path: list[int]) -> float:
        key = tuple(path)
        if key not in self.rates:
            offers = [layer[i][1] for layer, i in zip(self.layers.offers, path, strict=True)]
            links = zip(self.layers.delays, path[:-1], path[1:], strict=True)
            delay = sum(float(delays[i, j]) for delays, i, j in links)
            delay += sum(offer.latency for offer in offers if offer.latency_kind == "delay")
            latency = sum(offer.latency for offer in offers if offer.latency_kind == "rate")
            impairments = [offer.impairment for offer in offers]
            rate = ville_rate(self.tenant.arrivals, impairments, self.tenant.slo, self.slot, latency, delay)
            limit = min((offer.max_rate for offer in offers if offer.max_rate is not None), default=math.inf)
            self.rates[key] = rate if rate <= limit else math.inf
        return self.rates[key]

    def _cost(self, path: list[int], rate: float) -> float:
        links = zip(self.layers.costs, path[:-1], path[1:], strict=True)
        offers = [layer[i][1] for layer, i in zip(self.layers.offers, path, strict=True)]
        return sum(float(costs[i, j]) for costs, i, j in links) + sum(
            offer.cost.variable(rate) + offer.cost.fixed for offer in offers
        )


POINTS = 32
"""Values of θ that are tried at first, and again around the best of them."""

MARGINS = np.geomspace(math.log(2) / 2**20, math.log(2), 41)
"""Margins Δ that are tried; where a rate is bounded by stability, the least of them costs nothing."""


def log_moment(model: Any, theta: np.ndarray, slot: float) -> np.ndarray:
    """Log-moment of a slot's work (for an envelope its rate, θρ) at θ > 0 below the model's limit; shape of
    `theta`.

    Raises `TypeError` for another model with memory, and for a table of impairments.
    """
    match model:
        case EnvelopeArrivals():
            return _line(model, model.rho, theta) * slot
        case NoImpairment():
            return np.zeros_like(theta)
        case TokenBucket():
            return theta * model.rate * slot
        case ExponentialWork() | ExponentialImpairment():
            return -np.log1p(-theta * model.mean * slot)
        case GammaImpairment():
            return -model.shape * slot * np.log1p(-theta * model.scale)
        case Poisson() | PoissonImpairment():
            if isinstance(model.size, ExponentialSize):
                x = theta * model.size.exponential
                return model.rate * slot * x / (1 - x)
            return model.rate * slot * np.expm1(theta * model.size)
    raise TypeError(f"no closed form for the model {type(model).__name__}")


def _burst(model: Any, theta: np.ndarray, slot: float, of: str) -> np.ndarray:
    """θσ with the correction for promises about requests (a request finds its own work in the queue)."""
    if isinstance(model, TokenBucket):
        return theta * model.burst
    burst = _line(model, model.sigma, theta) if isinstance(model, EnvelopeArrivals) else np.zeros_like(theta)
    if of == "time":
        return burst
    if isinstance(model, Poisson):
        return _own_work(model.size, theta)
    if isinstance(model, EnvelopeArrivals):
        return burst + (0.0 if model.request_size is None else _own_work(model.request_size, theta))
    return -np.log1p(-theta * model.mean * slot)


def _own_work(size: Any, theta: np.ndarray) -> np.ndarray:
    """Log-moment of the work of one request; +inf where it has none."""
    if isinstance(size, ExponentialSize):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(theta * size.exponential < 1, -np.log1p(-theta * size.exponential), np.inf)
    return theta * size


def _line(model: EnvelopeArrivals, column: Sequence[float], theta: np.ndarray) -> np.ndarray:
    """θ times a column of an envelope, linear between its points and down to 0."""
    grid = np.array([0.0, *model.theta])
    return np.asarray(np.interp(theta, grid, grid * np.array([0.0, *column])))


def tilts(models: Iterable[Any], slot: float) -> np.ndarray:
    """Values of θ (1/work) below the limits of all `models`, shape (POINTS,)."""
    limit = min(min(model.theta_limit(slot) for model in models), 20.0)
    return np.asarray(limit * np.geomspace(1e-3, 0.995, POINTS))


def ville_rate(
    arrivals: Any, impairments: Sequence[Any], slo: SLO, slot: float, latency: float, delay: float
) -> float:
    """The rate (work per unit of time) that keeps the promise in every domain of a path; inf where none does.

    `latency` is the sum of the rate-latency terms of the path, `delay` that of its pure and link delays and
    `slot` the length of a slot, all in units of time.
    """
    window = math.floor((slo.deadline - delay) / slot + 1e-9)
    spare = window - latency / slot
    if spare <= 0 or window < 1:
        return math.inf
    theta = tilts([arrivals, *impairments], slot)
    rates = np.empty(0)
    for _ in range(2):
        rates = _rates(arrivals, impairments, slo, slot, theta, window, spare)
        best = int(np.argmin(rates))
        theta = np.linspace(theta[max(best - 1, 0)], theta[min(best + 1, len(theta) - 1)], POINTS)
    return float(np.min(rates)) / slot


def _rates(
    arrivals: Any,
    impairments: Sequence[Any],
    slo: SLO,
    slot: float,
    theta: np.ndarray,
    window: int,
    spare: float,
) -> np.ndarray:
    """The least work per slot at each θ; shape of `theta`."""
    load = log_moment(arrivals, theta, slot)
    taken = sum((log_moment(model, theta, slot) for model in impairments), np.zeros_like(theta))
    promised = -math.log(slo.epsilon) + _burst(arrivals, theta, slot, slo.of) + taken * window
    if isinstance(arrivals, EnvelopeArrivals) and not arrivals.independent_increments:
        margins = MARGINS[:, None]
        stable = (load + taken + margins) / theta
        kept = (promised - np.log(np.expm1(margins))) / (theta * spare)
        return np.asarray(np.maximum(stable, kept).min(axis=0))
    return np.asarray(np.maximum((load + taken) / theta, promised / (theta * spare)))


def rounded(value: float, digits: int = 3) -> float:
    """`value` to that many significant digits."""
    return float(f"{value:.{digits}g}")


def rounded_up(value: float, digits: int = 3) -> float:
    """The least number of that many significant digits that is not below `value` ≥ 0."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    result = float(f"{math.ceil(value / step * (1 - 1e-12)) * step:.{digits}g}")
    return result if result >= value else float(f"{result + step:.{digits}g}")
