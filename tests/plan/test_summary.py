import math

import pytest

from fedopt.plan import DomainPlan, Explanation, HistoryRow, InstanceReference, Plan, Remedy, TenantPlan
from fedopt.plan.summary import format_probability, headline, paragraph, summary_text

PLAN = Plan(
    instance=InstanceReference(name="metro", sha256="00"),
    status="optimal",
    method="central",
    guarantee="minplus",
    cost=12.5,
    catalogue_bound=12.49,
    lower_bound=12.0,
    tenants=[
        TenantPlan(
            id="chat",
            count=2,
            path=["edge-1/gold", "core/std"],
            theta=0.5,
            reservations={"edge-1": 1.25, "core": 1.5},
            log_bound=math.log(9.99e-4),
            form="image",
            basis="theorem",
            cost=8.5,
        ),
        TenantPlan(
            id="batch",
            path=["edge-2/bronze", "core/std"],
            theta=0.25,
            reservations={"edge-2": 0.5, "core": 1.0},
            log_bound=-2302.585,
            form="ville",
            basis="fitted",
            confidence=0.95,
            cost=4.0,
        ),
    ],
    domains=[
        DomainPlan(id="edge-1", reserved=2.5, capacity=10.0, price=0.0),
        DomainPlan(id="core", reserved=4.0, capacity=4.0, price=0.75),
        DomainPlan(id="edge-2", reserved=0.5, capacity=8.0),
    ],
    timing={"total": 1.2345},
    history=[HistoryRow(round=1, seconds=0.5), HistoryRow(round=2, seconds=1.0)],
)

SUMMARY = """\
metro: optimal, cost 12.5, certified gap 4 % (central, minplus)

 tenant   count   path and rate                      P(late) ≤   form    basis          cost
 ───────────────────────────────────────────────────────────────────────────────────────────
 chat         2   edge-1/gold 1.25 → core/std 1.5     9.99e-04   image   theorem         8.5
 batch        1   edge-2/bronze 0.5 → core/std 1    1.00e-1000   ville   fitted, 95 %      4


 domain   reserved   capacity      used   price
 ──────────────────────────────────────────────
 core            4          4   100.0 %    0.75
 edge-1        2.5         10    25.0 %       0
 edge-2        0.5          8     6.2 %       –

Serves all 3 tenants at a total cost of 12.5. No plan under this guarantee costs less than 12, whatever it
reserves, so this one is within 4 % of the best; over the reservations that the method chooses from the gap is
0.08 %. The bounds are theorems and hold end to end, for whole requests in continuous time. 1 of 2 entries
rest on laws fitted to records, all of which hold at a confidence of 0.95 or more. Took 1.23 s and 2 rounds.
"""


def test_summary_word_for_word():
    assert summary_text(PLAN) == SUMMARY


def test_profit_and_no_bound_and_notes():
    entries = [PLAN.tenants[0], TenantPlan(id="batch", admitted=False)]
    plan = PLAN.model_copy(
        update={
            "objective": "profit",
            "cost": -3.0,
            "lower_bound": None,
            "catalogue_bound": None,
            "gap": None,
            "tenants": type(PLAN.tenants)(entries),
            "guarantee": "simulated",
            "status": "feasible",
            "notes": ["Seed 1."],
            "timing": {},
        }
    )
    assert headline(plan) == "metro: feasible, cost -3 (central, simulated)"
    assert paragraph(plan) == (
        "Admits 2 of 3 tenants; cost less payments is -3. No lower bound is known, so nothing is certified "
        "about its distance from the optimum. The rates were sized by simulation: a measurement, not a "
        "theorem. Seed 1."
    )
    assert "not admitted" in summary_text(plan)


def test_infeasible_names_reasons_and_remedies():
    plan = Plan(
        instance=PLAN.instance,
        status="infeasible",
        method="central",
        guarantee="minplus",
        explanation=[
            Explanation(
                tenant="chat",
                constraint="deadline",
                message="chat: the delays alone take 12 ms of its 10 ms",
                remedies=[Remedy(change="deadline", message="a deadline of 13.2 ms")],
            )
        ],
    )
    assert summary_text(plan) == (
        "metro: infeasible (central, minplus)\n"
        "The method has no plan that serves all tenants under this guarantee.\n"
        "• chat: the delays alone take 12 ms of its 10 ms\n"
        "    → a deadline of 13.2 ms\n"
    )


def test_limit_without_plan():
    plan = Plan(instance=PLAN.instance, status="limit", method="central", guarantee="minplus")
    assert (
        summary_text(plan).splitlines()[1]
        == "A limit was reached before any plan was found. More time may find one."
    )


def test_long_plans_are_cut():
    plan = PLAN.model_copy(
        update={
            "tenants": type(PLAN.tenants)([PLAN.tenants[0]] * 100),
            "domains": [DomainPlan(id=f"d{i}", reserved=0.0, capacity=0.0) for i in range(100)],
        }
    )
    text = summary_text(plan, rows=5)
    assert text.count("… 95 more") == 2
    assert len(text.splitlines()) < 30


@pytest.mark.parametrize(
    ("log_bound", "text"),
    [
        (math.log(1e-3), "1.00e-03"),
        (math.log(9.999e-4), "1.00e-03"),
        (math.log(2.5e-7), "2.50e-07"),
        (0.0, "1.00e+00"),
        (math.log(20), "2.00e+01"),
        (-1e6, "3.30e-434295"),
    ],
)
def test_probabilities_never_underflow(log_bound, text):
    assert format_probability(log_bound) == text
