"""Signed contracts of domains: keys, signing, verifying, and the registry with its hash-chained log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedopt.cli._options import Json, Out, Quiet
from fedopt.cli._output import emit, fail

app = typer.Typer(
    help="Signed contracts of domains: keys, signing, verifying, the registry.\n\n"
    "Example: fedopt contract verify edge-1.jws --registry registry"
)

RegistryFolder = Annotated[Path, typer.Option("--registry", help="Folder of the registry.", metavar="FOLDER")]
KeyFile = Annotated[Path, typer.Option("--key", help="Private key made by keygen.", metavar="FILE")]
At = Annotated[str | None, typer.Option(help="Time to judge at, such as 2026-01-31T00:00:00Z; default: now.")]


@app.command()
def keygen(
    issuer: Annotated[str, typer.Argument(help="Name of the issuer, as contracts state it.")],
    key: Annotated[Path, typer.Option("--key", help="File for the private key; never overwritten.")],
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make an Ed25519 key; the public part is printed and can be shared.

    Example: fedopt contract keygen opA --key opA.key --out opA.pub
    """
    from fedopt.contracts import generate_key, save_key

    made = generate_key(issuer)
    try:
        save_key(made, key)
    except FileExistsError:
        fail(2, f"{key} exists; a key is never overwritten")
    emit(
        made.public(),
        f"key {made.kid} of {issuer}; the private part is in {key}",
        json=json,
        out=out,
        quiet=quiet,
    )


@app.command()
def sign(
    contract: Annotated[Path, typer.Argument(help="Unsigned contract (YAML or JSON).")],
    key: KeyFile,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Register the signed contract there as well.")
    ] = None,
    at: At = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Sign a contract as JWS (Ed25519) and, with --registry, register it as the next version.

    Example: fedopt contract sign edge-1.yaml --key opA.key --registry registry --out edge-1.jws
    """
    from fedopt.contracts import Registry, load_key, signed_digest
    from fedopt.contracts import sign as sign_contract
    from fedopt.contracts.document import read_contract
    from fedopt.storage import write_atomically

    document = read_contract(contract)
    token = sign_contract(document, load_key(key))
    if registry is not None:
        Registry(registry).add(token, at)
    if out is not None:
        write_atomically(out, token + "\n")
    result = {
        "subject": document.subject,
        "version": document.version,
        "sha256": signed_digest(token),
        "jws": token,
    }
    emit(
        result,
        token if out is None else f"signed {document.subject} version {document.version}",
        json=json,
        quiet=quiet,
    )


@app.command()
def verify(
    contract: Annotated[Path, typer.Argument(help="Signed contract.")],
    registry: RegistryFolder,
    at: At = None,
    new: Annotated[
        bool, typer.Option(help="Judge it as a new version, not as the newest registered one.")
    ] = False,
    head: Annotated[
        str | None, typer.Option(help="Hash that the log's last entry or one before must have.")
    ] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify a signed contract against a registry; what is wrong is named.

    Exit codes: 0 valid, 2 bad input, 5 refused (signature, issuer, expired, replayed, rolled-back,
    altered-field, unknown-algorithm, algorithm-none, …).

    Example: fedopt contract verify edge-1.jws --registry registry
    """
    from fedopt.contracts import Registry
    from fedopt.contracts import verify as verify_contract
    from fedopt.contracts.document import ContractError, read_token

    store = Registry(registry, must_exist=True)
    if head is not None and head not in {entry.hash for entry in store.log.entries()}:
        raise ContractError("log", "no entry has the hash asked for: the log was cut short or replaced")
    document, kid = verify_contract(
        read_token(contract), store.state(), at=at, stage="new" if new else "registered", folder=store.folder
    )
    result = {
        "valid": True,
        "subject": document.subject,
        "version": document.version,
        "issuer": document.issuer,
        "kid": kid,
    }
    text = (
        f"valid: {document.subject} version {document.version} by {document.issuer}, "
        f"until {document.valid_until}"
    )
    emit(result, text, json=json, out=out, quiet=quiet)


@app.command()
def trust(
    key: Annotated[Path, typer.Argument(help="Public key (JSON) of an issuer.")],
    registry: RegistryFolder,
    instead: Annotated[
        str | None, typer.Option(help="kid of the issuer's key that this one replaces.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Register an issuer's public key, or rotate to it with --instead.

    Example: fedopt contract trust opA.pub --registry registry
    """
    from fedopt.contracts import Registry
    from fedopt.contracts.document import read_json

    members = read_json(key)
    store = Registry(registry)
    kid = store.rotate(instead, members) if instead else store.trust(members)
    emit(
        {"kid": kid, "head": store.log.head()},
        f"trusted: key {kid} of {members['issuer']}",
        json=json,
        quiet=quiet,
    )


@app.command()
def revoke(
    kid: Annotated[str, typer.Argument(help="Identifier of the key.")],
    registry: RegistryFolder,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Revoke a key: nothing that it ever signed is valid any more.

    Example: fedopt contract revoke KID --registry registry --reason "laptop lost"
    """
    from fedopt.contracts import Registry

    store = Registry(registry, must_exist=True)
    store.revoke(kid, reason)
    emit({"kid": kid, "head": store.log.head()}, f"revoked: key {kid}", json=json, quiet=quiet)


@app.command()
def log(registry: RegistryFolder, out: Out = None, json: Json = False, quiet: Quiet = False) -> None:
    """List the registry's log after verifying its chain; the last hash is worth keeping elsewhere.

    Example: fedopt contract log --registry registry
    """
    from fedopt.contracts import Registry
    from fedopt.contracts.registry import describe

    store = Registry(registry, must_exist=True)
    entries = store.log.entries()
    text = "\n".join([*(describe(entry) for entry in entries), f"head {store.log.head()}"])
    emit(
        {"entries": [vars(entry) for entry in entries], "head": store.log.head()},
        text,
        json=json,
        out=out,
        quiet=quiet,
    )


@app.command()
def apply(
    instance: Annotated[Path, typer.Argument(help="Instance file (YAML or JSON).", metavar="INSTANCE")],
    registry: RegistryFolder,
    at: At = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put the current contracts of a registry into an instance: what is solved then rests on them.

    Every contract is verified; offers without one keep what the instance states.

    Example: fedopt contract apply instance.yaml --registry registry --out signed.yaml
    """
    from fedopt.contracts import Registry, with_registry
    from fedopt.instance import load

    signed, used = with_registry(load(instance), Registry(registry, must_exist=True), at)
    lines = [f"{contract.subject}: version {contract.version} by {contract.issuer}" for contract in used]
    if out is not None:
        signed.save(out)
    emit(
        signed.to_dict(),
        "\n".join(lines) or "no offer of the instance has a contract in this registry",
        json=json,
        quiet=quiet,
    )
