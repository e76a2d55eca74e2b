"""Systems that the tests of the calculus ask about, and a plain way to evaluate one form of one path."""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.forms import FORMS, allowed_forms, at_theta, bit
from fedopt.calculus.minplus import PackedPath
from fedopt.calculus.path import Path
from fedopt.laws import ExponentialWork, Poisson
from tests.oracles import formulas
from tests.oracles.random_tandems import merged
from tests.oracles.tandem import Tandem, plain

SEARCHED = 1e-6
"""How far a search over θ and other parameters may end above the least value, relative to it."""


def case_a(*rates: float) -> Tandem:
    """Three domains with pure delays."""
    impairments = tuple(ExponentialWork(mean) for mean in (0.3, 0.2, 0.4))
    return Tandem(Poisson(0.5), impairments, rates, (2.0, 3.0, 4.0), (False,) * 3, 30.0)


def case_b(hops: int, rate: float = 1.0) -> Tandem:
    """Equal domains in a row."""
    return plain(Poisson(0.05), [Poisson(0.01, 0.3)] * hops, [rate] * hops, 100)


def path_of(tandem: Tandem, log_epsilon: float = math.log(1e-3), request: bool = False, dependent=()) -> Path:
    """The same as a path of the package."""
    return Path(
        tandem.arrival,
        tandem.impairments,
        np.array(tandem.latencies),
        np.array(tandem.guardrail),
        tandem.deadline,
        log_epsilon,
        request,
        dependent,
    )


def cut_of(hops: int, split: int = 0) -> np.ndarray:
    """Groups of the image form: single domains, two groups, or the first −split domains in one."""
    if split < 0:
        return np.array([0, *range(-split, hops + 1)])
    return np.arange(hops + 1) if split == 0 else np.array([0, split, hops])


def at(form: str, packed: PackedPath, rates, theta: float, parameter: float = 1.0, split: int = 0) -> float:
    """The package's log-bound of one form at one θ."""
    models, arrival, impair, exponent, lag, window, biased, _ = packed.arguments()
    hops = impair.size
    return at_theta(
        FORMS.index(form),
        models,
        arrival,
        impair,
        exponent,
        lag,
        window,
        biased,
        np.asarray(rates, float),
        theta,
        parameter,
        cut_of(hops, split),
        np.empty((4, hops + 1)),
    )


def oracle(
    form: str, tandem: Tandem, theta: float, parameter: float = 1.0, split: int = 0, request: bool = False
) -> float:
    """The plain formula of one form at one θ."""
    hops = len(tandem.rates)
    if form == "fine":
        value = formulas.fine(tandem, theta, request)
        return value if value < math.inf else formulas.fine_exact(tandem, theta, request, digits=80)
    if form == "monotone":
        return formulas.monotone(tandem, theta, request)
    if form == "block":
        return formulas.block(tandem, theta, int(parameter), request)
    if form == "ville" or hops == 1:
        return formulas.ville(tandem, theta, request)
    if form == "block-ville":
        return formulas.block_ville(tandem, theta, int(parameter), request)
    now = tandem if split in (0, -1) else merged(tandem, split)
    walls = len(now.rates) - 1
    if split == -1:  # a_1 = −parameter·θ, falling
        above = [math.sqrt(1.0 - i / (walls + 1)) / (i + 1) for i in range(walls)]
        charges = [theta * (1.0 - (parameter + 1.0) * each) for each in above]
    else:
        charges = [parameter * theta] * walls
    rising = bool(np.all(np.diff(now.rates) >= 0.0))
    return formulas.image(now, theta, charges, request, credited=rising)


def parameters(form: str, packed: PackedPath, rng: np.random.Generator) -> tuple[float, int]:
    """A random parameter of a form, and the image's split; −1 with a negative one: tapered charges."""
    hops, window = packed.impair.size, packed.window
    if form in ("block", "block-ville"):
        return float(rng.integers(1, window + 2)), 0
    if form == "image":
        split = int(rng.integers(-1, hops)) if hops > 2 else 0
        ratio = float(rng.choice([1.0, 1.0 + 1e-9, 1.01, rng.uniform(1.0, 3.0)]))
        return (-ratio if split == -1 else ratio), split
    return 1.0, 0


def forms_of(tandem: Tandem, dependent: bool = False) -> list[str]:
    """The forms whose assumptions a tandem's models declare."""
    models = (tandem.arrival, *tandem.impairments)
    mask = allowed_forms(
        all(j.monotone for j in tandem.impairments),
        all(m.independent_increments for m in models),
        all(m.iid for m in models),
        dependent,
    )
    return [form for form in FORMS if mask & bit(form)]
