"""The domain step in closed form against brute force and against the same problem in cvxpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.federated.domain import InUnits, PrivateDomain, offers_of
from fedopt.federated.problem import default_problem
from fedopt.instance import Domain, Linear, Offer, Piecewise, Quadratic

DOMAIN = Domain(
    id="d",
    stage="s",
    capacity=10.0,
    offers=(
        Offer(id="a", cost=Linear(rate=2.0, fixed=3.0)),
        Offer(id="b", cost=Quadratic(rate=1.0, quad=0.2), work_factor=2.0),
        Offer(id="c", cost=Piecewise(points=((0.0, 1.0), (2.0, 2.0), (4.0, 6.0)))),
    ),
)


class Cubic:
    """A user's own cost."""

    fixed = 0.0

    def variable(self, z):
        return z + 0.01 * z**3

    def marginal(self, z):
        return 1.0 + 0.03 * z**2


vectors = st.lists(st.floats(0.0, 8.0), min_size=3, max_size=3).map(np.array)
penalties = st.lists(st.floats(0.05, 5.0), min_size=3, max_size=3).map(np.array)


def fitted(domain, loads):
    """The loads, scaled down where they exceed the capacity."""
    return loads * min(1.0, domain.capacity / max(float(domain.factor @ loads), 1e-300))


@pytest.fixture(scope="module")
def program():
    return default_problem([DOMAIN]).compiled(offers_of([DOMAIN]))


def test_closed_form_and_cvxpy_agree(program):
    rng = np.random.default_rng(3)
    domain = PrivateDomain(DOMAIN)
    full = 0
    for n in range(60):
        x, p, rho = rng.uniform(0, 8, 3), rng.uniform(0, 5, 3), rng.uniform(0.05, 5, 3)
        free = n % 3 == 0
        z = domain.step(x, p, rho, free)
        full += domain.factor @ z > 9.999999
        assert z == pytest.approx(program.step(x, p, rho, free), abs=2e-5)
        prices = np.maximum(p + rho * (x - z), 0.0)
        assert program.support(prices, free) == pytest.approx(domain.support(prices, free), abs=1e-5)
        assert program.support(prices, free) <= domain.support(prices, free)
        for loads in (z, x, fitted(domain, x)):
            assert program.cost(loads) == pytest.approx(domain.cost(loads), rel=1e-6, abs=1e-5)
            assert program.cost(loads) >= domain.cost(loads) * (1.0 - 1e-9)
    assert 5 < full < 55  # both regimes were met


@pytest.mark.parametrize("side", ["closed form", "cvxpy"])
def test_units_change_nothing_but_the_numbers(side, program):
    inner = PrivateDomain(DOMAIN) if side == "closed form" else program
    units = np.array([0.3, 5.0, 1.7])
    told = InUnits(inner, units)
    x, p, rho = np.array([3.0, 1.0, 4.0]), np.array([2.5, 2.0, 1.5]), np.array([0.5, 0.2, 1.0])
    assert told.step(x * units, p / units, rho / units**2) / units == pytest.approx(
        inner.step(x, p, rho), abs=1e-5
    )
    assert told.support(p / units) == pytest.approx(inner.support(p))
    assert told.cost(x * units) == pytest.approx(inner.cost(x))
    assert told.quote() * units == pytest.approx(inner.quote())


@settings(max_examples=60, deadline=None)
@given(vectors, vectors, penalties, st.booleans())
def test_step_and_support_are_optimal(x, p, rho, free):
    domain = PrivateDomain(DOMAIN)
    z = domain.step(x, p, rho, free)
    prices = p + rho * (x - z)
    assert (prices >= -1e-9).all()
    support = domain.support(np.maximum(prices, 0.0), free)
    at_z = (0.0 if free else domain.cost(z)) - prices @ z
    assert support == pytest.approx(at_z, abs=1e-7)  # z minimises cost − prices' · y
    rng = np.random.default_rng(0)
    for y in rng.uniform(0, 5, (200, 3)):
        y = fitted(domain, y)
        assert (0.0 if free else domain.cost(y)) - np.maximum(prices, 0.0) @ y >= support - 1e-12


def test_support_holds_at_any_prices_and_costs_of_ones_own():
    own = Domain(id="d", stage="s", capacity=6.0, offers=(Offer(id="a", cost=Cubic()),))
    domain = PrivateDomain(own)
    for price in (0.0, 0.5, 1.0, 2.0, 9.0):
        grid = np.linspace(0, 6, 20001)
        least = (Cubic().variable(grid) - price * grid).min()
        support = domain.support(np.array([price]))
        assert support <= least
        assert support == pytest.approx(least, abs=1e-6)
    z = domain.step(np.array([5.0]), np.array([1.0]), np.array([0.5]))
    assert Cubic().marginal(z[0]) == pytest.approx(1.0 + 0.5 * (5.0 - z[0]), abs=1e-9)


def test_loads_beyond_capacity_cost_infinitely_much():
    domain = PrivateDomain(DOMAIN)
    assert domain.cost(np.array([10.0, 1.0, 0.0])) == math.inf
    assert math.isfinite(domain.cost(fitted(domain, np.array([10.0, 1.0, 0.0]))))
    assert domain.quote().tolist() == [2.0, 1.0, 0.5]
