"""The ville form: its plain formula, its edge, linearity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.ville import ville
from tests.calculus.convexity import assert_jointly_convex
from tests.calculus.systems import case_a
from tests.oracles import formulas


def test_plain_formula():
    tandem = case_a(1.8, 1.7, 1.9)
    for theta in (0.1, 0.3, 0.45):
        free, lose, _ = formulas.moments(tandem, theta)
        for start in (0, 1):
            found = ville(free, float(lose.sum()), theta * 1.7, 0.0, tandem.window, start)
            assert found == pytest.approx(formulas.ville(tandem, theta, first=start), abs=1e-12)


def test_edge_of_stability():
    assert ville(0.5, 0.25, 0.75, 0.0, 8, 1) == -4.0
    assert ville(0.5, 0.25, 0.75 - 1e-15, 0.0, 8, 1) == math.inf


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    st.floats(0, 2),
    st.floats(0, 2),
    st.floats(0, 5),
    st.floats(0, 5),
    st.integers(0, 50_000),
    st.floats(0, 1),
)
def test_linear_in_the_reservation(free, kappa, more, most, window, weight):
    low, high = free + kappa + 1e-9 + np.array([more, most])
    middle = weight * low + (1 - weight) * high
    ends = [ville(free, kappa, r, 3.0 * r, window, 1) for r in (low, high, middle)]
    assert ends[2] == pytest.approx(weight * ends[0] + (1 - weight) * ends[1], rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.integers(0, 2**32))
def test_convex_in_theta_and_reservations(seed):
    assert_jointly_convex("ville", seed)
