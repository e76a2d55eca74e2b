"""Plans of the solver in simulation: no probability exceeds the bound that the plan states for it."""

import math

import pytest

import fedopt
from fedopt.instance.generating import generate


def broken(seed: int, slots: int) -> list[str]:
    """Tenants of a random instance's plan whose violation probability is above what the plan states."""
    instance = generate(5, 1 + seed % 4, 3, seed)
    plan = fedopt.solve(instance)
    assert plan.status in ("optimal", "feasible")
    result = fedopt.simulate(plan, instance, slots=slots, trials=24, seed=seed, confidence=0.999)
    assert not result.skipped
    admitted = [entry.id for entry in plan.tenants if entry.admitted]
    assert sorted(tenant.id for tenant in result.tenants) == sorted(admitted)
    return [
        f"{tenant.id}: {tenant.violation} above e^{tenant.log_bound}"
        for tenant in result.tenants
        if tenant.violation.low > math.exp(tenant.log_bound)
    ]


@pytest.mark.parametrize("seed", range(2))
def test_bounds_of_a_plan_hold(seed):
    assert broken(seed, 100_000) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_bounds_of_forty_plans_hold(seed):
    assert broken(seed, 1_000_000) == []
