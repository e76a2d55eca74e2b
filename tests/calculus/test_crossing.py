"""The image form with credit for arrivals: never below the truth, and none where nothing is proven."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.calculus.crossing import best_at_crossing, bound_at_crossing
from fedopt.calculus.forms import bit
from fedopt.calculus.minplus import PackedPath, evaluate, verify
from fedopt.calculus.path import Path
from fedopt.laws import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, Table
from fedopt.simulate import rare
from tests.calculus.systems import case_a, case_b, path_of

ARRIVALS = [
    Poisson(0.3),
    Poisson(0.05),
    Poisson(2.5, 0.2),
    Poisson(0.3, 0.8, True),
    ExponentialWork(0.4),
    GammaWork(2.0, 0.15),
]
IMPAIRMENTS = [
    Poisson(0.05, 0.3),
    Poisson(0.05, 0.3),
    Poisson(0.1, 0.5),
    Poisson(0.05, 0.4, True),
    ExponentialWork(0.2),
    GammaWork(0.6, 0.2),
    NoImpairment(),
]


def case(seed):
    """A path with rates that are equal, rise or do what they like, sometimes with a guardrail."""
    rng = np.random.default_rng(seed)
    hops = int(rng.integers(1, 5))
    arrivals = ARRIVALS[int(rng.integers(len(ARRIVALS)))]
    # all of one sort every other time: mixed laws earn less credit
    pool = (
        rng.integers(0, len(IMPAIRMENTS), hops) if seed % 2 else np.full(hops, rng.integers(len(IMPAIRMENTS)))
    )
    impairments = tuple(IMPAIRMENTS[i] for i in pool)
    rate = (arrivals.mean + max(i.mean for i in impairments)) * float(rng.uniform(1.2, 1.9))
    rise = np.sort(rng.uniform(0.0, 0.2, hops)) if seed % 3 else np.zeros(hops)
    rates = rate * (1.0 + rng.permutation(rise) if seed % 7 == 0 else 1.0 + rise)
    window = int(rng.integers(2, 12) / rate) + 1
    guardrail = rng.random(hops) < 0.15
    latencies = np.where(guardrail, 1.0, 0.0)
    path = Path(
        arrivals, impairments, latencies, guardrail, window + 1.0, math.log(1e-3), bool(rng.random() < 0.7)
    )
    return path, rates


def credit_and_truth(seed, samples):
    path, rates = case(seed)
    bound = evaluate(path, rates, bit("image"), crossing=True).log_bound
    without = evaluate(path, rates, bit("image")).log_bound
    # a guardrail's server may keep its whole latency as a delay: simulated as one, a delay only grows
    truth = rare.violation(path, rates, samples=samples, seed=seed)
    return bound, without, truth


@pytest.mark.parametrize("seed", range(24))
def test_never_below_the_truth(seed):
    bound, without, truth = credit_and_truth(seed, 8_000)
    assert bound <= without + 1e-9
    assert truth.probability - 3.5 * truth.error <= math.exp(bound)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24, 124))
def test_never_below_the_truth_on_a_hundred_more(seed):
    bound, _, truth = credit_and_truth(seed, 40_000)
    assert truth.probability - 3.5 * truth.error <= math.exp(bound)


def test_the_exact_tail_of_one_server():
    """Exponential work overshoots by an exponential amount, whatever the level: nothing is left to lose."""
    path = Path(ExponentialWork(1.0), (NoImpairment(),), [0.0], [False], 8, math.log(1e-3), False)
    bound = math.exp(evaluate(path, np.array([1.6]), crossing=True).log_bound)
    without = math.exp(evaluate(path, np.array([1.6])).log_bound)
    assert 9.663873e-5 <= bound < 1.05 * 9.663873e-5
    assert without > 1.5 * bound


def test_near_the_truth_for_one_domain():
    path = path_of(case_b(1), request=True)
    rates = np.array([0.0855])
    truth = rare.violation(path, rates, samples=40_000, seed=1)
    bound = math.exp(evaluate(path, rates, crossing=True).log_bound)
    assert truth.low < bound < 1.1 * truth.high


def test_what_it_is_worth():
    """Case B of the theory, where it was 1.02 to 1.05 times the least rate: a quarter to a third of a nat."""
    for hops, rate in ((1, 0.0866), (2, 0.0888), (3, 0.0910), (6, 0.0950)):
        path = path_of(case_b(hops), request=True)
        rates = np.full(hops, rate)
        gain = evaluate(path, rates).log_bound - evaluate(path, rates, crossing=True).log_bound
        assert 0.2 < gain < 0.4


def test_a_stated_proof_is_checked_without_the_credit():
    """Sizing does without it, and so must what is accepted, or lower bounds would not hold for it."""
    path = path_of(case_b(3), request=True)
    rates = np.array([0.09, 0.091, 0.0915])
    found = evaluate(path, rates, bit("image"), crossing=True)
    assert verify(path, rates, found) > found.log_bound + 0.1


def at(path, rates, theta, ratio=1.5, cut=None):
    packed = PackedPath(path)
    groups = np.arange(len(path) + 1) if cut is None else np.array(cut)
    return bound_at_crossing(*packed.of_image(), np.asarray(rates, float), theta, ratio, groups)


def test_none_where_it_is_not_proven():
    path = path_of(case_a(1.2, 1.2, 1.2))
    assert at(path, [1.2, 1.2, 1.2], 0.5, 2.4) < 0.0
    assert at(path, [1.2, 1.1, 1.2], 0.5, 2.4) == math.inf  # rates fall
    assert at(path, [1.2, 1.2, 1.2], 0.75, 2.4) == math.inf  # nothing shrinks there
    assert at(path, [1.2, 1.2, 1.2], -0.5, 2.4) == math.inf
    grid = np.linspace(0.1, 2.0, 20)
    for arrivals in (Table(grid, grid * 0.6, 0.0 * grid, independent_increments=True), OnOff(1.0, 0.5, 0.5)):
        other = Path(arrivals, (ExponentialWork(0.3),), [0.0], [False], 21, math.log(1e-3))
        assert at(other, [1.2], 0.3, 1.0) == math.inf


def test_impairments_of_any_law_are_taken_at_their_worst():
    """A table and a chain without memory may do anything in every slot: less credit, but some."""
    grid = np.linspace(0.1, 2.0, 20)
    law = GammaWork(1.0, 0.2)
    table = Table(grid, np.asarray(law.log_rate(grid)), 0.0 * grid, independent_increments=True)
    for impairment in (law, table, OnOff(0.4, 0.5, 0.5)):
        path = Path(Poisson(0.5), (impairment,), [0.0], [False], 21, math.log(1e-3))
        found = evaluate(path, np.array([1.0]), crossing=True)
        without = evaluate(path, np.array([1.0]))
        assert without.log_bound - 0.3 < found.log_bound < without.log_bound - 0.05


def test_the_best_tilt_is_near():
    path = path_of(case_b(2), request=True)
    packed = PackedPath(path)
    rates = np.full(2, 0.0888)
    plain = evaluate(path, rates)
    cut = np.arange(3)
    value, theta = best_at_crossing(*packed.of_image(), rates, plain.theta, plain.parameters["alpha"], cut)
    assert 0.975 * plain.theta < theta < 1.01 * plain.theta
    assert value == at(path, rates, theta, plain.parameters["alpha"])
    around = [
        at(path, rates, t * plain.theta, plain.parameters["alpha"]) for t in np.linspace(0.95, 1.01, 25)
    ]
    assert value <= min(around) + 0.01
