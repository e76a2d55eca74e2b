"""All forms under one roof: assumptions, the plain formulas on random systems, conditions, far tails."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus import forms
from fedopt.calculus.forms import ALL, FORMS, allowed_forms, bit, growth
from fedopt.calculus.minplus import PackedPath
from fedopt.laws import ExponentialWork, GammaWork, Poisson
from tests.calculus.systems import at, case_a, cut_of, forms_of, oracle, parameters, path_of
from tests.oracles.random_tandems import random_tandem, theta_top, with_rates
from tests.oracles.tandem import plain


def test_codes_and_bits():
    assert [getattr(forms, form.upper().replace("-", "_")) for form in FORMS] == list(range(6))
    assert sum(bit(form) for form in FORMS) == ALL
    with pytest.raises(ValueError, match="not in"):
        bit("paper")


@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=4)))
def test_a_form_needs_what_it_assumes(flags):
    monotone, independent, iid, dependent = flags
    mask = allowed_forms(*flags)
    martingale = monotone and independent and not dependent
    expected = {
        "fine": True,
        "monotone": monotone,
        "block": monotone,
        "ville": martingale,
        "block-ville": martingale,
        "image": martingale and iid,
    }
    assert {form: bool(mask & bit(form)) for form in FORMS} == expected


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.integers(0, 2**32))
def test_plain_formulas_on_random_systems(seed):
    rng = np.random.default_rng(seed)
    tandem = random_tandem(rng)
    request = bool(rng.random() < 0.5)
    size = len(tandem.rates)
    rates = np.array(tandem.rates) * rng.uniform(1.0, 3.0)
    rates = np.full(size, rates.max()) if rng.random() < 0.4 else rates * rng.uniform(1.0, 2.0, size)
    tandem = with_rates(tandem, rates)
    packed = PackedPath(path_of(tandem, request=request))
    theta = 0.99 * min(theta_top(tandem), 20.0) * 10.0 ** rng.uniform(-2, 0)
    for form in forms_of(tandem):
        parameter, split = parameters(form, packed, rng)
        found = at(form, packed, rates, theta, parameter, split)
        if form in ("fine", "block", "block-ville") and found == math.inf:
            continue
        expected = oracle(form, tandem, theta, parameter, split, request)
        if form in ("block", "block-ville") and expected == math.inf:
            continue  # a longer series than the plain sum takes on
        if form == "image" and found < math.inf:
            if found >= 0.0 and expected == math.inf:
                continue  # of no use, and the plain search for roots looks on a grid
            # roots are searched, the plain prefactor is minimised, the package's is its bound from below
            assert expected - 1e-6 <= found <= expected + 0.05, (seed, parameter, split)
            continue
        tolerance = 1e-10 * (1.0 + abs(expected))
        assert found == expected or found == pytest.approx(expected, abs=tolerance), (seed, form, parameter)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**32))
def test_hoelder_exponents_enter_as_stated(seed):
    """κ_i(p_iθ) and η_i(p_iθ) with p_iθ: the same as impairments tabulated at those tilts."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 5))
    means = rng.uniform(0.05, 0.4, size)
    tandem = plain(Poisson(0.5), [GammaWork(0.8, m) for m in means], rng.uniform(1.5, 3.0, size), 20)
    dependent = (tuple(range(size)),)
    packed = PackedPath(path_of(tandem, dependent=dependent))
    packed.exponent = 1.0 / rng.dirichlet(np.ones(size))
    theta = float(rng.uniform(0.01, 0.9) / (means * packed.exponent).max())
    rescaled = tuple(
        GammaWork(0.8 / p, m * p) for m, p in zip(means, packed.exponent, strict=True)
    )  # log-moment 0.8/p · −log(1 − θ p m)
    other = PackedPath(path_of(plain(tandem.arrival, rescaled, tandem.rates, 20)))
    for form in ("fine", "monotone", "block"):
        found, expected = (at(form, p, tandem.rates, theta, 3.0) for p in (packed, other))
        assert found == expected or found == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.integers(0, 2**32))
def test_growth_is_the_condition(seed):
    rng = np.random.default_rng(seed)
    tandem = random_tandem(rng)
    packed = PackedPath(path_of(tandem))
    models, arrival, impair, exponent, lag, *_ = packed.arguments()
    size = len(tandem.rates)
    rates = np.array(tandem.rates) * rng.uniform(0.5, 2.0, size)
    theta = 0.99 * min(theta_top(tandem), 20.0) * 10.0 ** rng.uniform(-2, 0)
    for form in forms_of(tandem):
        parameter, split = parameters(form, packed, rng)
        code = FORMS.index(form)
        args = (models, arrival, impair, exponent, lag, rates, theta, parameter, cut_of(size, split))
        value = growth(code, *args, np.empty((4, size + 1)))
        bound = at(form, packed, rates, theta, parameter, split)
        if abs(value) < 1e-12:
            continue
        if value > 0.0:
            assert bound == math.inf, (seed, form)
        elif form != "image":  # the image needs its walls to have a root, too
            assert bound < math.inf, (seed, form)


def test_outside_every_domain():
    packed = PackedPath(path_of(case_a(1.5, 1.5, 1.5)))
    late = PackedPath(path_of(plain(Poisson(0.5), [ExponentialWork(0.3)] * 2, [1.0, 1.0], -1)))
    for form in FORMS:
        assert at(form, packed, [1.5] * 3, 0.0) == math.inf
        assert at(form, packed, [1.5] * 3, -1.0) == math.inf
        assert at(form, packed, [1.5] * 3, math.nan) == math.inf
        assert at(form, packed, [1.5] * 3, 2.5) == math.inf  # an impairment's moment is infinite
        assert at(form, packed, [1.5] * 3, 800.0) == math.inf
        assert at(form, packed, [1.5, 0.4, 1.5], 0.4, 1.2) == math.inf
        assert at(form, late, [1.0] * 2, 0.4) == math.inf


@pytest.mark.parametrize("request_bias", [False, True])
@pytest.mark.parametrize("rates", [(2.0, 2.0, 2.0), (2.0, 2.5, 2.2)])
def test_log_bounds_far_below_what_a_probability_can_hold(rates, request_bias):
    """Linear in the window to the last digits, from −1e3 to −1e5 and beyond."""
    tandem = case_a(*rates)
    for form in FORMS:
        parameter = {"block": 60.0, "block-ville": 60.0, "image": 1.3}.get(form, 1.0)
        values = []
        for window in (60_000, 120_000, 180_000):
            deadline = tandem.deadline - tandem.window + window
            longer = type(tandem)(
                tandem.arrival, tandem.impairments, rates, tandem.latencies, tandem.guardrail, deadline
            )
            packed = PackedPath(path_of(longer, request=request_bias))
            values.append(at(form, packed, rates, 0.5, parameter))
        assert all(math.isfinite(v) for v in values), form
        assert values[2] < -5e4
        # what is left of the second difference is the logarithm of a polynomial in the window
        assert abs(values[0] - 2 * values[1] + values[2]) < 1.5, form
