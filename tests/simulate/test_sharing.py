"""Shared queue, reservation, weighted sharing: limits in which they coincide, conservation, isolation."""

import numpy as np
import pytest

from fedopt.laws.exponential import ExponentialWork
from fedopt.laws.none import NoImpairment
from fedopt.laws.on_off import OnOff
from fedopt.laws.poisson import Poisson
from fedopt.simulate import slots
from fedopt.simulate.sharing import POLICIES, Sharing, simulate
from fedopt.simulate.slot_work import slot_work
from fedopt.simulate.slots import SlotPath


def system(arrivals, impairments, rates, shares):
    return Sharing(tuple(map(slot_work, arrivals)), tuple(map(slot_work, impairments)), rates, shares)


def tail(delays, tenant, beyond):
    counts = delays[:, tenant]
    shares = counts[:, beyond + 1 :].sum(axis=1) / counts.sum(axis=1)
    return shares.mean(), shares.std(ddof=1) / np.sqrt(shares.size)


def test_a_tenant_alone_sees_the_same_under_every_policy():
    alone = system([Poisson(0.5)], [ExponentialWork(0.3), ExponentialWork(0.2)], (1.1, 1.2), (1.0,))
    found = [simulate(alone, policy, 20_000, trials=4, seed=1) for policy in POLICIES]
    assert np.allclose(found[0], found[1])
    assert np.allclose(found[0], found[2])
    path = SlotPath(alone.arrivals[0], alone.impairments, np.array([1.1, 1.2]))
    other = slots.simulate(path, 60_000, trials=24, seed=5).requests
    mine = tail(simulate(alone, "fifo", 60_000, trials=24, seed=2), 0, 8)
    theirs = tail(other[:, None], 0, 8)
    assert abs(mine[0] - theirs[0]) < 4 * np.hypot(mine[1], theirs[1])


def test_reserved_tenants_are_as_if_alone():
    """Each has its part of the rate and of the impairment."""
    both = system([Poisson(0.3), Poisson(0.5)], [ExponentialWork(0.4)], (2.0,), (0.4, 0.6))
    found = simulate(both, "reserved", 60_000, trials=24, seed=1)
    alone = SlotPath(slot_work(Poisson(0.3)), (slot_work(ExponentialWork(0.16)),), np.array([0.8]))
    other = tail(slots.simulate(alone, 60_000, trials=24, seed=9).requests[:, None], 0, 5)
    mine = tail(found, 0, 5)
    assert abs(mine[0] - other[0]) < 4 * np.hypot(mine[1], other[1])


def test_isolation_and_multiplexing():
    """Weighted sharing is never worse than reservation for anyone, and keeps a burst away from the steady
    tenant.
    """
    bursty = system(
        [Poisson(0.3), OnOff(3.0, 0.1, 0.025)], [NoImpairment(), NoImpairment()], (1.5, 1.6), (0.4, 0.6)
    )
    fifo, reserved, weighted = (simulate(bursty, p, 40_000, trials=12, seed=3) for p in POLICIES)
    for tenant in (0, 1):
        mine = np.cumsum(weighted[:, tenant].sum(axis=0))
        theirs = np.cumsum(reserved[:, tenant].sum(axis=0))
        assert (mine >= theirs - 1e-6 * theirs[-1]).all()
    assert tail(fifo, 0, 5)[0] > 20 * tail(weighted, 0, 5)[0]
    assert tail(fifo, 1, 20)[0] < tail(reserved, 1, 20)[0]


def test_every_request_is_counted_once():
    shared = system([Poisson(0.3), Poisson(0.2, 2.0)], [ExponentialWork(0.2)], (1.4,), (0.5, 0.5))
    totals = [simulate(shared, policy, 5_000, trials=3, seed=8).sum(axis=2) for policy in POLICIES]
    assert np.array_equal(totals[0], totals[1])
    assert np.array_equal(totals[0], totals[2])


def test_threads_and_refusals():
    shared = system([Poisson(0.3), Poisson(0.2)], [ExponentialWork(0.2)], (1.0,), (0.5, 0.5))
    runs = [simulate(shared, "weighted", 2_000, trials=6, seed=1, threads=n) for n in (1, 2, 4)]
    assert all(np.array_equal(run, runs[0]) for run in runs)
    with pytest.raises(ValueError, match="policy"):
        simulate(shared, "random", 10)
    with pytest.raises(ValueError, match="slots"):
        simulate(shared, "fifo", 0)
    with pytest.raises(ValueError, match="add up"):
        system([Poisson(0.3)], [NoImpairment()], (1.0,), (1.5,))
    with pytest.raises(ValueError, match="one rate"):
        system([Poisson(0.3)], [NoImpairment()], (1.0, 2.0), (0.5,))
