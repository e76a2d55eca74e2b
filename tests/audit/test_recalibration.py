"""Recalibration: the least scaling that bounds an audit, and what plans under it cost and keep."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fedopt.audit import AuditError, Promise, audit
from fedopt.audit.recalibration import (
    Scaled,
    audited_levels,
    effects,
    headroom,
    recalibrate,
    replay,
    scale_to_bound,
    scaled_table,
)
from fedopt.calculus import minplus
from fedopt.calculus.path import Path
from fedopt.contracts import contract_of
from fedopt.contracts.document import with_contract
from fedopt.instance import loads
from fedopt.instance.arrivals import Poisson
from fedopt.instance.impairments import ExponentialImpairment, TableImpairment
from fedopt.laws import build
from fedopt.plan.paths import Paths
from fedopt.records import read_telemetry
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


def served(work, rate, arrivals, seed):
    """Times and delays, in slots, of Poisson requests at a server that serves `work` first."""
    requests = np.random.default_rng(seed).poisson(arrivals, work.size)
    delay = _server(requests.astype(float), work, rate)
    done = delay >= 0
    times = np.repeat(np.flatnonzero(done), requests[done]).astype(float)
    return times, np.repeat(delay[done], requests[done]).astype(float)


def least_rate(law, deadline, arrivals):
    low, high = 0.05, 20.0
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        enough = log_bound(server(law, deadline, arrivals), deadline, np.array([middle])) <= np.log(1e-3)
        low, high = (low, middle) if enough else (middle, high)
    return high


def on_off(rng, slots, dwell, share, mean):
    """Exponential work per slot, in stretches of geometric length, none between them."""
    off = dwell * (1 - share) / share
    size = 3 * int(slots / (dwell + off)) + 1000
    lengths = np.where(np.arange(size) % 2 == 0, rng.geometric(1 / dwell, size), rng.geometric(1 / off, size))
    on = np.repeat(np.arange(size) % 2 == 0, lengths)[:slots]
    return on * rng.exponential(mean / share, slots)


GRID = {
    "mean + 10 %": lambda rng, n: rng.exponential(1.1 * STATED, n),
    "mean + 20 %": lambda rng, n: rng.exponential(1.2 * STATED, n),
    "mean + 35 %": lambda rng, n: rng.exponential(1.35 * STATED, n),
    "mean + 60 %": lambda rng, n: rng.exponential(1.6 * STATED, n),
    "overload": lambda rng, n: rng.exponential(2.4 * STATED, n),
    "twice the variance": lambda rng, n: rng.gamma(0.5, 2 * STATED, n),
    "four times the variance": lambda rng, n: rng.gamma(0.25, 4 * STATED, n),
    "mean + 20 %, twice the variance": lambda rng, n: rng.gamma(0.5, 2.4 * STATED, n),
    "bursts": lambda rng, n: rng.exponential(STATED, n) + np.where(rng.random(n) < 0.03, 1.0, 0.0),
    "on for 10 slots": lambda rng, n: on_off(rng, n, 10, 0.4, STATED),
    "on for 30 slots": lambda rng, n: on_off(rng, n, 30, 0.4, STATED),
    "on for 10 slots, mean + 20 %": lambda rng, n: on_off(rng, n, 10, 0.5, 1.2 * STATED),
}


def recalibrated(name, arrivals, deadline, slots=800_000, seed=0):
    """P(late) under the plan that the recalibrated contract asks for, its standard error, and its rate over
    that which the truth needs.
    """
    base, draw = build(ExponentialImpairment(mean=STATED), 1.0), GRID[name]
    number = list(GRID).index(name)
    reserved = least_rate(base, deadline, arrivals)
    times, seen = served(
        draw(np.random.default_rng([3, seed, number]), int(60_000 / arrivals)), reserved, arrivals, number
    )
    found, factor = audit(seen, Promise(deadline=deadline, epsilon=1e-3)), 1.0
    if found.verdict != "kept":
        path, rates = server(base, deadline, arrivals), np.array([reserved])
        factor = scale_to_bound(path, rates, 0, audited_levels(found, 1.0))
        more = headroom(times, seen, deadline, 1e-3)
        if more > 0:
            factor = max(factor, scale_to_bound(path, rates * (1 + more), 0, [(deadline, 1e-3)]))
    new = least_rate(Scaled(base, factor), deadline, arrivals)
    truth = draw(np.random.default_rng([4, number]), slots)

    def late(rate):
        return float(np.mean(served(truth, rate, arrivals, 9)[1] > deadline))

    low, high = 0.4 * new, new
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if late(middle) <= 1e-3 else (middle, high)
    error = math.sqrt(20 * 1e-3 / (slots * arrivals))  # late requests come in clusters of about twenty
    return late(new), error, new / high


@pytest.mark.parametrize("name", ["mean + 20 %", "overload", "four times the variance", "on for 10 slots"])
def test_a_recalibrated_plan_is_safe(name):
    late, error, _ = recalibrated(name, 0.5, 20.0, slots=400_000)
    assert late <= 1e-3 + 2 * error


@pytest.mark.slow
def test_over_the_grid_of_degradations_every_plan_is_safe_and_the_median_costs_little():
    ratios = []
    for arrivals, deadline in ((0.5, 20.0), (0.3, 12.0), (0.5, 40.0)):
        for name in GRID:
            late, error, ratio = recalibrated(name, arrivals, deadline)
            print(f"{arrivals} {deadline:g} {name:32s} late {late:.2e} rate {ratio:.3f} of the truth's")
            assert late <= 1e-3 + 2 * error, (name, arrivals, deadline)
            ratios.append(ratio)
    print(f"median {np.median(ratios):.3f}, worst {max(ratios):.3f}")
    assert np.median(ratios) <= 1.1


def test_a_replay_tells_what_the_very_requests_would_have_met():
    """One queue: the delays at higher rates follow from those at lower ones without error."""
    rng = np.random.default_rng(6)
    gaps, work = rng.exponential(1.0, 50_000), rng.exponential(0.9, 50_000)

    def queue(rate):
        walk = np.cumsum(np.concatenate([[0.0], work[:-1] / rate]) - gaps)
        return walk - np.minimum.accumulate(np.minimum(walk, 0.0)) + work / rate

    times, seen = np.cumsum(gaps), queue(1.0)
    deadline = float(np.quantile(seen, 0.99))
    more = headroom(times, seen, deadline, 0.001)
    assert np.mean(queue(1 + more) > deadline) <= 0.001 < np.mean(queue(1 + more - 0.01) > deadline)
    assert headroom(times, seen, deadline, 0.011) == 0.0
    assert headroom(times, seen + 5.0, deadline + 5.0, 0.001) == pytest.approx(more, abs=2e-3)
    assert headroom(times, np.where(seen > deadline, math.inf, seen), deadline, 0.001) == 0.0


def test_late_requests_that_no_rate_would_have_saved_ask_for_none():
    delay = np.where(np.arange(2000) % 100 == 0, 1e6, 1.0)
    assert headroom(np.arange(2000.0), delay, 50.0, 0.001) == math.inf
    seen = 5 + np.random.default_rng(1).exponential(6.0, 20_000)
    assert settled(seen, replayed={"chat": math.inf})[0].factor == settled(seen)[0].factor


def test_the_contract_asks_for_the_rates_that_the_replay_found():
    seen = 5 + np.random.default_rng(1).exponential(6.0, 20_000)
    plain, _, _ = settled(seen)
    more, plan, instance = settled(seen, replayed={"chat": 0.5})
    assert more.factor > plain.factor
    assert "replayed" in more.contract.evidence.method
    entry = plan.tenants[0]
    path = Paths(with_contract(instance, more.contract)).entry(entry)
    rates = 1.5 * Paths(instance).rates(entry)
    assert minplus.evaluate(path, rates).log_bound >= path.log_epsilon - 1e-9
    assert minplus.evaluate(path, 1.1 * rates).log_bound < path.log_epsilon


def test_a_record_is_replayed_by_tenant_in_the_unit_of_its_delays(tmp_path):
    rng = np.random.default_rng(7)
    times, delay = served(rng.exponential(1.3 * STATED, 40_000), 0.9, 0.5, 3)
    rows = [
        f"{t:.3f},{'ab'[i % 2]},{1000 * d:.1f}" for i, (t, d) in enumerate(zip(times, delay, strict=True))
    ]
    path = tmp_path / "log.csv"
    path.write_text("time_s,tenant,latency_ms\n" + "\n".join(rows) + "\n")
    promises = {name: Promise(deadline=15_000.0, epsilon=1e-3) for name in "a"}
    found = replay(read_telemetry(path), promises)
    assert set(found) == {"a"}
    assert found["a"] == headroom(times[::2], delay[::2], 15.0, 1e-3) > 0
    path.write_text("latency_ms\n" + "\n".join(f"{d:.1f}" for d in delay) + "\n")
    assert replay(read_telemetry(path), {"all": promises["a"]}) == {}


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


def test_an_audit_of_one_tenant_says_nothing_of_another():
    seen = 5 + np.random.default_rng(1).exponential(6.0, 20_000)
    instance = loads(INSTANCE, "settled.yaml")
    plan, contract = plan_of(instance, (1.1, 1.1)), degraded("edge", "small", 0.2, 3.0)
    found = audit(seen, Promise(deadline=40.0, epsilon=0.001)).model_copy(update={"name": "nobody"})
    with pytest.raises(AuditError, match="no audited tenant"):
        recalibrate(found, instance, plan, contract, parent="0" * 64, issued="2026-02-01T00:00:00Z")


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
