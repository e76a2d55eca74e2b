"""The image form's slopes against differences of the form itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.calculus.image_slopes import image_slopes, slopes_workspace
from tests.pricing.paths import log_bound, sample, services


@pytest.mark.parametrize("hops", [2, 3, 4, 5])
def test_value_and_slopes_are_those_of_the_form(hops):
    rng = np.random.default_rng(hops)
    step, compared = 1e-5, 0
    for service in services(hops, 4, seed=hops, count=6):
        path = sample(service, rng, hops)
        out, work = np.empty(8), slopes_workspace(hops)
        for _ in range(40):
            x, y = math.log(service._theta) + rng.uniform(-0.3, 0.5), rng.uniform(-4.0, 1.0)
            margin = rng.uniform(0.05, 0.6) * path.floor.mean()
            if not image_slopes(path.singly, x, y, margin, np.zeros(hops - 1), out, work) or out[4] > -1e-3:
                continue

            def form(x, y, margin, path=path):
                return log_bound(path.arguments, path.floor + margin, math.exp(x), 1.0 + math.exp(y))

            assert out[0] == pytest.approx(form(x, y, margin), abs=1e-8)
            points = np.array([x, y, margin])
            for k in range(3):
                move = step * np.eye(3)[k]
                slope = (form(*(points + move)) - form(*(points - move))) / (2.0 * step)
                if math.isfinite(slope):
                    assert out[1 + k] == pytest.approx(slope, rel=1e-3, abs=1e-3)
                    compared += 1
    assert compared > 60


def test_growth_and_its_slopes():
    rng = np.random.default_rng(0)
    (service,) = services(3, 4, seed=1, count=1)
    path = sample(service, rng, 3)
    work, here, there = slopes_workspace(3), np.empty(8), np.empty(8)
    point = np.array([math.log(service._theta), -1.0, 0.2 * path.floor.mean()])
    assert image_slopes(path.singly, *point, np.zeros(2), here, work)
    for k in range(3):
        move = 1e-6 * np.eye(3)[k]
        assert image_slopes(path.singly, *(point + move), np.zeros(2), there, work)
        assert here[5 + k] == pytest.approx((there[4] - here[4]) / 1e-6, rel=1e-3, abs=1e-5)


def test_no_value_where_a_moment_is_infinite():
    rng = np.random.default_rng(0)
    (service,) = services(3, 4, seed=1, count=1)
    path = sample(service, rng, 3)
    assert not image_slopes(path.singly, 8.0, 3.0, 0.1, np.zeros(2), np.empty(8), slopes_workspace(3))
