"""Packets through a tandem of first-in first-out servers, compiled.

Lindley's recursion in relative form, fused over the domains: with g the gap to the packet before (at the
entrance of a domain) and T its sojourn there, the wait is [T − g]⁺, the new sojourn T' = wait + service, and
the gap at the next domain g + T' − T. No absolute time occurs, so a run of any length keeps full precision,
and fixed shifts (propagation) only add their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedopt.kernels import kernel
from fedopt.simulate import quantiles as q
from fedopt.simulate import sources
from fedopt.simulate.laws import EXPONENTIAL, Law, draw
from fedopt.simulate.quantiles import CELLS, Sketch, cell, push
from fedopt.simulate.sources import RENEWAL, Source, next_gap
from fedopt.simulate.streams import exponential, mix, streams, word_at
from fedopt.simulate.trials import Progress, over_blocks

LARGEST_TOP = 65_536
"""Most samples kept per trial for an exact quantile; beyond, quantiles come from the sketch."""

_SOURCE_WORDS = np.uint64(0x589965CC75374CC3)


@dataclass(frozen=True)
class Tandem:
    """A source, one service law per domain, and the fixed shifts (propagation) between them."""

    source: Source
    services: tuple[Law, ...]
    shifts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.services:
            raise ValueError("a tandem needs at least one server")
        object.__setattr__(self, "services", tuple(self.services))
        object.__setattr__(self, "shifts", tuple(self.shifts))
        if any(shift < 0 for shift in self.shifts):
            raise ValueError("shifts must not be negative")

    @property
    def shift(self) -> float:
        """Sum of the shifts."""
        return float(sum(self.shifts))

    @property
    def load(self) -> float:
        """Load of the busiest server."""
        return self.source.rate * max(law.mean for law in self.services)


@dataclass(frozen=True)
class Estimate:
    """A mean over independent trials with its standard error."""

    mean: float
    error: float

    def interval(self, deviations: float = 1.96) -> tuple[float, float]:
        """Mean ± ``deviations`` standard errors."""
        return self.mean - deviations * self.error, self.mean + deviations * self.error


def estimate(values: np.ndarray) -> Estimate:
    """Mean and standard error of independent values (nan error for a single one)."""
    error = float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")
    return Estimate(float(values.mean()), error)


@dataclass(frozen=True)
class TandemRun:
    """What the trials of a tandem showed; delays are end-to-end sojourn times (or waits) with the shifts
    included.
    """

    packets: int
    probabilities: tuple[float, ...]
    deadlines: tuple[float, ...]
    quantiles: np.ndarray
    means: np.ndarray
    violations: np.ndarray
    sketch: Sketch = field(repr=False)
    shift: float = 0.0

    @property
    def trials(self) -> int:
        """Number of independent trials."""
        return int(self.means.shape[0])

    def mean_quantile(self, probability: float) -> Estimate:
        """Mean over trials of a trial's sample quantile (type 7); a short trial underestimates the true
        quantile.
        """
        return estimate(self.quantiles[:, self.probabilities.index(probability)])

    def quantile(self, probability: float) -> float:
        """Quantile of all packets of all trials together, from the sketch (0.1 % of the queueing part)."""
        return self.sketch.quantile(probability) + self.shift

    def violation(self, deadline: float) -> Estimate:
        """P(delay > deadline) with a standard error over trials."""
        return estimate(self.violations[:, self.deadlines.index(deadline)] / self.packets)


@kernel
def _run(
    kind,
    gap,
    size,
    rates,
    leave,
    source_table,
    service,
    service_tables,
    table_starts,
    packets,
    warmup,
    only_waits,
    thresholds,
    stream,
    tops,
    means,
    violations,
    counts,
    kept,
):
    domains = service.shape[0]
    sojourn = np.empty(domains)
    state = np.empty(4)
    code = np.empty(domains, dtype=np.int64)
    for d in range(domains):
        code[d] = np.int64(service[d, 0])
    poisson = kind == RENEWAL and gap[0] == EXPONENTIAL
    renewal = kind == RENEWAL
    lowest = thresholds[0] if thresholds.shape[0] else np.inf
    counting = counts.shape[0] > 1
    keeping = kept.shape[0] > 1
    for trial in range(stream.shape[0]):
        origin = stream[trial, 0]
        step = stream[trial, 1]
        own = mix(origin + _SOURCE_WORDS)
        sources.start(kind, leave[0], leave[1], source_table, own, step, state)
        heap = tops[trial]
        heap[:] = -1.0
        least = -1.0
        total = 0.0
        sojourn[:] = 0.0
        index = np.int64(0)
        for packet in range(-warmup, packets):
            if poisson:
                g = gap[1] * exponential(word_at(origin, step, index))
                index += 1
            elif renewal:
                g = draw(gap[0], gap[1], gap[2], gap[3], source_table, word_at(origin, step, index))
                index += 1
            else:
                g = next_gap(kind, gap, size, rates, leave, source_table, own, step, state)
            delay = 0.0
            for d in range(domains):
                word = word_at(origin, step, index)
                index += 1
                if code[d] == EXPONENTIAL:
                    s = service[d, 1] * exponential(word)
                else:
                    table = service_tables[table_starts[d] : table_starts[d + 1]]
                    s = draw(code[d], service[d, 1], service[d, 2], service[d, 3], table, word)
                before = sojourn[d]
                wait = max(before - g, 0.0)
                now = wait + s
                g += now - before
                sojourn[d] = now
                delay += wait if only_waits else now
            if packet < 0:
                continue
            total += delay
            if delay > least:
                push(heap, delay)
                least = heap[0]
            if delay > lowest:
                for j in range(thresholds.shape[0]):
                    if delay > thresholds[j]:
                        violations[trial, j] += 1
            if counting:
                counts[cell(delay)] += 1
            if keeping:
                kept[packet] = delay
        heap.sort()
        means[trial] = total / packets


_kernel: Any = _run


def _rows(laws: Sequence[Law]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Laws as arrays: rows (code, a, b, c), their tables end to end, and where each table starts."""
    rows = np.array([(float(law.code), *law.parameters[:3]) for law in laws])
    starts = np.concatenate([[0], np.cumsum([law.table.size for law in laws])]).astype(np.int64)
    return rows, np.concatenate([law.table for law in laws]), starts


def _prepared(tandem: Tandem) -> tuple[Any, ...]:
    source = tandem.source
    service, tables, starts = _rows(tandem.services)
    gap = np.array((float(source.gap.code), *source.gap.parameters[:3]))
    size = np.array((float(source.size.code), *source.size.parameters[:3]))
    table = source.gap.table if source.gap.table.size > 1 else source.size.table
    return (
        source.kind, gap, size, np.array(source.rates), np.array(source.leave), table, service, tables, starts
    )  # fmt: skip


def simulate(
    tandem: Tandem,
    packets: int,
    *,
    trials: int = 1,
    warmup: int = 0,
    probabilities: Sequence[float] = (0.999,),
    deadlines: Sequence[float] = (),
    waits: bool = False,
    sketch: bool = True,
    seed: int | np.random.SeedSequence = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> TandemRun:
    """Run independent trials of a tandem, each from empty, and summarise the end-to-end delays.

    ``packets`` are counted per trial after ``warmup`` uncounted ones. ``waits`` sums the waiting times only
    (no services). Memory: per trial the ``top_size(packets, p)`` largest delays while its block runs (at most
    ``LARGEST_TOP``; beyond, a trial's quantiles are nan and the pooled sketch serves), per block 0.5 MB of
    sketch. Results depend on the seed and the trial count alone, not on ``threads``.
    """
    if packets < 1 or trials < 1 or warmup < 0:
        raise ValueError(f"need packets >= 1, trials >= 1, warmup >= 0, got {packets}, {trials}, {warmup}")
    arrays = _prepared(tandem)
    shift = tandem.shift
    sizes = [q.top_size(packets, p) for p in probabilities]
    within = [size for size in sizes if size <= LARGEST_TOP]
    top = max(within, default=1)
    order = np.sort(np.asarray(deadlines, dtype=float)) - shift
    block = max(1, min(64, -(-trials // 8), 4_000_000 // max(top, 1) + 1))

    def work(first: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        tops = np.empty((count, top))
        means = np.empty(count)
        violations = np.zeros((count, order.size), dtype=np.int64)
        counts = np.zeros(CELLS if sketch else 1, dtype=np.int64)
        _kernel(
            *arrays, packets, warmup, waits, order, streams(seed, count, first),
            tops, means, violations, counts, np.empty(1),
        )  # fmt: skip
        columns = [
            q.from_top(tops[:, top - size :], packets, p) if size <= top else np.full(count, np.nan)
            for size, p in zip(sizes, probabilities, strict=True)
        ]
        return np.stack(columns, axis=1) if columns else np.empty((count, 0)), means, violations, counts

    parts = []
    counts = np.zeros(CELLS, dtype=np.int64)
    for quantiles, means, violations, counted in over_blocks(work, trials, block, threads, progress):
        parts.append((quantiles, means, violations))
        counts += counted
    sorted_deadlines = sorted(float(d) for d in deadlines)
    return TandemRun(
        packets=packets,
        probabilities=tuple(probabilities),
        deadlines=tuple(sorted_deadlines),
        quantiles=np.concatenate([p[0] for p in parts]) + shift,
        means=np.concatenate([p[1] for p in parts]) + shift,
        violations=np.concatenate([p[2] for p in parts]),
        sketch=Sketch(counts),
        shift=shift,
    )


def delays(
    tandem: Tandem,
    packets: int,
    *,
    warmup: int = 0,
    waits: bool = False,
    seed: int | np.random.SeedSequence = 0,
    trial: int = 0,
) -> np.ndarray:
    """The delays of every packet of one trial, in order; the same numbers that ``simulate`` summarises."""
    kept = np.empty(max(packets, 2))
    _kernel(
        *_prepared(tandem), packets, warmup, waits, np.empty(0), streams(seed, 1, trial), np.empty((1, 1)),
        np.empty(1), np.zeros((1, 0), dtype=np.int64), np.zeros(1, dtype=np.int64), kept,
    )  # fmt: skip
    return kept[:packets] + tandem.shift
