"""Whole requests in continuous time: one compiled kernel for first-in first-out servers and pools.

A request crosses the stages of its path in order. Each stage has a server of its own for the tenant:

- *whole* (store and forward): the stage hands a request on when all of it is done, so the next one begins
  with it then;
- *cut-through*: work moves on to the next stage while it is being served;
- a *pool* of c servers of one speed: the first waiting request takes the first server that is free; requests
  may overtake each other, and the next stage takes them in the order in which they come;
- *impairments* are work with priority: it pre-empts, and what is not yet served carries over. A law per slot
  brings its work at the starts of slots, a Poisson law at its own instants.

After each stage there is a fixed delay (latency, propagation). The unit of time is the caller's slot, which
only laws per slot notice. Requests are worked off in chunks, stage by stage; times count from the last
arrival of the chunk before, so a run of any length keeps its precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fedopt.kernels import kernel
from fedopt.simulate import slot_work as sw
from fedopt.simulate import traffic
from fedopt.simulate.estimates import (
    CELLS,
    Estimate,
    Share,
    Sketch,
    cell,
    edges,
    estimate,
    from_top,
    push,
    tail_share,
)
from fedopt.simulate.slot_work import SlotWork, laws_of
from fedopt.simulate.stages import (
    CUT_THROUGH,
    FREE,
    NEXT,
    NOW,
    POOL,
    STATE,
    STREAM,
    WHOLE,
    cross,
    prepare,
)
from fedopt.simulate.streams import mix, streams, uniform
from fedopt.simulate.traffic import Law, Source
from fedopt.simulate.trials import Progress, over_blocks

CHUNK = 512
NOTHING = SlotWork(sw.NONE, (0.0, 0.0, 0.0), 0.0, np.zeros(1), np.zeros(1))
_ARRIVALS, _SIZES = np.uint64(0x589965CC75374CC3), np.uint64(0x2545F4914F6CDD1D)


@dataclass(frozen=True)
class Stage:
    """One domain of a path as the tenant meets it.

    Attributes:
        rate: work per slot of the tenant's server; in a pool the speed of one server.
        impairment: work with priority; None or a law without work for none.
        delay: slots between the end of service and the next stage.
        cut_through: whether work moves on while it is being served.
        servers: 0 for the tenant's own server, else the number of servers of a pool.
        stream: number of the random stream of the impairment; stages of one number and law are impaired by
            one process. Negative: a stream of its own.
    """

    rate: float
    impairment: SlotWork | None = None
    delay: float = 0.0
    cut_through: bool = False
    servers: int = 0
    stream: int = -1

    def __post_init__(self) -> None:
        if not self.rate >= 0 or not self.delay >= 0 or self.servers < 0:
            raise ValueError("rates, delays and numbers of servers must not be negative")
        if self.servers and (self.cut_through or self.mean > 0):
            raise ValueError("a pool of servers forwards whole requests and takes no impairment")

    @property
    def mean(self) -> float:
        """Mean work per slot of the impairment."""
        return 0.0 if self.impairment is None else self.impairment.mean


@dataclass(frozen=True)
class System:
    """A tenant's requests and the stages they cross.

    ``sizes``: one law for a size common to all stages, or one for each stage. Sizes of a replayed record take
    the place of the laws.
    """

    source: Source
    sizes: tuple[Law, ...]
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))
        object.__setattr__(self, "stages", tuple(self.stages))
        if not self.stages or len(self.sizes) not in (1, len(self.stages)):
            raise ValueError("a system needs a stage, and one law of sizes or one for each stage")

    @property
    def loads(self) -> np.ndarray:
        """Mean work over capacity of every stage, shape (L,)."""
        rate = self.source.rate
        return np.array(
            [
                (rate * self.sizes[min(i, len(self.sizes) - 1)].mean + stage.mean)
                / max(stage.rate * max(stage.servers, 1), 1e-300)
                for i, stage in enumerate(self.stages)
            ]
        )

    @cached_property
    def overtakes(self) -> bool:
        """Whether requests may change their order before the last stage."""
        return any(stage.servers > 1 for stage in self.stages[:-1])

    @cached_property
    def arrays(self) -> tuple[Any, ...]:
        """The system as the kernel takes it: the source, the sizes, the stages."""
        source = self.source
        table = source.gap.table if source.gap.table.size > 1 else source.size.table
        rows, tables, starts = _rows(self.sizes)
        arrivals = (
            source.kind, _row(source.gap), _row(source.size), np.array(source.rates), np.array(source.leave),
            table, source.recorded,
        )  # fmt: skip
        laws = [stage.impairment or NOTHING for stage in self.stages]
        kinds = [POOL if s.servers else CUT_THROUGH if s.cut_through else WHOLE for s in self.stages]
        stages = (
            np.array(kinds, dtype=np.int64),
            np.array([stage.rate for stage in self.stages], dtype=float),
            np.array([stage.delay for stage in self.stages], dtype=float),
            np.array([stage.servers for stage in self.stages], dtype=np.int64),
            np.array([s.stream if s.stream >= 0 else i for i, s in enumerate(self.stages)], dtype=np.int64),
            *laws_of(laws),
        )
        return arrivals, (rows, tables, starts), stages


def _row(law: Law) -> np.ndarray:
    return np.array((float(law.code), *law.parameters[:3]))


def _rows(laws: Sequence[Law]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Laws as arrays: rows (code, a, b, c), their tables end to end, and where each table starts."""
    starts = np.concatenate([[0], np.cumsum([law.table.size for law in laws])]).astype(np.int64)
    return np.array([_row(law) for law in laws]), np.concatenate([law.table for law in laws]), starts


@kernel
def _run(
    arrivals, works, stages, columns, stream, requests, warmup, after, chunk, waits, thresholds,
    tops, totals, late, cells, kept,
):  # fmt: skip
    kind, gap, batch, rates, leave, table, recorded = arrivals
    rows, tables, table_starts = works
    kinds, speeds, delays, servers = stages[0], stages[1], stages[2], stages[3]
    depth = kinds.shape[0]
    fixed = delays.sum()
    states, words = np.empty((depth, STATE)), np.zeros((depth, 1), dtype=np.int64)
    origins = np.empty(depth, dtype=np.uint64)
    source = np.empty(4)
    first_free = np.zeros(depth, dtype=np.int64)
    for i in range(1, depth):
        first_free[i] = first_free[i - 1] + servers[i - 1]
    free = np.empty(max(servers.sum(), 1))
    for trial in range(stream.shape[0]):
        origin, step = stream[trial, 0], stream[trial, 1]
        own, drawn = mix(origin + _ARRIVALS), mix(origin + _SIZES)
        phase = uniform(mix(origin + STREAM))
        traffic.start(kind, gap, leave, recorded, phase, own, step, source)
        prepare(stages, origin, step, phase, origins, states, words)
        free[:] = 0.0
        heap = tops[trial]
        heap[:] = -1.0
        least = -1.0
        lowest = thresholds[0] if thresholds.shape[0] else np.inf
        counting = cells.shape[1] > 1
        index = np.int64(0)
        done = -warmup
        while done < requests + after:
            count = min(chunk, requests + after - done)
            gaps, sizes = np.empty(count), np.empty((columns, count))
            traffic.fill(
                kind, gap, batch, rates, leave, table, recorded, own, step, source, rows, tables,
                table_starts, drawn, index, gaps, sizes,
            )  # fmt: skip
            index += count * columns
            came = np.cumsum(gaps)
            times = came.copy()
            cross(times, sizes, stages, origins, step, states, words, free, first_free)
            for n in range(max(0, -done), min(count, requests - done)):
                delay = times[n] - came[n]
                if waits:
                    for i in range(depth):
                        delay -= sizes[min(i, columns - 1), n] / speeds[i]
                    delay -= fixed
                totals[trial] += delay
                if delay > least:
                    push(heap, delay)
                    least = heap[0]
                if delay > lowest:
                    for j in range(thresholds.shape[0]):
                        if delay > thresholds[j]:
                            late[trial, j] += 1
                if counting:
                    cells[trial, cell(delay)] += 1
                if kept.shape[1] > 1:
                    kept[trial, done + n] = delay
            done += count
            last = came[-1]
            for i in range(depth):
                states[i, FREE] -= last
                states[i, NOW] -= last
                states[i, NEXT] -= last
            free -= last
        heap.sort()


_kernel: Any = _run
_crossing: Any = cross


@dataclass(frozen=True)
class Delays:
    """What independent trials of a system showed; delays are sojourn times in slots, fixed delays included.

    Attributes:
        requests: counted in each trial.
        deadlines: ascending.
        late: requests later than each deadline, shape (trials, deadlines).
        totals: sum of the delays, shape (trials,).
        cells: counts of the delays in the cells of a `Sketch`, shape (trials, CELLS); one column where they
            were not wanted.
        largest: the largest delays, ascending, shape (trials, top).
        kept: all delays in order, shape (trials, requests), where they were wanted.
    """

    requests: int
    deadlines: tuple[float, ...]
    late: np.ndarray
    totals: np.ndarray
    cells: np.ndarray
    largest: np.ndarray
    kept: np.ndarray

    def violation(self, deadline: float) -> Estimate:
        """P(delay > deadline), with the standard error between trials."""
        return estimate(self.late[:, self.deadlines.index(deadline)] / self.requests)

    def mean_quantile(self, probability: float) -> Estimate:
        """Mean over trials of a trial's sample quantile (type 7); a short trial underestimates the true one.

        Needs ``top_size(requests, probability)`` of the largest delays to have been kept.
        """
        return estimate(self.quantiles(probability))

    def quantiles(self, probability: float) -> np.ndarray:
        """Sample quantile (type 7) of every trial, shape (trials,)."""
        return from_top(self.largest, self.requests, probability)

    def quantile(self, probability: float) -> float:
        """Quantile of all requests of all trials together, from the cells (within 0.1 %)."""
        return Sketch(self.cells.sum(axis=0)).quantile(probability)

    def and_more(self, other: Delays) -> Delays:
        """The same trials with what further runs of the same system counted in them."""
        return replace(
            self,
            requests=self.requests + other.requests,
            late=self.late + other.late,
            totals=self.totals + other.totals,
            cells=self.cells + other.cells,
        )


ROUNDING = 1e-9
"""Relative to a deadline: by how much a delay must exceed it to be late, above accumulated rounding."""


def simulate(
    system: System,
    requests: int,
    *,
    trials: int = 1,
    warmup: int = 0,
    deadlines: Sequence[float] = (),
    cells: bool = True,
    top: int = 1,
    keep: bool = False,
    waits: bool = False,
    seed: int | np.random.SeedSequence = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Delays:
    """Run independent trials of a system, each from empty, and count the delays of its requests.

    Parameters
    ----------
    requests, trials, warmup : int
        Requests counted in each trial, after so many uncounted ones. Where requests may overtake each other
        in a pool before the last stage, a tenth as many come after the counted ones.
    deadlines : sequence of float
        Slots beyond which requests are counted as late.
    cells, top, keep : bool, int, bool
        Whether delays are sketched, how many of the largest are kept, whether all are.
    waits : bool
        Take a request's own service and all fixed delays off its delay (for stages without impairment).

    Returns
    -------
    Delays
        They depend on the seed and the trials alone, not on `threads`. Memory is 0.5 MB a trial for cells;
        where requests may overtake before the last stage, also some 50 bytes a request of a trial.
    """
    if requests < 1 or trials < 1 or warmup < 0:
        raise ValueError(f"need requests >= 1, trials >= 1, warmup >= 0, got {requests}, {trials}, {warmup}")
    arrivals, works, stages = system.arrays
    columns = max(len(system.sizes), system.source.columns)
    order = np.sort(np.asarray(deadlines, dtype=float))
    limits = order * (1 + ROUNDING)
    after = max(1000, requests // 10) if system.overtakes else 0
    chunk = warmup + requests + after if system.overtakes else CHUNK

    def work(first: int, count: int) -> tuple[np.ndarray, ...]:
        tops, totals = np.empty((count, top)), np.zeros(count)
        late = np.zeros((count, limits.size), dtype=np.int64)
        counts = np.zeros((count, CELLS if cells else 1), dtype=np.int64)
        kept = np.empty((count, max(requests, 2) if keep else 1))
        _kernel(
            arrivals, works, stages, columns, streams(seed, count, first), requests, warmup, after, chunk,
            waits, limits, tops, totals, late, counts, kept,
        )  # fmt: skip
        return late, totals, counts, tops, kept

    size = max(1, min(64, math.ceil(trials / 16)))
    parts = list(over_blocks(work, trials, size, threads, progress))
    late, totals, counts, tops, kept = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Delays(requests, tuple(map(float, order)), late, totals, counts, tops, kept[:, :requests])


def departures(system: System, times: np.ndarray, sizes: np.ndarray, seed: int = 0) -> np.ndarray:
    """The instants at which given requests leave, from empty; the source of the system is not used.

    times: of arrival, ascending, shape (n,); sizes: shape (n,) or (columns, n).
    """
    _, _, stages = system.arrays
    depth = len(system.stages)
    states, words = np.empty((depth, STATE)), np.zeros((depth, 1), dtype=np.int64)
    origins = np.empty(depth, dtype=np.uint64)
    origin, step = streams(seed, 1)[0]
    prepare(stages, origin, step, 0.0, origins, states, words)
    servers = np.array([stage.servers for stage in system.stages])
    first_free = np.concatenate([[0], np.cumsum(servers)[:-1]]).astype(np.int64)
    free = np.zeros(max(int(servers.sum()), 1))
    left = np.array(times, dtype=float)
    columns = np.atleast_2d(np.ascontiguousarray(sizes, dtype=float))
    _crossing(left, columns, stages, origins, step, states, words, free, first_free)
    return left


def settling(system: System, requests: int) -> int:
    """Requests before a trial of so many counts: an eighth of it, and ten relaxation times of the busiest
    stage taken as an M/M/1 queue."""
    load = min(float(system.loads.max()), 0.999)
    return max(requests // 8, min(math.ceil(10 * load / (1 - math.sqrt(load)) ** 2), 200_000))


def late_share(counts: Delays, deadline: float, confidence: float) -> Share:
    """P(delay > deadline) with its interval, from delays that were sketched."""
    place = int(np.searchsorted(edges(), deadline, side="right")) - 1
    late = counts.late[:, counts.deadlines.index(deadline)].astype(float)
    return tail_share(counts.cells, place, confidence, late=late)
