"""The slot simulator against exact values, a plain implementation, and itself on other threads."""

import math

import numpy as np
import pytest

from fedopt.laws.models import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, TokenBucket
from fedopt.simulate import slot_work
from fedopt.simulate.slots import SlotPath, merged, simulate
from fedopt.simulate.streams import mix, streams

PATHS = {
    "case A": (
        Poisson(0.5),
        [ExponentialWork(0.3), ExponentialWork(0.2), ExponentialWork(0.4)],
        [1.1, 1.05, 1.2],
    ),
    "on-off": (OnOff(1.0, 0.3, 0.1), [OnOff(0.8, 0.2, 0.05), NoImpairment()], [0.6, 0.5]),
    "gamma": (Poisson(0.3, 1.0, True), [GammaWork(0.4, 0.5), Poisson(0.05, 2.0)], [0.8, 0.7]),
    "token bucket": (TokenBucket(0.3, 2.0), [ExponentialWork(0.2)], [0.7]),
    "many requests": (Poisson(30.0, 0.02), [ExponentialWork(0.3)], [1.2]),
}


def slot_path(name):
    arrival, impairments, rates = PATHS[name]
    return SlotPath(
        slot_work.slot_work(arrival), tuple(slot_work.slot_work(i) for i in impairments), np.array(rates)
    )


def drawn(work, origin, step, slots):
    out, weights = np.empty(slots), np.empty(slots)
    slot_work.sample(work.code, *work.parameters, work.work, work.requests, origin, step, out, weights)
    return out, weights


def plainly(path, slots, seed):
    """Delays by cumulative curves of exact fractions of the same random numbers, from an empty start."""
    start, step = streams(seed, 1)[0]
    own = np.uint64(0x94D049BB133111EB)
    tail = 3_000
    total = slots + tail
    with np.errstate(over="ignore"):
        origins = [mix.py_func(start + own * np.uint64(k + 1)) for k in range(len(path.impairments) + 1)]
    arrivals, weights = drawn(path.arrivals, origins[0], step, total)
    flow = arrivals.copy()
    for work, origin, rate in zip(path.impairments, origins[1:], path.rates, strict=True):
        impairment, _ = drawn(work, origin, step, total)
        priority = backlog = 0.0
        for t in range(total):
            priority += impairment[t]
            served = min(priority, rate)
            priority -= served
            backlog += flow[t]
            flow[t] = min(backlog, rate - served)
            backlog -= flow[t]
    came, left = np.cumsum(arrivals), np.cumsum(flow)
    requests, instants = np.zeros(4096), np.zeros(4096, dtype=int)
    for t in range(slots):
        delay = max(0, int(np.searchsorted(left, came[t] - 1e-7)) - t) if came[t] > 1e-7 else 0
        instants[delay] += 1
        if arrivals[t] > 0:
            requests[delay] += weights[t]
    return requests, instants


@pytest.mark.parametrize("name", PATHS)
def test_equal_to_cumulative_curves(name):
    path = slot_path(name)
    found = simulate(path, 4_000, trials=1, warmup=0, seed=12)
    requests, instants = plainly(path, 4_000, 12)
    assert np.array_equal(found.instants[0], instants)
    assert np.allclose(found.requests[0], requests)
    assert found.instants.sum() == 4_000


def test_single_server_exact_probability():
    """Exponential work of mean one per slot, rate 1.6: P(W > 8) = 9.663873e-5."""
    path = SlotPath(
        slot_work.slot_work(ExponentialWork(1.0)), (slot_work.slot_work(NoImpairment()),), np.array([1.6])
    )
    run = simulate(path, 400_000, trials=32, seed=1)
    late = run.instants[:, 9:].sum(axis=1) / run.slots
    assert abs(late.mean() - 9.663873e-5) < 3.5 * late.std(ddof=1) / math.sqrt(32)
    assert late.std(ddof=1) / math.sqrt(32) < 1.2e-5


def test_identical_for_any_number_of_threads():
    runs = [simulate(slot_path("case A"), 3_000, trials=20, seed=4, threads=n) for n in (1, 2, 4)]
    for run in runs[1:]:
        assert np.array_equal(run.requests, runs[0].requests)
        assert np.array_equal(run.instants, runs[0].instants)


def test_more_rate_never_delays_more():
    path = slot_path("case A")
    slow = simulate(path, 20_000, trials=4, seed=2)
    fast = simulate(SlotPath(path.arrivals, path.impairments, path.rates * 1.05), 20_000, trials=4, seed=2)
    tail = [np.cumsum(run.requests.sum(axis=0)[::-1]) for run in (slow, fast)]
    assert (tail[1] <= tail[0] + 1e-9).all()


def test_dependent_domains_share_their_stream():
    impairment = slot_work.slot_work(Poisson(0.02, 5.0))
    arrivals = slot_work.slot_work(Poisson(0.3))
    together = SlotPath(arrivals, (impairment,) * 2, np.array([0.9, 0.9]), (0, 0))
    apart = SlotPath(arrivals, (impairment,) * 2, np.array([0.9, 0.9]))
    delays = [simulate(p, 50_000, trials=8, seed=1).requests for p in (together, apart)]
    assert not np.array_equal(*delays)


def test_overload_is_reported_not_endless():
    path = SlotPath(
        slot_work.slot_work(Poisson(2.0)), (slot_work.slot_work(NoImpairment()),), np.array([0.5])
    )
    assert not path.stable
    run = simulate(path, 20_000, trials=2, warmup=0, bins=64)
    assert run.unfinished.sum() > 0
    assert run.instants.sum() == 40_000
    assert run.requests[:, -1].sum() > 0.9 * run.requests.sum()


def test_merging_and_refusals():
    run = simulate(slot_path("gamma"), 1_000, trials=2)
    assert merged([run, run]).requests.shape == (4, run.requests.shape[1])
    with pytest.raises(ValueError, match="slots"):
        simulate(slot_path("gamma"), 0)
    with pytest.raises(ValueError, match="rate"):
        SlotPath(slot_path("gamma").arrivals, slot_path("gamma").impairments, np.array([1.0]))
