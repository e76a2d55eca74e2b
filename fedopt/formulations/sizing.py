"""The rates of one route under each guarantee, for models in which rates are data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from fedopt.calculus import paper, split
from fedopt.calculus.forms import ALL, bit
from fedopt.calculus.minplus import evaluate
from fedopt.formulations.program import Route

__all__ = ["Sized", "forms_of", "prove", "size_route"]

MARGIN = 1e-9
"""Equal rates are rounded up by this part, so that the bound survives rounding and a change of units."""


@dataclass(frozen=True, eq=False)
class Sized:
    """Rates of one route and the proof they come with.

    Attributes:
        rates: work/slot, shape ``(L,)``. theta: 1/work. log_bound: natural. form: as plans name it.
        deadlines: slots, budgets: probabilities, shape ``(L,)``, under split only.
        block, parameters: what else the form's proof needs.
    """

    rates: np.ndarray
    theta: float
    log_bound: float
    form: str
    deadlines: np.ndarray | None = None
    budgets: np.ndarray | None = None
    block: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


def forms_of(guarantee: str) -> int:
    """Mask of the forms that "minplus" or "minplus:FORM" allows."""
    _, _, form = guarantee.partition(":")
    return bit(form) if form else ALL


def prove(route: Route, rates: np.ndarray, guarantee: str) -> Sized:
    """The best proof of given rates under a guarantee; its log_bound is +inf where there is none."""
    path = route.path
    if guarantee == "split":
        log_bound, theta = split.least_log_bound(path, rates)
        if not math.isfinite(log_bound):
            return Sized(rates, math.nan, math.inf, "split")
        deadlines, budgets = split.shares(split.terms(path, theta), rates)
        return Sized(rates, theta, path.total(log_bound), "split", deadlines, budgets)
    if guarantee == "paper-path":
        log_bound, theta = paper.least_path(path, rates)
        return Sized(rates, theta, path.total(log_bound), guarantee)
    if guarantee == "paper-local":
        bounds, thetas = paper.least_local(path, rates)
        each = {"thetas": [float(theta) for theta in thetas]}
        return Sized(rates, float(thetas.min()), path.total(float(bounds.max())), guarantee, parameters=each)
    found = evaluate(path, rates, forms_of(guarantee))
    return Sized(
        rates, found.theta, found.log_bound, found.form, block=found.block, parameters=dict(found.parameters)
    )


def size_route(
    route: Route, guarantee: str, prices: npt.ArrayLike, thetas: npt.ArrayLike | None = None
) -> Sized | None:
    """Least-cost rates of a route at given prices (per unit of work/slot, ``(L,)``); None where there are
    none.

    minplus and paper-path: the least common rate. paper-local: the least rate of each domain by itself.
    split: the cheapest rates at these prices. thetas: the θ to choose from (split only); by default all.
    """
    path = route.path
    if guarantee == "split":
        sizing = split.size(path, prices, thetas, highs=route.highs, refine=thetas is None)
        if not math.isfinite(sizing.cost):
            return None
        log_bound = path.total(float(split.log_bound(split.terms(path, sizing.theta), sizing.rates)[0][0]))
        return Sized(sizing.rates, sizing.theta, log_bound, "split", sizing.deadlines, sizing.budgets)
    if guarantee == "paper-path":
        common = paper.size_path(path)
        rates = np.full(len(path), common.rate * (1 + MARGIN))
        if not np.all(rates <= route.highs):
            return None
        return Sized(
            rates, common.theta, path.total(float(paper.path_bound(path, rates, common.theta)[0])), guarantee
        )
    if guarantee == "paper-local":
        local = paper.size_local(path)
        rates = local.rates * (1 + MARGIN)
        if not np.all(rates <= route.highs):
            return None
        worst = path.total(
            max(float(paper.local(path, rates, theta)[0, i]) for i, theta in enumerate(local.thetas))
        )
        each = {"thetas": [float(theta) for theta in local.thetas]}
        return Sized(rates, float(local.thetas.min()), worst, guarantee, parameters=each)
    rates = np.full(len(path), _least_common_rate(route, guarantee) * (1 + MARGIN))
    if not np.all(rates <= route.highs):
        return None
    proof = prove(route, rates, guarantee)
    return proof if math.isfinite(proof.log_bound) else None


def _least_common_rate(route: Route, guarantee: str) -> float:
    """Least R such that R in every domain proves the promise under minplus; +inf where none does."""
    path, forms = route.path, forms_of(guarantee)

    def lack(log_rate: float) -> float:
        bound = evaluate(path, np.full(len(path), math.exp(log_rate)), forms).log_bound
        return min(bound, 1e6) - path.log_epsilon

    high = math.log(float(route.highs.min()))
    low = math.log(max(path.arrival.mean + max(i.mean for i in path.impairments), 1e-12))
    if low >= high or lack(high) > 0:
        return math.inf
    if lack(low) <= 0:
        return math.exp(low)
    low, high = _bracket(lack, low, high)
    root = float(brentq(lack, low, high, xtol=1e-12, rtol=1e-14))
    for step in (
        0.0,
        1e-12,
        1e-11,
        1e-10,
        1e-9,
        1e-8,
        1e-7,
    ):  # the search inside is exact to its own tolerance
        if lack(root + step) <= 0:
            return math.exp(root + step)
    return math.exp(high)


def _bracket(lack: Any, low: float, high: float) -> tuple[float, float]:
    """Narrow [low, high] by doubling from below, so that the root finder starts near the root."""
    step = 0.1
    while low + step < high:
        if lack(low + step) <= 0:
            return low + step / 2 if step > 0.1 else low, low + step
        step *= 2
    return low, high
