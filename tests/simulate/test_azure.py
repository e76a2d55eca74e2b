"""A real trace end to end: fitted from its first half, planned, simulated with its second half as input."""

import os
from pathlib import Path

import pytest

import fedopt
from fedopt.instance import loads
from fedopt.laws.fitting import fit
from fedopt.laws.fitting_record import read_record
from fedopt.laws.trace import Trace

TEXT = """
fedopt: 1
name: code-completion
units: {time: s, work: GPU-second}
slot: 1.0
stages: [access, compute]
domains:
  - {id: edge, stage: access, operator: o, region: r, capacity: 200,
     offers: [{id: x, latency: 1, latency_kind: delay, cost: {model: linear, rate: 0.1},
               impairment: {model: exponential, mean: 0.5}}]}
  - {id: gpu, stage: compute, operator: o, region: r, capacity: 200,
     offers: [{id: x, latency: 1, latency_kind: delay, cost: {model: linear, rate: 1.0},
               impairment: {model: poisson, rate: 0.05, size: 2.0}}]}
tenants:
  - id: code
    arrivals: {model: poisson, rate: 2.5, size: 1.0}
    slo: {deadline: 62, epsilon: 0.01}
"""


@pytest.fixture(scope="module")
def halves():
    folder = Path(os.environ.get("FEDOPT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    path = folder / "azure-llm-2023-code.csv"
    if not path.exists():
        pytest.skip("the Azure trace is not here; set FEDOPT_DATA to its folder")
    work = {"ContextTokens": 2e-4, "GeneratedTokens": 0.02}
    return read_record(path, slot=1.0, time_column="TIMESTAMP", work=work).split(0.5)


def planned(halves):
    found = fit(halves[0])
    tenant = {**loads(TEXT, "azure.yaml").tenants[0].model_dump(mode="json"), "arrivals": found.arrivals(1.0)}
    instance = loads(TEXT, "azure.yaml")
    document = {
        **instance.model_dump(mode="json", by_alias=True),
        "tenants": [tenant],
        "theta": found.theta.tolist(),
    }
    return fedopt.Instance.model_validate(document)


@pytest.mark.slow
def test_the_second_half_keeps_the_promise_made_from_the_first(halves):
    instance = planned(halves)
    plan = fedopt.solve(instance)
    assert plan.status == "optimal"
    second = halves[1].segments[0]
    replayed = Trace(second.work, second.requests)
    result = fedopt.simulate(plan, instance, arrivals={"code": replayed}, slots=500_000, seed=1)
    assert result.ok
    assert result.tenants[0].violation.estimate <= 0.01


@pytest.mark.slow
def test_what_the_record_cannot_promise_is_refused_with_a_reason(halves):
    """A deadline far below the bursts that were recorded: infeasible, and said so."""
    instance = planned(halves).with_({"tenants.code.slo.deadline": 5.0, "tenants.code.slo.epsilon": 1e-5})
    plan = fedopt.solve(instance)
    assert plan.status == "infeasible"
    assert plan.explanation
