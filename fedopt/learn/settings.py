"""What steers learning; one validated record."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedopt.errors import InputError


@dataclass(frozen=True)
class Settings:
    """Options of an orchestrator; they are part of its saved state.

    Attributes
    ----------
    model
        Kind of risk models: auto (chosen by held-out score), convex, logistic, isotonic, trees or network.
    flip
        Share of answers that may be reported as their opposite, in [0, 0.5).
    capacity
        Answers that are remembered of each domain, the latest ones.
    anchor
        Answers of the first history that updates keep seeing, of each domain at most; they say what happens
        at splits that a good policy no longer tries.
    anchor_weight
        Weight of such an answer, in answers.
    half_life
        The members with a short memory halve the weight of an answer with every so many newer answers of its
        domain.
    half_life_time
        Every member halves the weight of an answer with so much time (in the unit of the answers' time).
    fade
        Factor on the score of the past with every answer, for choosing among members.
    preference
        Log-loss, in nats, by which another member must be ahead of the first one to be chosen.
    doubt
        Log-loss by which a member with a short memory must be ahead on top: a change that is none costs
        the knowledge of all that came before.
    temperature
        Of the shares: a member that is one nat ahead has exp(1 / temperature) times the share.
    heavy_every
        Answers of a domain between two fits of trees or a network that compete beside the light kinds.
    focus
        In the score of a history an answer counts with the power of its probability: where acceptance is
        unlikely no good split asks.
    folds
        Of the cross-validation that scores a history.
    judged
        Foretold answers that are kept of each domain, for calibration and to tell whether a model fits.
    misfit
        p-value below which a model is said to fit badly.
    alarm
        Level of the Page–Hinkley test at which a domain seems to have changed and its short memory begins
        anew; inf: never. At 12 there is about one false alarm in a thousand answers.
    keep
        Newest answers that a short memory keeps then.
    requests
        Requests whose parts are remembered for answers that come later, and whose repeated answers are known.
    """

    model: str = "auto"
    flip: float = 0.0
    capacity: int = 400
    anchor: int = 400
    anchor_weight: float = 0.3
    half_life: float = 60.0
    half_life_time: float = math.inf
    fade: float = 0.99
    preference: float = 2.5
    doubt: float = 2.0
    temperature: float = 1.0
    heavy_every: int = 25
    focus: float = 1.0
    folds: int = 5
    judged: int = 400
    misfit: float = 1e-3
    alarm: float = 12.0
    keep: int = 20
    requests: int = 100_000

    def __post_init__(self) -> None:
        if not 0 <= self.flip < 0.5:
            raise InputError(f"flip: the share of wrong answers lies in [0, 0.5), not {self.flip}")
        for name in ("capacity", "folds", "judged", "keep", "requests", "heavy_every"):
            if getattr(self, name) < (2 if name == "folds" else 1):
                raise InputError(f"{name}: {getattr(self, name)} is too small")
        if self.anchor < 0:
            raise InputError(f"anchor: {self.anchor} is below 0")
        for name in ("half_life", "half_life_time", "alarm", "temperature"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: {getattr(self, name)} is not above 0")
        for name in ("anchor_weight", "preference", "doubt", "focus"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: {getattr(self, name)} is not a finite number of at least 0")
        if not 0 < self.fade < 1 or not 0 < self.misfit < 1:
            raise InputError("fade and misfit lie between 0 and 1")
