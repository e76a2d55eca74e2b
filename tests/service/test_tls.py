"""Over TLS: tokens over HTTPS, and mutual TLS with pinned certificates."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest

pytest.importorskip("cryptography")

from fedopt.federated.transport.certificates import client_context, make_certificate
from tests.service.world import Caller, running, until


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(name, folder) for name in ("server", "portal", "planner", "stranger")}


def key_of(certificate):
    return certificate.with_name(f"{certificate.stem}.tls.key")


def test_callers_are_known_by_their_certificates(tmp_path, certificates):
    server_certificate = certificates["server"]
    options = ["--certificate", str(server_certificate), "--key", str(key_of(server_certificate))]
    for name in ("portal", "planner"):
        options += ["--client", str(certificates[name])]

    def caller(server, name):
        own = certificates[name]
        return Caller(server, verify=client_context(own, key_of(own), server_certificate))

    with running(tmp_path, *options) as server:
        assert server.base.startswith("https://")
        portal = caller(server, "portal")
        job = portal.ended(portal.solve()["jobId"])
        assert job["state"] == "DONE"
        until(lambda: any(line["caller"] == "portal" for line in server.said("request")))
        assert caller(server, "planner").get(f"/jobs/{job['jobId']}").status_code == 404
        for verify in (caller(server, "stranger").http, httpx.Client(verify=_trusting(server_certificate))):
            with pytest.raises((httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError)):
                verify.get(server.base + "/jobs")
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
            plain.sendall(b"GET /fedopt/v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" not in plain.recv(1000)
        assert portal.get("/ready").status_code == 200
        assert server.stop() == 0
        assert not server.said("defect")


def test_tokens_over_https(tmp_path, tokens, certificates):
    file, token, _ = tokens
    certificate = certificates["server"]
    options = ("--tokens", str(file), "--certificate", str(certificate), "--key", str(key_of(certificate)))
    with running(tmp_path, *options) as server:
        caller = Caller(server, token, verify=_trusting(certificate))
        assert caller.get("/jobs").status_code == 200
        assert Caller(server, verify=_trusting(certificate)).get("/jobs").status_code == 401


def _trusting(certificate):
    context = ssl.create_default_context(cafile=str(certificate))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
