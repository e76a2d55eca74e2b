"""The packet simulator against exact results."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from fedopt.simulate import laws, sources
from fedopt.simulate.streams import fill, streams
from fedopt.simulate.tandem import Tandem, delays, simulate

RATES = (1.0, 1.15, 1.25)


def reference(load):
    """The three-domain tandem of the paper: exponential services, shifts of 1.5 in all."""
    return Tandem(sources.poisson(load), tuple(laws.exponential(1 / m) for m in RATES), (0.5, 0.5, 0.5))


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
        probabilities=(0.999,),
    )
    violation = run.violation(exact)
    assert abs(violation.mean - 1e-3) < 3.5 * violation.error
    assert violation.error < (4e-4 if load > 0.9 else 6e-5)
    assert run.quantile(0.999) == pytest.approx(exact, rel=0.06 if load > 0.9 else 0.01)
    mean = 1.5 + sum(1 / (m - load) for m in RATES)
    found = run.means
    assert abs(found.mean() - mean) < 3.5 * found.std(ddof=1) / math.sqrt(found.size)


@pytest.mark.parametrize(
    ("load", "mean", "error"),
    [(0.55, 21.352, 0.018), (0.75, 31.886, 0.035), (0.85, 43.860, 0.059), (0.95, 77.937, 0.154)],
)
def test_short_runs_underestimate_as_published(load, mean, error):
    found = simulate(reference(load), 6_000, trials=1_500, seed=2).mean_quantile(0.999)
    assert abs(found.mean - mean) < 3.5 * math.hypot(found.error, error)


@pytest.mark.parametrize(
    ("load", "exact"), [(0.55, 5.969577), (0.75, 12.222384), (0.85, 21.479459), (0.95, 67.573302)]
)
def test_deterministic_service(load, exact):
    tandem = Tandem(sources.poisson(load), (laws.deterministic(1.0),))
    warmup = 3_000 if load < 0.9 else 30_000
    run = simulate(tandem, 1_000_000, trials=30, warmup=warmup, waits=True, deadlines=[exact], seed=8)
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
        (sources.periodic(1 / 0.8), lambda s: math.exp(-s / 0.8), 8.0),
        (
            sources.renewal(laws.hyperexponential(0.4, 0.5, 2.0)),
            lambda s: 0.4 / (1 + 0.5 * s) + 0.6 / (1 + 2.0 * s),
            20.0,
        ),
        (sources.renewal(laws.gamma(2.0, 1.25)), lambda s: (1 + 0.625 * s) ** -2.0, 12.0),
    ],
    ids=["D/M/1", "H2/M/1", "E2/M/1"],
)
def test_renewal_input_to_an_exponential_server(source, transform, t):
    run = simulate(
        Tandem(source, (laws.exponential(1.0),)),
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
    source = sources.on_off(0.0, rate, wake, sleep)
    assert source.rate == pytest.approx(0.8)

    def transform(s):
        return rate * (s + wake) / (s * s + (rate + wake + sleep) * s + rate * wake)

    run = simulate(
        Tandem(source, (laws.exponential(1.0),)),
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
    source = sources.batches(laws.exponential(batch / load), laws.geometric(batch))
    assert source.rate == pytest.approx(load)
    run = simulate(
        Tandem(source, (laws.exponential(1.0),)), 200_000, trials=24, warmup=2_000, waits=True, seed=6
    )
    second = batch + (2 * batch**2 - batch)  # E S² of a geometric sum of unit exponentials: E N + E N²
    ahead = batch - 1  # mean number of packets before a random packet in its batch: (E N²/E N − 1)/2
    exact = (load / batch) * second / (2 * (1 - load)) + ahead
    assert abs(run.means.mean() - exact) < 3.5 * run.means.std(ddof=1) / math.sqrt(24)


def test_deterministic_tandem_never_waits():
    tandem = Tandem(sources.periodic(1.0), tuple(laws.deterministic(v) for v in (0.9, 0.5, 1.0)), (1.0, 2.0))
    assert np.allclose(delays(tandem, 1_000, seed=1), 0.9 + 0.5 + 1.0 + 3.0)


def test_an_overloaded_deterministic_tandem_grows_as_it_must():
    tandem = Tandem(sources.periodic(1.0), tuple(laws.deterministic(v) for v in (0.9, 1.5, 1.2)))
    expected = 0.9 + 1.5 + 1.2 + 0.5 * np.arange(200)
    assert np.allclose(delays(tandem, 200, seed=1), expected)


def test_recursion_equals_plain_event_times():
    tandem = Tandem(
        sources.poisson(0.8),
        (laws.exponential(1.0), laws.lognormal(0.9, 1.2), laws.deterministic(1.0)),
        (0.25,),
    )
    found = delays(tandem, 3_000, seed=9)
    # the same words at the same places give the same services whatever the gaps, so a slow source isolates
    # them
    alone = Tandem(sources.poisson(1e-9), tandem.services, tandem.shifts)
    total = delays(alone, 3_000, seed=9)
    waits = delays(tandem, 3_000, seed=9, waits=True)
    assert np.allclose(found - (waits - 0.25), total)
    start, step = streams(9, 1)[0]
    words = np.empty(4 * 3_000)
    fill(start, step, 1, 1.0, words)
    gaps, first = words[::4] / 0.8, words[1::4]
    third = np.full(3_000, 1.0)
    second = total - 0.25 - first - third
    clock, free = np.cumsum(gaps), [0.0, 0.0, 0.0]
    for i in range(3_000):
        t = clock[i]
        for d, service in enumerate((first, second, third)):
            free[d] = max(t, free[d]) + service[i]
            t = free[d]
        assert found[i] == pytest.approx(t - clock[i] + 0.25, abs=1e-8)


def test_replay_of_a_trace_goes_round():
    gaps = np.array([0.1, 0.1, 5.0, 0.2])
    x = delays(Tandem(sources.replay(gaps), (laws.deterministic(1.0),)), 400, seed=2)
    assert set(np.round(x[4:], 6)) == {1.0, 1.8, 2.7, 3.6}


def test_identical_for_any_number_of_threads():
    runs = [
        simulate(reference(0.8), 5_000, trials=100, seed=1, threads=n, deadlines=[20.0, 40.0])
        for n in (1, 2, 4)
    ]
    for run in runs[1:]:
        assert np.array_equal(run.quantiles, runs[0].quantiles)
        assert np.array_equal(run.means, runs[0].means)
        assert np.array_equal(run.violations, runs[0].violations)
        assert np.array_equal(run.sketch.counts, runs[0].sketch.counts)


def test_summaries_agree_with_the_packets():
    run = simulate(reference(0.8), 5_000, trials=3, seed=1, deadlines=[20.0, 8.0], probabilities=(0.5, 0.999))
    for trial in range(3):
        x = delays(reference(0.8), 5_000, seed=1, trial=trial)
        assert run.quantiles[trial] == pytest.approx(np.quantile(x, [0.5, 0.999]))
        assert run.means[trial] == pytest.approx(x.mean())
        assert run.violations[trial].tolist() == [(x > 8.0).sum(), (x > 20.0).sum()]
    assert run.deadlines == (8.0, 20.0)


def test_progress_is_told():
    seen = []
    simulate(reference(0.5), 100, trials=20, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    assert seen == sorted(seen)


@pytest.mark.parametrize("bad", [{"packets": 0}, {"trials": 0}, {"warmup": -1}, {"threads": 0}])
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match=r"."):
        simulate(reference(0.5), **{"packets": 10, **bad})
    with pytest.raises(ValueError, match="at least one"):
        Tandem(sources.poisson(1.0), ())
