"""The rows of the rounds' suite: what is counted, and that nobody is tuned on what is measured."""

from __future__ import annotations

import pytest

from fedopt.bench import federated
from fedopt.bench.federated import cases, certified_round, rows, summary
from fedopt.bench.row import Row
from fedopt.plan import InstanceReference, Plan
from fedopt.solve import solve


def test_the_cases_are_those_that_are_promised():
    listed = list(cases())
    generated = [case for case in listed if case.file is None and case.offers == 1]
    assert len(generated) == 30
    assert {case.tenants for case in generated} == {20, 50, 100, 200, 500}
    assert {case.stages for case in generated} == {3, 4}
    assert {case.file.stem for case in listed if case.file is not None} >= {"germany50", "metro-llm"}
    joint = [case for case in listed if case.offers > 1]
    assert {(case.stages * case.domains, case.offers) for case in joint} == {(8, 4), (2, 16)}
    assert not {case.seed for case in listed} & set(federated.TUNING_SEEDS)


def test_a_round_counts_when_its_interval_is_narrow_enough():
    intervals = [(None, None), (9.0, 10.0), (9.995, 10.0)]
    by_round = [{"round": k + 1, "lower": low, "upper": up} for k, (low, up) in enumerate(intervals)]
    plan = Plan(
        instance=InstanceReference(name="x", sha256="0" * 64),
        status="limit",
        method="admm",
        guarantee="minplus",
        ledger={"relaxation": {"by_round": by_round}},
    )
    assert [certified_round(plan, gap) for gap in (0.2, 1e-3, 1e-4)] == [2, 3, None]


def test_the_summary_counts_what_each_switch_saves():
    def row(case, method, rounds, **more):
        about = {"units": 20, "joint": False, "method": method, "rounds_to_relaxation": rounds}
        return Row(f"{case}: {method}", 1.0, gap=0.01, more={**about, **more})

    plain = [row(f"c{k}", "admm", k, dearer_than_central=0.001 * k) for k in range(1, 21)]
    other = [row(f"c{k}", "admm with Anderson", k + 2 if k < 20 else None) for k in range(1, 21)]
    admm, anderson = summary([*plain, *other])
    assert admm.more["rounds_median"] == 10.5
    assert admm.more["rounds_95"] == 19
    assert admm.more["dearer_than_central_fewer_units"] == pytest.approx(0.02)
    assert anderson.more["rounds_more_than_admm"] == 2.0
    assert anderson.more["not_certified"] == 1


@pytest.mark.slow
def test_a_small_case_is_measured_as_it_is_published():
    case, *methods = rows(quick=True)
    assert case.more["rounds_admm"] <= 25
    assert [row.case for row in methods] == ["all: admm", "all: bundle"]


@pytest.mark.slow
def test_hedging_meets_the_same_certificate_in_more_rounds():
    pytest.importorskip("mpisppy")
    from fedopt.bench.hedging import hedged
    from fedopt.instance.generating import generate

    instance = generate(6, 2, 2, seed=0)
    done = hedged(instance, "price", 1e-3, 100, 60.0)
    ours = solve(instance, "admm", relaxation=1e-3, alone=True, most_confirmations=0)
    assert done.gap <= 1e-3
    assert done.rounds > certified_round(ours, 1e-3)
