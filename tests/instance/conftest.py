"""Instances that the tests of this room share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedopt.instance import Instance, InstanceError, loads

EXAMPLES = sorted((Path(__file__).parents[2] / "instances").glob("*.yaml"))

SMALL: dict[str, Any] = {
    "fedopt": 1,
    "name": "small",
    "theta": [0.1, 0.2, 0.4],
    "stages": ["access", "compute"],
    "domains": [
        {
            "id": "radio",
            "stage": "access",
            "operator": "opA",
            "region": "north",
            "trust": 2,
            "capacity": 10,
            "offers": [{"id": "std", "latency": 1, "impairment": {"model": "exponential", "mean": 0.3}}],
        },
        {
            "id": "edge",
            "stage": "compute",
            "operator": "opA",
            "region": "north",
            "trust": 3,
            "capacity": 10,
            "dependent_with": ["cloud"],
            "offers": [
                {"id": "small", "latency": 2, "accuracy": 0.8, "staleness": 600},
                {"id": "large", "latency": 4, "accuracy": 0.95, "staleness": 60, "work_factor": 2},
            ],
        },
        {
            "id": "cloud",
            "stage": "compute",
            "operator": "opB",
            "region": "south",
            "trust": 1,
            "capacity": 30,
            "offers": [{"id": "large", "latency": 9, "latency_kind": "delay", "accuracy": 0.97}],
        },
    ],
    "links": [
        {"from": "radio", "to": "edge", "delay": 0.5},
        {"from": "radio", "to": "cloud", "delay": 5, "cost": 0.1},
    ],
    "tenants": [
        {
            "id": "chat",
            "arrivals": {"model": "poisson", "rate": 0.5},
            "slo": {"deadline": 50, "epsilon": 0.001},
        },
        {
            "id": "expert",
            "count": 3,
            "arrivals": {"model": "exponential", "mean": 0.4},
            "slo": {"deadline": 80, "epsilon": 0.01, "min_accuracy": 0.9},
            "policy": {"operators": ["opA"], "min_trust": 2},
        },
    ],
}


@pytest.fixture
def data() -> dict[str, Any]:
    """A small instance as a file holds it, free to be changed."""
    return copy.deepcopy(SMALL)


@pytest.fixture
def small() -> Instance:
    """The same as an instance."""
    return Instance.model_validate(SMALL)


@pytest.fixture
def problems(data: dict[str, Any]) -> Callable[..., dict[str, str]]:
    """What is wrong after a change to the small instance: message and remedy by place."""

    def find(change: Callable[[dict[str, Any]], object]) -> dict[str, str]:
        import json

        change(data)
        with pytest.raises(InstanceError) as caught:
            loads(json.dumps(data), "small.json")
        return {problem.place: f"{problem.message} → {problem.remedy}" for problem in caught.value.problems}

    return find
