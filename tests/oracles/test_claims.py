"""What solvers rely on: convexity, monotonicity in the rates, and the one-domain floor under every form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.laws import ExponentialWork, GammaWork, NoImpairment, Poisson
from tests.oracles import formulas
from tests.oracles.random_tandems import random_tandem, theta_top, with_rates, with_window
from tests.oracles.tandem import plain

UNION = {
    "fine": formulas.fine,
    "monotone": formulas.monotone,
    "block 2": lambda tandem, theta: formulas.block(tandem, theta, 2, pay="start"),
    "block 7": lambda tandem, theta: formulas.block(tandem, theta, 7, pay="end"),
    "ville": formulas.ville,
    "block-ville 1": lambda tandem, theta: formulas.block_ville(tandem, theta, 1),
    "block-ville 4": lambda tandem, theta: formulas.block_ville(tandem, theta, 4),
}


def iid_tandem(rng: np.random.Generator):
    """Two to four domains of i.i.d. models; rates are set by the tests."""
    size = int(rng.integers(2, 5))
    kinds = [
        lambda: ExponentialWork(rng.uniform(0.1, 0.4)),
        lambda: GammaWork(rng.uniform(0.3, 2.0), rng.uniform(0.1, 0.4)),
        lambda: Poisson(rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.8)),
    ]
    impairments = [kinds[rng.integers(3)]() for _ in range(size)]
    lags = rng.choice([0.0, 1.5], size)
    return plain(Poisson(rng.uniform(0.2, 0.6)), impairments, [1.0] * size, int(rng.integers(4, 25)), lags)


def test_bounds_are_jointly_convex_in_theta_and_scaled_rates():
    """log-bound(θ, r/θ) at midpoints of (θ, r = θR), at fixed block length and fixed image ratios."""
    rng = np.random.default_rng(5)
    compared = dict.fromkeys([*UNION, "image"], 0)
    for _ in range(6):
        tandem = iid_tandem(rng)
        size = len(tandem.rates)
        ratios, alphas = (
            list(rng.uniform(0.05, 0.6, size - 1)),
            np.sort(rng.uniform(1.0, 2.0, size - 1))[::-1],
        )
        forms = {
            **UNION,
            "image": lambda now, t, a=alphas, g=ratios: formulas.image(
                now, t, list(a * t), growth="ordered", ratios=g, first=0
            ),
        }
        for _ in range(4):
            theta = rng.uniform(0.1, 1.2, 2)
            scaled = theta[:, None] * rng.uniform(1.2, 4.0, (2, size))
            points = [(theta[0], scaled[0]), (theta[1], scaled[1]), (theta.mean(), scaled.mean(axis=0))]
            for name, form in forms.items():
                low, high, middle = (form(with_rates(tandem, r / t), t) for t, r in points)
                if math.isfinite(low + high):
                    compared[name] += 1
                    assert middle <= 0.5 * (low + high) + 1e-8, name
    assert min(compared.values()) > 3


def test_a_larger_rate_never_raises_a_bound_of_the_plain_forms():
    rng = np.random.default_rng(6)
    for _ in range(40):
        tandem = iid_tandem(rng)
        rates = rng.uniform(1.0, 2.5, len(tandem.rates))
        more = rates * rng.uniform(1.0, 1.5, rates.size)
        theta = rng.uniform(0.2, 1.0)
        pure = plain(tandem.arrival, tandem.impairments, rates, tandem.window)
        for name in ("fine", "ville", "monotone"):
            assert UNION[name](with_rates(pure, more), theta) <= UNION[name](pure, theta) + 1e-10


def test_no_form_lies_below_the_one_domain_floor():
    rng = np.random.default_rng(7)
    compared = 0
    for _ in range(20):
        tandem = random_tandem(rng)
        tandem = with_window(tandem, max(tandem.window, 4))
        tandem = with_rates(tandem, rng.uniform(1.2, 3.0) * np.array(tandem.rates))
        theta = float(rng.uniform(0.05, 0.7)) * min(theta_top(tandem), 4.0)
        free, lose, _ = formulas.moments(tandem, theta)
        start = theta * float(tandem.arrival.sigma(theta))
        n, size = tandem.window, len(tandem.rates)
        floor = -math.inf
        for i, rate in enumerate(tandem.rates):
            burst = start + theta * float(tandem.impairments[i].eta(theta))
            slope = lose[i] - theta * rate
            floor = max(floor, burst + n * slope + (free + slope) + theta * rate * min(tandem.lags[i], n))
        values = {name: form(tandem, theta) for name, form in UNION.items()}
        if tandem.arrival.iid and all(j.iid for j in tandem.impairments):
            for alpha in (1.0, 1.5):
                for growth in ("crude", "ordered"):
                    values[f"image {growth}"] = formulas.image(
                        tandem, theta, [alpha * theta] * (size - 1), growth=growth
                    )
        for name, value in values.items():
            if math.isfinite(value):
                compared += 1
                assert value >= floor - 1e-9, name
    assert compared > 80


def test_block_credit_for_different_rates_must_be_paid_for():
    """Two slots can touch two blocks of five: crediting a whole block between them is more than is served."""
    size, g = 3, 5
    tandem = plain(Poisson(0.2), [NoImpairment()] * size, [1.0, 3.0, 1.0], 20)
    paid, claimed = (formulas.block(tandem, 0.5, g, pay=pay) for pay in ("start", "none"))
    assert paid == pytest.approx(claimed + 0.5 * (g - 1) * 2.0)
    equal = with_rates(tandem, [1.0] * size)
    assert formulas.block(equal, 0.5, g) == formulas.block(equal, 0.5, g, pay="none")
    one = with_rates(tandem, [1.0, 3.0, 1.0])
    assert formulas.block(one, 0.5, 1) == formulas.block(one, 0.5, 1, pay="none")
