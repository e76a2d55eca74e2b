"""Joint convexity of a form in θ and the scaled reservations r = θR, at random midpoints."""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.minplus import PackedPath
from fedopt.laws import OnOff
from tests.calculus.systems import at, forms_of, path_of
from tests.oracles.random_tandems import random_tandem, theta_top


def assert_jointly_convex(form: str, seed: int, parameter: float = 1.0, rising: bool = False) -> None:
    """log-bound(θ, θR) at a midpoint is at most the mean of the ends, and finite where both ends are.

    The burst of on-off work is a maximum of log-ratios, which no form claims to be convex: without it.
    rising: only reservations that do not fall along the path.
    """
    rng = np.random.default_rng(seed)
    tandem = random_tandem(rng)
    models = (tandem.arrival, *tandem.impairments)
    if form not in forms_of(tandem) or any(isinstance(m, OnOff) for m in models):
        return
    packed = PackedPath(path_of(tandem, request=bool(rng.random() < 0.5)))
    top = min(theta_top(tandem), 10.0)
    size = len(tandem.rates)

    def end():
        theta = top * rng.uniform(0.02, 0.98)
        rates = np.array(tandem.rates) * rng.uniform(0.7, 3.0) * rng.uniform(1.0, 1.6, size)
        return theta, theta * (np.sort(rates) if rising else rates)

    for _ in range(8):
        (theta, reserve), (other, reserved) = end(), end()
        low = at(form, packed, reserve / theta, theta, parameter)
        high = at(form, packed, reserved / other, other, parameter)
        if low == math.inf or high == math.inf:
            continue
        middle = 0.5 * (theta + other)
        value = at(form, packed, 0.5 * (reserve + reserved) / middle, middle, parameter)
        assert value <= 0.5 * (low + high) + 1e-9 * (1.0 + abs(low) + abs(high)), (form, seed)
