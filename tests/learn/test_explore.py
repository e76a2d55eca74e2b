"""Replicates weigh answers differently but for ever; views combine them."""

from __future__ import annotations

import numpy as np

from fedopt.learn.explore import Greedy, Optimistic, Thompson, bootstrap_weights
from tests.learn.conftest import make, random_history


def test_weights_are_exponential_and_belong_to_the_answer():
    _, history = random_history(10, 400, 1)
    weights = bootstrap_weights(history, 3)
    number = weights.size
    assert abs(weights.mean() - 1) < 4 / np.sqrt(number)
    assert abs(weights.std() - 1) < 0.1
    moved = history.rows(np.array([5, 2]))
    np.testing.assert_array_equal(bootstrap_weights(moved, 3)[:2], weights[[5, 2]])
    first, second = weights[:30], weights[30:60]
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / np.sqrt(first.size)


def test_views():
    _, history = random_history(2, 60, 2)
    rows = np.arange(6)
    explore = Optimistic(4, width=1.0)
    blank = make("convex", 24)
    spread, where = explore.spread(history, rows, blank)
    model = blank.fit(spread)
    assert where.tolist() == list(range(24))
    delay, throughput = np.full((6, 5), 25.0) + np.arange(5), np.full((6, 5), 0.5)
    each = np.stack([model.log_probability(delay, throughput, rows + 6 * e) for e in range(4)])
    p = np.exp(each)
    upper = explore.view(model, rows)
    np.testing.assert_allclose(
        upper.log_probability(delay, throughput, rows), np.log(np.minimum(p.mean(0) + p.std(0), 1))
    )
    numeric = (
        upper.log_probability(delay + 1e-4, throughput, rows)
        - upper.log_probability(delay - 1e-4, throughput, rows)
    ) / 2e-4
    np.testing.assert_allclose(upper.gradient(delay, throughput, rows)[0], numeric, rtol=1e-3, atol=1e-7)
    drawn = Thompson(4).view(model, rows).log_probability(delay, throughput, rows)
    assert all(any(np.array_equal(drawn[m], one[m]) for one in each) for m in range(6))
    assert Greedy().view(model, rows) is model
