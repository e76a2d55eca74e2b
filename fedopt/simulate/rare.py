"""Rare violations by importance sampling, with the exponential tilt that the calculus supplies.

The delay at a given slot exceeds n only if, for some ℓ ≥ 1 and some split x_1 + … + x_L = ℓ + n, the work of
the ℓ last slots plus the impairments of the split exceeds the service R_d x_d of the split. The *fine* bound
adds E e^{θ·excess} over all (ℓ, x); call the terms c_k and their sum C. Here the terms are a law to sample
from: choose k with probability c_k / C, tilt by θ exactly the slots that k uses, and leave all others as they
are. Under this mixture the likelihood ratio is C / Σ_k e^{θ·excess_k}, so

    P(delay > n) = E [ C · 1{delay > n} / Σ_k e^{θ·excess_k} ],

unbiased, and since some excess is positive where the delay exceeds n, no sample exceeds C: the estimator's
variance is at most C·P, its relative error per sample at most √(C/P). The sum over all splits takes one pass
of the recursion G_i(u) = e^{θ(J_i(u) − R_i)} G_i(u+1) + G_{i+1}(u); the event itself is simulated with queues
and carry-over.

Needs work that is i.i.d. per slot. Starting ``horizon`` slots early from empty neglects what the bound itself
gives for longer histories (``neglected``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from scipy.optimize import minimize_scalar
from scipy.stats import t as student

from fedopt.simulate import slot_work as sw
from fedopt.simulate.paths import allowed_slots
from fedopt.simulate.slot_work import SlotWork, fill, slot_work
from fedopt.simulate.streams import exponential, mix, streams, uniform, word_at
from fedopt.simulate.trials import over_blocks

if TYPE_CHECKING:
    from fedopt.calculus.path import Path

_REPLICATE = np.uint64(0xD6E8FEB86659FD93)
_SEGMENT = np.uint64(0xA5A3564E27F8862D)
_INDEPENDENT = (sw.NONE, sw.POISSON, sw.POISSON_EXPONENTIAL, sw.EXPONENTIAL, sw.GAMMA, sw.ATOMS)


@dataclass(frozen=True)
class RareEstimate:
    """P(delay > n slots) with a 95 % interval.

    ``bound`` is C, the fine bound at the tilt ``theta`` (with the correction for requests where asked);
    ``neglected`` is the part of C that stands for histories longer than ``horizon`` slots, one ten-millionth
    of C or less, which is not in the estimate; ``hits`` is the share of samples that met the event.
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


def tilted(law: SlotWork, theta: float) -> SlotWork:
    """The law of a slot's work under the density e^{θ·work − Λ(θ)}."""
    a, b, c = law.parameters
    if law.code == sw.POISSON:
        return replace(law, parameters=(a * math.exp(theta * b), b, c))
    if law.code == sw.POISSON_EXPONENTIAL:
        return replace(law, parameters=(a / (1 - theta * b), b / (1 - theta * b), c))
    if law.code == sw.EXPONENTIAL:
        return replace(law, parameters=(a / (1 - theta * a), b, c))
    if law.code == sw.GAMMA:
        return replace(law, parameters=(a, b / (1 - theta * b), c))
    if law.code == sw.ATOMS:
        rates = a * np.diff(np.concatenate([[0.0], law.requests])) * np.exp(theta * law.work)
        return replace(law, parameters=(float(rates.sum()), b, c), requests=np.cumsum(rates) / rates.sum())
    if law.code == sw.NONE:
        return law
    raise TypeError("importance sampling needs work that is i.i.d. per slot")


def log_moment(law: SlotWork, theta: float) -> float:
    """Λ(θ) of a slot's work, nats; +inf outside the domain."""
    a, b, _ = law.parameters
    if law.code == sw.POISSON:
        return a * math.expm1(theta * b)
    if law.code == sw.POISSON_EXPONENTIAL:
        return a * theta * b / (1 - theta * b) if theta * b < 1 else math.inf
    if law.code == sw.EXPONENTIAL:
        return -math.log1p(-theta * a) if theta * a < 1 else math.inf
    if law.code == sw.GAMMA:
        return -a * math.log1p(-theta * b) if theta * b < 1 else math.inf
    if law.code == sw.ATOMS:
        return a * float((np.diff(np.concatenate([[0.0], law.requests])) * np.expm1(theta * law.work)).sum())
    return 0.0


def _own_work(law: SlotWork) -> tuple[int, float]:
    """What a request adds to the work it finds: (0 nothing, 1 fixed, 2 exponential) and its size or mean."""
    a, b, _ = law.parameters
    if law.code == sw.POISSON:
        return 1, b
    if law.code == sw.POISSON_EXPONENTIAL:
        return 2, b
    if law.code == sw.EXPONENTIAL:
        return 2, a
    if law.code == sw.GAMMA:
        return 2, b
    raise TypeError("a probability per request needs Poisson, exponential or gamma arrivals")


def _log_own(kind: int, size: float, theta: float) -> float:
    if kind == 0:
        return 0.0
    if kind == 1:
        return theta * size
    return -math.log1p(-theta * size) if theta * size < 1 else math.inf


def _table(log_rates: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    """h_i(X) / p_max^X for the domains i … L, shape (L + 1, longest + 1), and log p_max."""
    top = float(log_rates.max())
    p = np.exp(log_rates - top)
    h = np.zeros((p.size + 1, longest + 1))
    for i in range(p.size - 1, -1, -1):
        value = 0.0
        for x in range(longest + 1):
            value = p[i] * value + (1.0 if x == 0 else float(h[i + 1, x]))
            h[i, x] = value
    return h, top


def _terms(laws: tuple[SlotWork, ...], rates: np.ndarray, theta: float, n: int, horizon: int) -> np.ndarray:
    """Logarithms of Σ_x c_(ℓ, x) for ℓ = 1 … horizon."""
    log_rates = np.array([log_moment(law, theta) for law in laws[1:]]) - theta * rates
    if not np.isfinite(log_rates).all():
        return np.full(horizon, math.inf)
    h, top = _table(log_rates, n + horizon)
    length = np.arange(1, horizon + 1)
    with np.errstate(divide="ignore"):
        return length * log_moment(laws[0], theta) + np.log(h[0, n + 1 :]) + top * (length + n)


def _log_sum(values: np.ndarray) -> float:
    top = float(values.max())
    return top + math.log(float(np.exp(values - top).sum())) if math.isfinite(top) else top


@njit(cache=True, nogil=True)
def _run(
    code, parameters, twisted, work, requests, twisted_requests, work_start, rates,
    n, theta, log_bound, own_kind, own_size, own_tilted, choice, h, p,
    stream, replicates, sums, squares, hits,
):  # fmt: skip
    domains = rates.shape[0]
    horizon = choice.shape[0]
    total = horizon + n
    values = np.empty((domains + 1, total))
    weight = np.empty(total)
    state = np.empty(2)
    first = np.empty(domains)
    own = np.empty(domains)
    begins = np.empty(domains + 2, dtype=np.int64)
    g = np.empty(domains + 1)
    for trial in range(stream.shape[0]):
        for replicate in range(replicates):
            origin = mix(stream[trial, 0] + _REPLICATE * np.uint64(replicate + 1))
            step = stream[trial, 1]
            # 1. which slots are tilted: ℓ, then the split, domain by domain from the earliest slot on
            u = uniform(word_at(origin, step, 0))
            low = 0
            high = horizon - 1
            while low < high:
                middle = (low + high) // 2
                if choice[middle] < u:
                    low = middle + 1
                else:
                    high = middle
            length = low + 1
            left = length + n
            place = horizon - length
            d = 0
            begins[0] = place
            index = 1
            while d < domains:
                if left == 0 or d == domains - 1:
                    place += left
                    left = 0
                    d += 1
                    begins[d] = place
                    continue
                stay = p[d] * h[d, left - 1] / h[d, left]
                if uniform(word_at(origin, step, index)) < stay:
                    left -= 1
                    place += 1
                else:
                    d += 1
                    begins[d] = place
                index += 1
            # 2. the work: tilted inside the source's own stretch, as it is elsewhere
            for s in range(domains + 1):
                start = horizon - length if s == 0 else begins[s - 1]
                stop = horizon if s == 0 else begins[s]
                end = horizon if s == 0 else total
                table = slice(work_start[s], work_start[s + 1])
                for part in range(3):
                    a = 0 if part == 0 else (start if part == 1 else stop)
                    b = start if part == 0 else (stop if part == 1 else end)
                    if a >= b:
                        continue
                    q = twisted[s] if part == 1 else parameters[s]
                    counts = twisted_requests[table] if part == 1 else requests[table]
                    segment = mix(origin + _SEGMENT * np.uint64(3 * s + part + 1))
                    sw.begin(code[s], q[0], q[1], q[2], work[table], segment, step, state)
                    fill(
                        code[s], q[0], q[1], q[2], work[table], counts, segment, step, state, values[s, a:b],
                        weight[a:b],
                    )  # fmt: skip
                values[s, end:] = 0.0
            extra = own_size
            if own_kind == 0:
                extra = 0.0
            elif own_kind == 2:
                extra = own_tilted * exponential(word_at(origin, step, index))
            values[0, horizon - 1] += extra
            # 3. does the delay exceed n? Queues and carry-over, from empty
            first[:] = 0.0
            own[:] = 0.0
            for t in range(total):
                x = values[0, t]
                for i in range(domains):
                    priority = first[i] + values[i + 1, t]
                    free = rates[i]
                    if priority >= free:
                        first[i] = priority - free
                        free = 0.0
                    else:
                        first[i] = 0.0
                        free -= priority
                    queue = own[i] + x
                    x = min(queue, free)
                    own[i] = queue - x
            waiting = 0.0
            for i in range(domains):
                waiting += own[i]
            if waiting <= 1e-10:
                continue
            # 4. the sum over all lengths and splits
            g[:domains] = 1.0
            g[domains] = 0.0
            sum_of_all = 0.0
            for t in range(total - 1, -1, -1):
                arrived = values[0, t] if t < horizon else 0.0
                for i in range(domains - 1, -1, -1):
                    g[i] = math.exp(theta * (arrived + values[i + 1, t] - rates[i])) * g[i] + g[i + 1]
                if t < horizon:
                    sum_of_all += g[0]
            estimate = math.exp(log_bound - math.log(sum_of_all))
            sums[trial] += estimate
            squares[trial] += estimate * estimate
            hits[trial] += 1


_kernel: Any = _run


def violation(
    path: Path,
    rates: np.ndarray,
    *,
    samples: int = 100_000,
    theta: float | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> RareEstimate:
    """P(delay > deadline) of a path at ``rates`` (work per slot), however small.

    Per request or per instant as the path's promise says. ``theta`` defaults to the tilt at which the fine
    bound is least. Memory is bounded by the horizon; results depend on the seed and the number of samples
    alone.

    Raises:
        TypeError: where work is not i.i.d. per slot, or domains may depend on each other.
        ValueError: where no tilt gives a finite bound (the path is overloaded).
    """
    if path.dependent:
        raise TypeError("importance sampling needs domains that are independent of each other")
    laws = tuple(slot_work(model) for model in (path.arrival, *path.impairments))
    n = allowed_slots(path)
    if n < 0:
        return RareEstimate(1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0, 0, 1.0)
    own_kind, own_size = _own_work(laws[0]) if path.per_request else (0, 0.0)
    return estimate(
        laws, np.asarray(rates, dtype=float), n, own_kind, own_size, samples=samples, theta=theta, seed=seed,
        threads=threads,
    )  # fmt: skip


def estimate(
    laws: tuple[SlotWork, ...],
    rates: np.ndarray,
    n: int,
    own_kind: int = 0,
    own_size: float = 0.0,
    *,
    samples: int = 100_000,
    theta: float | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> RareEstimate:
    """The same from laws (arrivals first) and the number n of slots allowed."""
    if any(law.code not in _INDEPENDENT for law in laws):
        raise TypeError("importance sampling needs work that is i.i.d. per slot")
    chosen = _best_tilt(laws, rates, n, own_kind, own_size) if theta is None else theta
    terms, horizon, neglected = _horizon(laws, rates, chosen, n)
    log_own = _log_own(own_kind, own_size, chosen)
    log_bound = _log_sum(terms) + log_own
    log_rates = np.array([log_moment(law, chosen) for law in laws[1:]]) - chosen * rates
    h, top = _table(log_rates, n + horizon)
    choice = np.cumsum(np.exp(terms - terms.max()))
    choice /= choice[-1]
    twisted = [tilted(law, chosen) for law in laws]
    starts = np.concatenate([[0], np.cumsum([law.work.size for law in laws])]).astype(np.int64)
    arrays = (
        np.array([law.code for law in laws], dtype=np.int64),
        np.array([law.parameters for law in laws]),
        np.array([law.parameters for law in twisted]),
        np.concatenate([law.work for law in laws]),
        np.concatenate([law.requests for law in laws]),
        np.concatenate([law.requests for law in twisted]),
        starts,
        rates,
        n,
        chosen,
        log_bound,
        own_kind,
        own_size,
        own_size / (1 - chosen * own_size) if own_kind == 2 else 0.0,
        choice,
        h,
        np.exp(log_rates - top),
    )
    trials = 64
    replicates = max(1, -(-samples // trials))

    def work(first: int, count: int) -> tuple[np.ndarray, ...]:
        sums, squares, hits = np.zeros(count), np.zeros(count), np.zeros(count, dtype=np.int64)
        _kernel(*arrays, streams(seed, count, first), replicates, sums, squares, hits)
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
        theta=chosen,
        bound=math.exp(min(log_bound, 700.0)),
        neglected=neglected * math.exp(min(log_own, 700.0)),
        horizon=horizon,
        samples=count,
        hits=float(hits.sum()) / count,
    )


def _limit(laws: tuple[SlotWork, ...], own_kind: int, own_size: float) -> float:
    """Supremum of usable tilts."""
    limits = [math.inf]
    for law in laws:
        a, b, _ = law.parameters
        if law.code == sw.EXPONENTIAL:
            limits.append(1 / a)
        elif law.code in (sw.GAMMA, sw.POISSON_EXPONENTIAL):
            limits.append(1 / b)
        elif law.code == sw.POISSON:
            limits.append(50.0 / b)
        elif law.code == sw.ATOMS:
            limits.append(50.0 / float(law.work.max()))
    return min(limits)


def _best_tilt(
    laws: tuple[SlotWork, ...], rates: np.ndarray, n: int, own_kind: int, own_size: float
) -> float:
    limit = _limit(laws, own_kind, own_size)

    def bound(theta: float) -> float:
        arrival = log_moment(laws[0], theta)
        decays = [log_moment(law, theta) - theta * rate for law, rate in zip(laws[1:], rates, strict=True)]
        slack = -(arrival + max(decays))
        if not slack > 0:
            return 1e6 - slack if math.isfinite(slack) else 1e9
        horizon = int(min(2_000, 8 + 12 / slack))
        return _log_sum(_terms(laws, rates, theta, n, horizon)) + _log_own(own_kind, own_size, theta)

    grid = np.geomspace(1e-3, 0.999, 40) * (limit if math.isfinite(limit) else 1.0)
    values = [bound(float(theta)) for theta in grid]
    best = int(np.argmin(values))
    if values[best] >= 1e5:
        raise ValueError("no tilt gives a finite bound: the path is overloaded, so violations are not rare")
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, grid.size - 1)])
    found = minimize_scalar(bound, bounds=(low, high), method="bounded", options={"xatol": 1e-4 * high})
    return float(found.x) if found.fun <= values[best] else float(grid[best])


def _horizon(
    laws: tuple[SlotWork, ...], rates: np.ndarray, theta: float, n: int, share: float = 1e-7
) -> tuple[np.ndarray, int, float]:
    """Terms up to the length beyond which they add less than ``share`` of the sum, and what is neglected."""
    longest = 256
    while True:
        terms = _terms(laws, rates, theta, n, longest)
        # successive terms shrink at least geometrically in the end: bound the rest by the last ratio
        ratio = math.exp(min(terms[-1] - terms[-2], 0.0))
        rest = math.exp(terms[-1]) * ratio / max(1 - ratio, 1e-9)
        whole = math.exp(_log_sum(terms))
        if rest <= share * whole or longest >= 16_384:
            break
        longest *= 2
    sums = np.cumsum(np.exp(terms - terms.max()))
    horizon = int(np.searchsorted(sums, sums[-1] * (1 - share))) + 1
    neglected = rest + float(np.exp(terms[horizon:]).sum())
    return terms[:horizon], horizon, neglected
