"""Least-cost reservations of one path under the split guarantee: a small convex program, solved to rounding.

With x_i = θ(s_i − ρ), a = θρ, w_i = 1/(x_i + a) and W = Σw_i, the deadlines and budgets are eliminated
exactly (the budgets' optimum is ε_i = ε w_i/W), which leaves one constraint on the rates alone:

    G(x) = W log(1/ε) + Σ_i w_i log(W/w_i) + Σ_i w_i (K_i + Σ_{j≤i} φ(x_j))  ≤  N,

a partial minimum of a jointly convex function, hence convex. min c·x subject to G(x) ≤ N and x ≤ h is
solved by a barrier method and polished by Newton steps on the optimality conditions. The tangent of G at
the answer gives the lower bound: G lies above it, so no point of {tangent ≤ N, 0 ≤ x ≤ h} that is cheaper
can be feasible.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import formula

__all__ = ["reduced", "size_paths", "size_thetas"]


@formula
def reduced(
    x: np.ndarray,
    load: float,
    strict: float,
    constants: np.ndarray,
    gradient: np.ndarray,
    hessian: np.ndarray,
    numerators: np.ndarray,
) -> float:
    """G(x); fills its gradient, its Hessian and the numerators −log ε_i + K_i + Σ_{j≤i} φ(x_j) per domain.

    load = θρ, strict = −log ε, constants = K_i (nats); all arrays of length L, the Hessian L × L.
    """
    length = x.size
    total = 0.0
    for i in range(length):
        total += 1.0 / (x[i] + load)
    value = 0.0
    corrections = 0.0
    for i in range(length):
        if x[i] <= 0.0:
            return math.inf
        w = 1.0 / (x[i] + load)
        corrections -= math.log(-math.expm1(-x[i]))
        numerators[i] = strict + math.log(total / w) + constants[i] + corrections
        value += w * numerators[i]
    after = 0.0
    for j in range(length - 1, -1, -1):
        w = 1.0 / (x[j] + load)
        after += w
        slope = -1.0 / math.expm1(x[j])
        bend = slope * (slope - 1.0)
        turn = -w * w
        gradient[j] = turn * numerators[j] + slope * after
        hessian[j, j] = (
            turn * turn * (1.0 / total - 1.0 / w)
            + 2.0 * w * w * w * numerators[j]
            + 2.0 * turn * slope
            + bend * after
        )
        for k in range(j + 1, length):
            v = 1.0 / (x[k] + load)
            cross = turn * -v * v / total - v * v * slope
            hessian[j, k] = cross
            hessian[k, j] = cross
    return value


@formula
def _solve(matrix: np.ndarray, right: np.ndarray) -> bool:
    """Solve matrix · y = right in place by Cholesky, destroying the matrix; False if not definite."""
    n = right.size
    for i in range(n):
        for j in range(i + 1):
            entry = matrix[i, j]
            for k in range(j):
                entry -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not entry > 0.0:
                    return False
                matrix[i, i] = math.sqrt(entry)
            else:
                matrix[i, j] = entry / matrix[j, j]
    for i in range(n):
        for k in range(i):
            right[i] -= matrix[i, k] * right[k]
        right[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            right[i] -= matrix[k, i] * right[k]
        right[i] /= matrix[i, i]
    return True


@formula
def _size(
    costs: np.ndarray, highs: np.ndarray, load: float, strict: float, constants: np.ndarray, room: float
) -> tuple[float, np.ndarray, float]:
    """(cost c·x, x, lower bound) of one θ; (inf, ·, inf) when even x = highs does not fit."""
    length = costs.size
    gradient = np.empty(length)
    hessian = np.empty((length, length))
    numerators = np.empty(length)
    x = np.empty(length)
    best = np.empty(length)
    # a strictly feasible start: one common x doubled until half the room is used, then clipped below the
    # highs
    level = 1e-3
    for _ in range(120):
        for i in range(length):
            x[i] = level if level < 0.5 * highs[i] else highs[i] * (1.0 - max(1e-9, 0.25 * highs[i] / level))
        if reduced(x, load, strict, constants, gradient, hessian, numerators) < 0.9 * room:
            break
        level *= 2.0
    if not reduced(x, load, strict, constants, gradient, hessian, numerators) < room:
        value = math.inf
        for i in range(length):
            best[i] = highs[i]
        if math.isfinite(highs.max()):
            value = reduced(best, load, strict, constants, gradient, hessian, numerators)
        if value <= room:
            cost = 0.0
            for i in range(length):
                cost += costs[i] * best[i]
            return cost, best, _tangent_bound(best, costs, highs, load, strict, constants, room)
        return math.inf, best, math.inf
    scale = 0.0
    for i in range(length):
        scale += costs[i] * x[i]
    weight = (length + 1.0) / scale
    step = np.empty(length)
    work = np.empty((length, length))
    trial = np.empty(length)
    for _ in range(40):
        for _ in range(60):
            value = reduced(x, load, strict, constants, gradient, hessian, numerators)
            slack = room - value
            merit = -math.log(slack)
            for i in range(length):
                merit += weight * costs[i] * x[i]
                step[i] = weight * costs[i] + gradient[i] / slack
                for k in range(length):
                    work[i, k] = hessian[i, k] / slack + gradient[i] * gradient[k] / (slack * slack)
                if highs[i] < math.inf:
                    merit -= math.log(highs[i] - x[i])
                    step[i] += 1.0 / (highs[i] - x[i])
                    work[i, i] += 1.0 / (highs[i] - x[i]) ** 2
            slopes = step.copy()
            if not _solve(work, step):
                break
            decrement = 0.0
            for i in range(length):
                decrement += slopes[i] * step[i]
            if decrement < 1e-9:
                break
            size = 1.0
            for i in range(length):  # never past a quarter of the way to a bound
                if step[i] > 0.0 and size * step[i] > 0.75 * x[i]:
                    size = 0.75 * x[i] / step[i]
                if step[i] < 0.0 and -size * step[i] > 0.75 * (highs[i] - x[i]):
                    size = 0.75 * (highs[i] - x[i]) / -step[i]
            moved = False
            for _ in range(40):
                for i in range(length):
                    trial[i] = x[i] - size * step[i]
                slack = room - reduced(trial, load, strict, constants, gradient, hessian, numerators)
                if slack > 0.0:
                    reached = -math.log(slack)
                    for i in range(length):
                        reached += weight * costs[i] * trial[i]
                        if highs[i] < math.inf:
                            reached -= math.log(highs[i] - trial[i])
                    if reached <= merit - 0.2 * size * decrement + 1e-12 * abs(merit):
                        moved = True
                        break
                size *= 0.5
            if not moved:
                break
            x[:] = trial
            if decrement < 1e-6:
                break
        cost = 0.0
        for i in range(length):
            cost += costs[i] * x[i]
        if (length + 1.0) / weight < 1e-11 * cost:
            break
        weight *= 20.0
    _polish(x, costs, highs, load, strict, constants, room)
    cost = 0.0
    for i in range(length):
        cost += costs[i] * x[i]
    return cost, x, _tangent_bound(x, costs, highs, load, strict, constants, room)


@formula
def _polish(
    x: np.ndarray,
    costs: np.ndarray,
    highs: np.ndarray,
    load: float,
    strict: float,
    constants: np.ndarray,
    room: float,
) -> None:
    """Move the barrier's answer towards G(x) = room: scale x down as far as it stays feasible."""
    length = x.size
    gradient = np.empty(length)
    hessian = np.empty((length, length))
    numerators = np.empty(length)
    trial = np.empty(length)
    for _ in range(30):
        slack = room - reduced(x, load, strict, constants, gradient, hessian, numerators)
        fall = 0.0
        for i in range(length):
            fall -= gradient[i] * x[i]
        shrink = (
            slack / fall
        )  # convex and decreasing along the ray: this never overshoots the constraint by much
        if not shrink > 1e-15:
            break
        for i in range(length):
            trial[i] = x[i] * (1.0 - shrink)
        while not reduced(trial, load, strict, constants, gradient, hessian, numerators) <= room:
            shrink *= 0.5
            if shrink < 1e-16:
                return
            for i in range(length):
                trial[i] = x[i] * (1.0 - shrink)
        x[:] = trial


@formula
def _tangent_bound(
    x: np.ndarray,
    costs: np.ndarray,
    highs: np.ndarray,
    load: float,
    strict: float,
    constants: np.ndarray,
    room: float,
) -> float:
    """Lower bound on c·y over {G(y) ≤ room, 0 ≤ y ≤ highs}: the best multiplier of the tangent at x."""
    length = x.size
    gradient = np.empty(length)
    hessian = np.empty((length, length))
    numerators = np.empty(length)
    value = reduced(x, load, strict, constants, gradient, hessian, numerators)
    excess = value - room  # the tangent reads excess + gradient·(y − x) ≤ 0
    for i in range(length):
        excess -= gradient[i] * x[i]
    best = 0.0
    for k in range(length):  # the dual function is piecewise linear and concave: its kinks are the ratios
        multiplier = -costs[k] / gradient[k]
        bound = multiplier * excess
        for i in range(length):
            price = costs[i] + multiplier * gradient[i]
            if i != k and price < 0.0:
                bound += price * highs[i]
        if bound > best:
            best = bound
    return best


@formula
def size_thetas(
    costs: np.ndarray,
    highs: np.ndarray,
    loads: np.ndarray,
    strict: float,
    constants: np.ndarray,
    room: float,
    fixed: np.ndarray,
    known: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Size one path at every θ of a grid: costs (M,), x (M, L) and lower bounds (M,).

    costs, highs and constants have shape (M, L); loads = θρ and fixed (cost of the isolation rates ρ + κ)
    have shape (M,). A θ whose fixed cost alone is not below the least found (or `known`) is not solved: its
    cost is inf and its lower bound the fixed cost.
    """
    count, length = costs.shape
    values = np.full(count, math.inf)
    bounds = np.full(count, math.inf)
    points = np.zeros((count, length))
    least = known
    for m in range(count):
        if not (math.isfinite(loads[m]) and math.isfinite(fixed[m]) and room > 0.0):
            continue
        possible = True
        for i in range(length):
            possible = possible and math.isfinite(constants[m, i]) and highs[m, i] > 0.0
        if not possible:
            continue
        if fixed[m] >= least:
            bounds[m] = fixed[m]
            continue
        value, point, bound = _size(costs[m], highs[m], loads[m], strict, constants[m], room)
        values[m] = fixed[m] + value
        bounds[m] = fixed[m] + bound
        points[m] = point
        least = min(least, values[m])
    return values, points, bounds


@formula
def size_paths(
    costs: np.ndarray,
    highs: np.ndarray,
    loads: np.ndarray,
    strict: np.ndarray,
    constants: np.ndarray,
    room: np.ndarray,
    fixed: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`size_thetas` for P paths: one more axis in front of every argument and result."""
    paths, count, length = costs.shape
    values = np.empty((paths, count))
    bounds = np.empty((paths, count))
    points = np.empty((paths, count, length))
    for p in range(paths):
        values[p], points[p], bounds[p] = size_thetas(
            costs[p], highs[p], loads[p], strict[p], constants[p], room[p], fixed[p], math.inf
        )
    return values, points, bounds
