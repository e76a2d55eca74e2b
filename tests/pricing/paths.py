"""Random paths of generated networks, as the compiled image form takes them, and searches without
derivatives."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from fedopt.calculus.image import image
from fedopt.instance.generating import generate
from fedopt.kernels import kernel
from fedopt.laws.compiled import log_burst, request_log_bias, ville_burst
from fedopt.pricing import Network
from fedopt.pricing.services import Service


class Sample(NamedTuple):
    """One path of a service: positions in stage order, its window and its floors."""

    service: Service
    hops: np.ndarray
    window: int
    floor: np.ndarray

    @property
    def arguments(self) -> tuple:
        """(models, arrival, rows, lags, window, biased, log ε)."""
        own, graph = self.service, self.service.graph
        row, lag = graph.row[self.hops], graph.lag[self.hops]
        return own.network.models, own.arrival, row, lag, self.window, own.biased, own.log_epsilon

    @property
    def singly(self) -> tuple:
        """The path as `image_slopes` takes it, every position held by its own offer."""
        models, arrival, row, lag, window, biased, log_epsilon = self.arguments
        members = np.arange(2 * len(row) + 1), np.repeat(row, 2), np.repeat(self.floor, 2)
        lagged = float(self.floor @ lag)
        return models, arrival, members, row, float(lag.sum()), lagged, window, biased, log_epsilon


def services(stages: int, domains: int, seed: int, count: int) -> list[Service]:
    """Services of different promises over one generated network."""
    network = Network(generate(40, stages, domains, seed))
    by_service = {kind.service: kind for kind in network.kinds}
    return [Service(network, kind) for kind in list(by_service.values())[:count]]


def sample(service: Service, rng: np.random.Generator, hops: int) -> Sample | None:
    """A path over the first stages; None where an offer is of no use in the window drawn."""
    first = service.graph.first
    chosen = np.array([rng.integers(first[s], first[s + 1]) for s in range(hops)])
    window = int(rng.choice(service.windows))
    floor = service._floor(chosen, window)
    return Sample(service, chosen, window, floor) if np.isfinite(floor).all() else None


@kernel
def log_bound(path, rate, theta, alpha):
    """The plain image form's log-bound less log ε at given rates."""
    models, arrival, row, lag, window, biased, log_epsilon = path
    burst = ville_burst(models, arrival, theta) - log_epsilon
    if biased:
        burst += request_log_bias(models, arrival, theta)
    for i in range(row.size):
        burst += log_burst(models, row[i], theta) + theta * rate[i] * lag[i]
    if not burst < math.inf:
        return math.inf
    walls = row.size - 1
    charge = np.full(walls, theta * alpha)
    cut, gamma, log_wall = np.arange(row.size + 1), np.empty(walls), np.empty(walls)
    value = image(models, arrival, row, cut, charge, rate, theta, window, 1, gamma, log_wall, False)
    return burst + value


@kernel
def _bisected(path, floor, theta, alpha):
    low, high = 0.0, 1e-3 * floor.mean()
    while log_bound(path, floor + high, theta, alpha) > 0.0:  # at large rates a rate-latency raises it again
        low, high = high, 1.3 * high
        if high > 10.0 * floor.mean():
            return math.inf
    for _ in range(45):
        middle = 0.5 * (low + high)
        if log_bound(path, floor + middle, theta, alpha) <= 0.0:
            high = middle
        else:
            low = middle
    return high


def searched_margin(path: Sample) -> float:
    """The least margin by bisection, least over (θ, α) by Nelder and Mead's method from many starts."""

    def margin(point) -> float:
        found = _bisected(path.arguments, path.floor, math.exp(point[0]), 1.0 + math.exp(min(point[1], 5.0)))
        return found if math.isfinite(found) else 1e3 + abs(point[0])

    starts = [(x, y) for x in np.log(np.geomspace(0.05, 2.0, 14)) for y in (-4.0, -1.0, 0.5)]
    starts.sort(key=margin)
    options = {"xatol": 1e-5, "fatol": 1e-9, "maxiter": 400}
    return min(minimize(margin, s, method="Nelder-Mead", options=options).fun for s in starts[:4])
