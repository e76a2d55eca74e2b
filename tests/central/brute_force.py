"""Every combination of sized columns, priced from the instance's own price list: slow and obviously right."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.optimize import minimize

from fedopt.calculus.forms import ALL, bit
from fedopt.calculus.minplus import PackedPath, evaluate
from fedopt.instance import Instance
from fedopt.plan.paths import Paths
from tests.pricing.paths import log_bound


def points(
    instance: Instance, tenant: str, guarantee: str = "minplus", slack: float = 0.0
) -> list[tuple[list[tuple[str, str]], np.ndarray]]:
    """(hops, rates per unit of time) of both points of every admissible path, sized by plain bisection.

    Under minplus or one of its forms, for work i.i.d. per slot: equal rates, and floors plus a common margin
    by the plain image form (without it: in proportion to floors). The log-bound may exceed log ε by `slack`
    nats.
    """
    _, _, form = guarantee.partition(":")
    mask = bit(form) if form else ALL
    graph, paths = instance.graph(tenant), Paths(instance)
    first = [n for n in graph if graph.nodes[n]["stage"] == instance.stages[0]]
    found = []

    def walk(prefix: list[str]) -> None:
        if len(prefix) == len(instance.stages):
            hops = [tuple(name.split("/")) for name in prefix]
            whole = paths.path(tenant, hops).fluid  # of whole requests
            if whole.slots < 0:
                return
            floors = np.array([_floor(whole, i) for i in range(len(whole))])
            promised = whole.log_epsilon + slack
            by_margin = bool(mask & bit("image")) and len(whole) > 1
            for shape in (np.ones(len(whole)),) if by_margin else (np.ones(len(whole)), floors):
                scale = _least(whole, shape, mask, promised)
                if math.isfinite(scale):
                    found.append((hops, scale * shape / instance.slot))
            if by_margin and math.isfinite(margin := _least_margin(whole, floors, promised)):
                found.append((hops, (floors + margin) / instance.slot))
            return
        for following in graph.successors(prefix[-1]):
            walk([*prefix, following])

    for name in first:
        walk([name])
    return found


def _floor(path, i: int) -> float:
    """One-domain ville rate started at ℓ = 1, by a dense search over θ."""
    impairment, n, lag = path.impairments[i], path.slots, path.guardrail_latencies[i]
    if n + 1 - lag <= 0:
        return math.inf
    theta = np.geomspace(1e-4, 40.0, 40001)
    with np.errstate(all="ignore"):
        rho, kappa = path.arrival.rho(theta), impairment.kappa(theta) + 0.0 * theta
        burst = theta * (path.arrival.sigma(theta) + impairment.eta(theta)) + path.arrival.request_log_bias(
            theta
        )
        need = (burst - path.log_epsilon + theta * rho + theta * kappa * (n + 1)) / (theta * (n + 1 - lag))
        rate = np.maximum(rho + kappa, need)
    return float(np.nanmin(np.where(np.isfinite(rate), rate, np.inf)))


def _least(path, shape: np.ndarray, mask: int, promised: float) -> float:
    """Least scale at which some form of the mask proves a log-bound, by bisection on the bound itself.

    The bound is as good as its search for θ and the rest, so what fails at one scale may hold just below:
    look there too before believing.
    """

    def proven(scale: float) -> bool:
        return evaluate(path, scale * shape, mask).log_bound <= promised

    low, high = 0.0, 1.0 / shape.min()
    while not proven(high):
        low, high = high, 1.3 * high
        if high > 1e4:
            return math.inf
    below: float | None = high
    while below is not None:
        high = below
        while high - low > 1e-7 * high:
            middle = 0.5 * (low + high)
            low, high = (low, middle) if proven(middle) else (middle, high)
        below = next((s for s in high * (1.0 - np.geomspace(1e-4, 1e-2, 12)) if proven(s)), None)
        low = 0.9 * high
    return high


def _least_margin(path, floors: np.ndarray, promised: float) -> float:
    """Least margin over the floors that the plain image form proves, by bisection on its bound, each bound by
    a search over (θ, α) from many starts."""
    models, arrival, impair, _, lag, window, biased, _ = PackedPath(path).arguments()
    arguments = models, arrival, impair, lag, window, biased, promised

    def bound(margin: float) -> float:
        def at(point) -> float:
            tilt, ratio = math.exp(point[0]), 1.0 + math.exp(min(point[1], 30.0))
            value = log_bound(arguments, floors + margin, tilt, ratio)
            return value if math.isfinite(value) else 1e3 + abs(point[0])

        starts = sorted([*grid, *seen], key=at)[:2]
        found = [minimize(at, start, method="Nelder-Mead", options=options) for start in starts]
        best = min(found, key=lambda answer: answer.fun)
        seen.append(tuple(best.x))
        return float(best.fun)

    grid = [(x, y) for x in np.log(np.geomspace(0.03, 3.0, 10)) for y in (-4.0, -1.0, 1.0)]
    seen: list[tuple[float, float]] = []
    options = {"xatol": 1e-4, "fatol": 1e-9}
    low, high = 0.0, 0.1 * floors.mean()
    while bound(high) > 0.0:
        low, high = high, 2.0 * high
        if high > 100.0 * floors.mean():
            return math.inf
    while high - low > 2e-6 * floors.mean():
        middle = 0.5 * (low + high)
        low, high = (low, middle) if bound(middle) <= 0.0 else (middle, high)
    return high


def cheapest(instance: Instance, catalogue: dict[str, list]) -> float:
    """Least total cost over all combinations of one point a tenant that fit; +inf if none does."""
    links = {(link.from_, link.to): link.cost for link in instance.links or ()}
    best = math.inf
    for choice in itertools.product(*catalogue.values()):
        total: dict[tuple[str, str], float] = {}
        load: dict[str, float] = {}
        cost = 0.0
        for hops, rates in choice:
            for (domain, offer), rate in zip(hops, rates, strict=True):
                stated = instance.offer(f"{domain}/{offer}")[1]
                total[domain, offer] = total.get((domain, offer), 0.0) + rate
                load[domain] = load.get(domain, 0.0) + stated.work_factor * rate
                cost += stated.cost.fixed
            cost += sum(links.get((a, b), 0.0) for (a, _), (b, _) in itertools.pairwise(hops))
        if any(load[d] > instance.domain(d).capacity * (1 + 1e-9) for d in load):
            continue
        cost += sum(
            float(instance.offer(f"{domain}/{offer}")[1].cost.variable(z))
            for (domain, offer), z in total.items()
        )
        best = min(best, cost)
    return best
