"""The image form: reference values, roots and prefactor on the safe side, the projection its proof needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.image import image, image_prefactor, main_growth, plain_charges, wall_root
from fedopt.calculus.ville import ville
from fedopt.laws import ExponentialWork, GammaWork, OnOff, Poisson, pack
from tests.calculus.systems import case_a, case_b, cut_of
from tests.oracles import formulas
from tests.oracles.random_tandems import with_rates


def value(tandem, theta: float, charges, start: int, window: int | None = None) -> float:
    """The package's form of a tandem at charges a_1 … a_{L−1} of their own, without overshoot credit."""
    size = len(tandem.rates)
    models = pack([tandem.arrival, *tandem.impairments])
    return image(
        models,
        0,
        np.arange(1, size + 1),
        cut_of(size),
        np.array(charges, float),
        np.array(tandem.rates, float),
        theta,
        tandem.window if window is None else window,
        start,
        np.empty(size - 1),
        np.empty(size - 1),
        False,
    )


REFERENCES = [
    (case_a(1.2, 1.2, 1.2), 0.6, (1.32, 1.32), -7.811479),
    (case_a(1.25, 1.2, 1.22), 0.6, (1.5, 1.2), -7.849683),
    (case_b(2, 0.09), 0.97, (1.7,), -7.944985),
]


@pytest.mark.parametrize(("tandem", "theta", "charges", "expected"), REFERENCES)
def test_reference_values(tandem, theta, charges, expected):
    assert value(tandem, theta, charges, 0) == pytest.approx(expected, abs=2e-6)
    assert value(tandem, theta, charges, 1) == pytest.approx(formulas.image(tandem, theta, charges), abs=1e-9)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**32), st.integers(2, 5))
def test_unequal_charges_against_the_plain_formula(seed, size):
    rng = np.random.default_rng(seed)
    laws = [ExponentialWork(0.2), GammaWork(0.7, 0.3), Poisson(0.2, 0.6), Poisson(0.3, 0.4, True)]
    laws.append(OnOff(0.5, 0.7, 0.3))
    tandem = case_a(*rng.uniform(1.1, 1.6, 3))
    tandem = type(tandem)(
        tandem.arrival,
        tuple(laws[i] for i in rng.integers(0, 5, size)),
        tuple(rng.uniform(1.0, 1.6, size)),
        (0.0,) * size,
        (False,) * size,
        25.0,
    )
    theta = float(rng.uniform(0.1, 0.9))
    charges = np.sort(theta * rng.choice([1.0, 1.2, 2.0, rng.uniform(1, 2.5)], size - 1))[::-1]
    found = value(tandem, theta, charges, 1)
    expected = formulas.image(tandem, theta, charges)
    assert found == expected or found == pytest.approx(expected, abs=1e-7)


def prefactor(charge, gamma, theta):
    """(package, weights B) of the prefactor."""
    log_wall = np.empty(len(charge))
    plain_charges(np.asarray(charge, float), np.asarray(gamma, float), log_wall)
    found = image_prefactor(np.asarray(charge, float), np.asarray(gamma, float), theta, log_wall)
    weights = [charge[0] / gamma[0]]
    for i in range(1, len(charge)):
        weights.append((charge[i] + gamma[i - 1]) * weights[-1] / gamma[i])
    assert log_wall == pytest.approx(np.log(weights), abs=1e-12)
    return found, np.array(weights)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_prefactor_is_below_the_geometric_program(seed, walls):
    rng = np.random.default_rng(seed)
    theta = 10.0 ** rng.uniform(-2, 1)
    charge = np.sort(theta * (1.0 + rng.choice([0.0, 1e-6, 0.3, 2.0], walls)))[::-1]
    gamma = theta * 10.0 ** rng.uniform(-1, 1, walls)
    found, weights = prefactor(charge, gamma, theta)
    program = formulas.log_phi(np.append(charge, theta), gamma, weights)
    assert 0.0 <= found <= program + 1e-7
    if walls == 1 and weights[0] * (theta + gamma[0]) > charge[0] - theta > 1e-3 * theta:
        # the derivative at D = 0 is negative, so the minimum is interior and the closed form exact
        assert found == pytest.approx(program, abs=1e-6)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_prefactor_at_small_weights(seed, walls):
    """With weights of their own the minimum lies on the boundary: still below, and with one wall exact."""
    rng = np.random.default_rng(seed)
    charge = np.full(walls, rng.uniform(1.0, 2.5))
    gamma = 10.0 ** rng.uniform(-0.5, 0.5, walls)
    log_wall = rng.uniform(-6.0, 1.0, walls)
    found = image_prefactor(charge, gamma, 1.0, log_wall)
    program = formulas.log_phi(np.append(charge, 1.0), gamma, np.exp(log_wall))
    assert 0.0 <= found <= program + 1e-7
    if walls == 1:
        assert found == pytest.approx(program, abs=1e-6)


def test_prefactor_is_exact_inside():
    charge, gamma, theta = np.array([1.5, 1.2]), np.array([0.9, 0.8]), 0.6
    found, weights = prefactor(charge, gamma, theta)
    program = formulas.log_phi(np.append(charge, theta), gamma, weights)
    assert found == pytest.approx(program, abs=1e-7)
    assert found > 0.1


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.integers(0, 2**32))
def test_wall_root_is_the_largest_and_safe(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 5))
    laws = [ExponentialWork(0.3), GammaWork(0.7, 0.3), Poisson(0.2, 0.6), Poisson(0.3, 0.4, True)]
    impairments = [laws[i] for i in rng.integers(0, 4, size)]
    models = pack([Poisson(0.5), *impairments])
    theta = float(rng.uniform(0.1, 1.0))
    rate = rng.uniform(1.0, 2.0, size)
    charge = np.sort(theta * rng.uniform(1.0, 2.0, size - 1))[::-1].copy()
    a = [*charge, theta]
    limit = -0.5 * math.expm1(theta)

    def wall(i: int, gamma: float) -> float:
        total = impairments[i].log_moment(-gamma) + gamma * rate[i]
        total += impairments[i + 1].log_moment(a[i + 1] + gamma) - (a[i + 1] + gamma) * rate[i + 1]
        for j in range(i + 2, size):
            weight = a[j] - a[j - 1]
            total += (impairments[j].log_moment(weight) if weight else 0.0) - weight * rate[j]
        return float(total)

    for i in range(size - 1):
        found = wall_root(
            models, np.arange(1, size + 1), cut_of(size), charge, rate, theta, i, limit, 1.2 * theta
        )
        expected = formulas.largest_root(lambda x, i=i: wall(i, x) - limit, theta)
        if expected is None:
            # the plain search looks on a grid: a tiny interval may be found between its points
            assert found == -1.0 or wall(i, found) <= limit + 1e-12
        else:
            assert found == pytest.approx(expected, rel=1e-6)
            assert wall(i, found) <= limit + 1e-13


def image_function(x, charges, gamma, theta):
    """F at the path values x (without its constant factor), shape (L, N)."""
    d = x[:-1] - x[1:]
    total = np.exp((charges[:-1, None] * d).sum(axis=0))
    weight = charges[0] / gamma[0]
    for i in range(len(gamma)):
        if i:
            weight *= (charges[i] + gamma[i - 1]) / gamma[i]
        total += weight * np.exp(-gamma[i] * d[i] + (charges[i + 1 : -1, None] * d[i + 1 :]).sum(axis=0))
    return np.exp(theta * x[-1]) * total


def test_the_projection_never_raises_the_image():
    rng = np.random.default_rng(11)
    for size in (2, 3, 4, 6):
        for _ in range(40):
            theta = 1.0
            charges = np.append(np.sort(rng.uniform(1.0, 3.0, size - 1))[::-1], theta)
            gamma = 10.0 ** rng.uniform(-0.7, 0.7, size - 1)
            x = rng.normal(0.0, rng.choice([0.1, 1.0, 3.0]), (size, 1250))
            projected = np.maximum.accumulate(x[::-1])[::-1]
            before, after = (image_function(p, charges, gamma, theta) for p in (x, projected))
            assert np.all(after <= before * (1 + 1e-12))
            log_wall = np.empty(size - 1)
            plain_charges(charges[:-1].copy(), gamma, log_wall)
            below = image_prefactor(charges[:-1].copy(), gamma, theta, log_wall)
            assert np.all(np.exp(below + theta * projected[0]) <= after * (1 + 1e-9))


def test_one_group_is_ville():
    models = pack([Poisson(0.5), ExponentialWork(0.3), ExponentialWork(0.2)])
    cut, empty = np.array([0, 2]), np.empty(0)
    for theta in (0.3, 0.8):
        found = image(
            models, 0, np.array([1, 2]), cut, empty, np.array([1.5]), theta, 20, 1, empty, empty, True
        )
        kappa = -math.log1p(-0.3 * theta) - math.log1p(-0.2 * theta)
        expected = ville(0.5 * math.expm1(theta), kappa, 1.5 * theta, 0.0, 20, 1)
        assert found == pytest.approx(expected, abs=1e-12)


def test_instability_and_far_tails():
    assert value(case_a(1.0, 1.0, 1.0), 3.0, (3.0, 3.0), 1) == math.inf
    assert value(case_a(0.7, 1.2, 1.2), 0.6, (0.7, 0.7), 1) == math.inf
    tandem = case_a(2.5, 2.5, 2.5)
    far = [value(tandem, 1.2, (1.5, 1.4), 1, window) for window in (100_000, 200_000)]
    free = 0.5 * math.expm1(1.2)
    models = pack([tandem.arrival, *tandem.impairments])
    main = main_growth(models, np.array([1, 2, 3]), cut_of(3), np.array([1.5, 1.4]), np.full(3, 2.5), 1.2)
    # the walls' images decay by e^{−Λ_A} a slot, the main term faster
    assert main < -free
    assert far[0] - far[1] == pytest.approx(1e5 * free, rel=1e-9)
    slow = with_rates(tandem, (1.3, 1.3, 1.3))
    assert value(slow, 0.6, (1.32, 1.32), 1, 500_000) < -1e5
