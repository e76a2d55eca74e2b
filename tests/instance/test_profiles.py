from __future__ import annotations

from pathlib import Path

import pytest

import fedopt
from fedopt.cli import run
from fedopt.instance import InstanceError, loads
from fedopt.instance.changing import with_law
from fedopt.instance.profiles import ProfileRow, pool_offers, read_profile

VLLM = "max_concurrency,mean_tpot_ms,output_throughput\n8,10,800\n1,8,125\n32,20,1600\n"
AICONFIGURATOR = "concurrency,tokens/s/user\n1,125\n8,100\n32,50\n"
TOTALS = "batch_size,output_throughput\n1,125\n8,800\n32,1600\n"

LLM = """
fedopt: 1
name: llm
units: {time: ms, work: request, cost: EUR/h, stages: {gpu: 200 token}}
stages: [gpu]
domains: [{id: edge, stage: gpu, capacity: 1200 token/s, offers: [{id: any}]}]
tenants:
  - {id: chat, count: 3, arrivals: {model: poisson, rate: 1/s}, slo: {deadline: 8 s, percentile: 99, min_accuracy: 0.8}}
"""  # noqa: E501


@pytest.mark.parametrize("text", [VLLM, AICONFIGURATOR, TOTALS])
def test_columns_are_found_by_the_names_of_the_engines(text: str, tmp_path: Path) -> None:
    file = tmp_path / "profile.csv"
    file.write_text(text)
    assert read_profile(file) == [ProfileRow(1, 125.0), ProfileRow(8, 100.0), ProfileRow(32, 50.0)]


def test_a_replica_gives_what_the_profile_says_at_every_concurrency() -> None:
    rows = [ProfileRow(1, 125.0), ProfileRow(8, 100.0), ProfileRow(32, 50.0)]
    replica, offers = pool_offers(rows, "2 EUR/h", 0.9)
    assert replica == "1600 token/s"
    instance = loads(LLM).with_({"domains.edge.capacity": f"4 * {replica}", "domains.edge.offers": offers})
    domain = instance.domain("edge")
    for row, offer in zip(rows, domain.offers, strict=True):
        # Four replicas at this concurrency: so many servers, each of the speed of one request, for 8 EUR/h.
        assert offer.speed == pytest.approx(row.speed / 200 / 1000)
        servers = domain.capacity / offer.work_factor / offer.speed
        assert servers == pytest.approx(4 * row.concurrency)
        assert offer.cost.variable(servers * offer.speed) == pytest.approx(8.0)
        assert offer.accuracy == 0.9


def test_a_profile_becomes_an_instance_that_can_be_planned(tmp_path: Path) -> None:
    (tmp_path / "profile.csv").write_text(VLLM)
    (tmp_path / "llm.yaml").write_text(LLM)
    made = tmp_path / "made.yaml"
    options = ["--replicas", "4", "--price", "2", "--accuracy", "0.9", "--domain", "edge"]
    files = ["--into", str(tmp_path / "llm.yaml"), "--out", str(made)]
    assert run(["fit", "pool", str(tmp_path / "profile.csv"), *options, *files]) == 0
    instance = fedopt.load(made)
    plan = fedopt.solve(instance, gap=0.05)
    assert plan.has_plan
    assert fedopt.check(plan, instance).ok
    offer = instance.offer(plan.tenants[0].path[0])[1]
    servers = next(iter(plan.tenants[0].reservations.values())) / offer.speed
    assert servers == pytest.approx(round(servers))


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "concurrency"), ("a,b\n1,2\n", "concurrency"), ("concurrency,tpot\n0,1\n", "positive concurrency")],
)
def test_what_is_no_profile(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "profile.csv"
    file.write_text(text)
    with pytest.raises(InstanceError, match=said):
        read_profile(file)


def test_a_fitted_law_is_placed_with_its_tilts() -> None:
    plain = loads(LLM)
    short = {
        "model": "envelope",
        "theta": [0.1, 0.2],
        "rho": [0.01, 0.02],
        "sigma": [0, 0],
        "request_size": 1,
    }
    long = {**short, "theta": [0.1, 0.3, 0.5], "rho": [0.01, 0.02, 0.03], "sigma": [0, 0, 0]}
    table = {"model": "table", "theta": [-0.5, 0.25], "kappa": [0, 0.1], "eta": [0, 0]}
    one = with_law(plain, "tenants.chat.arrivals", long)
    assert one.theta == (0.1, 0.3, 0.5)
    two = with_law(one, "domains.edge.offers.any.impairment", table)
    assert two.theta == (0.1, 0.25)
    # What is replaced bounds the grid no more.
    assert with_law(one, "tenants.chat.arrivals", short).theta == (0.1, 0.2)
    with pytest.raises(InstanceError, match="did you mean 'chat'"):
        with_law(plain, "tenants.chatt.arrivals", long)


def test_fit_into_an_instance_takes_its_slots_and_units(tmp_path: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(1)
    times = np.cumsum(rng.exponential(1000.0, 4000))
    (tmp_path / "trace.csv").write_text("time\n" + "\n".join(f"{t:.3f}" for t in times) + "\n")
    (tmp_path / "llm.yaml").write_text(LLM.replace("stages: [gpu]", "slot: 500 ms\nstages: [gpu]"))
    made = tmp_path / "made.yaml"
    files = ["--into", str(tmp_path / "llm.yaml"), "--tenant", "chat", "--out", str(made)]
    code = run(
        ["fit", "arrivals", str(tmp_path / "trace.csv"), "--independent", "--windows", "4", *files, "-q"]
    )
    assert code in (0, 5)
    arrivals = fedopt.load(made).tenant("chat").arrivals
    assert arrivals.model == "envelope"
    assert arrivals.rho[0] == pytest.approx(0.001, rel=0.2)  # a request a second, per ms
    assert run(["fit", "arrivals", str(tmp_path / "trace.csv"), "--into", str(tmp_path / "llm.yaml")]) == 2
