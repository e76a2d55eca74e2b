"""A domain's step over its shares: the least margin, its best shares, and the tangents that they prove."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from fedopt.federated.split.domain import HOP, REFUSED, least_margins, share_steps

SHARES, PRICES, PULLS = (
    slice(HOP.index(f"{name}time"), HOP.index(f"{name}margin") + 1) for name in ("", "price_", "pull_")
)


@pytest.fixture(scope="module")
def hops():
    rng, count = np.random.default_rng(0), 60
    at = {name: k for k, name in enumerate(HOP)}
    table = np.zeros((count, len(HOP)))
    ranges = {
        "cost": (0.1, 3.0),
        "load": (0.05, 2.0),
        "need": (5.0, 20.0),
        "spent": (0.0, 5.0),
        "room": (30.0, 100.0),
        "most": (20.0, 40.0),
        "time": (0.1, 0.6),
        "risk": (0.05, 0.6),
        "margin": (0.1, 2.0),
        "price_time": (-5.0, 0.0),
        "price_risk": (-0.5, 0.0),
        "price_margin": (0.0, 0.3),
        "pull_time": (0.5, 30.0),
        "pull_risk": (0.1, 5.0),
        "pull_margin": (0.05, 2.0),
    }
    for name, (low, high) in ranges.items():
        table[:, at[name]] = rng.uniform(low, high, count)
    return table


def promise(hop, shares, x):
    """(x + a)·y + log e − φ(x) − N, which must not be negative."""
    _, load, need, spent, room, _ = hop[:6]
    y, e, _ = room * shares[0] - spent, shares[1], shares[2]
    return (x + load) * y + np.log(e) + np.log(-np.expm1(-x)) - need


def test_the_least_margin_keeps_the_promise_and_no_smaller_one_does(hops):
    margins = least_margins(hops, hops[:, SHARES])
    assert (margins > 0.0).all()
    for hop, x in zip(hops, margins, strict=True):
        assert x >= hop[SHARES][2]
        assert promise(hop, hop[SHARES], x) >= -1e-9
        smaller = 0.999 * x
        assert smaller < hop[SHARES][2] or promise(hop, hop[SHARES], smaller) < 0.0


def test_no_time_no_margin(hops):
    hop = hops[:1].copy()
    hop[0, HOP.index("spent")] = 2.0 * hop[0, HOP.index("room")]
    assert least_margins(hop, hop[:, SHARES])[0] == REFUSED


def objective(hop, shares):
    """What the step minimises at shares, the least margin taken."""
    x = least_margins(hop[None], shares[None])[0]
    if x < 0.0:
        return 1e9
    away = shares - hop[SHARES]
    return hop[0] * x - hop[PRICES] @ shares + 0.5 * hop[PULLS] @ away**2


def test_the_step_is_a_best_choice(hops):
    wanted = share_steps(hops)
    for hop, shares in zip(hops[:20], wanted[:20], strict=True):
        found = objective(hop, shares)
        for start in (shares, hop[SHARES]):
            other = minimize(
                lambda s, hop=hop: objective(hop, s),
                start,
                method="Nelder-Mead",
                options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000},
            )
            assert found <= other.fun + 1e-6 * (1.0 + abs(other.fun))


def test_an_answer_is_a_tangent_of_the_rate_for_all_shares(hops):
    """prices + penalties·(proposed − wanted) is a subgradient of cost·x at what is wanted."""
    rng = np.random.default_rng(1)
    wanted = share_steps(hops)
    x = least_margins(hops, wanted)
    slope = hops[:, PRICES] + hops[:, PULLS] * (hops[:, SHARES] - wanted)
    slope[:, 2] = np.maximum(slope[:, 2], 0.0)
    tried = 0
    for _ in range(50):
        other = wanted * np.exp(rng.normal(0.0, 0.5, wanted.shape))
        there = least_margins(hops, other)
        fine = (there > 0.0) & (x > 0.0)
        below = hops[:, 0] * x + (slope * (other - wanted)).sum(axis=1)
        value = hops[:, 0] * there
        assert (below[fine] <= value[fine] + 1e-7 * np.maximum(1.0, value[fine])).all()
        tried += int(fine.sum())
    assert tried > 500
