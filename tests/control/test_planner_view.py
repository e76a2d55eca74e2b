"""Virtual queues: the recursion, and what they make of a choice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedopt.control.admission import Prices, Pricing
from fedopt.control.planner_view import Queues, dearer, dearer_domains
from fedopt.control.scenario import Budgets
from fedopt.instance import Instance, Linear, Piecewise, Quadratic

BUDGETS = Budgets(v=1.0, menu=(4.0, 1.0, 0.25))


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 50)), min_size=1, max_size=40))
def test_a_stable_queue_bounds_what_the_budget_was_exceeded_by(days: list[tuple[int, int]]) -> None:
    queues = Queues()
    for sent, late in days:
        queues.count_late("u", sent, late, 1e-3)
        assert queues.late["u"] >= 0
    over = sum(late for _, late in days) - 1e-3 * sum(sent for sent, _ in days)
    assert over <= queues.late["u"] + 1e-9  # Σ late ≤ budget + backlog: the theorem in one line


def test_the_choice_goes_from_cheap_to_safe_as_the_backlog_grows(network: Instance) -> None:
    pricing = Pricing(network, "minplus")
    on = Prices({}, {}).on(network)
    chat = network.tenants[0]
    queues = Queues()
    chosen = []
    for backlog in (0.0, 1e-3, 0.1, 10.0, 1e5):
        queues.late["chat"] = backlog
        chosen.append(queues.choose(chat, 2000.0, BUDGETS, pricing, on))
    assert chosen == sorted(chosen, reverse=True)
    assert (chosen[0], chosen[-1]) == (4.0, 0.25)
    # a larger V puts cost first
    queues.late["chat"] = 1.0
    by_v = [
        queues.choose(chat, 2000.0, BUDGETS.model_copy(update={"v": v}), pricing, on)
        for v in (1e-4, 1e-1, 1.0, 1e2, 1e6)
    ]
    assert by_v == sorted(by_v)
    assert by_v[0] < by_v[-1]


def test_domains_over_their_budget_count_dearer(network: Instance) -> None:
    queues = Queues()
    queues.count_cost("c1", 5.0, 3.0)
    queues.count_cost("c2", 1.0, 3.0)
    assert queues.cost == {"c1": 2.0, "c2": 0.0}
    changed = dearer_domains(network, queues, 4.0)
    cost = changed.offer("c1/m")[1].cost
    assert (cost.rate, cost.fixed) == pytest.approx((3.0, 0.15))
    assert changed.offer("c2/m")[1].cost == network.offer("c2/m")[1].cost


@pytest.mark.parametrize(
    "cost",
    [
        Linear(rate=2.0, fixed=1.0),
        Quadratic(rate=1.0, quad=0.5, fixed=0.2),
        Piecewise(points=((0, 0.3), (1, 1), (3, 5))),
    ],
    ids=lambda cost: cost.model,
)
def test_a_dearer_curve_is_the_curve_times_the_factor(cost: Linear) -> None:
    other = dearer(cost, 1.7)
    assert other.fixed == pytest.approx(1.7 * cost.fixed)
    for load in (0.0, 0.5, 1.0, 4.0):
        assert float(other.variable(load)) == pytest.approx(1.7 * float(cost.variable(load)))
        assert float(other.marginal(load)) == pytest.approx(1.7 * float(cost.marginal(load)))


def test_queues_survive_their_plain_form() -> None:
    queues = Queues({"u": 2.5, "v": 0.0}, {"d": 1.0})
    again = Queues.of(queues.to_dict())
    assert (again.late, again.cost) == ({"u": 2.5}, {"d": 1.0})
