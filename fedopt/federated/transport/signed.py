"""Signatures of messages: detached JWS (RFC 7515, appendix F) with Ed25519 over what is said, to whom and in
what.

TLS tells who is at the other end of a connection; a signature lasts: the agent's journal holds the broker's
signed order to reserve, the broker's the agent's signed promise. It binds a message to its run, its place in
the run and the operator it is meant for, so none can be passed on or played again elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Literal

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from fedopt.contracts.signing import SigningKey
from fedopt.errors import InputError
from fedopt.storage import canonical_json

__all__ = ["HEADER", "SignatureError", "sign_message", "verify_message"]

HEADER = "Fedopt-Signature"
ALGORITHM = "Ed25519"
TYPE = "fedopt-message+jws"
LONGEST = 2000

Kind = Literal["request", "answer", "mask-key"]


class SignatureError(InputError):
    """A message without the signature that it needs."""


def sign_message(
    key: SigningKey, kind: Kind, run: str, sequence: int, operator: str, body: bytes, about: bytes = b""
) -> str:
    """The detached signature of a message; `about` is the request that an answer belongs to."""
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": TYPE}
    claims = _claims(kind, run, sequence, operator, body, about)
    head, _, signature = jws.serialize_compact(header, claims, key.key, algorithms=[ALGORITHM]).split(".")
    return f"{head}..{signature}"


def verify_message(
    signature: str | None,
    public: tuple[str, OKPKey],
    kind: Kind,
    run: str,
    sequence: int,
    operator: str,
    body: bytes,
    about: bytes = b"",
) -> None:
    """Raises SignatureError unless the signature is that of `public` (kid, key) under exactly this."""
    if not signature:
        raise SignatureError("the message is not signed")
    parts = signature.split(".")
    if len(signature) > LONGEST or len(parts) != 3 or parts[1]:
        raise SignatureError("the signature is no detached JWS")
    kid, key = public
    claims = _claims(kind, run, sequence, operator, body, about)
    try:
        token = f"{parts[0]}.{_base64url(claims)}.{parts[2]}"
        header = jws.deserialize_compact(token, key, algorithms=[ALGORITHM]).headers()
    except (JoseError, ValueError, TypeError, UnicodeError) as error:
        raise SignatureError("the signature does not belong to this message, place and key") from error
    if header != {"alg": ALGORITHM, "kid": kid, "typ": TYPE}:
        raise SignatureError("the header of the signature must hold alg, kid and typ as fedopt writes them")


def _claims(kind: Kind, run: str, sequence: int, operator: str, body: bytes, about: bytes) -> bytes:
    said: dict[str, Any] = {
        "kind": kind,
        "run": run,
        "sequence": sequence,
        "operator": operator,
        "body": hashlib.sha256(body).hexdigest(),
        "about": hashlib.sha256(about).hexdigest() if about else None,
    }
    return canonical_json(said)


def _base64url(data: bytes) -> str:

    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
