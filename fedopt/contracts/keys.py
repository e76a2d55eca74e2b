"""Ed25519 keys: made, stored and read by joserfc (JSON Web Keys); no cryptography of our own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from fedopt.contracts.errors import ContractError

__all__ = ["SigningKey", "generate_key", "load_key", "public_key", "save_key"]


def key_id(key: OKPKey) -> str:
    """The name of a key: "ed25519-" and its RFC 7638 thumbprint.

    The thumbprint alone may begin with a dash and would then look like an option on a command line.
    """
    return f"ed25519-{key.thumbprint()}"


@dataclass(frozen=True)
class SigningKey:
    """A private key with its issuer. `kid` names the public key; see `key_id`."""

    issuer: str
    key: OKPKey

    @property
    def kid(self) -> str:
        """Identifier of the key."""
        return key_id(self.key)

    def public(self) -> dict[str, Any]:
        """The public JSON Web Key, with issuer."""
        members = self.key.as_dict(private=False)
        return {name: members[name] for name in ("kty", "crv", "x")} | {
            "kid": self.kid,
            "issuer": self.issuer,
        }


def generate_key(issuer: str) -> SigningKey:
    """A new Ed25519 key from the operating system's randomness."""
    if not issuer or len(issuer) > 200 or not issuer.isprintable():
        raise ContractError("key", "an issuer has a printable name of 1 to 200 characters")
    return SigningKey(issuer, OKPKey.generate_key("Ed25519"))


def save_key(key: SigningKey, path: str | Path) -> None:
    """Write the private key, readable by its owner only. Raises FileExistsError: a key is never
    overwritten.
    """
    members = key.key.as_dict(private=True) | {"kid": key.kid, "issuer": key.issuer}
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(members, stream, indent=2)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())


def load_key(path: str | Path) -> SigningKey:
    """Read a private key. Raises ContractError("key")."""
    try:
        members = json.loads(Path(path).read_text(encoding="utf-8"))
        issuer = members["issuer"]
        key = _import({name: members[name] for name in ("kty", "crv", "x", "d")})
    except OSError as error:
        raise ContractError("key", f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError("key", f"{path}: not a private Ed25519 key of fedopt contract keygen") from error
    if not isinstance(issuer, str):
        raise ContractError("key", f"{path}: the key names no issuer")
    return SigningKey(issuer, key)


def public_key(members: Any) -> tuple[str, str, OKPKey]:
    """(kid, issuer, key) of a public JSON Web Key. Raises ContractError("key")."""
    try:
        issuer, kid = members["issuer"], members["kid"]
        if "d" in members:
            raise ContractError("key", "this is a private key; share the public one")
        key = _import({name: members[name] for name in ("kty", "crv", "x")})
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(
            "key", "not a public Ed25519 key (kty OKP, crv Ed25519, x, kid, issuer)"
        ) from error
    if kid != key_id(key) or not isinstance(issuer, str):
        raise ContractError("key", "kid is not the key's thumbprint, or the issuer is no text")
    return str(kid), issuer, key


def _import(members: dict[str, Any]) -> OKPKey:
    if members.get("kty") != "OKP" or members.get("crv") != "Ed25519":
        raise ContractError("key", "only Ed25519 keys are used")
    try:
        return OKPKey.import_key(members)
    except (JoseError, ValueError, TypeError) as error:
        raise ContractError("key", f"not an Ed25519 key: {error}") from error
