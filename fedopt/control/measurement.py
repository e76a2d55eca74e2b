"""From a period's packets to evidence: late requests by tenant, reports by offer, audits of the worst."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from fedopt.audit import Audit, Promise, Settings, audit
from fedopt.audit.attribution import Blame, Segment, attribute
from fedopt.contracts.measuring import Measured, measure_impairment
from fedopt.control.environment import Moment
from fedopt.control.hidden import TOLERANCE, Answers, Ask, HiddenServer, answered, delays_in
from fedopt.control.packets import (
    BATCHES,
    SHARE,
    WINDOW,
    Observed,
    impairment_of,
    listen,
    probe,
    reference_level,
)
from fedopt.control.settings import SETTINGS
from fedopt.instance import Instance
from fedopt.plan import TenantPlan
from fedopt.plan.paths import Paths
from fedopt.simulate.paths import allowed_slots, slot_path
from fedopt.simulate.slot_work import slot_work
from fedopt.simulate.slots import SlotPath
from fedopt.simulate.trials import thread_count

if TYPE_CHECKING:
    from fedopt.calculus.path import Path

__all__ = ["Observer", "Period", "audit_worst", "blame", "refuting", "remeasure"]


@dataclass(eq=False)
class Period:
    """What a period told: by tenant, requests and late ones of each batch (BATCHES,); by offer, windows
    above the reference and their excess, and how many windows a batch holds; and the answers of domains
    without a contract.
    """

    sent: dict[str, np.ndarray] = field(default_factory=dict)
    late: dict[str, np.ndarray] = field(default_factory=dict)
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    excess: dict[str, np.ndarray] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    answers: list[Answers] = field(default_factory=list)

    def share(self, tenant: str) -> float:
        """The part of a tenant's requests that was late."""
        sent = float(self.sent[tenant].sum())
        return float(self.late[tenant].sum()) / sent if sent > 0 else 0.0


class Observer:
    """Runs periods of tenants on an instance as it truly is."""

    def __init__(self, slots: int, seed: int, threads: int | None = None) -> None:
        self.slots = slots
        self.seed = seed
        self.threads = thread_count(threads)
        self._levels: dict[str, tuple[float, float]] = {}
        self._paths: dict[tuple[Any, ...], tuple[SlotPath, int]] = {}

    def reference(self, subject: str, impairment: Any, slot: float) -> tuple[float, float]:
        """The reference level and share of a law that a domain promised; the same for the same law."""
        key = impairment.model_dump_json()
        if key not in self._levels:
            from fedopt.laws import build

            self._levels[key] = reference_level(slot_work(build(impairment, slot)), self.seed)
        return self._levels[key]

    def run(
        self,
        truth: Instance,
        moment: Moment,
        entries: Sequence[TenantPlan],
        promised: Mapping[str, Any],
        hidden: Mapping[str, HiddenServer] | None = None,
        asks: Mapping[str, Mapping[str, Ask]] | None = None,
    ) -> Period:
        """One period of every entry; `promised` holds the impairment each offer promised, by name.

        hidden: what offers without a contract truly are; asks: what each entry asks of them, by entry and
        offer.
        """
        jobs = [self.job(truth, moment, entry) for entry in entries]
        levels = {name: self.reference(name, law, truth.slot) for name, law in promised.items()}

        def work(number: int) -> tuple[Observed, np.ndarray, np.ndarray, list[Answers]]:
            (path, allowed), entry = jobs[number], entries[number]
            at = np.array([levels[hop][0] if hop in levels else np.inf for hop in entry.path])
            stream = self.stream(moment.period, entry.id)
            observed = listen(path, self.slots, stream, at)
            lost, answers = None, []
            if asks is not None and hidden is not None and asks.get(entry.id):
                own = asks[entry.id]
                places = {place: hop for place, hop in enumerate(entry.path) if hop in own}
                servers = {place: hidden[hop] for place, hop in places.items()}
                lost = np.zeros(self.slots, dtype=bool)
                for place, delay in delays_in(path, servers, self.slots, stream).items():
                    ask = own[places[place]]
                    lost |= delay > ask.promised / truth.slot + TOLERANCE
                    answers.append(answered(entry.id, ask, delay, observed.weight, truth.slot))
            return (observed, *observed.late(allowed, lost), answers)

        found = Period()
        windows = self.slots // WINDOW // BATCHES
        for entry, (observed, sent, late, answers) in zip(
            entries, self._spread(work, len(jobs)), strict=True
        ):
            found.sent[entry.id], found.late[entry.id] = sent, late
            found.answers.extend(answers)
            for place, hop in enumerate(entry.path):
                if hop in levels:
                    found.counts[hop] = found.counts.get(hop, 0) + observed.counts[place]
                    found.excess[hop] = found.excess.get(hop, 0.0) + observed.excess[place]
                    found.windows[hop] = found.windows.get(hop, 0) + windows
        return found

    def probe(self, truth: Instance, moment: Moment, subject: str, promised: Any, period: Period) -> None:
        """Add the report of an offer that nobody crosses: its domain sees its own traffic all the same."""
        from fedopt.laws import build

        level, _ = self.reference(subject, promised, truth.slot)
        law = slot_work(build(truth.offer(subject)[1].impairment, truth.slot))
        if np.isfinite(level) and law.mean > 0:
            counts, excess = probe(law, level, self.slots, self.stream(moment.period, subject))
        else:
            counts, excess = np.zeros(BATCHES, dtype=np.int64), np.zeros(BATCHES)
        period.counts[subject], period.excess[subject] = counts, excess
        period.windows[subject] = self.slots // WINDOW // BATCHES

    def again(self, truth: Instance, moment: Moment, entry: TenantPlan) -> Observed:
        """The same packets of one tenant once more, with their delays in time order."""
        path, _ = self.job(truth, moment, entry)
        return listen(
            path, self.slots, self.stream(moment.period, entry.id), np.full(len(entry.path), np.inf)
        )

    def stream(self, period: int, tenant: str) -> np.random.SeedSequence:
        """The random numbers of a tenant in a period: the same whatever else happens."""
        return np.random.SeedSequence([self.seed, period, crc32(tenant.encode()), len(tenant)])

    def _spread(self, work: Callable[[int], Any], count: int) -> list[Any]:
        if self.threads == 1 or count < 2:
            return [work(number) for number in range(count)]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(work, range(count)))

    def job(self, truth: Instance, moment: Moment, entry: TenantPlan) -> tuple[SlotPath, int]:
        tenant = truth.tenant(entry.id)
        key = (
            tenant.arrivals.model_dump_json(),
            tenant.slo.deadline,
            tuple((hop, truth.offer(hop)[1].model_dump_json()) for hop in entry.path),
            tuple(entry.reservations.values()),
            tuple(entry.learned.items()),
            moment.failed,
        )
        if key not in self._paths:
            if len(self._paths) > 20_000:
                self._paths.clear()
            paths = Paths(truth)
            path: Path = paths.entry(entry)
            rates = np.array(
                [
                    0.0 if domain in moment.failed else rate
                    for (domain, _), rate in zip(entry.hops(), paths.rates(entry), strict=True)
                ]
            )
            self._paths[key] = (slot_path(path, rates), allowed_slots(path))
        return self._paths[key]


def remeasure(
    observer: Observer,
    truth: Instance,
    moment: Moment,
    entries: Sequence[TenantPlan],
    subject: str,
    promised: Any,
    confidence: float,
) -> Measured | None:
    """A domain's envelope of one offer, measured anew from the work it took away in this period.

    From the slots of a few tenants (`Settings`), at tilts up to 0.8 of the promised law's limit; with
    the negative side where the promised law declares independent slots. None where nothing can be supported.
    """
    from fedopt.laws import build

    law = build(promised, truth.slot)
    crossing = sorted((entry for entry in entries if subject in entry.path), key=lambda entry: entry.id)
    series = [
        impairment_of(
            observer.job(truth, moment, entry)[0],
            entry.path.index(subject),
            observer.slots,
            observer.stream(moment.period, entry.id),
        )
        for entry in crossing[: SETTINGS.measured_tenants]
    ]
    if not series or not law.mean > 0:
        return None
    independent = bool(getattr(law, "iid", False))
    top = min(0.8 * float(law.theta_max), 20.0 / float(law.mean))
    try:
        return measure_impairment(
            np.concatenate(series),
            np.geomspace(top / 100, top, SETTINGS.measured_tilts),
            slot=truth.slot,
            confidence=confidence,
            independent_increments=independent,
            negative=independent,
        )
    except ValueError:
        return None  # too short or too heavy for any tilt


def blame(period: Period, shares: Mapping[str, float], alarm: float) -> list[Blame]:
    """Which offers exceed the reference of their contracts significantly, the most suspicious first."""
    reports = {
        name: Segment(
            min(SETTINGS.tolerated_exceedances * shares.get(name, SHARE), 0.5),
            period.windows[name],
            tuple(int(count) for count in period.counts[name]),
            tuple(float(value) for value in period.excess[name]),
        )
        for name in sorted(period.counts)
        if period.windows[name] > 0
    }
    return attribute(reports, 1 - alarm) if reports else []


def audit_worst(
    observer: Observer,
    truth: Instance,
    moment: Moment,
    entries: Sequence[TenantPlan],
    period: Period,
    subject: str,
    worst: int,
    confidence: float,
) -> Audit | None:
    """Audit the tenants that cross an offer and were late most, in proportion to what they may be.

    Delays are end to end in units of time. None where no series has a tail to fit.
    """
    crossing = [entry for entry in entries if subject in entry.path]
    crossing.sort(key=lambda e: (-period.share(e.id) / truth.tenant(e.id).slo.epsilon, e.id))
    paths = Paths(truth)
    series: dict[str, Audit] = {}
    for entry in crossing[:worst]:
        slo = truth.tenant(entry.id).slo
        path = paths.entry(entry)
        fixed = slo.deadline - (path.deadline - float(path.latencies.sum())) * truth.slot
        queueing = observer.again(truth, moment, entry).series() * truth.slot
        settings = Settings(
            probabilities=(1 - min(10 * slo.epsilon, 0.1), 1 - slo.epsilon),
            confidence=confidence,
            grid=truth.slot,
        )
        promise = Promise(deadline=slo.deadline - fixed, epsilon=slo.epsilon, log_bound=entry.log_bound)
        try:
            series[entry.id] = _moved(audit(queueing, promise, settings), fixed, entry.id)
        except ValueError:
            continue  # too little to fit: this series says nothing of its tail
    if not series:
        return None
    first = next(iter(series.values()))
    return first.model_copy(update={"series": series}) if len(series) > 1 else first


def refuting(found: Audit) -> Audit:
    """The audit with the lower end of every interval in the place of the upper one.

    Where an envelope rests on a measurement of its own, it is raised as far as the audited tails refute it,
    not as far as they might: near saturation the upper ends of intervals of one period lie anywhere.
    """

    def lowered(one: Audit) -> Audit:
        quantiles = {
            name: row.model_copy(update={"interval": (row.interval[0], row.interval[0])})
            for name, row in one.quantiles.items()
        }
        chance = one.violation
        if chance is not None:
            chance = chance.model_copy(update={"interval": (chance.interval[0], chance.interval[0])})
        return one.model_copy(update={"quantiles": quantiles, "violation": chance})

    return lowered(found).model_copy(
        update={"series": {name: lowered(part) for name, part in found.series.items()}}
    )


def _moved(found: Audit, by: float, name: str) -> Audit:
    """An audit of queueing delays as one of end-to-end delays: everything later by what is fixed."""

    def ends(pair: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
        low, high = pair
        return (None if low is None else low + by, None if high is None else high + by)

    quantiles = {
        key: row.model_copy(
            update={
                "estimate": row.estimate + by,
                "interval": ends(row.interval),
                "empirical": row.empirical + by,
                "empirical_interval": ends(row.empirical_interval),
            }
        )
        for key, row in found.quantiles.items()
    }
    promise = found.promise
    violation = found.violation
    return found.model_copy(
        update={
            "name": name,
            "quantiles": quantiles,
            "threshold": found.threshold + by,
            "mean": found.mean + by,
            "maximum": found.maximum + by,
            "thresholds": [],
            "mean_residual_life": [],
            "promise": None
            if promise is None
            else promise.model_copy(update={"deadline": promise.deadline + by}),
            "violation": None
            if violation is None
            else violation.model_copy(update={"level": violation.level + by}),
        }
    )
