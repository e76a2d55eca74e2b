"""Overshoot credit: its inequality, the reference values of the form it refines, and the truth it must not
undercut.
"""

import math

import numpy as np
import pytest

from fedopt.envelopes.exponential import ExponentialWork
from fedopt.envelopes.gamma import GammaWork
from fedopt.envelopes.none import NoImpairment
from fedopt.envelopes.poisson import Poisson
from fedopt.reproduce import overshoot
from fedopt.simulate import rare
from fedopt.simulate.slot_work import slot_work

NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)


def charges(kinds, sizes, theta, a, gamma):
    values = [1.0]
    for wall in range(1, len(kinds)):
        padded = np.array(values + [0.0] * (len(kinds) - wall))
        if kinds[wall] == overshoot.LATTICE:
            rise = overshoot._rise(True, padded, gamma, a, sizes[wall], wall)
            values.append(rise / math.expm1(gamma[wall] * sizes[wall]))
        else:
            nu = 1 / sizes[wall] - (theta if wall == len(kinds) - 1 else a)
            values.append(
                (nu - gamma[wall]) / gamma[wall] * overshoot._rise(False, padded, gamma, a, nu, wall)
            )
    return np.array(values)


def total(x, theta, a, gamma, charge):
    """F(x) = Σ_j E_j."""
    d = x[:, :-1] - x[:, 1:]
    value = np.exp(theta * x[:, -1] + a * d.sum(axis=1))
    for j in range(1, charge.size):
        value += charge[j] * np.exp(theta * x[:, -1] - gamma[j] * d[:, j - 1] + a * d[:, j:].sum(axis=1))
    return value


@pytest.mark.parametrize("lattice", [False, True])
def test_projection_after_a_jump_never_raises_the_expectation(lattice):
    """For every domain that jumps, E F(projected) ≤ E F(unprojected), by quadrature over the size of the
    jump.
    """
    rng = np.random.default_rng(7)
    worst = math.inf
    for _ in range(250):
        n = int(rng.integers(2, 6))
        theta = rng.uniform(0.2, 1.2)
        a = theta * (1 + rng.uniform(0, 1.5))
        gamma = np.concatenate([[0.0], rng.uniform(0.05, 2.0, n - 1)])
        fastest = max(a, theta) + gamma.max()
        sizes = np.full(n, rng.uniform(0.1, 1.0)) if lattice else 1 / (fastest + rng.uniform(0.3, 6.0, n))
        kinds = [overshoot.LATTICE if lattice else overshoot.PER_SLOT] * n
        charge = charges(kinds, sizes, theta, a, gamma)
        gaps = (
            rng.integers(0, 4, n - 1) * sizes[0]
            if lattice
            else rng.exponential(1.0, n - 1) * rng.choice([0, 0.3, 2.0], n - 1)
        )
        x = np.concatenate([np.cumsum(gaps[::-1])[::-1], [0.0]])
        for i in range(1, n):
            if lattice:
                jump, weight = np.array([sizes[0]]), np.array([1.0])
            else:
                # pieces between the levels at which one predecessor more is dragged along
                levels = np.cumsum(gaps[:i][::-1])
                decay = 1 / sizes[i] - max(a, theta) - gamma.max()
                ends = np.concatenate(
                    [[0.0], levels, levels[-1] + np.array([0.1, 0.3, 1, 3, 10, 40]) / decay]
                )
                low, high = ends[:-1, None], ends[1:, None]
                jump = ((low + high) / 2 + (high - low) / 2 * NODES).ravel()
                weight = (WEIGHTS * (high - low) / 2).ravel() * np.exp(-jump / sizes[i]) / sizes[i]
            moved = np.repeat(x[None], jump.size, axis=0)
            moved[:, i] += jump
            projected = np.maximum.accumulate(moved[:, ::-1], axis=1)[:, ::-1]
            before = weight @ total(moved, theta, a, gamma, charge)
            after = weight @ total(projected, theta, a, gamma, charge)
            worst = min(worst, float((before - after) / after))
    assert worst > -1e-9


@pytest.mark.parametrize(
    ("sizes", "kind", "rate", "arrivals", "common", "theta", "a", "window", "expected"),
    [
        ((0.3, 0.2, 0.4), overshoot.PER_SLOT, 1.0, 0.5, 1.2, 0.6, 1.32, 21, -7.811479),
        ((0.3, 0.3), overshoot.LATTICE, 0.01, 0.05, 0.09, 0.97, 1.7, 100, -7.944985),
    ],
)
def test_without_credit_it_is_the_image_form(sizes, kind, rate, arrivals, common, theta, a, window, expected):
    """The stated values start at ℓ = 0 and let every term grow like the slowest: a little above ours."""
    n = len(sizes)
    plain, credited = (
        overshoot.log_bound(
            arrivals,
            1.0,
            np.full(n, kind),
            np.full(n, rate),
            np.array(sizes),
            common,
            window,
            theta,
            a,
            1 - 1e-9,
            flag,
        )
        - theta
        for flag in (False, True)
    )
    assert expected - 0.01 < plain <= expected + 1e-6
    assert credited < plain


@pytest.mark.parametrize("seed", range(8))
def test_never_below_the_truth(seed):
    rng = np.random.default_rng(seed)
    hops = int(rng.integers(2, 4))
    arrivals = Poisson(float(rng.uniform(0.1, 0.6)))
    kind = seed % 3
    if kind == 0:
        impairments = [ExponentialWork(float(v)) for v in rng.uniform(0.1, 0.5, hops)]
    elif kind == 1:
        impairments = [Poisson(float(v), 0.5) for v in rng.uniform(0.05, 0.3, hops)]
    else:
        impairments = [Poisson(float(v), 0.4, True) for v in rng.uniform(0.05, 0.5, hops)]
    window = int(rng.integers(3, 15))
    rate = 1.25 * (arrivals.mean + max(i.mean for i in impairments)) + float(rng.uniform(0, 0.3))
    jumps = [overshoot.jumps(impairment) for impairment in impairments]
    bound = overshoot.evaluate(arrivals, jumps, rate, window)
    laws = tuple(slot_work(model) for model in (arrivals, *impairments))
    truth = rare.estimate(laws, np.full(hops, rate), window, 1, 1.0, samples=20_000, seed=seed)
    assert truth.probability - 3.5 * truth.error <= math.exp(bound)
    assert bound <= overshoot.evaluate(arrivals, jumps, rate, window, credit=False) + 1e-9


def test_merging_and_refusals():
    domains = [overshoot.jumps(Poisson(0.01, 0.3))] * 3
    found = list(overshoot.groupings(domains))
    assert len(found) == 4
    assert found[0][0].rate == pytest.approx(0.03)
    assert len(list(overshoot.groupings([overshoot.jumps(ExponentialWork(0.3))] * 3))) == 1
    for other in (GammaWork(0.5, 0.3), NoImpairment()):
        with pytest.raises(TypeError, match="overshoot"):
            overshoot.jumps(other)
    with pytest.raises(TypeError, match="Poisson"):
        overshoot.evaluate(ExponentialWork(1.0), domains, 1.0, 10)
