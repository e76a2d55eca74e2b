from pathlib import Path

import pytest

from fedopt.instance import Instance, load
from fedopt.plan import DomainPlan, HistoryRow, InstanceReference, Plan, TenantPlan

METRO = """\
fedopt: 1
name: metro
stages: [access, compute]
domains:
  - id: metro-1
    stage: access
    capacity: 10
    offers:
      - {id: gold, latency: 2, latency_kind: delay, impairment: {model: exponential, mean: 0.3}, cost: {model: linear, rate: 1.0}}
  - id: edge-1
    stage: compute
    capacity: 10
    offers:
      - {id: llm, latency: 3, latency_kind: delay, impairment: {model: exponential, mean: 0.2}, cost: {model: linear, rate: 2.0, fixed: 0.5}}
tenants:
  - {id: chat, arrivals: {model: poisson, rate: 0.5, size: 1.0}, slo: {deadline: 30, epsilon: 0.001}}
"""  # noqa: E501


@pytest.fixture
def metro(tmp_path: Path) -> Path:
    """An instance of one tenant on one path."""
    file = tmp_path / "metro.yaml"
    file.write_text(METRO)
    return file


def answer(instance: Instance, status: str = "optimal", rounds: int = 1, **fields) -> Plan:
    """A plan for the metro instance, as a solver would give it."""
    reference = InstanceReference(name=instance.name, sha256=instance.sha256)
    if status in ("infeasible", "limit"):
        return Plan(instance=reference, status=status, method="fake", guarantee="minplus", **fields)
    rates = {"metro-1": 2.5, "edge-1": 2.5}
    entry = TenantPlan(
        id="chat",
        path=["metro-1/gold", "edge-1/llm"],
        theta=0.3,
        reservations=rates,
        log_bound=-7.0,
        form="fine",
        cost=8.0,
    )
    return Plan(
        **{
            "instance": reference,
            "status": status,
            "method": "fake",
            "guarantee": "minplus",
            "cost": 8.0,
            "lower_bound": 8.0,
            "tenants": [entry],
            "domains": [DomainPlan(id=name, reserved=2.5, capacity=10, price=0.0) for name in rates],
            "history": [HistoryRow(round=i + 1, seconds=i) for i in range(rounds)],
            **fields,
        }
    )


@pytest.fixture
def metro_plan(metro: Path) -> Plan:
    return answer(load(metro))


@pytest.fixture(name="answer")
def answer_fixture():
    """The function that makes a plan for the metro instance."""
    return answer


class FakeSolver:
    """Stands for a method: keeps what it was called with and gives the answer it was told to give."""

    def __init__(self, **fields) -> None:
        self.fields = fields
        self.calls: list[dict] = []

    def __call__(self, instance, **options):
        self.calls.append(options)
        print("a solver that talks on stdout")
        for row in [HistoryRow(round=1, cost=9.0, seconds=0.1), HistoryRow(round=2, cost=8.0, seconds=0.2)]:
            if options.get("progress") is not None:
                options["progress"](row)
        return answer(instance, **self.fields)


@pytest.fixture
def fake(monkeypatch):
    """Puts a FakeSolver in the place of a method; returns the function that does."""
    import importlib

    dispatch = importlib.import_module("fedopt.solve")

    def install(method: str = "central", **fields) -> FakeSolver:
        solver = FakeSolver(**fields)
        monkeypatch.setattr(dispatch, "_solver", lambda name: solver)
        monkeypatch.setattr(dispatch, "METHODS", (*dispatch.METHODS, method))
        return solver

    return install
