"""Tokens: shown once, kept as hashes, ended by removing a line; and who is let in by them."""

from __future__ import annotations

import hmac
import os
import stat

import pytest

from fedopt.service.auth import Anyone, ByCertificate, ByToken, TokenError, TokenFile, make_token
from fedopt.service.errors import ApiError


def asked(authorization=None, host="127.0.0.1:8450", **more):
    headers = [(b"host", host.encode())]
    if authorization is not None:
        headers.append((b"authorization", authorization.encode()))
    return {"headers": headers, **more}


def test_a_token_is_kept_as_a_hash_that_only_its_owner_reads(tmp_path):
    file = tmp_path / "tokens.txt"
    token = make_token("portal", file)
    assert token.startswith("fedopt_")
    assert len(token) >= 7 + 43
    assert token not in file.read_text()
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    second = make_token("planner", file)
    known = TokenFile(file)
    assert known.holder(token) == "portal"
    assert known.holder(second) == "planner"
    for wrong in ("", token[:-1], token + "x", token.upper(), "x" * 100_000, "ü", "\ud800"):
        assert known.holder(wrong) is None


def test_a_line_removed_ends_its_token_and_a_line_added_begins_one(tmp_path):
    file = tmp_path / "tokens.txt"
    old = make_token("portal", file)
    known = TokenFile(file)
    new = make_token("portal", file)
    assert known.holder(old) == known.holder(new) == "portal"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(lines[0] + lines[2])
    assert known.holder(old) is None
    assert known.holder(new) == "portal"


def test_every_entry_is_compared_and_in_constant_time(tmp_path, monkeypatch):
    file = tmp_path / "tokens.txt"
    tokens = [make_token(f"n{i}", file) for i in range(4)]
    known = TokenFile(file)
    compared = []
    digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(b) or digest(a, b))
    assert known.holder(tokens[0]) == "n0"
    assert len(compared) == 4


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "a/b", "x" * 65, "ü", "a\nb"])
def test_names_that_no_caller_can_have(tmp_path, name):
    with pytest.raises(TokenError, match="cannot be a caller's name"):
        make_token(name, tmp_path / "tokens.txt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no caller"),
        ("# only words\n", "names no caller"),
        ("portal secret\n", "line 1: is not NAME sha256:HASH"),
        ("ok sha256:" + "0" * 64 + "\nportal sha256:123\n", "line 2"),
        ("po/rtal sha256:" + "0" * 64 + "\n", "line 1"),
        (b"\xff\xfe", "no UTF-8"),
    ],
)
def test_files_that_are_no_token_files(tmp_path, text, words):
    file = tmp_path / "tokens.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TokenError, match=words):
        TokenFile(file)
    if "names no caller" not in words:
        with pytest.raises(TokenError):
            make_token("x", file)
    with pytest.raises(TokenError, match="cannot be read"):
        TokenFile(tmp_path / "missing.txt")


def test_a_file_that_breaks_while_it_is_used_lets_nobody_in(tmp_path):
    file = tmp_path / "tokens.txt"
    token = make_token("portal", file)
    callers = ByToken(TokenFile(file))
    assert callers.who(asked(f"Bearer {token}")) == "portal"
    assert callers.who(asked(f"bearer   {token} ")) == "portal"
    file.write_text("nonsense\n")
    with pytest.raises(ApiError, match="UNAVAILABLE"):
        callers.who(asked(f"Bearer {token}"))
    file.unlink()
    with pytest.raises(ApiError, match="UNAVAILABLE"):
        callers.who(asked(f"Bearer {token}"))


def test_certificates_name_their_callers():
    callers = ByCertificate({"f" * 64: "portal"}, "peer")
    assert callers.who(asked(peer="f" * 64)) == "portal"
    for shown in (None, "", "e" * 64):
        with pytest.raises(ApiError, match="UNAUTHENTICATED"):
            callers.who(asked(peer=shown))
    with pytest.raises(ApiError, match="UNAUTHENTICATED"):
        callers.who(asked())


def test_anyone_is_let_in_under_the_machines_own_name_alone():
    for host in ("localhost", "localhost:8450", "127.0.0.1:1", "[::1]:8450", "[::1]", "LOCALHOST"):
        assert Anyone().who(asked(host=host)) == "local"
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[::2]:8450", "localhost.evil:80"):
        with pytest.raises(ApiError, match="PERMISSION_DENIED"):
            Anyone().who(asked(host=host))
