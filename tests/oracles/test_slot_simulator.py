"""The simulator against a case whose probability is known, and its two events against each other."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq

from fedopt.laws import ExponentialWork, NoImpairment, Poisson
from tests.oracles import slot_simulator
from tests.oracles.tandem import plain


def test_exponential_work_in_one_server():
    tandem = plain(ExponentialWork(1.0), [NoImpairment()], [1.3], 8)
    theta = brentq(lambda t: -math.log1p(-t) - 1.3 * t, 1e-3, 0.999)
    exact = np.array([(1 - theta) * math.exp(-theta * 1.3 * n) for n in (2, 8)])
    rng = np.random.default_rng(1)
    for simulate in (slot_simulator.queue, slot_simulator.path):
        found = simulate(tandem, [2, 8], rng, 1500, 800, 200)
        assert np.all(np.abs(found.instants - exact) < 4 * found.instants_error)
        assert np.all(found.requests > found.instants)  # a request finds its own work


def test_the_queue_is_never_later_than_the_worst_path():
    rng = np.random.default_rng(2)
    tandem = plain(Poisson(0.5), [ExponentialWork(0.3), Poisson(0.2, 1.0)], [1.2, 1.1], 10, [1.5, 0.0])
    queue = slot_simulator.queue(tandem, [4, 10], rng, 600, 500, 200)
    path = slot_simulator.path(tandem, [4, 10], rng, 600, 500, 200)
    assert np.all(queue.instants <= path.instants + 3 * np.hypot(queue.instants_error, path.instants_error))
    assert queue.instants[0] > 0.1
