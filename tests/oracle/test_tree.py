"""Branch and bound against listing every path, and its quick scales against the proven ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.calculus.forms import IMAGE
from fedopt.calculus.scaling import least_scales
from fedopt.instance.generating import generate
from fedopt.oracle import Network, Oracle, sizing_for
from fedopt.oracle import profiles as profiles_module
from fedopt.oracle.image_scale import ACCURACY, image_scale


@pytest.fixture
def trees(monkeypatch):
    """Every family is priced by the tree, however few its paths."""
    monkeypatch.setattr(profiles_module, "_LISTED", 0)


def _listing(network):
    """The same catalogue, listed: reservations in proportion to floors only."""
    sizing = sizing_for("minplus", network)
    prepare = sizing._prepare

    def proportional(kind):
        points = prepare(kind)
        points.below[:, profiles_module.EQUAL] = math.inf
        points.known[:] = np.isinf(points.below)
        return points

    sizing._prepare = proportional
    sizing.service = lambda kind: None
    return Oracle(network, sizing)


@pytest.mark.parametrize(("stages", "domains", "offers", "seed"), [(3, 5, 1, 0), (4, 4, 1, 1), (3, 3, 3, 2)])
def test_the_tree_finds_what_listing_finds(trees, stages, domains, offers, seed):
    network = Network(generate(12, stages, domains, seed, offers=offers))
    tree, listing = Oracle(network, sizing_for("minplus", network)), _listing(network)
    rng = np.random.default_rng(seed)
    for kind in network.kinds:
        for _ in range(2):
            prices = network.prices_of_rates() * rng.uniform(0.7, 1.5, len(network.names))
            found = tree.price(kind, prices, tolerance=1e-7)
            best = listing.price(kind, prices, tolerance=1e-7)
            assert found.columns[0].cost(prices) == pytest.approx(best.columns[0].cost(prices), rel=1e-4)
            assert found.bound <= best.columns[0].cost(prices) * (1 + 1e-5)
            assert found.bound == pytest.approx(best.bound, rel=5e-4)
            limit = 1.03 * best.bound
            near = {tuple(column.offers) for column in listing.within(kind, prices, limit * (1 - 1e-3))}
            assert near <= {tuple(column.offers) for column in tree.within(kind, prices, limit)}


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
    for kind in network.kinds:
        points = oracle.sizing._of(kind)
        paths = np.flatnonzero(np.isfinite(points.below[:, profiles_module.PROPORTIONAL]))[:6]
        offers, shape = points.paths.offers[paths], points.shape[paths, profiles_module.PROPORTIONAL]
        count = len(paths)
        proven, _, theta, alpha, _ = least_scales(
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
        last = np.array([1.1, math.log(theta[0]), math.log(max(alpha[0] - 1.0, 1e-4))])  # a neighbour's
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
    assert unknown <= 0.2 * asked
