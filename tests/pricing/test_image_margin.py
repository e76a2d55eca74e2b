"""Newton's method for margins against a search without derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.pricing.image_margin import ACCURACY, image_margin, margin_workspace
from tests.pricing.paths import sample, searched_margin, services


@pytest.mark.parametrize("hops", [2, 3, 4, 5])
def test_finds_what_a_search_finds(hops):
    rng = np.random.default_rng(hops)
    unknown, errors = 0, []
    for service in services(hops, 5, seed=hops + 10, count=8):
        last, work = service.memory.last[hops].copy(), margin_workspace(hops)
        for k in range(8):  # the solution of one path is where the next one starts
            path = sample(service, rng, hops)
            margin = image_margin(path.singly, last, service.graph.unit, work)
            unknown += math.isnan(margin)
            if k in (0, 7) and not math.isnan(margin):
                rate = service.graph.unit + margin
                errors.append((margin - searched_margin(path)) / rate)
    assert unknown <= 2  # of 64: what Newton's method misses is searched
    assert np.abs(errors).max() < 0.5 * ACCURACY


def test_a_failure_leaves_the_neighbour_as_it_was():
    (service,) = services(3, 4, seed=2, count=1)
    path = sample(service, np.random.default_rng(0), 3)
    models, arrival, members, rows, lag, lagged, _, biased, log_epsilon = path.singly
    hopeless = models, arrival, members, rows, lag, lagged, -5, biased, log_epsilon
    last = service.memory.last[3].copy()
    before = last[:3].copy()
    assert math.isnan(image_margin(hopeless, last, service.graph.unit, margin_workspace(3)))
    assert (last[:2] == before[:2]).all()
