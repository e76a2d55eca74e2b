"""Random tandems of all models, and the value of every form that applies to them at its best parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fedopt.laws import ExponentialWork, GammaWork, OnOff, Poisson, TokenBucket
from fedopt.laws.operators import Sum
from tests.oracles import formulas
from tests.oracles.tandem import Tandem

ALPHAS = (1.0, 1.2, 1.6, 2.5)
BLOCKS = (2, 3, 5, 8, 13, 21)


def random_tandem(rng: np.random.Generator) -> Tandem:
    """One to five domains; its rates are unequal and loosely scaled: see `scaled`."""
    size = int(rng.integers(1, 6))
    arrival = [
        lambda: Poisson(rng.uniform(0.1, 1.0), rng.uniform(0.4, 1.5)),
        lambda: Poisson(rng.uniform(0.1, 0.6), rng.uniform(0.3, 1.0), True),
        lambda: ExponentialWork(rng.uniform(0.2, 1.0)),
        lambda: OnOff(rng.uniform(0.5, 1.5), rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.6)),
        lambda: TokenBucket(rng.uniform(0.2, 0.8), rng.uniform(0.5, 3.0)),
        lambda: GammaWork(rng.uniform(0.2, 2.0), rng.uniform(0.2, 0.8)),
    ][rng.integers(6)]()
    large = rng.choice([0.3, 1.0, 3.0])  # impairments much larger than arrivals, too

    def impairment():
        return [
            lambda: ExponentialWork(large * rng.uniform(0.05, 0.5)),
            lambda: GammaWork(rng.uniform(0.2, 2.0), large * rng.uniform(0.1, 0.6)),
            lambda: Poisson(rng.uniform(0.05, 0.6), large * rng.uniform(0.2, 1.0)),
            lambda: Poisson(rng.uniform(0.05, 0.6), large * rng.uniform(0.2, 0.7), True),
            lambda: OnOff(large * rng.uniform(0.3, 1.2), rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.6)),
        ][rng.integers(4 if rng.random() < 0.7 else 5)]()

    spread = 1.0 if rng.random() < 0.4 else None
    impairments = tuple(impairment() for _ in range(size))
    rates = tuple(
        arrival.mean + j.mean * rng.uniform(1.0, 1.5) if spread is None else 1.0 for j in impairments
    )
    guardrail = tuple(bool(rng.random() < 0.4) for _ in range(size))
    latencies = tuple(float(rng.choice([0.0, 1.0, 2.0, rng.uniform(0.2, 3.5)])) for _ in range(size))
    pure = sum(t for t, kind in zip(latencies, guardrail, strict=True) if not kind)
    lag = sum(latencies) - pure
    return Tandem(
        arrival, impairments, rates, latencies, guardrail, pure + math.ceil(lag) + float(rng.integers(4, 30))
    )


def with_rates(tandem: Tandem, rates) -> Tandem:
    """The same with other reservations."""
    return Tandem(
        tandem.arrival, tandem.impairments, tuple(rates), tandem.latencies, tandem.guardrail, tandem.deadline
    )


def with_window(tandem: Tandem, window: int) -> Tandem:
    """The same with another deadline, given by its whole slots after pure delays."""
    return Tandem(
        tandem.arrival,
        tandem.impairments,
        tandem.rates,
        tandem.latencies,
        tandem.guardrail,
        tandem.deadline - tandem.window + window,
    )


def fine(tandem: Tandem, theta: float, request: bool) -> float:
    """The fine form by summation, or exactly where the series is long."""
    value = formulas.fine(tandem, theta, request)
    return value if value < math.inf else formulas.fine_exact(tandem, theta, request)


def theta_top(tandem: Tandem) -> float:
    """End of the common θ domain."""
    return min(tandem.arrival.theta_max, *(j.theta_max for j in tandem.impairments))


def scaled(tandem: Tandem, log_target: float, request: bool = False) -> Tandem:
    """Rates scaled so that the best form, roughly searched, is e^log_target."""
    top = theta_top(tandem)

    def value(scale: float) -> float:
        now = with_rates(tandem, scale * np.array(tandem.rates))
        bounds = [
            lambda t: formulas.ville(now, t, request),
            lambda t: fine(now, t, request),
            lambda t: formulas.block(now, t, 3, request),
            lambda t: formulas.block(now, t, 8, request),
            lambda t: formulas.block_ville(now, t, 3, request),
        ]
        if tandem.arrival.iid and all(j.iid for j in tandem.impairments):
            bounds.append(
                lambda t: formulas.image(now, t, [1.3 * t] * (len(now.rates) - 1), request, refined=False)
            )
        quick = [formulas.best_theta(bound, top, 12, 0.05, 5.0)[0] for bound in bounds]
        return min(quick)

    low, high = 0.2, 0.4
    while value(high) > log_target:
        low, high = high, 1.5 * high
    for _ in range(6):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if value(middle) > log_target else (low, middle)
    return with_rates(tandem, high * np.array(tandem.rates))


def merged(tandem: Tandem, cut: int) -> Tandem:
    """Domains before and from `cut` on merged into one each: works add, the smallest rate counts."""
    groups = [range(cut), range(cut, len(tandem.rates))] if cut else [range(len(tandem.rates))]
    return Tandem(
        tandem.arrival,
        tuple(Sum(tuple(tandem.impairments[i] for i in group)) for group in groups),
        tuple(min(tandem.rates[i] for i in group) for group in groups),
        tuple(float(sum(tandem.lags[i] for i in group)) for group in groups),
        (True,) * len(groups),
        float(tandem.window),
    )


def all_forms(tandem: Tandem, request: bool) -> Iterator[tuple[str, float, float]]:
    """(form, log-bound, θ) of every form whose assumptions hold, at its best θ and other parameters."""
    top, size = theta_top(tandem), len(tandem.rates)

    def best(bound, points=20):
        return formulas.best_theta(bound, top, points, 0.01, 5.0)

    yield "fine", *best(lambda t: fine(tandem, t, request))
    yield "monotone", *best(lambda t: formulas.monotone(tandem, t, request))
    yield "ville", *best(lambda t: formulas.ville(tandem, t, request))
    if size > 1:
        yield "block", *min(best(lambda t, g=g: formulas.block(tandem, t, g, request), 15) for g in BLOCKS)
        yield (
            "block-ville",
            *min(best(lambda t, g=g: formulas.block_ville(tandem, t, g, request), 15) for g in (1, *BLOCKS)),
        )
    if size == 1 or not (tandem.arrival.iid and all(j.iid for j in tandem.impairments)):
        return

    def image(now: Tandem, growth: str):
        hops = len(now.rates)
        _, theta, alpha = min(
            (
                *best(
                    lambda t, a=alpha: formulas.image(now, t, [a * t] * (hops - 1), request, refined=False),
                    12,
                ),
                alpha,
            )
            for alpha in (ALPHAS if hops > 1 else (1.0,))
        )
        return formulas.image(now, theta, [alpha * theta] * (hops - 1), request, growth=growth), theta

    yield "image", *image(tandem, "crude")
    yield "image ordered", *image(tandem, "ordered")
    if size > 2:
        yield "image merged", *min(image(merged(tandem, cut), "crude") for cut in range(1, size))
