"""Solving again: from an earlier plan at the same cost, and two hundred times in one process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fedopt.central import solve
from fedopt.instance.generating import generate
from fedopt.plan import check
from tests.central.conftest import random_instance

GAP = 1e-6

CHANGES = {
    "a tenant more": lambda i: i.with_(
        tenants=[*i.tenants, i.tenants[0].model_copy(update={"id": "new", "count": 1})]
    ),
    "a tenant less": lambda i: i.with_(tenants=i.tenants[1:]),
    "a contract worse": lambda i: i.with_(
        {"domains.0.offers.0.latency": i.domains[0].offers[0].latency + 1.5}
    ),
    "less capacity": lambda i: i.with_({"domains.1.capacity": 0.97 * i.domains[1].capacity}),
    "nothing": lambda i: i,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", [20, 21])
def test_a_warm_start_costs_what_a_cold_one_costs(seed, change):
    before = random_instance(seed, tenants=3, slack=1.1)
    plan = solve(before, guarantee="minplus:ville", gap=GAP)
    after = CHANGES[change](before)
    cold = solve(after, guarantee="minplus:ville", gap=GAP)
    warm = solve(after, guarantee="minplus:ville", gap=GAP, warm_start=plan)
    assert warm.status == cold.status
    if cold.has_plan:
        assert warm.cost == pytest.approx(cold.cost, rel=2 * GAP)
        assert check(warm, after).ok


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_warm_start_costs_what_a_cold_one_costs_with_many_tenants(seed):
    before = generate(100, 3, 6, seed)
    plan = solve(before, gap=2e-3)
    after = before.with_(tenants=before.tenants[1:])
    cold, warm = solve(after, gap=2e-3), solve(after, gap=2e-3, warm_start=plan)
    assert warm.cost == pytest.approx(cold.cost, rel=4e-3)
    assert check(warm, after).ok


MEASURE = """
import gc, os, sys
from fedopt.central import solve
from fedopt.instance.generating import generate

def resident():
    gc.collect()
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

instance = generate(12, 3, 3, seed=1)
plan = None
for k in range(250):
    deadline = instance.tenants[0].slo.deadline + k % 7
    changed = instance.with_({"tenants.0.slo.deadline": deadline})
    plan = solve(changed, guarantee="minplus:ville", gap=5e-2, warm_start=plan)
    if k == 49:
        before = resident()
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_two_hundred_solves_in_one_process_do_not_grow():
    found = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) < 5.0  # MB over 200 solves
