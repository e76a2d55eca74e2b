"""Whether stated probabilities come true: Brier score and reliability diagram on held-out answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedopt.learn.feedback import Array, Feedback
from fedopt.learn.model import RiskModel


@dataclass(frozen=True)
class Calibration:
    """Attributes, all over answers that the model has not seen:

    brier: mean squared difference of probability and answer (0 is perfect).
    log_loss: mean negative log-likelihood, natural.
    error: expected calibration error: mean |frequency − probability| over the bins, weighted.
    stated, observed, number: reliability diagram: mean probability, frequency of "accepted" and number of
        answers of each bin of probability.
    """

    brier: float
    log_loss: float
    error: float
    stated: Array
    observed: Array
    number: Array


def calibration(model: RiskModel, held_out: Feedback, bins: int = 10) -> Calibration:
    """Calibration of models on held-out feedback, all of their domains together."""
    log_p = model.log_probability(held_out.delay, held_out.throughput)
    used = held_out.weight > 0
    return calibration_of(np.exp(log_p[used]), held_out.accepted[used], bins)


def calibration_of(probability: Array, accepted: Array, bins: int = 10) -> Calibration:
    """Calibration of stated probabilities against answers."""
    p = np.clip(probability, 1e-9, 1 - 1e-9)
    where = np.minimum((p * bins).astype(int), bins - 1)
    number = np.bincount(where, minlength=bins).astype(float)
    with np.errstate(invalid="ignore"):
        stated = np.bincount(where, weights=p, minlength=bins) / number
        observed = np.bincount(where, weights=accepted, minlength=bins) / number
    share = number / number.sum()
    return Calibration(
        brier=float(np.mean((p - accepted) ** 2)),
        log_loss=float(-np.mean(accepted * np.log(p) + (1 - accepted) * np.log1p(-p))),
        error=float(np.nansum(share * np.abs(stated - observed))),
        stated=stated,
        observed=observed,
        number=number,
    )


def hold_out(feedback: Feedback, share: float, seed: int) -> tuple[Feedback, Feedback]:
    """Split answers at random into those to learn from and those held out."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x484F4C44]))
    kept = rng.random(feedback.weight.shape) >= share
    return feedback.with_weight(feedback.weight * kept), feedback.with_weight(feedback.weight * ~kept)
