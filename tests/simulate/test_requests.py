"""Whole requests: the kernel against an event-driven oracle, and against exact laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.laws import ExponentialWork, GammaWork, OnOff, Poisson
from fedopt.simulate import requests, traffic
from fedopt.simulate import stages as stages_of
from fedopt.simulate.requests import Stage, System, departures, simulate
from fedopt.simulate.slot_work import slot_work
from fedopt.simulate.streams import streams
from tests.oracles import event_calendar as oracle

IMPAIRMENTS = (
    None,
    Poisson(0.3, 0.5),
    Poisson(0.2, 0.7, exponential=True),
    ExponentialWork(0.2),
    GammaWork(0.4, 0.5),
    OnOff(0.9, 0.4, 0.2),
)
PLAIN = traffic.poisson(1.0)


def jumps_of(system, seed, until):
    """The priority work that `departures` meets, from the kernel's own random stream."""
    _, _, stages = system.arrays
    depth = len(system.stages)
    states, words = np.empty((depth, 5)), np.zeros((depth, 1), dtype=np.int64)
    origins = np.empty(depth, dtype=np.uint64)
    origin, step = streams(seed, 1)[0]
    stages_of.prepare(stages, origin, step, 0.0, origins, states, words)
    found = []
    for i, stage in enumerate(system.stages):
        law, some = stage.impairment, []
        while law is not None and states[i, 3] < until:
            at = states[i, 3]
            parameters = np.array(law.parameters)
            work = stages_of.jump(
                law.code, parameters, law.work, law.requests, origins[i], step, states[i], words[i]
            )
            some.append((at, work))
        found.append(some)
    return found


@st.composite
def systems(draw):
    """One to four stages of every kind, and sixty requests."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stages = []
    for i in range(draw(st.integers(1, 4))):
        servers = draw(st.sampled_from((0, 0, 1, 2, 5)))
        law = None if servers else draw(st.sampled_from(IMPAIRMENTS))
        rate = rng.uniform(0.8, 2.0) / max(servers, 1)
        impairment = None if law is None else slot_work(law)
        stages.append(Stage(rate, impairment, draw(st.sampled_from((0.0, 0.7))), False, servers, i))
    times = np.cumsum(rng.exponential(1.5, 60))
    columns = draw(st.sampled_from((1, len(stages))))
    return (
        System(PLAIN, (traffic.deterministic(1.0),), tuple(stages)),
        times,
        rng.exponential(1.0, (columns, 60)),
    )


@settings(max_examples=60, deadline=None)
@given(systems(), st.integers(0, 1000))
def test_every_request_leaves_when_the_event_driven_oracle_says(made, seed):
    system, times, sizes = made
    found = departures(system, times, sizes, seed)
    stages = [(stage.rate, stage.servers, stage.delay) for stage in system.stages]
    all_sizes = np.broadcast_to(sizes, (len(stages), times.size))
    expected = oracle.departures(stages, times, all_sizes, jumps_of(system, seed, found.max() + 5))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from(IMPAIRMENTS), min_size=1, max_size=4),
)
def test_work_moves_on_while_it_is_served_as_the_oracle_says(seed, laws):
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0.8, 2.0, len(laws))
    stages = tuple(
        Stage(rate, None if law is None else slot_work(law), cut_through=True, stream=i)
        for i, (rate, law) in enumerate(zip(rates, laws, strict=True))
    )
    system = System(PLAIN, (traffic.deterministic(1.0),), stages)
    times, sizes = np.cumsum(rng.exponential(1.5, 40)), rng.exponential(1.0, 40)
    found = departures(system, times, sizes, seed % 1000)
    expected = oracle.flow(list(rates), times, sizes, jumps_of(system, seed % 1000, found.max() + 5))
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_storing_and_forwarding_never_makes_a_request_earlier():
    rng = np.random.default_rng(5)
    times, sizes = np.cumsum(rng.exponential(2.0, 4000)), rng.exponential(1.0, 4000)
    law = slot_work(ExponentialWork(0.3))
    whole, flowing = (
        departures(
            System(
                PLAIN, (traffic.deterministic(1.0),), tuple(Stage(r, law, 0.0, cut) for r in (1.2, 1.0, 1.4))
            ),
            times,
            sizes,
        )
        for cut in (False, True)
    )
    assert (whole >= flowing - 1e-9).all()
    assert (whole - flowing).mean() > 1.0


def test_the_second_of_two_parallel_servers_lets_a_short_request_overtake():
    system = System(PLAIN, (traffic.deterministic(1.0),), (Stage(1.0, servers=2), Stage(10.0)))
    assert departures(system, np.array([0.0, 1.0]), np.array([[10.0, 1.0], [1.0, 1.0]])) == pytest.approx(
        [10.1, 2.1]
    )


def erlang_c(servers, load):
    """Probability of waiting in M/M/c."""
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) / (1 - load / servers)
    return last / (sum(terms) + last)


def test_a_pool_waits_as_erlang_says():
    servers, rate, beyond = 4, 3.2, 3.0
    system = System(traffic.poisson(rate), (traffic.exponential(1.0),), (Stage(1.0, servers=servers),))
    run = simulate(
        system, 50_000, trials=32, warmup=1000, deadlines=[beyond], waits=True, cells=False, seed=2
    )
    seen = run.late[:, 0] / run.requests
    exact = erlang_c(servers, rate) * math.exp(-(servers - rate) * beyond)
    assert abs(seen.mean() - exact) < 3.5 * seen.std(ddof=1) / math.sqrt(32)
    assert seen.std(ddof=1) / math.sqrt(32) < 0.05 * exact


def test_interruptions_that_only_delay_service_lengthen_it_by_their_law():
    """A request that finds an idle server with Poisson interruptions: E e^{cT} = e^{ζw}, Rζ − Λ(ζ) = c."""
    rate, size, each = 0.5, 1.0, 0.4
    law = slot_work(Poisson(rate, each))
    system = System(traffic.periodic(60.0), (traffic.deterministic(size),), (Stage(1.0, law),))
    run = simulate(system, 20_000, trials=16, cells=False, keep=True, seed=4)
    # the request also finds the stationary workload of the interruptions, M/D/1: Pollaczek and Khinchine
    load = rate * each
    mean = size / (1 - load) + load * each / (2 * (1 - load)) / (1 - load)
    seen = run.kept.mean(axis=1)
    assert abs(seen.mean() - mean) < 3.5 * seen.std(ddof=1) / 4
    assert seen.std(ddof=1) / 4 < 0.002 * mean


def test_the_fluid_plan_of_three_hops_is_late_35_times_as_often_as_promised():
    """Three hops at rate 1.40667, requests of 20, deadline 60: promised 1e-3 as a fluid."""
    stages = tuple(Stage(1.40667) for _ in range(3))
    system = System(traffic.poisson(0.02), (traffic.deterministic(20.0),), stages)
    run = simulate(system, 60_000, trials=32, warmup=200, deadlines=[60.0], seed=1)
    seen = run.late[:, 0] / run.requests
    error = seen.std(ddof=1) / math.sqrt(32)
    assert abs(seen.mean() - 3.55e-2) < 3.5 * math.hypot(error, 1.1e-4)
    assert error < 3e-4


def test_dependent_stages_meet_the_same_interruptions():
    law = slot_work(OnOff(2.0, 0.2, 0.05))
    together, apart = (
        System(
            traffic.poisson(0.2),
            (traffic.deterministic(1.0),),
            (Stage(3.0, law, stream=0), Stage(3.0, law, stream=other)),
        )
        for other in (0, 1)
    )
    same = simulate(together, 100_000, trials=16, deadlines=[4.0], seed=3).late.mean()
    free = simulate(apart, 100_000, trials=16, deadlines=[4.0], seed=3).late.mean()
    assert same > 1.2 * free


def test_results_do_not_depend_on_threads_or_chunks(monkeypatch):
    stages = (
        Stage(1.3, slot_work(GammaWork(0.2, 0.5)), cut_through=True),
        Stage(1.2, cut_through=True),
        Stage(1.1),
    )
    system = System(traffic.on_off(0.1, 1.2, 0.1, 0.1), (traffic.lognormal(0.8, 1.0),), stages)
    one = simulate(system, 9_000, trials=5, keep=True, seed=6, threads=1)
    two = simulate(system, 9_000, trials=5, keep=True, seed=6, threads=2)
    assert (one.kept == two.kept).all()
    monkeypatch.setattr(requests, "CHUNK", 100)
    np.testing.assert_allclose(simulate(system, 9_000, trials=5, keep=True, seed=6).kept, one.kept, atol=1e-7)
