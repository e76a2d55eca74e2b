"""What a plan states of all others, whoever made it: no lower bound is above a cost that passes the check."""

from __future__ import annotations

import itertools

import pytest

import fedopt
from fedopt.instance.generating import generate
from fedopt.plan import check
from tests.central.conftest import random_instance


def _hold(plans, instance):
    """Every plan passes the check, and no bound on all plans is above any of their costs."""
    made = [plan for plan in plans if plan.has_plan]
    for plan in made:
        assert check(plan, instance).ok, check(plan, instance).text()
        assert plan.status != "optimal" or plan.catalogue_bound is not None
    for one, other in itertools.product(made, made):
        if one.lower_bound is not None:
            slack = 1e-9 * abs(other.cost)
            assert one.lower_bound <= other.cost + slack, (one.method, one.guarantee, other.method)
    assert len({plan.has_plan for plan in plans}) == 1
    assert sum(plan.lower_bound is not None for plan in made) >= len(made) - 1  # consensus has none


@pytest.mark.parametrize("objective", ["cost", "profit"])
@pytest.mark.parametrize("seed", range(6))
def test_no_methods_lower_bound_is_above_what_another_ones_plan_costs(seed, objective):
    instance = random_instance(seed)
    asked = {"gap": 5e-3, "objective": objective, "explain": False}
    plans = [fedopt.solve(instance, method, **asked) for method in ("central", "admm", "bundle")]
    if objective == "cost":
        plans.append(fedopt.solve(instance, "model:federated_admm", gap=5e-3, explain=False))
        plans.append(fedopt.solve(instance, "consensus", explain=False, most_rounds=60))
        plans = [
            plan for plan in plans if plan.method != "consensus" or plan.has_plan
        ]  # it may end with none
    _hold(plans, instance)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_under_split_where_contracts_are_private(seed):
    instance = random_instance(seed)
    plans = [
        fedopt.solve(instance, method, guarantee="split", gap=1e-2, explain=False)
        for method in ("central", "admm")
    ]
    pytest.importorskip("pyscipopt")
    plans.append(fedopt.solve(instance, "model:joint", guarantee="split", explain=False, time_limit=20))
    _hold([plan for plan in plans if plan.status != "limit"], instance)


def test_a_catalogues_bound_is_not_stated_for_all_plans():
    """Rates turned against each other may cost less than any point of the catalogue: its bound is a bound of
    the method's own plans only."""
    instance = generate(8, 3, 3, seed=0)
    for method in ("central", "admm"):
        plan = fedopt.solve(instance, method, gap=1e-2)
        assert plan.lower_bound < plan.catalogue_bound <= plan.cost


def test_a_limit_before_any_plan_says_nothing_of_all_plans():
    plan = fedopt.solve(generate(30, 3, 3, seed=0), "admm", gap=0.0, progress=lambda row: True)
    assert plan.status in ("limit", "feasible")
    if plan.status == "limit":
        assert plan.lower_bound is None


@pytest.mark.parametrize("name", ["city", "tandem"])
def test_prices_are_converted_where_a_slot_is_no_unit_of_time(name):
    instance = fedopt.load(fedopt.examples()[name])
    assert instance.slot != 1.0
    plans = [
        fedopt.solve(instance, method) for method in ("central", "admm", "bundle", "model:federated_admm")
    ]
    _hold(plans, instance)
    for plan in plans[1:]:
        assert plan.lower_bound == pytest.approx(plans[0].lower_bound, rel=0.02)
