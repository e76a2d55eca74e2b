"""Many paths side by side are sized as each is alone."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.calculus import split
from fedopt.calculus.split_batch import SplitBatch
from tests.calculus.test_split import GRID, random_path


@pytest.mark.parametrize("count", [1, 7, 200])  # the last on several threads
def test_a_batch_is_its_paths(count):
    rng = np.random.default_rng(count)
    paths = [random_path(rng, length=3) for _ in range(count)]
    prices = rng.uniform(0.2, 3.0, (count, 3))
    prices[rng.random((count, 3)) < 0.1] = 0.0
    prices[rng.random(count) < 0.05] = 0.0
    highs = np.where(rng.random((count, 3)) < 0.3, rng.uniform(0.5, 6.0, (count, 3)), np.inf)
    batch = SplitBatch(len(GRID) + 2, 3)
    for p, path in enumerate(paths):
        assert batch.add(split.terms(path, GRID[: len(GRID) - p % 3])) == p  # of different grids
    which = rng.permutation(count)
    found = batch.size(which, prices[which], highs[which])
    infeasible = 0
    for n, p in enumerate(which):
        alone = split.size(paths[p], prices[p], GRID[: len(GRID) - p % 3], highs=highs[p])
        assert found.cost[n] == pytest.approx(alone.cost, rel=1e-12)
        assert found.lower_bound[n] == pytest.approx(alone.lower_bound, rel=1e-12)
        if not np.isfinite(alone.cost):
            infeasible += 1
            continue
        assert found.theta[n] == alone.theta == GRID[found.index[n]]
        for name in ("rates", "deadlines", "budgets"):
            np.testing.assert_allclose(getattr(found, name)[n], getattr(alone, name), rtol=1e-12)
    assert count < 100 or 0 < infeasible < count / 2


def test_a_path_without_room_costs_infinitely_much_in_a_batch_too():
    rng = np.random.default_rng(0)
    path = random_path(rng, length=2)
    late = split.SplitTerms(**{**split.terms(path, GRID).__dict__, "deadline": 0.0})
    batch = SplitBatch(len(GRID), 2)
    batch.add(split.terms(path, GRID))
    batch.add(late)
    found = batch.size([0, 1], np.ones((2, 2)), np.full((2, 2), np.inf))
    assert np.isfinite(found.cost[0])
    assert np.isinf(found.cost[1])
    assert np.isinf(found.lower_bound[1])
