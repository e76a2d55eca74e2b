from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.instance import Instance, loads

from .conftest import EXAMPLES, SMALL


def _shuffled(value: Any, rng: random.Random, key: str = "") -> Any:
    """The same with the order of mappings and of lists without an order of their own changed."""
    if isinstance(value, dict):
        items = [(k, _shuffled(v, rng, k)) for k, v in value.items()]
        rng.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        entries = [_shuffled(entry, rng) for entry in value]
        if key in (
            "domains",
            "offers",
            "links",
            "tenants",
            "operators",
            "regions",
            "forbid",
            "dependent_with",
        ):
            rng.shuffle(entries)
        return entries
    return value


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 2**32))
def test_order_means_nothing(seed: int) -> None:
    instance = Instance.model_validate(SMALL)
    other = Instance.model_validate(_shuffled(SMALL, random.Random(seed)))
    assert other.sha256 == instance.sha256
    for tenant in (None, "chat", "expert"):
        ours, theirs = instance.graph(tenant), other.graph(tenant)
        assert dict(ours.nodes(data=True)) == dict(theirs.nodes(data=True))
        assert sorted(ours.edges(data="delay")) == sorted(theirs.edges(data="delay"))


def test_every_value_counts() -> None:
    instance = Instance.model_validate(SMALL)
    seen = {instance.sha256}
    for path, value in {
        "name": "other",
        "slot": 0.5,
        "stages": ["compute", "access"],
        "domains.edge.capacity": 11,
        "domains.edge.offers.small.latency": 2.5,
        "tenants.chat.count": 2,
        "tenants.expert.policy.min_trust": 1,
    }.items():
        changed = instance.with_({path: value, **({"links": None} if path == "stages" else {})})
        seen.add(changed.sha256)
    assert len(seen) == 8
    assert all(len(digest) == 64 for digest in seen)


def test_ways_of_writing_do_not_count(tmp_path: Path) -> None:
    instance = Instance.model_validate(SMALL)
    spelt = instance.to_dict() | {"units": {"time": "ms", "work": "job"}, "slot": 1}
    assert Instance.model_validate(spelt).sha256 == instance.sha256


def test_traces_count_by_content(tmp_path: Path) -> None:
    text = """{"stages": ["s"],
      "domains": [{"id": "d", "stage": "s", "capacity": 1, "offers": [{"id": "o"}]}],
      "tenants": [{"id": "t", "arrivals": {"model": "trace", "file": "NAME"},
                   "slo": {"deadline": 5, "epsilon": 0.1}}]}"""
    digests = []
    for name, work in (("a.csv", 2), ("b.csv", 2), ("c.csv", 3)):
        (tmp_path / name).write_text(f"time,work\n1,{work}\n")
        digests.append(loads(text.replace("NAME", name), directory=tmp_path).sha256)
    assert digests[0] == digests[1] != digests[2]


def test_own_objects_count_by_class_and_state() -> None:
    instance = Instance.model_validate(SMALL)
    digests = {
        instance.with_({"domains.radio.offers.std.impairment": own}).sha256
        for own in (_Own(1.0), _Own(1.0), _Own(2.0))
    }
    assert len(digests) == 2


class _Own:
    def __init__(self, level: float) -> None:
        self.level = level

    def kappa(self, theta: float) -> float:
        return self.level

    def eta(self, theta: float) -> float:
        return 0.0


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_hash_of_an_example_is_that_of_its_copy(path: Path) -> None:
    from fedopt.instance import dumps, load

    instance = load(path)
    assert loads(dumps(instance)).sha256 == instance.sha256


def test_hashes_are_those_of_the_first_version() -> None:
    # Plans name instances by their hash, so fields that came later must not change it.
    assert Instance.model_validate(SMALL).sha256 == FIRST
    domains = [{**SMALL["domains"][0], "forwarding": "cut-through"}, *SMALL["domains"][1:]]
    assert Instance.model_validate({**SMALL, "domains": domains}).sha256 != FIRST


FIRST = "6674008fad56ae604427808754db839ef9ca2425259bdaf06a8d508a0b03856a"
