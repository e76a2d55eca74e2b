"""An agent over real TLS: who may speak, what is refused by which name; asking twice is asking once."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("cryptography")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx

from fedopt.contracts import generate_key
from fedopt.contracts.signing import load_key
from fedopt.federated.protocol.messages import Prepare, Reservation, Settle, to_bytes
from fedopt.federated.transport.agent import Agent, read_public_key
from fedopt.federated.transport.certificates import client_context
from fedopt.federated.transport.config import AgentConfig, BrokerConfig
from fedopt.federated.transport.https import Failure, Patience, Reply
from fedopt.federated.transport.signed import HEADER, sign_message
from fedopt.storage import StorageError
from tests.federated.transport.disturbed import Disturbance
from tests.federated.transport.world import (
    changed,
    connections,
    federation,
    opening,
    proposal,
    said,
    served,
)


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    return federation(tmp_path_factory.mktemp("world") / "federation")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A broker of another federation: right in everything but that nobody here knows it."""
    return BrokerConfig.load(federation(tmp_path_factory.mktemp("other") / "federation").broker)


@pytest.fixture
def config(divided, tmp_path):
    return changed(divided.agents["opB"], state=str(tmp_path / "state"), limits={"message_bytes": 2000})


@pytest.fixture
def url(config):
    with served(config) as url:
        yield url


def ask(broker, sequence, text, run="r1"):
    return broker.exchange(run, {"opB": (sequence, text)})["opB"]


def test_the_same_question_is_answered_the_same_and_another_under_its_number_is_replayed(divided, url):
    with connections(divided, {"opB": url}) as broker:
        first = {ask(broker, 0, opening(divided, "opB")).body for _ in range(3)}
        assert len(first) == 1
        answers = {ask(broker, 1, proposal(1, 4.0)).body for _ in range(3)}
        assert len(answers) == 1
        assert ask(broker, 1, proposal(1, 5.0)).reason == "replayed"
        assert ask(broker, 0, opening(divided, "opB", masked=True)).reason == "replayed"
        assert isinstance(ask(broker, 7, proposal(7, 5.0)), Reply)
        assert ask(broker, 3, proposal(3, 4.0)).reason == "replayed"


def test_a_run_begins_with_its_opening(divided, url):
    with connections(divided, {"opB": url}) as broker:
        assert ask(broker, 1, proposal(1, 4.0)).reason == "unknown-run"
        assert ask(broker, 0, proposal(0, 4.0)).reason == "unknown-run"
        assert ask(broker, 0, opening(divided, "opB", operator="opA")).reason == "refused"
        assert ask(broker, 0, opening(divided, "opB", contracts={})).reason == "contract-changed"
        assert isinstance(ask(broker, 0, opening(divided, "opB")), Reply)


def test_what_cannot_be_read_is_malformed_and_leaves_no_trace(divided, url):
    with connections(divided, {"opB": url}) as broker:
        ask(broker, 0, opening(divided, "opB"))
        for text in (
            b"[1",
            b"{}",
            b"\xff",
            b'{"kind": "proposal"}',
            proposal(2, 4.0),
            proposal(1, 4.0, "r2"),
        ):
            assert ask(broker, 1, text).reason == "malformed"
        assert ask(broker, 1, b" " * 3000).reason == "too-large"
        assert isinstance(ask(broker, 1, proposal(1, 4.0)), Reply)


def test_a_restarted_agent_goes_on_where_it_was(divided, config, tmp_path):
    whole = changed(config, state=str(tmp_path / "other"))
    with served(whole) as url, connections(divided, {"opB": url}) as broker:
        ask(broker, 0, opening(divided, "opB"))
        straight = [said(ask(broker, n, proposal(n, float(n)))) for n in range(1, 4)]
    cut = []
    with served(config) as url, connections(divided, {"opB": url}) as broker:
        ask(broker, 0, opening(divided, "opB"))
    for n in range(1, 4):
        with served(config) as url, connections(divided, {"opB": url}) as broker:
            if n > 1:
                assert said(ask(broker, n - 1, proposal(n - 1, float(n - 1)))) == cut[-1]
            cut.append(said(ask(broker, n, proposal(n, float(n)))))
    assert cut == straight


def test_a_run_can_be_settled_and_then_takes_no_more(divided, url):
    chat = Reservation(tenant="chat", offer="edge/llm", count=2, rate=3.0)
    with connections(divided, {"opB": url}) as broker:
        ask(broker, 0, opening(divided, "opB"))
        too_much = Prepare(run="r1", sequence=1, reservations=(chat, chat))
        full = said(ask(broker, 1, to_bytes(too_much)))
        assert (full["granted"], full["domain"]) == (False, "edge")
        assert "11.93" not in str(full)
        hold = to_bytes(Prepare(run="r1", sequence=2, reservations=(chat,)))
        commit = to_bytes(Settle(run="r1", sequence=3, decision="commit"))
        for _ in range(2):
            assert said(ask(broker, 2, hold))["granted"]
            assert said(ask(broker, 3, commit))["granted"]
        assert ask(broker, 4, proposal(4, 1.0)).reason == "closed"
        # the next run is offered what is left
        ask(broker, 0, opening(divided, "opB", run="r2"), "r2")
        carried = said(ask(broker, 1, proposal(1, 11.0, "r2", price=100.0), "r2"))
        assert carried["loads"][0] == pytest.approx(11.93 - 6.0)
        release = to_bytes(Settle(run="r1", sequence=4, decision="release"))
        assert said(ask(broker, 4, release))["granted"]


def test_contracts_that_change_during_a_run_end_it(divided, config, tmp_path):
    folder = tmp_path / "contracts"
    folder.mkdir()
    (signed,) = (config.parent / "contracts").glob("*.jws")
    (folder / "1.jws").write_bytes(signed.read_bytes())
    moved = changed(config, contracts=str(folder))
    with served(moved) as url, connections(divided, {"opB": url}) as broker:
        ask(broker, 0, opening(divided, "opB"))
        (folder / "1.jws").unlink()
        failure = ask(broker, 1, proposal(1, 4.0))
        assert failure.reason == "contract-changed"
        assert "edge/llm" in failure.message
        (folder / "1.jws").write_bytes(signed.read_bytes())
        assert ask(broker, 1, proposal(1, 4.0)).reason == "closed"


def test_limits_on_runs_and_messages(divided, config):
    tight = changed(config, limits={"open_runs": 1, "messages_per_run": 2})
    with served(tight) as url, connections(divided, {"opB": url}, Patience(5.0, 3.0)) as broker:
        ask(broker, 0, opening(divided, "opB"))
        assert ask(broker, 0, opening(divided, "opB", run="r2"), "r2").reason == "too-many"
        assert isinstance(ask(broker, 1, proposal(1, 4.0)), Reply)
        assert ask(broker, 2, proposal(2, 4.0)).reason == "too-many"
        # an end is always heard
        assert said(ask(broker, 3, to_bytes(Settle(run="r1", sequence=3, decision="abort"))))["granted"]
        assert isinstance(ask(broker, 0, opening(divided, "opB", run="r2"), "r2"), Reply)


def test_one_state_folder_has_one_agent(config):
    agent = Agent(AgentConfig.load(config))
    with pytest.raises(StorageError, match="another agent"):
        Agent(AgentConfig.load(config))
    agent.close()


def test_a_stranger_gets_no_connection(divided, stranger, url):
    with connections(divided, {"opB": url}, who=stranger) as broker:
        failure = ask(broker, 0, opening(divided, "opB"))
    assert isinstance(failure, Failure)
    assert failure.kind == "certificate"
    assert "opB" in str(failure)


def test_a_server_with_another_certificate_is_not_spoken_to(divided, config, stranger):
    tls = {name: str(stranger.file(file)) for name, file in stranger.tls.model_dump().items()}
    with served(changed(config, tls=tls)) as url, connections(divided, {"opB": url}) as broker:
        assert ask(broker, 0, opening(divided, "opB")).kind == "certificate"


def test_a_run_is_answered_to_the_broker_that_opened_it_alone(divided, config, stranger, tmp_path):
    public = tmp_path / "stranger.pub"
    public.write_text(json.dumps(load_key(stranger.file(stranger.key)).public()))
    ours = [{"name": "broker", "certificate": "../shared/broker.crt", "key": "../shared/broker.pub"}]
    other = {"name": "rival", "certificate": str(stranger.file(stranger.tls.certificate)), "key": str(public)}
    with served(changed(config, brokers=[*ours, other])) as url:
        with connections(divided, {"opB": url}) as broker:
            ask(broker, 0, opening(divided, "opB"))
        with connections(divided, {"opB": url}, who=stranger) as rival:
            assert ask(rival, 1, proposal(1, 4.0)).reason == "not-yours"
            assert isinstance(ask(rival, 0, opening(divided, "opB", run="r2"), "r2"), Reply)


def post(divided, url, path, content, headers):
    config = BrokerConfig.load(divided.broker)
    link = config.links()["opB"]
    context = client_context(
        config.file(config.tls.certificate), config.file(config.tls.key), link.certificate
    )
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.post(f"{url}{path}", content=content, headers=headers)


def test_forged_and_transplanted_messages_are_unsigned(divided, url):
    config = BrokerConfig.load(divided.broker)
    key, text = load_key(config.file(config.key)), opening(divided, "opB")
    wrong = {
        "none": {},
        "no signature": {HEADER: "x"},
        "another's": {HEADER: sign_message(generate_key("broker"), "request", "r1", 0, "opB", text)},
        "of another run": {HEADER: sign_message(key, "request", "r2", 0, "opB", text)},
        "of another place": {HEADER: sign_message(key, "request", "r1", 1, "opB", text)},
        "for another operator": {HEADER: sign_message(key, "request", "r1", 0, "opA", text)},
        "of another text": {HEADER: sign_message(key, "request", "r1", 0, "opB", text + b" ")},
        "of an answer": {HEADER: sign_message(key, "answer", "r1", 0, "opB", text)},
    }
    for name, headers in wrong.items():
        got = post(divided, url, "/v1/runs/r1/messages/0", text, headers)
        assert (got.status_code, got.json()["reason"]) == (401, "unsigned"), name
    right = {HEADER: sign_message(key, "request", "r1", 0, "opB", text)}
    assert post(divided, url, "/v1/runs/r1/messages/0", text, right).status_code == 200


def test_names_of_runs_and_numbers_are_checked(divided, url):
    for path in ("/v1/runs/a%20b/messages/0", "/v1/runs/r/messages/-1", f"/v1/runs/{'r' * 65}/messages/0"):
        assert post(divided, url, path, b"{}", {}).status_code == 422


def test_an_answer_that_the_operator_did_not_sign_is_forged(divided, url, stranger):
    with connections(divided, {"opB": url}) as broker:
        other = read_public_key(divided.agents["opA"].parent.parent / "shared" / "opA.pub")
        object.__setattr__(broker.links["opB"], "key", other)
        assert ask(broker, 0, opening(divided, "opB")).kind == "forged"


def test_nobody_there_is_silent_and_named(divided):
    hasty = Patience(total=0.2, first_pause=0.01)
    with connections(divided, {"opB": "https://127.0.0.1:9"}, hasty) as broker:
        failure = ask(broker, 0, opening(divided, "opB"))
    assert (failure.kind, failure.operator) == ("silent", "opB")
    assert failure.attempts > 1


def test_contracts_are_published_as_they_were_signed(divided, url, config):
    (signed,) = (config.parent / "contracts").glob("*.jws")
    with connections(divided, {"opB": url}) as broker:
        got = broker.contracts({"opB": ["edge/llm", "edge/none"]})
    assert got["edge/llm"] == signed.read_text().strip()
    assert isinstance(got["edge/none"], Failure)


@pytest.mark.parametrize("seed", range(2))
def test_a_lossy_network_changes_nothing_but_the_number_of_attempts(divided, url, seed):
    disturbance = Disturbance(lost=0.2, doubled=0.1, seed=seed)
    with connections(divided, {"opB": url}) as broker:
        ask(broker, 0, opening(divided, "opB", run="calm"), "calm")
        calm = [
            said(ask(broker, n, proposal(n, float(n % 9), "calm"), "calm"))["loads"] for n in range(1, 40)
        ]
    with connections(divided, {"opB": url}, wrap=disturbance.wrap) as broker:
        ask(broker, 0, opening(divided, "opB"))
        rough = [said(ask(broker, n, proposal(n, float(n % 9))))["loads"] for n in range(1, 40)]
        assert broker.traffic("opB").retries == disturbance.counts["lost"] > 0
    assert disturbance.counts["doubled"] > 0
    assert rough == calm
