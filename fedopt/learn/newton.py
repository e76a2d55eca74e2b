"""Projected Newton for the two likelihoods of small monotone models, many models at once.

Both are convex in the coefficients c. With x the features of an answer and y ∈ [0, 1] its label:

- convex risk, φ = floor + x·c:    y φ − (1−y) log(1 − e^{−φ})
- logistic, z = x·c:               y log(1 + e^{−z}) + (1−y) log(1 + e^{z})

plus a quadratic penalty that keeps a coefficient near its prior where the data say nothing about it.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import kernel
from fedopt.learn.feedback import Array

CONVEX, LOGISTIC = 0, 1
FLOOR = 1e-4
"""Least risk −log P that a convex model can state: P ≤ 1 − 1e-4 keeps a rejection's likelihood above 0."""


@kernel
def _point(link: int, t: float, y: float) -> tuple[float, float, float]:
    """Loss of one answer and its first two derivatives in the linear predictor."""
    if link == 0:
        phi = FLOOR + t
        e = math.expm1(phi) if phi < 700.0 else math.inf
        value = y * phi - (1.0 - y) * (math.log(-math.expm1(-phi)))
        slope = y - (1.0 - y) / e
        curve = (1.0 - y) * (1.0 / e + 1.0 / e / e) if e < math.inf else 0.0
        return value, slope, curve
    p = 1.0 / (1.0 + math.exp(-t)) if t > -700.0 else 0.0
    soft = math.log1p(math.exp(-abs(t))) + max(t, 0.0)
    return soft - y * t, p - y, p * (1.0 - p)


@kernel
def _objective(link, x, y, w, penalty, prior, linear, rest, c):
    """Penalised loss of one model: a linear term for some answers, the answers `rest` one by one."""
    total = 0.0
    for i in rest:
        t = 0.0
        for k in range(c.size):
            t += x[i, k] * c[k]
        total += w[i] * _point(link, t, y[i])[0]
    for k in range(c.size):
        total += linear[k] * c[k] + 0.5 * penalty[k] * (c[k] - prior[k]) ** 2
    return total


@kernel
def minimise(link, x, y, w, penalty, prior, signed, c, steps, tolerance):
    """Minimise for every model; coefficients with `signed` False stay at least 0.

    Args: link CONVEX or LOGISTIC; x (M, N, K); y, w (M, N); penalty, prior, signed (K,); c (M, K) start.
    Returns coefficients (M, K) and the norm of the projected gradient reached (M,).
    """
    models, rows, size = x.shape
    out = c.copy()
    residual = np.zeros(models)
    slope, curve = np.empty(rows), np.empty(rows)
    free = np.zeros(size, dtype=np.int64)
    kept = np.zeros(rows, dtype=np.int64)
    for m in range(models):
        cm, xm = out[m], x[m]
        linear = np.zeros(size)
        count = 0
        for i in range(rows):
            if w[m, i] <= 0.0:
                continue
            if link == 0 and y[m, i] == 1.0:  # φ itself: linear, so that all such answers are one term
                for k in range(size):
                    linear[k] += w[m, i] * xm[i, k]
            else:
                kept[count] = i
                count += 1
        rest = kept[:count]
        value = _objective(link, xm, y[m], w[m], penalty, prior, linear, rest, cm)
        for iteration in range(steps + 1):
            g = linear + penalty * (cm - prior)
            for i in rest:
                weight = w[m, i]
                t = 0.0
                for k in range(size):
                    t += xm[i, k] * cm[k]
                _, first, second = _point(link, t, y[m, i])
                curve[i] = weight * second
                slope[i] = weight * first
                for k in range(size):
                    g[k] += slope[i] * xm[i, k]
            count = 0
            norm = 0.0
            for k in range(size):
                if signed[k] or cm[k] > 1e-12 or g[k] < 0.0:
                    free[count] = k
                    count += 1
                    norm = max(norm, abs(g[k]) if signed[k] else abs(cm[k] - max(cm[k] - g[k], 0.0)))
            residual[m] = norm
            if norm <= tolerance or count == 0 or iteration == steps:
                break
            a = np.zeros((count, count))
            b = np.empty(count)
            for i in rest:
                if curve[i] > 0.0:
                    for p in range(count):
                        scaled = curve[i] * xm[i, free[p]]
                        for q in range(p + 1):
                            a[p, q] += scaled * xm[i, free[q]]
            for p in range(count):
                b[p] = -g[free[p]]
                for q in range(p):
                    a[q, p] = a[p, q]
                a[p, p] += penalty[free[p]] + 1e-10 * (1.0 + a[p, p])
            d = np.linalg.solve(a, b)
            improved = False
            for attempt in range(2):
                if attempt == 1:  # clipping at 0 may spoil Newton, never the scaled gradient
                    for p in range(count):
                        d[p] = b[p] / a[p, p]
                step = 1.0
                for _half in range(30):
                    trial = cm.copy()
                    gain = 0.0
                    for p in range(count):
                        k = free[p]
                        trial[k] = cm[k] + step * d[p]
                        if not signed[k] and trial[k] < 0.0:
                            trial[k] = 0.0
                        gain += g[k] * (trial[k] - cm[k])
                    if gain < 0.0:
                        new = _objective(link, xm, y[m], w[m], penalty, prior, linear, rest, trial)
                        if new <= value + 1e-4 * gain:
                            improved = True
                            break
                    step *= 0.5
                if improved:
                    break
            if not improved:
                break
            cm[:] = trial
            value = new
    return out, residual


def objective(
    link: int, x: Array, y: Array, w: Array, penalty: Array, prior: Array, coefficients: Array
) -> float:
    """The penalised negative log-likelihood of one model."""
    rows = np.flatnonzero(w > 0)
    return float(_objective(link, x, y, w, penalty, prior, np.zeros(coefficients.size), rows, coefficients))
