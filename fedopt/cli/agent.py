"""One operator's agent in federated runs: answers brokers over HTTPS with mutual TLS."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Annotated

import typer

from fedopt.cli._asking import DefaultsTo
from fedopt.cli._options import Json, Out, Quiet
from fedopt.cli._output import emit, fail, say

app = typer.Typer(
    cls=DefaultsTo.the("run"),
    help="One operator's agent in federated runs. `fedopt agent CONFIG` serves; the other commands look at "
    "its state.\n\nExample: fedopt agent opA/agent.yaml",
)

Config = Annotated[Path, typer.Argument(help="Configuration of the agent (YAML).", metavar="CONFIG")]


@app.command()
def run(config: Config, quiet: Quiet = False) -> None:
    """Serve until interrupted (this is what `fedopt agent CONFIG` does).

    The operator's domains, keys and limits are in the configuration. What it promised survives a restart.

    Exit codes: 0 interrupted, 2 bad configuration.

    Example: fedopt agent run opA/agent.yaml
    """
    from fedopt.federated.transport.agent import Agent
    from fedopt.federated.transport.agent_config import AgentConfig
    from fedopt.federated.transport.agent_server import serve

    settings = AgentConfig.load(config)
    if not settings.local and not quiet:
        say(f"{settings.listen} can be reached from other machines; a broker's certificate is asked of all.")
    agent = Agent(settings)

    def ready(host: str, port: int) -> None:
        if not quiet:
            say(f"The agent of {agent.operator} is listening on https://{host}:{port}")

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's stop is as good as Ctrl-C
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(agent):
        serve(agent, ready)


@app.command()
def status(config: Config, json: Json = False, quiet: Quiet = False) -> None:
    """List the reservations of the agent, which must not be running: by run, and what is taken of each
    domain.

    Example: fedopt agent status opA/agent.yaml
    """
    from fedopt.federated.transport.agent import Agent
    from fedopt.federated.transport.agent_config import AgentConfig

    agent = Agent(AgentConfig.load(config))
    try:
        entries = agent.book.entries()
        reserved, capacity = agent.book.reserved(), agent.book.capacity
    finally:
        agent.close()
    result = {
        "operator": agent.operator,
        "runs": entries,
        "domains": [
            {"id": name, "reserved": reserved[name], "capacity": capacity[name]} for name in sorted(capacity)
        ],
    }
    lines = [f"{entry['run']}  {entry['state']}  {entry['loads']}" for entry in entries] or [
        "no reservations"
    ]
    lines += [f"{name}: {reserved[name]:g} of {capacity[name]:g} taken" for name in sorted(capacity)]
    emit(result, "\n".join(lines), json=json, quiet=quiet)


@app.command()
def release(
    config: Config,
    run: Annotated[str, typer.Argument(help="Name of the run.", metavar="RUN")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """End a run's reservations, or drop its hold, by the operator's own hand; the agent must not be running.

    Exit codes: 0 released, 2 the run has no reservations here.

    Example: fedopt agent release opA/agent.yaml run-20260101-1f2e3d4c
    """
    from fedopt.federated.transport.agent import Agent
    from fedopt.federated.transport.agent_config import AgentConfig

    agent = Agent(AgentConfig.load(config))
    try:
        held = agent.book.state(run) == "prepared"
        done = agent.book.abort(run) if held else agent.book.release(run)
    finally:
        agent.close()
    if not done.granted:
        fail(2, f"{run}: {done.reason}")
    emit({"run": run, "released": True}, f"released: {run}", json=json, quiet=quiet)


@app.command()
def certificate(
    name: Annotated[str, typer.Argument(help="Name of the operator or broker.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the files.", metavar="FOLDER")] = Path(
        "."
    ),
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Address under which it is reached; several allowed.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a key and a self-signed certificate for mutual TLS; give the certificate to the other side.

    Example: fedopt agent certificate opA --host agent.opa.example --out opA
    """
    from fedopt.federated.transport.certificates import fingerprint_of, make_certificate

    try:
        made = make_certificate(name, folder, host or ["127.0.0.1", "localhost"])
    except FileExistsError as error:
        fail(2, f"{error.filename} exists; a key is never overwritten")
    result = {"certificate": str(made), "sha256": fingerprint_of(made)}
    emit(result, f"{made}: SHA-256 {result['sha256']}", json=json, quiet=quiet)


@app.command()
def openapi(
    out: Out = None,
    json: Annotated[bool, typer.Option("--json", help="Print it also where --out writes it.")] = False,
    quiet: Quiet = False,
) -> None:
    """Print the OpenAPI document of an agent.

    Example: fedopt agent openapi --out agent-api.json
    """
    from fedopt.federated.transport.agent_server import openapi_document

    emit(openapi_document(), "", json=json or out is None, out=out, quiet=quiet)
