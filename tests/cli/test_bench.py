"""The command bench: rows as JSON, sizes, messages."""

import json

from fedopt.bench import SUITES, Row
from fedopt.cli import run


def test_rows_of_all_suites_as_one_document(monkeypatch, capsys, tmp_path):
    told = []
    for name in SUITES:
        row = Row(name, 0.5, gap=0.01, ratio_to="other", ratio=3.0, more={"rounds": 4})
        monkeypatch.setitem(SUITES, name, lambda settings, row=row: told.append(settings) or iter([row]))
    out = tmp_path / "rows.json"
    assert run(["bench", "--json", "--sizes", "10x2x3", "--gap", "0.2", "--out", str(out)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(out.read_text())
    assert [row["suite"] for row in document] == list(SUITES)
    assert document[0] == {
        "suite": "bounds",
        "case": "bounds",
        "seconds": 0.5,
        "peak_mb": None,
        "gap": 0.01,
        "ratio_to": "other",
        "ratio": 3.0,
        "rounds": 4,
    }
    assert [(str(case), case.gap) for case in told[0].cases] == [("10x2x3", 0.2)]
    assert run(["bench", "central"]) == 0
    assert "3.0 other" in capsys.readouterr().out


def test_wrong_input(capsys):
    assert run(["bench", "pace"]) == 2
    assert "there are bounds, simulate, central, against, growth" in capsys.readouterr().err
    assert run(["bench", "central", "--sizes", "many"]) == 2
    assert "TENANTSxSTAGESxDOMAINS" in capsys.readouterr().err
    assert run(["bench", "central", "--sizes", "0x3x8"]) == 2
    assert "tenants" in capsys.readouterr().err
