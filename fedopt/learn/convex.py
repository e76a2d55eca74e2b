"""A risk model that is convex in the request: −log P = floor + Σ c_k b_k(delay, throughput), c ≥ 0.

The basis b_k = e^{a v} ((1+s)/(u+s))^p (u the relative delay, v the relative throughput) is jointly convex,
non-increasing in the delay and non-decreasing in the throughput: its logarithm a v − p log(u+s) + const is
convex. So every fitted model is monotone, normalised (P ≤ 1) and log-concave; decomposing an SLA over such
domains is a convex problem whose optimum carries a certificate. Fitting is convex too: a rejection
contributes −log(1 − e^{−φ}), a convex function of φ. `fit` uses the compiled projected Newton method;
`certified_fit` solves the same problem with cvxpy and Clarabel.

The price: where the true log-acceptance is not concave in the delay (a controller with two regimes, say)
no choice of c can follow it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedopt.kernels import kernel
from fedopt.learn.feedback import Array, Feedback, Scale
from fedopt.learn.model import RiskModel, Rows
from fedopt.learn.newton import CONVEX, FLOOR, minimise

POWERS = (0, 1, 2, 4, 8)
TILTS = (0.0, 1.0, 3.0)
SHIFT = 0.15
BASIS = len(POWERS) * len(TILTS)
PRIOR_ANSWERS = ((0.0, 0.0, 1.0), (0.1, 0.5, 0.5))
"""Relative delay, label and weight: no delay at all is refused, a tenth of the usual one is a toss-up."""
_START = 0.01
_SIGNED: NDArray[np.bool_] = np.zeros(BASIS, dtype=np.bool_)


@dataclass(frozen=True)
class ConvexRisk(RiskModel):
    """Convex risk models, one per domain.

    Attributes:
        models: number of models.
        penalty: weight of ½ Σ c_k², in answers; it makes the fit unique.
        prior_weight: weight of the prior, which is two answers that nobody gave (`PRIOR_ANSWERS`): a domain
            that has accepted all so far is not thought to do without any delay.
        steps: Newton steps of one `update`.
        scale: input scale; taken from the history by `fit`.
        coefficients: shape (models, basis).
    """

    models: int = 1
    penalty: float = 0.03
    prior_weight: float = 1.0
    steps: int = 4
    scale: Scale = field(default=Scale(1.0, 0.0, 1.0))
    coefficients: Array | None = field(default=None, repr=False)

    concave = True

    def __post_init__(self) -> None:
        if self.coefficients is None:
            object.__setattr__(self, "coefficients", np.full((self.models, BASIS), _START))

    @property
    def count(self) -> int:
        return self.models

    @property
    def c(self) -> Array:
        """The coefficients, shape (models, basis)."""
        assert self.coefficients is not None
        return self.coefficients

    def fit(self, feedback: Feedback) -> Self:
        scale = Scale.of(feedback)
        start = replace(self, scale=scale, coefficients=np.full((self.models, BASIS), _START))
        return start._descend(feedback, None, steps=60)

    def update(self, feedback: Feedback, rows: Rows | None = None) -> Self:
        return self._descend(feedback, rows, self.steps)

    def _descend(self, feedback: Feedback, rows: Rows | None, steps: int) -> Self:
        index = np.arange(self.models) if rows is None else np.asarray(rows)
        feedback = with_prior(feedback, self.scale, self.prior_weight)
        x = basis(self.scale, feedback.delay, feedback.throughput)
        penalty, prior = np.full(BASIS, self.penalty), np.zeros(BASIS)
        found, _ = minimise(
            CONVEX,
            x,
            np.ascontiguousarray(feedback.accepted),
            np.ascontiguousarray(feedback.weight),
            penalty,
            prior,
            _SIGNED,
            np.maximum(self.c[index], 0.0),
            steps,
            1e-7,
        )
        coefficients = self.c.copy()
        coefficients[index] = found
        return replace(self, coefficients=coefficients)

    def log_probability(self, delay: Array, throughput: Array, rows: Rows | None = None) -> Array:
        w, growth, c = self._parts(delay, throughput, rows)
        phi = np.full(w.shape, FLOOR)
        for j, p in enumerate(POWERS):
            phi += self._level(c, growth, j) * w**p
        return -phi

    def gradient(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        w, growth, c = self._parts(delay, throughput, rows)
        by_u, by_v = np.zeros(w.shape), np.zeros(w.shape)
        for j, p in enumerate(POWERS):
            by_u += self._level(c, growth, j) * p * w ** (p + 1) / (1.0 + SHIFT)
            tilted = sum(
                a * c[:, j * len(TILTS) + i, None] * g
                for i, (a, g) in enumerate(zip(TILTS, growth, strict=True))
            )
            by_v -= tilted * w**p
        return by_u / self.scale.delay, by_v / self.scale.spread

    def _parts(self, delay: Array, throughput: Array, rows: Rows | None) -> tuple[Array, list[Array], Array]:
        delay = np.asarray(delay, dtype=float)
        u, v = self.scale.relative(delay, np.asarray(throughput, dtype=float))
        w = (1.0 + SHIFT) / (np.maximum(u, 0.0) + SHIFT)
        return w, [np.exp(a * v) for a in TILTS], self.c if rows is None else self.c[rows]

    @staticmethod
    def _level(c: Array, growth: list[Array], power: int) -> Array:
        return np.asarray(sum(c[:, power * len(TILTS) + i, None] * g for i, g in enumerate(growth)))

    def state(self) -> dict[str, Any]:
        return {
            "models": self.models,
            "penalty": self.penalty,
            "prior_weight": self.prior_weight,
            "steps": self.steps,
            "scale": [self.scale.delay, self.scale.middle, self.scale.spread],
            "coefficients": self.c,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        return cls(
            models=int(state["models"]),
            penalty=float(state["penalty"]),
            prior_weight=float(state["prior_weight"]),
            steps=int(state["steps"]),
            scale=Scale(*(float(value) for value in state["scale"])),
            coefficients=np.asarray(state["coefficients"], float),
        )


def basis(scale: Scale, delay: Array, throughput: Array) -> Array:
    """b_k of requests, shape (models, K, basis)."""
    u, v = scale.relative(np.asarray(delay, float), np.asarray(throughput, float))
    return _basis(np.ascontiguousarray(u), np.ascontiguousarray(np.broadcast_to(v, u.shape)))


@kernel
def _basis(u: Array, v: Array) -> Array:
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


def with_prior(feedback: Feedback, scale: Scale, weight: float) -> Feedback:
    """The feedback and the prior's answers, at the middle throughput."""
    delay, label, share = (np.tile(part, (feedback.count, 1)) for part in np.array(PRIOR_ANSWERS).T)
    prior = Feedback(delay * scale.delay, np.full_like(delay, scale.middle), label, weight * share)
    return feedback.beside(prior)


def certified_fit(model: ConvexRisk, feedback: Feedback) -> tuple[ConvexRisk, Array]:
    """The fit of `ConvexRisk.fit` as a disciplined convex program, solved by Clarabel.

    Returns the fitted models and their objective values, shape (models,). Slower than `fit` (milliseconds a
    model); it is the independent check of it.
    """
    import cvxpy as cp

    scale = Scale.of(feedback)
    feedback = with_prior(feedback, scale, model.prior_weight)
    x = basis(scale, feedback.delay, feedback.throughput)
    coefficients, values = [], []
    for row in range(feedback.count):
        w, y = feedback.weight[row], feedback.accepted[row]
        c = cp.Variable(BASIS, nonneg=True)
        phi = FLOOR + x[row] @ c
        terms = [0.5 * model.penalty * cp.sum_squares(c), (w * y) @ phi]
        refused = np.flatnonzero(w * (1 - y) > 0)
        if refused.size:
            terms.append(-(w * (1 - y))[refused] @ cp.log(1 - cp.exp(-phi[refused])))
        problem = cp.Problem(cp.Minimize(cp.sum(cp.hstack(terms))))
        values.append(problem.solve(solver=cp.CLARABEL))
        coefficients.append(np.maximum(np.asarray(c.value), 0.0))
    return replace(model, scale=scale, coefficients=np.array(coefficients)), np.array(values)
