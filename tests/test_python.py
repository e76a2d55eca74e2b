"""What a Python developer relies on: names, types, documentation, examples, quiet solvers, logging."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import subprocess
import sys
import tempfile
import typing
from pathlib import Path

import pytest

import fedopt
from fedopt.plan.guarantees import GUARANTEES, Guarantee

ROOT = Path(__file__).resolve().parents[1]

CLIENT = """
from pathlib import Path

import fedopt


def plan(path: Path, deadline: float) -> float | None:
    instance = fedopt.load(path).with_({"tenants.*.slo.deadline": deadline})
    try:
        found = fedopt.solve(instance, method="central", guarantee="minplus:ville", gap=1e-3, time_limit=60.0)
    except fedopt.FedoptError as error:
        print(error)
        return None
    if fedopt.check(found, instance).ok and found.status == "optimal":
        for entry in found.tenants:
            print(entry.id, entry.path, sum(entry.reservations.values()))
        found.plot().savefig("plan.png")
        print(found.to_frame().describe())
    result: fedopt.SimulationResult = fedopt.simulate(found, instance, seed=1)
    print(result.ok, fedopt.compare(instance, methods=["central", "admm"]).to_markdown())
    instance.save("changed.yaml")
    return found.cost


print(plan(fedopt.examples()["quickstart"], 30.0))
"""


def test_a_client_program_passes_the_strictest_type_check(tmp_path):
    (tmp_path / "client.py").write_text(CLIENT)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": ""}
    command += ["--follow-imports=silent", "--config-file=", "--ignore-missing-imports", "client.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    (tmp_path / "client.py").write_text(CLIENT.replace('"minplus:ville"', '"minplus:vile"'))
    wrong = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "incompatible type \"Literal['minplus:vile']\"" in wrong.stdout


def test_the_types_name_what_there_is():
    assert set(typing.get_args(Guarantee)) == set(GUARANTEES)
    assert set(typing.get_args(importlib.import_module("fedopt.solve").Method)) == set(
        importlib.import_module("fedopt.solve").METHODS
    )
    assert (ROOT / "fedopt" / "py.typed").exists()


PARAMETERS = {"PR01", "PR02", "PR03", "PR10", "RT01", "YD01"}
SECTIONS = {"GL08", "SS01", "SS02", "SS03", *PARAMETERS}
"""What numpydoc must not find: missing or misshapen summaries, and in functions parameters that are missing
or unknown and results that are not told."""


def _public():
    for name in fedopt.__all__:
        found = getattr(fedopt, name)
        if name == "simulate":
            continue
        if inspect.isfunction(found) or inspect.isclass(found):
            yield pytest.param(found, id=name)
        if inspect.isclass(found):
            for method, function in vars(found).items():
                if not method.startswith("_") and inspect.isfunction(function):
                    yield pytest.param(function, id=f"{name}.{method}")


@pytest.mark.parametrize("public", _public())
def test_public_objects_are_documented(public):
    validate = pytest.importorskip("numpydoc.validate")
    errors = validate.validate(validate.get_doc_object(public))["errors"]
    function = inspect.isfunction(public) and "." not in public.__qualname__
    wanted = SECTIONS if function else SECTIONS - PARAMETERS
    assert [error for error in errors if error[0] in wanted] == []


def test_the_examples_can_be_loaded_and_saved(tmp_path):
    found = fedopt.examples()
    assert {"quickstart", "metro-llm", "germany50"} <= set(found)
    for path in found.values():
        instance = fedopt.load(path)
        for name in ("copy.yaml", "copy.json"):
            assert fedopt.load(instance.save(tmp_path / name)) == instance


def test_errors_have_one_base():
    for name, arguments in (("no such method", {}), ("central", {"guarantee": "none"})):
        with pytest.raises(fedopt.FedoptError):
            fedopt.solve(fedopt.examples()["quickstart"], name, **arguments)
    with pytest.raises(fedopt.FedoptError):
        fedopt.solve("nowhere.yaml")
    assert issubclass(fedopt.InstanceError, fedopt.FedoptError)
    assert issubclass(fedopt.MissingExtraError, ImportError)


def test_verbose_logs_rounds(caplog):
    with caplog.at_level(logging.INFO, logger="fedopt"):
        plan = fedopt.solve(fedopt.examples()["quickstart"], verbose=True)
    assert [message.split("  ")[0] for message in caplog.messages] == [
        f"round {r.round}" for r in plan.history
    ]


@pytest.mark.parametrize("method", ["central", "admm", "bundle", "consensus", "model:path_selection"])
def test_no_solver_prints(method):
    with tempfile.TemporaryFile() as caught:
        kept = os.dup(1)
        sys.stdout.flush()
        os.dup2(caught.fileno(), 1)
        try:
            fedopt.solve(fedopt.examples()["quickstart"], method, gap=1e-2)
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)
        caught.seek(0)
        assert caught.read() == b""
