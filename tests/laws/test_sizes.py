"""Sizes of requests: moments, tails and samples of every law of the table, and requests that bring them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate

from fedopt.instance import InstanceError
from fedopt.instance.arrivals import Poisson as PoissonDocument
from fedopt.instance.arrivals import Renewal as RenewalDocument
from fedopt.laws import Poisson, Renewal, Size, build

SIZES = [
    Size("fixed", (2.0,)),
    Size("exponential", (1.5,)),
    Size("exponential", (1.5,), 4.0),
    Size("gamma", (1.2, 0.6)),
    Size("gamma", (1.2, 1.7), 9.0),
    Size("uniform", (0.5, 2.5)),
    Size("lognormal", (1.0, 1.5), 12.0),
    Size("pareto", (0.4, 1.6), 20.0),
    Size("discrete", ((1.0, 3.0, 2.0), (5, 1, 4))),
]


def expected(size, function):
    """E f(B), by quadrature over probabilities."""
    if size.kind in ("fixed", "discrete"):
        values, weights = size.atoms
        return float(function(values) @ weights)
    law, top = size._law, size.cdf(size.maximum)
    parts = [
        integrate.quad(lambda u: function(law.ppf(u * top)), a, b, limit=300)[0]
        for a, b in ((0.0, 0.5), (0.5, 0.9), (0.9, 0.999), (0.999, 1.0 - 1e-12))
    ]
    return sum(parts)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_moments_are_no_smaller_and_hardly_larger(size):
    limit = min(size.theta_max, 1.0)
    for theta in (0.2 * limit, 0.5 * limit, -0.7):
        found = float(size.log_moment(theta))
        exact = math.log(expected(size, lambda b, t=theta: np.exp(t * b)))
        assert found >= exact - 1e-7
        assert found == pytest.approx(exact, rel=0.02, abs=1e-6)
    assert size.log_moment(0.0) == pytest.approx(0.0, abs=1e-12)
    mean = expected(size, lambda b: np.asarray(b) * 1.0)
    assert mean * (1.0 - 1e-6) <= size.mean <= 1.01 * mean
    assert np.isinf(size.log_moment(2.0 * size.theta_max)) or math.isinf(size.theta_max)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_tails_and_samples_agree(size):
    sample = size.sample(np.random.default_rng(7), 200_000)
    assert sample.max() <= size.max_size
    error = 5.0 / math.sqrt(len(sample))
    for at in (0.3 * size.mean, size.mean, 2.5 * size.mean):
        tail, excess = size.exceeding(at)
        assert tail >= (sample > at).mean() - error
        assert tail <= (sample > at).mean() + error + 0.01
        over = np.maximum(sample - at, 0.0)
        assert excess == pytest.approx(over.mean(), rel=0.03, abs=5.0 * over.std() / math.sqrt(len(sample)))
    for probability in (0.3, 0.01):
        assert (sample > size.least_exceeded(probability)).mean() <= probability + error
    least = size.barrier(1e-3, 0.2, 0.05, 1.0)
    tail, excess = size.exceeding(least)
    assert tail + 0.2 * excess / 0.05 <= 1e-3
    assert least <= size.max_size


def test_laws_without_moments_need_a_maximum():
    with pytest.raises(ValueError, match="maximum"):
        Size("pareto", (1.0, 2.5))
    with pytest.raises(ValueError, match="maximum"):
        Size("lognormal", (1.0, 2.0))
    with pytest.raises(ValueError, match="as small"):
        Size("pareto", (1.0, 2.5), 0.5)
    with pytest.raises(InstanceError, match="maximum"):
        PoissonDocument(rate=1.0, size={"pareto": {"minimum": 1.0, "shape": 2.0}})


def test_documents_become_laws():
    assert build(PoissonDocument(rate=2.0, size=3.0), 0.5) == Poisson(1.0, 3.0)
    assert build(PoissonDocument(rate=2.0, size={"exponential": 3.0}), 0.5) == Poisson(1.0, 3.0, True)
    cut = build(PoissonDocument(rate=2.0, size={"exponential": 3.0, "maximum": 9.0}), 0.5)
    assert cut == Renewal(1.0, Size("exponential", (3.0,), 9.0))
    assert cut.max_size == 9.0
    found = build(RenewalDocument(rate=2.0, cv=0.5, size={"gamma": {"mean": 1.0, "cv": 2.0}}, batch=3), 0.5)
    assert found == Renewal(1.0, Size("gamma", (1.0, 2.0)), 4.0, 3)
    histogram = {"discrete": {"sizes": [1.0, 2.0], "weights": [3.0, 1.0]}}
    assert build(PoissonDocument(rate=1.0, size=histogram), 1.0).size.mean == pytest.approx(1.25)


def test_renewal_requests_of_shape_one_are_poisson_requests():
    theta = np.array([0.05, 0.2, 0.4])
    for exact in (Poisson(0.3, 2.0), Poisson(0.3, 2.0, True)):
        found = Renewal(0.3, Size("exponential" if exact.exponential else "fixed", (2.0,)))
        assert found.log_rate(theta) == pytest.approx(exact.log_rate(theta), rel=1e-12)
        assert found.log_burst(theta) == pytest.approx(np.zeros(3), abs=1e-12)
        assert found.request_log_bias(theta) == pytest.approx(exact.request_log_bias(theta), rel=1e-9)
    assert found.barrier(1e-3, 0.1, True) == pytest.approx(exact.barrier(1e-3, 0.1, True), rel=1e-6)


@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("batch", [1, 3])
def test_renewal_envelopes_hold_for_samples(shape, batch):
    law = Renewal(0.4 / batch, Size("uniform", (0.5, 1.5)), shape, batch)
    work = law.sample(np.random.default_rng(11), (4, 100_000))
    assert work.mean() == pytest.approx(law.mean, rel=0.03)
    for n in (1, 5, 20):
        sums = work[:, : work.shape[1] // n * n].reshape(4, -1, n).sum(axis=2)
        for theta in (0.1, 0.3):
            values = np.exp(theta * sums).ravel()
            error = 4.0 * values.std() / math.sqrt(values.size)
            assert values.mean() <= math.exp(law.log_rate(theta) * n + law.log_burst(theta)) + error
