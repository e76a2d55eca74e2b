"""Planning as an HTTP service: post instances and intents, follow jobs, fetch plans, bounds and reports."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedopt.cli import BAD_INPUT
from fedopt.cli._asking import DefaultsTo
from fedopt.cli._options import Json, Out, Quiet
from fedopt.cli._output import emit, fail, say

if TYPE_CHECKING:
    import ssl

    from fedopt.service.auth import Authenticator

app = typer.Typer(
    cls=DefaultsTo.the("run", bare=True),
    help="Planning as an HTTP service. `fedopt serve` serves; `fedopt serve run --help` lists its "
    "options, the other commands prepare it.\n\nExample: fedopt serve --tokens tokens.txt",
)

STATE = Path("fedopt-serve")


@app.command()
def run(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="Port to listen on; 0: a free one.", min=0, max=65535)
    ] = 8450,
    state: Annotated[
        Path, typer.Option("--state", help="Folder that holds the jobs.", metavar="FOLDER")
    ] = STATE,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="File of fedopt serve token.", metavar="FILE")
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Anyone on this machine may use it; for trying it out.")
    ] = False,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", help="The server's TLS certificate (PEM).", metavar="FILE"),
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Its private key (PEM).", metavar="FILE")] = None,
    client: Annotated[
        list[Path] | None,
        typer.Option(
            "--client",
            help="A caller's TLS certificate (repeatable), in place of tokens; the file "
            "is named as the caller is.",
            metavar="FILE",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", "-w", help="Jobs that run at a time.", min=1, max=256)
    ] = 1,
    queue: Annotated[int, typer.Option("--queue", help="Jobs of one caller that may wait.", min=1)] = 100,
    job_seconds: Annotated[
        float, typer.Option("--job-seconds", help="The longest time limit of a job, and its default.", min=1)
    ] = 600.0,
    body_mb: Annotated[
        float, typer.Option("--body-mb", help="The largest body of a request, in MB.", min=0.001, max=1000)
    ] = 16.0,
    memory_gb: Annotated[
        float, typer.Option("--memory-gb", help="The memory that one worker may take.", min=0.5)
    ] = 4.0,
    rate: Annotated[
        float, typer.Option("--rate", help="Requests of one caller per second; 0: any.", min=0)
    ] = 50.0,
    keep_hours: Annotated[
        float, typer.Option("--keep-hours", help="How long finished jobs are kept.", min=0.01)
    ] = 168.0,
    grace: Annotated[
        float, typer.Option("--grace", help="Seconds that running jobs are given when it ends.", min=0)
    ] = 10.0,
    quiet: Quiet = False,
) -> None:
    """Serve until interrupted (this is what `fedopt serve` does).

    Jobs are kept in the state folder: one that was running when the server died is run again, one that is
    finished is kept. The log goes to stderr, one JSON object a line; -q leaves warnings and errors.

    Ctrl-C (or SIGTERM) takes no new jobs, gives the running ones --grace seconds and ends; what is not
    finished then is begun again at the next start. A second Ctrl-C ends at once.

    Exit codes: 0 interrupted, 2 bad usage, or an address, file or folder that cannot be used.

    Example: fedopt serve run --tokens tokens.txt --workers 2
    """
    callers, tls = _callers(tokens, no_auth, certificate, key, client or [], host)
    from fedopt.service.observability import Log
    from fedopt.service.server import Server, listen
    from fedopt.service.service import Service
    from fedopt.service.settings import BASE, Settings

    settings = Settings(
        state=state,
        workers=workers,
        queue=queue,
        job_seconds=job_seconds,
        body_bytes=round(body_mb * 1e6),
        memory_bytes=round(memory_gb * 1e9),
        rate=rate,
        keep_hours=keep_hours,
        grace_seconds=grace,
    )
    listener = listen(host, port)
    try:
        service = Service(settings, Log(sys.stderr, quiet))
    except BaseException:
        listener.close()
        raise
    if not quiet:
        bound, number = listener.getsockname()[:2]
        shown = f"[{bound}]" if ":" in bound else bound
        say(f"fedopt serves on http{'s' if tls else ''}://{shown}:{number}{BASE} (Ctrl-C ends it)")
    Server(service, callers, tls).run([listener])


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="Name of the caller; it owns the jobs it posts.")],
    tokens: Annotated[
        Path, typer.Option("--tokens", help="File that the token's hash is added to.", metavar="FILE")
    ],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a token for a caller: printed once, kept as a hash. A server that uses the file knows it at once.

    To end a token, remove its line from the file.

    Example: fedopt serve token portal --tokens tokens.txt
    """
    from fedopt.service.auth import make_token

    made = make_token(name, tokens)
    if not quiet:
        say(f"{tokens} holds its hash; the token itself is shown now and never again:")
    emit({"name": name, "token": made, "file": str(tokens)}, made, json=json)


@app.command()
def openapi(
    out: Out = None,
    json: Annotated[bool, typer.Option("--json", help="Print it also where --out writes it.")] = False,
    quiet: Quiet = False,
) -> None:
    """Print the OpenAPI document of the service.

    Example: fedopt serve openapi --out fedopt-api.json
    """
    from fedopt.service.server import openapi_document

    emit(openapi_document(), "", json=json or out is None, out=out, quiet=quiet)


def _callers(
    tokens: Path | None,
    no_auth: bool,
    certificate: Path | None,
    key: Path | None,
    clients: list[Path],
    host: str,
) -> tuple[Authenticator, ssl.SSLContext | None]:
    """Who may ask, and the TLS that they ask over; ends with exit code 2 where that is not clear."""
    from fedopt.service.auth import Anyone, ByCertificate, ByToken, TokenFile

    if (certificate is None) != (key is None):
        fail(BAD_INPUT, "--certificate and --key belong together")
    if clients and certificate is None:
        fail(BAD_INPUT, "--client needs the server's own --certificate and --key")
    ways = [
        name for name, given in (("--tokens", tokens), ("--no-auth", no_auth), ("--client", clients)) if given
    ]
    if len(ways) > 1:
        fail(BAD_INPUT, f"{' and '.join(ways)}: give one of them")
    if not ways:
        fail(
            BAD_INPUT,
            "Who may use it? Make a token and serve with it:\n"
            "  fedopt serve token NAME --tokens tokens.txt\n"
            "  fedopt serve --tokens tokens.txt\n"
            "or let anyone on this machine in, for trying it out: fedopt serve --no-auth",
        )
    if no_auth and not _local(host):
        fail(BAD_INPUT, f"--no-auth: {host} can be reached from other machines; use --tokens or --client")
    if no_auth:
        return Anyone(), _tls(certificate, key, [])
    if clients:
        from fedopt.federated.transport.certificates import fingerprint_of
        from fedopt.federated.transport.peer_protocol import PEER

        names = {fingerprint_of(file): file.stem for file in clients}
        return ByCertificate(names, PEER), _tls(certificate, key, clients)
    assert tokens is not None
    if certificate is None and not _local(host):
        say(f"{host} can be reached from other machines; without --certificate tokens are sent in clear")
    return ByToken(TokenFile(tokens)), _tls(certificate, key, [])


def _tls(certificate: Path | None, key: Path | None, clients: list[Path]) -> ssl.SSLContext | None:
    from fedopt.service.server import tls_context

    return None if certificate is None or key is None else tls_context(certificate, key, clients)


def _local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
