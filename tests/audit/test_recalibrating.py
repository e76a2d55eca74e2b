from dataclasses import replace

import numpy as np
import pytest

from fedopt.audit import Settings, audit
from fedopt.audit.raised import Raised, raised_table
from fedopt.audit.recalibrating import audited_levels, effects, next_version, smallest_increase
from fedopt.calculus import minplus
from fedopt.calculus.path import Path
from fedopt.contracts import contract_of
from fedopt.instance import loads
from fedopt.instance.arrivals import Poisson
from fedopt.instance.impairments import ExponentialImpairment, TableImpairment
from fedopt.laws import build
from fedopt.plan import Plan
from tests.audit.processes import reserved_server
from tests.settlement.test_settling import INSTANCE, entry

STATED, TRUE, RATE = 0.2, 0.45, 1.3


def server(mean=STATED, deadline=60.0):
    return Path(
        build(Poisson(rate=0.5, size=1.0), 1.0),
        (build(ExponentialImpairment(mean=mean), 1.0),),
        np.array([0.0]),
        np.array([False]),
        deadline,
        np.log(1e-3),
    )


RATES = np.array([RATE])


def log_bound(path, level):
    return minplus.evaluate(replace(path, deadline=level), RATES).log_bound


def raised(path, increase):
    return replace(path, impairments=(Raised(path.impairments[0], increase.eta, increase.kappa),))


def test_smallest_increase_is_enough_and_no_more():
    path, levels = server(), [(14.0, 1e-3), (18.0, 1e-4)]
    found = smallest_increase(path, RATES, 0, levels)
    assert found.reached
    assert found.kappa == 0.0
    assert found.eta > 0
    assert all(log_bound(raised(path, found), level) >= np.log(tail) for level, tail in levels)
    less = replace(found, eta=found.eta * 0.99)
    assert not all(log_bound(raised(path, less), level) >= np.log(tail) for level, tail in levels)


def test_kappa_follows_where_eta_is_limited():
    path, levels = server(), [(14.0, 1e-3)]
    found = smallest_increase(path, RATES, 0, levels, eta_limit=0.5)
    assert (found.eta, found.reached) == (0.5, True)
    assert found.kappa > 0
    assert log_bound(raised(path, found), 14.0) >= np.log(1e-3)


def test_nothing_is_raised_where_the_guarantee_bounds_already_and_nothing_falls_unasked():
    path = server()
    level = [(2.0, 1e-2)]
    assert smallest_increase(path, RATES, 0, level).eta == 0.0
    assert smallest_increase(path, RATES, 0, level, clusters=1e9).eta == 0.0
    with pytest.raises(ValueError, match="at least 1000"):
        smallest_increase(path, RATES, 0, level, decrease_clusters=10)


def test_a_raised_burst_falls_again_on_enough_evidence():
    document = raised_table(ExponentialImpairment(mean=STATED), 1.0, 5.0, 0.0)
    path = replace(server(), impairments=(build(document, 1.0),))
    level = [(8.0, 1e-2)]
    assert smallest_increase(path, RATES, 0, level, decrease_clusters=1000, clusters=500).eta == 0.0
    found = smallest_increase(path, RATES, 0, level, decrease_clusters=1000, clusters=5000)
    assert -5.0 <= found.eta < 0
    assert log_bound(raised(path, found), 8.0) >= np.log(1e-2)


def test_recalibrated_guarantees_bound_fresh_telemetry():
    """20 audits of a domain worse than its contract: the raised guarantee holds on a long fresh series."""
    fresh = reserved_server(np.random.default_rng(99), 2_000_000, 0.5, TRUE, RATE)
    path, held = server(), 0
    for seed in range(20):
        delays = reserved_server(np.random.default_rng(seed), 60_000, 0.5, TRUE, RATE)
        found = audit(delays, settings=Settings(probabilities=(0.99, 0.999), rounding="nearest"))
        levels = audited_levels(found, slot=1.0)
        increase = smallest_increase(path, RATES, 0, levels)
        assert increase.reached
        better = raised(path, increase)
        held += all(np.mean(fresh > level) <= tail for level, tail in levels) and all(
            log_bound(better, level) >= np.log(tail) for level, tail in levels
        )
    assert held >= 17  # the upper ends hold together with about 95 %


def test_raised_table_is_the_raised_envelope():
    document = ExponentialImpairment(mean=0.3)
    table = raised_table(document, 1.0, 2.0, 0.1)
    assert isinstance(table, TableImpairment)
    assert table.monotone
    assert table.independent_increments
    for theta, kappa, eta in zip(table.theta, table.kappa, table.eta, strict=True):
        assert kappa == pytest.approx(-np.log1p(-theta * 0.3) / theta + 0.1)
        assert eta == pytest.approx(2.0)
    again = raised_table(table, 1.0, 1.0, 0.0)
    assert again.theta == table.theta
    assert again.eta == pytest.approx(tuple(eta + 1.0 for eta in table.eta))


def test_next_version_and_its_effects_on_a_plan():
    instance = loads(INSTANCE, "settled.yaml")
    contract = contract_of(
        {
            "issuer": "op",
            "domain": "edge",
            "offer": "small",
            "version": 1,
            "issued": "2026-01-01T00:00:00Z",
            "valid_from": "2026-01-01T00:00:00Z",
            "valid_until": "2027-01-01T00:00:00Z",
            "latency": 3.0,
            "latency_kind": "delay",
            "impairment": {"model": "exponential", "mean": 0.2},
        }
    )
    path = server()
    increase = smallest_increase(path, RATES, 0, [(14.0, 1e-3)])
    successor = next_version(
        contract, increase, 1.0, "0" * 64, "2026-02-01T00:00:00Z", "2027-02-01T00:00:00Z"
    )
    assert successor.version == 2
    assert successor.impairment.eta[0] == pytest.approx(increase.eta)
    plan = Plan.model_validate(
        {
            "instance": {"name": instance.name, "sha256": instance.sha256},
            "status": "feasible",
            "method": "by hand",
            "guarantee": "minplus",
            "tenants": [entry("chat", 3, (1.1, 1.1)), entry("bulk", 1, (2.0, 1.9))],
        }
    )
    found = effects(plan, instance, successor)
    assert [effect.tenant for effect in found] == ["chat", "bulk"]
    assert all(effect.after > effect.before for effect in found)
    assert found[1].holds
