"""The exchange search: what it finds fits, is never above its start, and meets the enumerated optimum."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from fedopt.central import solve
from fedopt.central.local_search import Catalogue, local_search
from fedopt.central.master import Master
from fedopt.central.run import Run
from fedopt.pricing import Network, Oracle, sizing_for
from tests.central.conftest import random_instance


def _catalogue(instance):
    network = Network(instance)
    oracle = Oracle(network, sizing_for("minplus", network))
    ones = np.ones(len(network.names))
    listed = [oracle.within(kind, ones, math.inf) for kind in network.kinds]
    return Catalogue(network, list(itertools.chain(*listed)))


def _search(catalogue, profit=False, **options):
    run = Run(time.perf_counter(), math.inf, None)
    prices = Master(catalogue.network, profit, 0.0).list_prices()
    return local_search(catalogue, prices, 100.0, profit, run, 10.0, patience=4, **options)


def _cost(catalogue, found, profit=False):
    plan = Master(catalogue.network, profit, 0.0)
    plan.columns, units = found
    assert not plan.overloaded(units)
    return plan.cost(units)


def _served(catalogue, found):
    units = np.zeros(len(catalogue.network.kinds))
    for column, count in zip(*found, strict=True):
        units[column.kind] += count
    return units


def _enumerated(catalogue, profit=False):
    """The cheapest combination of one column a kind (profit: or none), by going through all of them."""
    best = math.inf
    per_kind = [
        [*catalogue.columns[a:b], *([None] if profit else [])] for a, b in itertools.pairwise(catalogue.start)
    ]
    plan = Master(catalogue.network, profit, 0.0)
    for combination in itertools.product(*per_kind):
        plan.columns = [column for column in combination if column is not None]
        units = np.ones(len(plan.columns))
        if not plan.overloaded(units):
            best = min(best, plan.cost(units))
    return best


@pytest.mark.parametrize("seed", range(6))
def test_finds_the_cheapest_combination_of_few_units(seed):
    catalogue = _catalogue(random_instance(seed, slack=0.75 if seed % 2 else 1.0))
    best, found = _enumerated(catalogue), _search(catalogue)
    if math.isinf(best):
        assert found is None
        return
    assert _cost(catalogue, found) == pytest.approx(best, rel=1e-6)
    assert (_served(catalogue, found) == 1).all()


@pytest.mark.parametrize("seed", [3, 8])
def test_profit_may_leave_heads_out(seed):
    instance = random_instance(seed, slack=0.5)
    catalogue = _catalogue(instance)
    found = _search(catalogue, profit=True)
    assert _cost(catalogue, found, profit=True) == pytest.approx(
        _enumerated(catalogue, profit=True), rel=1e-6
    )
    assert (_served(catalogue, found) <= 1).all()


def test_heads_of_one_kind_may_part_and_the_seed_decides():
    catalogue = _catalogue(random_instance(2, tenants=1, slack=4.0).with_({"tenants.t0.count": 4}))
    one, other = _search(catalogue, seed=5), _search(catalogue, seed=5)
    assert _served(catalogue, one).tolist() == [4.0]
    assert [c.path for c in one[0]] == [c.path for c in other[0]]


def test_is_never_above_its_start():
    instance = random_instance(7, tenants=6, slack=0.9)
    catalogue = _catalogue(instance)
    first = _search(catalogue)
    again = _search(catalogue, start=first, seed=1)
    assert _cost(catalogue, again) <= _cost(catalogue, first) + 1e-9


def test_none_where_a_kind_has_no_column():
    catalogue = _catalogue(random_instance(1))
    rest = [column for column in catalogue.columns if column.kind != 0]
    assert _search(Catalogue(catalogue.network, rest)) is None


@pytest.mark.parametrize("seed", range(3))
def test_a_plan_of_few_tenants_is_at_the_optimum_and_rejects_nobody(seed):
    instance = random_instance(seed + 30, tenants=4, slack=1.1)
    catalogue = _catalogue(instance)
    plan = solve(instance, gap=1e-6)
    best = _enumerated(catalogue)
    if math.isinf(best):
        assert plan.status == "infeasible"
        return
    assert plan.catalogue_bound <= best * (1 + 1e-9)
    assert plan.cost <= best * (1 + 1e-5)  # reservations of any shape may cost less than the catalogue's
    assert plan.lower_bound <= plan.cost
    assert plan.admitted == 4
