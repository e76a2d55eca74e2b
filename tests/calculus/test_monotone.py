"""The monotone form: its plain formula, both ends of the margin, convexity."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.monotone import monotone
from fedopt.calculus.ville import ville
from tests.calculus.convexity import assert_jointly_convex
from tests.calculus.systems import case_a
from tests.oracles import formulas


def test_plain_formula():
    tandem = case_a(1.9, 2.0, 1.9)
    for theta in (0.05, 0.2, 0.35):
        free, lose, _ = formulas.moments(tandem, theta)
        found = monotone(free, float(lose.sum()), theta * 1.9, 0.0, tandem.window)
        assert found == pytest.approx(formulas.monotone(tandem, theta), abs=1e-12)


def test_small_and_large_margins():
    assert monotone(0.5, 0.25, 0.75, 0.0, 4) == math.inf
    assert monotone(0.5, 0.25, 0.75 + 2.0**-40, 0.0, 4) == pytest.approx(-2.0 + 40 * math.log(2.0), abs=1e-9)
    assert monotone(0.5, 0.25, 1000.75, 0.0, 100) == pytest.approx(-100.0 * 1000.5 - 1000.0, rel=1e-14)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.floats(0, 2), st.floats(0, 2), st.floats(1e-9, 30), st.integers(0, 1000))
def test_never_below_ville(free, kappa, margin, window):
    reserve = free + kappa + margin
    assert monotone(free, kappa, reserve, 0.0, window) >= ville(free, kappa, reserve, 0.0, window, 1) - 1e-9


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.integers(0, 2**32))
def test_convex_in_theta_and_reservations(seed):
    assert_jointly_convex("monotone", seed)
