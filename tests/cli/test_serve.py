"""The command: who may use the service must be said, and what is wrong is said before anything listens."""

import json
import re

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sse_starlette")

from fedopt.cli import run


def test_who_may_use_it_must_be_said(capsys):
    assert run(["serve"]) == 2
    said = capsys.readouterr().err
    assert "fedopt serve token NAME --tokens" in said
    assert "--no-auth" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--no-auth", "--tokens", "t"], "--tokens and --no-auth: give one of them"),
        (["--no-auth", "--host", "0.0.0.0"], "can be reached from other machines"),
        (["--no-auth", "--host", "example.org"], "can be reached from other machines"),
        (["--tokens", "missing.txt"], "missing.txt: cannot be read"),
        (["--tokens", "."], "cannot be read"),
        (["--no-auth", "--certificate", "x.crt"], "--certificate and --key belong together"),
        (["--client", "x.crt"], "--client needs the server's own --certificate"),
        (["--no-auth", "--certificate", "x.crt", "--key", "x.key"], "cannot be used for TLS"),
        (["--client", "x.crt", "--certificate", "x.crt", "--key", "x.key"], "x.crt"),
        (["--no-auth", "--port", "70000"], "--port"),
        (["--no-auth", "--workers", "0"], "--workers"),
        (["--no-auth", "--host", "192.0.2.1", "--tokens", "t"], "give one of them"),
        (["surprise"], "surprise"),
    ],
)
def test_what_is_wrong_is_said_first(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    assert run(["serve", *options]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_that_cannot_be_one(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(["serve", "--no-auth", "--port", "0", "--state", str(tmp_path / "file")]) == 2
    assert "state folder cannot be used" in capsys.readouterr().err


def test_an_address_that_cannot_be_listened_on(tmp_path, capsys):
    from fedopt.service.auth import make_token

    make_token("x", tmp_path / "tokens")
    options = [
        "--tokens",
        str(tmp_path / "tokens"),
        "--host",
        "192.0.2.1",
        "--state",
        str(tmp_path / "state"),
    ]
    assert run(["serve", *options]) == 2
    assert "192.0.2.1:8450: cannot be listened on" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_token_is_printed_once_and_kept_as_a_hash(tmp_path, capsys):
    file = tmp_path / "tokens.txt"
    assert run(["serve", "token", "portal", "--tokens", str(file)]) == 0
    shown = capsys.readouterr()
    token = shown.out.strip()
    assert re.fullmatch(r"fedopt_\S{43}", token)
    assert token not in file.read_text() + shown.err
    assert run(["serve", "token", "planner", "--tokens", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["name"], document["file"]) == ("planner", str(file))
    assert file.read_text().count("sha256:") == 2
    assert run(["serve", "token", "a b", "--tokens", str(file)]) == 2
    assert run(["serve", "token", "x", "--tokens", str(tmp_path)]) == 2


def test_the_openapi_document_is_printed_or_written(tmp_path, capsys):
    assert run(["serve", "openapi"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["openapi"].startswith("3.1")
    assert run(["serve", "openapi", "--out", str(tmp_path / "api.json")]) == 0
    assert json.loads((tmp_path / "api.json").read_text()) == document
    assert capsys.readouterr().out == ""
    assert {tag for methods in document["paths"].values() for r in methods.values() for tag in r["tags"]} == {
        tag["name"] for tag in document["tags"]
    }
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            where = f"{method} {path}"
            assert route["summary"], where
            assert route["description"], where
            assert "x-correlator" in {parameter["name"] for parameter in route["parameters"]}, where
            assert all(parameter["description"] for parameter in route["parameters"]), where
            assert {"401", "403"} <= set(route["responses"]), where
            assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", route["operationId"]), where
