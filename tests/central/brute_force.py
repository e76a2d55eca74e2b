"""Every combination of sized columns, priced from the instance's own price list: slow and obviously right."""

from __future__ import annotations

import itertools
import math

import numpy as np

from fedopt.calculus.forms import ALL, bit
from fedopt.calculus.minplus import evaluate
from fedopt.instance import Instance
from fedopt.plan.paths import Paths


def points(
    instance: Instance, tenant: str, guarantee: str = "minplus", slack: float = 0.0
) -> list[tuple[list[tuple[str, str]], np.ndarray]]:
    """(hops, rates per unit of time) of both profiles on every admissible path, sized by plain bisection.

    Under minplus or one of its forms; the log-bound may exceed log ε by `slack` nats.
    """
    _, _, form = guarantee.partition(":")
    mask = bit(form) if form else ALL
    graph, paths = instance.graph(tenant), Paths(instance)
    first = [n for n in graph if graph.nodes[n]["stage"] == instance.stages[0]]
    found = []

    def walk(prefix: list[str]) -> None:
        if len(prefix) == len(instance.stages):
            hops = [tuple(name.split("/")) for name in prefix]
            whole = paths.path(tenant, hops)
            if whole.slots < 0:
                return
            floors = np.array([_floor(whole, i) for i in range(len(whole))])
            for shape in (np.ones(len(whole)), floors):
                scale = _least(whole, shape, mask, whole.log_epsilon + slack)
                if math.isfinite(scale):
                    found.append((hops, scale * shape / instance.slot))
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
