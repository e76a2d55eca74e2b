"""The examples in the OpenAPI document: a small instance, and an intent on it."""

from __future__ import annotations

from typing import Any

__all__ = ["INSTANCE", "INTENT"]

INSTANCE: dict[str, Any] = {
    "fedopt": 1,
    "name": "hello",
    "stages": ["access", "compute"],
    "domains": [
        {
            "id": "metro",
            "stage": "access",
            "capacity": 20,
            "offers": [
                {
                    "id": "gold",
                    "latency": 3,
                    "latency_kind": "delay",
                    "impairment": {"model": "exponential", "mean": 0.3},
                }
            ],
        },
        {
            "id": "near",
            "stage": "compute",
            "capacity": 4,
            "offers": [{"id": "llm", "latency": 2, "cost": {"model": "linear", "rate": 2.0}}],
        },
        {
            "id": "far",
            "stage": "compute",
            "capacity": 40,
            "offers": [{"id": "llm", "latency": 12, "cost": {"model": "linear", "rate": 0.8}}],
        },
    ],
    "tenants": [
        {
            "id": "chat",
            "count": 3,
            "arrivals": {"model": "poisson", "rate": 0.4},
            "slo": {"deadline": 60, "epsilon": 0.001},
        },
        {
            "id": "voice",
            "arrivals": {"model": "poisson", "rate": 0.2},
            "slo": {"deadline": 15, "epsilon": 0.0001},
        },
    ],
}

INTENT: dict[str, Any] = {
    "intent": {
        "id": "chat-42",
        "service": "chat completion",
        "like": "chat",
        "answers": {"within": "60 ms", "share": 0.999},
    },
    "instance": INSTANCE,
}
