"""Tail curves: the staircase against bounds evaluated anywhere, the fitted tail against its own formula."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import genpareto

from fedopt.calculus import minplus
from fedopt.plan.paths import Paths
from fedopt.report.given import Given
from fedopt.report.tails import LOG10, log_bound_at, tails


def staircase(corners, at):
    """The level of the staircase just at a delay."""
    levels = [level for corner, level in corners if corner <= at + 1e-9]
    return levels[-1] if levels else 0.0


def test_the_staircase_lies_on_or_above_the_bound_everywhere(instance, plan):
    rng = np.random.default_rng(5)
    paths = Paths(instance)
    for entry in plan.tenants:
        curve = tails(Given(plan, instance), paths, entry)
        path, rates = paths.entry(entry), paths.rates(entry)
        assert all(b <= a + 1e-12 for (_, a), (_, b) in zip(curve.bound, curve.bound[1:], strict=False))
        for at in rng.uniform(curve.bound[0][0], curve.bound[-1][0], 12):
            deadline = path.deadline + (at - curve.deadline) / instance.slot
            bound = log_bound_at(path, rates, entry, "minplus", deadline)
            assert min(bound, 0.0) / LOG10 <= staircase(curve.bound, at) + 1e-9
            assert bound <= minplus.evaluate(replace(path, deadline=deadline), rates).log_bound


def test_it_passes_through_what_the_plan_states(instance, plan):
    for entry in plan.tenants:
        curve = tails(Given(plan, instance), Paths(instance), entry)
        # the least bound can only be below the one that the plan's own proof gives, and by next to nothing
        assert curve.stated - 0.02 <= staircase(curve.bound, curve.deadline) <= curve.stated + 1e-6


def test_a_split_plan_has_the_curve_of_its_own_guarantee(instance, split_plan):
    for entry in split_plan.tenants:
        path, rates = Paths(instance).entry(entry), Paths(instance).rates(entry)
        curve = tails(Given(split_plan, instance), Paths(instance), entry)
        own = log_bound_at(path, rates, entry, "split", path.deadline)
        assert own <= math.log(instance.tenant(entry.id).slo.epsilon) + 1e-6
        assert staircase(curve.bound, curve.deadline) == pytest.approx(own / LOG10, abs=1e-6)


def test_the_fixed_delay_is_that_of_links_and_latencies(instance, plan):
    for entry in plan.tenants:
        curve = tails(Given(plan, instance), Paths(instance), entry)
        second = entry.path[1].partition("/")[0]
        assert curve.fixed == pytest.approx({"near": 3 + 2 + 0.5, "far": 3 + 12 + 1.25}[second])


def test_simulated_points_and_intervals_are_those_of_the_file(everything, plan):
    entry = everything.plan.tenants["voice"]
    curve = tails(everything, None, entry)
    seen = everything.simulated(entry)
    at_deadline = [reading for reading in curve.simulated if reading.level_interval]
    assert [reading.at for reading in at_deadline] == [curve.deadline]
    assert 10 ** at_deadline[0].level_interval[1] == pytest.approx(seen.violation.interval[1])
    quantiles = {
        round(1 - 10**reading.level, 9): reading for reading in curve.simulated if reading.at_interval
    }
    assert quantiles.keys() == {0.5, 0.9, 0.99, 0.999}
    assert quantiles[0.99].at_interval == seen.quantiles["0.99"].interval


def test_the_audited_curve_is_the_fitted_tail(everything):
    entry = everything.plan.tenants["chat"]
    audit = everything.audited(entry)
    curve = tails(everything, None, entry)
    share = audit.exceedances / audit.samples
    for at, level in curve.audit_fit:
        beyond = genpareto.sf(at - audit.threshold, audit.shape, scale=audit.scale)
        assert 10**level == pytest.approx(share * beyond, rel=1e-6)
    assert curve.audit_fit[0] == pytest.approx((audit.threshold, math.log10(share)))


def test_what_is_missing_is_said(plan, instance):
    entry = plan.tenants["voice"]
    assert tails(Given(plan), None, entry) is None
    assert tails(Given(plan, instance), Paths(instance), entry).missing == ["not simulated", "not audited"]
