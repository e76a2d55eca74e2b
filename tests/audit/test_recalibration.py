"""Recalibration: the least scaling that bounds an audit, and what plans under it cost and keep."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fedopt.audit import Promise, audit
from fedopt.audit.recalibration import (
    Scaled,
    audited_levels,
    effects,
    recalibrate,
    scale_to_bound,
    scaled_table,
)
from fedopt.calculus import minplus
from fedopt.calculus.path import Path
from fedopt.contracts import contract_of
from fedopt.instance import loads
from fedopt.instance.arrivals import Poisson
from fedopt.instance.impairments import ExponentialImpairment, TableImpairment
from fedopt.laws import build
from tests.audit.processes import _server
from tests.audit.test_settlement import INSTANCE, degraded, plan_of

STATED, RATE = 0.2, np.array([1.3])


def server(law=None, deadline=60.0, arrivals=0.5):
    return Path(
        build(Poisson(rate=arrivals, size=1.0), 1.0),
        (law or build(ExponentialImpairment(mean=STATED), 1.0),),
        np.array([0.0]),
        np.array([False]),
        deadline,
        np.log(1e-3),
    )


def log_bound(path, level, rates=RATE):
    return minplus.evaluate(replace(path, deadline=level), rates).log_bound


def test_the_least_scaling_is_enough_and_no_more():
    path, levels = server(), [(14.0, 1e-3), (18.0, 1e-4)]
    factor = scale_to_bound(path, RATE, 0, levels)
    assert factor > 1
    for part, sides in ((1.0, all), (0.99, lambda found: not all(found))):
        law = Scaled(path.impairments[0], factor * part)
        assert sides(log_bound(server(law), level) >= np.log(tail) for level, tail in levels)


def test_nothing_changes_where_the_guarantee_bounds_already_and_too_much_is_no_factor():
    assert scale_to_bound(server(), RATE, 0, [(2.0, 1e-2)]) == 1.0
    assert scale_to_bound(server(), RATE, 0, [(-1.0, 1e-2)]) == 1.0


def test_scaled_work_has_the_scaled_moments():
    base = build(ExponentialImpairment(mean=0.3), 1.0)
    law, same = Scaled(base, 1.5), build(ExponentialImpairment(mean=0.45), 1.0)
    theta = np.array([-2.0, 0.1, 1.0, 2.0])
    assert np.allclose(law.log_rate(theta), same.log_rate(theta))
    assert law.theta_max == pytest.approx(same.theta_max)
    assert law.mean == pytest.approx(same.mean)


def test_scaled_table_is_the_scaled_envelope():
    table = scaled_table(ExponentialImpairment(mean=0.3), 1.0, 1.5)
    assert table.monotone
    assert table.independent_increments
    for theta, kappa, eta in zip(table.theta, table.kappa, table.eta, strict=True):
        assert kappa == pytest.approx(-np.log1p(-theta * 0.45) / theta)
        assert eta == 0.0
    again = scaled_table(table, 1.0, 2.0)
    assert again.kappa == pytest.approx(tuple(2 * kappa for kappa in table.kappa))
    assert again.theta == pytest.approx(tuple(theta / 2 for theta in table.theta))


def delays(work, rate, arrivals, seed):
    requests = np.random.default_rng(seed).poisson(arrivals, work.size)
    delay = _server(requests.astype(float), work, rate)
    done = delay >= 0
    return np.repeat(delay[done], requests[done]).astype(float)


def least_rate(law, deadline, arrivals):
    low, high = 0.05, 20.0
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        enough = log_bound(server(law, deadline, arrivals), deadline, np.array([middle])) <= np.log(1e-3)
        low, high = (low, middle) if enough else (middle, high)
    return high


GRID = {
    "mean + 10 %": lambda rng, n: rng.exponential(1.1 * STATED, n),
    "mean + 20 %": lambda rng, n: rng.exponential(1.2 * STATED, n),
    "mean + 35 %": lambda rng, n: rng.exponential(1.35 * STATED, n),
    "twice the variance": lambda rng, n: rng.gamma(0.5, 2 * STATED, n),
    "mean + 20 %, twice the variance": lambda rng, n: rng.gamma(0.5, 2.4 * STATED, n),
    "bursts": lambda rng, n: rng.exponential(STATED, n) + np.where(rng.random(n) < 0.03, 1.0, 0.0),
}


def test_over_a_grid_of_degradations_plans_are_safe_and_near_the_cost_of_the_truth():
    ratios = []
    for arrivals, deadline in ((0.5, 20.0), (0.3, 12.0)):
        base = build(ExponentialImpairment(mean=STATED), 1.0)
        reserved = least_rate(base, deadline, arrivals)
        for number, draw in enumerate(GRID.values()):
            rng = np.random.default_rng([3, number])
            seen = delays(draw(rng, int(60_000 / arrivals)), reserved, arrivals, number)
            found = audit(seen, Promise(deadline=deadline, epsilon=1e-3))
            path = server(base, deadline, arrivals)
            factor = scale_to_bound(path, np.array([reserved]), 0, audited_levels(found, 1.0))
            new = least_rate(Scaled(base, factor), deadline, arrivals)
            truth = draw(np.random.default_rng([4, number]), 400_000)

            def late(rate, truth=truth, arrivals=arrivals, deadline=deadline):
                return float(np.mean(delays(truth, rate, arrivals, 9) > deadline))

            error = math.sqrt(1e-3 / (400_000 * arrivals)) * 5  # late requests come in clusters
            assert late(new) <= 1e-3 + 2 * error
            low, high = 0.8 * new, new
            while high / low > 1.01:
                middle = math.sqrt(low * high)
                low, high = (low, middle) if late(middle) <= 1e-3 else (middle, high)
            ratios.append(new / high)
    assert np.median(ratios) <= 1.1


def settled(delays_of, **options):
    instance = loads(INSTANCE, "settled.yaml")
    plan = plan_of(instance, (1.1, 1.1))
    contract = degraded("edge", "small", 0.2, 3.0)
    found = audit(delays_of, Promise(deadline=40.0, epsilon=0.001)).model_copy(update={"name": "chat"})
    return (
        recalibrate(
            found, instance, plan, contract, parent="0" * 64, issued="2026-02-01T00:00:00Z", **options
        ),
        plan,
        instance,
    )


def test_the_next_version_carries_its_evidence_and_its_effects():
    rng = np.random.default_rng(1)
    found, plan, instance = settled(5 + rng.exponential(6.0, 20_000))
    assert found.contract.version == 2
    assert found.contract.evidence.slots == 20_000
    assert "end-to-end" in found.contract.evidence.method
    assert found.factor > 1.05
    assert not found.overloaded
    assert [effect.tenant for effect in found.effects] == [
        effect.tenant for effect in effects(plan, instance, found.contract)
    ]
    assert all(effect.after > effect.before for effect in found.effects)


def test_a_domain_that_delivers_keeps_its_contract():
    found, _, _ = settled(6.5 + np.random.default_rng(2).exponential(0.1, 20_000))
    assert found.contract is None
    assert found.factor == 1.0


def test_an_envelope_of_the_domain_itself_is_where_scaling_begins():
    theta = np.geomspace(0.05, 2.0, 20)
    own = TableImpairment(
        theta=tuple(theta), kappa=tuple(-np.log1p(-theta * 0.3) / theta), eta=(0.0,) * 20, monotone=True
    )
    found, _, _ = settled(6.5 + np.random.default_rng(2).exponential(0.1, 20_000), measured=own)
    assert found.factor == 1.0
    assert found.contract.impairment.kappa == pytest.approx(own.kappa)
    assert "own log" in found.contract.evidence.method
    assert contract_of(found.contract.to_dict()) == found.contract
