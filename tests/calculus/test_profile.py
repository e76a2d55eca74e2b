"""The least scale of a profile at fixed θ: proven, and the least, with caps and where nothing helps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.forms import FORMS
from fedopt.calculus.minplus import PackedPath
from fedopt.calculus.profile import scale_at_theta
from fedopt.calculus.search import workspace
from tests.calculus.systems import at, case_a, cut_of, forms_of, parameters, path_of
from tests.oracles.random_tandems import random_tandem, theta_top


def scale_of(
    form, packed, theta, parameter, split, shape, cap, guess=1.0, slope=0.0, exact=True, most=math.inf
):
    """The package's scale."""
    scratch, rate, _ = workspace(len(shape))
    size = len(shape)
    return scale_at_theta(
        FORMS.index(form),
        packed.arguments(),
        theta,
        parameter,
        cut_of(size, split),
        np.asarray(shape, float),
        np.asarray(cap, float),
        guess,
        slope,
        most,
        exact,
        (scratch, rate),
    )[0]


def bisected(proven, low: float, high: float) -> float:
    """The least proven scale between an unproven and a proven one."""
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if proven(middle) else (middle, high)
    return high


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**32))
def test_against_a_bisection(seed):
    rng = np.random.default_rng(seed)
    tandem = random_tandem(rng)
    size = len(tandem.rates)
    log_epsilon = -rng.uniform(1.0, 20.0)
    packed = PackedPath(path_of(tandem, log_epsilon, bool(rng.random() < 0.5)))
    shape = np.ones(size) if rng.random() < 0.5 else rng.uniform(0.5, 2.0, size)
    cap = np.full(size, math.inf)
    if rng.random() < 0.5:
        cap[rng.integers(size)] = tandem.arrival.mean + rng.uniform(1.0, 6.0) * max(
            j.mean for j in tandem.impairments
        )
    theta = 0.99 * min(theta_top(tandem), 20.0) * 10.0 ** rng.uniform(-2, 0)
    scales = np.geomspace(1e-2, 1e3, 200)
    for form in forms_of(tandem):
        parameter, split = parameters(form, packed, rng)
        if form == "image" and (size == 1 or not np.all(shape == 1.0)):
            continue

        def proven(c, form=form, parameter=parameter, split=split):
            rates = np.minimum(c * shape, cap)
            return at(form, packed, rates, theta, parameter, split) <= log_epsilon

        found = scale_of(form, packed, theta, parameter, split, shape, cap)
        holds = [proven(c) for c in scales]
        where = (seed, form, theta, parameter, split)
        if found == math.inf:
            # bounds may rise again with rate-latency: only a narrow interval may be missed
            assert sum(holds) <= (3 if tandem.lags.any() or form == "image" else 0), where
            continue
        assert proven(found), where
        if not any(holds):
            continue
        first = holds.index(True)
        if first == 0 or (form == "image" and np.isfinite(cap).any()):
            continue
        expected = bisected(proven, scales[first - 1], scales[first])
        assert found == pytest.approx(expected, rel=1e-9), where
        for guess in (0.2 * found, 5.0 * found):
            other = scale_of(form, packed, theta, parameter, split, shape, cap, guess)
            if other < math.inf or not (tandem.lags.any() or form == "image"):
                assert other == pytest.approx(found, rel=1e-9), where
                rough = scale_of(form, packed, theta, parameter, split, shape, cap, guess, exact=False)
                assert rough == pytest.approx(found, rel=1e-4), where


@pytest.mark.parametrize("slope", [0.0, -1e-6, -1e8])
def test_a_misleading_slope_changes_nothing(slope):
    packed = PackedPath(path_of(case_a(1, 1, 1), math.log(1e-3)))
    for form in FORMS:
        parameter = {"block": 3.0, "block-ville": 3.0, "image": 1.5}.get(form, 1.0)
        right = scale_of(form, packed, 0.5, parameter, 0, np.ones(3), np.full(3, 9.0))
        for guess in (0.7, 1.3, 4.0):
            found = scale_of(
                form, packed, 0.5, parameter, 0, np.ones(3), np.full(3, 9.0), guess, slope, exact=False
            )
            assert found == pytest.approx(right, rel=1e-5), form


def test_caps():
    packed = PackedPath(path_of(case_a(1, 1, 1), math.log(1e-3)))
    free = scale_of("fine", packed, 0.6, 1.0, 0, np.ones(3), np.full(3, math.inf))
    # the first domain capped just above: the others' scale hardly matters; just below what is stable: none
    loose = scale_of("fine", packed, 0.6, 1.0, 0, np.ones(3), [free, 9.0, 9.0])
    assert loose == pytest.approx(free, rel=1e-9)
    tight = scale_of("fine", packed, 0.6, 1.0, 0, np.ones(3), [0.999 * free, 9.0, 9.0])
    assert free < tight < math.inf
    assert scale_of("fine", packed, 0.6, 1.0, 0, np.ones(3), [0.5, 9.0, 9.0]) == math.inf
    assert scale_of("ville", packed, 0.4, 1.0, 0, np.ones(3), [0.5, 9.0, 9.0]) == math.inf
    # starting where all rates are capped
    assert scale_of("fine", packed, 0.6, 1.0, 0, np.ones(3), np.full(3, 3.0), guess=3.0) == pytest.approx(
        free, rel=1e-9
    )


def test_ceiling():
    packed = PackedPath(path_of(case_a(1, 1, 1), math.log(1e-3)))
    free = scale_of("fine", packed, 0.6, 1.0, 0, np.ones(3), np.full(3, 9.0))
    assert scale_of("fine", packed, 0.6, 1.0, 0, np.ones(3), np.full(3, 9.0), most=0.99 * free) == math.inf
    within = scale_of("fine", packed, 0.6, 1.0, 0, np.ones(3), np.full(3, 9.0), most=1.01 * free)
    assert within == pytest.approx(free, rel=1e-9)


def test_ville_in_closed_form():
    tandem = case_a(1, 1, 1)
    packed = PackedPath(path_of(tandem, math.log(1e-6)))
    theta, n = 0.4, tandem.window
    free = theta * float(tandem.arrival.rho(theta))
    lose = sum(theta * float(j.kappa(theta)) for j in tandem.impairments)
    expected = max(free + lose, (-math.log(1e-6) + free + lose * (n + 1)) / (n + 1)) / theta
    found = scale_of("ville", packed, theta, 1.0, 0, np.ones(3), np.full(3, 99.0))
    assert found == pytest.approx(expected, rel=1e-10)
