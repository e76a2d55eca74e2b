"""The service as its callers meet it, over real HTTP: posting, following, fetching, and what is refused."""

from __future__ import annotations

import json
import re
import uuid

import numpy as np
import pytest
import yaml

import fedopt
from fedopt.plan import Plan
from tests.service.world import CITY, CROWD, HELLO, IMPOSSIBLE, JSON, LONG, STREET, YAML, Caller, until

INSTANCE = json.dumps(yaml.safe_load(HELLO))


def refused(answer, status, code, words=""):
    """The answer's document, if it refuses so."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["status"] == status
    assert body["code"] == code, body
    assert len(body["message"]) <= 512
    assert words in body["message"], body["message"]
    assert "Traceback" not in answer.text
    assert answer.headers["x-correlator"]
    return body


# --- an instance becomes a plan ---------------------------------------------------------------------


def test_a_posted_instance_becomes_the_plan_that_solve_makes(portal, plan_job):
    assert plan_job["state"] == "DONE"
    assert plan_job["result"]["status"] == "optimal"
    assert plan_job["result"]["checked"] is True
    assert plan_job["attempts"] == 1
    assert plan_job["createdAt"] <= plan_job["startedAt"] <= plan_job["finishedAt"]
    answer = portal.get(f"/jobs/{plan_job['jobId']}/plan")
    assert answer.headers["content-type"] == "application/json"
    plan = Plan.loads(answer.text)
    instance = fedopt.instance.loads(HELLO)
    assert fedopt.check(plan, instance).ok
    expected = fedopt.solve(instance)
    assert plan.cost == pytest.approx(expected.cost, rel=1e-9)
    assert plan.instance == expected.instance


def test_json_and_yaml_are_the_same_instance(portal, plan_job):
    job = portal.post("/solve", content=INSTANCE, headers=JSON).json()
    assert job["name"] == "hello"
    ended = portal.ended(job["jobId"])
    assert ended["result"]["cost"] == pytest.approx(plan_job["result"]["cost"], rel=1e-9)
    posted = portal.get(f"/jobs/{job['jobId']}/instance").text
    assert fedopt.instance.loads(posted) == fedopt.instance.loads(HELLO)


def test_options_reach_the_solver(portal, plan_job):
    job = portal.solve(guarantee="split", gap="0.01", timeLimit="60", method="central", objective="cost")
    assert job["options"]["timeLimit"] == 60
    ended = portal.ended(job["jobId"])
    plan = portal.get(f"/jobs/{job['jobId']}/plan").json()
    assert plan["guarantee"] == "split"
    assert ended["result"]["cost"] > plan_job["result"]["cost"]
    warm = portal.solve(warmStart=plan_job["jobId"])
    assert portal.ended(warm["jobId"])["result"]["cost"] == pytest.approx(plan_job["result"]["cost"])
    by_model = portal.ended(portal.solve(method="model:path_selection")["jobId"])
    assert by_model["state"] == "DONE"
    assert portal.get(f"/jobs/{by_model['jobId']}/plan").json()["method"] == "model:path_selection"


def test_bounds_check_and_report_belong_to_the_plan(portal, plan_job):
    plan = portal.get(f"/jobs/{plan_job['jobId']}/plan").json()
    bounds = portal.get(f"/jobs/{plan_job['jobId']}/bounds").json()
    assert bounds["lowerBound"] <= bounds["cost"] == plan["cost"]
    assert [entry["logBound"] for entry in bounds["tenants"]] == [e["log_bound"] for e in plan["tenants"]]
    assert all(
        entry["kept"] and entry["logBound"] <= entry["logEpsilon"] + 1e-9 for entry in bounds["tenants"]
    )
    assert portal.get(f"/jobs/{plan_job['jobId']}/check").json()["ok"] is True
    report = portal.get(f"/jobs/{plan_job['jobId']}/report")
    assert report.headers["content-type"].startswith("text/html")
    assert report.headers["x-content-type-options"] == "nosniff"
    assert "Plan for hello" in report.text
    assert portal.get(f"/jobs/{plan_job['jobId']}/report").text == report.text


def test_an_infeasible_instance_is_an_answer_that_says_why(portal):
    ended = portal.ended(portal.solve(IMPOSSIBLE)["jobId"])
    assert ended["state"] == "DONE"
    assert ended["result"]["status"] == "infeasible"
    plan = portal.get(f"/jobs/{ended['jobId']}/plan").json()
    assert plan["explanation"][0]["tenant"] == "voice"
    assert portal.get(f"/jobs/{ended['jobId']}/bounds").json()["tenants"] == []
    assert "infeasible" in portal.get(f"/jobs/{ended['jobId']}/report").text


def test_what_a_method_refuses_fails_the_job_in_words(portal):
    ended = portal.ended(portal.solve(method="model:paper_eq20", guarantee="split")["jobId"])
    assert ended["state"] == "FAILED"
    assert ended["error"]["code"] == "INVALID_ARGUMENT"
    assert "knows the guarantees" in ended["error"]["message"]
    body = refused(portal.get(f"/jobs/{ended['jobId']}/plan"), 409, "INCOMPATIBLE_STATE", "FAILED")
    assert "/" not in body["message"].replace("\\", "/").partition(":")[2]


# --- intents ----------------------------------------------------------------------------------------

INTENT = {
    "id": "chat-42",
    "service": "chat completion",
    "like": "chat",
    "answers": {"within": "600 ms", "share": 0.999},
    "min_accuracy": 0.9,
    "policy": {"regions": ["north"]},
}


def test_an_intent_is_resolved_on_an_instance_or_on_a_job(portal):
    document = {"intent": INTENT, "instance": yaml.safe_load(CITY)}
    job = portal.post("/resolve-intent", json=document).json()
    assert job["kind"] == "intent"
    ended = portal.ended(job["jobId"])
    assert ended["result"]["resolved"] is True, ended
    found = portal.get(f"/jobs/{job['jobId']}/resolution").json()
    assert found["alternatives"][0]["chosen"]
    assert found["entry"]["path"][-1] == found["alternatives"][0]["offer"]
    assert any("region" in alternative["why"] for alternative in found["alternatives"])

    plan = portal.ended(portal.solve(CITY)["jobId"])
    on_plan = portal.post("/resolve-intent", json={"intent": INTENT, "job": plan["jobId"]}).json()
    assert portal.ended(on_plan["jobId"])["result"]["resolved"] is True
    with_plan = {**document, "plan": portal.get(f"/jobs/{plan['jobId']}/plan").json()}
    again = portal.post("/resolve-intent", content=yaml.safe_dump(with_plan), headers=YAML).json()
    portal.ended(again["jobId"])
    documents = [portal.get(f"/jobs/{j['jobId']}/resolution").json() for j in (on_plan, again)]
    assert documents[0] == documents[1]
    refused(portal.get(f"/jobs/{again['jobId']}/plan"), 404, "NOT_FOUND", "intent")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"instance": {}}, "intent: is missing"),
        ({"intent": INTENT}, "must come with either an instance"),
        ({"intent": INTENT, "job": 3}, "job: is no name"),
        ({"intent": INTENT, "job": str(uuid.uuid4())}, "job: there is no job"),
        ({"intent": {**INTENT, "like": "nobody"}, "instance": yaml.safe_load(CITY)}, "nobody"),
        ({"intent": {**INTENT, "answers": {"within": "soon"}}, "job": "x"}, "intent.answers.within"),
        ({"intent": INTENT, "instance": {"stages": 7}}, "instance."),
        ({"intent": INTENT, "instance": yaml.safe_load(CITY), "plan": {}}, "plan"),
        ({"intent": INTENT, "instant": {}}, "instant: is not a field"),
    ],
)
def test_an_intent_that_is_wrong_is_refused_at_its_place(portal, document, words):
    refused(portal.post("/resolve-intent", json=document), 400, "INVALID_ARGUMENT", words)


# --- following --------------------------------------------------------------------------------------


def test_events_tell_the_whole_story_and_resume_where_they_were_left(portal):
    job = portal.solve(STREET, **LONG)["jobId"]
    first = portal.events(job, most=4)
    assert [number for number, _, _ in first] == [1, 2, 3, 4]
    assert [kind for _, kind, _ in first] == ["state", "state", "progress", "progress"]
    assert first[0][2]["state"] == "QUEUED"
    assert first[1][2]["state"] == "RUNNING"
    assert first[3][2]["round"] > first[2][2]["round"]
    rest = portal.events(job, after=4)
    assert [number for number, _, _ in rest] == list(range(5, 5 + len(rest)))
    assert rest[-1][1] == "state"
    assert rest[-1][2]["state"] == "DONE"
    assert rest[-1][2] == portal.job(job)
    assert portal.events(job) == first + rest
    last = rest[-1][0]
    answer = portal.get(f"/jobs/{job}/events", headers={"Last-Event-ID": str(last)})
    assert answer.status_code == 204, "a reader that has seen the last event need not come back"


def test_the_end_of_a_job_is_always_told(portal):
    for _ in range(25):
        assert portal.events(portal.solve()["jobId"])[-1][2].get("state") == "DONE"


def test_a_running_job_can_be_stopped_at_its_best_plan(portal):
    job = portal.solve(CROWD, **LONG)["jobId"]
    portal.events(job, most=4)
    assert portal.post(f"/jobs/{job}/stop").status_code == 202
    ended = portal.ended(job)
    assert ended["state"] == "DONE"
    assert ended["result"]["status"] in ("feasible", "limit")
    refused(portal.post(f"/jobs/{job}/stop"), 409, "INCOMPATIBLE_STATE", "DONE")


def test_cancelling_ends_a_job_whether_it_runs_or_waits(portal):
    runs = portal.solve(CROWD, **LONG)["jobId"]
    waits = portal.solve(HELLO)["jobId"]
    portal.events(runs, most=3)
    assert portal.job(waits)["state"] == "QUEUED"
    refused(portal.get(f"/jobs/{waits}/plan"), 409, "INCOMPATIBLE_STATE", "QUEUED")
    refused(portal.http.delete(f"{portal.server.base}/jobs/{runs}"), 409, "INCOMPATIBLE_STATE", "cancel")
    assert portal.post(f"/jobs/{waits}/cancel").json()["state"] == "CANCELLED"
    assert portal.post(f"/jobs/{runs}/cancel").json()["state"] == "CANCELLED"
    assert portal.post(f"/jobs/{runs}/cancel").json()["state"] == "CANCELLED"
    assert portal.events(runs)[-1][2]["state"] == "CANCELLED"
    refused(portal.get(f"/jobs/{runs}/plan"), 409, "INCOMPATIBLE_STATE", "CANCELLED")
    after = portal.ended(portal.solve(HELLO)["jobId"])
    assert after["state"] == "DONE", "the worker takes the next job"
    refused(portal.post(f"/jobs/{after['jobId']}/cancel"), 409, "INCOMPATIBLE_STATE", "DONE")


def test_a_finished_job_can_be_forgotten(portal):
    job = portal.ended(portal.solve()["jobId"])["jobId"]
    assert portal.http.delete(f"{portal.server.base}/jobs/{job}").status_code == 204
    for path in ("", "/plan", "/events", "/report"):
        refused(portal.get(f"/jobs/{job}{path}"), 404, "NOT_FOUND")


# --- listing ----------------------------------------------------------------------------------------


def test_jobs_are_listed_page_by_page(server, tokens, tmp_path):
    caller = Caller(server, tokens[2])
    made = [
        caller.solve(name)["jobId"]
        for name in [HELLO.replace("name: hello", f"name: n{i}") for i in range(5)]
    ]
    for job in made:
        caller.ended(job)
    answer = caller.get("/jobs", params={"perPage": 2, "order": "asc"})
    page = answer.json()
    assert [job["jobId"] for job in page["items"]] == made[:2]
    assert page["pagination"] == {"page": 1, "perPage": 2, "totalCount": 5, "totalPages": 3}
    assert answer.headers["x-total-count"] == "5"
    seen = [job["jobId"] for job in page["items"]]
    while "next" in answer.links:
        answer = caller.http.get(server.base.removesuffix("/fedopt/v1") + answer.links["next"]["url"])
        seen += [job["jobId"] for job in answer.json()["items"]]
    assert seen == made
    assert set(answer.links) == {"first", "prev", "last"}
    newest = caller.get("/jobs", params={"state": "DONE"}).json()["items"]
    assert [job["jobId"] for job in newest] == made[::-1]
    assert caller.get("/jobs", params={"state": "FAILED"}).json()["items"] == []
    beyond = caller.get("/jobs", params={"page": 50}).json()
    assert beyond["items"] == []
    assert beyond["pagination"]["totalPages"] == 1
    for wrong in ({"page": 0}, {"perPage": 101}, {"perPage": "x"}, {"order": "up"}, {"state": "LOST"}):
        refused(caller.get("/jobs", params=wrong), 400, "INVALID_ARGUMENT")


# --- who may ask ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        "Basic cG9ydGFsOng=",
        "Bearer " + "x" * 10_000,
        "Bearer ü",
    ],
)
def test_without_a_valid_token_nothing_is_told(server, stranger, plan_job, authorization):
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    for path in ("/jobs", f"/jobs/{plan_job['jobId']}/plan", "/nothing", "/jobs/x/events"):
        answer = stranger.get(path, headers=headers)
        refused(answer, 401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"] == "Bearer"
    refused(stranger.post("/solve", content=HELLO, headers={**YAML, **headers}), 401, "UNAUTHENTICATED")
    assert stranger.get("/health").json()["status"] == "UP"
    assert until(lambda: stranger.get("/ready").json()["status"] == "READY")  # once a worker is warm
    assert stranger.get("/openapi.json").json()["info"]["title"] == "fedopt"


def test_a_caller_sees_nothing_of_anothers_jobs(portal, other, plan_job):
    job = plan_job["jobId"]
    for path in ("", "/plan", "/bounds", "/check", "/report", "/instance", "/events", "/resolution"):
        refused(other.get(f"/jobs/{job}{path}"), 404, "NOT_FOUND")
    for action in ("cancel", "stop"):
        refused(other.post(f"/jobs/{job}/{action}"), 404, "NOT_FOUND")
    refused(other.http.delete(f"{other.server.base}/jobs/{job}"), 404, "NOT_FOUND")
    refused(
        other.post("/solve", content=HELLO, headers=YAML, params={"warmStart": job}), 400, "INVALID_ARGUMENT"
    )
    assert job not in other.get("/jobs", params={"perPage": 100}).text


# --- correlation, repetition, the log -----------------------------------------------------------------


def test_the_correlation_id_comes_back_and_into_the_log(server, portal):
    mine = f"trace-{uuid.uuid4()}"
    assert portal.get("/jobs", headers={"x-correlator": mine}).headers["x-correlator"] == mine
    given = portal.get("/jobs").headers["x-correlator"]
    assert uuid.UUID(given)
    answer = portal.get("/jobs", headers={"x-correlator": "a b"})
    refused(answer, 400, "INVALID_ARGUMENT", "x-correlator")
    assert uuid.UUID(answer.headers["x-correlator"])
    (line,) = until(lambda: [line for line in server.said("request") if line["correlator"] == mine])
    assert (line["caller"], line["method"], line["path"]) == ("portal", "GET", "/fedopt/v1/jobs")
    assert line["status"] == 200


def test_the_log_holds_no_secrets(server, portal, tokens):
    portal.get("/jobs", params={"token": "a-secret-in-the-wrong-place"})
    until(lambda: server.said("request"))
    text = json.dumps(server.log) + "".join(server.other)
    assert tokens[1] not in text
    assert "a-secret-in-the-wrong-place" not in text


def test_the_same_request_under_the_same_key_is_one_job(portal, other):
    key = {"Idempotency-Key": f"order-{uuid.uuid4()}"}
    first = portal.solve(headers=key, gap="0.01")
    assert portal.solve(headers=key, gap="0.01")["jobId"] == first["jobId"]
    portal.ended(first["jobId"])
    assert portal.solve(headers=key, gap="0.01")["state"] == "DONE"
    for text, options in ((CITY, {"gap": "0.01"}), (HELLO, {"gap": "0.02"})):
        answer = portal.post("/solve", content=text, headers={**YAML, **key}, params=options)
        refused(answer, 422, "FEDOPT.KEY_REUSED")
    assert other.solve(headers=key, gap="0.01")["jobId"] != first["jobId"], "keys are the caller's own"


# --- what is refused ----------------------------------------------------------------------------------


def test_every_problem_of_an_instance_is_told_with_its_line_and_remedy(portal):
    wrong = HELLO.replace("epsilon: 0.001", "epsilon: 7").replace(
        "stage: compute, capacity: 4", "stage: compte, capacity: 4"
    )
    body = refused(
        portal.post("/solve", content=wrong, headers=YAML), 400, "INVALID_ARGUMENT", "(and 2 more)"
    )
    places = {problem["place"]: problem for problem in body["problems"]}
    assert places["tenants[0].slo.epsilon"]["line"] == 9
    assert "did you mean 'compute'" in places["domains[1].stage"]["remedy"]


@pytest.mark.parametrize(
    ("parameters", "code", "words"),
    [
        ({"guarante": "split"}, "INVALID_ARGUMENT", "did you mean guarantee?"),
        ({"gap": ["0.1", "0.2"]}, "INVALID_ARGUMENT", "gap is given twice"),
        ({"gap": "-1"}, "INVALID_ARGUMENT", "gap"),
        ({"gap": "nan"}, "INVALID_ARGUMENT", "gap"),
        ({"timeLimit": "inf"}, "INVALID_ARGUMENT", "timeLimit"),
        ({"timeLimit": "1e9"}, "OUT_OF_RANGE", "at most 120 s"),
        ({"seed": "1.5"}, "INVALID_ARGUMENT", "seed"),
        ({"seed": "9" * 400}, "INVALID_ARGUMENT", "seed"),
        ({"method": "centrall"}, "INVALID_ARGUMENT", "did you mean central?"),
        ({"method": "model:/etc/passwd"}, "FEDOPT.FILE_NOT_ALLOWED", "a model file is code"),
        ({"method": "model:../../x.py"}, "FEDOPT.FILE_NOT_ALLOWED", "model:joint"),
        ({"method": "model:joint.py"}, "FEDOPT.FILE_NOT_ALLOWED", "by name"),
        ({"warmStart": "x"}, "INVALID_ARGUMENT", "warmStart"),
        ({"warmStart": str(uuid.uuid4())}, "INVALID_ARGUMENT", "warmStart: there is no job"),
    ],
)
def test_options_that_are_wrong_are_refused(portal, parameters, code, words):
    refused(portal.post("/solve", content=HELLO, headers=YAML, params=parameters), 400, code, words)


def test_files_of_the_server_are_out_of_reach(portal, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("time,work\n1,1\n2,1\n")
    trace = f"{{model: trace, file: {secret}}}"
    text = HELLO.replace("{model: poisson, rate: 0.4}", trace)
    body = refused(
        portal.post("/solve", content=text, headers=YAML), 400, "FEDOPT.FILE_NOT_ALLOWED", "names a file"
    )
    assert "fedopt fit arrivals" in body["problems"][0]["remedy"]
    deep = yaml.safe_load(HELLO)
    ask = {"arrivals": {"model": "trace", "file": str(secret)}, "throughput": 1, "delay": [1], "risk": [0.1]}
    deep["domains"][0]["offers"][0]["impairment"] = {"model": "learned", "confidence": 0.9, "asks": [ask]}
    refused(portal.post("/solve", json=deep), 400, "FEDOPT.FILE_NOT_ALLOWED", "domains[0].offers[0]")
    intent = {key: value for key, value in INTENT.items() if key != "like"}
    intent["arrivals"] = {"model": "trace", "file": str(secret)}
    document = {"intent": intent, "instance": yaml.safe_load(CITY)}
    refused(portal.post("/resolve-intent", json=document), 400, "FEDOPT.FILE_NOT_ALLOWED", "intent.arrivals")
    instance = yaml.safe_load(text)
    document = {"intent": INTENT, "instance": instance}
    refused(portal.post("/resolve-intent", json=document), 400, "FEDOPT.FILE_NOT_ALLOWED")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(12)
)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("", YAML),
        ("[1, 2]", JSON),
        ("{", JSON),
        ("stages: [", YAML),
        ('{"stages": ["a"], "stages": ["b"]}', JSON),
        ("[" * 100_000, JSON),
        ("{a: " * 5_000, YAML),
        ('{"slot": NaN}', JSON),
        ('{"slot": Infinity}', JSON),
        ('{"slot": ' + "9" * 100_000 + "}", JSON),
        ('{"slot": 1e999}', JSON),
        (BOMB, YAML),
        ("a: &a\n  b: *a\n", YAML),
        ("!!python/object/apply:os.system ['touch /tmp/owned']", YAML),
        ("x: !!binary aGVsbG8=", YAML),
        ("\ud800".encode("utf-8", "surrogatepass"), YAML),
        ('{"name": "\\ud800"}', JSON),
        (b"\xff\xfe\x00", YAML),
        (b"\x00" * 1000, JSON),
        (HELLO + "\n---\n" + HELLO, YAML),
        (HELLO.replace("name: hello", 'name: "\\uD800"'), YAML),
    ],
)  # fmt: skip
def test_hostile_bodies_are_refused_quickly_and_in_words(portal, body, headers):
    content = body if isinstance(body, bytes) else body.encode()
    until(lambda: portal.get("/ready").json()["status"] == "READY")  # a cancelled job's worker is replaced
    for path in ("/solve", "/resolve-intent"):
        refused(portal.post(path, content=content, headers=headers), 400, "INVALID_ARGUMENT")
    assert portal.get("/ready").json()["status"] == "READY"


def test_bodies_of_other_kinds_are_refused(portal):
    for headers in (
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "nonsense"},
        {**JSON, "Content-Encoding": "gzip"},
    ):
        answer = portal.post("/solve", content=HELLO.encode(), headers=headers)
        refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_refused_and_its_sender_hears_why(portal, chunked):
    parts = [b"# " + b"x" * 99_998 for _ in range(15)]
    content = iter(parts) if chunked else b"".join(parts)
    refused(portal.post("/solve", content=content, headers=YAML), 413, "FEDOPT.TOO_LARGE", "1000000")


def test_unknown_resources_and_methods(portal):
    refused(portal.get("/nothing"), 404, "NOT_FOUND")
    refused(portal.get("/jobs/not-a-uuid"), 400, "INVALID_ARGUMENT", "jobId")
    refused(portal.get(f"/jobs/{uuid.uuid4()}"), 404, "NOT_FOUND")
    answer = portal.http.put(portal.server.base + "/solve")
    refused(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "POST"
    for number in ("x", "-1", "1.5", "9" * 30):
        path = f"/jobs/{uuid.uuid4()}/events"
        refused(portal.get(path, headers={"Last-Event-ID": number}), 400, "INVALID_ARGUMENT", "Last-Event-ID")


def test_the_openapi_document_is_the_one_that_the_command_prints(portal):
    from fedopt.service.server import openapi_document

    document = openapi_document()
    assert portal.get("/openapi.json").json() == json.loads(json.dumps(document))
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert names <= set(document["components"]["schemas"])


# --- analyses of a plan -----------------------------------------------------------------------------


def telemetry(late_share):
    """Delays of chat and voice: exponential, a share of them beyond both deadlines."""
    rng = np.random.default_rng(5)
    rows = ["tenant,delay"]
    for tenant, deadline in (("chat", 60), ("voice", 15)):
        delays = rng.exponential(deadline / 30, 4000)
        delays[: int(late_share * 4000)] = deadline * 1.5
        rng.shuffle(delays)
        rows += [f"{tenant},{delay:.5f}" for delay in delays]
    return "\n".join(rows)


def test_a_plan_is_simulated_explained_audited_and_settled(portal, plan_job):
    base = f"/jobs/{plan_job['jobId']}"
    simulated = portal.post(f"{base}/simulate", params={"trials": 4, "seed": 3})
    assert simulated.status_code == 202, simulated.text
    with_telemetry = {"trials": 4, "seed": 3, "telemetry": "true"}
    kept = portal.post(f"{base}/simulate", params=with_telemetry).json()["jobId"]
    explained = portal.post(f"{base}/explain").json()
    audited = portal.post(
        f"{base}/audit", content=telemetry(0.05), headers={"Content-Type": "text/csv"}
    ).json()
    ended = portal.ended(simulated.json()["jobId"])
    assert ended["result"] == {"kind": "simulate", "kept": True, "broken": 0}
    assert ended["options"]["job"] == plan_job["jobId"]
    assert ended["progress"]["round"] <= ended["progress"]["total"]
    simulation = portal.get(f"/jobs/{ended['jobId']}/simulation").json()
    assert {tenant["id"] for tenant in simulation["tenants"]} == {"chat", "voice"}
    assert simulation["seed"] == 3
    assert portal.ended(explained["jobId"])["result"] == {"kind": "explain", "status": "optimal"}
    assert portal.get(f"/jobs/{explained['jobId']}/explanation").json()["binding"]
    assert portal.ended(audited["jobId"])["result"] == {"kind": "audit", "verdict": "broken"}
    audit = portal.get(f"/jobs/{audited['jobId']}/audit")
    by_job = portal.post(
        f"{base}/settle", json={"audit": audited["jobId"]}, params={"rule": "shapley"}
    ).json()
    by_body = portal.post(f"{base}/settle", content=audit.content, headers=JSON).json()
    for settled in (by_job, by_body):
        assert portal.ended(settled["jobId"])["result"] == {"kind": "settle", "conserved": True}
    settlement = portal.get(f"/jobs/{by_job['jobId']}/settlement").json()
    assert settlement["rule"] == "shapley"
    assert portal.ended(kept)["state"] == "DONE"
    delays = portal.get(f"/jobs/{kept}/telemetry")
    assert delays.headers["content-type"].startswith("text/csv")
    assert delays.text.startswith("tenant,delay\n")
    own = portal.post(f"{base}/audit", json={"simulation": kept}).json()["jobId"]
    assert portal.ended(own)["result"]["verdict"] != "broken"
    assert set(portal.get(f"/jobs/{own}/audit").json()["series"]) == {"chat", "voice"}
    refused(portal.get(f"/jobs/{ended['jobId']}/telemetry"), 404, "NOT_FOUND", "has no telemetry")
    for analysis, kind in (("audit", "simulation"), ("settle", "audit")):
        refused(portal.post(f"{base}/{analysis}"), 415, "UNSUPPORTED_MEDIA_TYPE", "application/json")
        for body in ([], {kind: "x"}, {kind: kept, "more": 1}):
            refused(portal.post(f"{base}/{analysis}", json=body), 400, "INVALID_ARGUMENT")
        refused(portal.post(f"{base}/{analysis}", json={kind: str(uuid.uuid4())}), 404, "NOT_FOUND")
    refused(portal.post(f"{base}/audit", json={}), 400, "INVALID_ARGUMENT", "post telemetry")
    refused(portal.get(f"/jobs/{by_job['jobId']}/audit"), 404, "NOT_FOUND", "settle")


def test_what_has_no_plan_can_be_explained_and_nothing_else(portal, plan_job):
    job = portal.ended(portal.solve(IMPOSSIBLE)["jobId"])["jobId"]
    refused(portal.post(f"/jobs/{job}/simulate"), 409, "INCOMPATIBLE_STATE", "no plan to simulate")
    explained = portal.post(f"/jobs/{job}/explain").json()
    assert portal.ended(explained["jobId"])["result"]["status"] == "infeasible"
    refused(portal.post(f"/jobs/{explained['jobId']}/simulate"), 404, "NOT_FOUND", "explain")
    refused(portal.post(f"/jobs/{uuid.uuid4()}/simulate"), 404, "NOT_FOUND")
    wrong = portal.post(
        f"/jobs/{plan_job['jobId']}/audit", content="a,b\n1,2\n", headers={"Content-Type": "text/csv"}
    ).json()
    error = portal.ended(wrong["jobId"])["error"]
    assert error["code"] == "INVALID_ARGUMENT"
    assert "/tmp" not in error["message"]


def test_an_sla_is_decomposed_from_a_history(portal):
    rng = np.random.default_rng(2)
    rows = ["domain,delay,throughput,accepted"]
    for domain, scale in (("edge", 20.0), ("core", 50.0)):
        for delay, throughput in zip(rng.uniform(1, 100, 200), rng.uniform(0.1, 1, 200), strict=True):
            rows.append(f"{domain},{delay:.4g},{throughput:.4g},{int(delay > scale * throughput)}")
    answer = portal.post(
        "/decompose",
        content="\n".join(rows),
        headers={"Content-Type": "text/csv"},
        params={"sla": "delay=120,throughput=0.5"},
    )
    ended = portal.ended(answer.json()["jobId"])
    assert ended["result"]["probability"] > 0.5, ended
    found = portal.get(f"/jobs/{ended['jobId']}/decomposition").json()
    assert sum(domain["delay"] for domain in found["domains"]) <= 120 * (1 + 1e-9)
    refused(portal.post("/decompose", content="x", headers=YAML, params={"sla": "delay=1"}), 415,
            "UNSUPPORTED_MEDIA_TYPE", "text/csv")  # fmt: skip


def test_an_instance_can_be_read_without_planning_it(portal):
    before = portal.get("/jobs").json()["pagination"]["totalCount"]
    read = portal.post("/read-instance", content=HELLO, headers=YAML).json()
    assert (read["name"], read["tenants"]) == ("hello", 4)
    assert fedopt.Instance.model_validate(read["instance"]).sha256 == read["sha256"]
    body = refused(
        portal.post("/read-instance", content=HELLO.replace("near", "metro"), headers=YAML),
        400,
        "INVALID_ARGUMENT",
    )
    assert body["problems"][0]["line"]
    assert portal.get("/jobs").json()["pagination"]["totalCount"] == before


# --- what a supervisor sees -------------------------------------------------------------------------


def test_metrics_count_requests_and_jobs(stranger, plan_job):
    root = stranger.server.base.removesuffix("/fedopt/v1")
    answer = stranger.http.get(root + "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    values = dict(
        line.rsplit(" ", 1) for line in answer.text.splitlines() if line and not line.startswith("#")
    )
    assert float(values['fedopt_jobs_ended_total{kind="solve",state="DONE"}']) >= 1
    assert float(values['fedopt_jobs{state="DONE"}']) >= 1
    assert float(values["fedopt_workers_ready"]) >= 1
    assert values["fedopt_ready"] == "1.0"
    solve = 'fedopt_http_requests_total{method="POST",route="/solve",status="202"}'
    assert float(values[solve]) >= 1
    assert plan_job["jobId"] not in answer.text
    assert "portal" not in answer.text


def test_the_page_loads_nothing_from_elsewhere(stranger):
    root = stranger.server.base.removesuffix("/fedopt/v1")
    for path, media in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        answer = stranger.http.get(root + path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in answer.text


def test_domains_are_learned_over_http(portal):
    """Answers in a batch, late, repeated and wrong; splits of several SLAs; a name is its caller's own."""
    rng = np.random.default_rng(3)
    answers = [
        {"domain": name, "accepted": bool(delay > need * rng.uniform(0.8, 1.2)), "delay": delay}
        for name, need in (("edge", 10.0), ("core", 40.0))
        for delay in rng.uniform(1, 90, 80).tolist()
    ]
    base, metrics = "/learned/city", ["reliability:product"]
    refused(portal.post(f"{base}/decompose", json={"slas": [{"delay": 90}]}), 404, "NOT_FOUND")
    told = portal.post(f"{base}/observe", json={"answers": answers}).json()
    assert (told["learned"], told["duplicates"]) == (160, 0)
    wanted = {"slas": [{"delay": 90, "request": "a"}, {"delay": 100, "request": "b"}], "certify": True}
    found = portal.post(f"{base}/decompose", json=wanted).json()["splits"]
    assert [sum(split["delay"].values()) for split in found] == pytest.approx([90, 100])
    assert all(split["accepted"] > 0.85 and split["delay"]["core"] > 45 for split in found)
    assert all(0 <= split["gap"] < 0.1 for split in found)
    late = {"answers": [{"domain": "edge", "accepted": True, "request": "b"}] * 2}
    told = portal.post(f"{base}/observe", json=late).json()
    assert (told["learned"], told["duplicates"]) == (1, 1)
    for wrong in (
        {"answers": []},
        {"answers": [answers[0] | {"accepted": 0.5}]},
        {"answers": [answers[0] | {"delay": -1}]},
        {"answers": [answers[0] | {"colour": "red"}]},
        {"answers": [{"domain": "edge", "accepted": True, "request": "never sent"}]},
        {"answers": [answers[0]], "metrics": metrics},
    ):
        refused(portal.post(f"{base}/observe", json=wrong), 400, "INVALID_ARGUMENT")
    half = {"slas": [{"delay": 90, "request": "c"}, {"delay": 100}]}
    refused(portal.post(f"{base}/decompose", json=half), 400, "INVALID_ARGUMENT", "every SLA")
    refused(portal.post("/learned/..%2Fx/observe", json={"answers": answers[:1]}), 404, "NOT_FOUND")
    asked = [answer | {"values": {"reliability": 0.99}} for answer in answers]
    assert portal.post("/learned/metro/observe", json={"answers": asked, "metrics": metrics}).json()[
        "learned"
    ]
    sla = {"delay": 90, "more": {"reliability": 0.98}}
    (split,) = portal.post("/learned/metro/decompose", json={"slas": [sla]}).json()["splits"]
    assert np.prod([part["reliability"] for part in split["parts"].values()]) == pytest.approx(0.98)
