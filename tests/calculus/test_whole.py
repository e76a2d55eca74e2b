"""Whole requests in continuous time: never more often late than the bound says, whatever the laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fedopt.calculus.minplus import evaluate
from fedopt.calculus.path import Path
from fedopt.calculus.whole import UnknownSize, handover
from fedopt.laws import (
    ExponentialWork,
    GammaWork,
    Modulated,
    NoImpairment,
    OnOff,
    Poisson,
    Renewal,
    Size,
    Table,
    TokenBucket,
    aggregate,
)
from tests.oracles.whole_requests import finished, sojourns

SLOTS = 150_000


def requests_of(law, rng, slots):
    """Times and sizes of requests of a law over so many slots."""
    if hasattr(law, "stream"):
        return law.stream(rng, slots)
    if isinstance(law, TokenBucket):  # as greedy as it may be, in requests of the burst, with rare pauses
        gaps = (law.burst / law.rate) * (1.0 + (rng.random(int(slots * law.rate / law.burst)) < 0.1))
        times = np.cumsum(gaps)
        return times, np.full(len(times), law.burst)
    work = law.sample(rng, slots)
    times = np.flatnonzero(work > 0.0)
    return times.astype(float), work[times]


def runs(late):
    """Mean length of a run of late requests: what dependence takes off their number."""
    starts = np.count_nonzero(late[1:] & ~late[:-1]) + late[0]
    return max(late.sum() / max(starts, 1), 1.0)


def system(seed):
    """A random path of whole requests, rates, and its sojourns by the exact recursion."""
    rng = np.random.default_rng(seed)
    hops = int(rng.integers(1, 5))
    size = rng.uniform(0.5, 8.0)
    arrivals = (
        Poisson(rng.uniform(0.02, 0.4), size),
        Poisson(rng.uniform(0.02, 0.4), size, exponential=True),
        ExponentialWork(size / 4.0),
        OnOff(size, rng.uniform(0.3, 0.9), rng.uniform(0.05, 0.3)),
        TokenBucket(size * rng.uniform(0.05, 0.3), size),
        Renewal(
            rng.uniform(0.02, 0.2), Size("lognormal", (size, 1.5), 6.0 * size), rng.choice([0.4, 1.0, 5.0])
        ),
        Renewal(
            rng.uniform(0.02, 0.2),
            Size("gamma", (size, 0.5)),
            rng.choice([1.0, 3.0]),
            int(rng.integers(1, 4)),
        ),
        Renewal(rng.uniform(0.02, 0.2), Size("fixed", (size,)), 0.2, gaps="hyperexponential"),
        Renewal(rng.uniform(0.02, 0.2), Size("uniform", (0.0, size)), rng.choice([0.3, 4.0]), gaps="weibull"),
        Modulated(
            (0.01, rng.uniform(0.05, 0.2), rng.uniform(0.2, 0.5)),
            ((0.0, 0.02, 0.0), (0.01, 0.0, 0.02), (0.05, 0.0, 0.0)),
            Size("exponential", (size,)),
        ),
        aggregate(
            Poisson(rng.uniform(0.02, 0.1), size, exponential=True),
            Renewal(rng.uniform(0.02, 0.1), Size("fixed", (0.5 * size,)), 0.5, gaps="hyperexponential"),
        ),
    )[seed % 11]
    work = arrivals.mean
    slotted = bool(rng.random() < 0.6) or seed % 11 in (2, 3)
    choices = (
        lambda: NoImpairment(),
        lambda: Poisson(rng.uniform(0.02, 0.2), work * rng.uniform(0.5, 4.0), bool(rng.random() < 0.5)),
        lambda: ExponentialWork(work * rng.uniform(0.1, 0.6)),
        lambda: GammaWork(rng.uniform(0.5, 3.0), work * rng.uniform(0.05, 0.3)),
        lambda: OnOff(work * rng.uniform(0.5, 2.0), rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.4)),
    )
    laws = [choices[rng.integers(5 if slotted else 2)]() for _ in range(hops)]
    delays = np.round(rng.uniform(0.0, 4.0, hops), int(rng.integers(0, 3)))
    load = rng.uniform(0.3, 0.9)
    rates = np.array([(work + law.mean) / load * rng.uniform(1.0, 1.3) for law in laws])
    times, sizes = requests_of(arrivals, rng, SLOTS)
    priority = []
    for law in laws:
        if isinstance(law, NoImpairment):
            priority.append((np.empty(0), np.empty(0)))
        else:
            priority.append(requests_of(law, rng, SLOTS + 2_000))
    found = sojourns(times, sizes, rates, priority, delays)
    path = Path(
        arrivals,
        tuple(laws),
        delays,
        np.zeros(hops, dtype=bool),
        1.0,
        math.log(0.01),
        whole=(True,) * hops,
    )
    return path, rates, found


@pytest.mark.parametrize("seed", range(56))
def test_no_bound_is_broken(seed):
    path, rates, found = system(seed)
    n = len(found)
    for quantile in (0.9, 0.99, 0.998):
        deadline = float(np.quantile(found, quantile))
        bound = evaluate(replace(path, deadline=deadline), rates, crossing=quantile == 0.99).log_bound
        late = (found > deadline).mean()
        # requests come in runs; a run of late ones is as long as a busy period at most
        noise = 4.0 * math.sqrt(late * runs(found > deadline) / n)
        assert late <= math.exp(min(bound, 0.0)) + noise


def event_by_event(begin, work, rate, at, jobs):
    """The same server, event by event: priority first, then requests in order."""
    events = sorted(
        [(t, 0, j) for t, j in zip(at, jobs, strict=True)] + [(t, 1, i) for i, t in enumerate(begin)]
    )
    ahead, queue, now, end = 0.0, [], 0.0, np.zeros(len(begin))
    for time, kind, what in [*events, (math.inf, 0, 0.0)]:
        while now < time and (ahead > 0.0 or queue):
            if ahead > 0.0:
                step = min(ahead / rate, time - now)
                ahead = 0.0 if step == ahead / rate else ahead - step * rate
            else:
                step = min(queue[0][1] / rate, time - now)
                queue[0][1] -= step * rate
                if queue[0][1] <= 1e-12:
                    end[queue.pop(0)[0]] = now + step
            now += step
        now = time
        if kind == 0:
            ahead += what
        else:
            queue.append([what, work[what]])
    return end


def test_the_oracle_is_the_server_event_by_event():
    rng = np.random.default_rng(5)
    for _ in range(25):
        begin, at = np.sort(rng.uniform(0.0, 60.0, 30)), np.sort(rng.uniform(0.0, 60.0, 20))
        work, jobs = rng.exponential(1.0, 30), rng.exponential(1.0, 20)
        expected = event_by_event(begin, work, 1.1, at, jobs)
        assert finished(begin, work, 1.1, at, jobs) == pytest.approx(expected, abs=1e-9)
    at, jobs = np.empty(0), np.empty(0)
    assert finished(begin, work, 1.1, at, jobs) == pytest.approx(event_by_event(begin, work, 1.1, at, jobs))


def test_one_hop_of_poisson_requests_needs_no_slots():
    """M/D/1 in continuous time: ville at the request itself, with the deadline to its last digit but a
    slot."""
    path = Path(Poisson(0.05, 4.0), (NoImpairment(),), [0.0], [False], 61.0, math.log(1e-3), whole=(True,))
    rate = np.array([0.5])
    bound = evaluate(path, rate).log_bound
    thetas = np.linspace(1e-3, 1.0, 40_000)
    law = Poisson(0.05, 4.0)
    stable = law.log_rate(thetas) <= thetas * rate
    assert bound == pytest.approx(np.min((thetas * 4.0 - thetas * rate * 61.0)[stable]), abs=1e-3)


def test_a_deadline_spent_on_delays_is_hopeless():
    """shared/cases/deadline-equals-latency: nothing is left, whatever is reserved."""
    path = Path(Poisson(0.4), (NoImpairment(),), [5.0], [False], 5.0, math.log(1e-3), whole=(True,))
    assert evaluate(path, np.array([1e6])).log_bound == math.inf


def test_hand_overs_count_domains_that_forward_whole_but_the_last():
    law = Poisson(0.02, 20.0)
    path = Path(law, (NoImpairment(),) * 3, [0.0] * 3, [False] * 3, 60.0, math.log(1e-3))
    burst = {
        whole: float(replace(path, whole=whole).fluid.arrival.sigma(0.1))
        for whole in ((True,) * 3, (True, False, True), (False, True, False), (False, False, True))
    }
    assert list(burst.values()) == pytest.approx([40.0, 20.0, 20.0, 0.0])


def test_sizes_without_a_bound_pay_for_the_largest_of_the_window():
    """No request that arrived x before is larger than b + slope·x, but for the stated part of ε."""
    law, epsilon = Poisson(0.2, 2.0, exponential=True), 0.05
    cost = handover(law, 40.0, math.log(epsilon), True, 3)
    rng = np.random.default_rng(3)
    broken = 0
    for _ in range(20_000):
        back = np.cumsum(rng.exponential(5.0, 400))
        sizes = rng.exponential(2.0, 401)
        broken += sizes[0] > cost.size or (sizes[1:] > cost.size + cost.slope * back).any()
    stated = math.exp(cost.log_broken)
    assert broken / 20_000 <= stated + 4.0 * math.sqrt(stated / 20_000)
    assert broken / 20_000 >= 0.8 * stated  # the union is nearly exact
    assert handover(Poisson(0.2, 2.0), 40.0, math.log(epsilon), True, 3).log_broken == -math.inf


def test_unknown_sizes_are_refused_by_name():
    law = Table([0.5, 1.0], [0.2, 0.5], [0.1, 0.2])
    with pytest.raises(UnknownSize, match="request_size"):
        handover(law, 40.0, math.log(1e-3), True, 3)
    assert handover(replace(law, max_size=3.0), 40.0, math.log(1e-3), True, 3).size == 3.0
