"""Overshoot credit: the inequality its proof needs, plain searches for its maxima, and the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.forms import bit
from fedopt.calculus.image import image, plain_charges, set_charges
from fedopt.calculus.minplus import evaluate
from fedopt.calculus.overshoot import credited_charges, exponential_rise, lattice_rise, pointwise_rise
from fedopt.calculus.path import Path
from fedopt.laws import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, pack
from fedopt.simulate import rare
from tests.calculus.systems import cut_of
from tests.oracles import overshoot

NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)
EXPONENTIAL, LATTICE, OTHER = range(3)


def charges(kinds, sizes, theta, height, gamma):
    """B_0, B_1, … of domains whose jumps are exponential, of one size, or of any law; height: a_1, a_2, …"""
    values = np.zeros(len(kinds))
    values[0] = 1.0
    for wall in range(1, len(kinds)):
        a = height[wall - 1]
        if kinds[wall] == LATTICE:
            rise = lattice_rise(values, gamma, a, sizes[wall], wall)
            values[wall] = rise / math.expm1(gamma[wall] * sizes[wall])
        elif kinds[wall] == EXPONENTIAL:
            nu = 1 / sizes[wall] - (theta if wall == len(kinds) - 1 else height[wall])
            values[wall] = (nu - gamma[wall]) / gamma[wall] * exponential_rise(values, gamma, a, nu, wall)
        else:
            values[wall] = pointwise_rise(values, gamma, a, wall) / gamma[wall]
    return values


def total(x, theta, height, gamma, charge):
    """F(x) = Σ_j E_j."""
    d = x[:, :-1] - x[:, 1:]
    value = np.exp(theta * x[:, -1] + d @ height)
    for j in range(1, charge.size):
        value += charge[j] * np.exp(theta * x[:, -1] - gamma[j] * d[:, j - 1] + d[:, j:] @ height[j:])
    return value


def jumps(kind, size, gaps, decay):
    """(sizes, probabilities) of one jump: by quadrature between the levels at which one more is dragged."""
    if kind != EXPONENTIAL:
        return np.array([size]), np.array([1.0])
    levels = np.cumsum(gaps[::-1])
    ends = np.concatenate([[0.0], levels, levels[-1] + np.array([0.1, 0.3, 1, 3, 10, 40]) / decay])
    low, high = ends[:-1, None], ends[1:, None]
    jump = ((low + high) / 2 + (high - low) / 2 * NODES).ravel()
    return jump, (WEIGHTS * (high - low) / 2).ravel() * np.exp(-jump / size) / size


@pytest.mark.parametrize("tapered", [False, True])
@pytest.mark.parametrize("laws", ["exponential", "lattice", "mixed"])
def test_projection_after_a_jump_never_raises_the_expectation(laws, tapered):
    """For every domain that jumps, E F(projected) ≤ E F(unprojected), from any gaps, with falling a_i too."""
    rng = np.random.default_rng(7)
    worst = math.inf
    for _ in range(150):
        n = int(rng.integers(2, 6))
        theta = rng.uniform(0.2, 1.2)
        above = np.sort(rng.uniform(0, 1.5, n - 1))[::-1] if tapered else np.full(n - 1, rng.uniform(0, 1.5))
        a = theta * (1 + above)
        gamma = np.concatenate([[0.0], rng.uniform(0.05, 2.0, n - 1)])
        fastest = a[0] + gamma.max()
        lattice = laws == "lattice"
        kinds = [LATTICE] * n if lattice else list(rng.integers(0, 2, n) * OTHER * (laws == "mixed"))
        sizes = np.full(n, rng.uniform(0.1, 1.0)) if lattice else 1 / (fastest + rng.uniform(0.3, 6.0, n))
        charge = charges(kinds, sizes, theta, a, gamma)
        gaps = (
            rng.integers(0, 4, n - 1) * sizes[0]
            if lattice
            else rng.exponential(1.0, n - 1) * rng.choice([0, 0.3, 2.0], n - 1)
        )
        x = np.concatenate([np.cumsum(gaps[::-1])[::-1], [0.0]])
        for i in range(1, n):
            size = rng.exponential(1.0) if kinds[i] == OTHER else sizes[i]
            jump, weight = jumps(kinds[i], size, gaps[:i], 1 / sizes[i] - fastest)
            moved = np.repeat(x[None], jump.size, axis=0)
            moved[:, i] += jump
            projected = np.maximum.accumulate(moved[:, ::-1], axis=1)[:, ::-1]
            before = weight @ total(moved, theta, a, gamma, charge)
            after = weight @ total(projected, theta, a, gamma, charge)
            worst = min(worst, float((before - after) / after))
    assert -1e-9 < worst < 1e-6  # and there is nothing to spare


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**32))
def test_the_greatest_rise_against_a_grid(seed):
    rng = np.random.default_rng(seed)
    wall = int(rng.integers(2, 6))
    charge = np.concatenate([[1.0], 10.0 ** rng.uniform(-2, 1, wall)])
    gamma = np.concatenate([[0.0], 10.0 ** rng.uniform(-1, 0.7, wall)])
    a, nu = rng.uniform(0.2, 3.0, 2)
    if rng.random() < 0.3:
        gamma[rng.integers(1, wall)] = nu * (1.0 + rng.choice([0.0, 1e-9, 1e-6, -1e-4]))
    r = a / (nu + a)
    for j in range(1, wall):
        g = gamma[j] if abs(gamma[j] - nu) > 1e-4 * nu else nu * 1.0001
        d = np.concatenate([[0.0], np.geomspace(1e-4, 200.0, 4000)])
        slow, fast = np.exp(-nu * d), np.exp(-g * d)
        r = float((charge[j] * ((g * slow - nu * fast) / (g - nu) - nu / (nu + a) * fast) + slow * r).max())
    assert exponential_rise(charge, gamma, a, nu, wall) == pytest.approx(r, rel=2e-4)


LAWS = [
    ExponentialWork(0.3),
    ExponentialWork(0.15),
    Poisson(0.3, 0.4, True),
    GammaWork(2.0, 0.1),
    GammaWork(0.7, 0.3),
    Poisson(0.2, 0.6),
    OnOff(0.5, 0.7, 0.3),
    NoImpairment(),
]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**32), st.booleans(), st.booleans())
def test_charges_against_the_plain_way_and_never_above_the_plain_ones(seed, lattice, tapered):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 6))
    laws = [Poisson(r, 0.5) for r in rng.uniform(0.1, 0.3, size)]
    if not lattice:
        laws = [LAWS[i] for i in rng.integers(0, len(LAWS), size)]
    theta = float(rng.uniform(0.1, 1.0))
    a = np.empty(size - 1)
    set_charges((-1.0 if tapered else 1.0) * rng.uniform(1.0, 1.8), theta, a)
    gamma = rng.uniform(0.05, 1.2, size - 1)
    rate = np.full(size, 1.5) if lattice else 1.5 + np.sort(rng.uniform(0.0, 0.3, size))
    found, plain = np.empty(size - 1), np.empty(size - 1)
    models, rows = pack([Poisson(0.5), *laws]), np.arange(1, size + 1)
    credited_charges(models, rows, cut_of(size), a, rate, theta, gamma, found)
    plain_charges(a, gamma, plain)
    assert np.all(found <= plain + 1e-8)
    expected = overshoot.weights(laws, rate, theta, a, gamma)
    assert np.exp(found) == pytest.approx(expected, rel=1e-4, abs=1e-290)


def test_a_group_pays_for_its_worst_jumps():
    """Exponential jumps of two sizes in one group: the larger of the two charges; none: nothing."""
    models = pack([Poisson(0.5), ExponentialWork(0.3), ExponentialWork(0.1), ExponentialWork(0.2)])
    charge, gamma = np.array([1.0]), np.array([0.8])
    found, alone = np.empty(1), np.empty(1)
    values = []
    for row in (2, 3):
        credited_charges(models, np.array([1, row]), cut_of(2), charge, np.full(2, 1.5), 0.6, gamma, alone)
        values.append(alone[0])
    credited_charges(
        models, np.array([1, 2, 3]), np.array([0, 1, 3]), charge, np.full(2, 1.5), 0.6, gamma, found
    )
    assert found[0] == max(values)


@pytest.mark.parametrize(
    ("kind", "sizes", "rate", "arrivals", "common", "theta", "a", "window"),
    [
        (overshoot.PER_SLOT, (0.3, 0.2, 0.4), 1.0, 0.5, 1.2, 0.6, 1.32, 21),
        (overshoot.LATTICE, (0.3, 0.3), 0.01, 0.05, 0.09, 0.97, 1.7, 100),
        (overshoot.LATTICE, (0.3,) * 5, 0.01, 0.05, 0.094, 1.0, 1.4, 100),
        (overshoot.COMPOUND, (0.3, 0.2, 0.25), 0.05, 0.2, 0.35, 0.6, 1.0, 30),
    ],
)
def test_reference_bounds(kind, sizes, rate, arrivals, common, theta, a, window):
    """The whole form against the plain way, whose wall terms may grow a little slower."""
    n = len(sizes)
    law = {
        overshoot.PER_SLOT: ExponentialWork,
        overshoot.LATTICE: lambda size: Poisson(rate, size),
        overshoot.COMPOUND: lambda size: Poisson(rate, size, True),
    }[kind]
    models = pack([Poisson(arrivals), *(law(size) for size in sizes)])
    plain = overshoot.log_bound(
        arrivals, 1.0, np.full(n, kind), np.full(n, rate), np.array(sizes), common, window, theta, a,
        1 - 1e-9, True,
    )  # fmt: skip
    values = [
        image(
            models, 0, np.arange(1, n + 1), cut_of(n), np.full(n - 1, a), np.full(n, common), theta, window,
            1, np.empty(n - 1), np.empty(n - 1), credit,
        )
        for credit in (True, False)
    ]  # fmt: skip
    assert values[0] == pytest.approx(plain - theta, abs=1e-4)
    assert values[0] < values[1] - 0.01


def case(seed):
    """A path with rates that rise, fall or are equal, and a bound of about one in a thousand or less."""
    rng = np.random.default_rng(seed)
    hops = int(rng.integers(2, 5))
    arrivals = Poisson(float(rng.uniform(0.1, 0.6)))
    if seed % 3 == 0:
        impairments = tuple(Poisson(float(v), 0.5) for v in rng.uniform(0.05, 0.3, hops))
    else:
        pool = (ExponentialWork(0.3), ExponentialWork(0.15), Poisson(0.2, 0.4, True), NoImpairment())
        impairments = tuple(pool[i] for i in rng.integers(0, 3 + seed % 2, hops))
    window = int(rng.integers(3, 15))
    rate = 1.25 * (arrivals.mean + max(i.mean for i in impairments)) + float(rng.uniform(0, 0.3))
    rates = rate * (np.ones(hops) if seed % 2 else 1.0 + rng.uniform(0.0, 0.15, hops))
    path = Path(arrivals, impairments, np.zeros(hops), np.zeros(hops, bool), window, math.log(1e-3))
    return path, rates


@pytest.mark.parametrize("seed", range(8))
def test_never_below_the_truth(seed):
    path, rates = case(seed)
    bound = evaluate(path, rates, bit("image")).log_bound
    truth = rare.violation(path, rates, samples=8_000, seed=seed)
    assert truth.probability - 3.5 * truth.error <= math.exp(bound)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8, 48))
def test_never_below_the_truth_on_forty_more(seed):
    path, rates = case(seed)
    bound = evaluate(path, rates, bit("image")).log_bound
    truth = rare.violation(path, rates, samples=40_000, seed=seed)
    assert truth.probability - 3.5 * truth.error <= math.exp(bound)
