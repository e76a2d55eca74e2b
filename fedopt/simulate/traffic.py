"""Requests as they arrive: laws of gaps and sizes, and the sources that draw from them.

A ``Law`` is a code, four numbers and, for an empirical law, a table; every law has a finite mean, and the
unit is the caller's (a time for gaps, work for sizes). A ``Source`` is a stream of arrival instants in
continuous time: renewal (any law of gaps, so Poisson and periodic too), batches, a Poisson stream switched by
a Markov environment, Poisson requests between bursts, and the replay of recorded requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import ndtr

from fedopt.kernels import kernel
from fedopt.simulate.streams import exponential as _exponential
from fedopt.simulate.streams import gamma as _gamma
from fedopt.simulate.streams import mix, uniform, word_at
from fedopt.simulate.streams import normal as _normal

(
    CONSTANT, EXPONENTIAL, GAMMA, HYPEREXPONENTIAL, UNIFORM, LOGNORMAL, PARETO, WEIBULL, EMPIRICAL, GEOMETRIC,
    CHAIN,
) = range(11)  # fmt: skip
RENEWAL, BATCHES, MODULATED, REPLAY, BURSTS = range(5)
_NONE = np.zeros(1)
_AFTER_LAW = np.uint64(0x8EBC6AF09C88C6E3)


@dataclass(frozen=True)
class Law:
    """One law of a non-negative random time or size."""

    code: int
    parameters: tuple[float, float, float, float]
    mean: float
    table: np.ndarray = field(default_factory=lambda: _NONE, compare=False, repr=False)


def _law(code: int, mean: float, *parameters: float) -> Law:
    padded = (*map(float, parameters), 0.0, 0.0, 0.0, 0.0)[:4]
    if not all(math.isfinite(p) for p in padded) or not math.isfinite(mean) or mean < 0:
        raise ValueError(
            f"a law needs finite parameters and a finite mean, got {parameters} with mean {mean}"
        )
    return Law(code, (padded[0], padded[1], padded[2], padded[3]), float(mean))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def deterministic(value: float) -> Law:
    """Always ``value``."""
    return _law(CONSTANT, value, value)


def exponential(mean: float) -> Law:
    """Exponential of the given mean."""
    _positive(mean=mean)
    return _law(EXPONENTIAL, mean, mean)


def gamma(shape: float, mean: float) -> Law:
    """Gamma (Erlang for whole shapes) of the given mean."""
    _positive(shape=shape, mean=mean)
    return _law(GAMMA, mean, shape, mean / shape)


def hyperexponential(probability: float, mean_1: float, mean_2: float) -> Law:
    """Exponential of ``mean_1`` with ``probability``, else of ``mean_2``."""
    _positive(mean_1=mean_1, mean_2=mean_2)
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must lie in [0, 1], got {probability}")
    return _law(
        HYPEREXPONENTIAL, probability * mean_1 + (1 - probability) * mean_2, probability, mean_1, mean_2
    )


def between(low: float, high: float) -> Law:
    """Uniform between ``low`` and ``high``."""
    if not 0 <= low <= high:
        raise ValueError(f"need 0 <= low <= high, got {low} and {high}")
    return _law(UNIFORM, (low + high) / 2, low, high)


def lognormal(mean: float, variation: float) -> Law:
    """Log-normal of the given mean and coefficient of variation."""
    _positive(mean=mean, variation=variation)
    variance = math.log1p(variation**2)
    return _law(LOGNORMAL, mean, math.log(mean) - variance / 2, math.sqrt(variance))


def pareto(shape: float, scale: float) -> Law:
    """Pareto from ``scale`` on, P(X > x) = (scale/x)^shape; shape > 1."""
    _positive(scale=scale)
    if not shape > 1:
        raise ValueError(f"a Pareto law of shape {shape} has no mean; shape must exceed 1")
    return _law(PARETO, shape * scale / (shape - 1), shape, scale)


def weibull(shape: float, scale: float) -> Law:
    """Weibull, P(X > x) = exp(−(x/scale)^shape)."""
    _positive(shape=shape, scale=scale)
    return _law(WEIBULL, scale * math.gamma(1 + 1 / shape), shape, scale)


def geometric(mean: float) -> Law:
    """Whole numbers 1, 2, … of the given mean ≥ 1 (batch sizes)."""
    if not mean >= 1:
        raise ValueError(f"a geometric law on 1, 2, … has a mean of at least 1, got {mean}")
    return _law(GEOMETRIC, mean, mean)


def truncated(law: Law, maximum: float) -> Law:
    """A log-normal or Pareto law given that it does not exceed ``maximum``."""
    a, b, _, _ = law.parameters
    if law.code == LOGNORMAL:
        z = (math.log(maximum) - a) / b
        mean = law.mean * float(ndtr(z - b) / ndtr(z))
    elif law.code == PARETO and maximum > b:
        inside = 1 - (b / maximum) ** a
        mean = a * b / (a - 1) * (1 - (b / maximum) ** (a - 1)) / inside
    else:
        raise ValueError("only a log-normal law or a Pareto law that starts below the maximum is truncated")
    return replace(law, parameters=(a, b, float(maximum), 0.0), mean=mean)


def chain_gap(leave_on: float, leave_off: float) -> Law:
    """Slots from one slot in which a two-state chain is on to the next such slot."""
    _positive(leave_off=leave_off)
    return _law(CHAIN, 1.0 + leave_on / leave_off, leave_on, leave_off)


def empirical(values: Sequence[float] | np.ndarray) -> Law:
    """Each of the given values with equal probability."""
    table = np.ascontiguousarray(values, dtype=float)
    if table.ndim != 1 or table.size == 0 or not np.isfinite(table).all() or (table < 0).any():
        raise ValueError("an empirical law needs a non-empty list of finite non-negative values")
    return replace(_law(EMPIRICAL, float(table.mean())), table=table)


@kernel
def _draw_rarer(code, a, b, c, table, word):
    if code == GAMMA:
        return _gamma(word, a) * b
    if code == HYPEREXPONENTIAL:
        scale = b if uniform(word) < a else c
        return _exponential(mix(word + _AFTER_LAW)) * scale
    if code == UNIFORM:
        return a + (b - a) * uniform(word)
    if code == LOGNORMAL:
        x = math.exp(a + b * _normal(word))
        while 0.0 < c < x:  # a maximum: draw again
            word = mix(word + _AFTER_LAW)
            x = math.exp(a + b * _normal(word))
        return x
    if code == PARETO:
        least = 0.0 if c == 0.0 else (b / c) ** a
        return b * (least + (1.0 - least) * uniform(word)) ** (-1.0 / a)
    if code == CHAIN:
        u = uniform(word)
        if u >= a:
            return 1.0
        return 2.0 + (math.floor(math.log(u / a) / math.log1p(-b)) if b < 1.0 else 0.0)
    if code == WEIBULL:
        return b * _exponential(word) ** (1.0 / a)
    if code == GEOMETRIC:
        if a <= 1.0:
            return 1.0
        return 1.0 + math.floor(_exponential(word) / -math.log1p(-1.0 / a))
    return table[np.int64(uniform(word) * table.shape[0])]


@kernel(inline="always")
def draw(code, a, b, c, table, word):
    """One variate of a law (its code, parameters and table) from one word of a stream."""
    if code == EXPONENTIAL:
        x = a * _exponential(word)
    elif code == CONSTANT:
        x = a
    else:
        x = _draw_rarer(code, a, b, c, table, word)
    return x


@dataclass(frozen=True)
class Source:
    """A stream of requests: its kind, the law of gaps and the law of batch sizes.

    For BURSTS ``rates`` holds the requests of a burst and ``leave`` the gap between bursts. ``recorded``: the
    gaps and sizes of a replay, shape (requests, 1 + columns); without columns sizes are drawn. For MODULATED
    it is the environment, a row for each state: its rate of requests, the probability of being in it or in
    one before it, the rate of leaving it and the probabilities of going to each state or one before it.
    """

    kind: int
    gap: Law
    size: Law
    rates: tuple[float, float] = (0.0, 0.0)
    leave: tuple[float, float] = (0.0, 0.0)
    recorded: np.ndarray = field(default_factory=lambda: np.zeros((1, 1)), compare=False, repr=False)

    @property
    def columns(self) -> int:
        """Sizes of a request that a replay has recorded; 0 of all other sources."""
        return self.recorded.shape[1] - 1 if self.kind == REPLAY else 0

    @property
    def rate(self) -> float:
        """Requests per unit of time, in the long run."""
        if self.kind == MODULATED:
            return float(self.recorded[:, 0] @ np.diff(self.recorded[:, 1], prepend=0.0))
        if self.kind == BURSTS:
            return 1.0 / self.gap.mean + self.rates[0] / self.leave[0]
        return self.size.mean / self.gap.mean


def renewal(gap: Law) -> Source:
    """Independent gaps of one law."""
    return Source(RENEWAL, gap, deterministic(1.0))


def poisson(rate: float) -> Source:
    """A Poisson stream of ``rate`` requests per unit of time."""
    return renewal(exponential(1.0 / rate))


def periodic(gap: float) -> Source:
    """One request every ``gap``."""
    return renewal(deterministic(gap))


def batches(gap: Law, size: Law) -> Source:
    """Batches with independent gaps, each of an independent whole number of requests at one instant."""
    return Source(BATCHES, gap, size)


def on_off(rate_off: float, rate_on: float, off_to_on: float, on_to_off: float) -> Source:
    """A Poisson stream whose rate switches between two values; states last exponentially long.

    ``off_to_on`` and ``on_to_off`` are transition rates per unit of time. With ``rate_off = 0`` this is the
    interrupted Poisson process, a renewal process with hyperexponential gaps. It starts in its stationary
    state.
    """
    if min(rate_off, rate_on) < 0 or max(rate_off, rate_on) <= 0 or min(off_to_on, on_to_off) <= 0:
        raise ValueError("an on-off source needs a positive rate and positive transition rates")
    return modulated((rate_off, rate_on), np.array([[-off_to_on, off_to_on], [on_to_off, -on_to_off]]))


def modulated(rates: Sequence[float], generator: np.ndarray) -> Source:
    """A Poisson stream whose rate depends on the state of a Markov chain in continuous time, given by its
    ``generator``, shape (states, states); it starts in its stationary state."""
    count, leaving = len(rates), -np.diag(generator)
    equations = np.vstack([np.asarray(generator).T, np.ones(count)])
    shares = np.clip(np.linalg.lstsq(equations, np.append(np.zeros(count), 1.0), rcond=None)[0], 0.0, None)
    goes = np.cumsum(np.maximum(generator, 0.0) / leaving[:, None], axis=1)
    columns = [np.asarray(rates, float), np.cumsum(shares / shares.sum()), leaving, goes]
    environment = np.ascontiguousarray(np.column_stack(columns))
    one = deterministic(1.0)
    return Source(MODULATED, one, one, recorded=environment)


def bursts(rate: float, burst: int, gap: float) -> Source:
    """Poisson requests of ``rate``, and every ``gap`` a burst of ``burst`` more at one instant."""
    return Source(BURSTS, exponential(1.0 / rate), deterministic(1.0), (float(burst), 0.0), (gap, 0.0))


def replay(gaps: Sequence[float] | np.ndarray, sizes: Sequence[float] | np.ndarray | None = None) -> Source:
    """Recorded gaps (and sizes, shape (requests,) or (requests, columns)) from a random place on, round and
    round."""
    law = empirical(gaps)
    columns = [law.table] if sizes is None else [law.table, np.asarray(sizes, dtype=float)]
    return Source(REPLAY, law, deterministic(1.0), recorded=np.column_stack(columns))


@kernel
def start(kind, gap, leave, recorded, phase, origin, step, state):
    """Put a source into its stationary state: ``state`` is (phase or place, time left in it, words used,
    requests left of a batch).

    phase: time to the next slot's start, at which sources that send by the slot begin.
    """
    state[0] = 0.0
    state[1] = 0.0
    state[2] = 2.0
    state[3] = 0.0
    u = uniform(word_at(origin, step, 0))
    if kind == MODULATED:
        here = 0
        while here + 1 < recorded.shape[0] and u >= recorded[here, 1]:
            here += 1
        state[0] = float(here)
        state[1] = _exponential(word_at(origin, step, 1)) / recorded[here, 2]
    elif kind == REPLAY:
        state[0] = float(np.int64(u * recorded.shape[0]))
    elif kind == BURSTS:
        state[0] = u * leave[0]
        state[1] = gap[1] * _exponential(word_at(origin, step, 1))
    elif gap[0] == CHAIN:
        state[1] = phase  # of the first gap
    elif gap[0] == CONSTANT and kind == RENEWAL:
        state[1] = phase if gap[1] == 1.0 else (u - 1.0) * gap[1]


@kernel
def _modulated_gap(environment, origin, step, state):
    """The next gap of a Poisson stream in a Markov environment."""
    index = np.int64(state[2])
    total = 0.0
    left = state[1]
    here = np.int64(state[0])
    while True:
        rate = environment[here, 0]
        wait = _exponential(word_at(origin, step, index)) / rate if rate > 0.0 else np.inf
        index += 1
        if wait < left:
            state[0] = float(here)
            state[1] = left - wait
            state[2] = float(index)
            return total + wait
        total += left
        u = uniform(word_at(origin, step, index))
        there = 0
        while there + 1 < environment.shape[0] and u >= environment[here, 3 + there]:
            there += 1
        here = np.int64(there)
        left = _exponential(word_at(origin, step, index + 1)) / environment[here, 2]
        index += 2


@kernel
def next_gap(kind, gap, size, rates, leave, table, recorded, origin, step, state):
    """Time from the last request to the next; ``gap`` and ``size`` are (code, a, b, c)."""
    if kind == MODULATED:
        return _modulated_gap(recorded, origin, step, state)
    index = np.int64(state[2])
    if state[3] > 0.5:
        state[3] -= 1.0
        return 0.0
    if kind == BURSTS:  # state[0], state[1]: time to the next burst and to the next single request
        if state[0] < state[1]:
            wait = state[0]
            state[3] = rates[0] - 1.0
            state[1] -= wait
            state[0] = leave[0]
            return wait
        wait = state[1]
        state[0] -= wait
        state[1] = gap[1] * _exponential(word_at(origin, step, index))
        state[2] = float(index + 1)
        return wait
    if kind == BATCHES:
        count = draw(size[0], size[1], size[2], size[3], table, word_at(origin, step, index))
        state[3] = np.floor(count) - 1.0
        index += 1
    first = state[1]
    state[1] = 0.0
    state[2] = float(index + 1)
    return first + draw(gap[0], gap[1], gap[2], gap[3], table, word_at(origin, step, index))


@kernel
def fill(
    kind, gap, size, rates, leave, table, recorded, origin, step, state,
    works, tables, starts, own, index, gaps, sizes,
):  # fmt: skip
    """The gaps and sizes of the next requests.

    works: the laws of sizes, rows (code, a, b, c), one for each column of sizes; own, index: the stream that
    sizes are drawn from and the number of words of it that were used; gaps (n,) and sizes (columns, n) are
    filled.
    """
    count = gaps.shape[0]
    columns = sizes.shape[0]
    if kind == REPLAY:
        place = np.int64(state[0])
        for n in range(count):
            gaps[n] = recorded[place, 0]
            for j in range(recorded.shape[1] - 1):
                sizes[j, n] = recorded[place, 1 + j]
            place = (place + 1) % recorded.shape[0]
        state[0] = float(place)
        if recorded.shape[1] > 1:
            return
    elif kind == RENEWAL and gap[0] == EXPONENTIAL:
        first = np.int64(state[2])
        for n in range(count):
            gaps[n] = gap[1] * _exponential(word_at(origin, step, first + n))
        state[2] = float(first + count)
    else:
        for n in range(count):
            gaps[n] = next_gap(kind, gap, size, rates, leave, table, recorded, origin, step, state)
    for j in range(columns):
        code = np.int64(works[j, 0])
        a, b, c = works[j, 1], works[j, 2], works[j, 3]
        values = tables[starts[j] : starts[j + 1]]
        for n in range(count):
            sizes[j, n] = draw(code, a, b, c, values, word_at(own, step, index + n * columns + j))
