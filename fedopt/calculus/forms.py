"""The six forms of the minplus guarantee under one roof: codes, names, assumptions and one compiled
evaluation."""

from __future__ import annotations

import math

from fedopt.calculus.block import block
from fedopt.calculus.block_ville import block_ville
from fedopt.calculus.fine import fine
from fedopt.calculus.image import image, main_growth, set_charges
from fedopt.calculus.monotone import monotone
from fedopt.calculus.ville import ville
from fedopt.kernels import formula
from fedopt.laws.compiled import log_burst, log_rate, request_log_bias, seen_on, ville_burst

__all__ = [
    "ALL",
    "BLOCK",
    "BLOCK_VILLE",
    "EVERY_RATE",
    "FINE",
    "FORMS",
    "IMAGE",
    "MONOTONE",
    "PLAIN_IMAGE",
    "VILLE",
    "allowed_forms",
    "at_theta",
    "bit",
    "growth",
]

IMAGE, VILLE, BLOCK_VILLE, FINE, MONOTONE, BLOCK = range(6)
FORMS = ("image", "ville", "block-ville", "fine", "monotone", "block")
ALL = (1 << len(FORMS)) - 1
PLAIN_IMAGE = len(FORMS)
"""The image form without overshoot credit, which is smooth; whatever it proves, image proves too."""
EVERY_RATE = 1 << IMAGE | 1 << FINE | 1 << BLOCK
"""Mask of the forms that look at every reservation; the others know only the smallest."""


def bit(form: str) -> int:
    """Bit of a form's name in a mask of forms."""
    return 1 << FORMS.index(form)


def allowed_forms(monotone: bool, independent: bool, iid: bool, dependent: bool) -> int:
    """Mask of the forms whose assumptions hold for all models of a path.

    monotone: every impairment grows with the interval; independent: arrivals and impairments have independent
    increments; iid: impairments are i.i.d. per slot; dependent: some domains may be dependent on each other
    (then the supermartingale forms are out, for nothing is known about dependence between different slots).
    """
    mask = 1 << FINE
    if monotone:
        mask |= 1 << MONOTONE | 1 << BLOCK
        if independent and not dependent:
            mask |= 1 << VILLE | 1 << BLOCK_VILLE
            if iid:
                mask |= 1 << IMAGE
    return mask


@formula
def at_theta(
    form, models, arrival, impair, exponent, lag, window, biased, rate, theta, parameter, cut, scratch
) -> float:
    """Natural-log bound on P(W > deadline) of one path under one form at one θ; +inf where the form proves
    nothing.

    models: ModelTable; arrival: row; impair, exponent, lag, rate: shape (L,), rows, Hölder exponents,
    rate-latency
    latencies in slots, reservations in work/slot; window in slots; biased: whether the promise is about
    requests;
    parameter: block size g, or the image's ratio α = a/θ (−α: tapered, see `image.set_charges`); cut: its
    groups;
    scratch: work space, shape (4, ≥ L).  Valid also with every reservation replaced by a smaller one.
    """
    if window < 0 or not theta > 0.0:
        return math.inf
    hops = impair.size
    if hops == 1 and form in (IMAGE, PLAIN_IMAGE, BLOCK_VILLE):
        form = VILLE  # of one domain the three are one
    free = log_rate(models, arrival, theta)
    # Without slots the other forms still cut time into some, each hand-over waiting for the next one.
    if arrival >= 0 and models.rows[arrival, 14] > 0.0 and form in (FINE, BLOCK, BLOCK_VILLE):
        window -= hops - 1
        if window < 0:
            return math.inf
    by_ville = form in (IMAGE, PLAIN_IMAGE, VILLE)
    burst = ville_burst(models, arrival, theta) if by_ville else log_burst(models, arrival, theta)
    if biased:
        burst += request_log_bias(models, arrival, theta)
    if not (free < math.inf and burst < math.inf):
        return math.inf
    least = math.inf
    for i in range(hops):
        burst += log_burst(models, impair[i], theta * exponent[i]) / exponent[i]
        least = min(least, rate[i])
    if not burst < math.inf:
        return math.inf
    if form in (IMAGE, PLAIN_IMAGE):
        groups = cut.size - 1
        group_rate = scratch[0, :groups]
        charge = scratch[1, : groups - 1]
        set_charges(parameter, theta, charge)
        falling = False
        for g in range(groups):
            group_rate[g] = math.inf
            for i in range(cut[g], cut[g + 1]):
                group_rate[g] = min(group_rate[g], rate[i])
            falling = falling or (g > 0 and group_rate[g] < group_rate[g - 1])
        for g in range(groups):
            for i in range(cut[g], cut[g + 1]):
                burst += theta * group_rate[g] * lag[i]
        return burst + image(
            models,
            arrival,
            impair,
            cut,
            charge,
            group_rate,
            theta,
            window,
            1,
            scratch[2, : groups - 1],
            scratch[3, : groups - 1],
            form == IMAGE and not falling,  # overshoot credit needs rates that do not fall
        )
    kappa = scratch[0, :hops]
    kappa_sum = 0.0
    lag_sum = 0.0
    own_lag = 0.0
    for i in range(hops):
        kappa[i] = log_rate(models, impair[i], theta * exponent[i]) / exponent[i]
        kappa_sum += kappa[i]
        lag_sum += lag[i]
        own_lag += theta * rate[i] * lag[i]
    if not kappa_sum < math.inf:
        return math.inf
    if form == VILLE:
        if biased:
            burst -= seen_on(models, arrival, impair, theta, free + kappa_sum)
        return burst + ville(free, kappa_sum, theta * least, theta * least * lag_sum, window, 1)
    if form == MONOTONE:
        return burst + monotone(free, kappa_sum, theta * least, theta * least * lag_sum, window)
    if form == BLOCK_VILLE:
        return burst + block_ville(
            free, kappa, theta * least, theta * least * lag_sum, window, int(parameter)
        )
    reserve = scratch[1, :hops]
    for i in range(hops):
        reserve[i] = theta * rate[i]
    if form == FINE:
        return burst + fine(free, kappa, reserve, own_lag, window)
    return burst + block(free, kappa, reserve, own_lag, window, int(parameter))


@formula
def growth(form, models, arrival, impair, exponent, lag, rate, theta, parameter, cut, scratch) -> float:
    """What must be ≤ 0 (image, ville) or < 0 (the others) for a form to prove anything: nats a slot, linear
    in the rates.

    +inf outside the domain of a model.  Arguments as in `at_theta`.
    """
    hops = impair.size
    free = log_rate(models, arrival, theta)
    if form in (IMAGE, PLAIN_IMAGE):
        groups = cut.size - 1
        group_rate = scratch[0, :groups]
        for g in range(groups):
            group_rate[g] = math.inf
            for i in range(cut[g], cut[g + 1]):
                group_rate[g] = min(group_rate[g], rate[i])
        charge = scratch[1, : groups - 1]
        set_charges(parameter, theta, charge)
        return free + main_growth(models, impair, cut, charge, group_rate, theta)
    least = math.inf
    total = 0.0
    worst = -math.inf
    top = 0.0
    first = 0.0
    for i in range(hops):
        kappa = log_rate(models, impair[i], theta * exponent[i]) / exponent[i]
        if i == 0:
            first = kappa
        total += kappa
        top = max(top, kappa)
        least = min(least, rate[i])
        worst = max(worst, kappa - theta * rate[i])
    if not total < math.inf:
        return math.inf
    if form in (VILLE, MONOTONE) or hops == 1:
        return free + total - theta * least
    if form == BLOCK_VILLE:
        return free + max(first, top) - theta * least
    return free + max(worst, -theta * least)
