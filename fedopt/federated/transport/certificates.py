"""Certificates for mutual TLS: made without other tools, pinned one by one.

Broker and agents know each other's certificates beforehand, as they know each other's signing keys, and trust
exactly these: no authority stands between them. A certificate of an organisation's own authority serves as
well as a self-signed one; it is the certificate that is pinned, not who issued it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fedopt.errors import InputError, optional
from fedopt.storage import write_atomically

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName

__all__ = [
    "CertificateError",
    "client_context",
    "fingerprint_of",
    "make_certificate",
    "server_context",
]

VALID_DAYS = 825


class CertificateError(InputError):
    """A certificate or key file that cannot be used; the message names it."""


def make_certificate(
    name: str, folder: str | Path, hosts: Iterable[str] = ("127.0.0.1", "localhost")
) -> Path:
    """Make a key and a self-signed certificate, `folder/name.crt` and `folder/name.tls.key`.

    `hosts` are the addresses under which a server with this certificate is reached. The key is readable by
    its owner only. Returns the certificate's path. Raises FileExistsError: neither file is ever overwritten.
    """
    with optional("runs across operators", "federation"):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    folder = Path(folder)
    certificate, private = folder / f"{name}.crt", folder / f"{name}.tls.key"
    if certificate.exists():
        raise FileExistsError(17, "exists already", str(certificate))
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = datetime.now(UTC).replace(microsecond=0)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # clocks of two organisations differ
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(pem)
    return write_atomically(certificate, built.public_bytes(serialization.Encoding.PEM))


def fingerprint_of(certificate: str | Path | bytes) -> str:
    """SHA-256 of a certificate, given as a PEM file or in DER. Raises CertificateError."""
    shown = certificate if isinstance(certificate, bytes) else _first(certificate)
    return hashlib.sha256(shown).hexdigest()


def _first(file: str | Path) -> bytes:
    """The first certificate of a PEM file in DER: its owner's, where authorities follow. Raises
    CertificateError."""
    try:
        text = Path(file).read_text(encoding="ascii")
        start = text.index("-----BEGIN CERTIFICATE-----")
        end = text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
        return ssl.PEM_cert_to_DER_cert(text[start:end])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no certificate in PEM form"
        raise CertificateError(f"{file!s}: cannot be used as a certificate: {reason}") from error


def server_context(certificate: Path, key: Path, clients: Iterable[Path]) -> ssl.SSLContext:
    """TLS of an agent: it shows its certificate and takes only connections that show one of `clients`.

    Raises CertificateError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return _mutual(context, certificate, key, clients)


def client_context(certificate: Path, key: Path, server: Path) -> ssl.SSLContext:
    """TLS of the broker towards one agent: only the agent's own certificate will do, for the host that it
    names.

    Raises CertificateError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _mutual(context, certificate, key, [server])


def _mutual(context: ssl.SSLContext, certificate: Path, key: Path, peers: Iterable[Path]) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= (
        ssl.VERIFY_X509_PARTIAL_CHAIN
    )  # a pinned certificate is an anchor, whoever issued it
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "they do not belong together"
        raise CertificateError(f"{certificate}, {key}: cannot be used for TLS: {reason}") from error
    for peer in peers:
        try:  # its own certificate alone: an authority that stands in the file too would vouch for others
            context.load_verify_locations(cadata=_first(peer))
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(f"{peer}: cannot be used as a certificate: {error}") from error
    return context


def _alternative(host: str) -> GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
