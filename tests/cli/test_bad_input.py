"""Every place where a command takes a file: what is no such file ends with exit code 2 and one message that
names it, and nothing on stdout.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from fedopt.cli import command_lines, run
from tests.cli.conftest import METRO

ROOT = Path(__file__).resolve().parents[2]
DAY = str(ROOT / "instances" / "scenarios" / "quick-day.yaml")
INTENT = str(ROOT / "instances" / "scenarios" / "chat-intent.yaml")
CITY = str(ROOT / "instances" / "city.yaml")

PLACES = {
    "solve": "solve FILE",
    "solve, warm start": "solve metro.yaml --warm-start FILE",
    "solve, model": "solve metro.yaml --method model:./FILE",
    "compare": "compare FILE",
    "check, plan": "check FILE",
    "check, instance": "check plan.json FILE",
    "explain": "explain FILE",
    "explain, plan": "explain metro.yaml --plan FILE",
    "inspect": "inspect FILE",
    "import": "import FILE",
    "import, traffic": "import topohub:sndlib/abilene --areas 2 --sites 1 --transits 1 --traffic FILE",
    "fit arrivals": "fit arrivals FILE --slot 1",
    "fit impairment": "fit impairment FILE --slot 1",
    "simulate, plan": "simulate FILE metro.yaml",
    "simulate, instance": "simulate plan.json FILE",
    "simulate, traffic": "simulate plan.json metro.yaml --traffic chat=FILE",
    "audit": "audit FILE --deadline 10 --epsilon 0.01",
    "audit, plan": "audit telemetry.csv metro.yaml --plan FILE",
    "audit, instance": "audit telemetry.csv FILE --plan plan.json",
    "settle, plan": "settle FILE metro.yaml --audit audit.json",
    "settle, instance": "settle plan.json FILE --audit audit.json",
    "settle, audit": "settle plan.json metro.yaml --audit FILE",
    "contract sign": "contract sign FILE --key opA.key",
    "contract sign, key": "contract sign contract.yaml --key FILE",
    "contract verify, registry": "contract verify contract.yaml --registry FILE",
    "contract trust": "contract trust FILE --registry new",
    "contract trust, registry": "contract trust opA.pub --registry FILE",
    "contract log": "contract log --registry FILE",
    "contract revoke": "contract revoke kid --registry FILE",
    "decompose": "decompose FILE --sla delay=100,throughput=0.5",
    "operate": "operate FILE",
    "operate, state": f"operate {DAY} --state FILE",
    "state": "state FILE",
    "intent": f"intent FILE {CITY}",
    "intent, instance": f"intent {INTENT} FILE",
    "intent, plan": f"intent {INTENT} {CITY} --plan FILE",
    "agent": "agent FILE",
    "agent status": "agent status FILE",
    "broker": "broker FILE --agents agents.yaml",
    "broker, agents": "broker metro.yaml --agents FILE",
    "broker divide": "broker divide FILE --out federation",
    "report": "report FILE -o report.html",
    "report, instance": "report plan.json FILE -o report.html",
    "report, simulation": "report plan.json --simulation FILE -o report.html",
    "report, audit": "report plan.json --audit FILE -o report.html",
    "report, settlement": "report plan.json --settlement FILE -o report.html",
    "sweep": "sweep FILE --out table.csv -q",
    "sweep, resume": "sweep metro.yaml --out FILE --resume -q",
    "serve": "serve --tokens FILE",
    "serve, state": "serve --no-auth --port 0 --state FILE",
}
FILES = {"nowhere.yaml": None, "folder": None, "empty.yaml": b"", "binary.dat": bytes(range(256)) * 4}
MADE_WHERE_MISSING = {
    "contract trust, registry": {"nowhere.yaml", "folder"},
    "operate, state": {"nowhere.yaml", "empty.yaml"},
    "sweep, resume": {"nowhere.yaml"},
    "serve, state": {"nowhere.yaml", "folder"},
}
"""Files and folders that a command makes, so that it is right where they are missing or empty."""

FREE = {"examples", "info", "warm-up", "bench", "generate", "models", "reproduce", "schema"}
"""Commands that read no file."""


CONTRACT = """
{issuer: opA, domain: edge, offer: gold, version: 1, latency: 2, impairment: {model: exponential, mean: 0.1},
 issued: 2026-01-01T00:00:00Z, valid_from: 2026-01-01T00:00:00Z, valid_until: 2036-01-01T00:00:00Z}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    with contextlib.chdir(folder):
        Path("metro.yaml").write_text(METRO)
        Path("folder").mkdir()
        for name, content in FILES.items():
            if content is not None:
                Path(name).write_bytes(content)
        Path("telemetry.csv").write_text("delay\n" + "\n".join(str(1 + i * 7 % 50) for i in range(500)))
        Path("arrivals.csv").write_text("at\n" + "\n".join(str(i * 17 % 4000) for i in range(4000)))
        Path("contract.yaml").write_text(CONTRACT)
        assert run(["solve", "metro.yaml", "--out", "plan.json", "-q"]) == 0
        audit = [
            "audit",
            "telemetry.csv",
            "--deadline",
            "90",
            "--epsilon",
            "0.1",
            "--out",
            "audit.json",
            "-q",
        ]
        assert run(audit) in (0, 5)
        assert run(["contract", "keygen", "opA", "--key", "opA.key", "--out", "opA.pub", "-q"]) == 0
    return folder


def test_every_command_that_reads_a_file_is_here():
    assert {line.split()[0] for line in PLACES.values()} | FREE == set(command_lines())


@pytest.mark.parametrize("what", PLACES)
def test_what_is_no_such_file_is_refused_by_name(what, place, tmp_path, monkeypatch, capfd):
    shutil.copytree(place, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    for name in FILES:
        if name in MADE_WHERE_MISSING.get(what, ()):
            continue
        code = run(PLACES[what].replace("FILE", name).split())
        said = capfd.readouterr()
        about = f"{what} <- {name}: {code}\n{said.out}{said.err}"
        assert code == 2, about
        assert name in said.err, about
        assert "defect" not in said.err, about
        assert "Traceback" not in said.err, about
        assert said.out == "", about


OUT = {
    "solve": "solve metro.yaml",
    "compare": "compare metro.yaml",
    "check": "check plan.json metro.yaml",
    "explain": "explain metro.yaml",
    "inspect": "inspect metro.yaml",
    "generate": "generate --tenants 2 --stages 2 --domains 2",
    "schema": "schema instance",
    "models": "models",
    "fit": "fit arrivals arrivals.csv --slot 1",
    "simulate": "simulate plan.json metro.yaml --slots 3200",
    "audit": "audit telemetry.csv --deadline 90 --epsilon 0.1",
    "report": "report plan.json --explain-seconds 0",
    "intent": f"intent {INTENT} {CITY}",
    "sweep": "sweep metro.yaml",
    "serve openapi": "serve openapi",
    "agent openapi": "agent openapi",
}


@pytest.mark.parametrize("what", OUT)
def test_an_out_that_cannot_be_written_is_refused_by_name(what, place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    for out in ("folder", "empty.yaml/result.json"):
        code = run([*OUT[what].split(), "--out", out])
        said = capfd.readouterr().err
        about = f"{what} --out {out}: {code}\n{said}"
        assert code == 2, about
        assert out.rpartition("/")[0] in said or out in said, about
        assert "defect" not in said, about
