"""The minplus guarantee of one path: the least of the six forms, and a check of one form's proof as
stated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

from fedopt.calculus import store_and_forward
from fedopt.calculus.crossing import best_at_crossing
from fedopt.calculus.forms import (
    ALL,
    BLOCK,
    BLOCK_VILLE,
    EVERY_RATE,
    FINE,
    FORMS,
    IMAGE,
    VILLE,
    allowed_forms,
)
from fedopt.calculus.path import Path, log_difference
from fedopt.calculus.search import BOUND, best_bound, best_of_form, cut_at, workspace
from fedopt.calculus.slower import STARTS, least_at_slower, starting_point
from fedopt.calculus.store_and_forward import STORE_AND_FORWARD
from fedopt.laws import ModelTable, own_arrival, pack

__all__ = ["Evaluation", "PackedPath", "best_exponents", "evaluate", "slower_rates", "verify"]

_NEAR_ONE = 1.002  # the ratio α from which the image form is searched besides the usual start, 2


@dataclass(frozen=True)
class Evaluation:
    """A proven bound: P(W > deadline) ≤ e^log_bound.

    Attributes:
        log_bound: natural logarithm; +inf where nothing is proven.
        form: image | ville | block-ville | fine | monotone | block, or the name of the guarantee; "" if
        nothing is proven.
        theta: the tilt used, 1/work.
        block: block length in slots for block and block-ville, else None.
        parameters: what else the proof needs: `alpha` and `split` of the image form, Hölder `exponents`.
    """

    log_bound: float
    form: str
    theta: float
    block: int | None = None
    parameters: dict[str, object] = field(default_factory=dict)


class PackedPath:
    """A path as the arrays that the compiled forms take; envelopes are packed once."""

    def __init__(self, path: Path) -> None:
        path = path.fluid
        self.models: ModelTable = pack([path.arrival, *path.impairments])
        hops = len(path)
        self.impair = np.arange(1, hops + 1)
        self.exponent = np.ones(hops) if path.within_slot else np.array(path.exponents)
        self.lag = np.array(path.guardrail_latencies)
        self.window = path.slots
        self.biased = bool(path.per_request)
        self.log_epsilon = path.log_epsilon
        self.dependent = () if path.within_slot else path.dependent
        models = self.models
        self.mask = allowed_forms(
            bool(models.monotone[1:].all()),
            bool(models.independent.all()),
            bool(models.iid[1:].all()),  # arrivals enter at θ alone: independent is enough
            bool(path.dependent),
        )
        if path.within_slot:
            self.mask &= 1 << FINE

    def arguments(self) -> tuple:
        """(models, arrival, impair, exponent, lag, window, biased, log ε) as the compiled search takes
        them."""
        return (
            self.models,
            0,
            self.impair,
            self.exponent,
            self.lag,
            self.window,
            self.biased,
            self.log_epsilon,
        )

    def of_image(self) -> tuple[Any, Any, Any, Any, Any, Any]:
        """(models, arrival, impair, lag, window, biased): what the image form needs, which knows no
        exponents."""
        return self.models, 0, self.impair, self.lag, self.window, self.biased


def best_exponents(packed: PackedPath, rates: np.ndarray, mask: int) -> np.ndarray:
    """Exponents p, shape (L,), that make the least log-bound at the given reservations smallest (never
    worse than equal ones).

    Hölder's inequality does without independence: p_iθ in factor i, Σ 1/p_i = 1 in each group, so κ_i(θ)
    becomes
    κ_i(p_iθ). In u = 1/p the charge uΛ(θ/u) is the perspective of a convex function, so the log-bound of a
    convex form is jointly convex in (θ, u): the exponents found by a local search are the best.
    """
    equal = packed.exponent.copy()
    groups = [list(group) for group in packed.dependent]
    free = sum(len(group) - 1 for group in groups)

    def exponents(point: np.ndarray) -> np.ndarray:
        values, position = equal.copy(), 0
        for group in groups:
            weights = np.concatenate([point[position : position + len(group) - 1], [0.0]])
            position += len(group) - 1
            share = np.exp(weights - weights.max())
            values[group] = share.sum() / np.maximum(share, 1e-12 * share.sum())
        return values

    models, arrival, impair, _, lag, window, biased, log_epsilon = packed.arguments()

    def bound(point: np.ndarray) -> float:
        path = (models, arrival, impair, exponents(point), lag, window, biased, log_epsilon)
        value = best_bound(mask, path, rates)[0]
        return value if math.isfinite(value) else 1e6

    start = np.zeros(free)
    found = minimize(
        bound, start, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-8, "maxfev": 120 * free}
    )
    return exponents(found.x) if found.fun < bound(start) else equal


def evaluate(path: Path, rates: np.ndarray, forms: int = ALL, *, crossing: bool = False) -> Evaluation:
    """The least log-bound of a path over the allowed forms, θ, block lengths, image ratios and Hölder
    exponents.

    rates: reservations in work/slot, shape (L,); forms: mask of the forms to use (`forms.bit`).  Because
    delay only falls when a server gets faster, the bound at any lower rates is valid too, and the least met
    counts: a faster server hardly ever makes a bound worse. crossing: with credit for arrivals where the
    image form is among the forms, a tighter bound that takes some ten times as long.
    """
    if path.by_requests:
        return _by_requests(path, np.asarray(rates, float), forms)
    if path.within_slot:  # what needs no knowledge of the dependence holds too
        any_ = evaluate(replace(path, within_slot=False), rates, forms, crossing=crossing)
        fine = _best(path, rates, forms, crossing)
        return min(fine, any_, key=lambda found: found.log_bound)
    return _best(path, rates, forms, crossing)


def _best(path: Path, rates: np.ndarray, forms: int, crossing: bool) -> Evaluation:
    """`evaluate` of work that keeps its size, with the dependence as the path has it."""
    packed = PackedPath(path)
    rates = np.asarray(rates, float)
    mask = packed.mask & forms
    if packed.dependent:
        packed.exponent = best_exponents(packed, rates, mask)
    best = best_bound(mask, packed.arguments(), rates)
    if mask >> IMAGE & 1 and len(rates) > 1:
        best = min(best, _near_one(best, packed, rates))
    if rates.min() < rates.max() or packed.lag.any():
        # what slower servers prove may be out of the search's reach at the rates themselves
        slower, start = best, rates
        for lower in _starts(packed, rates)[1:]:
            found = best_bound(mask & EVERY_RATE, packed.arguments(), lower)
            if found[0] < slower[0]:
                slower, start = found, lower
        best = min(best, _slower(slower, packed, rates, start))
    if crossing and mask >> IMAGE & 1 and best[0] < 0.0:
        best = min(best, _at_crossing(best, packed, rates))
    return describe((_of(path, best[0]), *best[1:]), packed)


def _near_one(found: tuple, packed: PackedPath, rates: np.ndarray) -> tuple[Any, ...]:
    """A proof by the image form from a ratio near 1: close to stability it lies in a valley of its own, which
    the search from the middle leaves aside."""
    guess = found[2] if found[0] < 0.0 else 1.0
    value, *parameters = best_of_form(
        BOUND, IMAGE, packed.arguments(), (rates, rates), guess, _NEAR_ONE, 0, workspace(len(rates))
    )
    return (value, IMAGE, *parameters)


def _at_crossing(found: tuple, packed: PackedPath, rates: np.ndarray) -> tuple[Any, ...]:
    """A proof by image or ville with credit for arrivals, at a θ near that of the best without."""
    starts = _starts(packed, rates)
    if found[1] not in (IMAGE, VILLE):
        found = min(best_bound(1 << IMAGE, packed.arguments(), start) for start in starts)
    _, form, theta, parameter, split = found
    if form < 0:
        return found
    cut = _cut(form, len(rates), split)
    value, at = min(best_at_crossing(*packed.of_image(), start, theta, parameter, cut) for start in starts)
    return (value, form, at, parameter, split)


def _starts(packed: PackedPath, rates: np.ndarray) -> list[np.ndarray]:
    """Lowered rates (L,) to start a search from, the rates themselves first."""
    starts = [rates]
    for number in range(1, STARTS):
        lower = np.empty(len(rates))
        starting_point(number, rates, packed.lag, lower)
        if not any((lower == known).all() for known in starts):
            starts.append(lower)
    return starts


def _cut(form: int, hops: int, split: int) -> np.ndarray:
    """The groups of the image form; one for ville."""
    return np.array([0, hops]) if form == VILLE else cut_at(hops, split)


def _slower(found: tuple, packed: PackedPath, rates: np.ndarray, start: np.ndarray) -> tuple[Any, ...]:
    """The proof that `best_bound` found at `start` ≤ `rates`, or a better one: rates and θ in turn; with the
    value that `verify` finds."""
    best = found
    for _ in range(4):
        _, form, theta, parameter, split = found
        if form < 0:
            break
        value, start = _at_slower(form, packed, rates, start, theta, parameter, split)
        gain = best[0] - value
        if value < best[0]:
            best = (value, form, theta, parameter, split)
        if not gain > 1e-7 * abs(value):
            break
        found = best_bound(1 << form, packed.arguments(), start)
    return (_at_slowest(packed, rates, *best[1:]), *best[1:]) if best[1] >= 0 else best


def _at_slowest(
    packed: PackedPath,
    rates: np.ndarray,
    form: int,
    theta: float,
    parameter: float,
    split: int,
    enough: float = -math.inf,
) -> float:
    """Log-bound of one proof, least over rates that are no larger, from one start after the other until it is
    enough."""
    value = math.inf
    for start in _starts(packed, rates):
        value = min(value, _at_slower(form, packed, rates, start, theta, parameter, split)[0])
        if not enough < value:
            break
    return value


def _at_slower(
    form: int,
    packed: PackedPath,
    rates: np.ndarray,
    start: np.ndarray,
    theta: float,
    parameter: float,
    split: int,
) -> tuple[float, np.ndarray]:
    """(log-bound, rates) of one proof, least over rates that are no larger, searched from `start`."""
    hops = len(packed.impair)
    if hops == 1 and form in (IMAGE, BLOCK_VILLE):
        form = VILLE
    models, arrival, impair, exponent, lag, window, biased, _ = packed.arguments()
    slow = np.empty(hops)
    value = least_at_slower(
        form, models, arrival, impair, exponent, lag, window, biased, rates, start, theta, parameter,
        cut_at(hops, split), np.empty((4, hops + 1)), slow,
    )  # fmt: skip
    return float(value), slow


def slower_rates(path: Path, rates: np.ndarray, proof: dict[str, Any]) -> np.ndarray:
    """Rates no larger than these at which a stated proof (form, theta, block, parameters) gives the least
    bound met, shape (L,)."""
    packed = PackedPath(path)
    parameters = proof.get("parameters", {})
    packed.exponent = np.asarray(parameters.get("exponents", packed.exponent), float)
    form, split = FORMS.index(proof["form"]), int(parameters.get("split", 0))
    parameter = float(parameters.get("alpha", proof.get("block") or 1.0))
    parameter = -parameter if split == -1 else parameter
    found = (
        _at_slower(form, packed, rates, start, proof["theta"], parameter, split)
        for start in _starts(packed, rates)
    )
    return min(found, key=lambda one: one[0])[1]


def describe(found: tuple, packed: PackedPath) -> Evaluation:
    """An `Evaluation` of the (log-bound, form, θ, parameter, split) that the compiled search returns."""
    log_bound, form, theta, parameter, split = found
    if form < 0:
        return Evaluation(math.inf, "", math.nan)
    parameters: dict[str, object] = {}
    if form == IMAGE and len(packed.impair) > 1:
        parameters = {"alpha": abs(float(parameter)), "split": int(split)}
    if packed.dependent:
        parameters["exponents"] = [float(p) for p in packed.exponent]
    block = int(parameter) if form in (BLOCK, BLOCK_VILLE) and len(packed.impair) > 1 else None
    return Evaluation(float(log_bound), FORMS[form], float(theta), block, parameters)


def verify(path: Path, rates: np.ndarray, stated: Evaluation) -> float:
    """The log-bound that a stated proof (form, θ, block, parameters) gives at rates no larger than these, the
    least found; +inf where its assumptions do not hold.

    Lower rates are searched from one start after the other until the stated log_bound is reached: of +inf at
    once. No credit for arrivals is given: reservations are sized, and lower bounds hold, without it.

    Raises ValueError for an unknown form, a wrong number of rates or Hölder exponents, exponents whose Σ 1/p
    exceeds 1 in a group, a block shorter than a slot, an image ratio α < 1, and a split outside the path.
    """
    if path.by_requests:
        if stated.form != STORE_AND_FORWARD or not path.store_and_forward:
            return math.inf
        alpha = float(stated.parameters.get("alpha", 1.0))  # type: ignore[arg-type]
        reach = float(stated.parameters.get("reach", math.inf))  # type: ignore[arg-type]
        law = own_arrival(path.arrival)
        return store_and_forward.log_bound(
            law, np.asarray(rates, float), path.window, stated.theta, alpha, reach
        )
    if path.within_slot and "exponents" in stated.parameters:
        path = replace(path, within_slot=False)
    packed = PackedPath(path)
    hops = len(path)
    form = FORMS.index(stated.form)
    if not packed.mask >> form & 1:
        return math.inf
    if packed.dependent:
        exponents = np.asarray(stated.parameters.get("exponents", packed.exponent), float)
        if exponents.shape != (hops,):
            raise ValueError("one Hölder exponent is needed for each domain of the path")
        packed.exponent = np.maximum(exponents, 1.0)
        for group in packed.dependent:
            if not (1.0 / packed.exponent[list(group)]).sum() <= 1.0 + 1e-12:
                raise ValueError("Hölder exponents of dependent domains must satisfy Σ 1/p ≤ 1")
    parameter = 1.0 if stated.block is None else float(stated.block)
    if form in (BLOCK, BLOCK_VILLE) and not parameter >= 1.0:
        raise ValueError("a block has at least one slot")
    split = 0
    if form == IMAGE:
        parameter = float(stated.parameters.get("alpha", 1.0))  # type: ignore[arg-type]
        if not parameter >= 1.0:
            raise ValueError("the image form needs α ≥ 1")
        split = int(stated.parameters.get("split", 0))  # type: ignore[call-overload]
        if not 0 <= split < hops and not 1 <= -split < hops:
            raise ValueError("the image form's split must be a position on the path, or minus a length of it")
        parameter = -parameter if split == -1 else parameter
        if hops == 1:
            form = VILLE
    rate = np.asarray(rates, float)
    if rate.shape != (hops,):
        raise ValueError("one rate is needed for each domain of the path")
    if np.isnan(rate).any():
        return math.inf
    enough = stated.log_bound if path.whole is None else log_difference(stated.log_bound, path.fluid.broken)
    value = _at_slowest(packed, rate, form, stated.theta, parameter, split, enough)
    return _of(path, value)


def _by_requests(path: Path, rates: np.ndarray, forms: int) -> Evaluation:
    """The bound of requests whose sizes are drawn anew in each domain; no form of a fluid holds for them."""
    if forms != ALL or not path.store_and_forward:
        return Evaluation(math.inf, "", math.nan)
    found = store_and_forward.least_bound(own_arrival(path.arrival), rates, path.window)
    if not math.isfinite(found.log_bound):
        return Evaluation(math.inf, "", math.nan)
    return Evaluation(found.log_bound, STORE_AND_FORWARD, found.theta, None, found.parameters)


def _of(path: Path, log_bound: float) -> float:
    """What a bound of the path's fluid says of the path itself."""
    return log_bound if path.whole is None else path.total(log_bound)
