"""The oracle's answer against the whole catalogue, and its bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.instance.generating import generate
from fedopt.pricing import Abandoned, Network, Oracle, sizing_for
from tests.central.conftest import random_instance

GUARANTEES = ["minplus", "minplus:fine", "minplus:ville", "paper-path", "paper-local", "split"]


def _everything(network, sizing, kind, prices):
    return Oracle(network, sizing).within(kind, prices, math.inf)


def _listed(network, sizing, kind, prices):
    paths = np.arange(len(network.paths(kind)))
    answers = sizing.size(kind, paths, prices, np.full(len(paths), math.inf))
    return [column for columns in answers for column in columns]


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_nothing_in_the_catalogue_is_cheaper(guarantee):
    network = Network(random_instance(8, stages=3))
    rng = np.random.default_rng(0)
    for _ in range(3):
        prices = rng.uniform(0.1, 3.0, len(network.names))
        fresh, whole = sizing_for(guarantee, network), sizing_for(guarantee, network)
        for kind in network.kinds:
            answer = Oracle(network, fresh).price(kind, prices)
            best = min(column.cost(prices) for column in _everything(network, whole, kind, prices))
            assert answer.columns[0].cost(prices) == pytest.approx(best, rel=1e-7)
            assert answer.bound <= best * (1 + 1e-7)
            assert answer.bound == pytest.approx(best, rel=2e-4)  # less the accuracy of margins


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_lower_bounds_hold_for_every_path_at_every_price(guarantee):
    network = Network(random_instance(12, stages=3))
    sizing = sizing_for(guarantee, network)
    rng = np.random.default_rng(1)
    for _ in range(4):  # what was learned at earlier prices must stay true at later ones
        prices = rng.uniform(0.05, 3.0, len(network.names))
        for kind in network.kinds:
            lower = sizing.least(kind, prices)
            for column in _listed(network, sizing_for(guarantee, network), kind, prices):
                assert lower[column.path] <= column.cost(prices) - column.charge + 1e-9
            Oracle(network, sizing).price(kind, prices, effort=3)


def test_a_known_cost_prunes_but_the_bound_holds():
    network = Network(random_instance(8))
    kind, prices = network.kinds[0], np.ones(len(network.names))
    full = Oracle(network, sizing_for("minplus", network)).price(kind, prices)
    half = Oracle(network, sizing_for("minplus", network)).price(kind, prices, known=0.5 * full.bound)
    assert not half.columns
    assert half.bound == pytest.approx(0.5 * full.bound)


def test_within_lists_every_point_below_the_limit():
    network = Network(random_instance(8))
    sizing = sizing_for("minplus", network)
    kind, prices = network.kinds[0], np.ones(len(network.names))
    everything = _everything(network, sizing_for("minplus", network), kind, prices)
    limit = float(np.median([column.cost(prices) for column in everything]))
    found = Oracle(network, sizing).within(kind, prices, limit)
    assert len(found) == sum(column.cost(prices) < limit for column in everything)


def test_within_all_gives_up_where_columns_are_too_many_or_it_is_told_to_stop():
    network = Network(generate(8, 3, 4, 7))  # priced by the tree
    oracle = Oracle(network, sizing_for("minplus", network))
    prices = network.prices_of_rates()
    limits = np.full(len(network.kinds), 1e300)
    everything = oracle.within_all(prices, limits)
    assert len(oracle.within_all(prices, limits, most=len(everything))) == len(everything)
    for most in (0, 1, 70, len(everything) - 1):
        with pytest.raises(Abandoned, match="more than"):
            oracle.within_all(prices, limits, most=most)
    with pytest.raises(Abandoned, match="stop"):
        oracle.within_all(prices, limits, stop=lambda: True)
    assert oracle.within_all(prices, np.zeros(len(network.kinds)), most=0) == []
