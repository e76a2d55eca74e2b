import json

import numpy as np
import pytest

from fedopt.cli import run


@pytest.fixture
def telemetry(tmp_path):
    path = tmp_path / "t.csv"
    values = np.random.default_rng(1).exponential(5.0, 5000)
    path.write_text("delay\n" + "\n".join(f"{v:.6f}" for v in values) + "\n")
    return str(path)


def test_verdicts_and_exit_codes(telemetry, capsys):
    assert run(["audit", telemetry]) == 0
    assert "nothing was promised" in capsys.readouterr().out
    assert run(["audit", telemetry, "--deadline", "100", "--epsilon", "0.001"]) == 0
    assert "the promise is kept" in capsys.readouterr().out
    assert run(["audit", telemetry, "--deadline", "10", "--epsilon", "0.001"]) == 5
    assert "BROKEN" in capsys.readouterr().out


def test_json_alone_on_stdout_and_written_whole(telemetry, tmp_path, capsys):
    out = tmp_path / "audit.json"
    assert run(["audit", telemetry, "--json", "--out", str(out), "--quantile", "0.99"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(out.read_text())
    assert list(document["quantiles"]) == ["0.99"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--deadline", "10"],
        ["--quantile", "1.5"],
        ["--rounding", "sideways"],
        ["--value", "nothing"],
        ["--plan", "plan.json"],
        ["--threshold", "1e9"],
    ],
)
def test_bad_usage_ends_with_2(telemetry, arguments, capsys):
    assert run(["audit", telemetry, *arguments]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_plot_is_written(telemetry, tmp_path):
    pytest.importorskip("matplotlib")
    assert run(["audit", telemetry, "-q", "--plot", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").stat().st_size > 10_000
