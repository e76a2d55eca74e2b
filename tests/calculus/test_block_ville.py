"""The block-ville form: plain sums, its limits, convexity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.block_ville import block_ville
from tests.calculus.convexity import assert_jointly_convex
from tests.calculus.systems import case_a
from tests.oracles import formulas


@pytest.mark.parametrize("rate", [1.25, 1.4, 1.7])
@pytest.mark.parametrize("size", [1, 2, 5, 7, 21, 22, 60])
def test_plain_sums(rate, size):
    tandem = case_a(rate, rate, rate)
    for theta in (0.2, 0.5, 0.6):
        free, lose, _ = formulas.moments(tandem, theta)
        found = block_ville(free, lose, theta * rate, 0.0, tandem.window, size)
        expected = formulas.block_ville(tandem, theta, size)
        assert found == expected or found == pytest.approx(expected, abs=1e-10)


def test_edge_and_far_tail():
    impair = np.array([0.25, 0.125])
    assert block_ville(0.5, impair, 0.75, 0.0, 12, 3) < math.inf  # Ville's inequality allows no margin
    assert block_ville(0.5, impair, 0.75 - 1e-12, 0.0, 12, 3) == math.inf
    assert block_ville(0.5, impair[::-1].copy(), 0.75, 0.0, 12, 3) == math.inf  # the sum over blocks does
    # Decays like the slower of the two: the window in the first domain, or in the second.
    value = block_ville(0.5, impair, 1.8, 0.0, 100_000, 50)
    assert value == pytest.approx(-1.55 * 100_000, rel=1e-3)
    value = block_ville(0.5, impair[::-1].copy(), 1.8, 0.0, 100_000, 50)
    assert value == pytest.approx(-1.55 * 100_000, rel=1e-3)


def test_no_impairment_of_the_later_domains():
    # h_j(1) = 1: blocks add nothing but the terms of a constant server behind the first domain
    found = block_ville(0.5, np.array([0.2, 0.0]), 1.0, 0.0, 10, 5)
    terms = [
        math.exp(0.2 * max(10 - 5 * k, 0) + 0.5 * max(5 * k - 10, 0) - max(10, 5 * k)) for k in range(200)
    ]
    assert found == pytest.approx(math.log(math.fsum(terms)), abs=1e-12)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from([1.0, 3.0, 8.0]))
def test_convex_in_theta_and_reservations(seed, size):
    assert_jointly_convex("block-ville", seed, size)
