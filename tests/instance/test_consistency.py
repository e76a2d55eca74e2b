from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedopt.instance import InstanceError, load

Find = Callable[[Callable[[dict[str, Any]], object]], dict[str, str]]


def _table(last: float) -> dict[str, Any]:
    return {"model": "table", "theta": [0.1, last], "kappa": [0.1, 0.2], "eta": [0, 0]}


CASES: list[tuple[Callable[[dict[str, Any]], object], str, str]] = [
    (lambda d: d["stages"].append("access"), "stages[2]", "second stage 'access'"),
    (lambda d: d["stages"].append("core"), "stages[2]", "no domain"),
    (lambda d: (d["domains"][1].update(id="radio"), d.pop("links")), "domains[1].id", "second domain"),
    (lambda d: d["domains"][1]["offers"][1].update(id="small"), "domains[1].offers[1].id", "second offer"),
    (lambda d: d["tenants"][1].update(id="chat"), "tenants[1].id", "second tenant"),
    (lambda d: d["domains"][0].update(stage="acces"), "domains[0].stage", "did you mean 'access'"),
    (lambda d: d["domains"][1].update(dependent_with=["claud"]), "domains[1].dependent_with[0]", "'cloud'"),
    (lambda d: d["domains"][1].update(dependent_with=["edge"]), "domains[1].dependent_with[0]", "itself"),
    (lambda d: d["links"][0].update(to="egde"), "links[0].to", "did you mean 'edge'"),
    (lambda d: d["links"][0].update({"from": "edge", "to": "radio"}), "links[0]", "backwards"),
    (lambda d: d["links"][0].update({"from": "edge", "to": "cloud"}), "links[0]", "same stage"),
    (lambda d: d["links"][0].update({"from": "edge", "to": "edge"}), "links[0]", "cycle"),
    (lambda d: d["links"].append({"from": "radio", "to": "edge"}), "links[2]", "second link"),
    (lambda d: d.update(links=[]), "links", "empty"),
    (lambda d: d["tenants"][1]["policy"].update(operators=["opa"]), "tenants[1].policy.operators[0]", "opA"),
    (lambda d: d["tenants"][1]["policy"].update(regions=["nrth"]), "tenants[1].policy.regions[0]", "north"),
    (lambda d: d["tenants"][1]["policy"].update(forbid=["clod"]), "tenants[1].policy.forbid[0]", "cloud"),
    (
        lambda d: d["tenants"][1]["policy"].update(forbid=["edge/smal"]),
        "tenants[1].policy.forbid[0]",
        "edge/small",
    ),
    (
        lambda d: d["domains"][0]["offers"][0].update(impairment=_table(0.3)),
        "domains[0].offers[0].impairment.theta",
        "ends at 0.3",
    ),
    (
        lambda d: (d["domains"][0]["offers"][0].update(impairment=_table(0.5)), d.pop("theta")),
        "theta",
        "missing",
    ),
    (
        lambda d: d["domains"][0]["offers"][0].update(impairment={"model": "exponential", "mean": 20}),
        "domains[0].offers[0].impairment",
        "starts at 0.1",
    ),
    (
        lambda d: d["tenants"][0].update(
            arrivals={"model": "envelope", "theta": [0.1, 0.4], "rho": [1, 1], "sigma": [0, 0]}
        ),
        "tenants[0].arrivals.request_size",
        "missing",
    ),
]


@pytest.mark.parametrize(("change", "place", "said"), CASES, ids=[place for _, place, _ in CASES])
def test_disagreements(
    problems: Find, change: Callable[[dict[str, Any]], object], place: str, said: str
) -> None:
    found = problems(change)
    assert list(found) == [place]
    assert said in found[place]


def test_links_that_skip_a_stage(problems: Find) -> None:
    def change(d: dict[str, Any]) -> None:
        d["stages"] = ["access", "core", "compute"]
        d["domains"].append({"id": "c", "stage": "core", "capacity": 1, "offers": [{"id": "o"}]})
        del d["links"][1]

    assert "past 1 stage" in problems(change)["links[0]"]


def test_everything_wrong_is_reported_at_once(problems: Find) -> None:
    def change(d: dict[str, Any]) -> None:
        d["slot"] = -1
        d["tenants"][1]["slo"]["epsilon"] = 2
        d["domains"][1]["capcity"] = d["domains"][1].pop("capacity")
        d["links"][1]["to"] = "clouds"

    found = problems(change)
    assert set(found) == {
        "slot",
        "tenants[1].slo.epsilon",
        "domains[1].capacity",
        "domains[1].capcity",
        "links[1].to",
    }
    assert "'capcity' meant to be 'capacity'" in found["domains[1].capacity"]
    assert "did you mean 'capacity'" in found["domains[1].capcity"]


def test_some_tilts_beyond_a_parametric_limit_are_no_error(data: dict[str, Any]) -> None:
    from fedopt.instance import Instance

    data["domains"][0]["offers"][0]["impairment"]["mean"] = 5  # finite below θ = 0.2
    assert Instance.model_validate(data).theta == (0.1, 0.2, 0.4)


def test_promises_about_time_need_no_request_size(data: dict[str, Any]) -> None:
    from fedopt.instance import Instance

    data["tenants"][0]["arrivals"] = {"model": "envelope", "theta": [0.4], "rho": [1], "sigma": [0]}
    data["tenants"][0]["slo"]["of"] = "time"
    assert Instance.model_validate(data).tenants[0].slo.of == "time"


TRACE = """
stages: [s]
domains: [{id: d, stage: s, capacity: 1, offers: [{id: o}]}]
tenants:
  - id: t
    arrivals: {model: trace, file: FILE, time_column: at, work_column: tokens}
    slo: {deadline: 5, epsilon: 0.1}
"""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("at,tokens\n1,2\n", None),
        ("time,tokens\n1,2\n", "has no column 'at'"),
        ("at,token\n1,2\n", "did you mean 'token'"),
        ("at,tokens\n", "no rows"),
        (b"\xff\xfe\x00", "cannot be read"),
        (None, "does not exist"),
    ],
)
def test_traces_must_be_there(tmp_path: Path, content: str | bytes | None, said: str | None) -> None:
    path = tmp_path / "i.yaml"
    path.write_text(TRACE.replace("FILE", "t.csv"))
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    if said is None:
        assert load(path).tenants[0].arrivals.path == tmp_path / "t.csv"
        return
    with pytest.raises(InstanceError, match=said) as caught:
        load(path)
    assert caught.value.problems[0].place.startswith("tenants[0].arrivals.")
    assert caught.value.problems[0].line == 6


def test_a_million_misspelt_links_take_no_time(data: dict[str, Any], problems: Find) -> None:
    found = problems(lambda d: d.update(links=[{"from": f"radjo{i}", "to": "edge"} for i in range(20_000)]))
    assert len(found) == 20_000
