from __future__ import annotations

import pickle

from fedopt.instance.errors import SHOWN, InstanceError, Problem, choice_remedy, near_miss


def test_an_error_names_the_source_and_each_place_line_and_remedy() -> None:
    error = InstanceError(
        [Problem("slot", "must be above 0", "give a number", 3), Problem("", "is empty", "write")], "x.yaml"
    )
    assert str(error) == (
        "x.yaml: 2 problems\n  slot (line 3): must be above 0\n    → give a number\n  is empty\n    → write"
    )
    assert error.exit_code == 2


def test_a_long_list_is_cut_in_the_text_only() -> None:
    error = InstanceError([Problem(f"p{i}", "m", "r") for i in range(SHOWN + 7)], "x")
    assert "… and 7 more" in str(error)
    assert len(error.problems) == SHOWN + 7


def test_an_error_survives_the_way_between_processes() -> None:
    error = InstanceError([Problem("a", "b", "c", 1)], "x")
    again = pickle.loads(pickle.dumps(error))
    assert (again.problems, again.source, str(again)) == (error.problems, error.source, str(error))


def test_near_misses() -> None:
    assert near_miss("Transprot", ["access", "transport"]) == "transport"
    assert near_miss("qqq", ["access", "transport"]) is None
    assert near_miss(5, ["access"]) is None
    assert choice_remedy("acess", ["access"], "stage") == "did you mean 'access'?"
    assert choice_remedy("qqq", ["a", "b"], "stage") == "use one of 'a', 'b'"
    assert "no stage" in choice_remedy("qqq", [], "stage")
