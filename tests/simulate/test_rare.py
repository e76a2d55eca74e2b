"""Importance sampling against exact tails, long simulation, and the bound that no sample can exceed."""

import math

import numpy as np
import pytest
from scipy.stats import poisson as poisson_law

from fedopt.calculus.minplus import PackedPath, evaluate
from fedopt.laws.models import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson
from fedopt.laws.table import Table
from fedopt.simulate import rare, tilting
from fedopt.simulate.guide import Problem, best_guide, guide_at
from fedopt.simulate.slot_work import slot_work
from fedopt.simulate.slots import SlotPath, simulate
from tests.calculus.systems import at, case_a, path_of

CASE_A = (Poisson(0.5), ExponentialWork(0.3), ExponentialWork(0.2), ExponentialWork(0.4))
TABLE = Table(np.linspace(0.2, 4.0, 12), 0.3 * np.expm1(0.5 * np.linspace(0.2, 4.0, 12)), np.zeros(12))


def laws(*models):
    return tuple(slot_work(model) for model in models)


def test_single_server_exact():
    found = rare.estimate(
        laws(ExponentialWork(1.0), NoImpairment()), np.array([1.6]), 8, samples=100_000, seed=1
    )
    assert abs(found.probability - 9.663873e-5) < 3.5 * found.error
    assert found.relative_error < 0.005
    assert found.probability < found.bound < 4 * found.probability


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
    assert abs(found.probability - exact) < 3.5 * found.error + 1e-6 * exact
    assert found.relative_error < 0.1


def bursts(p, q, levels, peak=2):
    """Stationary law of (phase, backlog after service) of on-off work of `peak` a slot against rate one."""
    state = np.zeros((2, levels))
    state[0, 0] = 1.0
    for _ in range(20_000):
        off = (1 - q) * state[0] + p * state[1]
        on = q * state[0] + (1 - p) * state[1]
        after = np.zeros_like(state)
        after[0, 0] = off[0] + off[1]
        after[0, 1:-1] = off[2:]
        after[1, peak - 1 :] = on[: levels - peak + 1]
        after[1, -1] += on[levels - peak + 1 :].sum()
        if np.abs(after - state).max() < 1e-17:
            break
        state = after
    return state


@pytest.mark.parametrize(("p", "q", "n"), [(0.4, 0.1, 12), (0.4, 0.1, 30), (0.2, 0.05, 90), (0.7, 0.6, 40)])
@pytest.mark.parametrize("per_request", [False, True])
def test_on_off_work_exact(p, q, n, per_request):
    """A chain's backlog is a chain: instants see it as it is, a unit of work finds its slot on."""
    state = bursts(p, q, 700)
    exact = state[1, n + 1 :].sum() / (q / (p + q)) if per_request else state[:, n + 1 :].sum()
    assert 1e-9 < exact < 0.1
    arranged = laws(OnOff(2.0, p, q), NoImpairment())
    own = tilting.own_work(arranged[0]) if per_request else (tilting.NOTHING, 0.0)
    found = rare.estimate(arranged, np.array([1.0]), n, own, samples=20_000, seed=3)
    assert abs(found.probability - exact) < 3.5 * found.error + 1e-6 * exact
    assert found.relative_error < 0.03
    assert exact < found.bound


@pytest.mark.parametrize("n", [12, 40])
def test_on_off_impairment_exact(n):
    """Unit requests, one a slot at most, against a server that is blocked while its impairment is on."""
    p, q, rate, levels = 0.3, 0.05, 0.55, 400
    state = np.zeros((2, levels))  # (phase of the slot served last, backlog after it)
    state[0, 0] = 1.0
    steps = poisson_law.pmf(np.arange(levels), rate)
    for _ in range(4_000):
        waiting = np.array([np.convolve(row, steps)[:levels] for row in state])
        off = (1 - q) * waiting[0] + p * waiting[1]
        on = q * waiting[0] + (1 - p) * waiting[1]
        state = np.array([np.concatenate([[off[0] + off[1]], off[2:], [0.0]]), on])
    # what is left after n more slots without arrivals
    for _ in range(n):
        off = (1 - q) * state[0] + p * state[1]
        on = q * state[0] + (1 - p) * state[1]
        state = np.array([np.concatenate([[off[0] + off[1]], off[2:], [0.0]]), on])
    exact = state[:, 1:].sum()
    assert 1e-9 < exact < 0.1
    found = rare.estimate(laws(Poisson(rate), OnOff(1.0, p, q)), np.array([1.0]), n, samples=40_000, seed=4)
    assert abs(found.probability - exact) < 3.5 * found.error + 1e-6 * exact
    assert found.relative_error < 0.03


@pytest.mark.parametrize(
    ("models", "rates", "n", "per_request"),
    [
        (CASE_A, [1.15, 1.1, 1.2], 14, True),
        (CASE_A, [1.15, 1.1, 1.2], 14, False),
        ((Poisson(0.3, 1.0, True), GammaWork(0.4, 0.5), Poisson(0.05, 2.0)), [0.9, 0.95], 12, True),
        ((ExponentialWork(0.4), ExponentialWork(0.3), NoImpairment()), [1.0, 0.8], 5, True),
        ((GammaWork(0.5, 0.6), ExponentialWork(0.3)), [0.9], 8, True),
        ((Poisson(0.3), TABLE, GammaWork(0.4, 0.5)), [0.9, 0.8], 6, True),
        ((TABLE, ExponentialWork(0.3)), [0.8], 4, True),
        ((OnOff(1.0, 0.3, 0.2), ExponentialWork(0.2), OnOff(0.5, 0.2, 0.2)), [1.0, 1.1], 5, True),
        ((OnOff(1.0, 0.3, 0.2), OnOff(0.5, 0.2, 0.2), OnOff(0.5, 0.1, 0.1)), [1.15, 1.2], 7, False),
    ],
)
def test_equal_to_long_simulation(models, rates, n, per_request):
    arranged = laws(*models)
    own = tilting.own_work(arranged[0]) if per_request else (tilting.NOTHING, 0.0)
    found = rare.estimate(arranged, np.array(rates), n, own, samples=40_000, seed=3)
    run = simulate(SlotPath(arranged[0], arranged[1:], np.array(rates)), 60_000, trials=48, seed=4)
    delays = run.requests if per_request else run.instants
    shares = delays[:, n + 1 :].sum(axis=1) / delays.sum(axis=1)
    error = math.hypot(found.error, shares.std(ddof=1) / math.sqrt(shares.size))
    assert abs(found.probability - shares.mean()) < 3.5 * error
    assert found.probability <= found.bound
    assert found.relative_error < 0.05


def test_small_probabilities_and_the_tilt_is_only_a_matter_of_speed():
    rates = np.array([1.35, 1.3, 1.4])
    own = (tilting.FIXED, 1.0)
    first = rare.estimate(laws(*CASE_A), rates, 21, own, samples=20_000, seed=5)
    other = rare.estimate(laws(*CASE_A), rates, 21, own, samples=20_000, seed=6, theta=0.9 * first.theta)
    assert first.probability < 1e-6
    assert first.relative_error < 0.05
    assert abs(first.probability - other.probability) < 3.5 * math.hypot(first.error, other.error)
    assert first.neglected < 1e-6 * first.bound


def test_the_guide_is_the_image_form():
    """With φ = 1, no credit and no merged domains; found without the package's calculus."""
    rates = np.array([1.25, 1.2, 1.22])
    guide = guide_at(Problem(laws(*CASE_A), rates, 21, (tilting.NOTHING, 0.0)), 0.6, 0.9)
    # main and wall terms by hand: Λ(η) = −log(1 − ηm), weights (a, 0, θ−a), (−γ, a+γ, θ−a), (0, −γ, θ+γ)
    for weights, growth in zip(guide.weights, guide.growth, strict=True):
        means = np.array([0.3, 0.2, 0.4])
        assert growth == pytest.approx(float((-np.log1p(-weights * means) - weights * rates).sum()))
        assert guide.arrival + growth <= 1e-12
    assert guide.weights.sum(axis=1) == pytest.approx(np.full(3, 0.6))
    first, second = -guide.weights[1, 0], -guide.weights[2, 1]  # the γ
    charges = np.array([1.0, 0.9 / first, (0.9 + first) / second * 0.9 / first])
    assert np.exp(guide.log_charges) == pytest.approx(charges)
    assert math.exp(guide.log_bound) == pytest.approx(float((charges * np.exp(21 * guide.growth)).sum()))
    packed = PackedPath(path_of(case_a(*rates)))
    proven = at("image", packed, rates, 0.6, 1.5)
    assert proven < guide.log_bound  # which has φ = 1
    best = best_guide(Problem(laws(*CASE_A), rates, 21, (tilting.FIXED, 1.0)))
    assert evaluate(path_of(case_a(*rates), request=True), rates).log_bound < best.log_bound


def test_no_sample_exceeds_the_bound():
    """Weights of one sample at a time: the largest of many stays below it, and it is nearly reached."""
    for models, rates, n in (
        (CASE_A, [1.2, 1.15, 1.18], 21),
        ((Poisson(0.05), *(Poisson(0.01, 0.3),) * 4), [0.09, 0.1, 0.088, 0.09], 60),
        ((OnOff(1.0, 0.3, 0.2), OnOff(0.5, 0.2, 0.2), OnOff(0.5, 0.1, 0.1)), [1.15, 1.1], 8),
    ):
        arranged = laws(*models)
        problem = Problem(arranged, np.array(rates), n, (tilting.NOTHING, 0.0))
        guide = best_guide(problem)
        bound = math.exp(guide.log_bound)
        largest = max(
            64 * rare.sampled(problem, guide, 64, seed).probability for seed in range(40)
        )  # the sum of 64 weights
        assert largest <= 64 * bound * (1 + 1e-9)
        squares = rare.sampled(problem, guide, 20_000, 1)
        second = squares.error**2 * squares.samples + squares.probability**2
        assert second <= bound * squares.probability


def test_the_upper_confidence_bound_covers():
    """At 99 %, of 200 short runs hardly any may miss the exact probability; long ones come close to it."""
    arranged = laws(ExponentialWork(1.0), NoImpairment())
    problem = Problem(arranged, np.array([1.6]), 8, (tilting.NOTHING, 0.0))
    guide = best_guide(problem)
    exact = 9.663873e-5
    missed = sum(rare.sampled(problem, guide, 128, seed).upper(0.99) < exact for seed in range(200))
    assert missed <= 6
    assert rare.sampled(problem, guide, 100_000, 1).upper(0.99) < 1.02 * exact


def test_identical_for_any_number_of_threads():
    own = (tilting.FIXED, 1.0)
    runs = [
        rare.estimate(laws(*CASE_A), np.array([1.2] * 3), 21, own, samples=2_000, seed=1, threads=n)
        for n in (1, 2, 4)
    ]
    assert len({(run.probability, run.error) for run in runs}) == 1


def test_what_it_cannot_do_is_said():
    with pytest.raises(ValueError, match="overloaded"):
        rare.estimate(laws(Poisson(1.0), NoImpairment()), np.array([0.9]), 5)
    replayed = slot_work(_Own())
    with pytest.raises(TypeError, match="per slot"):
        rare.estimate((replayed, *laws(NoImpairment())), np.array([0.9]), 5)
    with pytest.raises(TypeError, match="per request"):
        tilting.own_work(replayed)


class _Own:
    """A user's own model: sampled once and replayed."""

    def sample(self, rng, slots):
        return rng.random(slots)


def test_an_on_off_chain_before_a_domain_without_impairment_has_an_estimate():
    """The wall behind it takes far negative tilts, at which e^{tilt·peak} is 0."""
    laws = tuple(slot_work(law) for law in (Poisson(0.3), OnOff(1.0, 0.4, 0.1), NoImpairment()))
    found = rare.estimate(laws, np.array([1.0, 1.0]), 25, samples=4_000, seed=2)
    assert found.probability > 0
    assert math.isfinite(found.bound)
