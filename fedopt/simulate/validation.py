"""Simulating a plan: every admitted tenant on its path at its reserved rates, beside what was promised and
proven.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.plan.learned import theorem_log_bound
from fedopt.plan.paths import Paths
from fedopt.simulate import slots as slot_simulator
from fedopt.simulate.intervals import Share, quantile_interval, tail_share
from fedopt.simulate.paths import allowed_slots, counts_requests, remarks, slot_path
from fedopt.simulate.result import Quantile, SimulationResult, TenantResult
from fedopt.simulate.slots import DelayCounts
from fedopt.simulate.trials import Progress

if TYPE_CHECKING:
    from fedopt.calculus.path import Path
    from fedopt.instance import Instance
    from fedopt.plan import Plan, TenantPlan

LEAST_SLOTS, MOST_SLOTS = 1_000_000, 20_000_000
VIOLATIONS_WANTED = 3_000


def simulate(
    plan: Plan,
    instance: Instance,
    *,
    slots: int | None = None,
    trials: int = 32,
    seed: int = 0,
    threads: int | None = None,
    confidence: float = 0.95,
    probabilities: Sequence[float] = (0.99, 0.999),
    arrivals: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> SimulationResult:
    """Monte-Carlo of a plan, slot by slot, with impairments that carry over.

    Every distinct entry (arrivals, path, rates) is simulated once, over ``slots`` slots in all (default:
    enough for some 3,000 violations at ε, between 1 and 20 million), spread over ``trials`` independent
    trials; ``progress`` is told of those of all entries. ``arrivals`` replaces the arrivals of tenants by
    their id with other envelope objects in slots, for instance a recorded trace. Intervals are at
    ``confidence``, per tenant, from the spread between trials.

    Raises InstanceError where the plan does not fit the instance.
    """
    paths = Paths(instance)
    entries = [entry for entry in plan.tenants if entry.admitted and entry.count > 0]
    done: dict[tuple[Any, ...], tuple[DelayCounts, Path] | str] = {}
    results: list[TenantResult] = []
    skipped: dict[str, None] = {}

    def told(entries_done: int, trials_done: int = 0) -> None:
        if progress is not None:
            progress(entries_done * trials + trials_done, len(entries) * trials)

    for number, entry in enumerate(entries):
        path = paths.entry(entry)
        rates = paths.rates(entry)
        other = (arrivals or {}).get(entry.id)
        model = path.arrival if other is None else other
        key: tuple[Any, ...] = (model, tuple(entry.path), tuple(rates), allowed_slots(path), path.log_epsilon)
        if not _hashable(key):
            key = (number,)
        if key not in done:
            done[key] = _counts(
                path, rates, other, slots, trials, seed, threads, lambda n, _, at=number: told(at, n)
            )
        counts = done[key]
        if isinstance(counts, str):
            skipped[f"{entry.id}: {counts}"] = None
        else:
            results.append(summarise(entry, path, counts[0], instance, model, confidence, probabilities))
        told(number + 1)
    return SimulationResult(tuple(results), seed, trials, confidence, tuple(skipped))


def enough_slots(epsilon: float, requests_per_slot: float) -> int:
    """Slots for some 3,000 violations at ε, between 1 and 20 million."""
    wanted = VIOLATIONS_WANTED / max(epsilon * min(1.0, requests_per_slot), 1e-12)
    return int(min(max(wanted, LEAST_SLOTS), MOST_SLOTS))


def _counts(
    path: Path,
    rates: np.ndarray,
    other: Any,
    slots: int | None,
    trials: int,
    seed: int,
    threads: int | None,
    progress: Progress,
) -> tuple[DelayCounts, Path] | str:
    try:
        simulated = slot_path(path, rates, arrivals=other, seed=seed)
    except TypeError as error:
        return str(error)
    wanted = slots if slots is not None else enough_slots(math.exp(path.log_epsilon), simulated.arrivals.mean)
    each = max(1, -(-wanted // trials))
    bins = max(slot_simulator.BINS, 4 * max(allowed_slots(path), 0))
    return slot_simulator.simulate(
        simulated, each, trials=trials, bins=bins, seed=seed, threads=threads, progress=progress
    ), path


def summarise(
    entry: TenantPlan,
    path: Path,
    counts: DelayCounts,
    instance: Instance,
    model: Any,
    confidence: float,
    probabilities: Sequence[float],
) -> TenantResult:
    """The delays of an entry as probabilities and quantiles in the instance's own units of time."""
    tenant = instance.tenant(entry.id)
    delays = counts.requests if path.per_request else counts.instants.astype(float)
    plain = not path.per_request or counts_requests(model)
    observations = float(delays.sum() if plain else counts.instants.sum())
    allowed = allowed_slots(path)
    if allowed < 0:
        violation = Share(1.0, 1.0, 1.0, observations)
    else:
        violation = tail_share(delays, allowed, confidence, observations)
    fixed = tenant.slo.deadline - (path.deadline - float(path.latencies.sum())) * instance.slot
    quantiles = {}
    for probability in probabilities:
        found = quantile_interval(delays, probability, confidence, observations)
        estimate, low, high = (value * instance.slot + fixed for value in found)
        quantiles[probability] = Quantile(estimate, low, high)
    return TenantResult(
        id=entry.id,
        path=tuple(entry.path),
        count=entry.count,
        requests=observations,
        epsilon=math.exp(path.log_epsilon) if entry.learned else tenant.slo.epsilon,
        deadline=tenant.slo.deadline,
        violation=violation,
        quantiles=quantiles,
        log_bound=theorem_log_bound(entry),
        notes=(*remarks(path, model), *_unlearned(entry)),
    )


def _unlearned(entry: TenantPlan) -> list[str]:
    """What is not simulated of an entry: nobody knows what a domain without a contract does."""
    if not entry.learned:
        return []
    domains = ", ".join(entry.learned)
    return [
        f"no contract: {domains} is taken to need just the delay that it is asked for; its learned risk is "
        "not simulated, and ε and the bound are what the theorem is left with"
    ]


def _hashable(key: object) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True
