"""Private problems in cvxpy: four operators with four different models, against the joint model."""

from __future__ import annotations

import math

import cvxpy as cp
import numpy as np
import pytest

import fedopt
from fedopt.federated import PrivateProblem, ProblemError, default_problem
from fedopt.federated.domain import offers_of
from fedopt.federated.problem import build_from, stated
from fedopt.instance.generating import generate


def tariff(domains):
    """A stepped energy tariff over all offers and a joint limit on energy."""
    offers = offers_of(domains)
    rate = cp.Variable(len(offers), nonneg=True)
    energy = cp.Variable(nonneg=True)
    factor = np.array([offer.work_factor for domain in domains for offer in domain.offers])
    capacity = sum(domain.capacity for domain in domains)
    cost = cp.maximum(0.8 * energy, 2.5 * energy - 0.3 * capacity, 6.0 * energy - 2.4 * capacity) + 7.0
    own = [
        energy >= 0.9 * factor @ rate,
        energy <= 0.8 * capacity,
        *(rate[i] * factor[i] <= domains[0].capacity for i in range(len(offers))),
    ]
    return PrivateProblem(rate, cost, own)


def packing(domains):
    """Requests packed on accelerators of two kinds (relaxed): each has memory, speed and a cost."""
    offers = offers_of(domains)
    placed = cp.Variable((len(offers), 2), nonneg=True)  # work of each offer on each kind
    used = cp.Variable(2, nonneg=True)
    limit = sum(domain.capacity for domain in domains)
    memory = np.array([[0.5, 0.2]])
    own = [
        cp.sum(placed, axis=0) <= cp.multiply(np.array([1.0, 1.6]), used),
        cp.sum(cp.multiply(np.repeat(memory, len(offers), axis=0), placed), axis=0) <= 0.4 * used,
        used <= np.array([0.7 * limit, 0.4 * limit]),
    ]
    load = {name: cp.sum(placed[i]) for i, name in enumerate(offers)}
    return PrivateProblem(load, 1.1 * used[0] + 2.3 * used[1] + 0.01 * cp.sum_squares(used), own)


def smooth(domains):
    """A cost with a curvature that no instance can state, over a congested total."""
    offers = offers_of(domains)
    rate = cp.Variable(len(offers), nonneg=True)
    capacity = sum(domain.capacity for domain in domains)
    return PrivateProblem(
        rate,
        1.2 * cp.sum(rate) + capacity * cp.inv_pos(1.2 - cp.sum(rate) / capacity),
        [cp.sum(rate) <= capacity],
    )


BUILDS = (tariff, packing, smooth, default_problem)


@pytest.fixture(scope="module")
def instance():
    return generate(tenants=10, stages=2, domains=2, seed=4)


@pytest.fixture(scope="module")
def problems(instance):
    names = list(dict.fromkeys(domain.operator or domain.id for domain in instance.domains))
    return {name: BUILDS[n % 4] for n, name in enumerate(names)}


def owned(instance):
    found = {}
    for domain in instance.domains:
        found.setdefault(domain.operator or domain.id, []).append(domain)
    return found


def joint_cost(instance, problems, plan):
    """What the plan's loads cost all operators, from one cvxpy model of all their problems."""
    loads = {}
    for entry in plan.tenants:
        for hop in entry.path if entry.admitted else ():
            rate = entry.reservations[hop.partition("/")[0]]
            loads[hop] = loads.get(hop, 0.0) + entry.count * rate
    costs, rows, idle = [], [], []
    for name, domains in owned(instance).items():
        problem = stated(problems[name], domains)
        load = problem.loads(offers_of(domains))
        rows += [*problem.constraints, load >= np.array([loads.get(o, 0.0) for o in offers_of(domains)])]
        costs.append(problem.cost)
        again = stated(problems[name], domains)
        idle.append(cp.Problem(cp.Minimize(again.cost), again.constraints).solve(solver=cp.CLARABEL))
    carried = cp.Problem(cp.Minimize(cp.sum(cp.hstack(costs))), rows).solve(solver=cp.CLARABEL)
    charges = math.fsum(
        entry.count * instance.offer(hop)[1].cost.fixed for entry in plan.tenants for hop in entry.path
    )
    return carried - math.fsum(idle) + charges


@pytest.mark.parametrize("method", ["admm", "bundle"])
def test_four_problems_at_once_cost_what_the_joint_model_says(instance, problems, method):
    plan = fedopt.solve(instance, method=method, problems=problems, gap=5e-3)
    assert plan.status == "optimal"
    assert plan.cost == pytest.approx(joint_cost(instance, problems, plan), rel=1e-6)
    assert plan.lower_bound <= plan.cost
    assert any("own problems" in note for note in plan.notes)


def test_the_instances_own_costs_as_problems_lead_to_the_same_cost(instance):
    known = fedopt.solve(instance, method="admm", gap=2e-3)
    names = list(owned(instance))
    asked = fedopt.solve(instance, method="admm", gap=2e-3, problems=dict.fromkeys(names, default_problem))
    assert asked.status == known.status == "optimal"
    assert asked.cost == pytest.approx(known.cost, rel=4e-3)
    assert asked.lower_bound <= known.cost * (1.0 + 1e-9)
    assert known.lower_bound <= asked.cost * (1.0 + 1e-9)


@pytest.mark.parametrize("build", BUILDS)
def test_step_support_and_cost_certify(instance, build):
    """Steps minimise, supports bound every load from below, costs are convex and never fall."""
    domains = next(iter(owned(instance).values()))
    offers = offers_of(domains)
    side = stated(build, domains).compiled(offers)
    rng = np.random.default_rng(7)
    assert side.cost(np.zeros(len(offers))) == pytest.approx(0.0, abs=1e-5)
    points = [p for p in rng.uniform(0.0, 6.0, (40, len(offers))) if math.isfinite(side.cost(p))]
    assert len(points) > 5
    for _ in range(6):
        x, p, rho = (
            rng.uniform(0, 6, len(offers)),
            rng.uniform(0, 4, len(offers)),
            rng.uniform(0.1, 2, len(offers)),
        )
        z = side.step(x, p, rho)
        prices = np.maximum(p + rho * (x - z), 0.0)
        support = side.support(prices)
        assert support == pytest.approx(side.cost(z) - prices @ z, abs=1e-4)
        for y in points:
            assert side.cost(y) - prices @ y >= support - 1e-7
            assert side.cost(y) >= side.cost(0.7 * y) - 1e-6


def test_what_is_booked_already_counts(instance):
    domains = next(iter(owned(instance).values()))
    offers = offers_of(domains)
    free = stated(default_problem, domains).compiled(offers)
    booked = np.full(len(offers), 1.5)
    later = stated(default_problem, domains).compiled(offers, booked)
    more = np.full(len(offers), 2.0)
    assert later.cost(more) == pytest.approx(free.cost(booked + more) - free.cost(booked), abs=1e-5)
    most = domains[0].capacity / domains[0].offers[0].work_factor
    full = np.zeros(len(offers))
    full[0] = most - 1.0
    assert math.isfinite(free.cost(full))
    assert later.cost(full) == math.inf


def rate():
    return cp.Variable(1, nonneg=True)


def test_what_is_wrong_with_a_problem_is_named(tmp_path, instance):
    x = rate()
    with pytest.raises(ProblemError, match="not convex"):
        PrivateProblem(x, -cp.sum_squares(x), [x <= 3])
    with pytest.raises(ProblemError, match="not convex"):
        PrivateProblem(x, cp.sum(x), [cp.sum_squares(x) >= 3])
    with pytest.raises(ProblemError, match="not convex"):
        PrivateProblem(cp.square(x), cp.sum(x), [x <= 3]).compiled(["a/b"])
    counted = cp.Variable(1, integer=True)
    with pytest.raises(ProblemError, match=r"not convex.*continuous"):
        PrivateProblem(counted, cp.sum(counted), [counted <= 3]).compiled(["a/b"])
    with pytest.raises(ProblemError, match="infeasible"):
        PrivateProblem(x, cp.sum(x), [x <= 3, x >= 4]).compiled(["a/b"])
    with pytest.raises(ProblemError, match=r"unbounded.*capacity"):
        PrivateProblem(x, cp.sum(x), []).compiled(["a/b"])
    below = cp.Variable()
    with pytest.raises(ProblemError, match=r"unbounded.*lower"):
        PrivateProblem(x, cp.sum(x) + below, [x <= 3]).compiled(["a/b"])
    with pytest.raises(ProblemError, match="too slow"):
        PrivateProblem(x, cp.sum(x), [x <= 3], seconds=1e-9).compiled(["a/b"])
    own = cp.Parameter(nonneg=True, value=1.0)
    other = cp.Parameter(nonneg=True, value=1.0)
    with pytest.raises(ProblemError, match="not parametrised"):
        PrivateProblem(x, own * other * cp.sum(x), [x <= 3]).compiled(["a/b"])
    with pytest.raises(ProblemError, match="2 cvxpy expressions"):
        PrivateProblem(x, cp.sum(x), [x <= 3]).compiled(["a/b", "a/c"])
    with pytest.raises(ProblemError, match="lacks 'a/c'"):
        PrivateProblem({"a/b": x[0]}, cp.sum(x), [x <= 3]).compiled(["a/b", "a/c"])
    with pytest.raises(ProblemError, match="must return a PrivateProblem"):
        stated(lambda domains: 3, instance.domains)
    with pytest.raises(ProblemError, match=r"failed.*nothing here"):
        stated(lambda domains: {}["nothing here"], instance.domains)
    with pytest.raises(fedopt.federated.settings.SettingsError, match="no operator 'nobody'"):
        fedopt.solve(instance, method="admm", problems={"nobody": default_problem})
    with pytest.raises(fedopt.errors.InputError, match="FILE:FUNCTION"):
        build_from("private.py")
    with pytest.raises(fedopt.errors.InputError, match="no Python file"):
        build_from(f"{tmp_path}/private.py:build")
    (tmp_path / "private.py").write_text("def build(domains):\n    return 3\n")
    with pytest.raises(fedopt.errors.InputError, match="no function 'make'"):
        build_from("private.py:make", tmp_path)
    assert build_from("private.py:build", tmp_path)(()) == 3
