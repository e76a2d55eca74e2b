from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedopt.instance import InstanceError, dumps, load, loads
from fedopt.instance import reading as module

from .conftest import EXAMPLES

QUICK = """stages: [edge]
domains:
  - {id: edge-1, stage: edge, capacity: 10, offers: [{id: standard, latency: 2}]}
tenants:
  - {id: chat, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 20, epsilon: 1e-3}}
"""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_read_and_say_what_they_show(path: Path) -> None:
    instance = load(path)
    assert path.read_text().startswith("# ")
    assert loads(dumps(instance)) == instance
    assert loads(instance.to_json()) == instance
    assert all(instance.graph(tenant).number_of_nodes() for tenant in instance.tenants)


def test_all_promised_examples_are_there() -> None:
    promised = {"quickstart", "tandem", "metro-llm", "germany50", "abilene", "infeasible", "tight"}
    assert promised <= {path.stem for path in EXAMPLES}


def test_yaml_and_json_by_name_and_by_content(tmp_path: Path) -> None:
    instance = loads(QUICK)
    for name, text in {"a.yaml": QUICK, "b.json": instance.to_json(), "c.yaml": instance.to_json()}.items():
        (tmp_path / name).write_text(text)
        assert load(tmp_path / name) == instance
    (tmp_path / "d.json").write_text(QUICK)
    with pytest.raises(InstanceError, match="no valid JSON"):
        load(tmp_path / "d.json")
    flow = (
        "{stages: [edge], domains: [{id: edge-1, stage: edge, capacity: 10, "
        "offers: [{id: standard, latency: 2}]}], tenants: [{id: chat, "
        "arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 20, epsilon: 1e-3}}]}"
    )
    assert loads(flow) == instance


def test_problems_name_file_place_line_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(QUICK.replace("1e-3", "1.5").replace("stage: edge,", "stage: egde,"))
    with pytest.raises(InstanceError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: 2 problems\n"
        "  tenants[0].slo.epsilon (line 5): must be below 1, is 1.5\n"
        "    → give the allowed violation probability, between 0 and 1, such as 0.001, or percentile: 99.9\n"
        "  domains[0].stage (line 3): there is no stage 'egde'\n"
        "    → did you mean 'edge'?"
    )


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(QUICK)
    with pytest.raises(InstanceError, match=r"does not exist\s+→ did you mean .*quickstart\.yaml"):
        load(tmp_path / "quikstart.yaml")
    with pytest.raises(InstanceError, match="does not exist"):
        load(tmp_path / "nowhere" / "x.yaml")
    with pytest.raises(InstanceError, match="is a directory"):
        load(tmp_path)
    with pytest.raises(InstanceError, match=r"cannot be read|does not exist"):
        load("x\x00y")
    with pytest.raises(InstanceError, match="cannot be read"):
        load("x" * 5000)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x1f\x8b\x08\x00\xff", "no text in UTF-8"),
        (b"\xff\xfe\xfd", "no text in UTF-16"),
        (b"a\x00b", "binary"),
        (b"", "empty"),
        (b"hello", "no named fields"),
        (b"[1, 2]", "no named fields"),
        (b"fedopt: 1", "stages: is missing"),
        ("stages: [größe]".encode("latin-1"), "no text in UTF-8"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "levels deep"),
        (b'{"slot": ' + b"9" * 10_000 + b"}", "no valid JSON"),
        (b'{"slot": NaN}', "slot: must be a finite number, is nan"),
        (b"slot: " + b"9" * 10_000, "slot"),
    ],
)
def test_contents_that_are_none(content: bytes, said: str) -> None:
    with pytest.raises(InstanceError, match=said) as caught:
        loads(content)
    assert all(problem.message and problem.remedy for problem in caught.value.problems)


def test_encodings_with_a_mark_are_read() -> None:
    instance = loads(QUICK.replace("chat", "größe"))
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert loads(QUICK.replace("chat", "größe").encode(encoding)) == instance


def test_huge_files_are_refused_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1_000_000)
    path = tmp_path / "huge.yaml"
    with open(path, "wb") as stream:
        stream.truncate(100_000_000)
    with pytest.raises(InstanceError, match="larger than 1 MB"):
        load(path)


def test_anchors_have_a_place() -> None:
    text = QUICK.replace("{deadline: 20, epsilon: 1e-3}", "*slo")
    assert loads("x-shared: &slo {deadline: 20, epsilon: 1e-3}\n" + text) == loads(QUICK)


def test_texts_cannot_make_us_open_files(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time,work\n1,2\n")
    text = QUICK.replace("{model: poisson, rate: 0.5}", "{model: trace, file: t.csv}")
    with pytest.raises(InstanceError, match="without a directory"):
        loads(text)
    with pytest.raises(InstanceError, match="without a directory"):
        loads(text.replace("t.csv", str(tmp_path / "t.csv")))
    assert loads(text, directory=tmp_path).tenants[0].arrivals.path == tmp_path / "t.csv"


def test_text_from_elsewhere_opens_no_file_however_deep_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time,work\n1,1\n2,1\n")
    ask = (
        f"{{arrivals: {{model: trace, file: {tmp_path / 't.csv'}}}, throughput: 1, delay: [1], risk: [0.1]}}"
    )
    learned = f"impairment: {{model: learned, confidence: 0.9, asks: [{ask}]}}"
    text = QUICK.replace("{id: standard, ", f"{{id: standard, {learned}, ")
    assert text != QUICK
    with pytest.raises(InstanceError, match=r"asks\[0\]\.arrivals\.file.*names a file"):
        loads(text)


def test_numbers_in_quotes_are_not_numbers() -> None:
    with pytest.raises(InstanceError, match=r"must be a number, is '0\.5'"):
        loads(QUICK.replace("rate: 0.5", "rate: '0.5'"))


def test_names_may_look_like_words_of_yaml() -> None:
    instance = loads(QUICK.replace("edge-1", "no"))
    assert instance.domains[0].id == "no"
    assert loads(dumps(instance)) == instance


def test_lines_of_json_are_not_known(data: dict[str, Any]) -> None:
    data["slot"] = -1
    with pytest.raises(InstanceError) as caught:
        loads(json.dumps(data))
    assert caught.value.problems[0].line is None
