"""Branch and bound against listing every path."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fedopt.instance.generating import generate
from fedopt.pricing import Network, Oracle, sizing_for
from fedopt.pricing import profiles as profiles_module


@pytest.fixture
def trees(monkeypatch):
    """Every family is priced by its tree alone, however few its paths."""
    monkeypatch.setattr(profiles_module, "_LISTED", 0)


def _everything(network, kind):
    """Columns of all paths of a kind, by path, from a service that prices nothing."""
    service = Oracle(network, sizing_for("minplus", network))._service(kind)
    offers = [np.flatnonzero(kind.allowed & (network.stage == s)) for s in range(network.stages)]
    paths = np.array(list(itertools.product(*offers)))
    return {tuple(int(o) for o in column.offers): column for column in service.along(kind, paths)}


@pytest.mark.parametrize(
    ("stages", "domains", "offers", "seed"),
    [(2, 6, 1, 3), (3, 5, 1, 0), (4, 4, 1, 1), (3, 3, 3, 2), (5, 3, 1, 4)],
)
def test_the_tree_finds_what_listing_finds(trees, stages, domains, offers, seed):
    network = Network(generate(12, stages, domains, seed, offers=offers))
    tree = Oracle(network, sizing_for("minplus", network))
    rng = np.random.default_rng(seed)
    for kind in network.kinds[:6]:
        columns = _everything(network, kind)
        for _ in range(3):
            prices = network.prices_of_rates() * rng.uniform(0.5, 1.8, len(network.names))
            costs = {path: column.cost(prices) for path, column in columns.items()}
            least = min(costs.values())
            found = tree.price(kind, prices, tolerance=1e-7)
            assert found.columns[0].cost(prices) == pytest.approx(least, rel=1e-5)
            assert found.bound <= least * (1 + 1e-7)
            assert found.bound >= least * (1 - 2e-4)
            near = {path for path, cost in costs.items() if cost < 1.03 * least}
            within = tree.within(kind, prices, 1.03 * least * (1 + 1e-6))
            assert near <= {tuple(int(o) for o in column.offers) for column in within}


def test_caps_hold_and_bounds_with_them(trees):
    instance = generate(8, 3, 4, 7)
    rates = Network(instance)
    kind = rates.kinds[0]
    usual = Oracle(rates, sizing_for("minplus", rates)).price(kind, rates.prices_of_rates()).columns[0]
    most = {rates.names[o]: 0.99 * float(rate) for o, rate in zip(usual.offers, usual.rates, strict=True)}
    capped = instance.with_(
        domains=[
            domain.model_copy(
                update={
                    "offers": tuple(
                        offer.model_copy(update={"max_rate": most.get(f"{domain.id}/{offer.id}")})
                        for offer in domain.offers
                    )
                }
            )
            for domain in instance.domains
        ]
    )
    network = Network(capped)
    kind, prices = network.kinds[0], network.prices_of_rates()
    costs = [column.cost(prices) for column in _everything(network, kind).values()]
    found = Oracle(network, sizing_for("minplus", network)).price(kind, prices, tolerance=1e-7)
    assert min(costs) >= usual.cost(prices) * (1 - 1e-9)
    assert found.columns[0].cost(prices) == pytest.approx(min(costs), rel=1e-4)
    assert found.bound <= min(costs) * (1 + 1e-7)
    for column in found.columns:
        assert (column.rates <= network.most[column.offers]).all()


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


def test_the_cheapest_ways_are_the_cheapest(trees):
    network = Network(generate(6, 3, 5, 8))
    prices = network.prices_of_rates()
    for kind in network.kinds[:3]:
        costs = sorted(column.cost(prices) for column in _everything(network, kind).values())
        found = Oracle(network, sizing_for("minplus", network)).cheapest(kind, prices, 12)
        assert [column.cost(prices) for column in found.columns] == pytest.approx(costs[:12], rel=1e-5)
