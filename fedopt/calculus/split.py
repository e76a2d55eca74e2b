"""The split guarantee: every domain of a path gets a deadline and a violation budget of its own.

Domain i of L, in slots, with effective rate s_i = R_i − κ_i(θ), promises that work offered to it at a
deterministic instant is late with probability at most ε_i. With shares τ_i of the deadline, Σ τ_i ≤ τ, and
budgets Σ ε_i ≤ ε the path keeps (τ, ε) end to end if in every domain

    θ s_i (c(τ_i − D_i) − T_i)  ≥  −log ε_i + K_i + Σ_{j≤i} φ(θ(s_j − ρ)),          φ(x) = −log(1 − e^{−x})
    K_i = θ(σ + ρ + η_i + κ_i T_i + Σ_{j<i} b_j),      b_j = η_j + κ_j T_j + ρ T_j + log(1 + c_j)/θ,
    c_j = e^{−θρT_j}(e^{θρ⌈T_j⌉} − 1)/(e^{θρ} − 1).

T_i is the latency of a rate-latency guardrail (0 for a pure delay), D_i a pure delay (0 for a guardrail), and
c = (⌊τ − ΣD⌋ + 1)/(τ − ΣD) converts real shares into slots; see below.

Derivation. E e^{−θS_i(x)} ≤ e^{θ(η_i + κ_iT_i) − θ s_i[x − T_i]^+} for whole x.
*Output.* Departures of domain j in an interval of length y exceed its arrivals over y + x, less S_j(x), for
no x ≥ 0; the union over x gives the same rate ρ and a burst larger by b_j + φ(θ(s_j − ρ))/θ: slots x < T_j
contribute Σ e^{θρx} = c_j e^{θρT_j}, the others at most e^{θρT_j + φ}, and e^φ + c_j ≤ e^φ(1 + c_j).
*Delay.* At whole n the delay of domain i exceeds n with probability at most Σ_{ℓ≥1} of the product of both
moments over ℓ and ℓ + n: exp(θ(σ_i + η_i + κ_iT_i) + θρ + φ − θ s_i(n + 1 − T_i)), where σ_i carries
earlier bursts.
*Real shares.* Let y_i = c(τ_i − D_i), so Σ y_i ≤ n + 1 with n = ⌊τ − ΣD⌋, and look at domain i + 1 at the
instants t_i = t + ⌈y_1 + … + y_i⌉ − 1. They are deterministic, domain i has ⌈·⌉ differences, at least n_i =
⌈y_i⌉ − 1 ≥ y_i − 1 slots, and the last is at most t + n: if every domain is in time from its instant to the
next, the delay is at most n. Putting n_i + 1 ≥ y_i into the bound above gives the constraint. (Without θρ
and with c = 1 it would be a statement for whole τ_i only.) A pure delay shifts time and adds no burst, so
only its length leaves the deadline.
*Requests.* A request sees its own work: under the size-biased law of its slot every arrival moment grows by
at most e^{bias}, in every domain, so σ becomes σ + bias/θ. *Dependent impairments*: Hölder's inequality
within a group replaces κ_j(θ), η_j(θ) by their values at p_jθ, Σ 1/p_j = 1 over the group.

Hidden convexity: divided by θ s_i the constraint is jointly convex in (s, τ, ε) for ε_i ≤ e^{−1/2}, so a
local optimum is global and tangents are valid cuts everywhere (`excess` and its derivatives). For given
rates the best shares are closed: ε_i = ε w_i/Σw with w_i = 1/(θs_i), which also gives the least provable ε
in closed form (`log_bound`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedopt.calculus.path import Path
from fedopt.calculus.split_sizing import size_thetas
from fedopt.calculus.theta_search import least_over_theta, theta_grid

__all__ = [
    "LARGEST_LOG_BUDGET",
    "SplitExcess",
    "SplitSizing",
    "SplitTerms",
    "best_shares",
    "excess",
    "least_log_bound",
    "log_bound",
    "rate_excess",
    "shares",
    "size",
    "terms",
]

LARGEST_LOG_BUDGET = -0.5
"""Budgets above e^{−1/2} leave the region of convexity; a larger ε is treated as this one."""

LEAST_MARGIN = 1e-9
"""Rates exceed ρ + κ by this part at least, so that the margin survives rounding and a change of units."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SplitTerms:
    """The numbers of the split constraint of one path at M values of θ, in slots and nats.

    Attributes:
        theta, rho: shape ``(M,)``; θ in 1/work, ρ in work/slot.
        kappa: shape ``(M, L)``, work/slot.
        constants: K_i, shape ``(M, L)``, nats; +inf where θ lies outside an envelope's domain.
        latencies: T_i, shape ``(L,)``. delays: D_i, shape ``(L,)``. Slots.
        stretch: c, slots counted per slot of a share.
        deadline: the path's deadline τ (links' delays subtracted), slots. log_epsilon: log ε.
    """

    theta: Floats
    rho: Floats
    kappa: Floats
    constants: Floats
    latencies: Floats
    delays: Floats
    stretch: float
    deadline: float
    log_epsilon: float

    @property
    def room(self) -> float:
        """Slots that the queues may share: c(τ − ΣD) − ΣT; not positive where the deadline cannot be met."""
        return self.stretch * (self.deadline - float(self.delays.sum())) - float(self.latencies.sum())

    @property
    def isolation(self) -> Floats:
        """ρ + κ_i, which reservations must exceed; shape ``(M, L)``, work/slot."""
        return self.rho[:, None] + self.kappa

    def at(self, index: int) -> SplitTerms:
        """The terms of one θ alone (M = 1)."""
        pick = slice(index, index + 1) if index != -1 else slice(index, None)
        return SplitTerms(
            self.theta[pick],
            self.rho[pick],
            self.kappa[pick],
            self.constants[pick],
            self.latencies,
            self.delays,
            self.stretch,
            self.deadline,
            self.log_epsilon,
        )


@dataclass(frozen=True, eq=False)
class SplitSizing:
    """The cheapest reservations of one path at given prices.

    Attributes:
        cost: Σ price_i R_i (+inf where no reservation keeps the promise).
        rates: R_i, work/slot, ``(L,)``. deadlines: τ_i, slots, ``(L,)``. budgets: ε_i, ``(L,)``.
        theta: the θ they are proven with.
        lower_bound: proven lower bound on `cost` over the θ that were tried (see `size`).
    """

    cost: float
    rates: Floats
    theta: float
    deadlines: Floats
    budgets: Floats
    lower_bound: float


@dataclass(frozen=True, eq=False)
class SplitExcess:
    """How far the split constraints are exceeded, in slots: value ``(…, L)``, feasible where ≤ 0.

    gradient: shape ``(…, L, 3L)``, hessian: ``(…, L, 3L, 3L)``, in the variables (R_1…R_L, τ_1…τ_L, ε_1…ε_L);
    None unless asked for.
    """

    value: Floats
    gradient: Floats | None = None
    hessian: Floats | None = None


def terms(path: Path, thetas: npt.ArrayLike, exponents: npt.ArrayLike | None = None) -> SplitTerms:
    """Evaluate a path's envelopes at the given θ (scalar or ``(M,)``; 1/work).

    exponents: Hölder exponents ``(L,)``; by default equal ones within each dependent group of the path.
    """
    path = path.fluid
    theta = np.atleast_1d(np.asarray(thetas, dtype=float))
    powers = path.exponents if exponents is None else np.asarray(exponents, dtype=float)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rho = np.broadcast_to(np.asarray(path.arrival.rho(theta), dtype=float), theta.shape)
        sigma = np.broadcast_to(np.asarray(path.arrival.sigma(theta), dtype=float), theta.shape)
        start = theta * sigma
        if path.per_request:
            start = start + np.asarray(path.arrival.request_log_bias(theta), dtype=float)
        kappa = np.stack(
            [
                np.broadcast_to(i.kappa(p * theta), theta.shape)
                for i, p in zip(path.impairments, powers, strict=True)
            ],
            axis=-1,
        )
        eta = np.stack(
            [
                np.broadcast_to(i.eta(p * theta), theta.shape)
                for i, p in zip(path.impairments, powers, strict=True)
            ],
            axis=-1,
        )
        latency = path.guardrail_latencies
        load = (theta * rho)[:, None]
        own = theta[:, None] * (eta + kappa * latency)
        burst = own + load * latency + np.log1p(_early_slots(load, latency))
        carried = np.concatenate([np.zeros((theta.size, 1)), np.cumsum(burst, axis=-1)[:, :-1]], axis=-1)
        constants = start[:, None] + load + own + carried
    constants = np.where(np.isfinite(constants), constants, np.inf)
    window = path.window
    stretch = (path.slots + 1) / window if window > 0 else 1.0
    return SplitTerms(
        theta,
        np.array(rho),
        kappa,
        constants,
        latency,
        path.delay_latencies,
        stretch,
        path.deadline,
        min(path.log_epsilon, LARGEST_LOG_BUDGET),
    )


def _early_slots(load: Floats, latency: Floats) -> Floats:
    """c_j = e^{−θρT}(e^{θρ⌈T⌉} − 1)/(e^{θρ} − 1), without overflow; ⌈T⌉ where θρ = 0."""
    steps = np.ceil(latency)
    ratio = np.where(load > 0, np.expm1(-load * steps) / np.expm1(-np.where(load > 0, load, 1.0)), steps)
    return np.exp(load * (steps - latency - 1)) * ratio


def _phi(x: Floats) -> Floats:
    """φ(x) = −log(1 − e^{−x}); +inf for x ≤ 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x > 0, -np.log(-np.expm1(-np.abs(x))), np.inf)


def excess(
    of: SplitTerms,
    rates: npt.ArrayLike,
    deadlines: npt.ArrayLike,
    budgets: npt.ArrayLike,
    *,
    order: int = 0,
) -> SplitExcess:
    """The split constraints [−log ε_i + K_i + Σφ]/(θ s_i) − (c(τ_i − D_i) − T_i) ≤ 0, in slots.

    rates (work/slot), deadlines (slots) and budgets have shapes that broadcast to ``(…, M, L)``, M being
    the number of θ in `of`. order 1 adds the gradient, 2 the Hessian. Jointly convex; +inf where s_i ≤ ρ.
    """
    rate, share, budget = np.broadcast_arrays(
        np.asarray(rates, dtype=float), np.asarray(deadlines, dtype=float), np.asarray(budgets, dtype=float)
    )
    theta = of.theta[:, None]
    s = rate - of.kappa
    x = theta * (s - of.rho[:, None])
    with np.errstate(divide="ignore"):
        top = -np.log(budget) + of.constants + np.cumsum(_phi(x), axis=-1)
    bottom = theta * s
    lengths = of.stretch * (share - of.delays) - of.latencies
    value = np.where(x > 0, top / np.where(x > 0, bottom, 1.0), np.inf) - lengths
    if order == 0:
        return SplitExcess(value)
    length = value.shape[-1]
    with np.errstate(over="ignore"):
        slope = theta * -1.0 / np.expm1(x)
        bend = theta * slope * (slope / theta - 1.0)
    gradient = np.zeros((*value.shape, 3 * length))
    earlier = np.tril(np.ones((length, length)))
    gradient[..., :length] = slope[..., None, :] * earlier / bottom[..., :, None]
    own = np.arange(length)
    gradient[..., own, own] -= theta * top / bottom**2
    gradient[..., own, length + own] = -of.stretch
    gradient[..., own, 2 * length + own] = -1.0 / (budget * bottom)
    if order == 1:
        return SplitExcess(value, gradient)
    hessian = np.zeros((*value.shape, 3 * length, 3 * length))
    for i in range(length):
        for j in range(i + 1):
            hessian[..., i, j, j] += bend[..., j] / bottom[..., i]
            cross = -slope[..., j] * theta[:, 0] / bottom[..., i] ** 2
            hessian[..., i, i, j] += cross
            hessian[..., i, j, i] += cross
        hessian[..., i, i, i] += 2 * theta[:, 0] ** 2 * top[..., i] / bottom[..., i] ** 3
        e = 2 * length + i
        hessian[..., i, e, e] = 1.0 / (budget[..., i] ** 2 * bottom[..., i])
        hessian[..., i, i, e] = theta[:, 0] / (budget[..., i] * bottom[..., i] ** 2)
        hessian[..., i, e, i] = hessian[..., i, i, e]
    return SplitExcess(value, gradient, hessian)


def log_bound(
    of: SplitTerms, rates: npt.ArrayLike, *, gradient: bool = False
) -> tuple[Floats, Floats | None]:
    """Least log Σε_i that the constraints prove for given rates, over all shares of deadline and budget.

    (Σ_i w_i(K_i + Σ_{j≤i} φ_j) − N)/W + Σ_i (w_i/W) log(W/w_i), w_i = 1/(θs_i), N the room. rates broadcast
    to ``(…, M, L)``; returns the bound ``(…, M)`` (natural log; +inf where s_i ≤ ρ or no room) and its
    gradient in the rates ``(…, M, L)`` if asked for.
    """
    stable, w, level, slope = _rate_parts(of, rates)
    total = w.sum(axis=-1, keepdims=True)
    entropy = np.sum(w / total * np.log(total / w), axis=-1)
    bound = (np.sum(w * level, axis=-1) - of.room) / total[..., 0] + entropy
    bound = np.where(stable & (of.room > 0), bound, np.inf)
    if not gradient:
        return bound, None
    # at the optimum the multiplier of the room is 1/W, so the envelope theorem applies to G(x; −log ε) = N
    numerators = level - bound[..., None] + np.log(total / w)
    after = np.cumsum(w[..., ::-1], axis=-1)[..., ::-1]
    return bound, of.theta[:, None] * (-(w**2) * numerators + slope * after) / total


def rate_excess(of: SplitTerms, rates: npt.ArrayLike) -> tuple[Floats, Floats]:
    """(slots needed beyond the room, gradient in the rates): the constraint on the rates alone, best shares
    taken.

    G(R) − N with G = Σ w_i(−log ε + log(W/w_i) + K_i + Σ_{j≤i} φ_j): convex, feasible where ≤ 0; shapes ``(…,
    M)`` and ``(…, M, L)``; +inf where s_i ≤ ρ.
    """
    stable, w, level, slope = _rate_parts(of, rates)
    numerators = level - of.log_epsilon + np.log(w.sum(axis=-1, keepdims=True) / w)
    after = np.cumsum(w[..., ::-1], axis=-1)[..., ::-1]
    value = np.where(stable, np.sum(w * numerators, axis=-1) - of.room, np.inf)
    return value, of.theta[:, None] * (-(w**2) * numerators + slope * after)


def _rate_parts(of: SplitTerms, rates: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], Floats, Floats, Floats]:
    """Whether all s_i > ρ; w_i = 1/(θs_i); K_i + Σ_{j≤i} φ_j; φ'(x_i)."""
    theta, s = of.theta[:, None], np.asarray(rates, dtype=float) - of.kappa
    x = theta * (s - of.rho[:, None])
    w = 1.0 / (theta * np.where(x > 0, s, 1.0))
    with np.errstate(over="ignore", divide="ignore"):
        slope = -1.0 / np.expm1(x)
    return np.all(x > 0, axis=-1), w, of.constants + np.cumsum(_phi(x), axis=-1), slope


def least_log_bound(
    path: Path, rates: npt.ArrayLike, thetas: npt.ArrayLike | None = None
) -> tuple[float, float]:
    """(least log Σε_i provable for rates ``(L,)``, its θ): best θ of a grid, then refined."""
    grid, rate = theta_grid(path) if thetas is None else thetas, np.asarray(rates, dtype=float)
    return least_over_theta(lambda theta: log_bound(terms(path, theta), rate)[0], grid)


def shares(of: SplitTerms, rates: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Best deadlines τ_i (slots) and budgets ε_i for given rates at one θ (M = 1), shapes ``(L,)``.

    Budgets add up to ε exactly; deadlines add up to the path's deadline, the slack (if any) spread in
    proportion.
    """
    if of.theta.size != 1:
        raise ValueError("shares are for one θ at a time; use terms.at(index)")
    deadlines, budgets = best_shares(
        of.theta,
        of.rho,
        of.kappa,
        of.constants,
        np.array([of.room]),
        np.array([of.stretch]),
        of.latencies[None],
        of.delays[None],
        np.array([of.log_epsilon]),
        np.asarray(rates, dtype=float)[None],
    )
    return deadlines[0], budgets[0]


def best_shares(
    theta: Floats,
    rho: Floats,
    kappa: Floats,
    constants: Floats,
    room: Floats,
    stretch: Floats,
    latencies: Floats,
    delays: Floats,
    log_epsilon: Floats,
    rates: Floats,
) -> tuple[Floats, Floats]:
    """`shares` of N paths at a θ each: (deadlines, budgets), ``(N, L)``; scalars of a path are ``(N,)``."""
    theta, rho = theta[:, None], rho[:, None]
    s = rates - kappa
    w = 1.0 / (theta * s)
    part = w / w.sum(axis=1, keepdims=True)
    spent = -log_epsilon[:, None] - np.log(part) + constants + np.cumsum(_phi(theta * (s - rho)), axis=1)
    need = w * spent
    need *= (room / need.sum(axis=1))[:, None]
    return delays + (latencies + need) / stretch[:, None], np.exp(log_epsilon)[:, None] * part


def size(
    path: Path,
    prices: npt.ArrayLike,
    thetas: npt.ArrayLike | SplitTerms | None = None,
    *,
    highs: npt.ArrayLike | None = None,
    refine: bool = False,
    known: float = math.inf,
) -> SplitSizing:
    """Cheapest rates of one path: min Σ price_i R_i under the split guarantee, exact at every θ of the grid.

    Args:
        path: the tenant and its path.
        prices: cost per unit of reserved rate (work/slot) in each domain, ``(L,)``, not negative.
        thetas: θ to try, ``(M,)``, or the path's `terms` at them; by default `theta_grid(path)`.
        highs: largest allowed rates, work/slot, ``(L,)``; none by default.
        refine: also search between the grid points around the best one. `lower_bound` then covers the grid
        and
            the point found, not the values between.
        known: a cost already at hand; θ that cannot be cheaper are not solved.

    The cost is infinite where no θ allows a plan. Rates stay a relative 1e-12 on the safe side of the
    constraint.
    """
    price = np.asarray(prices, dtype=float)
    points = theta_grid(path) if thetas is None else thetas
    grid = points if isinstance(points, SplitTerms) else terms(path, points)
    high = np.full(len(path), np.inf) if highs is None else np.asarray(highs, dtype=float)
    best, lowest = _size_terms(grid, price, high, known)
    if refine and best is not None and grid.theta.size > 1:
        found = {best.theta: best}

        def costs(thetas: Floats) -> Floats:
            for theta in thetas[~np.isin(thetas, grid.theta)]:
                other, _ = _size_terms(terms(path, theta), price, high, math.inf)
                if other is not None:
                    found[float(theta)] = other
            return np.array([found[t].cost if t in found else math.inf for t in thetas])

        order = np.sort(grid.theta)
        at = int(np.searchsorted(order, best.theta))
        _, theta = least_over_theta(costs, order[max(at - 1, 0) : at + 2])
        best = found[theta]
        lowest = min(lowest, best.lower_bound)
    if best is None:
        nothing = np.full(len(path), np.nan)
        return SplitSizing(math.inf, nothing, math.nan, nothing, nothing, lowest)
    return SplitSizing(best.cost, best.rates, best.theta, best.deadlines, best.budgets, lowest)


def _size_terms(
    of: SplitTerms, price: Floats, high: Floats, known: float
) -> tuple[SplitSizing | None, float]:
    """Best sizing over the θ of `of` (None if there is none below `known`) and the least lower bound."""
    if not of.room > 0:
        return None, math.inf
    isolation = of.isolation
    with np.errstate(invalid="ignore"):
        tops = of.theta[:, None] * (high - isolation)
    tops = np.where(np.isfinite(isolation), tops, -1.0)
    floor = np.where(np.isfinite(high), 0.0, 1e-9 * price.max(initial=0.0) or 1e-9)
    paid = np.maximum(price, floor)
    if not paid.any():  # nothing to pay anywhere: any rates will do, and the program needs a direction
        paid = np.full(len(paid), 1e-9)
    fixed = np.where(
        np.all(np.isfinite(isolation), axis=-1), np.nan_to_num(isolation, posinf=0.0) @ paid, np.inf
    )
    values, points, bounds = size_thetas(
        paid / of.theta[:, None],
        tops,
        of.theta * of.rho,
        -of.log_epsilon,
        of.constants,
        of.room,
        fixed,
        known,
    )
    if np.any(
        paid != price
    ):  # a price of zero without a largest rate: only the isolation condition is certain
        with np.errstate(invalid="ignore"):  # ∞ − ∞ where a θ is impossible, and its bound is infinite
            bounds = np.where(np.isfinite(bounds), fixed - isolation @ (paid - price), np.inf)
    lowest = float(bounds.min(initial=math.inf))
    index = int(np.argmin(values)) if values.size else -1
    if index < 0 or not math.isfinite(values[index]):
        return None, lowest
    one = of.at(index)
    rates = isolation[index] + points[index] / of.theta[index] * (1 + 1e-12)
    rates = np.minimum(np.maximum(rates, isolation[index] * (1 + LEAST_MARGIN)), np.maximum(high, rates))
    deadlines, budgets = shares(one, rates)
    return SplitSizing(
        float(price @ rates), rates, float(of.theta[index]), deadlines, budgets, lowest
    ), lowest
