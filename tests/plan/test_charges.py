import pytest

from fedopt.plan import TenantPlan
from fedopt.plan.charges import domain_loads, entry_costs, offer_loads, payments

ENTRIES = [
    TenantPlan(
        id="chat",
        count=2,
        path=["access-1/std", "metro-1/gold", "edge-1/large"],
        reservations={"access-1": 1.0, "metro-1": 2.0, "edge-1": 1.0},
    ),
    TenantPlan(
        id="batch",
        path=["access-1/std", "metro-1/gold", "edge-1/small"],
        reservations={"access-1": 2.0, "metro-1": 1.0, "edge-1": 3.0},
    ),
    TenantPlan(id="chat", count=1, admitted=False),
]


def test_loads():
    assert offer_loads(ENTRIES) == {
        "access-1/std": 4.0,
        "metro-1/gold": 5.0,
        "edge-1/large": 2.0,
        "edge-1/small": 3.0,
    }


def test_capacity_used_counts_work_factors(metro):
    assert domain_loads(metro, ENTRIES) == {"access-1": 4.0, "metro-1": 5.0, "metro-2": 0.0, "edge-1": 6.0}


def test_costs_by_hand(metro):
    # variable: access 4 (linear), metro 1.5·5 + 0.05·25 = 8.75, large 6, small 2 + 1.625 at rate 3
    # fixed: access 0.25 a unit, small 0.5 a unit; links 0.1 + 0.2 a unit
    chat = 2 * 0.25 + 4 * 2 / 4 + 8.75 * 4 / 5 + 6 + 2 * 0.3
    batch = 0.25 + 4 * 2 / 4 + 8.75 * 1 / 5 + 0.5 + 3.625 + 0.3
    costs = entry_costs(metro, ENTRIES)
    assert costs == pytest.approx([chat, batch, 0.0])
    total = 4 + 8.75 + 6 + 3.625 + 3 * 0.25 + 0.5 + 3 * 0.3
    assert sum(costs) == pytest.approx(total)


def test_payments_of_the_admitted(metro):
    assert payments(metro, ENTRIES) == 2 * 30 + 20


def test_an_entry_without_rates_costs_its_fixed_charges(metro):
    entry = TenantPlan(id="chat", path=["access-1/std"], reservations={"access-1": 0.0})
    assert entry_costs(metro, [entry]) == [0.25]
