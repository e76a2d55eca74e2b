"""Envelopes as plain arrays, evaluated inside compiled loops.

`pack` turns models into a `ModelTable`; its row m is the m-th model. `log_rate`, `log_burst` and
`request_log_bias` are what the calculus needs: θρ (θκ), θσ (θη), and the correction for requests, all in
nats. Row −1 stands for "none": 0 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fedopt.kernels import formula
from fedopt.laws.models import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, TokenBucket
from fedopt.laws.operators import own_arrival, own_impairment
from fedopt.laws.protocol import Law
from fedopt.laws.requests import WholeRequests
from fedopt.laws.table import Table, tabulate

__all__ = ["ModelTable", "log_burst", "log_rate", "pack", "request_log_bias", "seen_on", "ville_burst"]

NONE, POISSON, POISSON_EXPONENTIAL, GAMMA, ON_OFF, TOKEN_BUCKET, TABLE = range(7)


class ModelTable(NamedTuple):
    """M models in slots, as two arrays: few arguments keep compiled calls and their compilation short.

    rows: float64[M, 15]: the family's code, six parameters, where its table starts and stops, the flags
    below, and what `WholeRequests` adds: work per slot, work, and whether bounds begin without a slot.
    curves: float64[4, G]: θ grids (1/work, ascending, without 0), log-rates (nats per slot), log-bursts and
    request biases
    (nats) of all tabulated models, one after the other.
    """

    rows: np.ndarray
    curves: np.ndarray

    @property
    def monotone(self) -> np.ndarray:
        """Whether the work grows with the interval, bool[M]."""
        return self.rows[:, 9] > 0.0

    @property
    def independent(self) -> np.ndarray:
        """Whether Ville's inequality may be used (independent increments), bool[M]."""
        return self.rows[:, 10] > 0.0

    @property
    def iid(self) -> np.ndarray:
        """Whether the work is i.i.d. per slot, bool[M]."""
        return self.rows[:, 11] > 0.0


def pack(models: Iterable[Any]) -> ModelTable:
    """Arrival and impairment objects, in order, as arrays; objects of other classes are tabulated.

    Raises ValueError for an object whose envelope is infinite for every θ.
    """
    laws = [_completed(model) for model in models]
    rows = [_row(law.base if isinstance(law, WholeRequests) else law) for law in laws]
    table_rows = np.zeros((len(rows), 15))
    curves: list[np.ndarray] = [np.empty((4, 0))]
    size = 0
    for m, (code, values, table, law) in enumerate(rows):
        table_rows[m, 0] = code
        table_rows[m, 1 : 1 + len(values)] = values
        table_rows[m, 9:12] = law.monotone, law.independent_increments, law.iid
        whole = laws[m]
        if isinstance(whole, WholeRequests):
            table_rows[m, 12:] = whole.slope, whole.size, whole.without_slots
        if table is not None:
            names = ("grid", "log_rates", "log_bursts", "log_bias")
            curves.append(np.stack([_column(table, name) for name in names]))
            table_rows[m, 7:9] = size, size + table.grid.size
            size += table.grid.size
    return ModelTable(table_rows, np.ascontiguousarray(np.concatenate(curves, axis=1)))


def _column(table: Table, name: str) -> np.ndarray:
    values = getattr(table, name)
    if values is None:
        return np.full(table.grid.size, np.inf)
    if name == "log_rates" and not table.iid:
        return np.where(table.grid < 0.0, 0.0, values)
    return np.asarray(values, float)


def _completed(model: Any) -> Law:
    if isinstance(model, Law):
        return model
    return own_arrival(model) if hasattr(model, "rho") else own_impairment(model)


def _row(model: Law) -> tuple[int, tuple[float, ...], Table | None, Law]:
    if isinstance(model, NoImpairment):
        return NONE, (), None, model
    if isinstance(model, Poisson):
        return POISSON_EXPONENTIAL if model.exponential else POISSON, (model.rate, model.size), None, model
    if isinstance(model, ExponentialWork):
        return GAMMA, (1.0, model.mean_work), None, model
    if isinstance(model, GammaWork):
        return GAMMA, (model.shape, model.scale), None, model
    if isinstance(model, OnOff):
        return ON_OFF, (model.peak, model.on_to_off, model.off_to_on, float(model.iid)), None, model
    if isinstance(model, TokenBucket):
        return TOKEN_BUCKET, (model.rate, model.burst), None, model
    table = tabulate(model)
    return TABLE, (), table, table


@formula
def _tabulated(models, m, curve, theta):
    """Linear between grid points and (0, 0); +inf above the last, constant below a negative first one."""
    start, stop = int(models.rows[m, 7]), int(models.rows[m, 8])
    grid, values = models.curves[0], models.curves[curve]
    if theta > grid[stop - 1]:
        return math.inf
    if theta <= grid[start]:
        if grid[start] < 0.0:
            return values[start]
        return values[start] * (theta / grid[start]) if theta > 0.0 else 0.0
    low, high = start, stop - 1  # grid[low] < theta <= grid[high]
    while high - low > 1:
        middle = (low + high) // 2
        if grid[middle] < theta:
            low = middle
        else:
            high = middle
    left, right, below, above = grid[low], grid[high], values[low], values[high]
    if left < 0.0 < right:  # 0 lies between the two
        if theta > 0.0:
            left, below = 0.0, 0.0
        else:
            right, above = 0.0, 0.0
    if above == math.inf:
        return math.inf
    return below + (theta - left) / (right - left) * (above - below)


@formula
def _on_off(theta: float, peak: float, p: float, q: float) -> tuple[float, float]:
    """log r and log(w_on/w_off) of the tilted matrix: spectral radius, right eigenvector; see `OnOff`."""
    x = theta * peak
    if x > 30.0:
        e = math.exp(-x)
        half = (1.0 - q) * e - (1.0 - p)
        scaled = 0.5 * ((1.0 - q) * e + (1.0 - p) + math.sqrt(half * half + 4.0 * p * q * e))
        return x + math.log(scaled), math.log((scaled - (1.0 - q) * e) / q)
    z = math.expm1(x)
    b = p + q - (1.0 - p) * z
    half = p - q - (1.0 - p) * z
    root = math.sqrt(half * half + 4.0 * p * q * (z + 1.0))
    over = 2.0 * z / (b + root) if b > 0.0 else (root - b) / (2.0 * q)
    return math.log1p(q * over), math.log1p(over) - x


@formula
def _on_off_start(ratio: float, p: float, q: float) -> float:
    """log(⟨π, w⟩ / w_off) of the stationary chain."""
    on = math.log(q / (p + q)) + ratio
    off = math.log(p / (p + q))
    top = max(on, off)
    return top + math.log1p(math.exp(min(on, off) - top))


@formula
def own_log_rate(models, m, theta):
    """`log_rate` without what whole requests add."""
    code = models.rows[m, 0]
    first, second = models.rows[m, 1], models.rows[m, 2]
    if code == GAMMA:
        x = theta * second
        return -first * math.log1p(-x) if x < 1.0 else math.inf
    if code == POISSON:
        x = theta * second
        return first * math.expm1(x) if x < 700.0 else math.inf
    if code == POISSON_EXPONENTIAL:
        x = theta * second
        return first * x / (1.0 - x) if x < 1.0 else math.inf
    if code == TABLE:
        return _tabulated(models, m, 1, theta)
    if code == ON_OFF:
        if theta < 0.0 and models.rows[m, 4] == 0.0:
            return 0.0
        return _on_off(theta, first, second, models.rows[m, 3])[0]
    if code == TOKEN_BUCKET:
        return theta * first if theta > 0.0 else 0.0
    return 0.0


@formula
def log_rate(models, m, theta):
    """θρ(θ) or θκ(θ) of row m, nats per slot: the log-moment Λ(θ) of i.i.d. work.

    +inf outside the domain; for θ < 0 Λ(θ) where it is known, else 0.
    """
    if m < 0 or theta == 0.0:
        return 0.0
    value, slope = own_log_rate(models, m, theta), models.rows[m, 12]
    return value + theta * slope if slope > 0.0 else value


@formula
def _own_log_burst(models, m, theta):
    """`log_burst` without what whole requests add."""
    code = models.rows[m, 0]
    if code in (GAMMA, POISSON_EXPONENTIAL):
        return 0.0 if theta * models.rows[m, 2] < 1.0 else math.inf
    if code == POISSON:
        return 0.0 if theta * models.rows[m, 2] < 700.0 else math.inf
    if code == TABLE:
        return _tabulated(models, m, 2, theta)
    if code == ON_OFF:
        p, q = models.rows[m, 2], models.rows[m, 3]
        ratio = _on_off(theta, models.rows[m, 1], p, q)[1]
        return max(_on_off_start(ratio, p, q) - min(ratio, 0.0), 0.0)
    if code == TOKEN_BUCKET:
        return theta * models.rows[m, 2]
    return 0.0


@formula
def log_burst(models, m, theta):
    """θσ(θ) or θη(θ) of row m for θ > 0, nats; +inf outside the domain."""
    if m < 0:
        return 0.0
    value, size = _own_log_burst(models, m, theta), models.rows[m, 13]
    return value + theta * size if size > 0.0 else value


@formula
def ville_burst(models, m, theta):
    """`log_burst` of arrivals where a bound begins by Ville's inequality: less θρ, the arrivals of a slot,
    where no law of the path speaks of slots."""
    burst = log_burst(models, m, theta)
    if m >= 0 and models.rows[m, 14] > 0.0:
        burst -= log_rate(models, m, theta)
    return burst


@formula
def _most_work(models, m):
    """What no slot of row m brings more of, its burst apart, work; +inf where nothing is known."""
    code = NONE if m < 0 else models.rows[m, 0]
    if code == NONE:
        return 0.0
    return models.rows[m, 1] if code in (ON_OFF, TOKEN_BUCKET) else math.inf


@formula
def seen_on(models, arrival, impair, theta, growth):
    """What a bound per request by Ville's inequality gains, nats, where an excess can only begin with a slot
    in which arrivals are on: log(w_on/w_off).

    impair: rows, shape (L,); growth: θρ + Σθκ, nats a slot, at most θR wherever such a bound holds. While
    arrivals are off a slot brings no more than the impairments' peaks; if that is at most R, the excess
    does not rise. Proof: docs/explanation/forms.md.
    """
    if arrival < 0 or models.rows[arrival, 0] != ON_OFF:
        return 0.0
    most = models.rows[arrival, 12]
    for i in range(impair.size):
        most += _most_work(models, impair[i])
    if not theta * most <= growth:
        return 0.0
    peak, leave, enter = models.rows[arrival, 1], models.rows[arrival, 2], models.rows[arrival, 3]
    return max(_on_off(theta, peak, leave, enter)[1], 0.0)


@formula
def request_log_bias(models, m, theta):
    """What a bound per request adds to the log-bound, nats; +inf where nothing valid is known."""
    if m < 0:
        return 0.0
    code = models.rows[m, 0]
    second = models.rows[m, 2]
    if code == POISSON:
        return theta * second
    if code in (GAMMA, POISSON_EXPONENTIAL):
        x = theta * second
        return -math.log1p(-x) if x < 1.0 else math.inf
    if code == TABLE:
        return _tabulated(models, m, 3, theta)
    if code == ON_OFF:
        rate, ratio = _on_off(theta, models.rows[m, 1], second, models.rows[m, 3])
        return theta * models.rows[m, 1] + ratio - rate - _on_off_start(ratio, second, models.rows[m, 3])
    return 0.0
