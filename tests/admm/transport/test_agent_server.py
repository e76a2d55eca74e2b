"""An agent over real TLS: who may speak, what is refused and by which name, and that asking twice is asking
once.
"""

from __future__ import annotations

import json

import pytest

pytest.importorskip("cryptography")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx

from fedopt.admm.transport.agent import Agent
from fedopt.admm.transport.agent_journal import AgentJournal, JournalError
from fedopt.admm.transport.certificates import client_context
from fedopt.admm.transport.https import Failure, Reply
from fedopt.admm.transport.refusal import Refusal
from fedopt.admm.transport.signed import HEADER, sign_message
from tests.admm.transport.disturbed import Disturbance
from tests.admm.transport.world import config_of, connections, make_identity, served, signing_key


class Counter:
    """A private side that adds up what it is told: its answers show how often it was really told."""

    def __init__(self) -> None:
        self.total = 0

    def answer(self, message, told_before):
        if message.get("kind") == "fail":
            raise Refusal("refused", "asked to")
        if message.get("kind") == "break":
            raise ZeroDivisionError("a private number: 12.5")
        self.total += message["add"]
        return json.dumps({"total": self.total}).encode()


def parse(body):
    try:
        message = json.loads(body)
        assert isinstance(message, dict)
        return message
    except (ValueError, AssertionError):
        raise Refusal("malformed", "not a message") from None


def make_agent(folder, **fields):
    config = config_of(folder, "opA", **fields)
    journal = AgentJournal(config.file(config.state))
    return Agent(
        config, journal, lambda run: Counter(), parse, lambda m: m.get("kind") == "commit", ({}, {})
    ), journal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("federation")
    for name in ("opA", "broker", "stranger"):
        make_identity(folder, name)
    return folder


@pytest.fixture
def agent(folder, tmp_path):
    made, journal = make_agent(folder, state=str(tmp_path / "state"), limits={"message_bytes": 1000})
    yield made
    journal.close()


@pytest.fixture
def url(agent):
    with served(agent) as url:
        yield url


def body(**fields):
    return json.dumps(fields).encode()


def test_answers_are_counted_once_however_often_they_are_asked_for(folder, url):
    with connections(folder, {"opA": url}) as broker:
        for _ in range(3):
            first = broker.exchange("r1", 0, {"opA": body(add=1)})["opA"]
            assert json.loads(first.body) == {"total": 1}
        second = broker.exchange("r1", 1, {"opA": body(add=5)})["opA"]
        assert json.loads(second.body) == {"total": 6}
        for sequence, text in ((1, body(add=7)), (0, body(add=9))):
            assert broker.exchange("r1", sequence, {"opA": text})["opA"].reason == "replayed"
        assert json.loads(broker.exchange("r1", 2, {"opA": body(add=0)})["opA"].body) == {"total": 6}
        assert broker.traffic("opA").requests == 7


def test_an_older_message_that_never_arrived_is_refused_once_a_later_one_was_answered(folder, url):
    with connections(folder, {"opA": url}) as broker:
        broker.exchange("r1", 0, {"opA": body(add=1)})
        assert isinstance(broker.exchange("r1", 5, {"opA": body(add=1)})["opA"], Reply)
        assert broker.exchange("r1", 3, {"opA": body(add=1)})["opA"].reason == "replayed"


def test_a_run_that_was_not_opened_is_unknown(folder, url):
    with connections(folder, {"opA": url}) as broker:
        assert broker.exchange("r9", 1, {"opA": body(add=1)})["opA"].reason == "unknown-run"


def test_what_is_refused_leaves_no_trace(folder, agent, url):
    with connections(folder, {"opA": url}) as broker:
        assert broker.exchange("r1", 0, {"opA": body(kind="fail")})["opA"].reason == "refused"
        assert broker.exchange("r1", 0, {"opA": body(add=1)})["opA"].body == b'{"total": 1}'
        defect = broker.exchange("r1", 1, {"opA": body(kind="break")})["opA"]
        assert defect.reason == "defect"
        assert "12.5" not in defect.message
        assert broker.exchange("r1", 1, {"opA": body(add=2)})["opA"].body == b'{"total": 3}'
        assert broker.exchange("r1", 2, {"opA": b"[1"})["opA"].reason == "malformed"
        assert broker.exchange("r1", 2, {"opA": body(add=1, pad="x" * 2000)})["opA"].reason == "too-large"


def test_a_restarted_agent_goes_on_where_it_was(folder, tmp_path):
    state = str(tmp_path / "state")
    for sequence in range(4):
        agent, journal = make_agent(folder, state=state)
        with served(agent) as url, connections(folder, {"opA": url}) as broker:
            if sequence:
                again = broker.exchange("r1", sequence - 1, {"opA": body(add=sequence - 1)})["opA"]
                assert json.loads(again.body)["total"] == sum(range(sequence))
            answer = broker.exchange("r1", sequence, {"opA": body(add=sequence)})["opA"]
            assert json.loads(answer.body)["total"] == sum(range(sequence + 1))
        journal.close()


def test_one_state_folder_has_one_agent(folder, tmp_path):
    _, journal = make_agent(folder, state=str(tmp_path / "state"))
    with pytest.raises(JournalError, match="another agent"):
        AgentJournal(tmp_path / "state")
    journal.close()


def test_a_stranger_gets_no_connection(folder, url):
    with connections(folder, {"opA": url}, who="stranger") as broker:
        failure = broker.exchange("r1", 0, {"opA": body(add=1)})["opA"]
    assert isinstance(failure, Failure)
    assert failure.kind == "certificate"
    assert "opA" in str(failure)


def test_another_server_with_another_certificate_is_not_spoken_to(folder, tmp_path):
    agent, journal = make_agent(
        folder, state=str(tmp_path / "s"), tls={"certificate": "stranger.crt", "key": "stranger.tls.key"}
    )
    with served(agent) as url, connections(folder, {"opA": url}) as broker:
        failure = broker.exchange("r1", 0, {"opA": body(add=1)})["opA"]
    journal.close()
    assert failure.kind == "certificate"


def post(folder, url, path, content, headers):
    context = client_context(folder / "broker.crt", folder / "broker.tls.key", folder / "opA.crt")
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.post(f"{url}{path}", content=content, headers=headers)


def test_forged_and_transplanted_messages_are_unsigned(folder, url):
    text, key = body(add=1), signing_key(folder, "broker")
    signed = sign_message(key, "request", "r1", 0, "opA", text)
    wrong = {
        "none": {},
        "another's": {HEADER: sign_message(signing_key(folder, "stranger"), "request", "r1", 0, "opA", text)},
        "of another run": {HEADER: sign_message(key, "request", "r2", 0, "opA", text)},
        "of another place": {HEADER: sign_message(key, "request", "r1", 1, "opA", text)},
        "for another operator": {HEADER: sign_message(key, "request", "r1", 0, "opB", text)},
        "of another text": {HEADER: sign_message(key, "request", "r1", 0, "opA", body(add=2))},
        "of an answer": {HEADER: sign_message(key, "answer", "r1", 0, "opA", text)},
    }
    for name, headers in wrong.items():
        got = post(folder, url, "/v1/runs/r1/messages/0", text, headers)
        assert (got.status_code, got.json()["reason"]) == (401, "unsigned"), name
    assert post(folder, url, "/v1/runs/r1/messages/0", text, {HEADER: signed}).status_code == 200


def test_names_of_runs_and_numbers_are_checked(folder, url):
    for path in ("/v1/runs/a%20b/messages/0", "/v1/runs/r/messages/-1", f"/v1/runs/{'r' * 101}/messages/0"):
        assert post(folder, url, path, b"{}", {}).status_code == 422


def test_an_answer_that_the_operator_did_not_sign_is_forged(folder, url):
    with connections(folder, {"opA": url}) as broker:
        object.__setattr__(broker.links["opA"], "key", _other_key(folder))
        failure = broker.exchange("r1", 0, {"opA": body(add=1)})["opA"]
    assert failure.kind == "forged"


def _other_key(folder):
    from fedopt.admm.transport.agent import read_public_key

    return read_public_key(folder / "stranger.pub")


def test_nobody_there_is_silent_and_named(folder):
    with connections(folder, {"opA": "https://127.0.0.1:9"}) as broker:
        from fedopt.admm.transport.https import Patience

        failure = broker.exchange("r1", 0, {"opA": b"{}"}, Patience(total=0.2, first_pause=0.01))["opA"]
    assert (failure.kind, failure.operator) == ("silent", "opA")
    assert failure.attempts > 1


@pytest.mark.parametrize("seed", range(3))
def test_a_lossy_network_changes_nothing_but_the_number_of_attempts(folder, url, seed):
    disturbance = Disturbance(lost=0.2, doubled=0.05, seed=seed)
    with connections(folder, {"opA": url}, wrap=disturbance.wrap) as broker:
        for sequence in range(60):
            answer = broker.exchange("r1", sequence, {"opA": body(add=sequence)})["opA"]
            assert json.loads(answer.body)["total"] == sum(range(sequence + 1))
        assert broker.traffic("opA").retries == disturbance.counts["lost"] > 0
    assert disturbance.counts["doubled"] > 0
