"""Splitting against exact tails that nobody could wait for."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from fedopt.laws import ExponentialWork, Poisson
from fedopt.papers.tre import exact_tail
from fedopt.simulate import splitting, traffic
from fedopt.simulate.requests import Stage, System, simulate
from fedopt.simulate.slot_work import slot_work

UNIT = traffic.exponential(1.0)


@pytest.mark.parametrize("probability", [1e-3, 1e-6, 1e-9])
def test_sojourns_of_one_exponential_server(probability):
    system = System(traffic.poisson(0.7), (UNIT,), (Stage(1.0),))
    found = splitting.violation(system, -math.log(probability) / 0.3, seed=1)
    assert abs(found.probability - probability) < 3.5 * found.error
    assert found.relative_error < 0.2
    share = found.share(0.999)
    assert share.low <= probability <= share.high


@pytest.mark.parametrize("load", [0.55, 0.85])
def test_sojourns_of_the_papers_tandem(load):
    rates = (1.0, 1.15, 1.25)
    at = brentq(lambda t: math.log(exact_tail(t, load, rates) / 1e-6), 1.0, 500.0)
    system = System(traffic.poisson(load), (UNIT,) * 3, tuple(Stage(rate) for rate in rates))
    found = splitting.violation(system, at, requests=4_000, warmup=4_000, seed=2)
    assert abs(found.probability - 1e-6) < 3.5 * found.error
    assert found.relative_error < 0.25


def test_intervals_cover_as_often_as_they_say():
    system = System(traffic.poisson(0.6), (UNIT,), (Stage(1.0),))
    at = -math.log(1e-5) / 0.4
    shares = [splitting.violation(system, at, requests=500, seed=s).share(0.9) for s in range(60)]
    covered = sum(share.low <= 1e-5 <= share.high for share in shares)
    assert covered >= 60 * 0.9 - 3.5 * math.sqrt(60 * 0.09)


def test_it_agrees_with_counting_where_priority_work_carries_over():
    stages = (
        Stage(1.0, slot_work(ExponentialWork(0.3)), delay=1.0),
        Stage(1.1, slot_work(Poisson(0.05, 2.0))),
        Stage(0.3, servers=4),
    )
    system = System(traffic.poisson(0.4), (traffic.between(0.5, 1.5),), stages)
    counted = simulate(system, 40_000, trials=32, warmup=500, deadlines=[18.0], cells=False, seed=1)
    plain = counted.violation(18.0)
    found = splitting.violation(system, 18.0, requests=4_000, seed=4)
    assert plain.error < 0.1 * plain.mean
    assert abs(found.probability - plain.mean) < 3.5 * math.hypot(found.error, plain.error)


def test_far_below_what_is_asked_the_upper_end_is_enough():
    system = System(traffic.poisson(0.3), (UNIT,), (Stage(1.0),))
    found = splitting.violation(system, 60.0, enough=1e-5, seed=1)  # e^{-42}
    assert found.levels[-1] < 25.0
    share = found.share(0.999)
    assert share.low == 0.0
    assert math.exp(-42) < share.high < 1e-5


def test_the_result_is_that_of_the_seed():
    system = System(traffic.poisson(0.7), (UNIT,), (Stage(1.0),))
    one, two = (splitting.violation(system, 30.0, requests=300, seed=5, threads=n) for n in (1, 2))
    assert one == two
    assert one != splitting.violation(system, 30.0, requests=300, seed=6)


def test_what_cannot_be_copied_is_refused():
    law = slot_work(ExponentialWork(0.3))
    for stages in (
        (Stage(1.0, cut_through=True), Stage(1.0)),
        (Stage(1.0, servers=2), Stage(1.0)),
        (Stage(1.0, law, stream=0), Stage(1.0, law, stream=0)),
    ):
        system = System(traffic.poisson(0.2), (UNIT,), stages)
        assert not splitting.applies(system)
        with pytest.raises(TypeError, match="splitting"):
            splitting.violation(system, 5.0)
    assert np.isfinite(
        splitting.violation(System(traffic.poisson(0.2), (UNIT,), (Stage(1.0),)), 2.0).probability
    )
