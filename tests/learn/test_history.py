"""Bad history files are refused with what is wrong, where, and what to do."""

from __future__ import annotations

import pytest

from fedopt.learn.history import History, HistoryError

HEAD = "domain,delay,throughput,accepted\n"
GOOD = "".join(f"a,{10 + i},0.5,{i % 2}\nb,{20 + i},0.4,{(i + 1) % 2}\n" for i in range(30))

BAD = {
    "wrong columns": ("dom,delay,rate,accepted\n" + GOOD, "column 'domain' is missing"),
    "other labels": (HEAD + GOOD + "a,10,0.5,2\n", "the label is 2"),
    "labels as words": (HEAD + GOOD + "a,10,0.5,yes\n", "'yes' is not a finite number"),
    "NaN": (HEAD + GOOD + "a,nan,0.5,1\n", "'nan' is not a finite number"),
    "infinite": (HEAD + GOOD + "a,inf,0.5,1\n", "'inf' is not a finite number"),
    "empty cell": (HEAD + GOOD + "a,,0.5,1\n", "'' is not a finite number"),
    "short row": (HEAD + GOOD + "a,3\n", "is not a finite number"),
    "negative delay": (HEAD + GOOD + "a,-3,0.5,1\n", "-3 is out of range"),
    "nameless": (HEAD + GOOD + ",3,0.5,1\n", "not named"),
    "ten rows": (HEAD + GOOD[: GOOD.index("a,15")], "5 answers, fewer than 20"),
    "one class": (HEAD + "".join(f"a,{10 + i},0.5,1\n" for i in range(40)), "all 40 answers are accepted"),
    "empty": ("", "the file has no header"),
    "header only": (HEAD, "no answers"),
    "twice the same column": ("domain,delay,throughput,accepted,delay\n", "appears twice"),
    "stages that differ": (
        "domain,delay,throughput,accepted,stage\na,1,1,1,x\na,1,1,0,y\n",
        "no stage or different",
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_files(tmp_path, case):
    text, message = BAD[case]
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(HistoryError) as caught:
        History.read(path)
    assert caught.value.exit_code == 2
    assert message in str(caught.value)
    assert "history.csv" in str(caught.value)
    assert all(problem.remedy for problem in caught.value.problems)


def test_not_text(tmp_path):
    path = tmp_path / "history.csv"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(HistoryError, match="not text"):
        History.read(path)


def test_good_file(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("\ufeff" + HEAD + GOOD + "a,99,0.5,1\n", encoding="utf-8")
    history = History.read(path)
    assert history.names == ("a", "b")
    assert history.stages is None
    assert history.feedback.delay.shape == (2, 31)
    assert history.feedback.weight.sum(axis=1).tolist() == [31, 30]
    assert history.thin == ()


def test_thin_histories_can_be_allowed(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(BAD["one class"][0] + "b,3,0.5,0\n")
    history = History.read(path, allow_thin=True)
    assert len(history.thin) == 2
