"""Rare late requests by splitting: no probability needs waiting for.

Requests form a Markov chain: the state is when each stage is free, its priority work and the phases of all
laws. The delay of a request says how near the next ones are to being late, so the levels 0 = l_0 < l_1 < … <
l_m of the delay, l_m the deadline, cut a rare event into m that are not rare. Whenever the delay of a request
rises above a level that its copy of the system has not been above since it was last below, the copy is split
into several with independent futures; a copy that falls below the level at which it was made ends (one of
them goes on), as in RESTART (Villén-Altamirano 1991). A copy above k levels carries the weight Π 1/splits, so
the weight of late requests over the weight of all is an unbiased ratio for every choice of levels: levels
only steer the variance. Trials are independent, intervals are taken between them.

It needs no formula of a law: whatever the kernel of whole requests can draw can be split, except requests
that overtake each other before the last stage, work that moves on while it is served, and stages that share
one random stream.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from fedopt.kernels import kernel
from fedopt.simulate import traffic
from fedopt.simulate.estimates import Share, clopper_pearson, push
from fedopt.simulate.requests import ROUNDING, System
from fedopt.simulate.stages import FREE, NEXT, NOW, STATE, prepare, serve
from fedopt.simulate.streams import mix, streams, uniform
from fedopt.simulate.trials import over_blocks

_CLONE = np.uint64(0xD6E8FEB86659FD93)
MOST_LEVELS = 48
_SEEN_IN = 8
"""Trials that must have met a delay for its probability to have an interval of its own."""
TRIALS = 64


@dataclass(frozen=True)
class RareLate:
    """P(delay > deadline) of whole requests.

    Attributes:
        probability, error: the estimate and its standard error between trials.
        levels: delays at which copies were made, slots.
        served: requests in all, copies included.
        trials: independent ones.
        requests: those of the originals.
        seen_in: trials that met a late request.
        above: probability of a delay above the last level, and its standard error: where late requests were
            hardly met, the upper end of the interval is that of this.
    """

    probability: float
    error: float
    levels: tuple[float, ...]
    served: int
    trials: int
    requests: int
    seen_in: int
    above: tuple[float, float]

    @property
    def relative_error(self) -> float:
        """Standard error over estimate."""
        return self.error / self.probability if self.probability > 0 else math.inf

    def share(self, confidence: float = 0.95) -> Share:
        """With a two-sided interval.

        Clopper and Pearson's for the effective number, with one standard error of the variance and Student's
        t on the safe side, as for delays that are counted.
        """
        if self.seen_in >= _SEEN_IN:
            return self._interval(self.probability, self.error, confidence)
        upper = self._interval(*self.above, confidence)
        return Share(self.probability, 0.0, upper.high, upper.effective)

    def _interval(self, probability: float, error: float, confidence: float) -> Share:
        side, freedom = 1 - (1 - confidence) / 2, self.trials - 1
        # independent requests that would tell as much
        effective = probability * (1 - probability) / error**2 if error > 0 else float(self.requests)
        effective /= 1 + math.sqrt(2 / freedom)
        effective *= float((student.ppf(side, max(effective, 2.0)) / student.ppf(side, freedom)) ** 2)
        effective = max(effective, 1.0)
        return Share(probability, *clopper_pearson(probability * effective, effective, confidence), effective)


@kernel
def _serve_one(size, stages, origins, step, states, words, free):
    """When a request leaves that arrives now; a pool may only be the last stage."""
    kinds, rates, delays, servers, _, codes, parameters, work, requests, starts = stages
    depth = kinds.shape[0]
    time = 0.0
    for i in range(depth):
        own = size[min(i, size.shape[0] - 1)]
        if servers[i] > 0:
            time = max(time, free[0]) + own / rates[i]
            push(free, time)
        else:
            table = slice(starts[i], starts[i + 1])
            time = serve(
                time, own, rates[i], codes[i], parameters[i], work[table], requests[table], origins[i], step,
                states[i], words[i],
            )  # fmt: skip
        time += delays[i]
    return time


@kernel
def _run(
    arrivals, works, stages, columns, stream, count, warmup, levels, copies, deadline, late, bins, served
):  # fmt: skip
    """Weights of the late requests of each trial, and of the requests by delay in bins up to the deadline.

    levels: ascending; copies: what becomes of one copy that rises above a level.
    """
    kind, gap, batch, rates, leave, table, recorded = arrivals
    rows, tables, table_starts = works
    depth, most = stages[0].shape[0], levels.shape[0]
    pool = max(stages[3][depth - 1], 1)
    room = 1 + most * (copies - 1)
    # a stack of copies, the last one running: stages, source, random streams, levels, last delay
    states, words = np.empty((room, depth, STATE)), np.empty((room, depth, 1), dtype=np.int64)
    origins, own = np.empty((room, depth), dtype=np.uint64), np.empty((room, 2), dtype=np.uint64)
    source, free = np.empty((room, 4)), np.empty((room, pool))
    index, done = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    level, birth = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    delay = np.empty(room)
    gaps, sizes = np.empty(1), np.empty((columns, 1))
    for trial in range(stream.shape[0]):
        origin, step = stream[trial, 0], stream[trial, 1]
        phase = uniform(mix(origin + _CLONE))
        own[0, 0], own[0, 1] = mix(origin + np.uint64(1)), mix(origin + np.uint64(2))
        traffic.start(kind, gap, leave, recorded, phase, own[0, 0], step, source[0])
        prepare(stages, origin, step, phase, origins[0], states[0], words[0])
        free[0] = 0.0
        index[0], done[0], level[0], birth[0], delay[0] = 0, -warmup, 0, 0, 0.0
        made = np.uint64(0)
        c = 0
        while c >= 0:
            if level[c] < most and delay[c] > levels[level[c]]:  # risen: the copies run before this one
                level[c] += 1
                me = c
                for _ in range(copies - 1):
                    c += 1
                    made += np.uint64(1)
                    states[c], words[c], source[c], free[c] = states[me], words[me], source[me], free[me]
                    index[c], done[c], delay[c] = index[me], done[me], delay[me]
                    level[c] = birth[c] = level[me]
                    fresh = mix(origin + _CLONE * (made + np.uint64(1)))
                    own[c, 0], own[c, 1] = mix(fresh + np.uint64(1)), mix(fresh + np.uint64(2))
                    for i in range(depth):
                        origins[c, i] = mix(fresh + np.uint64(3 + i))
                continue
            if done[c] == count:
                c -= 1
                continue
            traffic.fill(
                kind, gap, batch, rates, leave, table, recorded, own[c, 0], step, source[c], rows, tables,
                table_starts, own[c, 1], index[c], gaps, sizes,
            )  # fmt: skip
            index[c] += columns
            for i in range(depth):
                states[c, i, FREE] -= gaps[0]
                states[c, i, NOW] -= gaps[0]
                states[c, i, NEXT] -= gaps[0]
            free[c] -= gaps[0]
            took = _serve_one(sizes[:, 0], stages, origins[c], step, states[c], words[c], free[c])
            delay[c] = took
            done[c] += 1
            served[trial] += 1
            while level[c] > 0 and took <= levels[level[c] - 1]:
                level[c] -= 1
            if level[c] < birth[c]:  # fallen below the level at which it was made
                c -= 1
                continue
            if done[c] > 0:
                weight = float(copies) ** -level[c]
                bins[trial, min(np.int64(took / deadline * (bins.shape[1] - 1)), bins.shape[1] - 1)] += weight
                if took > deadline * (1.0 + ROUNDING):
                    late[trial] += weight


_kernel: Any = _run


def applies(system: System) -> bool:
    """Whether requests of a system are a Markov chain that can be copied."""
    streams_used = [stage.stream for stage in system.stages if stage.mean > 0 and stage.stream >= 0]
    flowing = any(stage.cut_through for stage in system.stages[:-1])
    pooled = any(stage.servers for stage in system.stages[:-1])
    return not flowing and not pooled and len(set(streams_used)) == len(streams_used)


def violation(
    system: System,
    deadline: float,
    *,
    requests: int = 2_000,
    warmup: int = 500,
    copies: int = 4,
    enough: float = 0.0,
    trials: int = TRIALS,
    seed: int | tuple[int, ...] = 0,
    threads: int | None = None,
) -> RareLate:
    """P(delay of a request > deadline), deadline in slots, fixed delays included, however small.

    Parameters
    ----------
    requests, warmup, trials : int
        Requests counted in each trial, after so many from empty; copies come on top.
    copies : int
        What one copy becomes at each level. Levels are laid so that each is passed by one in so many.
    enough : float
        A probability below which it need not be known how rare late requests are: no level is laid that is
        passed more rarely.

    Raises
    ------
    TypeError
        Where requests may overtake each other, work moves on while it is served, or stages share a stream.
    """
    if not applies(system):
        raise TypeError(
            "splitting needs requests that leave every stage whole and in their order, and independent stages"
        )
    root = (seed,) if isinstance(seed, int) else tuple(seed)
    levels: tuple[float, ...] = ()
    for pilot in range(MOST_LEVELS):
        further = _levels(
            system, deadline, levels, requests, warmup, copies, enough, (*root, 1, pilot), threads
        )
        if further == levels:
            break
        levels = further
    late, bins, served = _sampled(
        system, deadline, levels, requests, warmup, copies, trials, (*root, 0), threads
    )
    place = int(np.searchsorted(_edges(deadline, bins.shape[1]), levels[-1] * (1 - 1e-12))) if levels else -1
    above = bins[:, place + 1 :].sum(axis=1) / requests
    shares = late / requests
    return RareLate(
        *_mean(shares),
        levels,
        int(served.sum()),
        trials,
        trials * requests,
        int((late > 0).sum()),
        _mean(above),
    )


def _mean(shares: np.ndarray) -> tuple[float, float]:
    """Mean over trials and its standard error."""
    return float(shares.mean()), float(shares.std(ddof=1)) / math.sqrt(shares.size)


def _edges(deadline: float, bins: int) -> np.ndarray:
    """Upper edges of the bins of delays; the last bin is open."""
    return (np.arange(bins) + 1.0) * deadline / (bins - 1)


def _levels(
    system: System,
    deadline: float,
    levels: tuple[float, ...],
    requests: int,
    warmup: int,
    copies: int,
    enough: float,
    seed: tuple[int, ...],
    threads: int | None,
) -> tuple[float, ...]:
    """The levels of a pilot run, and those that it can add above them."""
    _, bins, _ = _sampled(system, deadline, levels, requests, warmup, copies, 16, seed, threads)
    weight = bins.sum(axis=0)
    tail = np.append(np.cumsum(weight[::-1])[::-1][1:], 0.0) / weight.sum()
    edges = _edges(deadline, weight.size)
    seen = (bins[:, ::-1].cumsum(axis=1)[:, ::-1] > 0).sum(axis=0)  # trials that saw so long a delay
    found = list(levels)
    share = float(np.interp(found[-1], edges, tail)) if found else 0.5
    while len(found) < MOST_LEVELS and share > enough:
        share /= copies
        place = int(np.argmax(tail <= share))
        if place + 1 >= weight.size - 1 or seen[place + 1] < 8 or (found and edges[place] <= found[-1]):
            break
        found.append(float(edges[place]))
    return tuple(found)


def _sampled(
    system: System,
    deadline: float,
    levels: tuple[float, ...],
    requests: int,
    warmup: int,
    copies: int,
    trials: int,
    seed: tuple[int, ...],
    threads: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    arrivals, works, stages = system.arrays
    columns = max(len(system.sizes), system.source.columns)

    def work(first: int, count: int) -> tuple[np.ndarray, ...]:
        late, bins, served = np.zeros(count), np.zeros((count, 513)), np.zeros(count, dtype=np.int64)
        _kernel(
            arrivals, works, stages, columns, streams(np.random.SeedSequence(seed), count, first), requests,
            warmup, np.array(levels), copies, deadline, late, bins, served,
        )  # fmt: skip
        return late, bins, served

    parts = list(over_blocks(work, trials, 4, threads))
    late, bins, served = (np.concatenate(column) for column in zip(*parts, strict=True))
    return late, bins, served
