"""Risk models with a few coefficients each, fitted to their optimum by projected Newton: convex and logistic.

*Convex*: −log P = floor + Σ c_k b_k(delay, throughput), c ≥ 0. The basis b_k = e^{a v} ((1+s)/(u+s))^p (u the
relative delay, v the relative throughput) is jointly convex, non-increasing in the delay and non-decreasing
in the throughput: its logarithm a v − p log(u+s) + const is convex. So every fitted model is monotone,
normalised (P ≤ 1) and log-concave, and decomposing an SLA over such domains is a convex problem. A controller
whose log-acceptance is not concave in the delay (two regimes, say) no choice of c can follow.

*Logistic*: P = sigmoid(b + w₁ log(u + s) − w₂ v + …) with w ≥ 0; it takes further metrics and a context.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from fedopt.errors import InputError
from fedopt.kernels import kernel
from fedopt.learn.feedback import Array, Feedback, Rows, Scale
from fedopt.learn.model import RiskModel, gathered
from fedopt.learn.newton import CONVEX, FLOOR, LOGISTIC, minimise

POWERS = (0, 1, 2, 4, 8)
TILTS = (0.0, 1.0, 3.0)
SHIFT = 0.15
BASIS = len(POWERS) * len(TILTS)
PRIOR_ANSWERS = ((0.0, 0.0, 1.0), (0.1, 0.5, 0.5))
"""Relative delay, label and weight: no delay at all is refused, a tenth of the usual one is a toss-up."""
LOG_SHIFT = 0.02
STEPS, TOLERANCE = 60, 1e-7
"""Newton steps at most, and the projected gradient at which a fit counts as optimal (in answers)."""
RESCALE = 4.0
"""A fit starts afresh on a new scale where the answers' median delay has moved by this factor."""


@dataclass(frozen=True)
class _Parametric(RiskModel):
    """What both kinds share. `coefficients` has the shape (models, coefficients of one model)."""

    models: int = 1
    penalty: float = 0.1
    scale: Scale | None = None
    coefficients: Array | None = field(default=None, repr=False)

    concave = True
    link: ClassVar[int]

    def __post_init__(self) -> None:
        if self.scale is None:
            object.__setattr__(self, "scale", Scale.unit(self.models))
        if self.coefficients is None:
            object.__setattr__(self, "coefficients", np.tile(self._start(), (self.models, 1)))

    @abstractmethod
    def _start(self) -> Array:
        """Coefficients of a model that has seen nothing, which are also the prior of the logistic ones."""

    @abstractmethod
    def _free(self) -> Any:
        """Which coefficients may be negative."""

    @abstractmethod
    def _design(self, feedback: Feedback, rows: Rows) -> tuple[Array, Feedback]:
        """Features of answers, shape (rows, K, coefficients), and the answers with what a prior adds."""

    @property
    def count(self) -> int:
        return self.models

    @property
    def c(self) -> Array:
        """The coefficients, shape (models, coefficients of one)."""
        assert self.coefficients is not None
        return self.coefficients

    @property
    def units(self) -> Scale:
        """The input scale."""
        assert self.scale is not None
        return self.scale

    def fit(self, feedback: Feedback) -> Self:
        start = np.tile(self._start(), (self.models, 1))
        return replace(self, scale=Scale.of(feedback), coefficients=start)._descend(
            feedback, np.arange(self.models)
        )

    def update(self, feedback: Feedback, rows: Rows | None = None) -> Self:
        index = np.arange(self.models) if rows is None else np.asarray(rows)
        if index.size == 0:
            return self
        now = Scale.of(feedback)
        known = (feedback.weight > 0).any(axis=1)
        moved = known & (np.abs(np.log(now.delay / self.units.delay[index])) > math.log(RESCALE))
        model = self
        if moved.any():
            fresh = Scale(now.delay[moved], now.middle[moved], now.spread[moved])
            coefficients = self.c.copy()
            coefficients[index[moved]] = self._start()
            scale = self.units.replaced(index[moved], fresh)
            model = replace(self, scale=scale, coefficients=coefficients)
        return model._descend(feedback, index)

    def _descend(self, feedback: Feedback, index: Rows) -> Self:
        x, answers = self._design(feedback, index)
        start = self._start()
        free = self._free()
        prior = np.zeros(start.size) if self.link == CONVEX else start
        found, _ = minimise(
            self.link,
            np.ascontiguousarray(x),
            np.ascontiguousarray(answers.accepted),
            np.ascontiguousarray(answers.weight),
            np.full(start.size, self.penalty),
            prior,
            free,
            np.where(free, self.c[index], np.maximum(self.c[index], 0.0)),
            STEPS,
            TOLERANCE,
        )
        coefficients = self.c.copy()
        coefficients[index] = found
        return replace(self, coefficients=coefficients)

    def grown(self, models: int) -> Self:
        """With blank models up to `models`."""
        start = np.tile(self._start(), (models - self.models, 1))
        return replace(
            self,
            models=models,
            scale=self.units.grown(models),
            coefficients=np.concatenate([self.c, start]),
        )

    def state(self) -> dict[str, Any]:
        return {"penalty": self.penalty, "coefficients": self.c, **self.units.state()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        coefficients = np.asarray(state["coefficients"], float)
        return cls(len(coefficients), float(state["penalty"]), Scale.from_state(state), coefficients)


@dataclass(frozen=True)
class ConvexRisk(_Parametric):
    """Convex risk models, one per domain; they know delay and throughput alone.

    Attributes
    ----------
    models
        Number of models.
    penalty
        Weight of ½ Σ c_k², in answers; it makes the fit unique. Beside it stand two answers that nobody gave
        (`PRIOR_ANSWERS`): a domain that has accepted all so far is not thought to do without any delay.
    scale, coefficients
        Input scale and c, shape (models, BASIS); both taken from the history by `fit`.
    """

    penalty: float = 0.03
    link = CONVEX

    def _start(self) -> Array:
        return np.full(BASIS, 0.01)

    def _free(self) -> Any:
        return np.zeros(BASIS, dtype=np.bool_)

    def _design(self, feedback: Feedback, rows: Rows) -> tuple[Array, Feedback]:
        if feedback.extra.shape[2]:
            raise InputError("the convex model knows delay and throughput alone: choose another model")
        own = self.units.rows(rows)
        delay, label, share = (np.tile(part, (rows.size, 1)) for part in np.array(PRIOR_ANSWERS).T)
        middle = np.broadcast_to(own.middle, delay.shape)
        answers = feedback.beside(Feedback(delay * own.delay, middle, label, share))
        u, v = self.units.relative(answers.delay, answers.throughput, rows)
        return _basis(np.ascontiguousarray(u), np.ascontiguousarray(v)), answers

    def log_probability(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> Array:
        u, v = self.units.relative(delay, throughput, rows)
        return _convex_log_p(gathered(self.c, rows), u, np.broadcast_to(v, u.shape))

    def gradient(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> tuple[Array, Array]:
        u, v = self.units.relative(delay, throughput, rows)
        c, own = gathered(self.c, rows).reshape(-1, len(POWERS), len(TILTS)), self.units.rows(rows)
        w = (1.0 + SHIFT) / (np.maximum(u, 0.0) + SHIFT)
        growth = np.exp(np.multiply.outer(v, TILTS))
        level = np.einsum("mjk,m...k->m...j", c, growth)
        tilted = np.einsum("mjk,m...k->m...j", c * np.array(TILTS), growth)
        powers = w[..., None] ** np.array(POWERS)
        by_u = (level * powers * np.array(POWERS)).sum(axis=-1) * w / (1.0 + SHIFT)
        return by_u / own.delay, -(tilted * powers).sum(axis=-1) / own.spread


@kernel
def _basis(u: Array, v: Array) -> Array:
    """b_k of requests, shape (models, K, BASIS)."""
    models, rows = u.shape
    out = np.empty((models, rows, BASIS))
    for m in range(models):
        for i in range(rows):
            w = (1.0 + SHIFT) / (max(u[m, i], 0.0) + SHIFT)
            w2 = w * w
            w4 = w2 * w2
            powers = (1.0, w, w2, w4, w4 * w4)
            tilt = math.exp(v[m, i])
            tilts = (1.0, tilt, tilt * tilt * tilt)
            for j in range(5):
                for k in range(3):
                    out[m, i, 3 * j + k] = powers[j] * tilts[k]
    return out


@kernel
def _convex_log_p(c: Array, u: Array, v: Array) -> Array:
    """−floor − Σ c_k b_k, shape (models, K)."""
    models, rows = u.shape
    out = np.empty((models, rows))
    for m in range(models):
        for i in range(rows):
            w = (1.0 + SHIFT) / (max(u[m, i], 0.0) + SHIFT)
            w2 = w * w
            w4 = w2 * w2
            powers = (1.0, w, w2, w4, w4 * w4)
            tilt = math.exp(v[m, i])
            tilt3 = tilt * tilt * tilt
            total = FLOOR
            for j in range(5):
                total += powers[j] * (c[m, 3 * j] + c[m, 3 * j + 1] * tilt + c[m, 3 * j + 2] * tilt3)
            out[m, i] = -total
    return out


@dataclass(frozen=True)
class LogisticRisk(_Parametric):
    """Monotone logistic models, one per domain.

    Attributes
    ----------
    models
        Number of models.
    penalty
        Weight of ½‖c − prior‖², in answers.
    signs
        Of each further column: 1 more is laxer, −1 more is stricter, 0 context.
    scale, coefficients
        Input scale, and (b, w₁, w₂, one per further column) of each model; taken from the history by `fit`.
    """

    signs: tuple[int, ...] = ()
    link = LOGISTIC

    def _start(self) -> Array:
        return np.array([2.0, 2.0, 1.0, *(0.5 * abs(sign) for sign in self.signs)])

    def _free(self) -> Any:
        return np.array([True, False, False, *(sign == 0 for sign in self.signs)])

    def _design(self, feedback: Feedback, rows: Rows) -> tuple[Array, Feedback]:
        return self.features(feedback.delay, feedback.throughput, rows, feedback.extra), feedback

    def features(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> Array:
        """(1, log(u+s), −v, further columns) of requests, shape (rows, K, coefficients)."""
        u, v = self.units.relative(delay, throughput, rows)
        v = np.broadcast_to(v, u.shape)
        columns = [np.ones_like(u), np.log(np.maximum(u, 0.0) + LOG_SHIFT), -v]
        for place, sign in enumerate(self.signs):
            assert extra is not None, "models of further columns are asked with them"
            value = np.broadcast_to(extra[..., place], u.shape)
            more_is_laxer = np.log(np.maximum(value, 0.0) + LOG_SHIFT)
            columns.append(more_is_laxer if sign > 0 else -value if sign < 0 else value)
        return np.stack(columns, axis=-1)

    def predictor(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> Array:
        """Log-odds of acceptance, shape (rows, K)."""
        c = gathered(self.c, rows)
        if not self.signs:
            u, v = self.units.relative(delay, throughput, rows)
            logs = np.log(np.maximum(u, 0.0) + LOG_SHIFT)
            return np.asarray(c[:, 0, None] + c[:, 1, None] * logs - c[:, 2, None] * v)
        return np.einsum("mkc,mc->mk", self.features(delay, throughput, rows, extra), c)

    def log_probability(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> Array:
        return -np.logaddexp(0.0, -self.predictor(delay, throughput, rows, extra))

    def gradient(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> tuple[Array, Array]:
        rejected = np.exp(-np.logaddexp(0.0, self.predictor(delay, throughput, rows, extra)))
        by_delay, by_throughput = self.slopes(delay, rows)
        return rejected * by_delay, rejected * by_throughput

    def slopes(self, delay: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        """Derivatives of the log-odds by delay and by throughput."""
        c, own = gathered(self.c, rows), self.units.rows(rows)
        u = np.maximum(np.asarray(delay, float) / own.delay, 0.0)
        return c[:, 1, None] / (u + LOG_SHIFT) / own.delay, -c[:, 2, None] / own.spread

    def state(self) -> dict[str, Any]:
        return {**super().state(), "signs": np.array(self.signs, np.int64)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        signs = tuple(int(sign) for sign in state["signs"])
        coefficients = np.asarray(state["coefficients"], float)
        penalty, scale = float(state["penalty"]), Scale.from_state(state)
        return cls(len(coefficients), penalty, scale, coefficients, signs)
