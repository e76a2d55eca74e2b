"""What a promise rests on: stated by every plan, recomputed by the check, and never more than its laws
allow."""

from __future__ import annotations

import pytest

import fedopt
from fedopt.instance import InstanceError, loads
from fedopt.plan.summary import paragraph, summary_text

TEXT = """
fedopt: 1
stages: [a, b]
domains:
  - {id: x, stage: a, capacity: 50, offers: [{id: s, impairment: {model: poisson, rate: 0.1, size: 0.5}}]}
  - {id: y, stage: b, capacity: 50, offers: [{id: s}]}
tenants:
  - {id: t, arrivals: {model: poisson, rate: 0.2}, slo: {deadline: 30, epsilon: 0.001}}
"""


@pytest.fixture
def instance():
    return loads(TEXT)


def fitted(instance, place, confidence):
    return instance.with_({f"{place}.confidence": confidence, f"{place}.basis": "fitted"})


def test_laws_as_stated_make_a_theorem(instance):
    plan = fedopt.solve(instance)
    entry = plan.tenants["t"]
    assert (entry.basis, entry.confidence) == ("theorem", None)
    assert "theorems" in paragraph(plan)
    assert " theorem " in summary_text(plan)


def test_errors_of_fitted_laws_add_up(instance):
    both = fitted(fitted(instance, "tenants.t.arrivals", 0.99), "domains.x.offers.s.impairment", 0.95)
    plan = fedopt.solve(both)
    entry = plan.tenants["t"]
    assert entry.basis == "fitted"
    assert entry.confidence == pytest.approx(0.94)
    assert "fitted to records, all of which hold at a confidence of 0.94" in paragraph(plan)
    assert fedopt.check(plan, both).ok
    assert "fitted to records" in fedopt.check(plan, both).text()
    changed = plan.model_copy(
        update={"tenants": type(plan.tenants)([entry.model_copy(update={"confidence": 0.99})])}
    )
    assert [f.constraint for f in fedopt.check(changed, both).findings] == ["basis"]


def test_no_theorem_stands_over_an_estimate(instance):
    record = instance.with_({"tenants.t.arrivals.basis": "estimate"})
    plan = fedopt.solve(record)
    assert plan.tenants["t"].basis == "estimate"
    assert "theorem" not in summary_text(plan)
    assert "not recorded" in paragraph(plan)
    report = fedopt.check(plan, record)
    assert report.ok
    assert "not recorded" in report.text()
    bold = plan.tenants["t"].model_copy(update={"basis": "theorem"})
    claimed = plan.model_copy(update={"tenants": type(plan.tenants)([bold])})
    assert [f.constraint for f in fedopt.check(claimed, record).findings] == ["basis"]


def test_a_fitted_law_states_its_confidence(instance):
    with pytest.raises(InstanceError, match="confidence"):
        instance.with_({"tenants.t.arrivals.basis": "fitted"})


def test_the_basis_survives_the_file(instance, tmp_path):
    plan = fedopt.solve(instance)
    plan.save(tmp_path / "plan.json")
    assert type(plan).load(tmp_path / "plan.json").tenants["t"].basis == "theorem"
