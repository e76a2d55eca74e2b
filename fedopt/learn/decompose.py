"""Splitting an end-to-end SLA into partial ones: on grids (any model), by price (concave ones), by SLSQP."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from fedopt.errors import InputError
from fedopt.kernels import kernel
from fedopt.learn.feedback import Array, Rows

_REFINE = 8
"""Each window of grids is finer by this factor."""
_OUTER, _INNER, _NEWTON = 30, 26, 5
_SETTLED = 1e-8
"""Certified gap, in log-probability, at which a split by price counts as the best."""
_FIRST, _CUTS, _CELLS = 256, 8, 4000
"""Of the bound at a price: cells of each domain at first, times that they are cut, and open cells at most."""
_WINDOWS = 5
"""Finer grids around a split that is to be settled."""
IMPOSSIBLE = -1e30
"""Stands for log 0 where sums must stay finite."""


class DecompositionInfeasible(InputError):
    """The least delays that the user demands exceed the SLA, or the largest do not reach it."""

    exit_code = 3


class Acceptance(Protocol):
    """What decomposition needs to know of domains: log P and its derivative, by row."""

    @property
    def concave(self) -> bool:
        """Whether log P is concave in the delay."""
        ...

    def log_probability(self, delay: Array, throughput: Array, rows: Rows | None = None) -> Array:
        """log P, shape (rows, K)."""
        ...

    def gradient(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        """Derivatives of log P by delay and by throughput, each of shape (rows, K)."""
        ...


@dataclass(frozen=True)
class Problem:
    """Choose τ_1 + … + τ_N = τ with lower ≤ τ_n ≤ upper to maximise Σ log P_n(τ_n, θ), for R requests.

    The throughput is the minimum over the domains and log P falls with it, so every domain is asked for
    exactly the SLA's θ.

    Attributes:
        acceptance: risk models or the truth; request i meets the models `rows[i]`.
        rows: shape (R, N).
        delay: end-to-end delay τ of each request, shape (R,), units of time.
        throughput: end-to-end throughput θ of each request, shape (R,).
        lower, upper: bounds on the partial delays, shape (N,).
    """

    acceptance: Acceptance
    rows: Rows
    delay: Array
    throughput: Array
    lower: Array = field(default_factory=lambda: np.zeros(0))
    upper: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        rows = np.atleast_2d(np.asarray(self.rows, dtype=np.intp))
        domains = rows.shape[1]
        delay = np.broadcast_to(np.atleast_1d(np.asarray(self.delay, float)), rows.shape[:1])
        throughput = np.broadcast_to(np.atleast_1d(np.asarray(self.throughput, float)), rows.shape[:1])
        lower = np.zeros(domains) if np.size(self.lower) == 0 else np.asarray(self.lower, float)
        upper = np.full(domains, np.inf) if np.size(self.upper) == 0 else np.asarray(self.upper, float)
        for name, value in {
            "rows": rows,
            "delay": delay,
            "throughput": throughput,
            "lower": lower,
            "upper": upper,
        }.items():
            object.__setattr__(self, name, value)
        if lower.shape != (domains,) or upper.shape != (domains,):
            raise ValueError(f"bounds need one value per domain ({domains})")
        if (lower < 0).any() or (lower > upper).any():
            raise DecompositionInfeasible("each least partial delay must lie between 0 and the largest one")
        if delay.size and lower.sum() > delay.min() * (1 + 1e-12):
            raise DecompositionInfeasible(
                f"the least partial delays add up to {lower.sum():g}, more than the SLA's delay "
                f"{delay.min():g}: lower one of them or relax the SLA"
            )
        if delay.size and upper.sum() < delay.max() * (1 - 1e-12):
            raise DecompositionInfeasible(
                f"the largest partial delays add up to {upper.sum():g}, less than the SLA's delay "
                f"{delay.max():g}; such an SLA may simply be tightened to {upper.sum():g}"
            )

    @property
    def requests(self) -> int:
        """Number of requests R."""
        return int(self.rows.shape[0])

    @property
    def domains(self) -> int:
        """Number of domains N."""
        return int(self.rows.shape[1])

    def table(self, delays: Array) -> Array:
        """log P at delays of shape (R, N, K); −1e30 stands for impossible and for out of bounds."""
        requests, domains, points = delays.shape
        flat = np.maximum(delays, 1e-12).reshape(requests * domains, points)
        throughput = np.repeat(self.throughput, domains)[:, None]
        values = self.acceptance.log_probability(flat, throughput, self.rows.reshape(-1))
        values = np.where(np.isfinite(values), values, IMPOSSIBLE).reshape(delays.shape)
        slack = 1e-9 * (1.0 + self.delay[:, None, None])
        outside = (delays < self.lower[:, None] - slack) | (delays > self.upper[:, None] + slack)
        return np.where(outside, IMPOSSIBLE, values)

    def value(self, delays: Array) -> Array:
        """Σ log P of splits of shape (R, N), shape (R,)."""
        return np.asarray(self.table(delays[:, :, None])[:, :, 0].sum(axis=1))

    def slopes(self, delays: Array) -> Array:
        """d log P_n / dτ_n at splits of shape (R, N)."""
        flat = np.maximum(delays, 1e-12).reshape(-1, 1)
        throughput = np.repeat(self.throughput, self.domains)[:, None]
        return self.acceptance.gradient(flat, throughput, self.rows.reshape(-1))[0].reshape(delays.shape)

    def equal(self) -> Array:
        """Equal split, moved into the bounds; shape (R, N)."""
        return project(np.repeat(self.delay[:, None] / self.domains, self.domains, 1), self)


def project(delays: Array, problem: Problem) -> Array:
    """The nearest splits that add up and respect the bounds."""
    lower = np.ascontiguousarray(np.broadcast_to(problem.lower, delays.shape))
    upper = np.ascontiguousarray(np.broadcast_to(problem.upper, delays.shape))
    return _project(np.ascontiguousarray(delays), np.ascontiguousarray(problem.delay), lower, upper)


@kernel
def _project(delays: Array, total: Array, lower: Array, upper: Array) -> Array:
    """Bisection on a common shift, request by request."""
    requests, domains = delays.shape
    out = np.empty((requests, domains))
    for r in range(requests):
        high = total[r] + 1.0
        for n in range(domains):
            high = max(high, abs(delays[r, n]) + total[r] + 1.0)
        low = -high
        shift = 0.0
        for _ in range(70):
            added = 0.0
            for n in range(domains):
                added += min(max(delays[r, n] + shift, lower[r, n]), upper[r, n])
            if added < total[r]:
                low = shift
            else:
                high = shift
            shift = (low + high) / 2
        for n in range(domains):
            out[r, n] = min(max(delays[r, n] + shift, lower[r, n]), upper[r, n])
    return out


@dataclass(frozen=True)
class Decomposition:
    """Splits and what they are worth.

    Attributes:
        delay: partial delays, shape (R, N); each row adds up to the SLA's delay.
        log_probability: Σ log P of each split under the models, shape (R,).
        upper_bound: a value that no split can exceed under the models, shape (R,); None if not asked for.
    """

    delay: Array
    log_probability: Array
    upper_bound: Array | None = None

    @property
    def gap(self) -> Array | None:
        """Certified distance to the best split, in log-probability, shape (R,)."""
        return None if self.upper_bound is None else np.maximum(self.upper_bound - self.log_probability, 0.0)


@kernel
def allocate(table: Array, budget: int) -> tuple[NDArray[np.int64], Array]:
    """Best k with Σ k_n = budget of Σ table[r, n, k_n], for every request r.

    Returns the chosen cells (R, N) and their value (R,). A budget that cannot be spent gives −inf.
    """
    requests, domains, points = table.shape
    cells = np.zeros((requests, domains), dtype=np.int64)
    best = np.empty(requests)
    width = budget + 1
    value = np.empty((domains, width))
    choice = np.zeros((domains, width), dtype=np.int64)
    for r in range(requests):
        for b in range(width):
            value[0, b] = table[r, 0, b] if b < points else -np.inf
            choice[0, b] = b
        for n in range(1, domains):
            start = budget if n == domains - 1 else 0
            for b in range(start, width):
                top, at = -np.inf, 0
                for k in range(max(0, b - n * (points - 1)), min(b, points - 1) + 1):
                    candidate = value[n - 1, b - k] + table[r, n, k]
                    if candidate > top:
                        top, at = candidate, k
                value[n, b] = top
                choice[n, b] = at
        best[r] = value[domains - 1, budget]
        left = budget
        for n in range(domains - 1, -1, -1):
            cells[r, n] = choice[n, left]
            left -= choice[n, left]
    return cells, best


def on_grid(problem: Problem, points: int = 64, windows: int = 2, bound: bool = False) -> Decomposition:
    """Decompose every request on a grid of `points` delays per domain, then `windows` times finer.

    With `bound` a certificate comes too: log P is non-decreasing in the delay, so rounding every partial
    delay up to the grid can only help, and the best rounded-up split bounds all splits.
    """
    free = problem.delay - problem.lower.sum()
    step = np.maximum(free, 0.0) / (points - 1)
    grid = problem.lower[:, None] + step[:, None, None] * np.arange(points)
    table = problem.table(grid)
    cells, value = allocate(table, points - 1)
    delays = problem.lower + step[:, None] * cells
    hopeless = ~(value > -1e29)
    if hopeless.any():
        delays[hopeless] = problem.equal()[hopeless]
    delays = np.where(hopeless[:, None], delays, _finer(problem, delays, step, windows))
    delays = project(delays, problem)
    upper = _rounded_up(problem, table) if bound else None
    return Decomposition(delays, problem.value(delays), upper)


def _finer(problem: Problem, delays: Array, step: Array, windows: int) -> Array:
    """Splits on grids around those given, each finer than the one before; `step` is of the first, (R,)."""
    offsets = np.arange(-_REFINE - 1, _REFINE + 2)
    for _ in range(windows):
        step = step / _REFINE
        fine = problem.table(delays[:, :, None] + step[:, None, None] * offsets)
        cells, _ = allocate(fine, (_REFINE + 1) * problem.domains)
        delays = delays + step[:, None] * (cells - _REFINE - 1)
    return delays


def _rounded_up(problem: Problem, table: Array) -> Array:
    """Upper bound on any split: each delay rounded up costs at most N − 1 further cells in all."""
    extra = problem.domains - 1
    wide = np.concatenate([table, np.repeat(table[:, :, -1:], extra, axis=2)], axis=2)
    wide = np.maximum.accumulate(wide, axis=2)
    return np.asarray(allocate(wide, table.shape[2] - 1 + extra)[1])


def settle(problem: Problem, found: Decomposition, tolerance: float) -> Decomposition:
    """Close the certified gaps that are above `tolerance`, by finer grids and by a bound at a price.

    At any price μ of delay no split is worth more than μτ + Σ max (log P_n(t) − μt) over all t. The maxima
    are found by branch and bound: log P does not fall with the delay, so on [a, b] it is at most log P(b),
    and cells that might hold more than the best value known are cut until they cannot. Where log P is not
    concave at the best split no price supports it; the bound of the grid stays then.
    """
    assert found.upper_bound is not None
    assert found.gap is not None
    delays, value, upper = found.delay.copy(), found.log_probability.copy(), found.upper_bound.copy()
    for i in np.flatnonzero(found.gap > tolerance):
        one = slice(i, i + 1)
        single = replace(
            problem, rows=problem.rows[one], delay=problem.delay[one], throughput=problem.throughput[one]
        )
        start = single.delay / _FIRST / _REFINE
        finer = project(_finer(single, delays[one], start, _WINDOWS), single)
        if single.value(finer)[0] > value[i]:
            delays[one], value[one] = finer, single.value(finer)
        slopes = single.slopes(delays[one])[0]
        upper[i] = min(upper[i], *(_at_price(single, price, tolerance) for price in np.unique(slopes)))
    return Decomposition(delays, value, np.maximum(upper, value))


def _at_price(problem: Problem, price: float, tolerance: float) -> float:
    """The bound at a price, of one request."""
    total, domains, rows = float(problem.delay[0]), problem.domains, problem.rows[0]
    high = np.minimum(problem.upper, total - problem.lower.sum() + problem.lower)
    share = np.arange(_FIRST) / _FIRST
    width = (high - problem.lower) / _FIRST
    domain = np.repeat(np.arange(domains), _FIRST)
    left = (problem.lower[:, None] + (high - problem.lower)[:, None] * share).reshape(-1)
    width = width[domain]
    best, settled = np.full(domains, -np.inf), np.full(domains, -np.inf)
    for cut in range(_CUTS):
        right = left + width
        log_p = problem.acceptance.log_probability(
            np.maximum(right, 1e-12)[:, None],
            np.repeat(problem.throughput, right.size)[:, None],
            rows[domain],
        )[:, 0]
        np.maximum.at(best, domain, log_p - price * right)
        bound = log_p - price * left
        open_ = bound > best[domain] + tolerance / (2 * domains)
        if cut == _CUTS - 1 or open_.sum() > _CELLS:
            open_[:] = False
        np.maximum.at(settled, domain[~open_], bound[~open_])
        if not open_.any():
            break
        width = np.repeat(width[open_] / _REFINE, _REFINE)
        left = np.repeat(left[open_], _REFINE) + width * np.tile(np.arange(_REFINE), int(open_.sum()))
        domain = np.repeat(domain[open_], _REFINE)
    return float(price * total + np.maximum(settled, best).sum())


def by_price(problem: Problem) -> Decomposition:
    """The best split of every request of separable concave log-acceptance, with its bound.

    At price μ each domain takes the delay where its slope d log P/dτ falls to μ. Newton's method on the
    condition that all slopes equal one price comes first, from the best split on a coarse grid; the requests
    for which the certificate does not confirm it are bisected: the delays taken shrink as μ grows. The same
    μ is the certificate: by concavity no split is worth more than the tangents at the one found.

    Raises
    ------
    ValueError
        For models whose log P is not concave in the delay.
    """
    if not problem.acceptance.concave:
        raise ValueError("price bisection needs log P concave in the delay; use the grid for other models")
    delays, bound = _newton(problem, on_grid(problem, points=32, windows=1).delay)
    open_ = np.flatnonzero(~(bound - problem.value(delays) <= _SETTLED))
    if open_.size:
        rest = replace(
            problem,
            rows=problem.rows[open_],
            delay=problem.delay[open_],
            throughput=problem.throughput[open_],
        )
        delays[open_] = _bisect(rest)
        bound = tangent_bound(problem, delays)
    return Decomposition(delays, problem.value(delays), bound)


def _newton(problem: Problem, delays: Array) -> tuple[Array, Array]:
    """Move delay between the domains until their slopes agree; a step that does not help is not taken.

    Returns the splits and their tangent bounds.
    """
    value, slope = problem.value(delays), problem.slopes(delays)
    bound = _tangents(problem, delays, slope, value)
    upper = np.minimum(problem.upper, problem.delay[:, None])
    h = 1e-5 * problem.delay[:, None]
    for _ in range(_NEWTON):
        if (bound - value <= _SETTLED).all():
            break
        curve = (problem.slopes(delays + h) - slope) / h
        ease = 1.0 / np.maximum(-curve, 1e-9)
        mean = (slope * ease).sum(axis=1) / ease.sum(axis=1)
        fixed = ((delays <= problem.lower + h) & (slope < mean[:, None])) | (
            (delays >= upper - h) & (slope > mean[:, None])
        )
        ease = np.where(fixed, 0.0, ease)
        price = (slope * ease).sum(axis=1) / np.maximum(ease.sum(axis=1), 1e-300)
        moved = project(delays + (slope - price[:, None]) * ease, problem)
        gained = problem.value(moved)
        better = gained > value
        delays = np.where(better[:, None], moved, delays)
        value, slope = np.where(better, gained, value), problem.slopes(delays)
        bound = _tangents(problem, delays, slope, value)
    return delays, bound


def _bisect(problem: Problem) -> Array:
    """Bisection on the price, for any concave slopes."""
    top = np.minimum(problem.upper, problem.delay[:, None])
    bottom = np.broadcast_to(problem.lower, top.shape)
    at_top, at_bottom = problem.slopes(top), problem.slopes(bottom)
    low = np.log(np.maximum(at_top.min(axis=1), 1e-300))
    high = np.log(np.clip(at_bottom.max(axis=1), 1e-299, 1e300))
    small, large = bottom, top
    for _ in range(_OUTER):
        middle = (low + high) / 2
        delays = _demand(problem, np.exp(middle), small, large)
        over = delays.sum(axis=1) > problem.delay
        low, high = np.where(over, middle, low), np.where(over, high, middle)
        small = np.where(over[:, None], small, delays)
        large = np.where(over[:, None], delays, large)
    # the two ends of the bracket straddle the delay; go between them (exact where a slope is constant)
    total_small, total_large = small.sum(axis=1), large.sum(axis=1)
    share = np.clip((problem.delay - total_small) / np.maximum(total_large - total_small, 1e-300), 0.0, 1.0)
    return project(small + share[:, None] * (large - small), problem)


def _demand(problem: Problem, price: Array, small: Array, large: Array) -> Array:
    """Delay that each domain takes at the price, known to lie between `small` and `large`."""
    low, high = small, large
    for _ in range(_INNER):
        middle = (low + high) / 2
        worth = problem.slopes(middle) > price[:, None]
        low, high = np.where(worth, middle, low), np.where(worth, high, middle)
    return (low + high) / 2


def tangent_bound(problem: Problem, delays: Array) -> Array:
    """No split is worth more than this if log P is concave: tangents at `delays`, best price among slopes."""
    return _tangents(problem, delays, problem.slopes(delays), problem.value(delays))


def _tangents(problem: Problem, delays: Array, slopes: Array, value: Array) -> Array:
    low, high = problem.lower, np.minimum(problem.upper, problem.delay[:, None])
    tilt = slopes[:, :, None] - slopes[:, None, :]  # of each domain, at the price of each
    reach = np.where(tilt > 0, (high - delays)[:, :, None], (low - delays)[:, :, None])
    return np.asarray((value[:, None] + (tilt * reach).sum(axis=1)).min(axis=1))


def by_slsqp(problem: Problem, points: int = 11) -> Decomposition:
    """Decompose request after request: the best of a grid with `points` per domain, polished by SLSQP."""
    start = on_grid(problem, points=points, windows=0)
    delays = start.delay.copy()
    for i in range(problem.requests):
        single = Problem(
            problem.acceptance,
            problem.rows[i : i + 1],
            problem.delay[i : i + 1],
            problem.throughput[i : i + 1],
            problem.lower,
            problem.upper,
        )
        scale = problem.delay[i] / problem.domains

        def risk(x: np.ndarray, single: Problem = single, scale: float = scale) -> float:
            return -float(single.value(x[None] * scale)[0])

        def slope(x: np.ndarray, single: Problem = single, scale: float = scale) -> np.ndarray:
            return np.asarray(
                np.nan_to_num(-single.slopes(x[None] * scale)[0] * scale, posinf=1e6, neginf=-1e6)
            )

        high = np.minimum(problem.upper, problem.delay[i])
        found = minimize(
            risk,
            delays[i] / scale,
            jac=slope,
            method="SLSQP",
            bounds=list(zip(problem.lower / scale, high / scale, strict=True)),
            constraints={"type": "eq", "fun": lambda x: x.sum() - problem.domains, "jac": np.ones_like},
            options={"maxiter": 100, "ftol": 1e-10},
        )
        polished = project(found.x[None] * scale, single)
        if single.value(polished)[0] > start.log_probability[i]:
            delays[i] = polished[0]
    return Decomposition(delays, problem.value(delays))


METHODS = {"grid": on_grid, "price": by_price, "slsqp": by_slsqp}
