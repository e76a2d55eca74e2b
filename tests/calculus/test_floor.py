"""The floor that prunes: no form of a path asks less of a domain than the domain alone would need."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.floor import floor_at_theta, ville_floor
from fedopt.calculus.forms import FORMS
from fedopt.calculus.minplus import PackedPath
from fedopt.calculus.scaling import least_scale
from tests.calculus.systems import at, forms_of, parameters, path_of
from tests.oracles import formulas
from tests.oracles.random_tandems import random_tandem, theta_top, with_window
from tests.oracles.tandem import plain


def assert_no_form_is_below(seed: int) -> None:
    """Every form at random θ and parameters: its bound is none that a domain's rate could not prove alone."""
    rng = np.random.default_rng(seed)
    tandem = random_tandem(rng)
    if rng.random() < 0.2:
        tandem = with_window(tandem, int(rng.integers(math.ceil(tandem.lags.sum()), 400)))
    packed = PackedPath(path_of(tandem, request=bool(rng.random() < 0.5)))
    models, arrival, impair, exponent, lag, window, biased, _ = packed.arguments()
    size = len(tandem.rates)
    for _ in range(6):
        rates = np.array(tandem.rates) * rng.uniform(1.0, 3.0)
        kind = rng.integers(3)
        if kind == 0:
            rates = np.full(size, rates.max())
        elif kind == 1:
            rates = rates * rng.uniform(1.0, 3.0, size)
        theta = 0.999 * min(theta_top(tandem), 20.0) * 10.0 ** rng.uniform(-3, 0)
        for form in forms_of(tandem):
            for _ in range(3 if form in ("image", "block", "block-ville") else 1):
                parameter, split = parameters(form, packed, rng)
                bound = at(form, packed, rates, theta, parameter, split)
                if bound == math.inf:
                    continue
                for i in range(size):
                    floor = floor_at_theta(
                        models, arrival, impair[i], exponent[i], window, lag[i], biased, bound, theta
                    )
                    assert rates[i] >= floor * (1 - 1e-11), (seed, form, theta, parameter, split, i)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.integers(0, 2**32))
def test_no_form_lies_below_the_floor(seed):
    assert_no_form_is_below(seed)


@pytest.mark.slow
def test_no_form_lies_below_the_floor_of_five_thousand_systems():
    for seed in range(5000):
        assert_no_form_is_below(seed)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 2**32))
def test_the_least_scale_respects_the_floors(seed):
    rng = np.random.default_rng(seed)
    tandem = random_tandem(rng)
    packed = PackedPath(path_of(tandem, math.log(10.0 ** rng.uniform(-9, -1))))
    models, arrival, impair, _, lag, window, biased, log_epsilon = packed.arguments()
    size = len(tandem.rates)
    scale, form, _, _, _ = least_scale(
        packed.mask, packed.arguments(), 1.0, np.ones(size), np.full(size, 1e3), math.inf
    )
    floors = [
        ville_floor(models, arrival, impair[i], 1.0, window, lag[i], biased, log_epsilon, 1.0)[0]
        for i in range(size)
    ]
    assert form < 0 or scale >= max(floors) * (1 - 1e-9), FORMS[form]


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**32), st.floats(-18, -1), st.sampled_from([1e-3, 1.0, 30.0]))
def test_the_floor_is_the_least_over_theta(seed, log_epsilon, guess):
    rng = np.random.default_rng(seed)
    tandem = random_tandem(rng)
    packed = PackedPath(path_of(tandem, log_epsilon))
    models, arrival, impair, _, lag, window, biased, _ = packed.arguments()
    args = (models, arrival, impair[0], 1.0, window, lag[0], biased, log_epsilon)
    found, theta = ville_floor(*args, guess)
    top = min(theta_top(plain(tandem.arrival, tandem.impairments[:1], [1.0], window)), 1e3)
    grid = [floor_at_theta(*args, t) for t in np.geomspace(1e-4 * top, 0.9999 * top, 400)]
    assert found <= min(grid) * (1 + 1e-9)
    assert found == pytest.approx(floor_at_theta(*args, theta), rel=1e-9)
    # and it is the least rate that the one-domain form proves
    one = plain(tandem.arrival, tandem.impairments[:1], [found * (1 + 1e-9)], window, [lag[0]])
    assert formulas.ville(one, theta) <= log_epsilon + 1e-6


def test_no_rate_is_enough():
    rng = np.random.default_rng(1)
    tandem = random_tandem(rng)
    packed = PackedPath(path_of(tandem))
    models, arrival, impair, _, _, _, biased, log_epsilon = packed.arguments()
    assert ville_floor(models, arrival, impair[0], 1.0, -1, 0.0, biased, log_epsilon, 1.0)[0] == math.inf
    assert ville_floor(models, arrival, impair[0], 1.0, 3, 4.0, biased, log_epsilon, 1.0)[0] == math.inf
    assert ville_floor(models, arrival, impair[0], 1.0, 3, 3.9, biased, log_epsilon, 1.0)[0] < math.inf
