"""The `simulated` guarantee: reservations that a theorem gave, scaled down to the least that simulation
confirms.

A measurement, not a theorem: the sizing is confirmed on random numbers that took no part in finding it, by an
upper confidence bound of Clopper and Pearson on the violation probability (over the effective number of
independent requests). It holds for the models that were simulated, not for every process their envelopes
admit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.plan.charges import domain_loads, entry_costs, payments
from fedopt.plan.guarantees import MEASURED
from fedopt.plan.paths import Paths
from fedopt.simulate import slots as slot_simulator
from fedopt.simulate.intervals import Share, tail_share
from fedopt.simulate.paths import allowed_slots, counts_requests, slot_path
from fedopt.simulate.slots import SlotPath
from fedopt.simulate.trials import Progress

if TYPE_CHECKING:
    from fedopt.calculus.path import Path
    from fedopt.instance import Instance
    from fedopt.plan import Plan, TenantPlan

TRIALS = 64
STEP = 1.004
"""Factor by which a sizing that was not confirmed is enlarged before it is tried on new random numbers."""


class Stopped(Exception):
    """A sizing that was asked to stop before it was done."""


@dataclass(frozen=True)
class Sizing:
    """Reservations found by simulation, in work per slot.

    ``scale`` is their ratio to the reservations started from. ``confirmed`` is False where no smaller
    reservation could be confirmed within the slots allowed: the rates are then those started from.
    """

    rates: np.ndarray
    scale: float
    violation: Share
    confidence: float
    confirmed: bool
    slots: int


def size(
    path: Path,
    rates: np.ndarray,
    *,
    confidence: float = 0.99,
    tolerance: float = 2e-3,
    slots: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    stop: Callable[[], bool] | None = None,
) -> Sizing:
    """The least common factor on ``rates`` (work per slot) at which the promise is confirmed by simulation.

    First a bisection over the factor with common random numbers, to ``tolerance`` (relative); then a
    confirmation on fresh random numbers: the one-sided upper bound of the violation probability must not
    exceed ε. The k-th confirmation is made at confidence 1 − (1 − confidence)/2^k, so that all of them
    together err with at most 1 − confidence. ``slots`` is the length of one evaluation (default: for some
    3,000 violations at ε, at most 20 million).

    ``stop`` is asked before every evaluation.

    Raises TypeError where a user's own model cannot be sampled, and Stopped where ``stop`` answered true.
    """
    rates = np.asarray(rates, dtype=float)
    epsilon = math.exp(path.log_epsilon)
    whole = slot_path(path, rates, seed=seed)
    if slots is None:
        wanted = 3_000 / max(epsilon * min(1.0, whole.arrivals.mean), 1e-12)
        slots = int(min(max(wanted, 1_000_000), 20_000_000))

    def share(scale: float, stream: int, one_sided: float) -> Share:
        if stop is not None and stop():
            raise Stopped
        simulated = SlotPath(whole.arrivals, whole.impairments, rates * scale, whole.stream)
        return _share(path, simulated, slots, (seed, stream), one_sided, threads)

    used = 0
    floor = max(_stability(whole), _means(path, rates))
    low, high = floor, 1.0
    if low < high:
        while high - low > tolerance * high:
            middle = math.sqrt(low * high)
            used += slots
            if share(middle, 0, confidence).high <= epsilon:
                high = middle
            else:
                low = middle
    scale = high
    for attempt in range(1, 30):
        if scale >= 1.0:
            break
        used += slots
        found = share(scale, attempt, 1 - (1 - confidence) / 2**attempt)
        if found.high <= epsilon:
            return Sizing(rates * scale, scale, found, confidence, True, used)
        scale *= STEP
    return Sizing(rates, 1.0, share(1.0, 99, confidence), confidence, False, used + slots)


def _share(
    path: Path, simulated: SlotPath, slots: int, seed: tuple[int, int], one_sided: float, threads: int | None
) -> Share:
    allowed = allowed_slots(path)
    if allowed < 0:
        return Share(1.0, 1.0, 1.0, 1.0)
    counts = slot_simulator.simulate(
        simulated,
        max(1, -(-slots // TRIALS)),
        trials=TRIALS,
        bins=max(slot_simulator.BINS, 4 * allowed),
        seed=np.random.SeedSequence(seed),
        threads=threads,
    )
    delays = counts.requests if path.per_request else counts.instants.astype(float)
    plain = not path.per_request or counts_requests(path.arrival)
    observations = float(delays.sum() if plain else counts.instants.sum())
    return tail_share(delays, allowed, 1 - 2 * (1 - one_sided), observations)


def _stability(path: SlotPath) -> float:
    """Least factor at which every domain can serve its mean work, with a margin of 1 % of that work."""
    needed = [1.01 * (path.arrivals.mean + impairment.mean) for impairment in path.impairments]
    return max(need / rate for need, rate in zip(needed, path.rates, strict=True))


def _means(path: Path, rates: np.ndarray) -> float:
    """Least factor at which every domain can serve the means that the envelopes admit."""
    needed = np.array([path.arrival.mean + impairment.mean for impairment in path.impairments])
    return float((needed / rates).max())


def resize(
    plan: Plan,
    instance: Instance,
    *,
    confidence: float = 0.99,
    slots: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Plan:
    """A plan with the same paths whose reservations are scaled down to what simulation confirms.

    Costs, loads and notes are made anew; there is no lower bound under this guarantee, because no
    optimisation over paths was made with it, and there are no prices. The plan states that its promise is a
    measurement. Entries that simulation cannot make smaller, and those that come after ``stop`` has answered
    true, keep their reservations and their theorem.
    """
    paths = Paths(instance)
    sized: dict[tuple[Any, ...], Sizing] = {}
    entries = []
    left = 0
    for number, entry in enumerate(plan.tenants):
        if not entry.admitted or entry.count == 0:
            entries.append(entry)
            continue
        if stop is not None and stop():
            left += 1
            entries.append(entry)
            continue
        path = paths.entry(entry)
        rates = paths.rates(entry)
        key: tuple[Any, ...] = (
            path.arrival, path.per_request, path.log_epsilon, allowed_slots(path), *entry.path, *rates
        )  # fmt: skip
        if not _hashable(key):
            key = (number,)
        if key not in sized:
            try:
                sized[key] = size(
                    path, rates, confidence=confidence, slots=slots, seed=seed, threads=threads, stop=stop
                )
            except Stopped:
                left += 1
                entries.append(entry)
                continue
        entries.append(_resized(entry, sized[key], instance.slot, seed))
        if progress is not None:
            progress(number + 1, len(plan.tenants))
    costs = entry_costs(instance, entries)
    entries = [entry.model_copy(update={"cost": cost}) for entry, cost in zip(entries, costs, strict=True)]
    loads = domain_loads(instance, entries)
    total = sum(costs) - (payments(instance, entries) if plan.objective == "profit" else 0.0)
    kept = sum(entry.admitted and entry.form != MEASURED for entry in entries)
    note = (
        f"simulated: reservations confirmed by Monte-Carlo at confidence {confidence:g}, a measurement and "
        "not a theorem; it holds for the models simulated. log_bound is the logarithm of the upper "
        f"confidence bound. The history is that of the plan under {plan.guarantee} that was scaled down, "
        f"of cost {plan.cost:.9g}."
    )
    if kept:
        note += f" {kept} entries keep the reservations of {plan.guarantee}"
        note += f", {left} of them because time was up." if left else "; no smaller ones were confirmed."
    data = plan.model_dump()
    data.update(
        guarantee=MEASURED,
        status="feasible",
        cost=total,
        lower_bound=None,
        gap=None,
        tenants=[entry.model_dump() for entry in entries],
        domains=[
            {**domain.model_dump(), "reserved": loads[domain.id], "price": None} for domain in plan.domains
        ],
        notes=[*plan.notes, note],
    )
    return type(plan).model_validate(data)


def _resized(entry: TenantPlan, found: Sizing, slot: float, seed: int) -> TenantPlan:
    """The entry with what was found; its own reservations and proof where nothing smaller was confirmed."""
    if not found.confirmed:
        return entry
    rates = {domain: float(rate) / slot for (domain, _), rate in zip(entry.hops(), found.rates, strict=True)}
    change: dict[str, Any] = {
        "reservations": rates,
        "theta": None,
        "log_bound": math.log(found.violation.high),
        "form": MEASURED,
        "block": None,
        "deadlines": {},
        "budgets": {},
        "risk_shares": {},
        "parameters": {
            "scale": found.scale,
            "confidence": found.confidence,
            "estimate": found.violation.estimate,
            "slots": found.slots,
            "seed": seed,
        },
    }
    return entry.model_copy(update=change)


def _hashable(key: object) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True
