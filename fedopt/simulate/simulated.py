"""The `simulated` guarantee: reservations that a theorem gave, scaled down to the least that simulation
confirms.

A measurement, not a theorem: the sizing is confirmed on random numbers that took no part in finding it, by an
upper confidence bound on the violation probability. Promises about requests are measured by whole requests
in continuous time, split where lateness is rare, and the bound is Clopper and Pearson's over the effective
number of independent requests. Promises about instants, and paths that are a fluid in slots, are measured by
importance sampling where work allows it, with the bound of Maurer and Pontil for weighted samples, which lie
in a known interval; elsewhere by counting. It holds for the laws that were simulated. What is no law is
refused by name: an envelope bounds many laws, and the replay of a record is no evidence beside the record.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.laws.table import Table
from fedopt.laws.trace import Trace
from fedopt.plan.charges import domain_loads, entry_costs, payments
from fedopt.plan.guarantees import MEASURED
from fedopt.plan.paths import Paths
from fedopt.simulate import rare, splitting
from fedopt.simulate import requests as whole_requests
from fedopt.simulate import slots as slot_simulator
from fedopt.simulate.crossing import crossing
from fedopt.simulate.estimates import Share, tail_share
from fedopt.simulate.paths import allowed_slots, counts_requests, request_system, slot_path
from fedopt.simulate.requests import System, settling
from fedopt.simulate.slots import SlotPath
from fedopt.simulate.trials import Progress

if TYPE_CHECKING:
    from fedopt.calculus.path import Path
    from fedopt.instance import Instance
    from fedopt.plan import Plan, TenantPlan

TRIALS = 64
SEARCHED, CONFIRMED = 1_000, 6_000
"""Requests of a trial in the search and in a confirmation, copies not counted."""
STEP = 1.004
"""Factor by which a sizing that was not confirmed by counting is enlarged before it is tried again."""
SAMPLES, FEW = 40_000, 4_000
"""Weighted samples of a confirmation, and of each step of the search before it."""


class Stopped(Exception):
    """A sizing that was asked to stop before it was done."""


@dataclass(frozen=True)
class Sizing:
    """Reservations found by simulation, in work per slot.

    ``scale`` is their ratio to the reservations started from. ``confirmed`` is False where no smaller
    reservation could be confirmed: the rates are then those started from. ``requests`` were simulated whole,
    ``slots`` where a fluid was counted, ``samples`` drawn where importance sampling was possible.
    """

    rates: np.ndarray
    scale: float
    violation: Share
    confidence: float
    confirmed: bool
    slots: int = 0
    samples: int = 0
    requests: int = 0


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

    First a search over the factor on common random numbers; then a confirmation on fresh ones: the one-sided
    upper bound of the violation probability must not exceed ε. The k-th confirmation is made at confidence
    1 − (1 − confidence)/2^k, so that all of them together err with at most 1 − confidence.

    Whole requests are split where they can be copied and no ``slots`` are given, else counted. A fluid is
    measured by importance sampling where `rare` can take the path and no ``slots`` are given; else, and where
    that confirms nothing, it is counted over ``slots`` slots an evaluation (default: for some 3,000
    violations at ε, at most 20 million), the search being a bisection to ``tolerance`` (relative).

    ``stop`` is asked before every evaluation.

    Raises TypeError, with the reason, where a model is no law or cannot be sampled, and Stopped where
    ``stop`` answered true.
    """
    rates = np.asarray(rates, dtype=float)
    if path.whole is not None and path.per_request:
        return _whole(path, rates, confidence, slots, seed, threads, stop)
    if slots is None and rare.applies(path):
        found = _weighted(path, rates, confidence, seed, threads, stop)
        if found.confirmed:
            return found
    return _counted(path, rates, confidence, tolerance, slots, seed, threads, stop)


def _refuse_bounds(path: Path) -> None:
    """Raise TypeError where what is known of a path are bounds or a record."""
    if isinstance(path.arrival, Table):
        raise TypeError("an envelope of arrivals bounds many laws and is none, so nothing can be measured")
    if isinstance(path.arrival, Trace):
        raise TypeError("the replay of the record that the plan rests on is no independent evidence")
    if any(isinstance(law, Table) for law in path.impairments):
        raise TypeError("a table of an impairment bounds many laws and is none, so nothing can be measured")


def _whole(
    path: Path,
    rates: np.ndarray,
    confidence: float,
    slots: int | None,
    seed: int,
    threads: int | None,
    stop: Callable[[], bool] | None,
) -> Sizing:
    """By whole requests: secants on log P, then confirmations on fresh random numbers."""
    _refuse_bounds(path)
    epsilon, used = math.exp(path.log_epsilon), 0

    def share(scale: float, stream: int, requests: int, one_sided: float) -> Share:
        nonlocal used
        if stop is not None and stop():
            raise Stopped
        system = request_system(path, rates * scale, seed=seed)
        if max(system.loads) >= 1:
            return Share(1.0, 1.0, 1.0, 1.0)
        found, served = late_share(
            system, path.deadline, epsilon, requests, slots, (seed, stream), one_sided, threads
        )
        used += served
        return found

    def log_late(scale: float) -> float:
        return math.log(max(share(scale, 0, SEARCHED, confidence).estimate, 1e-300))

    # aim below ε by what a confirmation will add
    floor = float(request_system(path, rates, seed=seed).loads.max())
    scale, slope = 1.0, math.nan
    if floor < 1.0:
        scale, slope = crossing(log_late, path.log_epsilon - 0.15, floor, 1.0, accuracy=0.05, narrow=3e-3)
    for attempt in range(1, 16):
        if scale >= 1.0:
            break
        one_sided = 1 - (1 - confidence) / 2**attempt
        found = share(scale, attempt, CONFIRMED, one_sided)
        if found.high <= epsilon:
            return Sizing(rates * scale, scale, found, confidence, True, requests=used)
        missing = (path.log_epsilon - math.log(found.high)) / slope if slope < 0 else 0.0
        scale += max(min(missing, 0.1 * scale), 0.0) + 1e-3 * attempt
    return Sizing(rates, 1.0, share(1.0, 99, SEARCHED, confidence), confidence, False, requests=used)


def late_share(
    system: System,
    deadline: float,
    epsilon: float,
    requests: int,
    slots: int | None,
    seed: tuple[int, ...],
    one_sided: float,
    threads: int | None,
) -> tuple[Share, int]:
    """P(late) of whole requests, each end of its interval at confidence ``one_sided``, and requests used.

    By splitting, with ``requests`` in each trial; by counting where requests cannot be copied or ``slots``
    say for how long.
    """
    two_sided = 1 - 2 * (1 - one_sided)
    if slots is None and splitting.applies(system):
        found = splitting.violation(
            system,
            deadline,
            requests=requests,
            warmup=settling(system, requests),
            enough=epsilon * 1e-3,
            seed=seed,
            threads=threads,
        )
        return found.share(two_sided), found.served
    wanted = 3_000 / epsilon if slots is None else slots * system.source.rate
    each = max(1, math.ceil(min(max(wanted, 100_000), 5_000_000) / TRIALS))
    counts = whole_requests.simulate(
        system,
        each,
        trials=TRIALS,
        warmup=settling(system, each),
        deadlines=(deadline,),
        seed=np.random.SeedSequence(seed),
        threads=threads,
    )
    return whole_requests.late_share(counts, deadline, two_sided), each * TRIALS


def _weighted(
    path: Path,
    rates: np.ndarray,
    confidence: float,
    seed: int,
    threads: int | None,
    stop: Callable[[], bool] | None,
) -> Sizing:
    used = 0

    def estimate(scale: float, stream: int, samples: int) -> rare.RareEstimate | None:
        nonlocal used
        if stop is not None and stop():
            raise Stopped
        used += samples
        try:
            return rare.violation(path, rates * scale, samples=samples, seed=(seed, stream), threads=threads)
        except ValueError:  # overloaded: no guide
            return None

    def log_upper(scale: float) -> float:
        found = estimate(scale, 0, FEW)
        upper = 1.0 if found is None else found.upper(1 - 0.5 * (1 - confidence), SAMPLES)
        return math.log(max(upper, 1e-300))

    floor = _means(path, rates)
    scale = 1.0
    if floor < 1.0:
        scale, slope = crossing(log_upper, path.log_epsilon, floor, 1.0)
    for attempt in range(1, 30):
        if scale >= 1.0:
            break
        found = estimate(scale, attempt, SAMPLES)
        one_sided = 1 - (1 - confidence) / 2**attempt
        upper = 1.0 if found is None else found.upper(one_sided)
        if found is not None and upper <= math.exp(path.log_epsilon):
            return Sizing(rates * scale, scale, _as_share(found, one_sided), confidence, True, samples=used)
        # what the slope says is missing, and a little more: the next confirmation asks for more confidence
        scale += (path.log_epsilon - math.log(upper)) / slope + 2e-4 * attempt
    found = estimate(1.0, 99, FEW)
    share = Share(1.0, 1.0, 1.0, 1.0) if found is None else _as_share(found, confidence)
    return Sizing(rates, 1.0, share, confidence, False, samples=used)


def _as_share(found: rare.RareEstimate, one_sided: float) -> Share:
    return Share(found.probability, found.low, found.upper(one_sided), float(found.samples))


def _counted(
    path: Path,
    rates: np.ndarray,
    confidence: float,
    tolerance: float,
    slots: int | None,
    seed: int,
    threads: int | None,
    stop: Callable[[], bool] | None,
) -> Sizing:
    epsilon = math.exp(path.log_epsilon)
    whole = slot_path(path, rates, seed=seed)
    if slots is None:
        wanted = 3_000 / max(epsilon * min(1.0, whole.arrivals.mean), 1e-12)
        slots = int(min(max(wanted, 1_000_000), 20_000_000))

    def share(scale: float, stream: int, one_sided: float) -> Share:
        if stop is not None and stop():
            raise Stopped
        simulated = SlotPath(whole.arrivals, whole.impairments, rates * scale, whole.stream)
        return counted(path, simulated, slots, (seed, stream), one_sided, threads)

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


def counted(
    path: Path,
    simulated: SlotPath,
    slots: int,
    seed: tuple[int, ...],
    one_sided: float,
    threads: int | None = None,
) -> Share:
    """P(late) by counting over ``slots`` slots; each end of its interval at confidence ``one_sided``."""
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

    ``confidence`` is that of all entries together: each of n is confirmed at 1 − (1 − confidence)/n.

    Costs, loads and notes are made anew; there is no lower bound under this guarantee, because no
    optimisation over paths was made with it, and there are no prices. The plan states that its promise is a
    measurement. Entries that simulation cannot make smaller, and those that come after ``stop`` has answered
    true, keep their reservations and their theorem.
    """
    paths = Paths(instance)
    sized: dict[tuple[Any, ...], Sizing | str] = {}
    entries = []
    left = 0
    kept: dict[str, list[str]] = {}
    asked = sum(entry.admitted and entry.count > 0 for entry in plan.tenants)
    each = 1 - (1 - confidence) / max(asked, 1)
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
            path.arrival, path.per_request, path.log_epsilon, path.deadline, *entry.path, *rates
        )  # fmt: skip
        if not _hashable(key):
            key = (number,)
        if key not in sized:
            try:
                sized[key] = size(
                    path, rates, confidence=each, slots=slots, seed=seed, threads=threads, stop=stop
                )
            except Stopped:
                left += 1
                entries.append(entry)
                continue
            except TypeError as error:
                sized[key] = str(error)
        found = sized[key]
        if isinstance(found, str) or not found.confirmed:
            reason = found if isinstance(found, str) else "no smaller reservation was confirmed"
            kept.setdefault(reason, []).append(entry.id)
            entries.append(entry)
        else:
            entries.append(_resized(entry, found, instance.slot, seed))
        if progress is not None:
            progress(number + 1, len(plan.tenants))
    costs = entry_costs(instance, entries)
    entries = [entry.model_copy(update={"cost": cost}) for entry, cost in zip(entries, costs, strict=True)]
    loads = domain_loads(instance, entries)
    total = sum(costs) - (payments(instance, entries) if plan.objective == "profit" else 0.0)
    note = (
        f"simulated: reservations confirmed by Monte-Carlo at confidence {confidence:g} for all {asked} "
        f"entries together ({each:.6g} each), a measurement and not a theorem; it holds for the laws "
        "simulated. log_bound is the logarithm of the upper confidence bound. The history is that of the "
        f"plan under {plan.guarantee} that was scaled down, of cost {plan.cost:.9g}."
    )
    if left:
        note += f" {left} entries keep the reservations of {plan.guarantee} because time was up."
    for reason, names in kept.items():
        note += f" {', '.join(dict.fromkeys(names))}: reservations of {plan.guarantee} kept; {reason}."
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
    """The entry with what was found."""
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
            "seed": seed,
            **{
                name: getattr(found, name)
                for name in ("requests", "samples", "slots")
                if getattr(found, name) > 0
            },
        },
    }
    return entry.model_copy(update=change)


def _hashable(key: object) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True
