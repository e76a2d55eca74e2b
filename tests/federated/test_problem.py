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
from tests.federated import private_problems
from tests.federated.joint import joint_optimum
from tests.federated.private_problems import packing, smooth, tariff

BUILDS = (tariff, packing, smooth, default_problem)


@pytest.fixture(scope="module")
def instance():
    return generate(tenants=10, stages=2, domains=2, seed=4)


def owned(instance):
    found = {}
    for domain in instance.domains:
        found.setdefault(domain.operator or domain.id, []).append(domain)
    return found


@pytest.fixture(scope="module")
def four():
    """Four operators with four models, and what the best plan costs by all of them in one program."""
    federation = fedopt.instance.loads(private_problems.INSTANCE)
    own = {name: getattr(private_problems, build) for name, build in private_problems.FOUR.items()}
    return federation, own, joint_optimum(federation, own, "minplus")


@pytest.mark.parametrize(("method", "masked"), [("admm", True), ("bundle", False)])
def test_four_problems_at_once_cost_what_the_joint_model_says(four, method, masked):
    federation, own, best = four
    switches = {"masked": True} if masked else {}
    plan = fedopt.solve(federation, method=method, problems=own, gap=1e-3, **switches)
    assert plan.status == "optimal"
    assert plan.catalogue_bound <= best * (1 + 1e-7)
    assert best * (1 - 1e-7) <= plan.cost <= best * (1 + 1e-3)
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
