from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Find = Callable[[Callable[[dict[str, Any]], object]], dict[str, str]]

CASES: list[tuple[Callable[[dict[str, Any]], object], str, str]] = [
    (lambda d: d.pop("stages"), "stages", "is missing → list the names"),
    (lambda d: d.update(domians=1), "domians", "did you mean 'domains'"),
    (
        lambda d: d["tenants"][0]["slo"].update(epsilon=1.5),
        "tenants[0].slo.epsilon",
        "below 1, is 1.5 → give",
    ),
    (lambda d: d["tenants"][0]["slo"].update(of="request"), "tenants[0].slo.of", "did you mean 'requests'"),
    (lambda d: d["tenants"][0].update(slo=7), "tenants[0].slo", "deadline, epsilon"),
    (lambda d: d["tenants"][0].update(arrivals=[]), "tenants[0].arrivals", "→ "),
    (
        lambda d: d["tenants"][0]["arrivals"].update(model="poison"),
        "tenants[0].arrivals",
        "no model 'poison' → did you mean 'poisson'",
    ),
    (lambda d: d["tenants"][0]["arrivals"].pop("model"), "tenants[0].arrivals", "token-bucket"),
    (
        lambda d: d["tenants"][0]["arrivals"].update(size="big"),
        "tenants[0].arrivals.size",
        "must be a number",
    ),
    (
        lambda d: d["tenants"][0]["arrivals"].update(size={"exponential": -1}),
        "tenants[0].arrivals.size.exponential",
        "above 0",
    ),
    (
        lambda d: d["domains"][0]["offers"][0].update(cost={"model": "linear", "rate": 1, "quad": 2}),
        "domains[0].offers[0].cost.quad",
        "not a field",
    ),
    (lambda d: d["domains"][0].update(offers=[]), "domains[0].offers", "empty"),
    (lambda d: d["domains"][0].update(capacity=None), "domains[0].capacity", "must be a number, is None"),
    (lambda d: d.update(theta=[0.2, 0.1]), "theta", "ascending order"),
    (lambda d: d.update(fedopt=2), "fedopt", "→ use one of '1'"),
    (lambda d: d["links"][0].update(form="x"), "links[0].form", "did you mean 'from'"),
    (lambda d: d["links"][0].update(cost=-1), "links[0].cost", "at least 0"),
    (lambda d: d["domains"][0]["offers"][0].update(id=7), "domains[0].offers[0].id", "in quotes"),
    (lambda d: d.update(units={"time": "msec"}), "units.time", "did you mean 'ms'"),
]


@pytest.mark.parametrize(("change", "place", "said"), CASES, ids=[place for _, place, _ in CASES])
def test_each_mistake_has_its_place_and_remedy(
    problems: Find, change: Callable[[dict[str, Any]], object], place: str, said: str
) -> None:
    found = problems(change)
    assert list(found) == [place]
    assert said in found[place]


def test_a_renamed_field_is_recognised_by_its_model(problems: Find) -> None:
    found = problems(
        lambda d: d["domains"][0]["offers"][0].update(impairment={"model": "gamma", "shap": 1, "scale": 1})
    )
    assert "'shap' meant to be 'shape'" in found["domains[0].offers[0].impairment.shape"]
    assert "did you mean 'shape'" in found["domains[0].offers[0].impairment.shap"]
