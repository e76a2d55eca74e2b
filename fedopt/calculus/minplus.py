"""The minplus guarantee of one path: the least of the six forms, and a check of one form's proof as
stated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from fedopt.calculus.dependence import best_exponents
from fedopt.calculus.forms import (
    ALL,
    BLOCK,
    BLOCK_VILLE,
    EVERY_RATE,
    FORMS,
    IMAGE,
    VILLE,
    allowed_forms,
)
from fedopt.calculus.path import Path
from fedopt.calculus.search import best_bound, cut_at
from fedopt.calculus.slower import least_at_slower
from fedopt.envelopes import ModelTable, pack

__all__ = ["Evaluation", "PackedPath", "evaluate", "verify"]


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
        self.models: ModelTable = pack([path.arrival, *path.impairments])
        hops = len(path)
        self.impair = np.arange(1, hops + 1)
        self.exponent = np.array(path.exponents)
        self.lag = np.array(path.guardrail_latencies)
        self.window = path.slots
        self.biased = bool(path.per_request)
        self.log_epsilon = path.log_epsilon
        self.dependent = path.dependent
        models = self.models
        self.mask = allowed_forms(
            bool(models.monotone[1:].all()),
            bool(models.independent.all()),
            bool(models.iid.all()),
            bool(path.dependent),
        )

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


def evaluate(path: Path, rates: np.ndarray, forms: int = ALL) -> Evaluation:
    """The least log-bound of a path over the allowed forms, θ, block lengths, image ratios and Hölder
    exponents.

    rates: reservations in work/slot, shape (L,); forms: mask of the forms to use (`forms.bit`).  Because
    delay only falls when a server gets faster, the bound at any lower rates is valid too, and the least met
    counts: a faster server never makes a bound worse.
    """
    packed = PackedPath(path)
    rates = np.asarray(rates, float)
    if packed.dependent:
        packed.exponent = best_exponents(packed, rates, packed.mask & forms)
    best = best_bound(packed.mask & forms, packed.arguments(), rates)
    if rates.min() < rates.max():
        mask = packed.mask & forms & EVERY_RATE
        best = min(best, best_bound(mask, packed.arguments(), np.full(len(rates), rates.min())))
    if rates.min() < rates.max() or packed.lag.any():
        best = _slower(best, packed, rates)
    return describe(best, packed)


def _slower(found: tuple, packed: PackedPath, rates: np.ndarray) -> tuple:
    """What `best_bound` found, or better where slower servers prove more: rates and θ in turn."""
    best = found
    for _ in range(4):
        _, form, theta, parameter, split = found
        if form < 0:
            break
        value, slow = _at_slower(form, packed, rates, theta, parameter, split)
        gain = best[0] - value
        if value < best[0]:
            best = (value, form, theta, parameter, split)
        if not gain > 1e-7 * abs(value):
            break
        found = best_bound(1 << form, packed.arguments(), slow)
    return best


def _at_slower(
    form: int, packed: PackedPath, rates: np.ndarray, theta: float, parameter: float, split: int
) -> tuple[float, np.ndarray]:
    """(log-bound, rates) of one proof, least over rates that are no larger."""
    hops = len(packed.impair)
    if hops == 1 and form in (IMAGE, BLOCK_VILLE):
        form = VILLE
    models, arrival, impair, exponent, lag, window, biased, _ = packed.arguments()
    slow = np.empty(hops)
    value = least_at_slower(
        form, models, arrival, impair, exponent, lag, window, biased, rates, theta, parameter,
        cut_at(hops, split), np.empty((4, hops + 1)), slow,
    )  # fmt: skip
    return float(value), slow


def describe(found: tuple, packed: PackedPath) -> Evaluation:
    """An `Evaluation` of the (log-bound, form, θ, parameter, split) that the compiled search returns."""
    log_bound, form, theta, parameter, split = found
    if form < 0:
        return Evaluation(math.inf, "", math.nan)
    parameters: dict[str, object] = {}
    if form == IMAGE and len(packed.impair) > 1:
        parameters = {"alpha": float(parameter), "split": int(split)}
    if packed.dependent:
        parameters["exponents"] = [float(p) for p in packed.exponent]
    block = int(parameter) if form in (BLOCK, BLOCK_VILLE) and len(packed.impair) > 1 else None
    return Evaluation(float(log_bound), FORMS[form], float(theta), block, parameters)


def verify(path: Path, rates: np.ndarray, stated: Evaluation) -> float:
    """The log-bound that a stated proof (form, θ, block, parameters) gives at rates no larger than these, the
    least found; +inf where its assumptions do not hold.

    Raises ValueError for an unknown form, a wrong number of rates or Hölder exponents, exponents whose Σ 1/p
    exceeds 1 in a group, a block shorter than a slot, an image ratio α < 1, and a split outside the path.
    """
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
        if not 0 <= split < hops and not 2 <= -split < hops:
            raise ValueError("the image form's split must be a position on the path, or minus a length of it")
        if hops == 1:
            form = VILLE
    rate = np.asarray(rates, float)
    if rate.shape != (hops,):
        raise ValueError("one rate is needed for each domain of the path")
    if np.isnan(rate).any():
        return math.inf
    return _at_slower(form, packed, rate, stated.theta, parameter, split)[0]
