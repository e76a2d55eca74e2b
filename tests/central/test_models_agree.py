"""The central optimum against independent models of 50 random instances.

Path selection by HiGHS under the paper's guarantees, the joint convex program by SCIP under split,
enumeration of all combinations under minplus and its forms.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt import formulations
from fedopt.central import solve
from fedopt.plan import check
from tests.central.brute_force import cheapest, points
from tests.central.conftest import random_instance

GUARANTEES = (
    "minplus",
    "paper-path",
    "minplus:ville",
    "split",
    "minplus:fine",
    "paper-local",
    "minplus:block-ville",
    "split",
    "minplus:monotone",
    "minplus",
)
PRECISION = 1e-5
"""Relative, of costs."""

SLACK = 1e-4
"""Nats by which the search for the best parameters of a form may miss the least log-bound."""

DEFAULT = (0, 1, 2, 3, 4, 5)


def _case(seed: int):
    """Instance and guarantee number `seed`: every second one with scarce capacity."""
    guarantee = GUARANTEES[seed % len(GUARANTEES)]
    rng = np.random.default_rng([5, seed])
    joint = guarantee == "split"
    instance = random_instance(
        1000 + seed,
        tenants=2 if joint else int(rng.integers(2, 4)),
        stages=int(rng.integers(1, 3)) if joint else int(rng.integers(1, 4)),
        slack=float(rng.uniform(0.7, 0.9)) if seed % 2 else 1.2,
    )
    if joint:
        instance = instance.with_(theta=[0.05, 0.1, 0.2, 0.3, 0.45, 0.6])
    return instance, guarantee


def _by_the_model(instance, guarantee: str) -> tuple[float, float]:
    """Cost of the best plan by a formulation that shares no solver with the central method.

    From below and from above; +inf if there is no plan.
    """
    if guarantee.startswith("minplus"):
        low, high = (
            cheapest(instance, {t.id: points(instance, t.id, guarantee, slack) for t in instance.tenants})
            for slack in (SLACK, 0.0)
        )
        return low, high
    name = "joint" if guarantee == "split" else "path_selection"
    plan = formulations.solve(instance, name, guarantee=guarantee, gap=1e-7)
    assert plan.status in ("optimal", "feasible", "infeasible")
    cost = plan.cost if plan.has_plan else math.inf
    return cost, cost


@pytest.mark.parametrize(
    "seed", [seed if seed in DEFAULT else pytest.param(seed, marks=pytest.mark.slow) for seed in range(50)]
)
def test_central_costs_what_the_model_costs(seed, catalogue_only):
    instance, guarantee = _case(seed)
    if guarantee == "split":
        pytest.importorskip("pyscipopt")
    plan = solve(instance, guarantee=guarantee, gap=1e-7)
    low, high = _by_the_model(instance, guarantee)
    if math.isinf(low):
        assert plan.status == "infeasible"
        return
    if plan.status == "infeasible":
        assert math.isinf(high)
        return
    assert plan.has_plan, plan.explanation
    assert check(plan, instance).ok
    assert plan.cost <= high * (1 + PRECISION)
    if guarantee in ("minplus", "split") or guarantee.startswith(
        "paper"
    ):  # one form alone has a third profile
        assert plan.cost >= low * (1 - PRECISION)
    assert plan.lower_bound <= high * (1 + PRECISION)
