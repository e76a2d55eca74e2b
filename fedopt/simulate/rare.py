"""Rare violations by importance sampling, guided by the function of the image form.

Slots are drawn backwards from the deadline. In each of them a term of the guide F (`fedopt.simulate.guide`)
is chosen in proportion to its share of F, and every domain's work is tilted by that term's weight; arrivals
are tilted by θ. The likelihood ratio of a slot is F before it over F after it, so that of a whole history is
F at the deadline over F where it ends, times what F loses where it is projected: unbiased, and never above
the guide's own bound C wherever the delay is exceeded. Hence the estimator's variance is at most C·P, and C/P
is what the image form pays above the truth: between two and ten, wherever the probability lies.

The history ends where the work that came exceeds the worst service; drawn from there on untilted, the queues
are run forwards, with priority work that carries over, to see whether the delay really exceeds its limit.

Needs work that is i.i.d. per slot or a stationary on-off chain, in domains independent of each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t as student

from fedopt.kernels import kernel
from fedopt.laws.models import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson
from fedopt.laws.table import Table
from fedopt.simulate import tilting
from fedopt.simulate.guide import Guide, Problem, best_guide, guide_at, horizon
from fedopt.simulate.paths import allowed_slots
from fedopt.simulate.slot_work import SlotWork, slot_work
from fedopt.simulate.slots import left_over
from fedopt.simulate.streams import mix, streams, uniform, word_at
from fedopt.simulate.tilting import FIRST_ON, NOTHING, START, TILTABLE, draw, draw_own
from fedopt.simulate.trials import over_blocks

if TYPE_CHECKING:
    from fedopt.calculus.path import Path

_REPLICATE = np.uint64(0xD6E8FEB86659FD93)
_MODELS = (NoImpairment, Poisson, ExponentialWork, GammaWork, OnOff, Table)
_ROUNDING = 1e-10
"""Work left in a queue that counts as none."""


@dataclass(frozen=True)
class RareEstimate:
    """P(delay > n slots) with a 95 % interval.

    ``bound`` is the guide's bound, which no weighted sample exceeds; ``neglected`` bounds the probability of
    violations that need more than ``horizon`` slots of arrivals, which are not looked for; ``hits`` is the
    share of samples that met the event.
    """

    probability: float
    error: float
    low: float
    high: float
    theta: float
    bound: float
    neglected: float
    horizon: int
    samples: int
    hits: float

    @property
    def relative_error(self) -> float:
        """Standard error over estimate."""
        return self.error / self.probability if self.probability > 0 else math.inf

    def upper(self, confidence: float, samples: int | None = None) -> float:
        """An upper confidence bound of the probability, one-sided, valid for every number of samples.

        Weighted samples lie in [0, bound]; that of Maurer and Pontil (2009, theorem 4) for bounded variables
        of unknown variance, plus what the horizon neglects. ``samples``: what it would be, were the same mean
        and variance those of so many samples; a forecast, not a bound.
        """
        if self.samples < 2:
            return 1.0
        count = self.samples if samples is None else samples
        risk = math.log(2.0 / (1.0 - confidence))
        variance = self.error**2 * self.samples**2 / (self.samples - 1)
        margin = math.sqrt(2.0 * variance * risk / count)
        margin += 7.0 * self.bound * risk / (3.0 * (count - 1))
        return min(1.0, self.probability + margin + self.neglected)


@kernel
def _log_total(logs, terms):
    """log Σ e^{logs}, the shares into `terms`."""
    top = -math.inf
    for k in range(logs.shape[0]):
        top = max(top, logs[k])
    total = 0.0
    for k in range(logs.shape[0]):
        terms[k] = math.exp(logs[k] - top)
        total += terms[k]
    return top + math.log(total)


@kernel
def _still_held(values, slots, rates, first, own):
    """Whether a tandem that was empty `slots` before the deadline still holds tenant's work at it.

    values: work of arrivals and domains, slot 0 the last before the deadline.
    """
    domains = rates.shape[0]
    first[:] = 0.0
    own[:] = 0.0
    for t in range(slots - 1, -1, -1):
        x = values[0, t]
        for i in range(domains):
            first[i], free = left_over(first[i], values[i + 1, t], rates[i])
            queue = own[i] + x
            x = min(queue, free)
            own[i] = queue - x
    waiting = 0.0
    for i in range(domains):
        waiting += own[i]
    return waiting > _ROUNDING


@kernel
def _levels(log_charges, times, growth, slopes, gap, vectors, phase, chains, logs):
    """log of the guide's terms, relative to e^{θG_1}, grown over a number of slots; into `logs`."""
    domains = log_charges.shape[0]
    for k in range(domains):
        level = log_charges[k] + times * growth[k]
        for j in range(domains - 1):
            level += slopes[k, j] * gap[j]
        if chains:
            for s in range(1, domains + 1):
                level += vectors[k, s, phase[s]]
        logs[k] = level


@kernel
def _run(
    codes, starts, sizes, plain, plain_shares, tilts, tilted_shares, vectors,
    rates, n, theta, arrival, slopes, log_charges, growth, log_own, own, own_size, longest,
    stream, replicates, sums, squares, hits,
):  # fmt: skip
    domains = rates.shape[0]
    values = np.empty((domains + 1, 256))
    phase = np.empty(domains + 1, dtype=np.int64)
    gap, x = np.zeros(domains), np.empty(domains)
    logs, shares = np.empty(domains), np.empty(domains)
    first, queued = np.empty(domains), np.empty(domains)
    even = True
    for i in range(domains - 1):
        even = even and rates[i] == rates[i + 1]
    chains = (vectors != 0.0).any()
    words = domains + 2
    for trial in range(stream.shape[0]):
        for replicate in range(replicates):
            origin = mix(stream[trial, 0] + _REPLICATE * np.uint64(replicate + 1))
            step = stream[trial, 1]
            phase[:] = START
            gap[:] = 0.0
            word = word_at(origin, step, 0)
            extra = draw_own(own, own_size, theta, starts, sizes, tilted_shares, word)
            log_weight = log_own - theta * extra
            excess = extra  # A + G_1
            before = same = 0.0
            known, known_same = False, False
            slots = 0
            crossed = False
            while slots < n + longest and not crossed:
                if slots == values.shape[1]:
                    wider = np.empty((domains + 1, 2 * slots))
                    wider[:, :slots] = values
                    values = wider
                left = n - slots
                # 1. a term of the guide, in proportion to its mean after this slot
                if not known:
                    _levels(log_charges, max(left, 1), growth, slopes, gap, vectors, phase, chains, logs)
                    before = _log_total(logs, shares)
                    known, known_same = True, False
                at = words * slots + 1
                chosen = 0
                if domains > 1:
                    pick = uniform(word_at(origin, step, at)) * shares.sum() - shares[0]
                    while pick > 0.0 and chosen < domains - 1:
                        chosen += 1
                        pick -= shares[chosen]
                # 2. the slot's impairments, tilted by its weights; x: the new G_i, relative to the old G_1
                still = even
                behind = 0.0
                for i in range(domains):
                    word = word_at(origin, step, at + 1 + i)
                    work, after = draw(
                        codes, tilts, starts, sizes, tilted_shares, chosen, i + 1, phase[i + 1], word
                    )
                    still = still and work == 0.0 and after == phase[i + 1]
                    values[i + 1, slots] = work
                    phase[i + 1] = after
                    x[i] = work - rates[i] - behind
                    behind += gap[i]
                # 3. the likelihood ratio: the guide before over the guide after
                log_weight += before - theta * x[0]
                if still and left <= 0:
                    if not known_same:
                        _levels(log_charges, 0, growth, slopes, gap, vectors, phase, chains, logs)
                        same = _log_total(logs, x)
                        known_same = True
                    log_weight -= same
                    rise = -rates[0]
                else:
                    for i in range(domains - 1):
                        gap[i] = x[i] - x[i + 1]
                    if still:
                        for k in range(domains):
                            logs[k] -= growth[k]
                    else:
                        times = max(left - 1, 0)
                        _levels(log_charges, times, growth, slopes, gap, vectors, phase, chains, logs)
                    before = _log_total(logs, shares)
                    log_weight -= before
                    known = left > 1
                    for i in range(domains - 2, -1, -1):
                        if gap[i] < 0.0 or x[i] < x[i + 1]:
                            x[i] = max(x[i], x[i + 1])
                            known = False
                    for i in range(domains - 1):
                        gap[i] = x[i] - x[i + 1]
                    rise = x[0]
                # 4. arrivals
                work = 0.0
                if left <= 0:
                    word = word_at(origin, step, at + 1 + domains)
                    work, after = draw(codes, tilts, starts, sizes, tilted_shares, 0, 0, phase[0], word)
                    log_weight += arrival - theta * work + vectors[0, 0, phase[0]] - vectors[0, 0, after]
                    phase[0] = after
                values[0, slots] = work
                excess += work + rise
                slots += 1
                crossed = left <= 0 and excess > _ROUNDING
            if not crossed:
                continue
            values[0, n] += extra
            # 5. does the delay exceed its limit? Queues and carry-over, from empty; ever more history if not
            met = _still_held(values, slots, rates, first, queued)
            while not met and slots < n + longest:
                further = min(2 * slots, n + longest)
                if further > values.shape[1]:
                    wider = np.empty((domains + 1, 2 * further))
                    wider[:, :slots] = values[:, :slots]
                    values = wider
                for t in range(slots, further):
                    for s in range(domains + 1):
                        word = word_at(origin, step, words * t + 1 + s)
                        work, phase[s] = draw(codes, plain, starts, sizes, plain_shares, 0, s, phase[s], word)
                        values[s, t] = work
                slots = further
                met = _still_held(values, slots, rates, first, queued)
            if met:
                estimate = math.exp(log_weight)
                sums[trial] += estimate
                squares[trial] += estimate * estimate
                hits[trial] += 1


_kernel: Any = _run


def applies(path: Path) -> bool:
    """Whether `violation` can take a path: domains independent, work i.i.d. per slot or an on-off chain."""
    models = (path.arrival, *path.impairments)
    if path.dependent or not all(isinstance(model, _MODELS) for model in models):
        return False
    if not path.per_request:
        return True
    try:
        tilting.own_work(slot_work(path.arrival))
    except TypeError:
        return False
    return True


def violation(
    path: Path,
    rates: np.ndarray,
    *,
    samples: int = 100_000,
    theta: float | None = None,
    seed: int | tuple[int, ...] = 0,
    threads: int | None = None,
) -> RareEstimate:
    """P(delay > deadline) of a path at ``rates`` (work per slot), however small.

    Per request or per instant as the path's promise says. ``theta`` defaults to the tilt at which the guide's
    bound is least. Memory is bounded by the horizon; results depend on the seed and the number of samples
    alone.

    Raises:
        TypeError: where work is neither i.i.d. per slot nor an on-off chain, or domains may depend on each
            other.
        ValueError: where no tilt gives a finite bound (the path is overloaded).
    """
    if path.dependent:
        raise TypeError("importance sampling needs domains that are independent of each other")
    laws = tuple(slot_work(model) for model in (path.arrival, *path.impairments))
    n = allowed_slots(path)
    if n < 0:
        return RareEstimate(1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0, 0, 1.0)
    own = tilting.own_work(laws[0]) if path.per_request else (NOTHING, 0.0)
    return estimate(laws, rates, n, own, samples=samples, theta=theta, seed=seed, threads=threads)


def estimate(
    laws: tuple[SlotWork, ...],
    rates: np.ndarray,
    n: int,
    own: tuple[int, float] = (NOTHING, 0.0),
    *,
    samples: int = 100_000,
    theta: float | None = None,
    seed: int | tuple[int, ...] = 0,
    threads: int | None = None,
) -> RareEstimate:
    """The same from laws (arrivals first), the number n of slots allowed and a request's own work."""
    if any(law.code not in TILTABLE for law in laws):
        raise TypeError("importance sampling needs work that is i.i.d. per slot or a stationary on-off chain")
    problem = Problem(laws, rates, n, own)
    guide = best_guide(problem)
    if theta is not None:
        other = guide_at(problem, theta, theta * guide.charge / guide.theta)
        if other is None:
            raise ValueError(
                f"no guide at the tilt {theta:g}: it lies outside the domain or beyond stability"
            )
        guide = other
    return sampled(problem, guide, samples, seed, threads)


def sampled(
    problem: Problem, guide: Guide, samples: int, seed: int | tuple[int, ...] = 0, threads: int | None = None
) -> RareEstimate:
    """The estimate with a given guide."""
    longest, neglected = horizon(problem, guide)
    tilts, shares = _tilted(problem, np.column_stack([np.full(problem.hops, guide.theta), guide.weights]))
    plain, plain_shares = _tilted(problem, np.zeros((1, problem.hops + 1)))
    if problem.own[0] == FIRST_ON:
        tilts[:, 0, 3] = plain[:, 0, 3] = 1.0
    log_own = tilting.log_own(problem.laws[0], *problem.own, guide.theta)
    arrays = (
        problem.codes, problem.starts, problem.sizes, plain, plain_shares, tilts, shares,
        problem.eigenvectors(guide.weights, guide.theta), problem.rates, problem.n,
        guide.theta, guide.arrival, guide.slopes, guide.log_charges, guide.growth, log_own, *problem.own,
        longest,
    )  # fmt: skip
    trials = 64
    replicates = max(1, -(-samples // trials))

    def work(first: int, count: int) -> tuple[np.ndarray, ...]:
        sums, squares, hits = np.zeros(count), np.zeros(count), np.zeros(count, dtype=np.int64)
        _kernel(*arrays, streams(np.random.SeedSequence(seed), count, first), replicates, sums, squares, hits)
        return sums, squares, hits

    parts = list(over_blocks(work, trials, 4, threads))
    sums, squares, hits = (np.concatenate(column) for column in zip(*parts, strict=True))
    count = trials * replicates
    mean = float(sums.sum()) / count
    error = math.sqrt(max(0.0, float(squares.sum()) / count - mean**2) / count)
    margin = float(student.ppf(0.975, trials - 1)) * error
    return RareEstimate(
        probability=mean,
        error=error,
        low=max(0.0, mean - margin),
        high=min(1.0, mean + margin),
        theta=guide.theta,
        bound=math.exp(min(guide.log_bound, 700.0)),
        neglected=neglected,
        horizon=longest,
        samples=count,
        hits=float(hits.sum()) / count,
    )


def _tilted(problem: Problem, tilts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parameters (rows, sources, 4) and atoms' shares (rows, atoms) of all sources at rows of tilts."""
    found = [
        [tilting.tilted(law, float(v)) for law, v in zip(problem.laws, row, strict=True)] for row in tilts
    ]
    parameters = np.array([[parameters for parameters, _, _ in row] for row in found])
    return parameters, np.array([np.concatenate([shares for _, shares, _ in row]) for row in found])
