"""Importance sampling against exact tails, long simulation, and the bound that it can never exceed."""

import math

import numpy as np
import pytest
from scipy.stats import poisson as poisson_law

from fedopt.envelopes.exponential import ExponentialWork
from fedopt.envelopes.gamma import GammaWork
from fedopt.envelopes.none import NoImpairment
from fedopt.envelopes.on_off import OnOff
from fedopt.envelopes.poisson import Poisson
from fedopt.simulate import rare
from fedopt.simulate.slot_work import slot_work
from fedopt.simulate.slots import SlotPath, simulate

CASE_A = (Poisson(0.5), ExponentialWork(0.3), ExponentialWork(0.2), ExponentialWork(0.4))


def laws(*models):
    return tuple(slot_work(model) for model in models)


def test_single_server_exact():
    found = rare.estimate(
        laws(ExponentialWork(1.0), NoImpairment()), np.array([1.6]), 8, samples=100_000, seed=1
    )
    assert abs(found.probability - 9.663873e-5) < 3.5 * found.error
    assert found.relative_error < 0.02
    assert found.bound == pytest.approx(0.0095637905, rel=2e-4)


@pytest.mark.parametrize("n", [9, 16])
def test_single_server_with_constant_rate_to_one_in_a_million(n):
    """Poisson work of size one against rate one: the backlog is a reflected walk, a Markov chain."""
    rate = 0.6
    levels = 150
    steps = poisson_law.pmf(np.arange(levels), rate)
    backlog = np.zeros(levels)
    backlog[0] = 1.0
    for _ in range(3_000):
        after = np.convolve(backlog, steps)[:levels]
        backlog = np.concatenate([[after[0] + after[1]], after[2:], [0.0]])
    backlog /= backlog.sum()
    # backlog after slot t's service: W > n means that work for more than n further slots is left
    exact = backlog[n + 1 :].sum()
    assert 1e-9 < exact < 1e-3
    found = rare.estimate(laws(Poisson(rate), NoImpairment()), np.array([1.0]), n, samples=60_000, seed=2)
    assert abs(found.probability - exact) < 3.5 * found.error
    assert found.relative_error < 0.1


@pytest.mark.parametrize(
    ("models", "rates", "n", "per_request"),
    [
        (CASE_A, [1.15, 1.1, 1.2], 14, True),
        (CASE_A, [1.15, 1.1, 1.2], 14, False),
        ((Poisson(0.3, 1.0, True), GammaWork(0.4, 0.5), Poisson(0.05, 2.0)), [0.9, 0.95], 12, True),
        ((ExponentialWork(0.4), ExponentialWork(0.3), NoImpairment()), [1.0, 0.8], 5, True),
        ((GammaWork(0.5, 0.6), ExponentialWork(0.3)), [0.9], 8, True),
    ],
)
def test_equal_to_long_simulation(models, rates, n, per_request):
    arranged = laws(*models)
    kind, size = rare._own_work(arranged[0]) if per_request else (0, 0.0)
    found = rare.estimate(arranged, np.array(rates), n, kind, size, samples=40_000, seed=3)
    run = simulate(SlotPath(arranged[0], arranged[1:], np.array(rates)), 60_000, trials=48, seed=4)
    delays = run.requests if per_request else run.instants
    shares = delays[:, n + 1 :].sum(axis=1) / delays.sum(axis=1)
    error = math.hypot(found.error, shares.std(ddof=1) / math.sqrt(shares.size))
    assert abs(found.probability - shares.mean()) < 3.5 * error
    assert found.probability <= found.bound
    assert found.relative_error < 0.05


def test_small_probabilities_and_the_tilt_is_only_a_matter_of_speed():
    rates = np.array([1.35, 1.3, 1.4])
    first = rare.estimate(laws(*CASE_A), rates, 21, 1, 1.0, samples=20_000, seed=5)
    other = rare.estimate(laws(*CASE_A), rates, 21, 1, 1.0, samples=20_000, seed=6, theta=0.85 * first.theta)
    assert first.probability < 1e-6
    assert first.relative_error < 0.1
    assert abs(first.probability - other.probability) < 3.5 * math.hypot(first.error, other.error)
    assert first.neglected < 1e-6 * first.bound


def test_identical_for_any_number_of_threads():
    runs = [
        rare.estimate(laws(*CASE_A), np.array([1.2] * 3), 21, 1, 1.0, samples=2_000, seed=1, threads=n)
        for n in (1, 2, 4)
    ]
    assert len({(run.probability, run.error) for run in runs}) == 1


def test_what_it_cannot_do_is_said():
    with pytest.raises(TypeError, match="per slot"):
        rare.estimate(laws(OnOff(1.0, 0.1, 0.1), NoImpairment()), np.array([0.8]), 5)
    with pytest.raises(ValueError, match="overloaded"):
        rare.estimate(laws(Poisson(1.0), NoImpairment()), np.array([0.9]), 5)
