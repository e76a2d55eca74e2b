"""The joint model against enumeration of paths and θ, with exact sizing and with shared capacities."""

from __future__ import annotations

import itertools
import math

import pytest

from fedopt import formulations
from fedopt.calculus import split
from fedopt.formulations import Program
from fedopt.plan.checking import check
from tests.models.instances import small

pytest.importorskip("pyscipopt")

GRID = [0.8, 1.2]


@pytest.mark.parametrize("seed", range(6))
def test_one_tenant_equals_enumeration(seed):
    grid = [0.6, 0.9, 1.3, 1.7]
    instance = small(seed, tenants=1, stages=3, theta=grid, offers=1 + seed % 2)
    plan = formulations.solve(instance, "joint")
    program = Program(instance)
    best = math.inf
    for route in program.routes(instance.tenants[0]):
        sizing = split.size(route.path, program.prices(route), grid, highs=route.highs)
        best = min(best, sizing.cost + route.fixed)
    assert plan.cost == pytest.approx(best, rel=1e-6)
    assert plan.catalogue_bound == pytest.approx(best, rel=1e-6)
    assert plan.lower_bound <= plan.catalogue_bound
    assert check(plan, instance).ok, check(plan, instance).text()


@pytest.mark.parametrize("seed", range(4))
def test_two_tenants_with_capacities_equal_enumeration(seed):
    """All choices of paths and θ that could be cheaper without capacities, each solved by tangent cuts."""
    instance = small(20 + seed, theta=GRID, capacity=1.9, curved=bool(seed % 2))
    plan = formulations.solve(instance, "joint")
    program, cuts = Program(instance), formulations.load("risk_split")
    routes = [program.routes(tenant) for tenant in program.tenants]
    best = math.inf
    single = {
        (route, theta): split.size(route.path, program.prices(route), [theta], highs=route.highs).cost
        for listed in routes
        for route in listed
        for theta in GRID
    }
    for pair in itertools.product(*routes):
        fixed = sum(route.fixed for route in pair)
        for thetas in itertools.product(GRID, GRID):
            if fixed + sum(single[key] for key in zip(pair, thetas, strict=True)) < min(best, 1e9):
                found = cuts.solve_by_cuts(program, [(r, 1) for r in pair], list(thetas), None, 1e-9)
                best = min(best, math.inf if found is None else found[0] + fixed)
    if math.isinf(best):
        assert plan.status == "infeasible"
    else:
        assert plan.cost == pytest.approx(best, rel=1e-5)
        assert plan.catalogue_bound <= best * (1 + 1e-6)
        assert check(plan, instance).ok, check(plan, instance).text()


def test_free_theta_is_no_worse_than_any_grid():
    instance = small(30, tenants=1)
    free = formulations.solve(instance, "joint")
    grid = formulations.solve(instance, "joint", thetas=[0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7])
    assert free.cost <= grid.cost * (1 + 1e-6)


def test_groups_and_profit():
    instance = small(31, counts=True, payment=6.0, theta=GRID)
    plan = formulations.solve(instance, "joint", objective="profit")
    assert check(plan, instance).ok, check(plan, instance).text()
    assert plan.catalogue_gap <= 1e-5
    cost = formulations.solve(instance, "joint")
    assert sum(e.count for e in cost.tenants) == sum(t.count for t in instance.tenants)
    assert plan.cost <= cost.cost - 6.0 * sum(t.count for t in instance.tenants) + 1e-6


def test_infeasible():
    plan = formulations.solve(small(32, capacity=0.6, theta=GRID), "joint")
    assert plan.status == "infeasible"
    plan = formulations.solve(small(32, deadline=(2.0, 3.0), theta=GRID), "joint")
    assert plan.status == "infeasible"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_central_finds_the_same(seed):
    """On one θ grid the central method and this model solve the same problem."""
    from fedopt.central import solve

    instance = small(
        100 + seed,
        tenants=2 + seed % 2,
        stages=2 + (seed // 2) % 2,
        capacity=2.6 + seed % 3,
        curved=bool(seed % 2),
        offers=1 + (seed % 5 == 0),
        theta=[0.6, 0.9, 1.3],
        counts=seed % 7 == 0,
    )
    joint = formulations.solve(instance, "joint", time_limit=60)
    central = solve(instance, guarantee="split", gap=1e-5, time_limit=60)
    assert central.has_plan == joint.has_plan
    if joint.has_plan:
        assert central.cost == pytest.approx(joint.cost, rel=1e-5)
        assert joint.lower_bound <= central.cost * (1 + 1e-6)
