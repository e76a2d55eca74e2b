"""Branch and bound against listing every path, and its quick scales against the proven ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from fedopt.calculus.forms import IMAGE, PLAIN_IMAGE
from fedopt.calculus.profile import scale_at_theta
from fedopt.calculus.scaling import least_scales
from fedopt.instance.generating import generate
from fedopt.oracle import Network, Oracle, sizing_for
from fedopt.oracle import profiles as profiles_module
from fedopt.oracle.image_scale import ACCURACY, image_scale


@pytest.fixture
def trees(monkeypatch):
    """Every family is priced by the tree, however few its paths."""
    monkeypatch.setattr(profiles_module, "_LISTED", 0)


def _plain_scale(network, kind, offers, window, shape, start):
    """The least scale of the image form without overshoot credit, by a derivative-free search over (θ, α)."""
    stages = len(offers)
    work = (np.empty((4, stages + 1)), np.empty(stages))
    path = (
        network.models,
        kind.arrival,
        network.row[offers],
        np.ones(stages),
        network.lags(offers),
        window,
        kind.biased,
        kind.log_epsilon,
    )
    cap = np.full(stages, 1e9)

    def scale(point):
        theta, alpha = math.exp(point[0]), 1.0 + math.exp(point[1])
        cut = np.arange(stages + 1)
        return scale_at_theta(
            PLAIN_IMAGE, path, theta, alpha, cut, shape, cap, 1.1, 0.0, math.inf, True, work
        )[0]

    options = {"xatol": 1e-5, "fatol": 1e-9, "maxiter": 300}
    found = [minimize(scale, (start, y), method="Nelder-Mead", options=options) for y in (-1.0, -3.0)]
    return min(float(answer.fun) for answer in found)


def _cheapest_plain(network, kind, prices, sizing):
    """Least cost over all paths of a kind in proportion to floors, each sized by `_plain_scale`; by path."""
    points = sizing._of(kind)
    costs = {}
    for p, offers in enumerate(points.paths.offers):
        shape = np.ascontiguousarray(points.shape[p, profiles_module.PROPORTIONAL])
        floor = points.paths.charge[p] + float(prices[offers] @ shape)
        if costs and floor > 1.03 * min(costs.values()):  # no scale is below 1
            continue
        start = math.log(0.3 if not costs else 0.5)
        scale = _plain_scale(network, kind, offers, points.paths.window[p], shape, start)
        costs[tuple(int(o) for o in offers)] = points.paths.charge[p] + scale * float(prices[offers] @ shape)
    return costs


@pytest.mark.parametrize(("stages", "domains", "offers", "seed"), [(3, 5, 1, 0), (4, 4, 1, 1), (3, 3, 3, 2)])
def test_the_tree_finds_what_listing_finds(trees, stages, domains, offers, seed):
    network = Network(generate(12, stages, domains, seed, offers=offers))
    tree, sizing = Oracle(network, sizing_for("minplus", network)), sizing_for("minplus", network)
    rng = np.random.default_rng(seed)
    for kind in network.kinds[:4]:
        prices = network.prices_of_rates() * rng.uniform(0.7, 1.5, len(network.names))
        costs = _cheapest_plain(network, kind, prices, sizing)
        least = min(costs.values())
        found = tree.price(kind, prices, tolerance=1e-7)
        assert found.columns[0].cost(prices) <= least * (1 + 1e-4)
        assert found.bound <= least * (1 + 1e-5)
        assert found.bound >= found.columns[0].cost(prices) * (1 - 5e-4)
        near = {offers for offers, cost in costs.items() if cost < 1.02 * least}
        assert near <= {tuple(int(o) for o in c.offers) for c in tree.within(kind, prices, 1.021 * least)}


def test_a_known_cost_and_few_nodes_leave_a_valid_bound(trees):
    network = Network(generate(6, 3, 6, 4))
    prices = network.prices_of_rates()
    for kind in network.kinds:
        oracle = Oracle(network, sizing_for("minplus", network))
        best = oracle.price(kind, prices).columns[0].cost(prices)
        assert not oracle.price(kind, prices, known=0.9 * best).columns
        assert oracle.price(kind, prices, known=0.9 * best).bound == pytest.approx(0.9 * best)
        fresh = Oracle(network, sizing_for("minplus", network))
        for nodes in (1, 5, 30):
            bound, _ = fresh._service(kind).price(kind, prices, math.inf, 1e-9, 4, nodes)
            assert bound <= best * (1 + 1e-5)


def test_kinds_that_differ_in_payment_get_their_own_columns(trees):
    instance = generate(30, 3, 4, 5)
    network = Network(instance, paid=True)
    assert network.families < len(network.kinds) <= 30
    oracle = Oracle(network, sizing_for("minplus", network))
    prices = network.prices_of_rates()
    answers = oracle.price_all(prices, np.full(len(network.kinds), math.inf))
    alone = Oracle(network, sizing_for("minplus", network))
    for kind, answer in zip(network.kinds, answers, strict=True):
        assert {column.kind for column in answer.columns} == {kind.index}
        assert answer.bound == pytest.approx(alone.price(kind, prices).bound, rel=3e-4)


@pytest.mark.parametrize("stages", [3, 4, 5])
def test_quick_scales_are_the_proven_ones(stages):
    network = Network(generate(8, stages, 4, 6))
    oracle = Oracle(network, sizing_for("minplus", network))
    unknown = asked = 0
    for kind in network.kinds[:4]:
        points = oracle.sizing._of(kind)
        paths = np.flatnonzero(np.isfinite(points.below[:, profiles_module.PROPORTIONAL]))[:6]
        offers, shape = points.paths.offers[paths], points.shape[paths, profiles_module.PROPORTIONAL]
        count = len(paths)
        _, _, theta, alpha, _ = least_scales(
            np.full(count, 1 << IMAGE),
            network.models,
            np.full(count, kind.arrival),
            network.row[offers],
            np.full(count, stages),
            np.ones(offers.shape),
            network.lags(offers),
            points.paths.window[paths],
            np.full(count, kind.biased),
            np.full(count, kind.log_epsilon),
            np.ones(count),
            np.ascontiguousarray(shape),
            np.full(shape.shape, 1e9),
            np.full(count, math.inf),
        )
        at = math.log(theta[0])
        windows = points.paths.window[paths]
        proven = [
            _plain_scale(network, kind, offers[n], windows[n], np.ascontiguousarray(shape[n]), at)
            for n in range(count)
        ]
        last = np.array([1.1, at, math.log(max(alpha[0] - 1.0, 1e-4))])  # a neighbour's
        parts = [np.empty(stages) for _ in range(4)]
        work = (*parts, np.arange(stages + 1))
        for n in range(count):
            path = (
                network.models,
                kind.arrival,
                network.row[offers[n]],
                network.lags(offers[n]),
                points.paths.window[paths[n]],
                kind.biased,
                kind.log_epsilon,
            )
            quick = image_scale(path, np.ascontiguousarray(shape[n]), last, work)
            if math.isnan(quick):
                unknown += 1
            else:
                assert quick == pytest.approx(proven[n], rel=0.5 * ACCURACY)
            asked += 1
    assert unknown <= 0.3 * asked  # at the edge of stability there is no derivative to follow
