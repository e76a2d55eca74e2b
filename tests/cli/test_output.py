import json
import os

import pytest

from fedopt.cli._output import emit, fail, json_text, stdout_kept_clean
from fedopt.errors import FedoptError


def test_text_or_json_or_file(tmp_path, capsys):
    emit({"a": 1}, "words [not markup]")
    assert capsys.readouterr().out == "words [not markup]\n"
    emit({"a": 1}, "words", json=True)
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    emit({"a": 1}, "words", out=tmp_path / "x.json", quiet=True)
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


def test_numbers_that_json_lacks_become_null():
    text = json_text({"a": [float("nan"), float("inf"), (-float("inf"),), 1.5], 2: "ε"})
    assert json.loads(text) == {"a": [None, None, [None], 1.5], "2": "ε"}


def test_fail_is_a_message_and_a_code():
    with pytest.raises(FedoptError, match="not so") as caught:
        fail(2, "not so")
    assert caught.value.exit_code == 2


def test_compiled_code_that_prints_does_not_reach_stdout(capfd):
    with stdout_kept_clean():
        os.write(1, b"from below\n")
        print("from python")
    print("the result")
    captured = capfd.readouterr()
    assert captured.out == "the result\n"
    assert "from below" in captured.err
    assert "from python" in captured.err
