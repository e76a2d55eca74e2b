import json

import numpy as np

from fedopt.audit import Promise, audit
from fedopt.cli import run
from fedopt.instance import loads
from tests.audit.test_settlement import INSTANCE, plan_of


def test_settlement_and_statements(tmp_path, capsys):
    instance = loads(INSTANCE, "settled.yaml")
    (tmp_path / "i.yaml").write_text(INSTANCE)
    plan_of(instance).save(tmp_path / "plan.json")
    found = audit(np.random.default_rng(1).exponential(1.0, 5000), Promise(deadline=1.0, epsilon=0.001))
    found.model_copy(update={"series": {"chat": found}}).save(tmp_path / "audit.json")
    arguments = ["settle", str(tmp_path / "plan.json"), "--instance", str(tmp_path / "i.yaml")]
    arguments += ["--audit", str(tmp_path / "audit.json")]
    assert run([*arguments, "--json", "--statements", str(tmp_path / "statements")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert sum(document["net"].values()) == 3 * 1001 + 500 - 3 * 3337
    statements = [json.loads(file.read_text()) for file in sorted((tmp_path / "statements").iterdir())]
    assert {s["domain"]: s["net"] for s in statements} == document["net"]
    assert run([*arguments[:-1], str(tmp_path / "plan.json")]) == 2
