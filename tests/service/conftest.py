import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("sse_starlette")

from fedopt.service.auth import make_token
from tests.service.world import Caller, running


@pytest.fixture(scope="session")
def tokens(tmp_path_factory):
    """(file, token of `portal`, token of `other`)."""
    file = tmp_path_factory.mktemp("tokens") / "tokens.txt"
    return file, make_token("portal", file), make_token("other", file)


@pytest.fixture(scope="session")
def server(tmp_path_factory, tokens):
    """A server with tokens that many tests share; nothing it is sent may change what another test sees."""
    file, _, _ = tokens
    options = ("--tokens", str(file), "--rate", "0", "--body-mb", "1", "--job-seconds", "120")
    with running(tmp_path_factory.mktemp("server"), *options) as server:
        yield server


@pytest.fixture
def portal(server, tokens):
    return Caller(server, tokens[1])


@pytest.fixture
def other(server, tokens):
    return Caller(server, tokens[2])


@pytest.fixture
def stranger(server):
    return Caller(server)


@pytest.fixture(scope="session")
def plan_job(server, tokens):
    """A job that is done, whose plan nobody changes."""
    caller = Caller(server, tokens[1])
    return caller.ended(caller.solve()["jobId"])
