"""Whole requests against queues whose exact laws are known."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from fedopt.laws import Modulated, Size
from fedopt.simulate import traffic
from fedopt.simulate.paths import request_stream
from fedopt.simulate.requests import Stage, System, simulate

RATES = (1.0, 1.15, 1.25)


def tandem(source, services, shift=0.0):
    """Servers of rate 1 with service times drawn anew in each, and a fixed delay in all."""
    stages = tuple(Stage(1.0, delay=shift if i == 0 else 0.0) for i in range(len(services)))
    return System(source, services, stages)


def delays(system, count, *, waits=False, seed=0):
    """The delays of one trial in order."""
    return simulate(system, count, keep=True, waits=waits, seed=seed).kept[0]


def reference(load):
    """The three-domain tandem of the paper: exponential services, shifts of 1.5 in all."""
    return tandem(traffic.poisson(load), tuple(traffic.exponential(1 / m) for m in RATES), 1.5)


def exact_quantile(load, p=0.999):
    """Sojourn in an M/M/1 tandem is a sum of independent exponentials of rates μ−λ (Burke, Reich)."""
    a = [m - load for m in RATES]
    weight = [math.prod(a[j] / (a[j] - a[i]) for j in range(3) if j != i) for i in range(3)]
    return 1.5 + brentq(
        lambda t: sum(w * math.exp(-r * t) for w, r in zip(weight, a, strict=True)) - (1 - p), 0, 1e4
    )


@pytest.mark.parametrize(
    ("load", "exact"), [(0.55, 22.032779), (0.75, 35.790854), (0.85, 55.303440), (0.95, 149.055178)]
)
def test_stationary_tandem(load, exact):
    assert exact_quantile(load) == pytest.approx(exact, abs=1e-6)
    spread = {0.55: 2_000, 0.75: 5_000, 0.85: 10_000, 0.95: 60_000}[load]
    run = simulate(
        reference(load),
        1_000_000,
        trials=40,
        warmup=spread,
        deadlines=[exact],
        seed=11,
    )
    violation = run.violation(exact)
    assert abs(violation.mean - 1e-3) < 3.5 * violation.error
    assert violation.error < (5e-4 if load > 0.9 else 8e-5)
    assert run.quantile(0.999) == pytest.approx(exact, rel=0.06 if load > 0.9 else 0.01)
    mean = 1.5 + sum(1 / (m - load) for m in RATES)
    found = run.totals / run.requests
    assert abs(found.mean() - mean) < 3.5 * found.std(ddof=1) / math.sqrt(found.size)


@pytest.mark.parametrize(
    ("load", "mean", "error"),
    [(0.55, 21.352, 0.018), (0.75, 31.886, 0.035), (0.85, 43.860, 0.059), (0.95, 77.937, 0.154)],
)
def test_short_runs_underestimate_as_published(load, mean, error):
    found = simulate(reference(load), 6_000, trials=1_500, top=7, cells=False, seed=2).mean_quantile(0.999)
    assert abs(found.mean - mean) < 3.5 * math.hypot(found.error, error)


@pytest.mark.parametrize(
    ("load", "exact"), [(0.55, 5.969577), (0.75, 12.222384), (0.85, 21.479459), (0.95, 67.573302)]
)
def test_deterministic_service(load, exact):
    system = tandem(traffic.poisson(load), (traffic.deterministic(1.0),))
    warmup = 3_000 if load < 0.9 else 30_000
    run = simulate(system, 1_000_000, trials=30, warmup=warmup, waits=True, deadlines=[exact], seed=8)
    violation = run.violation(exact)
    assert abs(violation.mean - 1e-3) < 3.5 * violation.error
    assert violation.error < 3e-4


def gi_m_1_tail(transform, service_rate, t):
    """P(wait > t) = σ e^{−μ(1−σ)t}, with σ the root of σ = A*(μ(1−σ)) below one."""
    root = brentq(lambda s: s - transform(service_rate * (1 - s)), 1e-9, 1 - 1e-7)
    return root * math.exp(-service_rate * (1 - root) * t)


@pytest.mark.parametrize(
    ("source", "transform", "t"),
    [
        (traffic.periodic(1 / 0.8), lambda s: math.exp(-s / 0.8), 8.0),
        (
            traffic.renewal(traffic.hyperexponential(0.4, 0.5, 2.0)),
            lambda s: 0.4 / (1 + 0.5 * s) + 0.6 / (1 + 2.0 * s),
            20.0,
        ),
        (traffic.renewal(traffic.gamma(2.0, 1.25)), lambda s: (1 + 0.625 * s) ** -2.0, 12.0),
    ],
    ids=["D/M/1", "H2/M/1", "E2/M/1"],
)
def test_renewal_input_to_an_exponential_server(source, transform, t):
    run = simulate(
        tandem(source, (traffic.exponential(1.0),)),
        100_000,
        trials=24,
        warmup=2_000,
        waits=True,
        deadlines=[t],
        seed=3,
    )
    found = run.violation(t)
    assert abs(found.mean - gi_m_1_tail(transform, 1.0, t)) < 3.5 * found.error
    assert found.error < 0.1 * found.mean


def test_on_off_input_is_hyperexponential_renewal():
    """The interrupted Poisson process: gaps of rates γ with A*(s) = λ(s+ω) / (s² + (λ+ω+ν)s + λω)."""
    rate, wake, sleep = 1.6, 0.05, 0.05
    source = traffic.on_off(0.0, rate, wake, sleep)
    assert source.rate == pytest.approx(0.8)

    def transform(s):
        return rate * (s + wake) / (s * s + (rate + wake + sleep) * s + rate * wake)

    run = simulate(
        tandem(source, (traffic.exponential(1.0),)),
        200_000,
        trials=32,
        warmup=5_000,
        waits=True,
        deadlines=[60.0],
        seed=4,
    )
    found = run.violation(60.0)
    assert abs(found.mean - gi_m_1_tail(transform, 1.0, 60.0)) < 3.5 * found.error
    assert found.error < 0.1 * found.mean


def test_batches():
    """Geometric batches into an exponential server: P–K mean of the batch queue plus the packets before in
    the batch.
    """
    batch, load = 3.0, 0.6
    source = traffic.batches(traffic.exponential(batch / load), traffic.geometric(batch))
    assert source.rate == pytest.approx(load)
    run = simulate(
        tandem(source, (traffic.exponential(1.0),)), 200_000, trials=24, warmup=2_000, waits=True, seed=6
    )
    means = run.totals / run.requests
    second = batch + (2 * batch**2 - batch)  # E S² of a geometric sum of unit exponentials: E N + E N²
    ahead = batch - 1  # mean number of packets before a random packet in its batch: (E N²/E N − 1)/2
    exact = (load / batch) * second / (2 * (1 - load)) + ahead
    assert abs(means.mean() - exact) < 3.5 * means.std(ddof=1) / math.sqrt(24)


def test_deterministic_tandem_never_waits():
    system = tandem(traffic.periodic(1.0), tuple(traffic.deterministic(v) for v in (0.9, 0.5, 1.0)), 3.0)
    assert np.allclose(delays(system, 1_000, seed=1), 0.9 + 0.5 + 1.0 + 3.0)


def test_an_overloaded_deterministic_tandem_grows_as_it_must():
    system = tandem(traffic.periodic(1.0), tuple(traffic.deterministic(v) for v in (0.9, 1.5, 1.2)))
    expected = 0.9 + 1.5 + 1.2 + 0.5 * np.arange(200)
    assert np.allclose(delays(system, 200, seed=1), expected)


def test_replay_of_a_trace_goes_round():
    gaps = np.array([0.1, 0.1, 5.0, 0.2])
    x = delays(tandem(traffic.replay(gaps), (traffic.deterministic(1.0),)), 400, seed=2)
    assert set(np.round(x[4:], 6)) == {1.0, 1.8, 2.7, 3.6}


def test_identical_for_any_number_of_threads():
    runs = [
        simulate(reference(0.8), 5_000, trials=100, seed=1, threads=n, deadlines=[20.0, 40.0], top=6)
        for n in (1, 2, 4)
    ]
    for run in runs[1:]:
        for name in ("late", "totals", "cells", "largest"):
            assert np.array_equal(getattr(run, name), getattr(runs[0], name))


def test_summaries_agree_with_the_requests():
    run = simulate(reference(0.8), 5_000, trials=3, seed=1, deadlines=[20.0, 8.0], top=2_501, keep=True)
    for trial, x in enumerate(run.kept):
        for probability in (0.5, 0.999):
            assert run.quantiles(probability)[trial] == pytest.approx(np.quantile(x, probability))
        assert run.totals[trial] / 5_000 == pytest.approx(x.mean())
        assert run.late[trial].tolist() == [(x > 8.0).sum(), (x > 20.0).sum()]
    assert run.deadlines == (8.0, 20.0)
    assert run.quantile(0.9) == pytest.approx(np.quantile(run.kept, 0.9), rel=2e-3)


def test_progress_is_told():
    seen = []
    simulate(reference(0.5), 100, trials=20, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    assert seen == sorted(seen)


@pytest.mark.parametrize("bad", [{"requests": 0}, {"trials": 0}, {"warmup": -1}, {"threads": 0}])
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match=r"."):
        simulate(reference(0.5), **{"requests": 10, **bad})
    with pytest.raises(ValueError, match="needs a stage"):
        System(traffic.poisson(1.0), (traffic.exponential(1.0),), ())
    with pytest.raises(ValueError, match="pool"):
        Stage(1.0, cut_through=True, servers=2)


def test_modulated_input_is_the_chain_of_the_law():
    """Three states: delays of the simulator's source and of the law's own stream, by Lindley's recursion."""
    law = Modulated((0.05, 0.5, 1.6), ((0, 0.05, 0.01), (0.02, 0, 0.04), (0.2, 0, 0)), Size("fixed", (1.0,)))
    source, size = request_stream(law)
    assert source.rate == pytest.approx(law.rate)
    run = simulate(System(source, (size,), (Stage(1.0),)), 60_000, trials=16, warmup=2_000, seed=5)
    found = run.totals / run.requests
    means = []
    for seed in range(16):
        times, sizes = law.stream(np.random.default_rng(seed), 130_000.0)
        work = np.cumsum(sizes) - times  # waiting: what it has risen above its least
        means.append(float((work - np.minimum.accumulate(work - sizes)).mean()))
    error = math.hypot(found.std(ddof=1), np.std(means, ddof=1)) / 4.0
    assert abs(found.mean() - np.mean(means)) < 3.5 * error
    assert error < 0.05 * found.mean()
