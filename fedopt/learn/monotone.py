"""Risk models that assume little but monotony: a spline or any isotonic function of one index, and trees.

The index is the log-odds of a logistic model of the same answers. Isotonic functions and trees lean a
little on that model: where they are flat it says which side of a plateau is safer, and beyond the answers it
goes on.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from scipy.optimize import isotonic_regression

from fedopt.errors import optional
from fedopt.kernels import kernel
from fedopt.learn.feedback import Array, Feedback, Rows
from fedopt.learn.model import RiskModel, gathered
from fedopt.learn.newton import LOGISTIC, minimise
from fedopt.learn.parametric import LOG_SHIFT, STEPS, TOLERANCE, LogisticRisk

LEAN = 0.05
"""Share of the logistic model in the stated probability."""
PRIOR = 2.0
"""Answers that the logistic model counts for in every isotonic fit, spread over all answers."""
SURE = 1e-4
"""No probability is stated nearer to 0 or 1 than this."""
ISOTONIC_KNOTS = 128
KNOTS = 13
"""Of a spline; between two of them its log-odds rise linearly."""
LEAST_GAP = 1e-3
"""Between knots, in log-odds of the index."""
CROWD = 0.05
"""Answers whose index lies in the same bin of this width count as the root of their number for the knots."""
PENALTY = 0.1
"""Weight of ½‖coefficients of a spline − those of the logistic model‖², in answers."""
DELAYS, THROUGHPUTS = 96, 9
"""Nodes of the table that a tree ensemble is read into."""
_STEP = 1e-4


@dataclass(frozen=True)
class _Leaning(RiskModel):
    """A mixture of a monotone shape and a logistic model; slopes by central differences."""

    base: LogisticRisk = field(default_factory=LogisticRisk)

    @property
    def count(self) -> int:
        return self.base.models

    @abstractmethod
    def _shape(self, delay: Array, throughput: Array, rows: Rows | None, extra: Array | None) -> Array:
        """Probability by the shape alone, shape (rows, K)."""

    def log_probability(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> Array:
        delay = np.asarray(delay, float)
        throughput = np.broadcast_to(np.asarray(throughput, float), delay.shape)
        lean = np.exp(self.base.log_probability(delay, throughput, rows, extra))
        shaped = (1 - LEAN) * self._shape(delay, throughput, rows, extra) + LEAN * lean
        return np.asarray(np.log(SURE + (1 - 2 * SURE) * shaped))

    def gradient(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> tuple[Array, Array]:
        delay = np.asarray(delay, float)
        throughput = np.broadcast_to(np.asarray(throughput, float), delay.shape)
        own = self.base.units.rows(rows)
        slopes = []
        for by_delay, by_throughput in ((_STEP * own.delay, 0.0), (0.0, _STEP * own.spread)):
            ends = [
                self.log_probability(delay + s * by_delay, throughput + s * by_throughput, rows, extra)
                for s in (1, -1)
            ]
            slopes.append((ends[0] - ends[1]) / (2 * (by_delay + by_throughput)))
        return np.maximum(slopes[0], 0.0), np.minimum(slopes[1], 0.0)


@dataclass(frozen=True)
class SplineRisk(RiskModel):
    """Log-odds that are a non-decreasing linear spline of an index, the log-odds of a logistic model.

    With the coefficients' prior it is that logistic model; answers bend it where they speak against it: to a
    step where a controller accepts beyond a delay without a doubt, to a plateau where it has two regimes.

    Attributes
    ----------
    base
        Logistic models; their log-odds are the index z.
    knots
        Values of z, shape (models, KNOTS): quantiles of the answers', crowded ones counting less.
    coefficients
        (a, b, r_1, …), shape (models, KNOTS + 1): log-odds a + b z + Σ r_k (share of the way from knot k − 1
        to knot k), b and r at least 0.
    """

    base: LogisticRisk = field(default_factory=LogisticRisk)
    knots: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    coefficients: Array = field(default_factory=lambda: np.zeros(0), repr=False)

    def __post_init__(self) -> None:
        if self.knots.ndim != 2:
            object.__setattr__(self, "knots", np.tile(np.linspace(-6.0, 6.0, KNOTS), (self.count, 1)))
            object.__setattr__(self, "coefficients", np.tile(_PRIOR, (self.count, 1)))

    @property
    def count(self) -> int:
        return self.base.models

    def fit(self, feedback: Feedback) -> Self:
        return replace(self, base=self.base.fit(feedback))._bent(feedback, np.arange(self.count))

    def update(self, feedback: Feedback, rows: Rows | None = None) -> Self:
        index = np.arange(self.count) if rows is None else np.asarray(rows)
        if index.size == 0:
            return self
        return replace(self, base=self.base.update(feedback, index))._bent(feedback, index)

    def _bent(self, feedback: Feedback, index: Rows) -> Self:
        z = self.base.predictor(feedback.delay, feedback.throughput, index, feedback.extra)
        knots, coefficients = self.knots.copy(), self.coefficients.copy()
        for place, row in enumerate(index):
            used = feedback.weight[place] > 0
            if used.any():
                knots[row] = _spread(z[place, used])
        own = knots[index][:, None]
        ramps = np.clip((z[..., None] - own[..., :-1]) / np.diff(own), 0.0, 1.0)
        free = np.zeros(_PRIOR.size, bool)
        free[0] = True
        coefficients[index], _ = minimise(
            LOGISTIC,
            np.concatenate([np.ones((*z.shape, 1)), z[..., None], ramps], axis=-1),
            np.ascontiguousarray(feedback.accepted),
            np.ascontiguousarray(feedback.weight),
            np.full(_PRIOR.size, PENALTY),
            _PRIOR,
            free,
            self.coefficients[index],
            STEPS,
            TOLERANCE,
        )
        return replace(self, knots=knots, coefficients=coefficients)

    def log_probability(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> Array:
        z = self.base.predictor(delay, throughput, rows, extra)
        return -np.logaddexp(
            0.0, -_spline(z, gathered(self.knots, rows), gathered(self.coefficients, rows))[0]
        )

    def gradient(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> tuple[Array, Array]:
        z = self.base.predictor(delay, throughput, rows, extra)
        value, slope = _spline(z, gathered(self.knots, rows), gathered(self.coefficients, rows))
        slope *= np.exp(-np.logaddexp(0.0, value))
        by_delay, by_throughput = self.base.slopes(delay, rows)
        return slope * by_delay, slope * by_throughput

    def grown(self, models: int) -> Self:
        """With blank models up to `models`."""
        more = type(self)(self.base.grown(models))
        more.knots[: self.count], more.coefficients[: self.count] = self.knots, self.coefficients
        return more

    def state(self) -> dict[str, Any]:
        return {"knots": self.knots, "spline": self.coefficients, **self.base.state()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        parts = (np.array(state[k], float) for k in ("knots", "spline"))
        return cls(LogisticRisk.from_state(state), *parts)


_PRIOR = np.concatenate([[0.0, 1.0], np.zeros(KNOTS - 1)])


def _spread(z: Array) -> Array:
    """Knots among values, at least LEAST_GAP apart."""
    z = np.sort(z)
    _, place, number = np.unique(np.round(z / CROWD), return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(number[place])
    reached = np.cumsum(weight) - weight / 2
    knots = np.interp(np.linspace(reached[0], reached[-1], KNOTS), reached, z)
    return np.asarray(np.maximum.accumulate(knots + LEAST_GAP * np.arange(KNOTS)))


@kernel
def _spline(z: Array, knots: Array, coefficients: Array) -> tuple[Array, Array]:
    """Values and slopes of each model's spline, shape as z, (models, K)."""
    models, points = z.shape
    value, slope = np.empty((models, points)), np.empty((models, points))
    for m in range(models):
        for i in range(points):
            value[m, i] = coefficients[m, 0] + coefficients[m, 1] * z[m, i]
            slope[m, i] = coefficients[m, 1]
            for k in range(knots.shape[1] - 1):
                beyond = z[m, i] - knots[m, k]
                if beyond <= 0:
                    break
                width = knots[m, k + 1] - knots[m, k]
                value[m, i] += coefficients[m, k + 2] * min(beyond / width, 1.0)
                if beyond < width:
                    slope[m, i] += coefficients[m, k + 2] / width
    return value, slope


@dataclass(frozen=True)
class IsotonicRisk(_Leaning):
    """P is an isotonic function of the log-odds of a logistic model: whatever shape, one direction.

    Attributes
    ----------
    base
        Logistic models; their log-odds are the index.
    knots, values
        Isotonic P at knots of the index, shape (models, ISOTONIC_KNOTS); linear between them.
    """

    knots: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    values: Array = field(default_factory=lambda: np.zeros(0), repr=False)

    def __post_init__(self) -> None:
        if self.knots.ndim != 2:
            knots = np.tile(np.linspace(-12.0, 12.0, ISOTONIC_KNOTS), (self.count, 1))
            object.__setattr__(self, "knots", knots)
            object.__setattr__(self, "values", 1 / (1 + np.exp(-knots)))

    @classmethod
    def blank(cls, models: int, signs: tuple[int, ...] = ()) -> Self:
        """Models that have seen nothing."""
        return cls(LogisticRisk(models, signs=signs))

    def fit(self, feedback: Feedback) -> Self:
        return replace(self, base=self.base.fit(feedback))._reshaped(feedback, np.arange(self.count))

    def update(self, feedback: Feedback, rows: Rows | None = None) -> Self:
        index = np.arange(self.count) if rows is None else np.asarray(rows)
        return replace(self, base=self.base.update(feedback, index))._reshaped(feedback, index)

    def _reshaped(self, feedback: Feedback, index: Rows) -> Self:
        knots, values = self.knots.copy(), self.values.copy()
        z = self.base.predictor(feedback.delay, feedback.throughput, index, feedback.extra)
        for place, row in enumerate(index):
            used = feedback.weight[place] > 0
            knots[row], values[row] = isotonic_knots(
                z[place, used], feedback.accepted[place, used], feedback.weight[place, used]
            )
        return replace(self, knots=knots, values=values)

    def _shape(self, delay: Array, throughput: Array, rows: Rows | None, extra: Array | None) -> Array:
        z = self.base.predictor(delay, throughput, rows, extra)
        knots, values = gathered(self.knots, rows), gathered(self.values, rows)
        return np.stack([np.interp(z[m], knots[m], values[m]) for m in range(len(z))]) if len(z) else z

    def grown(self, models: int) -> Self:
        """With blank models up to `models`."""
        more = type(self)(LogisticRisk(models - self.count, signs=self.base.signs))
        return type(self)(
            self.base.grown(models),
            np.concatenate([self.knots, more.knots]),
            np.concatenate([self.values, more.values]),
        )

    def state(self) -> dict[str, Any]:
        return {"knots": self.knots, "values": self.values, **self.base.state()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        return cls(
            LogisticRisk.from_state(state), *(np.asarray(state[k], float) for k in ("knots", "values"))
        )


def isotonic_knots(z: Array, accepted: Array, weight: Array) -> tuple[Array, Array]:
    """Isotonic regression of labels on an index: points (index, P), flat in blocks, linear between."""
    if z.size == 0:
        knots = np.linspace(-12.0, 12.0, ISOTONIC_KNOTS)
        return knots, 1 / (1 + np.exp(-knots))
    order = np.argsort(z, kind="stable")
    z, y, w = z[order], accepted[order], weight[order]
    prior = PRIOR / z.size
    y = (w * y + prior / (1 + np.exp(-z))) / (w + prior)
    fitted = isotonic_regression(y, weights=w + prior)
    first = fitted.blocks[:-1]
    last = fitted.blocks[1:] - 1
    index = np.column_stack([z[first], z[last]]).reshape(-1)
    level = np.repeat(fitted.x[first], 2)
    if (
        index.size > ISOTONIC_KNOTS
    ):  # keep the points that the curve needs most: the largest steps between blocks
        step = np.concatenate([[np.inf], np.diff(level)])
        kept = np.sort(np.argsort(-np.maximum(step, np.append(step[1:], np.inf)))[:ISOTONIC_KNOTS])
        index, level = index[kept], level[kept]
    pad = ISOTONIC_KNOTS - index.size
    tail = index[-1] + np.arange(1, pad + 1)
    return np.concatenate([index, tail]), np.concatenate([level, np.full(pad, level[-1])])


@dataclass(frozen=True)
class TreesRisk(_Leaning):
    """Gradient-boosted trees with monotone constraints (scikit-learn, the extra `learn`), read into a table.

    Attributes
    ----------
    base
        Logistic models; `fit` takes the input scale from them.
    seed
        Of the trees.
    log_delay, throughput
        Nodes of each model's table, shapes (models, DELAYS) and (models, THROUGHPUTS).
    values
        P at the nodes, shape (models, DELAYS, THROUGHPUTS); bilinear between them.
    """

    seed: int = 0
    log_delay: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    throughput: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    values: Array = field(default_factory=lambda: np.zeros(0), repr=False)

    def __post_init__(self) -> None:
        if self.values.ndim != 3:
            nodes = np.tile(np.linspace(-4.0, 4.0, DELAYS), (self.count, 1))
            object.__setattr__(self, "log_delay", nodes)
            object.__setattr__(self, "throughput", np.tile(np.linspace(-1, 1, THROUGHPUTS), (self.count, 1)))
            object.__setattr__(self, "values", np.full((self.count, DELAYS, THROUGHPUTS), 0.5))

    @classmethod
    def blank(cls, models: int, seed: int = 0) -> Self:
        """Models that have seen nothing."""
        return cls(LogisticRisk(models), seed)

    def fit(self, feedback: Feedback) -> Self:
        return replace(self, base=self.base.fit(feedback))._grow_trees(feedback, np.arange(self.count))

    def update(self, feedback: Feedback, rows: Rows | None = None) -> Self:
        index = np.arange(self.count) if rows is None else np.asarray(rows)
        return replace(self, base=self.base.update(feedback, index))._grow_trees(feedback, index)

    def _grow_trees(self, feedback: Feedback, index: Rows) -> Self:
        with optional("monotone trees", "learn"):
            from sklearn.ensemble import HistGradientBoostingClassifier
            from threadpoolctl import threadpool_limits
        logs = self._logs(feedback.delay, index)
        nodes, levels, values = self.log_delay.copy(), self.throughput.copy(), self.values.copy()
        for place, row in enumerate(index):
            used = feedback.weight[place] > 0
            if not used.any():
                continue
            x = np.column_stack([logs[place, used], feedback.throughput[place, used]])
            y, w = feedback.accepted[place, used], feedback.weight[place, used]
            nodes[row] = np.linspace(x[:, 0].min(), x[:, 0].max() + 1e-9, DELAYS)
            levels[row] = np.linspace(x[:, 1].min(), x[:, 1].max() + 1e-9, THROUGHPUTS)
            grid = np.stack(np.meshgrid(nodes[row], levels[row], indexing="ij"), axis=-1).reshape(-1, 2)
            # a soft label is two answers; so is the prior: half an answer of each kind over all of them
            prior = 0.5 / y.size
            labels = np.repeat([1.0, 0.0], y.size)
            shares = np.concatenate([w * y + prior, w * (1 - y) + prior])
            trees = HistGradientBoostingClassifier(
                learning_rate=0.1,
                max_iter=60,
                max_leaf_nodes=8,
                min_samples_leaf=20,
                monotonic_cst=[1, -1],
                early_stopping=False,
                random_state=self.seed,
            )
            with threadpool_limits(1):  # so few answers that threads would only wait for each other
                trees.fit(np.concatenate([x, x]), labels, shares)
            values[row] = trees.predict_proba(grid)[:, 1].reshape(DELAYS, THROUGHPUTS)
        return replace(self, log_delay=nodes, throughput=levels, values=values)

    def _logs(self, delay: Array, rows: Rows | None) -> Array:
        """Logarithms of delays, no delay at all included."""
        relative, _ = self.base.units.relative(delay, np.zeros(1), rows)
        return np.asarray(np.log(np.maximum(relative, 0.0) + LOG_SHIFT))

    def _shape(self, delay: Array, throughput: Array, rows: Rows | None, extra: Array | None) -> Array:
        nodes, levels = gathered(self.log_delay, rows), gathered(self.throughput, rows)
        i, a = _cell(self._logs(delay, rows), nodes)
        j, b = _cell(throughput, levels)
        table, m = gathered(self.values, rows), np.arange(len(delay))[:, None]
        low = table[m, i, j] * (1 - b) + table[m, i, j + 1] * b
        high = table[m, i + 1, j] * (1 - b) + table[m, i + 1, j + 1] * b
        return np.asarray(low * (1 - a) + high * a)

    def grown(self, models: int) -> Self:
        """With blank models up to `models`."""
        more = type(self).blank(models - self.count)
        parts = ("log_delay", "throughput", "values")
        joined = (np.concatenate([getattr(self, name), getattr(more, name)]) for name in parts)
        return type(self)(self.base.grown(models), self.seed, *joined)

    def state(self) -> dict[str, Any]:
        own = {"nodes": self.log_delay, "levels": self.throughput, "values": self.values, "seed": self.seed}
        return {**own, **self.base.state()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        parts = (np.asarray(state[k], float) for k in ("nodes", "levels", "values"))
        return cls(LogisticRisk.from_state(state), int(state["seed"]), *parts)


def _cell(x: Array, nodes: Array) -> tuple[Rows, Array]:
    """Cell of equidistant nodes that each x lies in, and where in it (0 to 1; clamped at the ends)."""
    first, last, count = nodes[:, :1], nodes[:, -1:], nodes.shape[1]
    at = np.clip((x - first) / (last - first) * (count - 1), 0.0, count - 1.0)
    cell = np.minimum(at.astype(np.intp), count - 2)
    return cell, at - cell
