"""A tail that depends on covariates such as the hour or the load: rate and scale of exceedances as
regressions.

P(X > q | x) is logistic in x, the scale is β(x) = exp(x·γ), the shape ξ is common. Covariances are
sandwiches whose middle is the long-run variance of the scores from equally weighted cosines, so that tests
and intervals hold under serial dependence, with Student's t (or F) on the ν cosines used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import minimize

from fedopt.audit.dependence import cosine_transforms, frequencies, time_cells

__all__ = ["CovariateTail", "Effect", "fit_covariates", "hour_of_day"]


@dataclass(frozen=True)
class Effect:
    """One covariate: its effect on log odds of an exceedance and on log scale, with robust standard errors.

    p_value: of both being zero.
    """

    name: str
    on_rate: float
    on_rate_error: float
    on_scale: float
    on_scale_error: float
    p_value: float


@dataclass(frozen=True, eq=False)
class CovariateTail:
    """The fitted regressions. Coefficients begin with the intercept; covariates are centred and scaled
    inside.

    rate: shape (m+1,), of the log odds; scale: shape (m+1,), of log β; shape: ξ; covariance: of (rate,
    scale, ξ), shape (2m+3, 2m+3); centre, spread: shape (m,); used: ν.
    """

    threshold: float
    rate: np.ndarray
    scale: np.ndarray
    shape: float
    covariance: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    names: tuple[str, ...]
    used: int

    def effects(self) -> list[Effect]:
        """Each covariate's effect per unit of the covariate."""
        count = len(self.names)
        found = []
        for k, name in enumerate(self.names):
            places = [1 + k, count + 2 + k]
            both = np.array([self.rate[1 + k], self.scale[1 + k]])
            block = self.covariance[np.ix_(places, places)]
            statistic = float(both @ np.linalg.solve(block, both)) / 2
            correction = (self.used - 1) / self.used  # Hotelling's T² to F
            errors = np.sqrt(np.diag(block)) / self.spread[k]
            found.append(
                Effect(
                    name,
                    float(both[0] / self.spread[k]),
                    float(errors[0]),
                    float(both[1] / self.spread[k]),
                    float(errors[1]),
                    float(stats.f.sf(statistic * correction, 2, self.used - 1)),
                )
            )
        return found

    def quantile(self, probability: float, covariates: np.ndarray, confidence: float = 0.95) -> np.ndarray:
        """Quantile given covariates, shape (k, m): estimate and interval, shape (k, 3).

        NaN where 1 − p is above the rate of exceedances there. Intervals are first-order, on the log of the
        excess.
        """
        table = np.atleast_2d(np.asarray(covariates, dtype=float))
        design = _design(table, self.centre, self.spread)
        parameters = np.concatenate([self.rate, self.scale, [self.shape]])
        value = _log_excess(parameters, design, probability)
        gradient = np.empty((table.shape[0], parameters.size))
        for k in range(parameters.size):
            step = 1e-5 * np.eye(parameters.size)[k]
            up, down = (_log_excess(parameters + s * step, design, probability) for s in (1, -1))
            gradient[:, k] = (up - down) / 2e-5
        error = np.sqrt(np.maximum(np.einsum("ki,ij,kj->k", gradient, self.covariance, gradient), 0.0))
        half = float(stats.t.ppf(0.5 + confidence / 2, self.used)) * error
        return self.threshold + np.exp(np.stack([value, value - half, value + half], axis=1))


def hour_of_day(seconds: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """The hour as two smooth covariates, sine and cosine of the day's angle; shape (n, 2), and their
    names.
    """
    angle = 2 * np.pi * (np.asarray(seconds, dtype=float) % 86_400) / 86_400
    return np.stack([np.sin(angle), np.cos(angle)], axis=1), ("hour (sine)", "hour (cosine)")


def fit_covariates(
    values: np.ndarray, covariates: np.ndarray, names: tuple[str, ...], threshold: float
) -> CovariateTail:
    """Fit rate and scale of the exceedances of a threshold; values (n,) and covariates (n, m) in time order.

    Raises ValueError where a covariate is constant, shapes disagree or exceedances are fewer than 20 per
    covariate.
    """
    values = np.asarray(values, dtype=float)
    table = np.asarray(covariates, dtype=float).reshape(values.size, -1)
    if table.shape[1] != len(names) or not np.isfinite(table).all():
        raise ValueError("there must be one finite covariate for each name and value")
    centre, spread = table.mean(axis=0), table.std(axis=0)
    if not np.all(spread > 0):
        raise ValueError("a covariate is constant")
    design = _design(table, centre, spread)
    late = values > threshold
    if late.sum() < 20 * (table.shape[1] + 1) or late.all():
        raise ValueError(f"{int(late.sum())} exceedances are too few for {table.shape[1]} covariates")
    rate, rate_information = _logistic(design, late)
    excess, inside = values[late] - threshold, design[late]
    scale, shape, tail_information = _scale(excess, inside)
    residual = late - 1 / (1 + np.exp(-design @ rate))
    scores = np.zeros((values.size, rate.size + scale.size + 1))
    scores[:, : rate.size] = design * residual[:, None]
    scores[late, rate.size :] = _scores(np.concatenate([scale, [shape]]), excess, inside)
    cells = time_cells(np.arange(values.size), values.size)
    sums = np.stack([np.bincount(cells, weights=column, minlength=2048) for column in scores.T])
    transforms = cosine_transforms(sums)
    share = late.mean()
    used, _ = frequencies(values.size, transforms[0], values.size * share * (1 - share))
    used = max(used, 12)
    middle = transforms[:, :used] @ transforms[:, :used].T / used
    bread = np.zeros_like(middle)
    bread[: rate.size, : rate.size] = np.linalg.inv(rate_information)
    bread[rate.size :, rate.size :] = np.linalg.inv(tail_information)
    return CovariateTail(
        threshold, rate, scale, shape, bread @ middle @ bread, centre, spread, tuple(names), used
    )


def _design(table: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(table.shape[0]), (table - centre) / spread])


def _logistic(design: np.ndarray, late: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maximum likelihood by Newton's method; coefficients and information."""
    coefficients = np.zeros(design.shape[1])
    coefficients[0] = math.log(late.mean() / (1 - late.mean()))
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ coefficients))
        information = (design * (chance * (1 - chance))[:, None]).T @ design
        step = np.linalg.solve(information, design.T @ (late - chance))
        coefficients = coefficients + np.clip(step, -2, 2)
        if np.max(np.abs(step)) < 1e-10:
            break
    return coefficients, information


def _scale(excess: np.ndarray, design: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Coefficients of log β, ξ, and the information, by quasi-Newton with the exact gradient."""
    start = np.zeros(design.shape[1] + 1)
    start[0], start[-1] = math.log(excess.mean()), 0.05

    def target(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scale, shape = np.exp(design @ parameters[:-1]), float(parameters[-1])
        inside = 1 + shape * excess / scale
        if shape < -0.95 or inside.min() <= 0:
            return 1e10, np.zeros_like(parameters)
        v = np.log(inside) / shape if abs(shape) > 1e-7 else excess / scale
        value = float(np.sum(np.log(scale) + (1 + shape) * v))
        return value / excess.size, -_scores(parameters, excess, design).sum(axis=0) / excess.size

    found = minimize(target, start, jac=True, method="BFGS", options={"gtol": 1e-7}).x
    information = np.empty((found.size, found.size))
    for k in range(found.size):
        step = 1e-5 * np.eye(found.size)[k]
        up, down = (_scores(found + s * step, excess, design).sum(axis=0) for s in (1, -1))
        information[k] = -(up - down) / 2e-5
    return found[:-1], float(found[-1]), (information + information.T) / 2


def _scores(parameters: np.ndarray, excess: np.ndarray, design: np.ndarray) -> np.ndarray:
    """∂ log-likelihood/∂(γ, ξ) of each excess; shape (k, m+2)."""
    shape = float(parameters[-1])
    z = excess / np.exp(design @ parameters[:-1])
    inside = np.maximum(1 + shape * z, 1e-300)
    by_log_scale = (1 + shape) * z / inside - 1
    if abs(shape) > 1e-4:
        by_shape = np.log(inside) / shape**2 - (1 + 1 / shape) * z / inside
    else:
        by_shape = z * z / 2 - z + shape * (z * z - 2 * z**3 / 3)
    return np.column_stack([design * by_log_scale[:, None], by_shape])


def _log_excess(parameters: np.ndarray, design: np.ndarray, probability: float) -> np.ndarray:
    width = design.shape[1]
    rate = 1 / (1 + np.exp(-design @ parameters[:width]))
    log_scale, shape = design @ parameters[width:-1], float(parameters[-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        depth = np.log(rate / (1 - probability))
        depth = np.where(depth > 0, depth, np.nan)
        stretch = np.expm1(shape * depth) / shape if abs(shape) > 1e-8 else depth
        return np.asarray(log_scale + np.log(stretch))
