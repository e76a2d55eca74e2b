import json

import numpy as np
import pytest

from fedopt.cli import run


@pytest.fixture
def telemetry(tmp_path):
    path = tmp_path / "t.csv"
    values = np.random.default_rng(1).exponential(5.0, 8000)
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


def test_a_contract_is_raised_and_its_effect_told(tmp_path, capsys):
    from fedopt.contracts import Registry, contract_of, generate_key, sign
    from fedopt.contracts.document import read_contract
    from fedopt.instance import loads
    from tests.audit.test_settlement import INSTANCE, degraded, plan_of

    instance = loads(INSTANCE, "i.yaml")
    (tmp_path / "i.yaml").write_text(INSTANCE)
    plan_of(instance, (1.1, 1.1)).save(tmp_path / "plan.json")
    registry, key = Registry(tmp_path / "registry"), generate_key("op")
    registry.trust(key.public())
    data = degraded("edge", "small", 0.2, 3.0).to_dict() | {"valid_until": "2099-01-01T00:00:00Z"}
    registry.add(sign(contract_of(data), key))
    rng = np.random.default_rng(1)
    rows = [f"{t},{v:.4f}" for t in ("chat", "bulk") for v in 5 + rng.exponential(6.0, 20_000)]
    (tmp_path / "t.csv").write_text("tenant,delay\n" + "\n".join(rows) + "\n")
    arguments = ["audit", str(tmp_path / "t.csv"), "--plan", str(tmp_path / "plan.json")]
    arguments += ["--instance", str(tmp_path / "i.yaml"), "--contract", "edge/small", "--quantile", "0.999"]
    arguments += ["--recalibrate", str(tmp_path / "registry"), "--successor", str(tmp_path / "next.json")]
    assert run(arguments) == 5, "chat was promised 40 ms"
    assert "scaled by" in capsys.readouterr().out
    following = read_contract(tmp_path / "next.json")
    assert following.version == 2
    assert registry.add(sign(following, key)).version == 2
    assert run([*arguments, "--json"]) == 5
    json.loads(capsys.readouterr().out)
