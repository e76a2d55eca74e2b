"""How the reservations of an entry grow with what was promised and contracted: implicit differentiation.

The rates R of an entry are the least multiple c of their own direction that keeps the promise at its form:

    min c  over (c, θ, …)  subject to  B(cR, θ, …; q) ≤ log ε,   G(cR, θ, …; q) ≤ 0,

B the form's log-bound, G what must not grow (`calculus.forms.growth`). The envelope theorem gives, for every
parameter q, at the entry's own θ,

    d ln c/dq = −(B_q + νG_q)/(B_c + νG_c),   ν = −B_θ/G_θ where G binds, else 0        (·_c: along ln c).

ville and image often end where both bind: there R is the arrivals' and impairments' own rate at θ. The growth
times what the reservations cost at the plan's prices is the change of cost; where rates are optimal in every
direction, as under split, any direction gives the same.

A window counts whole slots in every form but the paper's, so a deadline, and the latency of a pure delay, act
in steps: `slots_cost` sizes the entry's path anew for a slot more or less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedopt.calculus import forms, minplus, paper, split
from fedopt.calculus.path import Path
from fedopt.calculus.scaling import least_scale
from fedopt.calculus.search import cut_at
from fedopt.laws import Table, WholeRequests
from fedopt.plan import TenantPlan
from fedopt.plan.guarantees import FORMS

__all__ = ["Growth", "growth_of", "slots_cost"]

_STEP = 1e-6
"""Relative step of the differences."""

_INSIDE = 3 * _STEP

_BINDING = 1e-3
"""Part of θR by which G may fall short of 0 and still bind: so near the searches for θ and α come."""


@dataclass(frozen=True, eq=False)
class Growth:
    """d ln c per unit of each parameter, in slots and work.

    Attributes:
        epsilon: per unit of ln ε.
        rho, sigma: per work/slot and work of arrivals.
        kappa, eta: per work/slot and work of each domain's impairment, shape (L,); nan where not known.
        latency: per slot, shape (L,); of a rate-latency under split towards a shorter one (there it counts
            rounded up too); nan for a pure delay, of which only whole slots count, save under paper-path.
        deadline: per slot under paper-path; nan where only whole slots count.
    """

    epsilon: float
    rho: float
    sigma: float
    kappa: np.ndarray
    eta: np.ndarray
    latency: np.ndarray
    deadline: float


def growth_of(path: Path, rates: np.ndarray, entry: TenantPlan) -> Growth | None:
    """The growth of an entry's rates, work/slot, shape (L,); None for paper-local and simulated."""
    if entry.form not in (*FORMS, "split", "paper-path") or entry.theta is None:
        return None
    return _Sizing(path, np.asarray(rates, float), entry).growth()


def slots_cost(
    path: Path,
    rates: np.ndarray,
    prices: np.ndarray,
    highs: np.ndarray,
    guarantee: str,
    slots: int,
    thetas: np.ndarray | None,
) -> float:
    """The priced reservations of a path with `slots` whole slots more (or fewer) of deadline.

    prices: per work/slot; highs: largest rates, work/slot; both of shape (L,). minplus: the least multiple of
    `rates` over all forms of the guarantee; split: the cheapest rates over `thetas` (None: the path's own
    grid). +inf where nothing within `highs` keeps the promise.
    """
    changed = replace(path, deadline=path.deadline + slots)
    if guarantee == "split":
        return float(split.size(changed, prices, thetas, highs=highs).cost)
    _, _, form = guarantee.partition(":")
    packed = minplus.PackedPath(changed)
    if packed.window < 0:
        return math.inf
    mask = packed.mask & (forms.bit(form) if form else forms.ALL)
    most = np.maximum(highs, rates)
    scale = least_scale(mask, packed.arguments(), 1.0, rates, most, math.inf)[0]
    return float(prices @ np.minimum(scale * rates, most)) if scale < math.inf else math.inf


class _Sizing:
    """B and G of one entry as functions of what may change."""

    def __init__(self, path: Path, rates: np.ndarray, entry: TenantPlan) -> None:
        self.path, self.entry = path.fluid, entry
        self.theta = float(entry.theta or math.nan)
        self.parameters = dict(entry.parameters)
        self.ratio = entry.form == "image" and len(path) > 1
        # image and ville prove nothing where work grows at all: look from just inside
        self.rates = rates * (1.0 + _INSIDE) if entry.form in FORMS else rates

    def bound(self, path: Path, rates: np.ndarray, theta: float, parameters: dict[str, Any]) -> float:
        """B at an entry's form and parameters."""
        entry = self.entry
        if entry.form == "split":
            return float(split.log_bound(split.terms(path, theta), rates)[0][0])
        if entry.form == "paper-path":
            return float(paper.path_bound(path, rates, theta)[0])
        stated = minplus.Evaluation(math.inf, str(entry.form), theta, entry.block, parameters)
        return minplus.verify(path, rates, stated)

    def drift(
        self, path: Path, rates: np.ndarray, theta: float, parameters: dict[str, Any] | None = None
    ) -> float:
        """G, nats a slot; −inf where it cannot bind (the bound itself grows beyond all measure there)."""
        if self.entry.form not in ("image", "ville", "block-ville"):
            return -math.inf
        packed = minplus.PackedPath(path)
        models, arrival, impair, exponent, lag, _, _, _ = packed.arguments()
        hops = len(path)
        form = forms.FORMS.index(self.entry.form) if hops > 1 else forms.VILLE
        parameter, cut = self.entry.block or 1, np.arange(hops + 1)
        if form == forms.IMAGE:
            parameter = (parameters or self.parameters).get("alpha", 1.0)
            at = self.entry.parameters.get("split", 0)
            cut = cut_at(hops, int(at))
            parameter = -parameter if at == -1 else parameter
        own = (models, arrival, impair, exponent, lag, rates, theta, float(parameter), cut)
        return float(forms.growth(form, *own, np.empty((4, hops + 1))))

    def growth(self) -> Growth | None:
        path, rates = self.path, self.rates
        hops = len(path)
        by_scale = _difference(lambda s: self.at(rates=rates * math.exp(s)), _STEP)
        multiplier = self._multiplier()
        weights = np.array([1.0, multiplier]) if multiplier else np.array([1.0])
        pull = float(weights @ by_scale[: weights.size])
        if not (math.isfinite(pull) and pull < 0.0):
            return None

        def relative(partial: np.ndarray) -> float:
            return -float(weights @ partial[: weights.size]) / pull

        step = _STEP * float(rates.min())
        return Growth(
            epsilon=1.0 / pull,
            rho=relative(self._by_rho(step)),
            sigma=relative(self._by_burst(None, step)),
            # a bound with more impairment holds with less, so more of it never saves, whatever one form says
            kappa=np.array([max(relative(self._by_kappa(i, step)), 0.0) for i in range(hops)]),
            eta=np.array([relative(self._by_burst(i, step)) for i in range(hops)]),
            latency=np.array([relative(self._by_latency(i)) for i in range(hops)]),
            deadline=relative(self._by_deadline()),
        )

    def _by_burst(self, i: int | None, step: float) -> np.ndarray:
        """(B, G) by η of domain i, or by σ: every form but split adds θ times it, at any Hölder exponent."""
        if self.entry.form != "split":
            return np.array([self.theta, 0.0])
        return _difference(lambda s: self.at(self._shifted(i, 0.0, s)), step)

    def _multiplier(self) -> float:
        """ν, by least squares over all that the form is free to choose; 0 where G does not bind."""
        theta, alpha = self.theta, self.parameters.get("alpha", 1.0)
        level = self.drift(self.path, self.rates / (1.0 + _INSIDE), theta)
        if not level > -_BINDING * theta * float(self.rates.min()):
            return 0.0
        step = 0.1 * _STEP
        slopes = [_difference(lambda s: self.at(theta=theta * math.exp(s)), step)]
        if self.ratio and alpha > 1.0 + 1e-6:
            slopes.append(_difference(lambda s: self.at(alpha=alpha * math.exp(s)), step))
        bound, drift = np.array(slopes).T
        return max(-float(bound @ drift) / float(drift @ drift), 0.0)

    def at(
        self,
        path: Path | None = None,
        rates: np.ndarray | None = None,
        theta: float | None = None,
        alpha: float | None = None,
    ) -> np.ndarray:
        """(B, G) with some of it changed."""
        given = (
            self.path if path is None else path,
            self.rates if rates is None else rates,
            self.theta if theta is None else theta,
            self.parameters if alpha is None else {**self.parameters, "alpha": alpha},
        )
        return np.array([self.bound(*given), self.drift(*given)])

    def _by_latency(self, i: int) -> np.ndarray:
        path = self.path
        unit = np.eye(len(path))[i]
        whole = not path.rate_latency[i] and self.entry.form != "paper-path"
        if whole or not path.latencies[i] > 0.0:
            return np.full(2, math.nan)

        def moved(step: float) -> np.ndarray:
            return self.at(replace(path, latencies=path.latencies + step * unit))

        change = min(1e-5, 0.5 * float(path.latencies[i]))
        if self.entry.form == "split":
            with np.errstate(invalid="ignore"):
                return (moved(0.0) - moved(-change)) / change
        return _difference(moved, change)

    def _by_deadline(self) -> np.ndarray:
        if self.entry.form != "paper-path":
            return np.full(2, math.nan)
        return _difference(lambda s: self.at(replace(self.path, deadline=self.path.deadline + s)), 1e-5)

    def _by_kappa(self, i: int, step: float) -> np.ndarray:
        """(B, G) by κ of domain i: as much more work in every slot."""
        if self.ratio:
            group = self._group(i)
            paid = self.theta * float(self.path.guardrail_latencies[group].sum())  # the rates cost their lag
            lowered = _difference(lambda s: self.at(rates=self.rates - s * group), step)
            return lowered + np.array([paid, 0.0])
        return _difference(lambda s: self.at(self._shifted(i, s, 0.0)), step)

    def _by_rho(self, step: float) -> np.ndarray:
        """(B, G) by ρ: as much more arrivals in every slot."""
        if self.ratio:
            # as if every rate were smaller, but the walls' images start e^{−Λ_A} a slot lower
            paid = self.theta * (float(self.path.guardrail_latencies.sum()) - self.path.slots)
            return _difference(lambda s: self.at(rates=self.rates - s), step) + np.array([paid, 0.0])
        return _difference(lambda s: self.at(self._shifted(None, s, 0.0)), step)

    def _group(self, i: int) -> np.ndarray:
        """The domains that image merges with domain i, bool[L]."""
        at = int(self.entry.parameters.get("split", 0))
        cut = cut_at(len(self.path), at)
        group = np.searchsorted(cut, np.arange(len(self.path)), side="right")
        return group == group[i]

    def _shifted(self, i: int | None, rate: float, burst: float) -> Path:
        """The path with so much more κ and η in domain i, or ρ and σ (None), known at the entry's θ alone."""
        path = self.path
        if i is None:
            tabled = _at(path.arrival, self.theta, rate, burst, arrival=True)
            if isinstance(path.arrival, WholeRequests):
                tabled = WholeRequests(tabled, without_slots=path.arrival.without_slots)
            return replace(path, arrival=tabled)
        impairments = list(path.impairments)
        tilt = self.theta * float(self._exponents()[i])
        impairments[i] = _at(impairments[i], tilt, rate, burst, arrival=False)
        return replace(path, impairments=tuple(impairments))

    def _exponents(self) -> np.ndarray:
        stated = self.entry.parameters.get("exponents")
        if stated is None and self.path.within_slot:
            return np.ones(len(self.path))
        return np.array(stated, float) if stated is not None else self.path.exponents


def _difference(of: Callable[[float], np.ndarray], step: float) -> np.ndarray:
    """The derivative at 0, by a central difference."""
    with np.errstate(invalid="ignore"):
        return (of(step) - of(-step)) / (2.0 * step)


def _at(model: Any, theta: float, rate: float, burst: float, *, arrival: bool) -> Any:
    """A model as a table of one θ, exact there, with so much more rate and burst."""
    first, second = (model.rho, model.sigma) if arrival else (model.kappa, model.eta)
    return Table(
        np.array([theta]),
        np.array([theta * (float(first(theta)) + rate)]),
        np.array([theta * (float(second(theta)) + burst)]),
        np.array([float(model.request_log_bias(theta))]) if arrival else None,
        monotone=bool(getattr(model, "monotone", True)),
        independent_increments=bool(getattr(model, "independent_increments", False)),
        iid=bool(getattr(model, "iid", False)),
    )
