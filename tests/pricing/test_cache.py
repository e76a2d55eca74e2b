"""What one solve leaves to the next changes how fast it is, never what it answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fedopt.central import solve
from fedopt.instance.generating import generate
from fedopt.pricing import cache, profiles


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setattr(profiles, "_LISTED", 0)
    cache.forget()
    yield
    cache.forget()


def test_who_takes_a_memory_owns_it():
    cache.give(b"a", "memory", 10)
    assert cache.take(b"a") == "memory"
    assert cache.take(b"a") is None


def test_the_oldest_make_room(monkeypatch):
    monkeypatch.setattr(cache, "_MOST_ENTRIES", 25)
    for name in (b"a", b"b", b"c"):
        cache.give(name, name, 10)
    assert cache.take(b"a") is None
    assert cache.take(b"c") == b"c"


def test_a_second_solve_has_the_same_answer():
    instance = generate(12, 3, 4, 3)
    first = solve(instance, gap=1e-4)
    assert solve(instance, gap=1e-4).tenants == first.tenants
    cache.forget()
    assert solve(instance, gap=1e-4).tenants == first.tenants


def test_what_was_solved_before_or_is_solved_beside_does_not_count():
    instance = generate(12, 3, 4, 3)
    alone = solve(instance, gap=1e-4)
    cache.forget()
    other = instance.with_(tenants=instance.tenants[3:]).with_({"domains.0.offers.0.latency": 7.0})
    solve(other, gap=1e-4)
    solve(instance.with_(tenants=instance.tenants[:5]), gap=1e-4)
    assert solve(instance, gap=1e-4).tenants == alone.tenants
    with ThreadPoolExecutor(3) as pool:
        beside = list(pool.map(lambda asked: solve(asked, gap=1e-4), [instance, other, instance]))
    assert beside[0].tenants == beside[2].tenants == alone.tenants


def test_capacities_and_contracts_that_changed_are_noticed():
    instance = generate(12, 3, 4, 3)
    solve(instance, gap=1e-4)
    domain = instance.domains[0]
    offer = domain.offers[0].model_copy(update={"latency": domain.offers[0].latency + 2.0})
    for change in ({"capacity": 0.6 * domain.capacity}, {"offers": (offer, *domain.offers[1:])}):
        changed = instance.with_(
            domains=tuple(d.model_copy(update=change) if d.id == domain.id else d for d in instance.domains)
        )
        warm = solve(changed, gap=1e-4)
        cache.forget()
        cold = solve(changed, gap=1e-4)
        assert warm.status == cold.status
        if cold.cost is not None:
            assert warm.cost == pytest.approx(cold.cost, rel=2e-4)


def test_a_warm_start_has_the_cost_of_a_cold_one():
    instance = generate(12, 3, 4, 4)
    plan = solve(instance, gap=1e-4)
    more = instance.with_(tenants=[*instance.tenants, instance.tenants[0].model_copy(update={"id": "new"})])
    warm, cold = solve(more, gap=1e-4, warm_start=plan), solve(more, gap=1e-4)
    assert warm.status == cold.status
    assert warm.cost == pytest.approx(cold.cost, rel=2e-4)
    assert np.isfinite(warm.lower_bound)
