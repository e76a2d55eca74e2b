"""The function that guides importance sampling: exponentials of the path's worst excess, and their images.

G_i(s) is the worst that domains i … L can do between slot s and the deadline, G_i(s−1) = max(G_i(s) + J_i −
R_i, G_{i+1}(s−1)), D_i = G_i − G_{i+1} ≥ 0; the delay exceeds its limit only if, with A the work that came
since s, A + G_1(s) > 0 for some s. The guide is the function of the image form (docs/explanation/image.md),

    F = e^{θG_L} [e^{Σ a_jD_j} + Σ_k B_k e^{−γ_kD_k + Σ_{j>k} a_jD_j}],   a_1 = … = a_{L−1} = a ≥ θ.

Each of its L terms is the exponential of a linear function of G, so drawing a term in proportion to its share
of F and tilting each domain's work by the term's weight makes the likelihood ratio a quotient of two values
of F. Its constants make F fall when G is projected onto D ≥ 0; then no weight exceeds `log_bound`.

For on-off sources each term is multiplied by the eigenvectors of its tilts, scaled to least values of one,
and B_k by the greatest ratio in which phases can put a term at a disadvantage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from fedopt.kernels import kernel
from fedopt.simulate import slot_work as sw
from fedopt.simulate.slot_work import SlotWork, laws_of
from fedopt.simulate.tilting import FIRST_ON, START, domain, log_moment, log_own, moment, tilted

_STEPS = 1.15 ** np.arange(-60, 91)
"""Values of γ/θ among which the largest root of a wall's growth is looked for."""


MOST_SLOTS = 1 << 17
_NONE = 1e9


@dataclass(frozen=True)
class Guide:
    """F of a path: L terms over L−1 walls.

    Attributes:
        theta, charge: θ and a, 1/work.
        weights: of the domains' work in each term, shape (L, L).
        slopes: of each term in the D_j, less θ (F is kept relative to e^{θG_1}), shape (L, L−1).
        log_charges: log B_k, B_0 = 1, shape (L,).
        growth: log-growth of each term in a slot, shape (L,); arrival: Λ_A(θ).
        log_bound: log of F at the deadline grown through the window, own work and first phases included: no
            weight is larger.
    """

    theta: float
    charge: float
    weights: np.ndarray
    slopes: np.ndarray
    log_charges: np.ndarray
    growth: np.ndarray
    arrival: float
    log_bound: float


class Problem:
    """A path as arrays: laws (arrivals first), rates in work/slot, n slots allowed, what a request adds."""

    def __init__(self, laws: tuple[SlotWork, ...], rates: np.ndarray, n: int, own: tuple[int, float]) -> None:
        self.laws = laws
        self.rates = np.asarray(rates, dtype=float)
        self.n = n
        self.own = own
        self.hops = len(laws) - 1
        self.codes, self.parameters, self.sizes, self.shares, self.starts = laws_of(laws)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """(codes, parameters, starts, sizes, shares) of the laws."""
        return self.codes, self.parameters, self.starts, self.sizes, self.shares

    def eigenvectors(self, weights: np.ndarray, theta: float) -> np.ndarray:
        """Log-eigenvectors of every term, source and phase, shape (L, L+1, 3); a request's slot may be on."""
        found = np.zeros((self.hops, self.hops + 1, 3))
        for s, law in enumerate(self.laws):
            if law.code != sw.ON_OFF:
                continue
            for k in range(self.hops):
                tilt = theta if s == 0 else float(weights[k, s - 1])
                found[k, s] = tilted(law, tilt)[2]
                if s == 0 and self.own[0] == FIRST_ON:
                    found[k, 0, START] = tilt * law.parameters[0] + found[k, 0, 1] - moment(law, tilt)
        return found


@kernel
def _source_moment(problem, s, tilt):
    codes, parameters, starts, sizes, shares = problem
    atoms = slice(starts[s], starts[s + 1])
    return log_moment(
        codes[s], parameters[s, 0], parameters[s, 1], parameters[s, 2], sizes[atoms], shares[atoms], tilt
    )


@kernel
def _growth(problem, rates, weights):
    """Σ_i Λ_i(v_i) − v_iR_i of one term."""
    total = 0.0
    for i in range(rates.size):
        if weights[i] != 0.0:
            total += _source_moment(problem, i + 1, weights[i]) - weights[i] * rates[i]
    return total


@kernel
def _wall_weights(k, gamma, theta, charge, weights):
    """Weights of the domains' work in the term of wall k ≥ 1 (between domains k and k+1)."""
    hops = weights.size
    weights[:] = 0.0
    weights[k - 1] = -gamma
    weights[k] = (charge if k < hops - 1 else theta) + gamma
    if k < hops - 1:
        weights[hops - 1] = theta - charge


@kernel
def _build(problem, rates, theta, charge, limit, weights, slopes, log_charges, growth):
    """Fill a guide's arrays for given θ, a and greatest growth of a term; False where no γ does."""
    hops = rates.size
    weights[0, :] = 0.0
    weights[0, 0] = charge
    weights[0, hops - 1] += theta - charge
    if hops == 1:
        weights[0, 0] = theta
    growth[0] = _growth(problem, rates, weights[0])
    log_charges[0] = 0.0
    if not growth[0] <= limit:
        return False
    slopes[0, :] = charge - theta
    before = 0.0  # γ of the wall before
    for k in range(1, hops):
        row = weights[k]
        best = -1
        for j in range(_STEPS.size - 1, -1, -1):
            _wall_weights(k, _STEPS[j] * theta, theta, charge, row)
            if _growth(problem, rates, row) <= limit:
                best = j
                break
        if best < 0:
            return False
        low = _STEPS[best] * theta
        if best < _STEPS.size - 1:
            high = _STEPS[best + 1] * theta
            for _ in range(40):
                middle = 0.5 * (low + high)
                _wall_weights(k, middle, theta, charge, row)
                if _growth(problem, rates, row) <= limit:
                    low = middle
                else:
                    high = middle
        _wall_weights(k, low, theta, charge, row)
        growth[k] = _growth(problem, rates, row)
        slopes[k, : k - 1] = -theta
        slopes[k, k - 1] = -low - theta
        slopes[k, k:] = charge - theta
        log_charges[k] = log_charges[k - 1] + math.log((charge + before) / low)
        before = low
    return True


def guide_at(problem: Problem, theta: float, charge: float, slack: float = 0.0) -> Guide | None:
    """The guide at given θ and a; None where none exists whose terms shrink by `slack` a slot or more."""
    arrays = problem.arrays()
    arrival = moment(problem.laws[0], theta)
    own = log_own(problem.laws[0], *problem.own, theta)
    if not arrival + own < math.inf:
        return None
    hops = problem.hops
    weights, slopes = np.zeros((hops, hops)), np.zeros((hops, hops - 1))
    log_charges, growth = np.zeros(hops), np.zeros(hops)
    limit = -arrival - slack
    if not _build(arrays, problem.rates, theta, charge, limit, weights, slopes, log_charges, growth):
        return None
    if (problem.codes == sw.ON_OFF).any():
        vectors = problem.eigenvectors(weights, theta)
        apart = vectors[:-1, 1:, :2] - vectors[1:, 1:, :2]  # of a term before its successor, phase by phase
        log_charges[1:] += np.cumsum(apart.max(axis=2).sum(axis=1))
        first = vectors[:, :, START].sum(axis=1)
    else:
        first = np.zeros(hops)
    log_bound = own + float(np.logaddexp.reduce(log_charges + problem.n * growth + first))
    return Guide(theta, charge, weights, slopes, log_charges, growth, arrival, log_bound)


def _drift(problem: Problem, guide: Guide) -> float:
    """Rise of A + G_1 a slot under the tilt of F's main term, to first order."""
    theta = guide.theta * (1.0 + 1e-5)
    weights = guide.weights[0] * (theta / guide.theta)
    moved = moment(problem.laws[0], theta) + float(_growth(problem.arrays(), problem.rates, weights))
    return (moved - guide.arrival - float(guide.growth[0])) / (theta - guide.theta)


def best_guide(problem: Problem) -> Guide:
    """The guide of least bound among those under which violations come of themselves.

    Where violations are not rare the least bound is the useless one of θ = 0, hence the condition. Raises
    ValueError where there is no guide at all: the path is overloaded.
    """
    limit = domain(problem.laws[0])
    limit = limit if math.isfinite(limit) else 1.0

    def find(point: np.ndarray) -> Guide | None:
        theta = limit / (1.0 + math.exp(-float(point[0])))
        charge = theta * (1.0 + math.exp(min(float(point[1]), 20.0))) if problem.hops > 1 else theta
        return guide_at(problem, theta, charge)

    def value(point: np.ndarray) -> float:
        found = find(point)
        if found is None:
            return _NONE
        return found.log_bound if _drift(problem, found) > 0.0 else 0.5 * _NONE - float(point[0])

    ratios = (-4.0, -2.0, -1.0, 0.0, 1.5) if problem.hops > 1 else (0.0,)
    starts = [np.array([x, y]) for x in np.arange(-8.0, 3.1, 0.5) for y in ratios]
    values = [value(start) for start in starts]
    start = starts[int(np.argmin(values))]
    if min(values) == _NONE:
        raise ValueError("no tilt gives a finite bound: the path is overloaded, so violations are not rare")
    simplex = start + np.array([[0.0, 0.0], [0.2, 0.0], [0.0, 0.4]])
    options = {"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-4, "maxfev": 200}
    best = find(minimize(value, start, method="Nelder-Mead", options=options).x)
    assert best is not None
    return best


def horizon(problem: Problem, guide: Guide, share: float = 1e-7) -> tuple[int, float]:
    """(slots with arrivals beyond which violations need not be looked for, what that neglects at most).

    At a smaller θ the terms shrink, and a violation that needs more than H slots of arrivals has at most the
    bound there times e^{−H·shrinkage}: less than ``share`` of the guide's own bound.
    """
    level = guide.log_bound + math.log(share)
    ratio = guide.charge / guide.theta
    proofs = []
    for part in np.linspace(0.3, 0.98, 18):
        theta = float(part * guide.theta)
        plain = guide_at(problem, theta, ratio * theta)
        if plain is None:
            continue
        spare = -(plain.arrival + float(plain.growth[0]))
        for portion in (0.25, 0.5, 0.75, 0.9):
            slack = portion * spare
            other = guide_at(problem, theta, ratio * theta, slack)
            if other is not None and slack > 0.0:
                proofs.append((other.log_bound, slack))
    needed = min(((bound - level) / slack for bound, slack in proofs), default=math.inf)
    slots = int(min(max(math.ceil(min(needed, MOST_SLOTS)), 1), MOST_SLOTS))
    neglected = min((bound - slack * slots for bound, slack in proofs), default=0.0)
    return slots, math.exp(min(neglected, 0.0))
