"""Algorithm 1 as a model file against the joint relaxation, the central plan and the fast method."""

from __future__ import annotations

import math

import cvxpy as cp
import numpy as np
import pytest

import fedopt
from fedopt import formulations
from fedopt.instance.generating import generate
from fedopt.plan.checking import check


@pytest.fixture(scope="module", params=[(20, 2, 2, 1), (10, 3, 2, 2)])
def instance(request):
    tenants, stages, domains, seed = request.param
    return generate(tenants, stages, domains, seed=seed)


@pytest.fixture(scope="module")
def plan(instance):
    return fedopt.solve(instance, "model:federated_admm", gap=2e-3)


def joint(instance, columns, network):
    """The relaxation over these columns as one cvxpy model of all domains."""
    x = cp.Variable(len(columns), nonneg=True)
    loads = np.zeros((len(network.names), len(columns)))
    for j, column in enumerate(columns):
        loads[column.offers, j] = column.rates / network.slot
    v, rows, cost = loads @ x, [], np.array([c.charge for c in columns]) @ x
    for k, kind in enumerate(network.kinds):
        rows.append(sum(x[j] for j, c in enumerate(columns) if c.kind == k) == kind.count)
    first = 0
    for domain in instance.domains:
        used = 0
        for i, offer in enumerate(domain.offers):
            z = v[first + i]
            used = used + offer.work_factor * z
            curve = offer.cost
            if curve.model == "linear":
                cost = cost + curve.rate * z
            elif curve.model == "quadratic":
                cost = cost + curve.rate * z + curve.quad * cp.square(z)
            else:
                lines = zip(curve.points, curve.slopes, strict=False)
                cost = cost + cp.maximum(0, *[s * (z - a) + b - curve.fixed for (a, b), s in lines])
        rows.append(used <= domain.capacity)
        first += len(domain.offers)
    return float(cp.Problem(cp.Minimize(cost), rows).solve(solver=cp.CLARABEL))


def test_the_bound_is_the_joint_relaxation_over_the_columns_found(instance):
    module = formulations.load("federated_admm")
    model = module.build(instance)
    module.solve(model, gap=1e-3)
    relaxed = joint(instance, model.columns, model.network)
    assert model.lower <= relaxed * (1.0 + 1e-7)
    assert model.lower == pytest.approx(relaxed, rel=2e-3)


def test_the_fast_method_is_held_to_account(instance, plan):
    central = fedopt.solve(instance, gap=2e-3)
    assert check(plan, instance).ok, check(plan, instance).text()
    for method in ("admm", "bundle"):
        fast = fedopt.solve(instance, method=method, gap=2e-3)
        # every bound is below every plan, and the plans agree to the sum of their gaps
        for lower in (plan.lower_bound, fast.lower_bound, central.lower_bound):
            for cost in (plan.cost, fast.cost, central.cost):
                assert lower <= cost * (1.0 + 1e-9)
        assert fast.cost == pytest.approx(plan.cost, rel=plan.catalogue_gap + fast.catalogue_gap + 1e-9)
        relaxation = fast.ledger["relaxation"]
        if central.guarantee == plan.guarantee:  # what can be carried, split as it may be
            assert plan.lower_bound <= relaxation["upper_bound"] * (1.0 + 1e-9)


def test_residuals_fall_and_the_bound_never_does(plan):
    rounds = [row for row in plan.history if row.primal_residual is not None]
    assert rounds[-1].primal_residual < 0.1 * rounds[0].primal_residual
    bounds = [row.lower_bound for row in plan.history]
    assert bounds == sorted(bounds)
    assert math.isfinite(plan.lower_bound)


def test_a_tenant_without_a_path_is_named():
    instance = generate(4, 2, 2, seed=1)
    first = instance.tenants[0]
    hasty = instance.with_({f"tenants.{first.id}.slo.deadline": 1e-3})
    plan = fedopt.solve(hasty, "model:federated_admm", explain=False)
    assert plan.status == "infeasible"
    assert plan.explanation[0].tenant == first.id
