"""A real trace end to end: fitted from its first half, its second half replayed request by request."""

import os
from pathlib import Path

import numpy as np
import pandas
import pytest

import fedopt
from fedopt.instance import loads
from fedopt.laws.fitting import fit
from fedopt.laws.fitting_record import read_record
from fedopt.laws.trace import Trace
from fedopt.simulate import traffic
from fedopt.simulate.requests import Stage, System, simulate

TEXT = """
fedopt: 1
name: code-completion
units: {time: s, work: GPU-second}
slot: 1.0
stages: [access, compute]
domains:
  - {id: edge, stage: access, operator: o, region: r, capacity: 200, forwarding: cut-through,
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
PREFILL, DECODE = 2e-4, 0.02
"""GPU-seconds a prompt token and a generated token."""


@pytest.fixture(scope="module")
def path():
    folder = Path(os.environ.get("FEDOPT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    path = folder / "azure-llm-2023-code.csv"
    if not path.exists():
        pytest.skip("the Azure trace is not here; set FEDOPT_DATA to its folder")
    return path


@pytest.fixture(scope="module")
def halves(path):
    work = {"ContextTokens": PREFILL, "GeneratedTokens": DECODE}
    return read_record(path, slot=1.0, time_column="TIMESTAMP", work=work).split(0.5)


@pytest.fixture(scope="module")
def second(path):
    """Gaps (seconds), prefill and decode work of the requests of the second half."""
    rows = pandas.read_csv(path, parse_dates=["TIMESTAMP"])
    seconds = (rows.TIMESTAMP - rows.TIMESTAMP.iloc[0]).dt.total_seconds().to_numpy()
    kept = seconds >= seconds[-1] / 2
    gaps = np.diff(seconds[kept])
    return (
        np.concatenate([[gaps.mean()], gaps]),
        rows.ContextTokens.to_numpy()[kept] * PREFILL,
        rows.GeneratedTokens.to_numpy()[kept] * DECODE,
    )


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
def test_the_second_half_keeps_the_promise_made_from_the_first(halves, second):
    instance = planned(halves)
    plan = fedopt.solve(instance)
    assert plan.status == "optimal"
    gaps, prefill, decode = second
    sizes = prefill + decode
    replayed = Trace(np.array([sizes.sum()]), np.array([float(sizes.size)]), float(sizes.max()), gaps, sizes)
    result = fedopt.simulate(plan, instance, arrivals={"code": replayed}, slots=500_000, seed=1)
    assert result.ok
    assert result.tenants[0].violation.estimate <= 0.01
    assert "no independent evidence" in result.to_text()  # for all it knows, the envelope is of this record


@pytest.mark.slow
def test_what_the_record_cannot_promise_is_refused_with_a_reason(halves):
    """A deadline far below the bursts that were recorded: infeasible, and said so."""
    instance = planned(halves).with_({"tenants.code.slo.deadline": 5.0, "tenants.code.slo.epsilon": 1e-5})
    plan = fedopt.solve(instance)
    assert plan.status == "infeasible"
    assert plan.explanation


POOL = """
fedopt: 1
slot: 0.1
stages: [gpu]
theta: [0.01, 0.1, 1.0, 10.0]
domains:
  - {id: gpu, stage: gpu, capacity: 4000,
     offers: [{id: x, speed: 1.0, latency_kind: delay, cost: {model: linear, rate: 1.0}}]}
tenants:
  - id: code
    arrivals: {model: poisson, rate: 2.5, size: 1.0}
    slo: {deadline: 120, epsilon: 0.01}
"""


def record(path):
    """Gaps (the first is the mean of the others) and seconds at the speed of one sequence, of each half."""
    rows = pandas.read_csv(path, parse_dates=["TIMESTAMP"])
    seconds = (rows.TIMESTAMP - rows.TIMESTAMP.iloc[0]).dt.total_seconds().to_numpy()
    sizes = (rows.ContextTokens * PREFILL + rows.GeneratedTokens * DECODE).to_numpy()
    later = seconds >= seconds[-1] / 2
    halves = []
    for kept in (~later, later):
        gaps = np.diff(seconds[kept])
        halves.append((np.concatenate([[gaps.mean()], gaps]), sizes[kept]))
    return halves


def burst_at(half, rate):
    """The burst of the least token bucket of a rate that a record conforms to."""
    level = most = 0.0
    for gap, size in zip(*half, strict=True):
        level = max(level - rate * gap, 0.0) + size
        most = max(most, level)
    return most


def reserved(first, deadline):
    """Sequences that a plan reserves for the bucket, of several rates, to which the first half conforms."""
    found = []
    for rate in (3.0, 4.0, 5.0, 6.0, 8.0, 10.0):
        arrivals = {
            "model": "envelope", "theta": [0.01, 0.1, 1.0, 10.0], "rho": [rate] * 4,
            "sigma": [burst_at(first, rate)] * 4, "request_size": float(first[1].max()),
        }  # fmt: skip
        pool = loads(POOL).with_({"tenants.code.arrivals": arrivals, "tenants.code.slo.deadline": deadline})
        plan = fedopt.solve(pool, explain=False)
        if plan.status == "optimal":
            found.append(round(plan.tenants["code"].reservations["gpu"]))
    return min(found)


def late_in_pool(half, servers, deadline):
    """Share of a half, replayed three times, later than a deadline in a pool of sequences."""
    gaps, sizes = half
    law = traffic.empirical(sizes)
    system = System(traffic.replay(gaps, sizes), (law,), (Stage(1.0, servers=servers),))
    run = simulate(system, 3 * len(sizes), trials=4, warmup=len(sizes), deadlines=[deadline], seed=1)
    return run.late.mean() / (3 * len(sizes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deadline", "sequences", "ratio"), [(120.0, 8, 1.6), (180.0, 5, 1.25), (300.0, 4, 1.34)]
)
def test_a_pool_of_sequences_for_a_bucket_of_the_first_half(path, deadline, sequences, ratio):
    """A request holds a sequence from its first prompt token to its last: the second half keeps the promise,
    and what is reserved is at most so many times what the first half itself needs in simulation."""
    first, second = record(path)
    assert reserved(first, deadline) == sequences
    assert late_in_pool(second, sequences, deadline) == 0.0
    needed = next(n for n in range(1, 64) if late_in_pool(first, n, deadline) <= 0.01)
    assert sequences <= ratio * needed


def late(second, prefill_servers, decode_servers, deadline, seed=1):
    """Share of the second half later than a deadline: prefill on whole GPUs, decode at the speed of
    one sequence."""
    gaps, prefill, decode = second
    source = traffic.replay(gaps, np.column_stack([prefill, decode]))
    law = traffic.empirical(prefill)
    stages = (Stage(1.0, servers=prefill_servers), Stage(0.25, servers=decode_servers))
    run = simulate(System(source, (law, law), stages), 40_000, trials=4, deadlines=[deadline], seed=seed)
    return run.late.mean() / 40_000


def test_decode_at_the_speed_of_one_sequence_cannot_be_bought_with_servers(second):
    """More servers help until only a request's own decode is left: its speed is that of one sequence."""
    own = second[1] + second[2] / 0.25
    deadline = float(np.quantile(own, 0.97))
    few, more, many = (late(second, n, 4 * n, deadline) for n in (2, 8, 400))
    assert few > more > many
    assert many == pytest.approx((own > deadline).mean(), abs=2e-3)
