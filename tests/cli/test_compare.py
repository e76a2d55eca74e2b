import json

import pytest

from fedopt.cli import run


@pytest.mark.parametrize("width", ["80", "160"])
def test_table(fake, metro, capsys, monkeypatch, width):
    fake()
    monkeypatch.setenv("COLUMNS", width)
    assert run(["compare", str(metro), "--guarantees", "minplus,split"]) == 0
    text = capsys.readouterr().out
    if width == "80":  # too narrow for the table: its rows one under the other
        assert set(text.split()) >= {"central", "guarantee:", "status:"}
    else:
        assert set(text.split("─")[0].split()) >= {"method", "guarantee", "status"}
    assert text.count("optimal") == 2


def test_json_and_markdown(fake, metro, capsys):
    fake()
    assert run(["compare", str(metro), "--guarantees", "minplus", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["cost"] == 8.0
    assert run(["compare", str(metro), "--guarantees", "minplus", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| method |")


def test_exit_codes(fake, metro, capsys):
    fake(status="infeasible")
    assert run(["compare", str(metro), "-q"]) == 3
    fake(status="limit")
    assert run(["compare", str(metro), "-q"]) == 4
    assert run(["compare", str(metro), "--methods", "magic"]) == 2
    assert "there is no method 'magic'" in capsys.readouterr().err
    assert run(["compare", str(metro), "--guarantees", " , "]) == 2
    assert "name one at least" in capsys.readouterr().err


def test_a_plot_is_drawn_and_its_name_checked_first(fake, metro, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    fake(rounds=3)
    assert run(["compare", str(metro), "--guarantees", "minplus", "--plot", str(tmp_path / "c.png")]) == 0
    assert (tmp_path / "c.png").stat().st_size > 1000
    assert f"drawn to {tmp_path / 'c.png'}" in capsys.readouterr().err
    assert run(["compare", str(metro), "--plot", str(tmp_path / "c.xls")]) == 2
    assert "must end with one of .png, .svg, .pdf" in capsys.readouterr().err
