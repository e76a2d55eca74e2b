"""Slower servers prove a bound for faster ones: the least over them, and what follows from it."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.minplus import evaluate, verify
from tests.calculus.systems import path_of
from tests.oracles.random_tandems import random_tandem, with_rates


def loaded(seed: int):
    """A random tandem with ample rates that differ."""
    rng = np.random.default_rng(seed)
    tandem = random_tandem(rng)
    rates = np.array(tandem.rates) * rng.uniform(1.0, 2.5) * rng.uniform(1.0, 1.5, len(tandem.rates))
    return rng, with_rates(tandem, rates), rates


def test_a_faster_server_hardly_ever_worsens_a_bound():
    """Of all forms together, whatever the latencies. Parameters are searched and the search can miss, so some
    of the bounds, valid all the same, are not the least."""
    lost = []
    for seed in range(60):
        rng, tandem, rates = loaded(seed)
        path = path_of(tandem)
        before = evaluate(path, rates).log_bound
        faster = rates.copy()
        faster[rng.integers(len(rates))] *= 1.0 + 10.0 ** rng.uniform(-3, 1)
        after = evaluate(path, faster).log_bound
        lost.append((after - before) / (1.0 + abs(before)) if before < 0.0 else 0.0)
    assert np.mean(np.array(lost) < 2e-2) >= 0.95
    assert max(lost) < 0.25


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**32))
def test_what_is_found_is_verified(seed):
    _, tandem, rates = loaded(seed)
    path = path_of(tandem)
    found = evaluate(path, rates)
    if found.form:
        assert verify(path, rates, found) <= found.log_bound + 1e-9 * (1.0 + abs(found.log_bound))


def test_a_guardrail_much_faster_than_needed():
    """A rate-latency T costs θRT: at ten times the rate the plain formula alone would prove far less."""
    _, tandem, _ = loaded(3)
    tandem = type(tandem)(
        tandem.arrival,
        tandem.impairments,
        tandem.rates,
        (2.0,) * len(tandem.rates),
        (True,) * len(tandem.rates),
        40.0,
    )
    rates = np.full(len(tandem.rates), 1.5 * max(tandem.rates))
    before = evaluate(path_of(tandem), rates)
    after = evaluate(path_of(tandem), 10.0 * rates)
    assert math.isfinite(before.log_bound)
    assert after.log_bound <= before.log_bound + 1e-6
    assert verify(path_of(tandem), 10.0 * rates, before) <= before.log_bound + 1e-6
