"""The block form: plain sums, its limits, and what different rates are owed inside blocks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.block import block
from fedopt.calculus.fine import fine
from tests.calculus.convexity import assert_jointly_convex
from tests.calculus.systems import case_a
from tests.oracles import formulas


@pytest.mark.parametrize("rates", [(1.5, 1.5, 1.5), (1.4, 1.7, 1.5), (1.7, 1.4, 1.6), (1.3, 1.5, 1.9)])
@pytest.mark.parametrize("size", [1, 2, 5, 7, 21, 22, 50])
def test_plain_sums(rates, size):
    tandem = case_a(*rates)
    for theta in (0.2, 0.6, 1.0):
        free, lose, _ = formulas.moments(tandem, theta)
        found = block(free, lose, theta * np.array(rates), 0.0, tandem.window, size)
        expected = formulas.block(tandem, theta, size)
        assert found == expected or found == pytest.approx(expected, abs=1e-10)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.floats(0, 2), st.floats(0, 2), st.floats(1e-6, 10), st.integers(0, 500))
def test_one_domain_in_blocks_of_a_slot_is_fine(free, kappa, margin, window):
    impair, reserve = np.array([kappa]), np.array([free + kappa + margin])
    expected = fine(free, impair, reserve, 0.0, window)
    assert block(free, impair, reserve, 0.0, window, 1) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def shortfall(surplus: np.ndarray, blocks: np.ndarray, size: int, times) -> float:
    """Σδ_i g(y_i−1) less what the split serves, Σδ_i x_i; y_i − 1 by the blocks in which the splits fall."""
    return float(size * surplus @ np.diff(blocks) - surplus @ np.array(times))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "surplus", [(0, 1, 0), (1, 0, 1), (0, 1, 2), (2, 1, 0), (0.3, 0, 1, 0.2), (0, 1, 0, 1)]
)
def test_the_credit_for_faster_domains_is_covered_on_every_split(surplus, size):
    surplus = np.array(surplus, float)
    rises = np.maximum(np.diff(surplus), 0).sum()
    falls = np.maximum(-np.diff(surplus), 0).sum()
    worst = [0.0, 0.0]
    for window in range(1, 10):
        last = -(-window // size) - 1
        for inner in itertools.combinations_with_replacement(range(window + 1), len(surplus) - 1):
            ends = np.array([0, *inner, window])
            times = np.diff(ends)
            for side, marks in enumerate((ends, (window - ends)[::-1])):
                blocks = np.minimum(marks // size, last)
                blocks[-1] = last
                ordered = (surplus, times) if side == 0 else (surplus[::-1], times[::-1])
                worst[side] = max(worst[side], shortfall(ordered[0], blocks, size, ordered[1]))
    assert worst[0] <= (size - 1) * rises + 1e-12
    assert worst[1] <= (size - 1) * falls + 1e-12
    if size > 2:  # and without paying for it the credit would be too large
        assert worst[0] > 0 or rises == 0


def test_payment_is_the_smaller_of_rises_and_falls():
    impair = np.array([0.1, 0.2, 0.1])
    up, down = np.array([1.5, 1.8, 2.4]), np.array([2.4, 1.8, 1.5])
    for size in (1, 4):
        assert block(0.3, impair, up, 0.0, 20, size) == pytest.approx(
            block(0.3, impair, down, 0.0, 20, size), abs=1e-12
        )
    middle, flat = np.array([1.5, 2.0, 1.5]), np.full(3, 1.5)
    # one slow domain more on either side of the fast one, all else equal: 3 slots of 0.5 are paid
    rising = block(0.3, impair[[0, 2, 1]], middle[[0, 2, 1]], 0.0, 20, 4)
    assert block(0.3, impair, middle, 0.0, 20, 4) == pytest.approx(rising + 1.5, abs=1e-12)
    assert block(0.3, impair, flat, 0.0, 20, 1) >= block(0.3, impair, middle, 0.0, 20, 1)


def test_far_tail_and_edge():
    impair = np.array([0.1, 0.2])
    assert block(0.5, impair, np.array([0.7, 0.7]), 0.0, 10, 3) == math.inf
    assert block(0.5, impair, np.array([0.5, 5.0]), 0.0, 10, 3) == math.inf
    value = block(0.5, impair, np.array([1.5, 1.5]), 0.0, 100_000, 100)
    assert -1.5e5 < value < -1.2e5


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from([1.0, 3.0, 8.0]))
def test_convex_in_theta_and_reservations(seed, size):
    assert_jointly_convex("block", seed, size, rising=size > 1.0)
