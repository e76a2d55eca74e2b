"""Per-tenant consensus with best-path projection: what it is compared for, and that its steps are right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

import fedopt
from fedopt.federated.consensus import _all_columns, _Consensus
from fedopt.federated.settings import SettingsError
from fedopt.instance.generating import generate
from fedopt.plan.checking import check
from fedopt.pricing import Network, Oracle, sizing_for


@pytest.fixture(scope="module")
def instance():
    return generate(12, 2, 3, seed=5)


@pytest.fixture(scope="module")
def run(instance):
    network = Network(instance)
    return _Consensus(network, _all_columns(network, Oracle(network, sizing_for("minplus", network))), 1.0)


@pytest.mark.parametrize("seed", [2, 3])
def test_it_freezes_above_the_optimum_with_a_residual_of_rounding_only(seed):
    """Residuals certify nothing: nothing moves any more, broker and domains agree, and the plan is dear."""
    instance = generate(8, 3, 3, seed=seed)
    central = fedopt.solve(instance, gap=1e-3)
    frozen = fedopt.solve(instance, "consensus", most_rounds=200)
    last = frozen.history[-1]
    assert last.round < 200
    assert last.primal_residual < 1e-12
    assert last.dual_residual < 1e-12
    assert frozen.status == "feasible"
    assert frozen.cost > 1.1 * central.cost
    assert frozen.lower_bound is None
    assert check(frozen, instance).ok


def test_the_domain_step_is_the_best_there_is(instance, run):
    """Against a general solver, one domain at a time."""
    rng = np.random.default_rng(3)
    near = rng.uniform(-0.5, 2.5, run.rates.shape)
    found = run._domains(near)
    network = run.network
    assert (run._work(found) <= run._capacity * (1 + 1e-9)).all()
    for o in range(0, near.shape[1], 2):
        curve, capacity = network.curves[o], run._capacity[network.domain[o]]

        def objective(rates, o=o, curve=curve):
            return float(curve.variable(rates.sum())) + 0.5 * run._rho * float(
                ((rates - near[:, o]) ** 2).sum()
            )

        room = {"type": "ineq", "fun": lambda r, o=o, c=capacity: c - network.factor[o] * r.sum()}
        start = np.maximum(near[:, o], 0.0) * 0.1
        other = minimize(
            objective, start, bounds=[(0.0, None)] * len(start), constraints=[room], method="SLSQP"
        )
        assert objective(found[:, o]) <= other.fun * (1 + 1e-5) + 1e-9


def test_the_broker_step_is_the_best_of_all_paths(run):
    rng = np.random.default_rng(4)
    near = rng.uniform(-0.5, 2.5, run.rates.shape)
    wanted = run._broker(near)
    for unit, kind in enumerate(run._kinds):
        costs = []
        for offers, needs, charge in zip(*run._needs[kind], strict=True):
            rates = np.zeros(near.shape[1])
            rates[offers] = np.maximum(near[unit, offers], needs)
            costs.append(charge + 0.5 * run._rho * float(((rates - near[unit]) ** 2).sum()))
        own = run._needs[kind][2][run.choice[unit]]
        assert own + 0.5 * run._rho * float(((wanted[unit] - near[unit]) ** 2).sum()) == pytest.approx(
            min(costs)
        )


def test_what_it_cannot_do_is_said(instance):
    with pytest.raises(SettingsError, match="finite catalogue"):
        fedopt.solve(instance, "consensus", guarantee="split")
    with pytest.raises(SettingsError, match="at least cost"):
        fedopt.solve(instance, "consensus", objective="profit")
