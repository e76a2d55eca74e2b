"""Four operator processes, each with its own model in cvxpy, over HTTPS under one authority."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("cryptography")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import fedopt
from fedopt.plan import Plan
from tests.federated import private_problems
from tests.federated.joint import joint_optimum
from tests.federated.transport.world import (
    connections,
    federation,
    opening,
    processes,
    said,
    served,
    under_an_authority,
)

PROBLEMS = Path(private_problems.__file__)


def split_into_agents(folder, instance, guarantee):
    divided = federation(folder, instance, masking_required=True, private_contracts=guarantee == "split")
    under_an_authority(divided)
    return divided


@pytest.mark.slow
@pytest.mark.parametrize(("guarantee", "gap"), [("minplus", 1e-3), ("split", 1e-2)])
def test_the_federation_pays_what_the_joint_model_would(tmp_path, guarantee, gap, record_property):
    instance = fedopt.instance.loads(private_problems.INSTANCE)
    divided = split_into_agents(tmp_path / "federation", instance, guarantee)
    options = {
        name: ["--problem", f"{PROBLEMS}:{function}"] for name, function in private_problems.FOUR.items()
    }
    command = ["broker", str(divided.public), "--agents", str(divided.broker), "--guarantee", guarantee]
    asked = [sys.executable, "-m", "fedopt", *command, "--gap", str(gap), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with processes(divided, options):
        started = time.perf_counter()
        done = subprocess.run(asked, capture_output=True, text=True, timeout=900, env=environment)
        seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    plan = Plan.loads(done.stdout)
    assert plan.status == "optimal"
    assert "Reserved with opT, opD, opP, opC." in plan.notes
    problems = {name: getattr(private_problems, function) for name, function in private_problems.FOUR.items()}
    best = joint_optimum(instance, problems, guarantee)
    assert plan.catalogue_bound <= best * (1 + 1e-6)
    assert best * (1 - 1e-6) <= plan.cost <= best * (1 + gap)
    wire = json.loads(done.stdout)["ledger"]["wire"]
    for name, value in (
        ("rounds", plan.ledger["totals"]["rounds"]),
        ("bytes", sum(one["bytes_in"] + one["bytes_out"] for one in wire.values())),
        ("seconds", round(seconds, 1)),
        ("cost", plan.cost),
        ("joint", best),
    ):
        record_property(name, value)
        print(name, value)


def test_an_authority_in_a_pinned_file_vouches_for_nobody_else(tmp_path):
    """opB's agent shows its certificate to a broker that expects opC's: of the authority that stands in opC's
    file too, and yet not opC's."""
    divided = federation(tmp_path / "federation")
    under_an_authority(divided)
    with served(divided.agents["opB"]) as url:
        with connections(divided, {"opB": url}) as broker:
            reply = broker.exchange("r1", {"opB": (0, opening(divided, "opB"))})["opB"]
            assert said(reply)["kind"] == "opened"
        with connections(divided, {"opC": url}) as broker:
            reply = broker.exchange("r1", {"opC": (0, opening(divided, "opC"))})["opC"]
            assert (reply.kind, "not the pinned one" in reply.message) == ("certificate", True)
