"""The theory's reference values, to the digits it states."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from fedopt.laws import ExponentialWork, NoImpairment, Poisson
from tests.oracles import formulas
from tests.oracles.tandem import Tandem, plain

SINGLE = plain(ExponentialWork(1.0), [NoImpairment()], [1.6], 8)


def pair(first: float, second: float) -> Tandem:
    """Two domains, each impaired by Exp(1/1.2) a slot."""
    return plain(ExponentialWork(0.5), [ExponentialWork(1 / 1.2)] * 2, [first, second], 10)


def case_a(*rates: float) -> Tandem:
    """Three domains with pure delays."""
    impairments = tuple(ExponentialWork(mean) for mean in (0.3, 0.2, 0.4))
    return Tandem(Poisson(0.5), impairments, rates, (2.0, 3.0, 4.0), (False,) * 3, 30.0)


def test_single_server_at_a_given_theta():
    assert math.exp(formulas.fine(SINGLE, 0.5, first=0)) == pytest.approx(0.0163955329, rel=1e-8)


def test_single_server_at_its_best_theta():
    value, theta = formulas.best_theta(lambda t: formulas.fine(SINGLE, t, first=0), 1.0)
    assert math.exp(value) == pytest.approx(0.0101637, rel=1e-5)
    assert theta == pytest.approx(0.581, abs=1e-3)
    value, _ = formulas.best_theta(lambda t: formulas.fine(SINGLE, t), 1.0)
    assert math.exp(value) == pytest.approx(0.0095637905, rel=1e-5)


def test_single_server_exactly():
    theta = brentq(lambda t: -math.log1p(-t) - 1.6 * t, 0.1, 0.99)
    exact = (1 - theta) * math.exp(-theta * 1.6 * 8)  # the overshoot of exponential work is exponential
    assert exact == pytest.approx(9.663873e-5, rel=1e-6)
    best, _ = formulas.best_theta(lambda t: formulas.ville(SINGLE, t), 1.0)
    assert exact < math.exp(best) < 3 * exact


@pytest.mark.parametrize(
    ("rates", "expected"),
    [((3, 4), 6.10128e-06), ((3, 3), 4.18896e-05), ((3, 3 + 1e-12), 4.18896e-05), ((3, 3.1), 2.72933e-05)],
)
def test_tandem(rates, expected):
    value, theta = formulas.best_theta(lambda t: formulas.fine(pair(*rates), t, first=0), 1.2)
    assert math.exp(value) == pytest.approx(expected, rel=1e-5)
    assert formulas.fine(pair(*rates), theta) == pytest.approx(
        formulas.fine_exact(pair(*rates), theta), rel=1e-11
    )


@pytest.mark.parametrize(
    ("tandem", "theta", "charges", "expected"),
    [
        (case_a(1.2, 1.2, 1.2), 0.6, (1.32, 1.32), -7.811479),
        (case_a(1.25, 1.2, 1.22), 0.6, (1.5, 1.2), -7.849683),
        (plain(Poisson(0.05), [Poisson(0.01, 0.3)] * 2, [0.09] * 2, 100), 0.97, (1.7,), -7.944985),
    ],
)
def test_image(tandem, theta, charges, expected):
    assert formulas.image(tandem, theta, charges, first=0) == pytest.approx(expected, abs=2e-6)
    assert formulas.image(tandem, theta, charges) < expected  # the supremum may start a slot later


def test_fine_sums_equal_the_divided_difference():
    rng = np.random.default_rng(3)
    for _ in range(40):
        size = int(rng.integers(1, 7))
        theta, base = float(rng.uniform(0.1, 1.0)), 1.0 + rng.exponential(1.0)
        rates = base + rng.choice([0.0, 1e-9, 0.01, 1.0], size) * rng.random(size)
        tandem = plain(ExponentialWork(0.4), [ExponentialWork(0.2)] * size, rates, int(rng.integers(0, 60)))
        summed = formulas.fine(tandem, theta)
        if math.isfinite(summed):
            assert summed == pytest.approx(formulas.fine_exact(tandem, theta), abs=1e-10)
