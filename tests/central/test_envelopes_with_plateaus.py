"""Arrivals stated as a table with a plateau: the guarantees agree on the least, wherever θ ends."""

from __future__ import annotations

import pytest

from fedopt.central import solve
from fedopt.instance import Instance
from fedopt.plan import check


def _flat() -> Instance:
    domain = {
        "id": "d",
        "stage": "s",
        "capacity": 1000,
        "offers": [
            {"id": "o", "latency": 1, "latency_kind": "delay", "cost": {"model": "linear", "rate": 1.0}}
        ],
    }
    arrivals = {
        "model": "envelope",
        "theta": [0.03, 0.5, 0.6, 2.0],
        "rho": [30.0, 40.0, 40.0, 40.0],
        "sigma": [0.0, 44.0, 45.0, 53.0],
        "request_size": 5.0,
    }
    tenant = {"id": "t", "arrivals": arrivals, "slo": {"deadline": 30, "epsilon": 0.01, "of": "time"}}
    document = {"fedopt": 1, "slot": 1.0, "stages": ["s"], "domains": [domain], "tenants": [tenant]}
    return Instance.model_validate(document | {"theta": arrivals["theta"]})


def test_minplus_reserves_no_more_than_split_and_the_paper():
    instance = _flat()
    plan = solve(instance, gap=1e-6)
    assert plan.cost == pytest.approx(30.0, rel=1e-5)
    assert check(plan, instance).ok
    for weaker in ("split", "paper-path"):
        assert plan.cost <= solve(instance, guarantee=weaker, gap=1e-6).cost * (1 + 1e-6)
