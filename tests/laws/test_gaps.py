"""Gaps of renewal arrivals and Markov-modulated ones: bounds beside exact numbers and samples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, linalg, stats

from fedopt.instance import InstanceError
from fedopt.instance.arrivals import Modulated as ModulatedDocument
from fedopt.instance.arrivals import Renewal as RenewalDocument
from fedopt.instance.arrivals import SumOfArrivals
from fedopt.laws import Modulated, Poisson, Renewal, Size, aggregate, build
from fedopt.laws.gaps import GAPS, two_rates, weibull
from fedopt.plan.paths import WITHOUT_SLOTS

CASES = [
    ("gamma", 0.4), ("gamma", 2.0), ("hyperexponential", 1.0), ("hyperexponential", 3.0),
    ("weibull", 0.3), ("weibull", 1.0), ("weibull", 2.0), ("weibull", 4.0),
]  # fmt: skip
RATE = 0.25


def law_of(kind, cv):
    """The law of a gap, by scipy: (density, survival function)."""
    if kind == "hyperexponential":
        p, fast, slow = two_rates(RATE, cv)

        def sf(t):
            return p * np.exp(-fast * t) + (1.0 - p) * np.exp(-slow * t)

        return lambda t: p * fast * np.exp(-fast * t) + (1.0 - p) * slow * np.exp(-slow * t), sf
    if kind == "gamma":
        law = stats.gamma(cv**-2, scale=cv**2 / RATE)
    else:
        shape, scale = weibull(cv)
        law = stats.weibull_min(shape, scale=scale / RATE)
    return law.pdf, law.sf


def transform(sf, s, age=0.0):
    """E[e^{−s·rest} | age] = 1 − s ∫ e^{−sx} P(T > age + x)/P(T > age) dx."""
    points = np.concatenate([[0.0], np.geomspace(1e-6, 60.0, 40) / s])
    parts = [
        integrate.quad(lambda x: math.exp(-s * x) * sf(age + x) / sf(age), a, b)[0]
        for a, b in itertools.pairwise(points)
    ]
    return 1.0 - s * sum(parts)


@pytest.mark.parametrize(("kind", "cv"), CASES)
def test_rates_solve_the_equation_and_the_penalty_covers_every_age(kind, cv):
    _, sf = law_of(kind, cv)
    m = np.array([0.05, 0.7, 2.5])
    growth, penalty, rest = GAPS[kind].rate(m, RATE, cv)
    for moment, rate, paid, start in zip(m, growth, penalty, rest, strict=True):
        if math.isinf(rate):  # gaps so irregular that between requests nothing is known
            assert (kind, cv, moment) == ("weibull", 4.0, 2.5)
            continue
        exact = transform(sf, rate)
        assert exact <= math.exp(-moment) * (1.0 + 1e-9)
        assert exact == pytest.approx(math.exp(-moment), rel=0.004)
        assert start >= math.log((1.0 - exact) * RATE / rate) - 1e-9
        for age in (0.0, 0.3, 1.0, 5.0, 20.0, 60.0):
            if sf(age) > 1e-9 and kind != "weibull":
                assert moment + math.log(transform(sf, rate, age)) >= -paid - 1e-9
        assert GAPS[kind].log_transform(rate, RATE, cv) >= math.log(exact) - 1e-9


def test_the_penalty_of_a_cut_law_covers_every_age():
    """Weibull gaps of cv 2, cut: h at any age by quadrature."""
    from fedopt.laws.gaps import _weibull_cells

    cv, (shape, scale) = 2.0, weibull(2.0)
    end = float(_weibull_cells(cv)[0][-1])
    law = stats.weibull_min(shape, scale=scale)
    (growth,), (paid,), _ = GAPS["weibull"].rate(np.array([0.8]), 1.0, cv)
    for age in np.concatenate([np.linspace(0.0, 0.99 * end, 40), end * (1.0 - np.geomspace(1e-2, 1e-6, 8))]):
        edges = age + (end - age) * np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 30)])
        inside = sum(
            integrate.quad(lambda t, age=age: math.exp(-growth * (t - age)) * law.pdf(t), a, b)[0]
            for a, b in itertools.pairwise(edges)
        )
        behind = (inside + math.exp(-growth * (end - age)) * law.sf(end)) / law.sf(age)
        assert 0.8 + math.log(behind) >= -paid - 1e-6


@pytest.mark.parametrize(("kind", "cv"), CASES)
def test_samples_have_the_mean_and_the_variation(kind, cv):
    sample = GAPS[kind].sample(np.random.default_rng(3), 400_000, RATE, cv)
    assert sample.mean() == pytest.approx(1.0 / RATE, abs=5.0 * cv / RATE / math.sqrt(len(sample)))
    assert sample.std() / sample.mean() == pytest.approx(cv, rel=0.05)


@pytest.mark.parametrize(("kind", "cv"), [("hyperexponential", 2.0), ("weibull", 0.4), ("weibull", 2.0)])
def test_envelopes_hold_for_samples(kind, cv):
    law = Renewal(0.4, Size("uniform", (0.5, 1.5)), cv**-2, gaps=kind)
    work = law.sample(np.random.default_rng(11), (4, 100_000))
    assert work.mean() == pytest.approx(law.mean, rel=0.03)
    for n in (1, 5, 20):
        sums = work[:, : work.shape[1] // n * n].reshape(4, -1, n).sum(axis=2)
        for theta in (0.1, 0.3):
            values = np.exp(theta * sums).ravel()
            error = 4.0 * values.std() / math.sqrt(values.size)
            assert values.mean() <= math.exp(law.log_rate(theta) * n + law.log_burst(theta)) + error


CHAIN = Modulated((0.0, 0.5, 2.0), ((0, 0.3, 0.1), (0.2, 0, 0.05), (0.4, 0.0, 0)), Size("fixed", (1.5,)))


def test_modulated_envelopes_are_above_the_matrix_exponential_and_tight_in_rate():
    start, palm = CHAIN.stationary, CHAIN.stationary * np.array(CHAIN.rates) / CHAIN.rate
    assert start @ CHAIN.generator == pytest.approx(np.zeros(3), abs=1e-12)
    backwards = CHAIN.generator.T * start / start[:, None]
    for theta in (0.02, 0.2, 0.8):
        moment = math.exp(1.5 * theta)
        matrix = backwards + np.diag(np.array(CHAIN.rates) * (moment - 1.0))
        growth = float(CHAIN.log_rate(theta))
        assert growth == pytest.approx(np.linalg.eigvals(matrix).real.max(), rel=1e-9)
        for n in (0.0, 0.7, 5.0, 60.0):
            ones = linalg.expm(n * matrix).sum(axis=1)
            stationary = math.log(start @ ones)
            assert stationary <= growth * n + CHAIN.log_burst(theta) + 1e-9
            request = math.log(moment * (palm @ ones))
            allowed = growth * n + CHAIN.log_burst(theta) + CHAIN.request_log_bias(theta)
            assert request <= allowed + 1e-9


def test_one_state_more_changes_nothing_where_it_is_the_same():
    twin = Modulated((0.4, 0.4), ((0, 1.0), (2.0, 0)), Size("exponential", (2.0,)))
    plain, theta = Poisson(0.4, 2.0, True), np.array([0.1, 0.3])
    assert twin.log_rate(theta) == pytest.approx(plain.log_rate(theta), rel=1e-9)
    assert twin.log_burst(theta) == pytest.approx([0.0, 0.0], abs=1e-9)
    assert twin.request_log_bias(theta) == pytest.approx(plain.request_log_bias(theta), rel=1e-9)


def test_modulated_streams_have_the_mean_and_the_correlation():
    times, sizes = CHAIN.stream(np.random.default_rng(2), 40_000)
    assert len(times) / 40_000 == pytest.approx(CHAIN.rate, rel=0.03)
    assert (np.diff(times) >= 0.0).all()
    assert len(sizes) == len(times)
    counts = np.bincount((times // 5).astype(int), minlength=8_000)
    rates, pi = np.array(CHAIN.rates), CHAIN.stationary
    double = integrate.dblquad(
        lambda y, x: (pi * rates) @ linalg.expm(abs(x - y) * CHAIN.generator) @ rates - CHAIN.rate**2,
        0, 5, 0, 5, epsabs=1e-3, epsrel=1e-3,
    )[0]  # fmt: skip
    assert counts.var() == pytest.approx(5 * CHAIN.rate + double, rel=0.08)


def test_sums_add_and_take_the_worst_request():
    parts = (Poisson(0.3, 1.0), Renewal(0.1, Size("exponential", (2.0,)), 0.25, gaps="hyperexponential"))
    both, theta = aggregate(*parts), np.array([0.05, 0.3])
    assert both.log_rate(theta) == pytest.approx(parts[0].log_rate(theta) + parts[1].log_rate(theta))
    assert both.continuous
    assert both.max_size == math.inf
    b = both.barrier(1e-3, 0.1, True)
    assert b == pytest.approx(parts[1].barrier(5e-4, 0.1, True))
    times, sizes = both.stream(np.random.default_rng(1), 50_000)
    assert sizes.sum() / 50_000 == pytest.approx(both.mean, rel=0.05)
    assert (np.diff(times) >= 0.0).all()


def test_documents_become_laws():
    two = RenewalDocument(rate=2.0, cv=2.0, gaps="hyperexponential")
    assert build(two, 0.5) == Renewal(1.0, Size("fixed", (1.0,)), 0.25, gaps="hyperexponential")
    chain = ModulatedDocument(rates=(1.0, 4.0), changes=((0, 0.2), (0.4, 0)), size=3.0)
    assert build(chain, 0.5) == Modulated((0.5, 2.0), ((0.0, 0.1), (0.2, 0.0)), Size("fixed", (3.0,)))
    both = build(SumOfArrivals(parts=(two, chain)), 0.5)
    assert both.mean == pytest.approx(build(two, 0.5).mean + build(chain, 0.5).mean)
    assert {"renewal", "mmpp"} <= WITHOUT_SLOTS


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RenewalDocument(rate=1.0, cv=0.5, gaps="hyperexponential"), "cv of 1 or more"),
        (lambda: RenewalDocument(rate=1.0, cv=7.0, gaps="weibull"), "0.02 to 5"),
        (lambda: ModulatedDocument(rates=(1.0, 2.0), changes=((0, 1.0),)), "2 rows of 2"),
        (lambda: ModulatedDocument(rates=(0.0, 0.0), changes=((0, 1.0), (1.0, 0))), "bring requests"),
        (lambda: ModulatedDocument(rates=(1.0, 2.0), changes=((0, 1.0), (0.0, 0))), "reached from every"),
        (
            lambda: SumOfArrivals(
                parts=(RenewalDocument(rate=1, sizes="per stage"), RenewalDocument(rate=1))
            ),
            "common to all stages",
        ),
    ],
)
def test_laws_that_cannot_be_are_refused(make, message):
    with pytest.raises(InstanceError, match=message):
        make()
