"""The central optimum against enumeration, against the joint model, and on its own terms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt import formulations
from fedopt.central import regions, shortfall, solve
from fedopt.central.run import Run
from fedopt.instance.generating import generate
from fedopt.plan import check
from fedopt.pricing import Network, Oracle, sizing_for
from tests.central.brute_force import cheapest, points
from tests.central.conftest import flowing, random_instance


def _enumerated(instance, guarantee="minplus"):
    """Least cost over all combinations of the catalogue's own points."""
    network = Network(instance)
    oracle = Oracle(network, sizing_for(guarantee, network))
    catalogue = {}
    for kind in network.kinds:
        own = [
            ([tuple(network.names[o].split("/")) for o in c.offers], c.rates / network.slot)
            for c in oracle.within(kind, np.ones(len(network.names)), math.inf)
        ]
        for tenant, count in kind.tenants:
            for unit in range(count):
                catalogue[f"{tenant}#{unit}"] = own
    return cheapest(instance, catalogue)


@pytest.mark.parametrize("seed", range(20))
def test_central_is_the_cheapest_combination(seed, catalogue_only):
    instance = random_instance(seed, slack=0.75 if seed % 2 else 1.0)
    plan = solve(instance, gap=1e-7)
    best = _enumerated(instance)
    if math.isinf(best):
        assert plan.status == "infeasible"
        return
    assert plan.cost == pytest.approx(best, rel=1e-5)
    assert plan.lower_bound <= best * (1 + 1e-9)
    assert plan.catalogue_bound <= best * (1 + 1e-7)
    assert check(plan, instance).ok


@pytest.mark.parametrize("seed", [0, 6, 9])
def test_rates_of_any_shape_cost_no_more(seed):
    instance = random_instance(seed, slack=0.75 if seed % 2 else 1.0)
    plan = solve(instance, gap=1e-7)
    assert plan.cost < _enumerated(instance)
    assert plan.lower_bound < plan.cost
    assert check(plan, instance).ok


@pytest.mark.parametrize("seed", [0, 6, 13])
def test_central_agrees_with_sizes_found_by_plain_bisection(seed):
    # the bisection asks only the bound; the image form's search may end 1e-4 apart either way
    instance = random_instance(seed, slack=0.75 if seed % 2 else 1.0)
    plan = solve(instance, gap=1e-7)
    assert plan.cost <= cheapest(instance, {t.id: points(instance, t.id) for t in instance.tenants}) * (
        1 + 2e-4
    )


@pytest.mark.parametrize("guarantee", ["paper-path", "paper-local", "minplus:ville", "minplus:fine"])
def test_other_point_guarantees(guarantee, catalogue_only):
    instance = random_instance(4)
    plan = solve(instance, guarantee=guarantee, gap=1e-7)
    assert plan.cost == pytest.approx(_enumerated(instance, guarantee), rel=1e-5)
    assert check(plan, instance).ok


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_split_equals_the_joint_model(seed):
    pytest.importorskip("pyscipopt")
    instance = random_instance(seed, tenants=2).with_(theta=[0.05, 0.1, 0.2, 0.3, 0.45, 0.6])
    central = solve(instance, guarantee="split", gap=1e-6)
    joint = formulations.solve(instance, "joint", guarantee="split", gap=1e-7)
    assert central.cost == pytest.approx(joint.cost, rel=1e-5)
    assert central.lower_bound <= joint.cost * (1 + 1e-6)
    assert joint.lower_bound <= central.cost * (1 + 1e-6)
    assert check(central, instance).ok


def test_split_with_few_whole_heads_is_proven():
    """The relaxation lies 5 % below; what is proven is not far above the joint model's."""
    instance = flowing(generate(5, 3, 8, 0).with_(theta=[0.05, 0.1, 0.2, 0.4, 0.8]))
    plan = solve(instance, guarantee="split", gap=1e-2, time_limit=120.0)
    assert plan.status == "optimal"
    assert check(plan, instance).ok
    assert plan.lower_bound <= 28.8972186 <= plan.cost * (1 + 1e-6)  # SCIP on the joint model, a minute
    assert plan.cost <= 28.8972186 * (1 + 1e-2)


def test_a_run_that_is_stopped_before_it_has_a_plan_makes_one_of_what_it_has():
    instance = flowing(generate(300, 4, 12, 0))
    plan = solve(instance, gap=1e-6, progress=lambda row: row.round >= 3)
    assert plan.status == "feasible"
    assert 0 < plan.lower_bound < plan.cost
    assert plan.gap < 0.2
    assert check(plan, instance).ok


def test_a_limit_that_leaves_no_time_for_a_bound_still_gives_a_plan(monkeypatch):
    instance = generate(40, 3, 4, 0, binding=0.0)
    best = solve(instance, gap=1e-3)
    monkeypatch.setattr(Run, "closing", lambda run: True)
    plan = solve(instance, gap=1e-6)
    assert plan.status == "feasible"
    assert plan.lower_bound <= best.cost
    assert plan.cost >= best.lower_bound
    assert check(plan, instance).ok


def test_split_with_more_paths_than_can_be_held_gives_its_plan_with_the_gap_it_has(monkeypatch):
    instance = flowing(generate(5, 3, 8, 0).with_(theta=[0.05, 0.1, 0.2, 0.4, 0.8]))
    monkeypatch.setattr(regions, "_MOST_PATHS", 10)
    plan = solve(instance, guarantee="split", gap=1e-2)
    assert plan.status == "feasible"
    assert plan.lower_bound <= 28.8972186 <= plan.cost * (1 + 1e-6)
    assert check(plan, instance).ok


@pytest.mark.parametrize("count", [1, 2])
def test_split_is_proven_where_costs_bend_and_not_all_are_served(count):
    """The program from below needs the curves' tangents at the loads of the plans that it is shown."""
    drawn = flowing(generate(2, 2, 4, 3, binding=0.3).with_(theta=[0.05, 0.1, 0.2, 0.4, 0.8]))
    room = 1.6 / 2.2 * max(domain.capacity for domain in drawn.domains)
    tenants = [
        tenant.model_copy(update={"id": f"{tenant.id}-{i}", "count": count})
        for tenant in drawn.tenants
        for i in range(2 // count)
    ]
    instance = drawn.with_(tenants=tenants).with_({"tenants.*.payment": 4.0, "domains.*.capacity": room})
    plan = solve(instance, guarantee="split", objective="profit", gap=1e-3, time_limit=60.0)
    assert plan.status == "optimal"
    assert plan.admitted == 2
    assert plan.cost == pytest.approx(-1.6506917, rel=1e-3)
    assert check(plan, instance).ok


def test_split_gives_a_plan_of_twenty_heads_in_time_and_stops_when_told():
    instance = flowing(generate(20, 3, 8, 0).with_(theta=[0.05, 0.1, 0.2, 0.4, 0.8]))
    plan = solve(instance, guarantee="split", gap=1e-3, progress=lambda row: row.cost is not None)
    assert plan.status == "feasible"
    assert plan.cost - plan.catalogue_bound < 0.06 * plan.cost
    assert check(plan, instance).ok


def test_profit_admits_what_pays():
    instance = random_instance(3, tenants=3)
    rich = solve(instance.with_({"tenants.*.payment": 50.0}), objective="profit", gap=1e-6)
    served = solve(instance, gap=1e-6)
    assert rich.admitted == 3
    assert rich.cost == pytest.approx(served.cost - 150.0, rel=1e-6)
    poor = solve(instance.with_({"tenants.*.payment": 0.0}), objective="profit", gap=1e-6)
    assert poor.admitted == 0
    assert poor.cost == 0.0


def test_profit_leaves_out_a_tenant_without_a_path():
    instance = random_instance(3).with_({"tenants.t0.slo.deadline": 0.5, "tenants.*.payment": 50.0})
    plan = solve(instance, objective="profit")
    assert plan.status == "optimal"
    assert not plan.tenants["t0"].admitted
    assert plan.admitted == 2


def test_infeasible_by_capacity_says_how_much_is_missing():
    instance = random_instance(5).with_({"domains.*.capacity": 0.4})
    plan = solve(instance)
    assert plan.status == "infeasible"
    assert plan.explanation
    missing = shortfall(instance)
    grown = {d.id: d.capacity + missing.get(d.id, 0.0) * 1.001 for d in instance.domains}
    relaxed = instance.with_({f"domains.{name}.capacity": value for name, value in grown.items()})
    assert not shortfall(relaxed)


def test_warm_start_gives_the_same_cost():
    instance = random_instance(7)
    plan = solve(instance, gap=1e-7)
    changed = instance.with_({"tenants.t0.slo.deadline": instance.tenant("t0").slo.deadline + 5.0})
    warm, cold = solve(changed, gap=1e-7, warm_start=plan), solve(changed, gap=1e-7)
    assert warm.cost == pytest.approx(cold.cost, rel=1e-6)


def test_more_capacity_never_costs_more_and_order_does_not_matter():
    instance = random_instance(9, slack=0.8)
    cost = solve(instance, gap=1e-7).cost
    wider = instance.with_({"domains.d00.capacity": instance.domain("d00").capacity * 1.5})
    assert solve(wider, gap=1e-7).cost <= cost * (1 + 1e-6)
    turned = instance.with_(tenants=instance.tenants[::-1], domains=instance.domains[::-1])
    assert solve(turned, gap=1e-7).cost == pytest.approx(cost, rel=1e-6)


def test_progress_can_stop_and_bounds_only_improve():
    instance = random_instance(11)
    rows = []
    plan = solve(instance, gap=1e-9, progress=lambda row: rows.append(row) or False)
    bounds = [row.lower_bound for row in rows if row.lower_bound is not None]
    assert bounds == sorted(bounds)
    assert rows == plan.history
    stopped = solve(instance, gap=1e-9, progress=lambda row: True)
    assert stopped.status in ("feasible", "limit", "optimal")


def test_identical_tenants_are_one_kind():
    instance = random_instance(2, tenants=1, slack=6.0)
    crowd = instance.with_({"tenants.t0.count": 4})
    copies = instance.with_(
        tenants=[instance.tenants[0].model_copy(update={"id": f"c{i}"}) for i in range(4)]
    )
    assert len(Network(copies).kinds) == 1
    assert solve(crowd, gap=1e-7).cost == pytest.approx(solve(copies, gap=1e-7).cost, rel=1e-6)


def test_effort_ends_a_search_without_a_clock():
    """Few units and binding capacities: a proof may take long, so it ends with the gap reached."""
    instance = generate(14, 2, 4, 4, binding=0.7)
    first, second = (solve(instance, gap=1e-7, effort=1) for _ in range(2))
    assert first.has_plan
    assert first.tenants == second.tenants
    assert (first.cost, first.lower_bound) == (second.cost, second.lower_bound)
    assert check(first, instance).ok
    assert first.gap < 0.2
