from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedopt.instance import InstanceError, load
from fedopt.instance.schema import kinds, schema
from fedopt.instance.yaml_text import read_yaml

from .conftest import EXAMPLES


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    described = schema("instance")
    jsonschema.Draft202012Validator.check_schema(described)
    return jsonschema.Draft202012Validator(described)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_fit(validator: Any, path: Path) -> None:
    validator.validate(read_yaml(path.read_text())[0])
    validator.validate(json.loads(load(path).to_json()))


def test_what_the_reader_refuses_does_not_fit(validator: Any, data: dict[str, Any]) -> None:
    assert validator.is_valid(data)
    assert validator.is_valid({**data, "x-remark": "anything"})
    assert validator.is_valid({**data, "slot": "5 ms"})
    for change in (
        {"slot": 0},
        {"slot": "long"},
        {"fedopt": 2},
        {"stages": []},
        {"tenents": []},
        {"theta": [-1]},
        {"theta": "x"},
    ):
        assert not validator.is_valid({**data, **change})
    data["tenants"][0]["arrivals"]["model"] = "poison"
    assert not validator.is_valid(data)


def test_every_field_of_the_format_is_described() -> None:
    described = schema("instance")
    assert described["$defs"]["Link"]["required"] == ["from", "to"]
    assert set(described["$defs"]["SLO"]["properties"]) == {
        "deadline",
        "epsilon",
        "of",
        "min_accuracy",
        "max_staleness",
        "percentile",
        "milestones",
    }
    capacity = described["$defs"]["Domain"]["properties"]["capacity"]
    assert capacity["x-unit"] == "rate"
    assert {choice["type"] for choice in capacity["anyOf"]} == {"number", "string"}
    assert "x-unit" not in json.dumps(schema("contract"))


def test_every_field_has_a_description() -> None:
    described = schema("instance")
    bare = [
        f"{name}.{field}"
        for name, part in {"Instance": described, **described["$defs"]}.items()
        for field, about in part.get("properties", {}).items()
        if not about.get("description")
    ]
    assert bare == []
    assert described["$defs"]["Link"]["properties"]["cost"]["description"].startswith("Paid by every tenant")


def test_kinds() -> None:
    assert "instance" in kinds()
    for kind in kinds():
        assert schema(kind)["$schema"].startswith("https://json-schema.org/")
    with pytest.raises(InstanceError, match="did you mean 'instance'"):
        schema("instanc")
