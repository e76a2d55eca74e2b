"""What a plan states of all other plans: an adversary looks for one that is cheaper than the lower bound."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fedopt.calculus import minplus, split
from fedopt.central import solve
from fedopt.plan import check
from fedopt.plan.paths import Paths
from tests.central.conftest import random_instance
from tests.central.systems import random_system


def _cheapest_found(instance, plan, rng) -> float:
    """The least cost of the path that random shapes and a local search on the exact bound find."""
    (entry,) = plan.tenants
    path = Paths(instance).entry(entry)
    domains = [domain for domain, _ in entry.hops()]
    prices = np.array([instance.domain(d).offers[0].cost.rate for d in domains])
    start = np.array([entry.reservations[d] for d in domains]) * instance.slot

    def least(shape):
        """The least multiple of a shape that is proven, by bisection."""
        low, high = 0.0, 1.0
        while minplus.evaluate(path, high * shape).log_bound > path.log_epsilon:
            low, high = high, 2.0 * high
            if high > 1e3:
                return math.inf
        while high - low > 1e-5 * high:
            middle = 0.5 * (low + high)
            proven = minplus.evaluate(path, middle * shape).log_bound <= path.log_epsilon
            low, high = (low, middle) if proven else (middle, high)
        return high

    best, at = math.inf, start
    for spread in (0.0, 0.1, 0.5):
        shape = start * np.exp(rng.normal(0.0, spread, len(start)))
        cost = least(shape) * float(prices @ shape)
        if cost < best:
            best, at = cost, shape
    for step, i in itertools.product((0.2, 0.05), range(len(start))):
        for sign in (1.0, -1.0):
            shape = at.copy()
            shape[i] *= 1.0 + sign * step
            cost = least(shape) * float(prices @ shape)
            if cost < best:
                best, at = cost, shape
    return best / instance.slot


@pytest.mark.parametrize("seed", range(12))
def test_no_reservations_that_are_proven_cost_less_than_the_lower_bound(seed):
    instance = random_system(seed)
    plan = solve(instance, gap=1e-6)
    if not plan.has_plan:
        assert plan.status == "infeasible"
        return
    assert check(plan, instance).ok
    found = _cheapest_found(instance, plan, np.random.default_rng(seed))
    fixed = sum(domain.offers[0].cost.fixed for domain in instance.domains)
    assert plan.lower_bound <= (found + fixed) * (1 + 1e-9)
    assert plan.cost <= (found + fixed) * 1.02  # nor does the adversary find much that the plan has missed


@pytest.mark.parametrize("seed", range(12))
def test_split_at_any_theta_costs_no_less_than_the_lower_bound(seed):
    instance = random_system(seed)
    plan = solve(instance, guarantee="split", gap=1e-6)
    if not plan.has_plan:
        return
    (entry,) = plan.tenants
    path = Paths(instance).entry(entry)
    prices = np.array([instance.domain(d).offers[0].cost.rate for d, _ in entry.hops()])
    for factor in np.exp(np.random.default_rng(seed).uniform(-0.3, 0.3, 25)):
        sized = split.size(path, prices / instance.slot, np.array([entry.theta * factor]))
        assert plan.lower_bound <= float(sized.cost) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_every_reservation_of_a_plan_is_needed(seed):
    instance = random_system(seed)
    plan = solve(instance, gap=1e-6)
    if not plan.has_plan:
        return
    (entry,) = plan.tenants
    for domain, rate in entry.reservations.items():
        lower = entry.model_copy(update={"reservations": {**entry.reservations, domain: 0.995 * rate}})
        report = check(plan.model_copy(update={"tenants": type(plan.tenants)([lower])}), instance)
        assert any(f.constraint == "guarantee" for f in report.findings), (domain, entry.form)


@pytest.mark.parametrize("seed", range(12))
def test_a_stronger_guarantee_costs_no_more(seed):
    instance = random_system(seed)
    costs = {}
    for guarantee in ("minplus", "split", "minplus:fine"):
        plan = solve(instance, guarantee=guarantee, gap=1e-6)
        costs[guarantee] = plan.cost if plan.has_plan else math.inf
    assert costs["minplus"] <= costs["minplus:fine"] * (1 + 1e-4)
    assert costs["minplus"] <= costs["split"] * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_of_a_whole_instance_is_below_every_combination_of_its_plans(seed):
    instance = random_instance(seed, slack=0.75 if seed % 2 else 1.0)
    plan = solve(instance, gap=1e-6)
    assert plan.lower_bound <= plan.cost
    assert plan.lower_bound <= plan.catalogue_bound
    assert plan.gap == pytest.approx((plan.cost - plan.lower_bound) / plan.cost)
    finer = solve(instance, gap=1e-6, guarantee="minplus:ville")
    assert plan.lower_bound <= finer.cost
