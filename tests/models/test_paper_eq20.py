"""Problem (20): equal to path selection at the same local rates, and its warning."""

from __future__ import annotations

import json

import pytest

from fedopt import formulations
from fedopt.instance import loads
from fedopt.plan.checking import check
from tests.models.instances import small

pytest.importorskip("pyscipopt")


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_path_selection_at_local_rates(seed):
    instance = small(seed, capacity=6.0, links=False, curved=True, counts=bool(seed))
    plan = formulations.solve(instance, "paper_eq20", gap=1e-6)
    listed = formulations.solve(instance, "path_selection", guarantee="paper-local", gap=1e-7)
    assert plan.cost == pytest.approx(listed.cost, rel=1e-5)
    assert plan.lower_bound <= plan.cost
    assert check(plan, instance).ok, check(plan, instance).text()


def test_delays_of_links_are_taken_off():
    instance = small(2, capacity=4.0)
    plan = formulations.solve(instance, "paper_eq20", gap=1e-6)
    listed = formulations.solve(instance, "path_selection", guarantee="paper-local", gap=1e-7)
    assert plan.cost == pytest.approx(listed.cost, rel=1e-3)
    assert check(plan, instance).ok, check(plan, instance).text()


def test_the_papers_warning():
    """Three domains with T = 40 each and a deadline of 100: "feasible" under (20), impossible end to end."""
    domains = [
        {
            "id": f"d{i}",
            "stage": f"s{i}",
            "capacity": 20.0,
            "offers": [{"id": "o", "latency": 40.0, "impairment": {"model": "exponential", "mean": 0.2}}],
        }
        for i in range(3)
    ]
    tenant = {
        "id": "u",
        "arrivals": {"model": "poisson", "rate": 0.5, "size": 1.0},
        "slo": {"deadline": 100.0, "epsilon": 1e-3},
    }
    document = {"fedopt": 1, "stages": ["s0", "s1", "s2"], "domains": domains, "tenants": [tenant]}
    instance = loads(json.dumps(document), "warning")
    plan = formulations.solve(instance, "paper_eq20")
    assert plan.has_plan
    assert any("add up to 120, the deadline is 100, which is impossible" in note for note in plan.notes)
    honest = formulations.solve(instance, "path_selection", guarantee="split")
    assert honest.status == "infeasible"
