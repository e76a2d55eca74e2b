"""From the calculus to the simulator: a path in slots with its rates, and the count of slots a promise
leaves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.laws.poisson import Poisson
from fedopt.laws.table import Table
from fedopt.laws.trace import Trace
from fedopt.simulate.slot_work import SlotWork, slot_work
from fedopt.simulate.slots import SlotPath

if TYPE_CHECKING:
    from fedopt.calculus.path import Path


def allowed_slots(path: Path) -> int:
    """Whole slots of queueing that the deadline leaves after all latencies; negative where nothing can keep
    it.

    The simulated servers keep a guardrail's whole latency as a delay, as pure delays do.
    """
    return math.floor(float(path.deadline - path.latencies.sum()) + 1e-9)


def slot_path(path: Path, rates: np.ndarray, *, arrivals: Any = None, seed: int = 0) -> SlotPath:
    """What to simulate for a tenant on a path at these rates (work per slot).

    Impairments of domains that may depend on each other are driven by one random stream: wherever they have
    the same law they are the same process, the strongest dependence. ``arrivals`` replaces the path's own.

    Raises TypeError where a user's own model has no ``sample(rng, slots)``.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1 << 20,)))
    stream = list(range(len(path)))
    for group in path.dependent:
        for position in group:
            stream[position] = group[0]
    law = arrivals if isinstance(arrivals, SlotWork) else slot_work(arrivals or path.arrival, rng)
    impairments = tuple(slot_work(impairment, rng) for impairment in path.impairments)
    return SlotPath(law, impairments, np.asarray(rates, dtype=float), tuple(stream))


def counts_requests(model: Any) -> bool:
    """Whether a model's weights are numbers of requests (else they are work)."""
    return isinstance(model, Poisson | Trace | Table)


def remarks(path: Path, arrivals: Any = None) -> list[str]:
    """What a reader must know about how models were turned into something that can be simulated.

    ``arrivals`` are those that replaced the path's own, if any.
    """
    notes = []
    if isinstance(path.arrival if arrivals is None else arrivals, Table):
        notes.append(
            "arrivals: the envelope is a table; simulated as the heaviest compound Poisson work it admits"
        )
    if any(isinstance(impairment, Table) for impairment in path.impairments):
        notes.append("impairments: a table is simulated as the heaviest compound Poisson work it admits")
    if bool((path.rate_latency & (path.latencies > 0)).any()):
        notes.append("latency: a rate-latency guardrail is simulated as a delay of its whole latency")
    if path.dependent:
        notes.append(
            "dependence: domains that may depend on each other are driven by the same random numbers"
        )
    return notes
