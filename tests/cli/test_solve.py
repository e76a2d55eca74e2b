import json

import pytest

from fedopt.cli import run
from fedopt.plan import Explanation, Plan


def test_summary_on_stdout_and_plan_in_file(fake, metro, tmp_path, capsys):
    fake()
    assert run(["solve", str(metro), "--out", str(tmp_path / "plan.json")]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("metro: optimal, cost 8, certified gap 0 %")
    assert "a solver that talks" in captured.err
    assert Plan.load(tmp_path / "plan.json").cost == 8.0


def test_json_is_alone_on_stdout(fake, metro, capsys):
    fake()
    assert run(["solve", str(metro), "--json"]) == 0
    assert Plan.loads(capsys.readouterr().out).tenants["chat"].theta == 0.3


def test_quiet_says_nothing(fake, metro, capsys):
    fake()
    assert run(["solve", str(metro), "-q"]) == 0
    assert capsys.readouterr().out == ""


def test_flags_become_arguments(fake, metro, metro_plan, tmp_path):
    solver = fake()
    metro_plan.save(tmp_path / "old.json")
    flags = ["--guarantee", "minplus:fine", "--objective", "profit", "--gap", "0.01", "--time-limit", "5"]
    assert run(["solve", str(metro), *flags, "--warm-start", str(tmp_path / "old.json"), "-q"]) == 0
    call = solver.calls[0]
    assert (call["guarantee"], call["objective"], call["gap"], call["time_limit"]) == (
        "minplus:fine",
        "profit",
        0.01,
        5.0,
    )
    assert call["warm_start"] == metro_plan


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"status": "optimal"}, 0),
        ({"status": "feasible"}, 0),
        ({"status": "infeasible", "explanation": [Explanation(constraint="policy", message="no path")]}, 3),
        ({"status": "limit"}, 4),
    ],
)
def test_exit_codes_tell_the_status(fake, metro, capsys, fields, code):
    fake(**fields)
    assert run(["solve", str(metro), "--json"]) == code
    assert json.loads(capsys.readouterr().out)["status"] == fields["status"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "magic"], "there are central"),
        (["--method", "model:"], "there is no method"),
        (["--guarantee", "magic"], "there are minplus"),
        (["--objective", "magic"], "not one of 'cost', 'profit'"),
        (["--gap", "nan"], "gap"),
        (["--time-limit", "-1"], "time-limit"),
        (["--method", "admm", "--model", "joint"], "different solvers"),
        (["--warm-start", "none.json"], "none.json: cannot be read"),
        (["--model", "joint", "--warm-start", "OLD"], "warm start"),
    ],
)
def test_bad_options_are_exit_2_and_say_what_there_is(
    fake, metro, metro_plan, tmp_path, capsys, flags, message
):
    fake()
    metro_plan.save(tmp_path / "old.json")
    flags = [str(tmp_path / "old.json") if flag == "OLD" else flag for flag in flags]
    assert run(["solve", str(metro), *flags]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_model_is_a_method(monkeypatch, metro, answer):
    import fedopt.formulations

    seen = []

    def solve(instance, name, **options):
        seen.append((name, options["gap"]))
        return answer(instance, method=f"model:{name}")

    monkeypatch.setattr(fedopt.formulations, "solve", solve, raising=False)
    assert run(["solve", str(metro), "--model", "joint", "--gap", "0.1", "-q"]) == 0
    assert run(["solve", str(metro), "--method", "model:joint", "--gap", "0.1", "-q"]) == 0
    assert seen == [("joint", 0.1)] * 2


def test_a_missing_or_malformed_instance_is_exit_2(fake, tmp_path, capsys):
    fake()
    assert run(["solve", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text("fedopt: 1\nstages: [a]\n")
    assert run(["solve", str(tmp_path / "bad.yaml")]) == 2
    captured = capsys.readouterr()
    assert "bad.yaml" in captured.err
    assert captured.out == ""


def test_several_instances(fake, metro, tmp_path, capsys):
    fake()
    other = tmp_path / "other.yaml"
    other.write_text(metro.read_text().replace("name: metro", "name: other"))
    assert run(["solve", str(metro), str(other), "--json", "--out", str(tmp_path / "plans")]) == 0
    plans = json.loads(capsys.readouterr().out)
    assert [plan["instance"]["name"] for plan in plans] == ["metro", "other"]
    assert Plan.load(tmp_path / "plans" / "other.plan.json").instance.name == "other"


def test_one_bad_file_among_several_does_not_stop_the_others(fake, metro, tmp_path, capsys):
    fake()
    assert run(["solve", str(tmp_path / "none.yaml"), str(metro)]) == 2
    captured = capsys.readouterr()
    assert "none.yaml" in captured.err
    assert "metro: optimal" in captured.out


def test_an_out_that_cannot_be_meant_is_refused_before_any_work(fake, metro, tmp_path, capsys):
    solver = fake()
    assert run(["solve", str(metro), "--out", str(tmp_path)]) == 2
    assert f"{tmp_path}: is a folder" in capsys.readouterr().err
    assert run(["solve", str(metro), "--out", str(metro)]) == 2
    assert f"{metro}: is the input" in capsys.readouterr().err
    assert solver.calls == []


def test_an_unwritable_out_is_exit_2(fake, metro, tmp_path, capsys):
    fake()
    (tmp_path / "file").write_text("")
    assert run(["solve", str(metro), "--out", str(tmp_path / "file" / "plan.json")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_simulated_says_that_it_is_a_measurement(metro, tmp_path, capsys):
    metro.write_text(metro.read_text().replace("epsilon: 0.001", "epsilon: 0.1"))
    plan = tmp_path / "plan.json"
    flags = ["--guarantee", "simulated", "--seed", "1", "--out", str(plan)]
    assert run(["solve", str(metro), *flags]) == 0
    assert "a measurement, not a theorem" in capsys.readouterr().out
    assert Plan.load(plan).tenants["chat"].parameters["seed"] == 1
    assert run(["check", str(plan), str(metro)]) == 0
    assert "a measurement by simulation, not a theorem" in capsys.readouterr().out
    assert run(["explain", str(metro), "--guarantee", "simulated"]) == 2
    assert "--guarantee minplus" in capsys.readouterr().err


def test_several_files_on_several_processes(metro, tmp_path, capsys):
    second, broken = tmp_path / "second.yaml", tmp_path / "broken.yaml"
    second.write_text(metro.read_text().replace("deadline: 30", "deadline: 40"))
    broken.write_text("stages: [")
    out = tmp_path / "plans"
    line = ["solve", str(metro), str(broken), str(second), "--guarantee", "minplus:ville", "--json"]
    assert run([*line, "--jobs", "2", "--out", str(out)]) == 2
    captured = capsys.readouterr()
    first, other = json.loads(captured.out)
    assert first["cost"] > other["cost"]
    assert "broken.yaml" in captured.err
    assert json.loads((out / "metro.plan.json").read_text())["cost"] == first["cost"]
    assert json.loads((out / "second.plan.json").read_text())["cost"] == other["cost"]


def test_plans_of_several_files_do_not_overwrite_each_other(fake, metro, tmp_path, capsys):
    solver = fake()
    other = tmp_path / "elsewhere" / metro.name
    other.parent.mkdir()
    other.write_text(metro.read_text())
    assert run(["solve", str(metro), str(other), "--out", str(tmp_path / "plans")]) == 2
    assert "metro.plan.json" in capsys.readouterr().err
    assert solver.calls == []
