from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.instance import Instance, InstanceError, dump, dumps, load, loads
from fedopt.instance.generating import generate

from .conftest import EXAMPLES, SMALL


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.integers(1, 8))
def test_what_is_written_is_read_back(
    seed: int, stages: int, domains: int, offers: int, tenants: int
) -> None:
    instance = generate(tenants, stages, domains, seed, offers=offers)
    assert loads(dumps(instance)) == instance
    assert loads(dumps(instance, "json")) == instance


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.text(min_size=1, max_size=30))
def test_all_names_survive(name: str) -> None:
    instance = Instance.model_validate(SMALL)
    try:
        changed = instance.with_(name=name)
    except InstanceError:  # lone surrogates are no text
        return
    assert loads(dumps(changed)).name == loads(changed.to_json()).name == name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_other_readers_of_yaml_take_it_for_the_same(path: Path) -> None:
    instance = load(path)
    assert yaml.safe_load(dumps(instance)) == json.loads(instance.to_json())


def test_the_text_is_what_a_person_would_write(small: Instance) -> None:
    text = dumps(small, header="First.\n\nThird.")
    assert text.startswith("# First.\n#\n# Third.\nfedopt: 1\nname: small\ntheta: [0.1, 0.2, 0.4]\n")
    assert "  - {from: radio, to: cloud, delay: 5, cost: 0.1}\n" in text
    assert "    slo: {deadline: 50, epsilon: 0.001}\n" in text
    assert "payment" not in text
    tiny = small.with_({"tenants.chat.slo.epsilon": 1e-9, "name": "no"})
    assert "epsilon: 1.0e-09" in dumps(tiny)
    assert 'name: "no"' in dumps(tiny)
    assert loads(dumps(tiny)) == tiny


def test_files_by_suffix(tmp_path: Path, small: Instance) -> None:
    assert json.loads(dump(small, tmp_path / "i.json").read_text())["name"] == "small"
    assert dump(small, tmp_path / "i.yaml", "Note.").read_text().startswith("# Note.\nfedopt: 1\n")
    assert load(tmp_path / "i.yaml") == load(tmp_path / "i.json") == small


def test_own_objects_have_no_text(small: Instance) -> None:
    class Own:
        def rho(self, theta: float) -> float:
            return 1.0

        def sigma(self, theta: float) -> float:
            return 0.0

    own = small.with_({"tenants.chat.arrivals": Own()})
    with pytest.raises(InstanceError, match=r"tenants\[0\].arrivals: is an object of class .*Own"):
        dumps(own)
    with pytest.raises(InstanceError, match="file cannot hold"):
        own.to_json()
