"""Small random instances that brute force can still solve."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.calculus.whole import slots_lost
from fedopt.instance import Instance
from fedopt.laws import build
from fedopt.plan.paths import speaks_of_slots


def random_instance(
    seed: int, *, tenants: int = 3, stages: int = 2, domains: int = 2, slack: float = 1.0
) -> Instance:
    """An instance with mixed models, latencies, costs and links; capacities in reach of `tenants` units."""
    rng = np.random.default_rng(seed)
    impairments = [
        lambda: {"model": "exponential", "mean": float(rng.uniform(0.05, 0.4))},
        lambda: {
            "model": "gamma",
            "shape": float(rng.uniform(0.5, 2.0)),
            "scale": float(rng.uniform(0.05, 0.2)),
        },
        lambda: {
            "model": "poisson",
            "rate": float(rng.uniform(0.02, 0.2)),
            "size": float(rng.uniform(0.3, 1.0)),
        },
        lambda: {"model": "none"},
    ]
    costs = [
        lambda: {
            "model": "linear",
            "rate": float(rng.uniform(0.5, 3.0)),
            "fixed": float(rng.uniform(0.0, 0.5)),
        },
        lambda: {
            "model": "quadratic",
            "rate": float(rng.uniform(0.3, 2.0)),
            "quad": float(rng.uniform(0.01, 0.3)),
        },
        lambda: {"model": "piecewise", "points": [[0, 0.2], [2, float(rng.uniform(1.5, 3.0))], [5, 14.0]]},
    ]
    names = [f"s{s}" for s in range(stages)]
    document = {
        "name": f"random-{seed}",
        "stages": names,
        "domains": [
            {
                "id": f"d{s}{k}",
                "stage": names[s],
                "operator": f"op{k % 2}",
                "capacity": float(rng.uniform(1.2, 2.2) * slack * tenants / domains * 1.3),
                "offers": [
                    {
                        "id": "o",
                        "latency": float(rng.integers(0, 6)),
                        "latency_kind": str(rng.choice(["rate", "delay"])),
                        "impairment": impairments[rng.integers(len(impairments))](),
                        "cost": costs[rng.integers(len(costs))](),
                        "work_factor": float(rng.uniform(0.7, 1.3)),
                    }
                ],
            }
            for s in range(stages)
            for k in range(domains)
        ],
        "links": [
            {
                "from": f"d{s}{i}",
                "to": f"d{s + 1}{j}",
                "delay": float(rng.uniform(0, 2)),
                "cost": float(rng.uniform(0, 0.4)),
            }
            for s in range(stages - 1)
            for i in range(domains)
            for j in range(domains)
        ],
        "tenants": [
            {
                "id": f"t{u}",
                "arrivals": {"model": "poisson", "rate": float(rng.uniform(0.2, 0.6))},
                "slo": {"deadline": float(rng.uniform(35, 80)), "epsilon": float(10 ** rng.uniform(-4, -2))},
                "payment": float(rng.uniform(2.0, 8.0)),
            }
            for u in range(tenants)
        ],
    }
    return Instance.model_validate(document)


@pytest.fixture
def small_instance():
    return random_instance


def flowing(instance: Instance) -> Instance:
    """The instance whose bounds are those that the fluid in slots has for `instance`: work moves on while
    it is served, and deadlines are longer by the slots that continuous time costs."""
    slotted = speaks_of_slots(instance)
    tenants = []
    for tenant in instance.tenants:
        law = build(tenant.arrivals, instance.slot)
        lost = slots_lost(law.slot_start, len(instance.stages)) if slotted else 1
        slo = tenant.slo.model_copy(update={"deadline": tenant.slo.deadline + lost * instance.slot})
        tenants.append(tenant.model_copy(update={"slo": slo}))
    return instance.with_(tenants=tenants).with_({"domains.*.forwarding": "cut-through"})


@pytest.fixture
def catalogue_only(monkeypatch):
    """Plans as column generation leaves them, so that they can be compared with the catalogue's own best."""
    monkeypatch.setattr("fedopt.central.solver.with_free_rates", lambda master, oracle, choice, *rest: choice)
