"""Finding and loading model files: names, paths, and files that are broken."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fedopt.formulations import ModelError, available, find, load

NAMES = {"path_selection", "reservation", "risk_split", "paper_eq20", "joint"}


def test_every_model_has_a_line_and_states_its_mathematics():
    found = {name: (line, path) for name, line, path in available()}
    assert set(found) >= NAMES
    for name in NAMES:
        line, path = found[name]
        assert len(line) > 30
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for word in ("Sets", "Given", "Variables", "Minimise", "subject to"):
            assert word in docstring, (name, word)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_model_defines_the_three_steps(name):
    module = load(name)
    assert module.GUARANTEES
    assert set(module.OBJECTIVES) <= {"cost", "profit"}


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ModelError, match="did you mean 'joint'"):
        find("jiont")
    with pytest.raises(ModelError, match="no model file"):
        find("nowhere/model.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build(:\n", ":1: SyntaxError"),
        ("x = 1\ny = 1 / 0\n", ":2: ZeroDivisionError"),
        ("import a_package_that_is_not_there\n", "needs the package 'a_package_that_is_not_there'"),
        ("def build(instance): pass\n", "missing: solve, extract"),
        ("raise SystemExit(7)\n", "SystemExit"),
    ],
)
def test_a_broken_file_is_a_clear_error(tmp_path: Path, text, message):
    file = tmp_path / "mine.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError) as error:
        load(str(file))
    assert message in str(error.value)
    assert str(file) in str(error.value)
    assert error.value.exit_code == 2
