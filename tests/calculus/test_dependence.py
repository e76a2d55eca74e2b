"""Hölder exponents of dependent domains: valid, never worse than equal ones, as good as a search finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from fedopt.calculus.forms import bit
from fedopt.calculus.minplus import PackedPath, best_exponents, evaluate, verify
from fedopt.calculus.search import best_bound
from fedopt.laws import ExponentialWork, GammaWork, Poisson
from tests.calculus.systems import path_of
from tests.oracles import formulas
from tests.oracles.tandem import Tandem, plain


def tandem_of(rng: np.random.Generator, size: int) -> Tandem:
    """Domains whose impairments are of very different sizes, with ample rates."""
    impairments = [GammaWork(rng.uniform(0.3, 1.5), 10.0 ** rng.uniform(-1.5, -0.2)) for _ in range(size)]
    rates = 0.5 + sum(j.mean for j in impairments) + rng.uniform(1.0, 2.5, size)
    return plain(Poisson(0.5), impairments, rates, int(rng.integers(10, 40)))


@settings(deadline=None, max_examples=12, derandomize=True)
@given(st.integers(0, 2**32))
def test_exponents_are_valid_and_better_than_equal_ones(seed):
    rng = np.random.default_rng(seed)
    tandem = tandem_of(rng, 4)
    dependent = ((0, 2),) if seed % 2 else ((0, 3), (1, 2))
    packed = PackedPath(path_of(tandem, dependent=dependent))
    rates = np.array(tandem.rates)
    equal = best_bound(packed.mask, packed.arguments(), rates)[0]
    packed.exponent = best_exponents(packed, rates, packed.mask)
    for group in dependent:
        assert (1.0 / packed.exponent[list(group)]).sum() == pytest.approx(1.0, abs=1e-12)
    alone = [i for i in range(4) if not any(i in group for group in dependent)]
    assert np.all(packed.exponent[alone] == 1.0)
    assert best_bound(packed.mask, packed.arguments(), rates)[0] <= equal


@settings(deadline=None, max_examples=6, derandomize=True)
@given(st.integers(0, 2**32))
def test_two_domains_as_good_as_a_dense_search(seed):
    tandem = tandem_of(np.random.default_rng(seed), 2)
    packed = PackedPath(path_of(tandem, dependent=((0, 1),)))
    rates = np.array(tandem.rates)
    packed.exponent = best_exponents(packed, rates, bit("fine"))
    found = best_bound(bit("fine"), packed.arguments(), rates)[0]

    def least(share: float) -> float:
        exponents = (1.0 / share, 1.0 / (1.0 - share))
        top = min(j.theta_max / p for j, p in zip(tandem.impairments, exponents, strict=True))
        return formulas.best_theta(
            lambda t: formulas.fine(tandem, t, exponents=exponents), top, 24, 1e-4, 4.0
        )[0]

    grid = np.linspace(0.05, 0.95, 10)
    values = [least(u) for u in grid]
    at = int(np.argmin(values))
    refined = minimize_scalar(
        least, bounds=(grid[max(at - 1, 0)], grid[min(at + 1, 9)]), method="bounded", options={"xatol": 1e-3}
    )
    assert found <= min(refined.fun, *values) + 1e-5 * abs(found)


def test_dependence_costs_and_evaluation_states_the_exponents():
    tandem = plain(Poisson(0.5), [ExponentialWork(0.3), ExponentialWork(0.1)], [1.6, 1.6], 20)
    free, tied = path_of(tandem), path_of(tandem, dependent=((0, 1),))
    rates = np.array(tandem.rates)
    apart, together = evaluate(free, rates, bit("fine")), evaluate(tied, rates, bit("fine"))
    assert apart.log_bound < together.log_bound < math.inf
    exponents = np.array(together.parameters["exponents"])
    # the larger impairment keeps more of its domain of θ
    assert 1.0 < exponents[0] < exponents[1]
    assert verify(tied, rates, together) == pytest.approx(together.log_bound, abs=1e-12)
    assert formulas.fine(tandem, together.theta, exponents=exponents) == pytest.approx(
        together.log_bound, abs=1e-9
    )
    assert evaluate(tied, rates).form in ("fine", "monotone", "block")
