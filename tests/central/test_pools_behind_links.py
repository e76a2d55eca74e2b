"""Requests that cross a guardrail before a pool: whole servers need a proof of their own."""

from __future__ import annotations

import math

import pytest

from fedopt.central import solve
from fedopt.explain import infeasibility
from fedopt.instance import Instance
from fedopt.plan import check


def two_stages(deadline: float) -> Instance:
    """A radio stage and a pool of GPUs at three concurrencies, in milliseconds."""
    offers = [
        {"id": name, "speed": speed, "cost": {"model": "linear", "rate": rate}, "work_factor": factor}
        for name, speed, rate, factor in (
            ("batch-1", 0.000625, 3200.0, 12.8),
            ("batch-8", 0.0005, 500.0, 2.0),
            ("batch-32", 0.00025, 250.0, 1.0),
        )
    ]
    radio = {
        "id": "urllc",
        "latency": 3.0,
        "impairment": {"model": "poisson", "rate": 0.02, "size": 0.2},
        "cost": {"model": "linear", "rate": 0.8},
    }
    arrivals = {"model": "poisson", "rate": 0.002, "size": {"exponential": 1.0, "maximum": 5.0}}
    return Instance.model_validate(
        {
            "fedopt": 1,
            "name": "radio-and-pool",
            "stages": ["radio", "gpu"],
            "domains": [
                {"id": "ran", "stage": "radio", "capacity": 5.0, "offers": [radio]},
                {"id": "edge", "stage": "gpu", "capacity": 0.064, "offers": offers},
            ],
            "tenants": [
                {
                    "id": "chat",
                    "count": 5,
                    "arrivals": arrivals,
                    "slo": {"deadline": deadline, "epsilon": 0.01},
                }
            ],
        }
    )


@pytest.mark.parametrize("deadline", [4000.0, 10_000.0, 22_000.0, 23_380.5, 26_000.0, 40_000.0])
def test_whole_servers_are_proven_at_every_deadline_or_there_is_none(deadline):
    instance = two_stages(deadline)
    plan = solve(instance, gap=1e-2)
    if plan.has_plan:
        assert check(plan, instance).ok, check(plan, instance).text()
        for entry in plan.tenants:
            assert math.isfinite(entry.log_bound)
    else:
        assert plan.status == "infeasible"


def test_no_plan_in_front_of_a_pool_ends_in_a_reason_whose_remedy_helps():
    instance = two_stages(4000.0)
    (reason,) = infeasibility(instance, "minplus")
    longer = next(remedy for remedy in reason.remedies if remedy.change == "deadline")
    mended = two_stages(longer.needed)
    plan = solve(mended, gap=1e-2)
    assert plan.has_plan
    assert check(plan, mended).ok
