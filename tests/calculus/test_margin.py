"""The least margin at a given (θ, α): proven, and nothing less is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.calculus.margin import least_margin
from tests.pricing.paths import log_bound, sample, services


@pytest.mark.parametrize("hops", [2, 4])
def test_is_proven_and_nothing_less_is(hops):
    rng = np.random.default_rng(hops)
    found = 0
    for service in services(hops, 4, seed=3, count=6):
        path = sample(service, rng, hops)
        loose = np.full(hops, 1e9)
        for _ in range(30):
            theta, alpha = service._theta * rng.uniform(0.7, 1.3), 1.0 + rng.uniform(0.02, 2.0)
            margin = least_margin(path.arguments, path.floor, loose, theta, alpha, 0.0)
            if not math.isfinite(margin):
                continue
            found += 1
            assert log_bound(path.arguments, path.floor + margin, theta, alpha) <= 0.0
            less = margin - 1e-9 * path.floor.mean()
            assert less < 0.0 or log_bound(path.arguments, path.floor + less, theta, alpha) > 0.0
            for guess in (0.5 * margin, 3.0 * margin):  # where it starts does not matter
                again = least_margin(path.arguments, path.floor, loose, theta, alpha, guess)
                assert again == pytest.approx(margin, abs=1e-10)
    assert found > 40


def test_a_cap_raises_the_margin_of_the_others():
    rng = np.random.default_rng(1)
    compared = 0
    for service in services(3, 4, seed=3, count=8):
        path = sample(service, rng, 3)
        loose = np.full(3, 1e9)
        free, theta = min(
            (least_margin(path.arguments, path.floor, loose, theta, 1.3, 0.0), theta)
            for theta in service._theta * np.geomspace(0.5, 2.0, 15)
        )
        cap = np.array([1e9, path.floor[1] + 0.999 * free, 1e9])
        capped = least_margin(path.arguments, path.floor, cap, theta, 1.3, 0.0)
        if math.isfinite(capped):
            assert capped >= free  # equal where growth, which the ends decide, binds
            assert log_bound(path.arguments, np.minimum(path.floor + capped, cap), theta, 1.3) <= 0.0
            compared += 1
        tight = path.floor + 0.1 * free
        assert least_margin(path.arguments, path.floor, tight, theta, 1.3, 0.0) == math.inf
    assert compared >= 2
