"""The command around the explanations: what it refuses."""

from fedopt.cli import run


def test_a_plan_of_another_instance_is_refused(metro, metro_plan, tmp_path, capsys):
    other = tmp_path / "other.yaml"
    other.write_text(metro.read_text().replace("deadline: 30", "deadline: 31"))
    metro_plan.save(tmp_path / "plan.json")
    assert run(["explain", str(other), "--plan", str(tmp_path / "plan.json")]) == 2
    assert "was made for another instance" in capsys.readouterr().err
