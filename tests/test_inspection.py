"""Every kind of file that fedopt writes or reads is told apart and described, as users call the command."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from fedopt.cli import run
from tests.cli.conftest import METRO

ROOT = Path(__file__).resolve().parents[1]
CONTRACT = """
{issuer: opA, domain: edge, offer: gold, version: 1, latency: 2,
 impairment: {model: table, theta: [0.1, 0.5], kappa: [0.3, 0.4], eta: [0, 0.1]},
 issued: 2026-01-01T00:00:00Z, valid_from: 2026-01-01T00:00:00Z, valid_until: 2036-01-01T00:00:00Z}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a file of every kind."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    delays = rng.exponential(3.0, 4000)
    with contextlib.chdir(folder):
        Path("metro.yaml").write_text(METRO)
        rows = [f"{1000 + i},t{i % 2},{delay:.4f}" for i, delay in enumerate(delays)]
        Path("telemetry.csv").write_text("time,tenant,delay\n" + "\n".join([*rows, "9,t0,late"]))
        Path("telemetry.csv.gz").write_bytes(gzip.compress(Path("telemetry.csv").read_bytes()))
        Path("telemetry.jsonl").write_text("\n".join(json.dumps({"delay": delay}) for delay in delays))
        Path("requests.csv").write_text(
            "at,tokens,answers\n2026-01-01T00:00:00,5,1\n2026-01-01T00:00:01,7,2\n"
        )
        answers = [
            f"{d},{rng.uniform(5, 90):.2f},0.5,{i % 3 > 0:d}" for i in range(30) for d in ("edge", "core")
        ]
        Path("history.csv").write_text("domain,delay,throughput,accepted\n" + "\n".join(answers))
        Path("contract.yaml").write_text(CONTRACT)
        for line in (
            "solve metro.yaml --out plan.json",
            "simulate plan.json metro.yaml --slots 32000 --out simulation.json",
            "audit telemetry.csv --by tenant --deadline 40 --epsilon 0.01 --out audit.json",
            "contract keygen opA --key opA.key --out opA.pub",
            "contract sign contract.yaml --key opA.key --out edge.jws",
        ):
            assert run([*line.split(), "-q"]) in (0, 5), line
        audits = ["audit", "chat.csv", "--deadline", "30", "--epsilon", "0.001", "--out", "chat.json", "-q"]
        Path("chat.csv").write_text("tenant,delay\n" + "\n".join(f"chat,{delay:.4f}" for delay in delays))
        assert run(audits) in (0, 5)
        settle = "settle plan.json metro.yaml --audit chat.json --out settlement.json -q"
        assert run(settle.split()) == 0
        day = str(ROOT / "instances/scenarios/quick-day.yaml")
        assert run(["operate", day, "--state", "day.db", "-q"]) in (0, 5)
    return folder


KINDS = {
    "metro.yaml": ("instance", "An instance: metro."),
    "plan.json": ("plan", "A plan. metro: optimal"),
    "simulation.json": ("simulation", "A simulation of 1 entries in 32 trials"),
    "audit.json": ("audit", "An audit of telemetry."),
    "settlement.json": ("settlement", "Settlement by the marginal rule"),
    "contract.yaml": ("contract", "A contract that nobody has signed yet. opA promises edge/gold"),
    "edge.jws": ("signed contract", "not verified here"),
    "opA.pub": ("key", "The public signing key"),
    "opA.key": ("key", "The private signing key"),
    "telemetry.csv": ("telemetry", "2 series: t0 2,001, t1 2,000"),
    "telemetry.csv.gz": ("telemetry", "Telemetry: 4,000 values in the column 'delay'"),
    "telemetry.jsonl": ("telemetry", "Telemetry: 4,000 values in the column 'delay'"),
    "requests.csv": ("table", "A table of 2 rows with the columns at, tokens, answers"),
    "history.csv": ("history", "A history: 60 answers of 2 domains."),
    "day.db": ("state", "A state file of fedopt operate"),
    str(ROOT / "instances/scenarios/quick-day.yaml"): ("scenario", "A scenario: "),
    str(ROOT / "instances/scenarios/chat-intent.yaml"): ("intent", "An intent: chat-42 (chat completion)."),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_it_is_is_told_in_words_and_as_data(name, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    kind, words = KINDS[name]
    assert run(["inspect", name]) == 0
    assert words in " ".join(capsys.readouterr().out.split())
    assert run(["inspect", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == kind


def test_a_private_key_is_not_shown(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    secret = json.loads(Path("opA.key").read_text())["d"]
    for options in ([], ["--json"]):
        assert run(["inspect", "opA.key", *options]) == 0
        assert secret not in capsys.readouterr().out


def test_telemetry_says_what_it_could_not_use_and_draws_the_rest(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert run(["inspect", "telemetry.csv"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 did not come back" in shown
    assert re.search("[▁▂▃▄▅▆▇█]{5}", shown)
    assert run(["inspect", "telemetry.csv", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["quantiles"]["0.5"] == pytest.approx(3 * np.log(2), rel=0.1)
    assert facts["time"] == [9, 4999]


def test_a_contract_tells_its_table_up_to_so_many_rows(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert run(["inspect", "contract.yaml", "--rows", "1"]) == 0
    shown = capsys.readouterr().out
    assert "0.3" in shown
    assert "0.5" not in shown


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"SQLite format 3\0" + b"\0" * 200, "x.db"),
        (b"PAR1" + b"\0" * 50, "x.parquet"),
        (b"a.b.c", "x.jws"),
        (b"eyJhbGciOiJub25lIn0.e30.", "x.jws"),
        (b'{"kty": "OKP", "kid": "x", "issuer": "y"}', "x.pub"),
        (b'{"verdict": 1, "samples": 2, "exceedances": 3}', "x.json"),
        (b'{"tenants": 1, "trials": 2, "seed": 3}', "x.json"),
        (b'{"lines": 1, "net": 2, "rule": 3}', "x.json"),
        (b"{issuer: a, domain: b, offer: c}", "x.yaml"),
        (b"{instance: a, periods: b}", "x.yaml"),
        (b"{answers: a, id: b}", "x.yaml"),
        (b"delay\nsoon\n", "x.csv"),
        (b"domain,delay,throughput,accepted\na,b,c,d\n", "x.csv"),
        (b"", "x.csv"),
        (b"\x1f\x8b" + b"\0" * 20, "x.gz"),
    ],
)
def test_what_only_seems_to_be_one_is_refused_in_words(content, name, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    code = run(["inspect", str(tmp_path / name)])
    said = capsys.readouterr()
    assert code in (2, 5), said.err
    assert "defect" not in said.err
    assert said.out == ""


def test_the_jobs_of_a_server(tmp_path, capsys):
    pytest.importorskip("sse_starlette")
    from fedopt.service.store import Store

    store = Store(tmp_path / "state", lambda job: {})
    store.add("a", "solve", "x", {}, {}, most=9)
    assert run(["inspect", str(tmp_path / "state" / "jobs.db")]) == 0
    assert "The jobs of a fedopt serve: 1 QUEUED." in capsys.readouterr().out
    store.close()
