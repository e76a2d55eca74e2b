"""On random paths no simulated violation probability exceeds the bound that a plan would state."""

import math

import numpy as np
import pytest

from fedopt.calculus.minplus import evaluate
from fedopt.calculus.path import Path
from fedopt.laws.models import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, TokenBucket
from fedopt.simulate.estimates import tail_share
from fedopt.simulate.paths import allowed_slots, counts_requests, slot_path
from fedopt.simulate.slots import simulate


def random_path(seed):
    rng = np.random.default_rng(seed)
    u = rng.uniform
    arrivals = [
        Poisson(u(0.2, 0.8)),
        Poisson(u(0.2, 0.6), u(0.5, 1.5), True),
        ExponentialWork(u(0.2, 0.6)),
        OnOff(u(0.8, 2.0), u(0.1, 0.5), u(0.05, 0.3)),
        TokenBucket(u(0.2, 0.6), u(0.5, 3.0)),
    ][int(rng.integers(5))]
    impairments = tuple(
        [
            NoImpairment(),
            ExponentialWork(u(0.05, 0.4)),
            GammaWork(u(0.3, 1.0), u(0.1, 0.6)),
            Poisson(u(0.02, 0.2), u(0.3, 1.5)),
            OnOff(u(0.3, 1.0), u(0.2, 0.6), u(0.05, 0.2)),
        ][int(rng.integers(5))]
        for _ in range(int(rng.integers(1, 5)))
    )
    hops = len(impairments)
    latencies = np.round(rng.uniform(0, 3, hops), 1)
    kinds = rng.random(hops) < 0.4
    per_request = bool(rng.random() < 0.6)
    deadline = float(latencies.sum() + rng.integers(6, 30))
    return Path(arrivals, impairments, latencies, kinds, deadline, math.log(1e-2), per_request)


def stated(path):
    """Rates at which the plan's bound is about one in a hundred."""
    shape = np.random.default_rng(len(path)).uniform(1.0, 1.2, len(path))
    low = path.arrival.mean + max(impairment.mean for impairment in path.impairments)
    high = 2 * low
    while evaluate(path, shape * high).log_bound > path.log_epsilon:
        high *= 1.5
        assert high < 1e4 * low
    for _ in range(18):
        middle = (low + high) / 2
        if evaluate(path, shape * middle).log_bound <= path.log_epsilon:
            high = middle
        else:
            low = middle
    return shape * high, evaluate(path, shape * high).log_bound


def holds(seed, slots):
    path = random_path(seed)
    rates, log_bound = stated(path)
    allowed = allowed_slots(path)
    run = simulate(slot_path(path, rates), slots, trials=24, seed=seed)
    delays = run.requests if path.per_request else run.instants.astype(float)
    count = delays.sum() if counts_requests(path.arrival) or not path.per_request else run.instants.sum()
    return tail_share(delays, allowed, 0.999, float(count)).low <= math.exp(log_bound)


@pytest.mark.parametrize("seed", range(4))
def test_bound_holds_on_random_paths(seed):
    assert holds(seed, 20_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_bound_holds_on_forty_random_paths(seed):
    assert holds(1_000 + seed, 200_000)
