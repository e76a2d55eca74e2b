import json

from fedopt.cli import run


def test_instance(metro, capsys):
    assert run(["inspect", str(metro)]) == 0
    assert "An instance: metro." in capsys.readouterr().out
    assert run(["inspect", str(metro), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "instance"


def test_plan(metro_plan, tmp_path, capsys):
    metro_plan.save(tmp_path / "plan.json")
    assert run(["inspect", str(tmp_path / "plan.json")]) == 0
    assert capsys.readouterr().out.startswith("A plan. metro: optimal")


def test_neither(tmp_path, capsys):
    (tmp_path / "x").write_bytes(b"\x00\x01\xff")
    assert run(["inspect", str(tmp_path / "x")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "x" in captured.err
