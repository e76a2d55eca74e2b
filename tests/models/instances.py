"""Small random instances for the models, feasible by construction of their sizes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fedopt.instance import Instance, loads


def small(
    seed: int,
    *,
    tenants: int = 2,
    stages: int = 2,
    domains: int = 2,
    capacity: float = 6.0,
    offers: int = 1,
    curved: bool = False,
    counts: bool = False,
    links: bool = True,
    theta: list[float] | None = None,
    payment: float = 0.0,
    slot: float = 1.0,
    deadline: tuple[float, float] = (25.0, 45.0),
) -> Instance:
    """A random instance; rates scale with the slot so that numbers per slot stay the same."""
    rng = np.random.default_rng(seed)
    names = [f"s{i}" for i in range(stages)]
    document: dict[str, Any] = {
        "fedopt": 1,
        "name": f"small-{seed}",
        "slot": slot,
        "stages": names,
        "domains": [
            {
                "id": f"d{i}{d}",
                "stage": names[i],
                "capacity": capacity / slot,
                "offers": [_offer(rng, o, curved and bool((d + o) % 2), slot) for o in range(offers)],
            }
            for i in range(stages)
            for d in range(domains)
        ],
        "tenants": [
            {
                "id": f"u{t}",
                "count": int(rng.integers(1, 4)) if counts else 1,
                "arrivals": {"model": "poisson", "rate": float(rng.uniform(0.2, 0.6)) / slot, "size": 1.0},
                "slo": {"deadline": float(rng.uniform(*deadline)) * slot, "epsilon": 1e-3},
                "payment": payment,
            }
            for t in range(tenants)
        ],
    }
    if links:
        document["links"] = [
            {
                "from": f"d{i}{a}",
                "to": f"d{i + 1}{b}",
                "delay": float(rng.uniform(0, 2)) * slot,
                "cost": float(rng.uniform(0, 0.3)),
            }
            for i in range(stages - 1)
            for a in range(domains)
            for b in range(domains)
        ]
    if theta is not None:
        document["theta"] = theta
    return loads(json.dumps(document), "small")


def _offer(rng: np.random.Generator, number: int, curved: bool, slot: float) -> dict[str, Any]:
    rate = float(rng.uniform(0.5, 2.0))
    cost: dict[str, Any] = {"model": "linear", "rate": rate * slot, "fixed": float(rng.uniform(0, 0.5))}
    if curved:
        cost = {"model": "quadratic", "rate": rate * slot, "quad": 0.1 * slot**2, "fixed": 0.1}
    return {
        "id": f"o{number}",
        "latency": float(rng.uniform(0.5, 4)) * slot,
        "latency_kind": "rate" if rng.random() < 0.5 else "delay",
        "impairment": {"model": "exponential", "mean": float(rng.uniform(0.05, 0.3)) / slot},
        "cost": cost,
    }
