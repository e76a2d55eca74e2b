"""The delays written for audits are those that a simulation counts."""

from __future__ import annotations

import csv

import numpy as np

import fedopt
from fedopt.audit import audit_telemetry, read_telemetry
from fedopt.cli import run
from fedopt.simulate.telemetry import telemetry

INSTANCE = fedopt.load(fedopt.examples()["quickstart"])


def test_as_many_requests_are_late_as_the_promise_and_the_simulation_say():
    plan = fedopt.solve(INSTANCE)
    ((tenant, delays),) = telemetry(plan, INSTANCE, requests=200_000, seed=3)
    slo = INSTANCE.tenant(tenant).slo
    late = float((delays > slo.deadline).mean())
    counted = fedopt.simulate(plan, INSTANCE, model="requests", seed=4).tenants[0].violation
    # Late requests come in busy periods: ten times the variance of independent ones is ample at this load.
    error = np.sqrt(10 * slo.epsilon / len(delays)) + (counted.high - counted.low) / 2
    assert abs(late - counted.estimate) < 4 * error
    ((_, again),) = telemetry(plan, INSTANCE, requests=200_000, seed=3)
    assert (again == delays).all()


def test_the_command_writes_what_an_audit_reads(tmp_path, capsys):
    plan, file = tmp_path / "plan.json", tmp_path / "telemetry.csv"
    fedopt.solve(INSTANCE).save(plan)
    arguments = ["simulate", str(plan), "quickstart", "--slots", "20000", "--trials", "2"]
    assert run([*arguments, "--telemetry", str(file)]) == 0
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert f"wrote {file}: {len(rows):,} requests" in capsys.readouterr().err
    audited = audit_telemetry(read_telemetry(file))
    assert audited.samples == len(rows)
    assert run(["audit", str(file), "quickstart", "--plan", str(plan), "-q"]) in (0, 5)
