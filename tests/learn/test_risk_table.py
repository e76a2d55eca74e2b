"""Limits on risks from batches of answers, against a queue whose risks are known from a long run."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.kernels import kernel
from fedopt.learn.risk_table import (
    MODELS,
    Batches,
    batches_needed,
    expected_risks,
    lower_limit,
    upper_limit,
    upper_limits,
)

GRID = np.geomspace(1.5, 24, 8)
SLOTS, BATCHES = 30_000, 24


@kernel
def _lindley(work: np.ndarray, rate: float) -> np.ndarray:
    delay = np.empty(len(work))
    queue = 0.0
    for t in range(len(work)):
        queue = max(queue + work[t] - rate, 0.0)
        delay[t] = queue / rate
    return delay


def _queue(rng: np.random.Generator, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Requests of each slot and their delay at a server with priority work, by Lindley's recursion."""
    requests = rng.poisson(0.5, slots).astype(float)
    return requests, _lindley(requests + rng.exponential(0.2, slots), 1.0)


def _answers(rng: np.random.Generator, periods: int) -> Batches:
    rows = []
    for period in range(periods):
        requests, delay = _queue(rng, SLOTS)
        for b, part in enumerate(np.array_split(np.arange(SLOTS), BATCHES)):
            k = (b + period) % len(GRID)
            rows.append((k, requests[part].sum(), requests[part][delay[part] > GRID[k]].sum()))
    return Batches.of(rows)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    requests, delay = _queue(np.random.default_rng(1), 4_000_000)
    return np.array([requests[delay > least].sum() / requests.sum() for least in GRID])


@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_whole_table_holds_at_its_confidence(truth: np.ndarray, confidence: float) -> None:
    replicates = 150
    held = 0
    for seed in range(replicates):
        limits = upper_limits(_answers(np.random.default_rng([2, seed]), 3), len(GRID), confidence)
        assert np.all(np.diff(limits) <= 0)
        held += bool(np.all(limits >= truth))
    error = np.sqrt(confidence * (1 - confidence) / replicates)
    assert held / replicates >= confidence - 3 * error


@pytest.mark.parametrize("outage", [0.003, 0.01, 0.05])
@pytest.mark.parametrize("batches", [40, 400])
def test_it_holds_with_rare_outages_of_whole_batches(outage: float, batches: int) -> None:
    """A few requests of every batch are rejected, and now and then all of one; most tables see no outage."""
    replicates, confidence, usual = 400, 0.95, np.array([0.05, 0.004, 0.0005])
    risks = outage + (1 - outage) * usual
    held = 0
    for seed in range(replicates):
        rng = np.random.default_rng([7, seed])
        place = np.arange(batches) % 3
        rejected = np.where(rng.random(batches) < outage, 500, rng.binomial(500, usual[place]))
        rows = [(int(k), 500.0, float(r)) for k, r in zip(place, rejected, strict=True)]
        held += bool(np.all(upper_limits(Batches.of(rows), 3, confidence) >= risks))
    assert held / replicates >= confidence - 3 * np.sqrt(0.95 * 0.05 / replicates)


def test_the_limit_is_the_largest_mean_that_the_answers_allow() -> None:
    """Against shares of a known law: its chance of being too low is at most the tail, and not far below."""
    rng, n, tail = np.random.default_rng(8), 300, 0.05
    for mean in (0.01, 0.2):
        coins = rng.random((4000, n)) < mean  # the worst law of a share with this mean: all or nothing
        wrong = np.mean([upper_limit(n, float(row.sum()), tail) < mean for row in coins])
        assert wrong <= tail + 3 * np.sqrt(tail * (1 - tail) / 4000)
        assert wrong >= tail / 10
    assert upper_limit(n, 0.0, tail) == pytest.approx(1 - tail ** (1 / n))
    assert upper_limit(n, float(n), tail) == 1.0
    assert upper_limit(0, 0.0, tail) == 1.0


def test_limits_come_down_with_answers(truth: np.ndarray) -> None:
    few, many = (upper_limits(_answers(np.random.default_rng(3), n), len(GRID), 0.95) for n in (2, 24))
    assert np.all(many <= few)
    assert np.all(many[:3] <= 1.3 * truth[:3] + 0.15)
    silent = Batches.of([(0, 500.0, 0.0)] * batches_needed(0.01, 1, 0.95))
    assert upper_limits(silent, 1, 0.95)[0] <= 0.01


@pytest.mark.parametrize("model", list(MODELS))
def test_the_risk_model_comes_near_the_truth(truth: np.ndarray, model: str) -> None:
    def distance(periods: int) -> float:
        found = expected_risks(_answers(np.random.default_rng(4), periods), GRID, 1.0, model)
        assert np.all(np.diff(found) <= 0)
        return float(np.abs(found - truth).max())

    assert distance(40) < 0.04
    assert distance(40) <= distance(1) + 0.01


def test_clusters_count_once() -> None:
    """The same share of rejections, spread evenly or all in a few batches."""
    even = Batches.of([(0, 1000.0, 10.0)] * 100)
    clustered = Batches.of([(0, 1000.0, 100.0)] * 10 + [(0, 1000.0, 0.0)] * 90)
    assert even.effect() == 1.0
    assert clustered.effect() > 50
    # a limit without a law of the shares takes the worst one: both are what 100 answers say
    assert upper_limits(even, 1, 0.95)[0] == pytest.approx(upper_limits(clustered, 1, 0.95)[0])


def test_nothing_asked_nothing_known() -> None:
    nothing = Batches.of([(1, 0.0, 0.0)])
    assert np.array_equal(upper_limits(nothing, 3, 0.95), np.ones(3))
    assert np.array_equal(expected_risks(nothing, np.arange(1.0, 4.0), 1.0, "logistic"), np.ones(3))
    assert lower_limit(nothing, 0, 3, 0.95) == 0.0


def test_answers_to_stricter_asks_count_for_laxer_ones() -> None:
    strict = Batches.of([(0, 1000.0, k % 3) for k in range(600)])
    limits = upper_limits(strict, 3, 0.95)
    assert limits[0] < 0.015
    assert np.all(limits == limits[0])
    lax = Batches.of([(2, 1000.0, k % 3) for k in range(60)])
    assert np.array_equal(upper_limits(lax, 3, 0.95)[:2], [1.0, 1.0])


def test_the_lower_limit_holds_too(truth: np.ndarray) -> None:
    replicates, k = 100, 3
    held = sum(
        lower_limit(_answers(np.random.default_rng([5, seed]), 3), k, len(GRID), 0.95) <= truth[k]
        for seed in range(replicates)
    )
    assert held >= 95 - 3 * np.sqrt(0.95 * 0.05 * replicates)
