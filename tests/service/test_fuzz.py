"""The service against its own OpenAPI document, by schemathesis: every request that the document allows and
many that it does not; answers must have the form that it states, and nothing may be a defect.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("schemathesis")

from fedopt.service import documents as examples
from tests.service.world import Caller, running

OF_A_PLAN = "getJob getInstance getPlan getBounds getCheck getReport followJob stopJob cancelJob"

CONFIG = """
[[operations]]
include-path = ["/solve", "/resolve-intent", "/read-instance", "/jobs/{jobId}/settle",
                "/learned/{name}/observe", "/learned/{name}/decompose"]
# that the parts of a document fit together is more than its schema can say
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 409, 415, 422, 429]

[[operations]]
include-operation-id = ["decompose", "audit"]
# any text may be a table; whether it is one, the job says
checks.negative_data_rejection.expected-statuses = ["2xx", 400, 401, 404, 409, 415, 422, 429]
"""

WITH_JOBS = """
[[operations]]
include-operation-id = [{plans}]
parameters.jobId = "{plan}"

[[operations]]
include-operation-id = ["getResolution"]
parameters.jobId = "{intent}"
"""


def fuzz(server, token, folder, config, *options, seconds=300):
    """Run schemathesis; (exit code, what it said)."""
    (folder / "schemathesis.toml").write_text(config)
    command = [
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--config-file", "schemathesis.toml", "run", f"{server.base}/openapi.json", "--url", server.base),
        *("--header", f"Authorization: Bearer {token}", "--checks", "all", "--suppress-health-check", "all"),
        *("--warnings", "off", "--no-color", *options),
    ]
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, timeout=seconds
    )
    return done.returncode, done.stdout + done.stderr


def both_kinds(server, token):
    """A job of each kind that is done, and the configuration that names them."""
    caller = Caller(server, token)
    plan = caller.post("/solve", json=examples.INSTANCE).json()["jobId"]
    intent = caller.post("/resolve-intent", json=examples.INTENT).json()["jobId"]
    assert {caller.ended(job)["state"] for job in (plan, intent)} == {"DONE"}
    names = ", ".join(f'"{name}"' for name in OF_A_PLAN.split())
    return CONFIG + WITH_JOBS.format(plans=names, plan=plan, intent=intent)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory, tokens):
    """A server of its own, whose jobs are short and may pile up."""
    options = ("--tokens", str(tokens[0]), "--rate", "0", "--job-seconds", "2", "--queue", "100000")
    with running(tmp_path_factory.mktemp("fuzzed"), *options) as server:
        yield server
        assert not server.said("defect"), server.said("defect")[:3]
        assert not server.said("job-defect"), server.said("job-defect")[:3]
        assert not server.said("worker-ended"), server.said("worker-ended")[:3]


def test_requests_of_every_kind(fuzzed, tokens, tmp_path):
    config = both_kinds(fuzzed, tokens[1])
    options = ("--phases", "examples,fuzzing", "--max-examples", "8", "--seed", "1")
    code, said = fuzz(fuzzed, tokens[1], tmp_path, config, *options)
    assert code == 0, said
    assert int(re.search(r"(\d+) generated, \1 passed", said)[1]) > 80, said


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_many_requests_of_every_kind(fuzzed, tokens, tmp_path, seed):
    config = both_kinds(fuzzed, tokens[1])
    phases = ("--phases", "examples,coverage,fuzzing")
    options = (*phases, "--max-examples", "150", "--seed", str(seed))
    code, said = fuzz(fuzzed, tokens[1], tmp_path, config, *options, seconds=3600)
    assert code == 0, said
    options = ("--max-examples", "60", "--seed", str(seed))
    code, said = fuzz(fuzzed, tokens[1], tmp_path, CONFIG, *options, seconds=3600)
    assert code == 0, said
