"""Symmetric polynomials and their series against exact sums, where nothing may cancel, overflow or vanish."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from fedopt.calculus.series import apply_power, log_geometric, log_polynomial, log_sum, resolvent


def exact_polynomials(nodes, degree: int) -> list:
    """h_0 … h_degree by adding one node after the other, in the arithmetic of the nodes."""
    h = [nodes[0] ** 0] + [0 * nodes[0]] * degree
    for node in nodes:
        for x in range(1, degree + 1):
            h[x] += node * h[x - 1]
    return h


def test_log_sum():
    assert log_sum(0.0, 0.0) == pytest.approx(math.log(2.0))
    assert log_sum(-1e5, -1e5 - 1.0) == pytest.approx(-1e5 + math.log1p(math.exp(-1.0)), abs=1e-11)
    assert log_sum(-math.inf, 3.0) == 3.0
    assert log_sum(3.0, -math.inf) == 3.0
    assert log_sum(-math.inf, -math.inf) == -math.inf
    assert log_sum(math.inf, 0.0) == math.inf


@pytest.mark.parametrize("power", [0, 1, 2, 7, 12, 13, 40, 41, 200])
def test_power_walks_and_squares_alike(power):
    node = np.array([0.5, 1.0, 0.25])
    found = np.array([1.0, 2.0, 0.5])
    expected = found.copy()
    apply_power(node, power, found)
    matrix = np.tril(np.tile(node, (3, 1)))
    assert found == pytest.approx(np.linalg.matrix_power(matrix, power) @ expected, rel=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 5, 30, 90])
@pytest.mark.parametrize(
    "nodes", [(0.5,), (0.5, 0.5), (0.25, 0.75, 0.5), (1.0, 1.0, 1.0, 1.0, 0.125), (0.5, 0.5 + 2.0**-40)]
)
def test_polynomials_are_exact(nodes, degree):
    h = exact_polynomials([Fraction(p) for p in nodes], degree)[degree]
    logs = np.log(np.array(nodes))
    expected = float(mpmath.log(mpmath.mpf(h.numerator)) - mpmath.log(mpmath.mpf(h.denominator)))
    assert log_polynomial(logs, degree) == pytest.approx(expected, abs=1e-12 * max(1.0, degree))


def test_nothing_underflows():
    assert log_polynomial(np.array([-1e4, -1e4]), 9) == pytest.approx(-9e4 + math.log(10.0), rel=1e-14)
    value = log_geometric(np.array([-5.0, -5.0]), 1.0, 20_000, 0)
    # Σ_ℓ r^ℓ (n+ℓ+1) p^{n+ℓ} of two equal nodes
    rp = math.exp(-4.0)
    total = 20_001 * rp / (1 - rp) + rp / (1 - rp) ** 2
    assert value == pytest.approx(-1e5 + math.log(total), abs=1e-9)


@pytest.mark.parametrize("drop", [0, 1, 2])
@pytest.mark.parametrize("offset", [0, 1, 2, 17])
@pytest.mark.parametrize(
    "logs", [(-0.7,), (-0.7, -0.7), (-0.9, -0.4, -0.4 - 1e-12), (-8.0, -0.5, -3.0, -0.6)]
)
def test_series_against_their_sums(logs, offset, drop):
    ratio = 0.2
    with mpmath.workdps(40):
        nodes = [mpmath.exp(mpmath.mpf(x)) for x in logs]
        h = exact_polynomials(nodes, 900)
        r = mpmath.exp(mpmath.mpf(ratio))
        terms = (r**ell * h[ell + offset - drop] for ell in range(1, 800) if ell + offset >= drop)
        expected = float(mpmath.log(mpmath.fsum(terms)))
    assert log_geometric(np.array(logs), ratio, offset, drop) == pytest.approx(expected, abs=2e-13)


def test_divergent_series():
    solution = np.empty(2)
    assert not resolvent(np.array([-1.0, 0.0]), 0.0, solution)
    assert log_geometric(np.array([-1.0, -0.5]), 0.5, 3, 0) == math.inf
    assert log_geometric(np.array([-1.0, math.nan]), 0.5, 3, 0) == math.inf
    assert resolvent(np.array([-1.0, -0.5]), 0.25, solution)
    a = np.tril(np.exp(np.array([-1.0, -0.5])) * np.ones((2, 1)))
    assert solution == pytest.approx(np.linalg.solve(np.eye(2) - math.exp(0.25) * a, np.ones(2)))
