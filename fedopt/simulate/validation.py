"""Simulating a plan: every admitted tenant on its path at its reserved rates, beside what was promised and
proven, for as long as it takes to decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fedopt.laws.table import Table
from fedopt.laws.trace import Trace
from fedopt.plan.basis import theorem_log_bound
from fedopt.plan.milestones import entry_up_to, parts_of
from fedopt.plan.paths import Paths
from fedopt.simulate import requests as whole_requests
from fedopt.simulate import slots as slot_simulator
from fedopt.simulate import splitting
from fedopt.simulate.estimates import Share, edges, quantile_interval, tail_share
from fedopt.simulate.paths import allowed_slots, counts_requests, remarks, request_system, slot_path
from fedopt.simulate.requests import System, late_share, settling
from fedopt.simulate.result import FLUID, WHOLE, Quantile, SimulationResult, TenantResult
from fedopt.simulate.trials import Progress

if TYPE_CHECKING:
    from fedopt.calculus.path import Path
    from fedopt.instance import Instance
    from fedopt.plan import Plan, TenantPlan

BUDGET = 5_000_000
"""Requests of an entry after which it stays undecided."""
FIRST_LOOK, GROWTH = 64_000, 4
"""Requests before the first look at an entry's interval, and how many times as many at each further look."""
RARE = 2e-4
"""Promises up to this are measured by splitting after a first look: late requests come in clusters, so that
hundreds of them tell little."""
SPLIT_LOOKS, SPLIT_REQUESTS = 4, 1_000
"""Looks at an entry by splitting, and requests of a trial at the first."""
LEAST_SLOTS, MOST_SLOTS = 1_000_000, 20_000_000
VIOLATIONS_WANTED = 3_000


@dataclass(frozen=True)
class Seen:
    """What the simulation of an entry showed, in slots.

    ``quantile`` gives (estimate, low, high); ``more``: requests beyond those simulated that would decide.
    """

    late: Share
    quantile: Callable[[float], tuple[float, float, float]]
    observations: float
    model: str
    more: float | None = None


def simulate(
    plan: Plan,
    instance: Instance,
    *,
    model: Literal["requests", "fluid"] = "requests",
    slots: int | None = None,
    budget: int = BUDGET,
    trials: int = 32,
    seed: int = 0,
    threads: int | None = None,
    confidence: float = 0.95,
    probabilities: Sequence[float] = (0.99, 0.999),
    arrivals: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> SimulationResult:
    """Monte-Carlo of a plan, by whole requests in continuous time or as the fluid in slots of the calculus.

    Every distinct entry (arrivals, path, rates) is simulated once, in independent trials, and every milestone
    as the part of the path that it is about. Whole requests are
    added until the interval of the violation probability lies on one side of ε or ``budget`` is spent.

    Parameters
    ----------
    model : {"requests", "fluid"}
        Whole requests (domains that cut through excepted), or work that moves on while it is served and waits
        for the ends of slots. Promises about instants are always those of the fluid.
    slots : int, optional
        Simulated time of an entry in all trials together. Default: until it is decided; of the fluid enough
        for some 3,000 violations at ε, between 1 and 20 million.
    budget : int
        Requests of an entry at most.
    confidence : float
        Of every interval, all looks at it together.
    arrivals : mapping, optional
        Replaces the arrivals of tenants by their id with other models in slots, such as a recorded trace.

    Returns
    -------
    SimulationResult

    Raises
    ------
    InstanceError
        Where the plan does not fit the instance.
    """
    served = [entry for entry in plan.tenants if entry.admitted and entry.count > 0]
    whole = Paths(instance)
    entries = [(entry, instance, whole, "") for entry in served]
    for part in parts_of(instance):
        first = Paths(part.instance)
        entries += [
            (entry_up_to(entry, part), part.instance, first, part.until)
            for entry in served
            if entry.id in part.place
        ]
    done: dict[tuple[Any, ...], Seen | str] = {}
    results: list[TenantResult] = []
    skipped: dict[str, None] = {}
    run = Run(model, slots, budget, trials, seed, threads, confidence)

    def told(entries_done: float) -> None:
        if progress is not None:
            progress(int(entries_done * trials), len(entries) * trials)

    for number, (entry, about, paths, until) in enumerate(entries):
        path = paths.entry(entry)
        rates = paths.rates(entry)
        other = (arrivals or {}).get(entry.id)
        law = path.arrival if other is None else other
        key: tuple[Any, ...] = (law, tuple(entry.path), tuple(rates), path.deadline, path.log_epsilon)
        if not _hashable(key):
            key = (number,)
        if key not in done:
            size = getattr(instance.tenant(entry.id).arrivals, "request_size", None)
            done[key] = run.entry(path, rates, other, size, partial(_add, told, number))
        seen = done[key]
        if isinstance(seen, str):
            skipped[f"{entry.id}: {seen}"] = None
        else:
            found = _summary(entry, path, seen, about, law, probabilities)
            results.append(replace(found, until=until))
        told(number + 1)
    return SimulationResult(tuple(results), seed, trials, confidence, tuple(skipped))


@dataclass(frozen=True)
class Run:
    """How entries are simulated."""

    model: str
    slots: int | None
    budget: int
    trials: int
    seed: int
    threads: int | None
    confidence: float

    def entry(
        self, path: Path, rates: np.ndarray, other: Any, size: Any, progress: Callable[[float], None]
    ) -> Seen | str:
        """One entry; the reason where it cannot be simulated."""
        try:
            if self.model == FLUID or not path.per_request:
                return self._fluid(path, rates, other, progress)
            system = request_system(path, rates, arrivals=other, request_size=size, seed=self.seed)
        except TypeError as error:
            return str(error)
        return self._requests(system, path, progress)

    def _requests(self, system: System, path: Path, progress: Callable[[float], None]) -> Seen:
        """Whole requests, more and more, until the interval lies on one side of ε; split after a first look
        where late ones are rare."""
        epsilon = math.exp(path.log_epsilon)
        looks = self._looks(system)
        rare = self.slots is None and epsilon <= RARE and splitting.applies(system)
        one_look = 1 - (1 - self.confidence) / (1 + SPLIT_LOOKS if rare else len(looks))
        counts, late = None, Share(math.nan, 0.0, 1.0, 0.0)
        for number, count in enumerate(looks[:1] if rare else looks):
            more = whole_requests.simulate(
                system,
                count,
                trials=self.trials,
                warmup=settling(system, count),
                deadlines=(path.deadline,),
                seed=np.random.SeedSequence((self.seed, number)),
                threads=self.threads,
            )
            counts = more if counts is None else counts.and_more(more)
            late = late_share(counts, path.deadline, one_look)
            if _decided(late, epsilon):
                break
            progress(counts.requests / sum(looks))
        assert counts is not None
        total = float(counts.requests * self.trials)
        if rare and not _decided(late, epsilon):
            late, served = self._split(system, path.deadline, epsilon, one_look, progress)
            total += served
        quantile = _cell_quantile(counts, self.confidence)
        return Seen(late, quantile, total, WHOLE, _missing(late, epsilon, total))

    def _split(
        self,
        system: System,
        deadline: float,
        epsilon: float,
        one_look: float,
        progress: Callable[[float], None],
    ) -> tuple[Share, int]:
        """A promise too rare to be counted, by splitting; requests served, copies included."""
        served, requests, late = 0, SPLIT_REQUESTS, Share(math.nan, 0.0, 1.0, 0.0)
        for number in range(SPLIT_LOOKS):
            found = splitting.violation(
                system,
                deadline,
                requests=requests,
                warmup=settling(system, requests),
                enough=epsilon / 16,
                seed=(self.seed, number),
                threads=self.threads,
            )
            served += found.served
            late = found.share(one_look)
            more = min(float(GROWTH), (self.budget - served) / found.served)
            if _decided(late, epsilon) or more < 1.0:
                break
            progress(served / self.budget)
            requests = int(more * requests)
        return late, served

    def _looks(self, system: System) -> list[int]:
        """Requests of a trial that are added before each look."""
        if self.slots is not None:
            return [max(1, round(self.slots * system.source.rate / self.trials))]
        total, looks = 0, []
        while total < self.budget:
            wanted = min(self.budget, max(FIRST_LOOK, GROWTH * total))
            looks.append(max(1, (wanted - total) // self.trials))
            total = wanted
        return looks

    def _fluid(self, path: Path, rates: np.ndarray, other: Any, progress: Callable[[float], None]) -> Seen:
        """The fluid in slots, over a length chosen beforehand."""
        simulated = slot_path(path, rates, arrivals=other, seed=self.seed)
        epsilon, allowed = math.exp(path.log_epsilon), allowed_slots(path)
        wanted = self.slots or enough_slots(epsilon, simulated.arrivals.mean)
        counts = slot_simulator.simulate(
            simulated,
            max(1, -(-wanted // self.trials)),
            trials=self.trials,
            bins=max(slot_simulator.BINS, 4 * max(allowed, 0)),
            seed=self.seed,
            threads=self.threads,
            progress=lambda done, total: progress(done / total),
        )
        delays = counts.requests if path.per_request else counts.instants.astype(float)
        plain = not path.per_request or counts_requests(path.arrival if other is None else other)
        observations = float(delays.sum() if plain else counts.instants.sum())
        late = Share(1.0, 1.0, 1.0, observations)
        if allowed >= 0:
            late = tail_share(delays, allowed, self.confidence, observations)
        latency = float(path.latencies.sum())

        def quantile(probability: float) -> tuple[float, float, float]:
            found = quantile_interval(delays, probability, self.confidence, observations)
            return found[0] + latency, found[1] + latency, found[2] + latency

        return Seen(late, quantile, observations, FLUID, _missing(late, epsilon, observations))


def enough_slots(epsilon: float, requests_per_slot: float) -> int:
    """Slots for some 3,000 violations at ε, between 1 and 20 million."""
    wanted = VIOLATIONS_WANTED / max(epsilon * min(1.0, requests_per_slot), 1e-12)
    return int(min(max(wanted, LEAST_SLOTS), MOST_SLOTS))


def _cell_quantile(
    counts: whole_requests.Delays, confidence: float
) -> Callable[[float], tuple[float, float, float]]:
    """Quantiles of the delays, (estimate, low, high) in slots, from their cells."""
    bounds = edges()

    def quantile(probability: float) -> tuple[float, float, float]:
        low, middle, high = sorted(quantile_interval(counts.cells, probability, confidence))
        return float(bounds[middle + 1]), float(bounds[low]), float(bounds[high + 1])

    return quantile


def _decided(late: Share, epsilon: float) -> bool:
    """Whether an interval lies on one side of ε."""
    return late.high <= epsilon or late.low > epsilon


def _missing(late: Share, epsilon: float, observations: float) -> float | None:
    """Observations beyond those made at which the interval would leave ε, None where it has or never will."""
    if _decided(late, epsilon) or late.estimate == epsilon:
        return None
    width = late.high - late.estimate if late.estimate < epsilon else late.estimate - late.low
    return observations * ((width / (epsilon - late.estimate)) ** 2 - 1)


def _summary(
    entry: TenantPlan,
    path: Path,
    seen: Seen,
    instance: Instance,
    law: Any,
    probabilities: Sequence[float],
) -> TenantResult:
    """The delays of an entry as probabilities and quantiles in the instance's own units of time."""
    tenant = instance.tenant(entry.id)
    links = tenant.slo.deadline - path.deadline * instance.slot
    quantiles = {}
    for probability in probabilities:
        estimate, low, high = (value * instance.slot + links for value in seen.quantile(probability))
        quantiles[probability] = Quantile(estimate, low, high)
    known = path.arrival
    own = isinstance(law, Trace) and isinstance(known, Trace) and np.array_equal(law.work, known.work)
    notes = [*remarks(path, law, seen.model == WHOLE), *_unlearned(entry)]
    if own:
        notes.append("the very record that the plan rests on is replayed: no independent evidence")
    elif isinstance(law, Trace) and isinstance(known, Table):
        notes.append("if the envelope was fitted to the replayed record, this is no independent evidence")
    return TenantResult(
        id=entry.id,
        path=tuple(entry.path),
        count=entry.count,
        requests=seen.observations,
        epsilon=math.exp(path.log_epsilon) if entry.learned else tenant.slo.epsilon,
        deadline=tenant.slo.deadline,
        violation=seen.late,
        quantiles=quantiles,
        log_bound=theorem_log_bound(entry),
        notes=tuple(notes),
        model=seen.model,
        more=seen.more,
        independent=not own,
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


def _add(told: Callable[[float], None], before: float, part: float) -> None:
    told(before + part)


def _hashable(key: object) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True
