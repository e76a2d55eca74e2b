"""An intent becomes an AI model, a path and an SLO, and every alternative says why it lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fedopt
from fedopt.cli import DONE, INFEASIBLE, run
from fedopt.control.intents import Answers, ServiceIntent, load_intent, resolve
from fedopt.instance import Ask, Instance, InstanceError, LearnedImpairment, Poisson, load

ROOT = Path(__file__).parents[2] / "instances"


@pytest.fixture(scope="module")
def city() -> Instance:
    return load(ROOT / "city.yaml")


def _intent(**fields: Any) -> ServiceIntent:
    base = {"id": "x", "like": "chat", "answers": {"within": "600 ms"}}
    return ServiceIntent.model_validate(base | fields)


def test_the_example_is_resolved_and_its_plan_checks_out(city: Instance) -> None:
    intent = load_intent(ROOT / "scenarios" / "chat-intent.yaml")
    found = resolve(intent, city)
    assert found.resolved
    assert (found.tenant.slo.deadline, found.tenant.slo.epsilon) == (600.0, 0.001)
    assert found.alternatives[0].offer == "edge-north/large"
    assert [a.chosen for a in found.alternatives].count(True) == 1
    why = {a.offer: a.why for a in found.alternatives}
    assert len(why) == 6
    assert "accuracy 0.88 is below 0.9" in why["edge-north/small"]
    assert "region south" in why["cloud/large"]
    assert "edge-north/large" in found.to_text()
    alone = city.with_(tenants=(found.tenant,))
    best = fedopt.solve(alone, gap=1e-6)
    # a plan improves its rates beyond the catalogue, which an answer to an intent does not wait for
    assert best.cost * (1 - 1e-5) <= found.cost <= 1.02 * best.cost


def test_the_cheapest_wins_and_the_others_say_by_how_much(city: Instance) -> None:
    found = resolve(_intent(), city)
    costs = [a.cost for a in found.alternatives if a.cost is not None]
    assert costs == sorted(costs)
    assert len(costs) > 3
    assert all("more than" in a.why for a in found.alternatives[1 : len(costs)])


def test_what_is_too_dear_too_late_or_full_is_said(city: Instance) -> None:
    dear = resolve(_intent(most=0.01), city)
    assert not dear.resolved
    assert all("may cost 0.01" in a.why for a in dear.alternatives if a.cost is not None)
    late = resolve(_intent(answers={"within": "30 ms"}), city)
    assert {a.why for a in late.alternatives} == {
        "no admissible path to it keeps the deadline at any reservation allowed"
    }
    crowd = city.with_({"domains.cloud.capacity": 0.1})
    chat = crowd.tenants[0].model_copy(update={"id": "first"})
    plan = fedopt.solve(crowd.with_(tenants=(chat,)))
    assert "cloud" in plan.tenants["first"].reservations
    full = resolve(_intent(), crowd, plan)
    assert {a.offer for a in full.alternatives if a.why == "no room left in cloud"} >= {"cloud/small"}


@pytest.mark.parametrize(
    ("within", "unit", "deadline"),
    [("2 s", "ms", 2000.0), ("150ms", "s", 0.15), ("1.5 min", "s", 90.0), ("250 µs", "ms", 0.25)],
)
def test_times_are_converted(within: str, unit: str, deadline: float) -> None:
    assert Answers(within=within).deadline(unit) == pytest.approx(deadline)


@pytest.mark.parametrize(
    "fields",
    [
        {"answers": {"within": "soon"}},
        {"answers": {"within": "0 s"}},
        {"answers": {"within": "2 s", "share": 1.0}},
        {"arrivals": {"model": "poisson", "rate": 1}},
        {"like": None},
        {"wish": 1},
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InstanceError):
        _intent(**fields)


def test_names_and_units_must_be_the_instances(city: Instance) -> None:
    with pytest.raises(InstanceError, match="there is no tenant"):
        resolve(_intent(like="nobody"), city)
    with pytest.raises(InstanceError, match="no seconds to promise"):
        resolve(_intent(), city.with_({"units.time": "slot"}))


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["intent", str(ROOT / "scenarios" / "chat-intent.yaml"), str(ROOT / "city.yaml")]
    assert run(arguments) == DONE
    assert "a theorem" in capfd.readouterr().out
    hopeless = tmp_path / "i.yaml"
    hopeless.write_text("id: x\nlike: chat\nanswers: {within: 10 ms}\n", encoding="utf-8")
    assert run(["intent", str(hopeless), str(ROOT / "city.yaml"), "--json"]) == INFEASIBLE


def test_what_is_learned_is_told_from_what_is_proven() -> None:
    network = load(ROOT / "scenarios" / "hidden-cloud-network.yaml")
    asked = ServiceIntent.model_validate(
        {
            "id": "x",
            "arrivals": {"model": "poisson", "rate": 0.5},
            "answers": {"within": "40 ms", "share": 0.99},
        }
    )
    nothing = resolve(asked, network)
    assert nothing.alternatives[0].offer == "edge/llm"
    assert "it has no contract" in nothing.alternatives[1].why
    ask = Ask(
        arrivals=Poisson(rate=0.5), throughput=1.0, delay=(9.0, 14.0), risk=(3e-3, 5e-4), answers=80_000
    )
    taught = network.with_({"domains.cloud.offers.llm.impairment": LearnedImpairment(asks=(ask,))})
    found = resolve(asked, taught)
    assert found.entry is not None
    assert found.entry.path == ["metro/lane", "cloud/llm"]
    promise = found.entry.learned["cloud"]
    words = found.to_text()
    assert "a theorem" in words
    assert f"learned, no theorem: P(cloud takes more than {promise.delay:g}) ≤ {promise.risk:.3g}" in words
    assert "at 95% confidence, from 80,000 answers" in words
    assert "together: P ≤" in words
    assert found.to_dict()["entry"]["learned"]["cloud"]["risk"] == promise.risk
