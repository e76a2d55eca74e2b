"""Risk split: tangent cuts against SCIP and against the exact sizing of one path."""

from __future__ import annotations

import math

import pytest

from fedopt import formulations
from fedopt.calculus import split
from fedopt.formulations import Program
from fedopt.plan.checking import check
from tests.models.instances import small


def given(instance):
    """Paths and θ from path selection."""
    plan = formulations.solve(instance, "path_selection", guarantee="split")
    return plan, {entry.id: entry.theta for entry in plan.tenants}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cuts_agree_with_scip(seed):
    pytest.importorskip("pyscipopt")
    instance = small(seed, tenants=2, capacity=1.75, curved=True)
    paths, thetas = given(instance)
    cuts = formulations.solve(instance, "risk_split", paths=paths, thetas=thetas)
    scip = formulations.solve(
        instance, "risk_split", paths=paths, thetas=thetas, solver="scip", time_limit=20
    )
    assert cuts.cost == pytest.approx(scip.cost, rel=1e-6)
    for plan in (cuts, scip):
        assert check(plan, instance).ok, check(plan, instance).text()


def test_one_tenant_equals_its_sizing():
    instance = small(3, tenants=1, stages=3)
    paths, thetas = given(instance)
    plan = formulations.solve(instance, "risk_split", paths=paths, thetas=thetas)
    program = Program(instance)
    route = program.route("u0", paths.tenants["u0"].path)
    sizing = split.size(route.path, program.prices(route), [thetas["u0"]], highs=route.highs)
    assert plan.cost == pytest.approx(sizing.cost + route.fixed, rel=1e-7)
    entry = plan.tenants["u0"]
    assert sum(entry.deadlines.values()) == pytest.approx(route.path.fluid.deadline, rel=1e-9)
    assert sum(entry.budgets.values()) == pytest.approx(math.exp(route.path.fluid.log_epsilon), rel=1e-9)


def test_capacity_is_shared_and_priced():
    free = small(2, tenants=2, curved=False, links=False, domains=1)
    loose = formulations.solve(free, "risk_split")
    load = max(domain.reserved for domain in loose.domains)
    name = next(domain.id for domain in loose.domains if domain.reserved == load)
    tight = free.with_({f"domains.{name}.capacity": 0.97 * load})
    plan = formulations.solve(tight, "risk_split")
    assert plan.cost > loose.cost
    assert check(plan, tight).ok, check(plan, tight).text()
    price = next(domain.price for domain in plan.domains if domain.id == name)
    step = 1e-4 * load
    eased = formulations.solve(free.with_({f"domains.{name}.capacity": 0.97 * load + step}), "risk_split")
    assert (plan.cost - eased.cost) / step == pytest.approx(price, rel=0.02)


def test_infeasible_capacity():
    instance = small(4, tenants=2, domains=1, links=False, capacity=1.2)
    paths = {tenant.id: ["d00/o0", "d10/o0"] for tenant in instance.tenants}
    plan = formulations.solve(instance, "risk_split", paths=paths)
    assert plan.status == "infeasible"
    assert plan.explanation[0].constraint in ("capacity", "deadline")
