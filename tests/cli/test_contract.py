import json

import pytest
import yaml

from fedopt.cli import run
from tests.contracts.conftest import AT, fields


@pytest.fixture
def place(tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(fields()))
    names = {name: str(tmp_path / name) for name in ("c.yaml", "key", "pub", "c.jws", "registry")}
    assert run(["contract", "keygen", "opA", "--key", names["key"], "--out", names["pub"], "-q"]) == 0
    assert run(["contract", "trust", names["pub"], "--registry", names["registry"], "-q"]) == 0
    sign = ["contract", "sign", names["c.yaml"], "--key", names["key"], "--registry", names["registry"]]
    assert run([*sign, "--at", AT, "--out", names["c.jws"], "-q"]) == 0
    return names


def test_a_signed_contract_verifies_until_its_key_is_revoked(place, capsys):
    verify = ["contract", "verify", place["c.jws"], "--registry", place["registry"]]
    assert run([*verify, "--at", AT, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["valid"]
    assert run([*verify, "--at", "2030-01-01T00:00:00Z"]) == 5
    assert "expired" in capsys.readouterr().err
    assert run([*verify, "--at", AT, "--new"]) == 5
    assert "replayed" in capsys.readouterr().err
    revoke = [
        "contract",
        "revoke",
        document["kid"],
        "--registry",
        place["registry"],
        "--reason",
        "lost",
        "-q",
    ]
    assert run(revoke) == 0
    assert run([*verify, "--at", AT]) == 5
    assert "revoked-key" in capsys.readouterr().err


def test_the_log_is_listed_and_its_head_can_be_pinned(place, capsys):
    assert run(["contract", "log", "--registry", place["registry"], "--json"]) == 0
    log = json.loads(capsys.readouterr().out)
    assert [entry["event"] for entry in log["entries"]] == ["key-trusted", "contract-registered"]
    verify = ["contract", "verify", place["c.jws"], "--registry", place["registry"], "--at", AT, "-q"]
    assert run([*verify, "--head", log["head"]]) == 0
    assert run([*verify, "--head", "0" * 64]) == 5


def test_keys_are_never_overwritten_and_bad_files_named(place, tmp_path, capsys):
    assert run(["contract", "keygen", "opA", "--key", place["key"]]) == 2
    (tmp_path / "bad.yaml").write_text("issuer: [")
    assert run(["contract", "sign", str(tmp_path / "bad.yaml"), "--key", place["key"]]) == 2
    assert "malformed" in capsys.readouterr().err
    assert run(["contract", "verify", place["c.yaml"], "--registry", place["registry"]]) == 5
