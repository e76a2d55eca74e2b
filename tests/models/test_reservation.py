"""Reservation sizing: the cvxpy program against a general solver, and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from fedopt import formulations
from fedopt.calculus.forms import FORMS
from fedopt.calculus.minplus import Evaluation, verify
from fedopt.formulations import ModelError, Program
from fedopt.plan.checking import check
from tests.models.instances import small


@pytest.mark.parametrize("stages", [2, 3])
def test_fine_with_one_tenant_equals_a_general_solver(stages):
    instance = small(10 + stages, tenants=1, stages=stages, domains=1, deadline=(15.0, 20.0), links=False)
    theta = 0.8
    plan = formulations.solve(instance, "reservation", guarantee="minplus:fine", thetas={"u0": theta})
    program = Program(instance)
    route = program.routes(instance.tenants[0])[0]
    prices = program.prices(route)
    stated = Evaluation(0.0, "fine", theta)
    low = np.array(
        [float(route.path.arrival.rho(theta)) + float(i.kappa(theta)) for i in route.path.impairments]
    )

    def lack(z):
        return route.path.log_epsilon - verify(route.path, low + np.exp(z), stated)

    found = minimize(
        lambda z: prices @ (low + np.exp(z)),
        np.log(np.full(stages, 1.0)),
        constraints={"type": "ineq", "fun": lack},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 300},
    )
    assert found.success
    assert plan.cost == pytest.approx(found.fun + route.fixed, rel=1e-6)


def test_ville_is_the_closed_form():
    instance = small(14, tenants=1, stages=3, domains=1, links=False)
    theta = 0.5
    plan = formulations.solve(instance, "reservation", guarantee="minplus:ville", thetas={"u0": theta})
    program = Program(instance)
    route = program.routes(instance.tenants[0])[0]
    path = route.path.fluid
    rho = float(path.arrival.rho(theta))
    kappa = sum(float(i.kappa(theta)) for i in path.impairments)
    start = float(path.arrival.request_log_bias(theta)) + theta * float(path.arrival.sigma(theta))
    # θ(…): start + θκN − θR(N − T) − θ(R − ρ − κ) = log ε
    n, lag = path.slots, float(path.guardrail_latencies.sum())
    rate = (start + theta * kappa * n - path.log_epsilon + theta * (rho + kappa)) / (theta * (n - lag + 1))
    rate = max(rate, rho + kappa)
    assert plan.cost == pytest.approx(float(program.prices(route).sum()) * rate + route.fixed, rel=1e-6)


@pytest.mark.parametrize("form", ["fine", "ville"])
def test_shared_capacities_and_better_theta(form):
    instance = small(15, tenants=3, capacity=3.6, curved=True)
    before = formulations.solve(instance, "path_selection", guarantee=f"minplus:{form}")
    plan = formulations.solve(instance, "reservation", guarantee=f"minplus:{form}", paths=before)
    assert plan.cost <= before.cost * (1 + 1e-6)
    assert check(plan, instance).ok, check(plan, instance).text()
    assert all(entry.form == form for entry in plan.tenants)
    assert form in FORMS


def test_different_rates_pay():
    """With unequal prices the fine form reserves unequal rates and saves."""
    instance = small(16, tenants=1, stages=3, domains=1, links=False)
    costs = {
        f"domains.d{i}0.offers.o0.cost": {"model": "linear", "rate": r} for i, r in enumerate((1, 5, 0.2))
    }
    instance = instance.with_(costs)
    equal = formulations.solve(instance, "path_selection", guarantee="minplus:fine")
    plan = formulations.solve(instance, "reservation", guarantee="minplus:fine")
    assert plan.cost < 0.97 * equal.cost


def test_paths_that_are_not_allowed_are_refused():
    instance = small(17)
    with pytest.raises(ModelError, match="not an admissible path"):
        formulations.solve(
            instance, "reservation", paths={"u0": ["d00/o0", "d01/o0"], "u1": ["d00/o0", "d10/o0"]}
        )
    with pytest.raises(ModelError, match="no path is given"):
        formulations.solve(instance, "reservation", paths={"u0": ["d00/o0", "d10/o0"]})
