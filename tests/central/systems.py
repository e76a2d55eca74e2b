"""Small random instances of all kinds: laws, guardrails near the deadline, links, prices far apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedopt.instance import Instance


def _arrivals(rng: np.random.Generator) -> dict[str, Any]:
    rate = float(rng.uniform(0.05, 0.6))
    kinds = [
        {"model": "poisson", "rate": rate, "size": float(rng.uniform(0.3, 2.0))},
        {"model": "poisson", "rate": rate, "size": {"exponential": float(rng.uniform(0.3, 1.5))}},
        {"model": "exponential", "mean": rate},
        {"model": "on-off", "peak": 2.0 * rate, "on_to_off": 0.3, "off_to_on": float(rng.uniform(0.1, 0.6))},
        {"model": "token-bucket", "rate": rate, "burst": float(rng.uniform(0.2, 3.0))},
    ]
    return kinds[rng.integers(len(kinds))]


def _impairment(rng: np.random.Generator) -> dict[str, Any]:
    mean = float(rng.uniform(0.02, 0.4))
    kinds = [
        {"model": "none"},
        {"model": "exponential", "mean": mean},
        {"model": "gamma", "shape": float(rng.uniform(0.5, 3.0)), "scale": 0.3 * mean},
        {"model": "poisson", "rate": mean, "size": float(rng.uniform(0.3, 2.0))},
        {"model": "on-off", "peak": 2.0 * mean, "on_to_off": 0.4, "off_to_on": float(rng.uniform(0.1, 0.5))},
    ]
    return kinds[rng.integers(len(kinds))]


def random_system(seed: int, *, most_stages: int = 4, domains: int = 1, of: str = "time") -> Instance:
    """One tenant over 1 to `most_stages` stages of so many domains each, whose capacities are ample."""
    rng = np.random.default_rng(seed)
    stages = int(rng.integers(1, most_stages + 1))
    deadline = float(rng.uniform(20.0, 120.0))
    spread = float(rng.choice([1.0, 10.0, 1e3, 1e6]))
    spent = float(rng.choice([0.3, 0.6, 0.9])) * deadline / stages
    documents = [
        {
            "id": f"d{s}{k}",
            "stage": f"s{s}",
            "capacity": 1e4,
            "offers": [
                {
                    "id": "o",
                    "latency": float(rng.uniform(0.0, spent)),
                    "latency_kind": str(rng.choice(["rate", "delay"])),
                    "impairment": _impairment(rng),
                    "cost": {"model": "linear", "rate": float(spread ** rng.uniform(-0.5, 0.5))},
                }
            ],
        }
        for s in range(stages)
        for k in range(domains)
    ]
    slo = {"deadline": deadline, "epsilon": float(10.0 ** rng.uniform(-6, -2)), "of": of}
    tenant = {"id": "t", "arrivals": _arrivals(rng), "slo": slo}
    names = [f"s{s}" for s in range(stages)]
    return Instance.model_validate(
        {"fedopt": 1, "name": f"system-{seed}", "stages": names, "domains": documents, "tenants": [tenant]}
    )
