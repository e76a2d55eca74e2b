"""Impairments that depend on each other within a slot only: no Hölder exponents, and no bound broken."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import fedopt
from fedopt.calculus.minplus import evaluate, verify
from fedopt.calculus.path import Path
from fedopt.instance import Instance
from fedopt.laws import ExponentialWork, Poisson
from fedopt.plan.paths import Paths
from tests.oracles.whole_requests import sojourns

PATH = Path(
    Poisson(0.1, 2.0),
    (ExponentialWork(0.4), ExponentialWork(0.4), ExponentialWork(0.4)),
    [0.0] * 3,
    [False] * 3,
    40.0,
    math.log(1e-2),
    dependent=((0, 1, 2),),
    whole=(True,) * 3,
)
RATES = np.array([1.2, 1.2, 1.2])


def test_it_costs_far_less_than_any_dependence_and_no_less_than_none():
    any_ = evaluate(PATH, RATES)
    within = evaluate(replace(PATH, within_slot=True), RATES)
    none = evaluate(replace(PATH, dependent=()), RATES)
    assert none.log_bound <= within.log_bound < any_.log_bound - 1.0
    assert within.form == "fine"
    assert "exponents" not in within.parameters
    assert verify(replace(PATH, within_slot=True), RATES, within) == pytest.approx(within.log_bound, abs=1e-9)
    assert verify(replace(PATH, within_slot=True), RATES, any_) == pytest.approx(any_.log_bound, abs=1e-9)
    assert verify(PATH, RATES, replace(within, form="image")) == math.inf


@pytest.mark.parametrize("seed", range(2))
def test_no_bound_is_broken_by_the_same_work_in_all_domains(seed):
    """Each slot brings one and the same work to every domain, the worst that a slot can do."""
    rng, slots = np.random.default_rng(seed), 200_000
    rates = rng.uniform(1.0, 1.4, 3)
    times, sizes = PATH.arrival.stream(rng, slots)
    work = rng.exponential(0.4, slots + 2_000)
    at = np.arange(len(work), dtype=float)
    found = sojourns(times, sizes, rates, [(at, work)] * 3, np.zeros(3))
    met = 0
    for deadline in (15.0, 25.0, 40.0, 60.0):
        late = float((found > deadline).mean())
        bound = evaluate(replace(PATH, within_slot=True, deadline=deadline), rates).log_bound
        assert late <= math.exp(min(bound, 0.0)) + 8.0 * math.sqrt(late / len(found))
        met += bound < 0.0
    assert met


def instance(dependence, impairment=None):
    def domain(name):
        offer = {"id": "o", "impairment": impairment or {"model": "exponential", "mean": 0.4}}
        others = [other for other in "abc" if other != name]
        end = {"id": name, "stage": name, "capacity": 50.0, "offers": [offer], "dependent_with": others}
        return end | ({"dependence": dependence} if dependence else {})

    slo = {"deadline": 40.0, "epsilon": 0.01}
    tenant = {"id": "t", "arrivals": {"model": "poisson", "rate": 0.1, "size": 2.0}, "slo": slo}
    stages = ["a", "b", "c"]
    return Instance.model_validate(
        {"fedopt": 1, "stages": stages, "domains": [domain(name) for name in stages], "tenants": [tenant]}
    )


def test_plans_use_the_declaration_and_check_follows():
    within, any_ = instance("within-slot"), instance(None)
    plan, dearer = fedopt.solve(within), fedopt.solve(any_)
    assert fedopt.check(plan, within).ok
    assert plan.cost < 0.9 * dearer.cost
    assert plan.lower_bound <= plan.cost
    stated = plan.model_copy(update={"instance": dearer.instance})
    assert not fedopt.check(stated, any_).ok


def test_what_lasts_longer_than_a_slot_cannot_be_within_one():
    hops = [(name, "o") for name in "abc"]
    on_off = {"model": "on-off", "peak": 0.8, "on_to_off": 0.3, "off_to_on": 0.1}
    assert Paths(instance("within-slot")).path("t", hops).within_slot
    assert not Paths(instance("within-slot", on_off)).path("t", hops).within_slot
    assert not Paths(instance("any")).path("t", hops).within_slot
