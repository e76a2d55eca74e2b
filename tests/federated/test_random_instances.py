"""Random instances of all that a file can state: no bound above the optimum, no plan that fails its check."""

from __future__ import annotations

import numpy as np
import pytest

import fedopt
from fedopt.federated import default_problem, negotiate
from fedopt.federated.checking import check_with_private
from fedopt.federated.operator import InProcess
from fedopt.federated.public import by_operator, public_view
from fedopt.federated.solver import operators_of
from fedopt.instance.generating import generate
from fedopt.plan.checking import check
from tests.federated.joint import joint_optimum

GAP = 5e-3


def instance_of(seed):
    """Two or three stages, links, one or two offers a domain, curves of any kind, operators over stages."""
    rng = np.random.default_rng(seed)
    base = generate(
        int(rng.integers(6, 16)),
        int(rng.integers(2, 4)),
        2,
        seed,
        offers=int(rng.integers(1, 3)),
        binding=float(rng.choice([0.2, 0.6])),
    )
    flat = seed % 3 == 0  # what HiGHS can state exactly
    changes = {}
    for domain in base.domains:
        for offer in domain.offers:
            rate, fixed = float(rng.uniform(0.5, 2.0)), float(rng.choice([0.0, 0.2]))
            kink = 0.3 * domain.capacity
            curve = [
                {"model": "linear", "rate": rate, "fixed": fixed},
                {
                    "model": "piecewise",
                    "points": [
                        [0.0, fixed],
                        [kink, fixed + rate * kink],
                        [4.0 * kink, fixed + 6.0 * rate * kink],
                    ],
                },
                {"model": "quadratic", "rate": rate, "quad": rate / domain.capacity, "fixed": fixed},
            ][int(rng.integers(2 if flat else 3))]
            changes[f"domains.{domain.id}.offers.{offer.id}.cost"] = curve
    return base.with_(changes)


@pytest.mark.parametrize(
    "seed", [pytest.param(s, marks=() if s == 3 else pytest.mark.slow) for s in range(1, 31)]
)
def test_bounds_hold_and_plans_pass(seed):
    instance = instance_of(seed)
    assert len(by_operator(instance)) < len(instance.domains)  # some have several, at several stages
    objective = "profit" if seed % 2 == 0 else "cost"
    method = "bundle" if seed % 5 == 0 else "admm"
    public, operators = public_view(instance), InProcess(operators_of(instance))
    plan = negotiate(public, operators, method=method, objective=objective, gap=GAP).plan
    optimum = fedopt.solve(instance, objective=objective, gap=1e-6, time_limit=60.0)
    assert plan.status in ("optimal", "feasible")
    # the central plan may reserve what no catalogue holds: the bound on all plans is held against it
    assert plan.lower_bound <= optimum.cost + 1e-7 * abs(optimum.cost)
    assert plan.cost >= optimum.lower_bound - 1e-7 * abs(optimum.cost)
    assert plan.status == "feasible" or plan.cost - plan.catalogue_bound <= GAP * abs(plan.cost) * (1 + 1e-9)
    assert check(plan, public).ok
    report = check_with_private(plan, public, instance.domains)
    assert report.ok, report.text()
    if seed % 3 == 0:
        problems = dict.fromkeys(by_operator(instance), default_problem)
        best = joint_optimum(instance, problems, "minplus", objective=objective)
        assert plan.lower_bound <= best + 1e-7 * abs(best)
