"""One operator's agent in federated runs: answers brokers over HTTPS with mutual TLS."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedopt.cli import BROKEN, DONE
from fedopt.cli._asking import DefaultsTo
from fedopt.cli._options import Json, Out, Quiet
from fedopt.cli._output import emit, fail, say

if TYPE_CHECKING:
    from fedopt.federated.transport.agent import Agent

app = typer.Typer(
    cls=DefaultsTo.the("run"),
    help="One operator's agent in federated runs. `fedopt agent CONFIG` serves; the other commands look at "
    "its state.\n\nExample: fedopt agent opA/agent.yaml",
)

Config = Annotated[Path, typer.Argument(help="Configuration of the agent (YAML).", metavar="CONFIG")]


Problem = Annotated[
    str | None,
    typer.Option(
        "--problem",
        help="The operator's own problem in cvxpy: a function of its domains that returns a PrivateProblem.",
        metavar="FILE:FUNCTION",
    ),
]


@app.command()
def run(config: Config, problem: Problem = None, quiet: Quiet = False) -> None:
    """Serve until interrupted (this is what `fedopt agent CONFIG` does).

    The operator's domains, keys, policy and limits are in the configuration; --problem takes the place of the
    problem named there. What it promised survives a restart.

    Exit codes: 0 interrupted, 2 bad configuration.

    Example: fedopt agent run opA/agent.yaml --problem private.py:build
    """
    from fedopt.federated.transport.agent import Agent
    from fedopt.federated.transport.agent_server import serve
    from fedopt.federated.transport.config import AgentConfig

    settings = AgentConfig.load(config)
    if problem is not None:
        file, _, function = problem.rpartition(":")
        named = f"{Path(file).resolve()}:{function}" if file else problem
        settings = settings.replaced(problem=named)
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
    """List the reservations of the agent, by run, and what is taken of each domain; also while it runs.

    Exit codes: 0 all is well, 5 more is promised than can be carried now.

    Example: fedopt agent status opA/agent.yaml
    """
    with _looked_at(config) as agent:
        result = agent.status()
    lines = [
        f"{entry['run']}  {entry['state']}  for {entry['broker']}: "
        + ", ".join(f"{offer} {rate:.6g}" for offer, rate in entry["loads"].items())
        for entry in result["runs"]
    ] or ["no reservations"]
    for domain in result["domains"]:
        of = "" if domain["capacity"] is None else f"of {domain['capacity']:g} "
        lines.append(f"{domain['id']}: {domain['reserved']:.6g} {of}taken")
    over = result["overbooked"]
    if over is not None:
        lines.append(f"{over}: more is promised than can be carried now; release a run, or restore capacity")
    emit(result, "\n".join(lines), json=json, quiet=quiet)
    raise typer.Exit(DONE if over is None else BROKEN)


@app.command()
def log(config: Config, json: Json = False, quiet: Quiet = False) -> None:
    """List what was answered to whom and what was refused, oldest first; also while the agent runs.

    Example: fedopt agent log opA/agent.yaml --json
    """
    with _looked_at(config) as agent:
        result = agent.log()
    lines = []
    for one in result:
        at = datetime.fromtimestamp(one["at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        what = f"refused: {one['refused']}" if one["refused"] else f"{one['kind']}, {one['numbers']} numbers"
        lines.append(f"{at}  {one['broker']}  {one['run']}  {what}")
    emit(result, "\n".join(lines or ["nothing was answered"]), json=json, quiet=quiet)


@app.command()
def release(
    config: Config,
    run: Annotated[str, typer.Argument(help="Name of the run.", metavar="RUN")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """End a run's reservations, or drop its hold, by the operator's own hand; also while the agent runs.

    Exit codes: 0 released, 2 the run has no reservations here.

    Example: fedopt agent release opA/agent.yaml run-1f2e3d4c5b6a7988
    """
    with _looked_at(config) as agent:
        done = agent.release(run)
    if not done.granted:
        fail(2, f"{run}: {done.reason}")
    emit({"run": run, "released": True}, f"released: {run}", json=json, quiet=quiet)


@contextlib.contextmanager
def _looked_at(config: Path) -> Iterator[Agent]:
    """The agent's files and state, beside the agent itself."""
    from fedopt.federated.transport.agent import Agent
    from fedopt.federated.transport.config import AgentConfig

    with contextlib.closing(Agent(AgentConfig.load(config), held=False)) as agent:
        yield agent


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
