"""Tables that are not convex: every piece of the θ axis is searched."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.floor import floor_at_theta, ville_floor
from fedopt.calculus.forms import ALL, FORMS
from fedopt.calculus.minplus import PackedPath, evaluate
from fedopt.calculus.path import Path
from fedopt.calculus.scaling import least_scale
from fedopt.calculus.theta_pieces import pieces
from fedopt.calculus.theta_search import theta_grid
from fedopt.laws import ExponentialWork, Table, TokenBucket
from tests.calculus.systems import at


def random_path(seed: int) -> Path:
    """One or two domains behind arrivals whose tables rise in steps; the second one's are convex."""
    rng = np.random.default_rng(seed)
    points = int(rng.integers(2, 7))
    grid = np.sort(10.0 ** rng.uniform(-1.5, 0.5, points))
    rho = np.sort(rng.uniform(0.3, 1.5, points))
    sigma = np.sort(rng.uniform(0.0, 3.0, points)) * rng.integers(0, 2)
    table = Table(grid, grid * rho, grid * sigma)
    hops = int(rng.integers(1, 3))
    others = (ExponentialWork(0.1), TokenBucket(0.1, 0.5))[:hops]
    return Path(table, others, np.zeros(hops), np.ones(hops, bool), 20.0, math.log(1e-3), False)


def test_a_table_breaks_where_its_slopes_fall():
    table = Table(np.array([0.03, 0.5, 0.6, 2.0]), np.array([0.9, 20.0, 24.0, 80.0]), np.zeros(4))
    packed = PackedPath(
        Path(table, (TokenBucket(1.0, 0.0),), np.zeros(1), np.ones(1, bool), 9.0, -5.0, False)
    )
    found = pieces(packed.models, 0, packed.impair, packed.exponent)
    assert found.tolist() == [0.0, 0.5, 2.0]
    straight = Table(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3]), np.zeros(3))
    packed = PackedPath(Path(straight, (ExponentialWork(0.2),), np.zeros(1), np.ones(1, bool), 9.0, -5.0))
    assert pieces(packed.models, 0, packed.impair, packed.exponent).tolist() == [0.0, 0.3]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**32))
def test_no_theta_asks_less_than_the_least_scale_and_the_floor(seed):
    path = random_path(seed)
    packed = PackedPath(path)
    hops = len(path)
    shape, free = np.ones(hops), np.full(hops, math.inf)
    scale, form, *_ = least_scale(ALL & packed.mask, packed.arguments(), 1.0, shape, free, math.inf)
    assert form >= 0
    models, arrival, impair, _, lag, window, biased, target = packed.arguments()
    floor, _ = ville_floor(models, arrival, impair[0], 1.0, window, lag[0], biased, target, 1.0)
    thetas = np.concatenate([np.geomspace(1e-3, path.arrival.theta_max, 400), path.arrival.grid])
    for theta in thetas:
        least = floor_at_theta(models, arrival, impair[0], 1.0, window, lag[0], biased, target, float(theta))
        assert floor <= least * (1 + 5e-8)
        for name in FORMS:
            if packed.mask >> FORMS.index(name) & 1 and name != "block":
                assert at(name, packed, shape * scale * (1 - 1e-5), float(theta)) > target, (
                    seed,
                    name,
                    theta,
                )


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 2**32))
def test_no_theta_proves_more_than_evaluate(seed):
    path = random_path(seed)
    packed = PackedPath(path)
    rates = np.full(len(path), float(np.random.default_rng(seed + 1).uniform(1.0, 3.0)))
    best = evaluate(path, rates).log_bound
    for theta in np.concatenate([np.geomspace(1e-3, path.arrival.theta_max, 200), path.arrival.grid]):
        for name in ("fine", "monotone", "ville"):
            if packed.mask >> FORMS.index(name) & 1:
                found = at(name, packed, rates, float(theta))
                # a search ends 2e-5 from the best log θ, where a bound of |log p| may be off by as much of it
                assert found >= (best - 3e-5 * (1 + abs(best)) if math.isfinite(best) else best)


def test_the_grid_of_a_path_holds_the_points_where_its_tables_break():
    broken = 0
    for seed in range(20):
        path = random_path(seed)
        packed = PackedPath(path)
        ends = pieces(packed.models, 0, packed.impair, packed.exponent)
        grid = theta_grid(path, 40)
        assert len(grid) == 40
        assert np.isin(ends[1:], grid).all()
        broken += len(ends) > 2
    assert broken > 5
