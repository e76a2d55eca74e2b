"""Random systems of whole requests, promised by the calculus and simulated: no promise is broken."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fedopt.calculus.minplus import evaluate
from fedopt.calculus.path import Path
from fedopt.laws import NoImpairment, Poisson
from fedopt.papers.whole_systems import Drawn, cost, draw, late, proven_scale
from fedopt.simulate import splitting
from fedopt.simulate.paths import request_system

SURE = 0.99999
"""Confidence of an interval: of 200 that all hold, one fails in five hundred runs of the test."""
PIECES = 10


def broken(seed, effort):
    """Whether a system's promise is broken, beyond doubt."""
    system = draw(seed)
    return late(system, system.rates, seed, effort, SURE).low > system.epsilon


def test_no_promise_is_broken():
    assert [seed for seed in (3, 5, 7, 9, 10) if broken(seed, 150)] == []


@pytest.mark.slow
@pytest.mark.parametrize("piece", range(PIECES))
def test_no_promise_of_two_hundred_is_broken(piece):
    assert [seed for seed in range(20 * piece, 20 * (piece + 1)) if broken(seed, 300)] == []


def test_systems_of_all_kinds_are_drawn():
    systems = [draw(seed) for seed in (3, 5, 6, 7, 9, 10)]
    assert len({system.name for system in systems}) == 6
    for system in systems:
        assert evaluate(system.path, system.rates).log_bound <= system.path.log_epsilon
        shorter = replace(system.path, deadline=0.97 * system.path.deadline - 1.0)
        assert not evaluate(shorter, system.rates).log_bound <= system.path.log_epsilon
        loads = request_system(system.path, system.rates).loads
        assert loads.max() <= system.load * (1 + 1e-3)
        if system.epsilon < 2e-3:
            assert splitting.applies(request_system(system.path, system.rates))


def three_hops(rate, deadline=60.0, whole=None):
    path = Path(
        Poisson(0.02, 20.0), (NoImpairment(),) * 3, np.zeros(3), np.zeros(3, dtype=bool), deadline,
        math.log(1e-3), whole=whole,
    )  # fmt: skip
    return Drawn(path, np.full(3, rate), 0.4)


def test_what_was_promised_of_the_fluid_is_noticed_to_be_broken():
    """The same check finds plans of the fluid broken: hand-overs are what it forgets."""
    system = three_hops(1.41)
    assert evaluate(system.path, system.rates).log_bound <= math.log(1e-3)
    assert late(system, system.rates, 1, 300, SURE).low > 1e-3


def test_what_a_promise_costs_is_measured():
    """One domain of memoryless requests: the least rate is known, and nearly what is reserved."""
    system = three_hops(1.9, whole=(True,) * 3)
    assert proven_scale(system) == pytest.approx(1.892 / 1.9, abs=3e-3)
    found = cost(7, 150, 0)
    assert found["proven"] <= 1.0
    assert found["proven"] / found["least"] >= 1.0 - 3.0 * found["error"]
