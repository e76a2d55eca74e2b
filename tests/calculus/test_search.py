"""The search over θ, block lengths and image ratios: as good as dense grids, and well behaved.

Tolerances of the search: SEARCHED relative for the convex forms; the image's landscape has ridges, and its
search may end IMAGE_SEARCHED above the least; θ and block length are improved in turn, which may end where
neither alone helps: BLOCK_SEARCHED.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.forms import FORMS, bit
from fedopt.calculus.minplus import PackedPath
from fedopt.calculus.search import best_bound, block_sizes
from fedopt.laws import ExponentialWork, GammaWork, OnOff, Poisson, TokenBucket
from tests.calculus.systems import SEARCHED, at, case_a, forms_of, oracle, path_of
from tests.oracles.random_tandems import random_tandem, theta_top, with_rates, with_window

IMAGE_SEARCHED = 1e-3
BLOCK_SEARCHED = 0.06


def lighter(model, factor: float):
    """The same kind of work, less of it."""
    if isinstance(model, Poisson):
        return replace(model, rate=model.rate * factor)
    if isinstance(model, ExponentialWork):
        return ExponentialWork(model.mean_work * factor)
    if isinstance(model, GammaWork):
        return replace(model, shape=model.shape * factor)
    if isinstance(model, OnOff):
        return replace(model, peak=model.peak * factor)
    assert isinstance(model, TokenBucket)
    return replace(model, rate=model.rate * factor)


def loaded(seed: int):
    """A random tandem with ample rates, equal or not."""
    rng = np.random.default_rng(seed)
    tandem = random_tandem(rng)
    size = len(tandem.rates)
    rates = np.array(tandem.rates) * rng.uniform(1.0, 2.5)
    even = rng.random() < 0.5
    tandem = with_rates(tandem, np.full(size, rates.max()) if even else rates * rng.uniform(1.0, 1.5, size))
    return rng, tandem, even


def least(tandem, mask: int, request: bool = False) -> float:
    """The least log-bound over the forms of a mask."""
    packed = PackedPath(path_of(tandem, request=request))
    return float(best_bound(mask & packed.mask, packed.arguments(), np.array(tandem.rates))[0])


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**32))
def test_no_dense_grid_is_better(seed):
    rng, tandem, even = loaded(seed)
    packed = PackedPath(path_of(tandem, request=bool(rng.random() < 0.5)))
    rates = np.array(tandem.rates)
    size = len(rates)
    thetas = 0.9999 * min(theta_top(tandem), 50.0) * np.geomspace(1e-3, 1.0, 120)
    for form in forms_of(tandem):
        if form == "image" and (not even or size == 1):
            continue
        tried = [(1.0, 0)]
        if form in ("block", "block-ville"):
            tried = [(float(g), 0) for g in block_sizes(packed.window, size)]
        elif form == "image":
            tried = [
                (a, 0) for a in (1.0, 1.01, 1.05, 1.2, 1.5, 2.2)
            ]  # groups are tried where they nearly win
        value, found, theta, parameter, split = best_bound(bit(form), packed.arguments(), rates)
        dense = min(at(form, packed, rates, t, g, s) for t in thetas for g, s in tried)
        if dense < -1.0:  # a bound that proves next to nothing may be missed
            tolerance = {"image": IMAGE_SEARCHED, "fine": SEARCHED, "ville": SEARCHED, "monotone": SEARCHED}
            tolerance = tolerance.get(form, BLOCK_SEARCHED)
            assert value <= dense + tolerance * (1.0 + abs(dense)), (seed, form)
            assert at(FORMS[found], packed, rates, theta, parameter, split) == value


@pytest.mark.parametrize("form", FORMS)
def test_the_plain_formula_on_a_dense_grid(form):
    tandem = case_a(1.45, 1.45, 1.45)
    parameters = {"block": (3, 7, 11), "block-ville": (3, 7, 11), "image": (1.3, 1.8)}.get(form, (1,))
    value = least(tandem, bit(form), request=True)
    dense = min(
        oracle(form, tandem, t, p, request=True) for t in np.geomspace(0.1, 1.5, 60) for p in parameters
    )
    assert value <= dense + 1e-6
    assert value >= dense - 0.5


CONVEX = sum(bit(form) for form in FORMS if form != "image")


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**32))
def test_better_systems_have_better_bounds(seed):
    """A longer deadline, less impairment, lighter arrivals, and with pure delays faster servers.

    With rate-latency servers and the image, more of a rate is not always better at fixed other rates: a
    rate-latency T costs θRT. That is why `evaluate` also tries lowered rates.
    """
    rng, tandem, even = loaded(seed)
    i, factor = int(rng.integers(len(tandem.rates))), rng.uniform(0.3, 0.99)
    impairments = list(tandem.impairments)
    impairments[i] = lighter(impairments[i], factor)
    better = {
        "deadline": with_window(tandem, tandem.window + int(rng.integers(1, 6))),
        "impairment": replace(tandem, impairments=tuple(impairments)),
        "arrivals": replace(tandem, arrival=lighter(tandem.arrival, factor)),
    }
    pure = not tandem.lags.any()
    if pure:
        better["rates"] = with_rates(tandem, np.array(tandem.rates) * (1.0 + 10.0 ** rng.uniform(-3, 0)))
    for form in [*forms_of(tandem), "all"]:
        mask = CONVEX if form == "all" else bit(form)
        before = least(tandem, mask)
        for what, system in better.items():
            if form == "image" and (not even or what in ("impairment", "arrivals")):
                continue
            tolerance = IMAGE_SEARCHED if form == "image" else SEARCHED
            assert least(system, mask) <= before + tolerance * (1.0 + abs(before)) or before >= 0.0, (
                seed,
                form,
                what,
            )


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**32))
def test_one_faster_server_with_pure_delays(seed):
    """Componentwise: fine, ville, monotone and block-ville. (Block pays for rates that rise and fall.)"""
    rng, tandem, _ = loaded(seed)
    tandem = replace(tandem, guardrail=(False,) * len(tandem.rates), deadline=tandem.deadline + 20.0)
    rates = np.array(tandem.rates)
    rates[rng.integers(len(rates))] *= 1.0 + 10.0 ** rng.uniform(-3, 0)
    for form in set(forms_of(tandem)) & {"fine", "ville", "monotone", "block-ville"}:
        before = least(tandem, bit(form))
        after = least(with_rates(tandem, rates), bit(form))
        assert after <= before + SEARCHED * (1.0 + abs(before)) or before >= 0.0, (seed, form)


def test_calls_do_not_depend_on_their_order():
    systems = [loaded(seed)[1] for seed in range(6)]
    first = [least(system, 63) for system in systems]
    assert [least(system, 63) for system in reversed(systems)] == first[::-1]


def test_more_forms_are_never_worse():
    for seed in range(15):
        _, tandem, _ = loaded(seed)
        alone = [least(tandem, bit(form)) for form in forms_of(tandem)]
        together = least(tandem, 63)
        tolerance = IMAGE_SEARCHED * (1.0 + abs(together))  # starts of the image search differ
        assert together <= min(alone) + tolerance


def test_a_useless_bound_does_not_mislead_the_next_form():
    """Where the image proves next to nothing its θ vanishes; fine must be found all the same."""
    for seed in range(40):
        _, tandem, _ = loaded(seed)
        value = least(tandem, bit("fine"))
        if value < -0.1:
            assert least(tandem, 63) <= value + SEARCHED * (1.0 + abs(value))


def test_nothing_to_find():
    assert least(case_a(0.4, 0.4, 0.4), 63) == math.inf
    value, form, theta, parameter, split = best_bound(
        63, PackedPath(path_of(case_a(0.4, 0.4, 0.4))).arguments(), np.full(3, 0.4)
    )
    assert (value, form, parameter, split) == (math.inf, -1, 0.0, 0)
    assert math.isnan(theta)
    assert best_bound(0, PackedPath(path_of(case_a(2, 2, 2))).arguments(), np.full(3, 2.0))[1] == -1


@pytest.mark.parametrize("window", [0, 1, 2, 5, 21, 100, 5000])
def test_block_lengths_worth_trying(window):
    sizes = block_sizes(window, 4)
    assert len(set(sizes)) == len(sizes)
    assert sizes.min() == 1
    assert sizes.max() == max(window + 1, 1)
    for blocks in range(1, 13):
        assert window // blocks < 1 or window // blocks in sizes
