from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.instance.yaml_text import MAX_DEPTH, TextError, read_yaml, scalar

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-7", -7),
        ("0x1f", 31),
        ("0o17", 15),
        ("017", 17),
        ("true", True),
        ("Null", None),
        ("", None),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value
    assert math.isnan(scalar(".nan"))


@settings(deadline=None, derandomize=True, max_examples=100)
@given(VALUES)
def test_reads_what_yaml_writes(value: object) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    if "---" in text or "..." in text:  # bare scalars end with a document marker
        value, text = [value], yaml.safe_dump([value], allow_unicode=True)
    assert read_yaml(text)[0] == yaml.safe_load(text) or _dates_aside(
        read_yaml(text)[0], yaml.safe_load(text)
    )


def _dates_aside(ours: object, theirs: object) -> bool:
    """YAML 1.1 writes `1.0e+20`, which both take for a number; nothing else may differ."""
    return repr(ours) == repr(theirs)


def test_lines_of_entries() -> None:
    value, lines = read_yaml("a: 1\nb:\n  - x\n  - c: 2\n    d: {e: 3}\n")
    assert [lines.of(value, "a"), lines.of(value, "b")] == [1, 3]
    assert [lines.of(value["b"], 1), lines.of(value["b"][1], "d"), lines.of(value["b"][1]["d"], "e")] == [
        4,
        5,
        5,
    ]
    assert lines.of(value, "z") is None
    assert lines.of([], 0) is None


def test_anchors_aliases_and_merges() -> None:
    value, _ = read_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\nd: [*a, *a]\ne: &s text\nf: *s")
    assert value["b"] == {"x": 1, "y": 3}
    assert value["c"] == {"x": 1, "y": 2}
    assert value["f"] == "text"


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("a: 1\nb: 2\na: 3", "key 'a' twice, first on line 1", 3),
        ("a: &x [*x]", "refers to itself", 1),
        ("a: *x", "unknown anchor", 1),
        ("a: !!python/object:os.system x", "tag", 1),
        ("a: !mine [1]", "tag", 1),
        ("a: 1\n---\nb: 2", "second document", 2),
        ("a:\n  - b\n c", "no valid YAML", 3),
        ("a:\n\t- b", "no valid YAML", 2),
        ("a: b: c", "mapping values", 1),
        ("? [1, 2]\n: 3", "no plain name", 1),
        ("<<: [1]", "merges", 1),
        ("[" * (MAX_DEPTH + 1), "levels deep", 1),
        ("", "is empty", None),
        ("# nothing\n", "is empty", None),
        ("a: \x07", "no valid YAML", None),
    ],
)
def test_texts_that_cannot_be_read(text: str, said: str, line: int | None) -> None:
    with pytest.raises(TextError, match=said) as caught:
        read_yaml(text)
    assert caught.value.line == line
    assert caught.value.remedy


def test_aliases_cannot_explode() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(12))
    with pytest.raises(TextError, match="expands by its aliases"):
        read_yaml(bomb)
    with pytest.raises(TextError, match="expands by its aliases"):
        read_yaml(
            "a: &a {" + ", ".join(f"k{i}: 1" for i in range(999)) + "}\nb:\n" + "  - {<<: [*a, *a]}\n" * 999
        )


def test_values_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedopt.instance.yaml_text.MAX_VALUES", 100)
    with pytest.raises(TextError, match="more than 100 values"):
        read_yaml("[" + "1, " * 200 + "]")
