"""Path selection against enumeration, with curved costs, groups and both objectives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fedopt import formulations
from fedopt.formulations import Program, size_route
from fedopt.plan.checking import check
from tests.models.instances import small


def cheapest(instance, guarantee: str) -> float:
    """The least cost over all choices of one path a tenant (one unit each), rates as the model sizes them."""
    program = Program(instance)
    choices = []
    for tenant in program.tenants:
        sized = [(r, size_route(r, guarantee, program.prices(r))) for r in program.routes(tenant)]
        choices.append([(r, s) for r, s in sized if s is not None])
    best = np.inf
    for combination in itertools.product(*choices):
        loads: dict[str, float] = {}
        for route, sized in combination:
            for hop, rate in zip(route.hops, sized.rates, strict=True):
                loads[hop] = loads.get(hop, 0.0) + float(rate)
        used = dict.fromkeys(program.capacity, 0.0)
        for hop, load in loads.items():
            used[hop.partition("/")[0]] += program.factor(hop) * load
        if all(used[d] <= program.capacity[d] * (1 + 1e-9) for d in used):
            cost = sum(program.curves[hop](load) for hop, load in loads.items())
            best = min(best, cost + sum(route.fixed for route, _ in combination))
    return best


@pytest.mark.parametrize("guarantee", ["split", "paper-path", "paper-local", "minplus:ville"])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_enumeration(seed, guarantee):
    instance = small(seed, tenants=3, capacity=4.2, curved=True)
    plan = formulations.solve(instance, "path_selection", guarantee=guarantee, gap=1e-7)
    assert plan.cost == pytest.approx(cheapest(instance, guarantee), rel=1e-6)
    assert check(plan, instance).ok, check(plan, instance).text()


def test_groups_take_whole_units():
    instance = small(3, tenants=2, stages=3, counts=True, capacity=5.0)
    plan = formulations.solve(instance, "path_selection", guarantee="minplus", gap=1e-6)
    assert check(plan, instance).ok, check(plan, instance).text()
    for tenant in instance.tenants:
        assert sum(entry.count for entry in plan.tenants.of(tenant.id)) == tenant.count


def test_profit_admits_what_pays():
    instance = small(4, tenants=3, payment=4.0)
    plan = formulations.solve(
        instance, "path_selection", guarantee="minplus:ville", objective="profit", gap=1e-7
    )
    assert check(plan, instance).ok, check(plan, instance).text()
    rich = instance.with_({"tenants.*.payment": 1000.0})
    all_in = formulations.solve(
        rich, "path_selection", guarantee="minplus:ville", objective="profit", gap=1e-7
    )
    assert all_in.admitted == 3
    none = formulations.solve(
        instance.with_({"tenants.*.payment": 0.0}),
        "path_selection",
        guarantee="minplus:ville",
        objective="profit",
    )
    assert none.admitted == 0
    assert none.cost == 0.0
    assert plan.cost <= 0.0


def test_infeasible_is_named():
    late = small(5, deadline=(3.0, 4.0))
    plan = formulations.solve(late, "path_selection", guarantee="paper-path")
    assert plan.status == "infeasible"
    assert plan.explanation[0].constraint == "deadline"
    tight = small(5, capacity=0.5)
    plan = formulations.solve(tight, "path_selection", guarantee="split")
    assert plan.status == "infeasible"


def test_the_slot_changes_nothing_but_units():
    one = formulations.solve(small(6), "path_selection", guarantee="split", gap=1e-7)
    half = formulations.solve(small(6, slot=0.25), "path_selection", guarantee="split", gap=1e-7)
    assert half.cost == pytest.approx(one.cost, rel=1e-8)
    for a, b in zip(one.tenants, half.tenants, strict=True):
        assert a.path == b.path
        for domain, rate in a.reservations.items():
            assert b.reservations[domain] == pytest.approx(4 * rate, rel=1e-6)
