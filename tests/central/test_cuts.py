"""Knapsack cuts spare every whole choice of units and part what is none; bounds stay below optima."""

from __future__ import annotations

import itertools
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.central.cuts import Knapsacks, _Knapsack, _labels
from fedopt.central.generation import generate
from fedopt.central.integer import choose
from fedopt.central.master import Master
from fedopt.central.run import Run
from fedopt.instance.generating import generate as instance_of
from fedopt.pricing import Network, Oracle, sizing_for


def knapsack(capacity, counts, kinds, loads):
    network = SimpleNamespace(
        capacity=np.array([capacity]), kinds=[SimpleNamespace(count=count) for count in counts]
    )
    return _Knapsack(0, network, kinds, loads)


def choices(capacity, counts, kinds, loads):
    """Every multiplicity of the columns within counts and capacity, shape (sets, columns)."""
    most = [min(counts[k], int(capacity // w)) for k, w in zip(kinds, loads, strict=True)]
    for x in itertools.product(*(range(n + 1) for n in most)):
        units = np.bincount(kinds, weights=x, minlength=len(counts))
        if (units <= counts).all() and np.dot(x, loads) <= capacity:
            yield np.array(x, dtype=float)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10_000))
def test_labels_hold_the_best_set_of_every_weight(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, size=4)
    start = np.concatenate([[0], np.cumsum(sizes)])
    weight, value = rng.uniform(0.1, 1.0, start[-1]), rng.uniform(0.0, 1.0, start[-1])
    times = rng.integers(1, 3, size=4)
    w, v, _, _, last = _labels(weight, value, start, times, -1, 1.5, 10_000)
    group = np.repeat(np.arange(4), sizes)
    for limit in (0.3, 0.8, 1.5):
        best = max(x @ value for x in choices(limit, times, group, weight))
        assert v[last[np.searchsorted(w[last], limit, side="right") - 1]] == pytest.approx(best, abs=1e-9)
    assert len(_labels(weight, value, start, times, -1, 1.5, 3)[-1]) == 0  # too many: says so


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 10_000))
def test_a_cut_spares_every_choice_and_parts_what_is_none(seed):
    """Of random shares: those that are mixtures of whole choices are never cut; others always are."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 3, size=4)
    kinds = np.repeat(np.arange(4), 3)
    loads = rng.uniform(0.3, 1.1, 12)
    sets = np.array(list(choices(1.6, counts, kinds, loads)))
    bag = knapsack(1.6, counts, kinds, loads)
    mixed = rng.dirichlet(np.full(6, 0.5)) @ sets[rng.integers(0, len(sets), 6)]
    used = mixed > 1e-7
    if used.any():
        assert bag.separate(kinds[used], loads[used], mixed[used]) is None
    share = rng.dirichlet(np.ones(3), size=4).reshape(-1)  # everybody served here: rarely possible
    share *= min(1.0, 1.6 / (share @ loads))
    cut = bag.separate(kinds, loads, share)
    if cut is None:
        assert _mixture(sets, share)
        return
    coefficients = cut.coefficients(kinds, loads)
    assert (sets @ coefficients <= 1.0 + 1e-12).all()
    assert coefficients @ share > 1.0
    other = rng.uniform(0.3, 1.1, 12)  # loads that no one asked about: whole choices are spared all the same
    for x in choices(1.6, counts, kinds, other):
        assert x @ cut.coefficients(kinds, other) <= 1.0 + 1e-12


def _mixture(sets, share):
    """Whether shares are below some mixture of whole choices, to the violation that a cut must have."""
    from scipy.optimize import linprog

    count = len(sets)
    upper = np.hstack([-sets.T, -np.ones((len(share), 1))])
    answer = linprog(
        np.append(np.zeros(count), 1.0),
        A_ub=upper,
        b_ub=-share,
        A_eq=np.append(np.ones(count), 0.0)[None],
        b_eq=[1.0],
    )
    return answer.fun <= 1e-4


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("profit", [False, True])
def test_bounds_stay_below_the_optimum_and_leave_it_in(seed, profit):
    instance = instance_of(8, 2, 3, seed, binding=0.7)
    network = Network(instance, paid=profit)
    oracle = Oracle(network, sizing_for("minplus", network))
    master = Master(network, profit, 1e4)
    run = Run(time.perf_counter(), math.inf, None)
    columns = oracle.within_all(master.list_prices(), np.full(len(network.kinds), np.inf))
    master.add(columns)
    relaxation = generate(master, oracle, run, 1e-6)
    best = choose(master, columns, 1e-9, Run(time.perf_counter(), math.inf, None))
    assert best is not None
    slack = 0.1 * abs(best.cost)
    knapsacks = Knapsacks(master, columns)
    cut = knapsacks.strengthen(best.cost + slack, run)
    assert relaxation.bound - 1e-6 * abs(best.cost) <= cut.bound <= best.cost + 1e-7 * abs(best.cost)
    left = choose(master, cut.columns, 1e-9, Run(time.perf_counter(), math.inf, None), cuts=cut.cuts)
    assert left is not None
    assert left.cost == pytest.approx(best.cost, rel=1e-7)
    closer = knapsacks.strengthen(best.cost + 1e-3 * slack, run)
    assert cut.bound - 1e-9 <= closer.bound <= best.cost + 1e-7 * abs(best.cost)
    assert len(closer.columns) <= len(cut.columns)
