"""Laws of times and sizes that the compiled simulators draw from.

A ``Law`` is a code, four numbers and, for an empirical law, a table. Every law has a finite mean; the unit is
the caller's (a time for gaps and services, work for sizes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fedopt.kernels import kernel
from fedopt.simulate.streams import exponential as _exponential
from fedopt.simulate.streams import gamma as _gamma
from fedopt.simulate.streams import mix, uniform
from fedopt.simulate.streams import normal as _normal

CONSTANT, EXPONENTIAL, GAMMA, HYPEREXPONENTIAL, UNIFORM, LOGNORMAL, PARETO, WEIBULL, EMPIRICAL, GEOMETRIC = (
    range(10)
)
_NONE = np.zeros(1)
_AFTER_LAW = np.uint64(0x8EBC6AF09C88C6E3)


@dataclass(frozen=True)
class Law:
    """One law of a non-negative random time or size."""

    code: int
    parameters: tuple[float, float, float, float]
    mean: float
    table: np.ndarray = field(default_factory=lambda: _NONE, compare=False, repr=False)

    def scaled(self, factor: float) -> Law:
        """The law of ``factor`` times the variable; factor > 0."""
        a, b, c, d = self.parameters
        if self.code == GEOMETRIC:
            raise ValueError("a geometric law counts and cannot be scaled")
        if self.code in (CONSTANT, EXPONENTIAL):
            a *= factor
        elif self.code in (GAMMA, PARETO, WEIBULL):
            b *= factor
        elif self.code == HYPEREXPONENTIAL:
            b, c = b * factor, c * factor
        elif self.code == UNIFORM:
            a, b = a * factor, b * factor
        elif self.code == LOGNORMAL:
            a += math.log(factor)
        return replace(self, parameters=(a, b, c, d), mean=self.mean * factor, table=self.table * factor)


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
        return math.exp(a + b * _normal(word))
    if code == PARETO:
        return b * uniform(word) ** (-1.0 / a)
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
