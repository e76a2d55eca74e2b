"""What a plan's tenants would have measured: the delays of simulated requests, as audits read them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.plan.paths import Paths
from fedopt.simulate import requests as whole_requests
from fedopt.simulate.paths import request_system
from fedopt.simulate.validation import settling

if TYPE_CHECKING:
    from fedopt.instance import Instance
    from fedopt.plan import Plan

LATE = 30
"""Late requests that a tenant's telemetry is to hold, about, where its promise is just kept."""

FEWEST, MOST = 10_000, 300_000
"""Requests of an entry."""


def telemetry(
    plan: Plan,
    instance: Instance,
    *,
    requests: int | None = None,
    seed: int = 0,
    arrivals: Mapping[str, Any] | None = None,
) -> Iterator[tuple[str, np.ndarray | str]]:
    """Delays of whole requests of every entry of a plan, in the order of arrival.

    Parameters
    ----------
    plan, instance
        A plan and the instance that it is for.
    requests
        How many of each entry; default: some 30 late ones at ε, between 10,000 and 300,000.
    seed
        Of every random choice.
    arrivals
        Replaces the arrivals of tenants by their id with other models in slots.

    Yields
    ------
    tuple of str and array
        The tenant's id and its delays in units of time, or why it has none.
    """
    paths = Paths(instance)
    for number, entry in enumerate(e for e in plan.tenants if e.admitted and e.count > 0):
        tenant = instance.tenant(entry.id)
        size = getattr(tenant.arrivals, "request_size", None)
        other = (arrivals or {}).get(entry.id)
        try:
            system = request_system(
                paths.entry(entry), paths.rates(entry), arrivals=other, request_size=size, seed=seed
            )
        except TypeError as error:
            yield entry.id, str(error)
            continue
        count = requests or min(max(FEWEST, math.ceil(LATE / tenant.slo.epsilon)), MOST)
        found = whole_requests.simulate(
            system,
            count,
            warmup=settling(system, count),
            cells=False,
            keep=True,
            seed=np.random.SeedSequence((seed, number)),
        )
        yield entry.id, found.kept[0] * instance.slot
