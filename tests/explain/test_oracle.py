import math

import pytest

from fedopt.explain.oracle import Budget, Feasibility, alone, least


@pytest.mark.parametrize("threshold", [1.3, 2.0, 37.123, 999.0])
def test_least_finds_thresholds_upward(threshold):
    asked = []

    def feasible(value):
        asked.append(value)
        return value >= threshold

    found = least(feasible, 1.0, 1e4)
    assert threshold <= found <= threshold * 1.005
    assert found in asked
    assert len(asked) < 40


def test_least_finds_thresholds_downward():
    found = least(lambda value: value <= 0.0123, 1.0, 1e-6)
    assert 0.0123 * 0.995 <= found <= 0.0123


def test_least_rounds_where_that_is_feasible_too():
    assert least(lambda value: value >= 12.3, 10.0, 1e4) == 12.3


def test_least_gives_up_at_the_limit():
    assert least(lambda value: False, 1.0, 100.0) is None


def test_budget():
    assert Budget().left == math.inf
    assert Budget(0.0).spent
    assert not Budget(60.0).spent


def test_alone_keeps_one_head_of_one_tenant(pair):
    single = alone(pair, pair.tenant("chat"))
    assert [(tenant.id, tenant.count) for tenant in single.tenants] == [("chat", 1)]
    assert single.domains == pair.domains


def test_solves_are_given_the_time_that_is_left(pair, brute_force):
    limits = []

    def solver(instance, **options):
        limits.append(options["time_limit"])
        return brute_force(instance, **options)

    assert Feasibility("minplus:ville", Budget(), solver)(alone(pair, pair.tenant("chat")))
    assert Feasibility("minplus:ville", Budget(30.0), solver)(alone(pair, pair.tenant("chat")))
    assert limits[0] is None
    assert 0 < limits[1] <= 30.0
