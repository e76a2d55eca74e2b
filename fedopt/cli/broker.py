"""The broker of a federated run: plans over the operators' agents and reserves the plan with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedopt.cli import BROKEN, DONE, INFEASIBLE, LIMIT
from fedopt.cli._asking import DefaultsTo
from fedopt.cli._options import Gap, Guarantee, InstanceFile, Json, Objective, Out, Quiet, TimeLimit
from fedopt.cli._output import check_out, emit, fail, say, stdout_kept_clean
from fedopt.cli._progress import RoundProgress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedopt.federated.operator import Transport
    from fedopt.federated.transport.brokering import Brokered, Planner
    from fedopt.instance import Instance
    from fedopt.plan import Plan

app = typer.Typer(
    cls=DefaultsTo.the("run"),
    help="The broker of a federated run. `fedopt broker INSTANCE --agents FILE` plans and reserves.\n\n"
    "Example: fedopt broker public.yaml --agents agents.yaml --out plan.json",
)

EXIT_CODES = {"optimal": DONE, "feasible": DONE, "infeasible": INFEASIBLE, "limit": LIMIT}

Agents = Annotated[
    Path, typer.Option("--agents", help="The broker's identity and its agents (YAML).", metavar="FILE")
]


@app.command()
def run(
    instance: InstanceFile,
    agents: Agents,
    method: Annotated[str, typer.Option("--method", help="admm or bundle.", metavar="NAME")] = "admm",
    guarantee: Guarantee = "minplus",
    objective: Objective = "cost",
    gap: Gap = 1e-3,
    time_limit: TimeLimit = None,
    staleness: Annotated[
        int, typer.Option(help="Rounds in a row that an operator may miss before it counts as lost.", min=0)
    ] = 0,
    masked: Annotated[
        bool,
        typer.Option(help="Sums over the operators by secure aggregation (admm); two operators or more."),
    ] = True,
    reserve: Annotated[bool, typer.Option(help="Reserve the plan with the agents; else plan only.")] = True,
    leave_out_lost: Annotated[
        bool, typer.Option(help="Plan without operators that do not answer, instead of giving up.")
    ] = False,
    replaces: Annotated[
        str | None, typer.Option(help="Run whose reservations this one takes the place of.", metavar="RUN")
    ] = None,
    term: Annotated[
        float, typer.Option(help="Seconds for which agents hold what they prepared.", min=1)
    ] = 600.0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Plan the public part of an instance with the operators' agents, and reserve the plan with them.

    Costs and capacities stay with the agents, under the guarantee split their contracts too. A broker that
    was stopped goes on with its run when the same command is given again.

    Exit codes: 0 planned and reserved, 2 bad input, 3 infeasible, 4 a limit was reached before any plan, 5 an
    agent failed or refused: it is named.

    Example: fedopt broker public.yaml --agents agents.yaml --out plan.json
    """
    from fedopt.contracts.keys import load_key
    from fedopt.federated.transport.broker_config import BrokerConfig
    from fedopt.federated.transport.broker_journal import BrokerJournal
    from fedopt.federated.transport.brokering import broker
    from fedopt.federated.transport.https import Connections
    from fedopt.instance import load

    check_out(out, [instance, agents])
    if method not in ("admm", "bundle"):
        fail(2, f"--method is admm or bundle, not {method!r}")
    public, config = load(instance), BrokerConfig.load(agents)
    masked = masked and method == "admm" and len(config.agents) > 1
    options: dict[str, Any] = {
        "method": method,
        "guarantee": guarantee,
        "objective": objective,
        "gap": gap,
        "masked": masked,
        "staleness": staleness,
    }
    journal = BrokerJournal(config.file(config.state))
    try:
        with (
            stdout_kept_clean(),
            RoundProgress(instance.name, quiet) as progress,
            Connections(
                config.links(),
                load_key(config.file(config.key)),
                config.file(config.tls.certificate),
                config.file(config.tls.key),
                config.waits(),
            ) as connections,
        ):
            done = broker(
                public,
                connections,
                config.public_keys(),
                journal,
                _planner(**options, time_limit=time_limit, progress=progress),
                options=options,
                published=guarantee != "split",
                leave_out_lost=leave_out_lost,
                reserving=reserve,
                term=term,
                replaces=replaces,
            )
    finally:
        journal.close()
    from fedopt.plan.basis import with_basis
    from fedopt.plan.summary import summarize

    plan = with_basis(done.plan, public)
    plan = plan.model_copy(update={"notes": [*plan.notes, *_notes(done)]})

    emit(plan, "" if json or quiet else summarize(plan), json=json, out=out, quiet=quiet)
    if done.settled is not None and not done.settled.complete:
        for line in _notes(done):
            say(line)
    raise typer.Exit(_exit_code(done))


def _planner(masked: bool, staleness: int, **options: Any) -> Planner:
    from fedopt.federated import negotiate
    from fedopt.federated.settings import Settings

    settings = Settings(masked=masked, staleness=staleness)

    def plan(public: Instance, transport: Transport, run: str, contracts: Mapping[str, str]) -> Plan:
        return negotiate(public, transport, run=run, contracts=contracts, settings=settings, **options).plan

    return plan


def _notes(done: Brokered) -> list[str]:
    """What became of the run besides its plan."""
    lines = [f"The run is {done.run}."]
    lines += [f"Planned without {name}: {why}" for name, why in done.lost.items()]
    if done.plan.guarantee == "split" and done.plan.has_plan:
        lines.append("The operators keep the rates; each works out and checks what it promises.")
    settled = done.settled
    if settled is None:
        return [*lines, "Nothing was reserved."]
    if settled.decision == "abort":
        reasons = {**settled.refused, **settled.silent}
        return [*lines, *(f"Nothing was reserved: {name}: {why}" for name, why in reasons.items())]
    lines.append(f"Reserved with {', '.join(settled.granted) or 'nobody'}.")
    lines += [f"NOT reserved with {name}: {why}" for name, why in settled.refused.items()]
    lines += [
        f"{name} holds its share and has not heard of the commit: {why}. Give the same command again."
        for name, why in settled.silent.items()
    ]
    return lines


def _exit_code(done: Brokered) -> int:
    settled = done.settled
    if settled is not None and not settled.complete:
        return BROKEN
    return EXIT_CODES[done.plan.status]


@app.command()
def divide(
    instance: InstanceFile,
    out: Annotated[Path, typer.Option("--out", help="New folder for the parts.", metavar="FOLDER")],
    port: Annotated[
        int, typer.Option(help="Port of the first agent; the others follow.", min=1, max=65535)
    ] = 8441,
    private_contracts: Annotated[
        bool,
        typer.Option(help="Latencies and impairments stay with the operators too (--guarantee split)."),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cut an instance into its public part and the operators' private ones, to try a federation out.

    Every operator gets a folder with its private part, keys, certificate, signed contracts and its agent's
    configuration; the broker gets the public part and agents.yaml. All on this machine, 127.0.0.1.

    Example: fedopt broker divide instances/metro-llm.yaml --out federation
    """
    from fedopt.federated.transport.dividing import divide as divided
    from fedopt.instance import load

    whole = load(instance)
    try:
        made = divided(whole, out, first_port=port, private_contracts=private_contracts)
    except FileExistsError as error:
        fail(2, f"{error.filename}: {error.strerror}")
    lines = [f"fedopt agent {config}" for config in made.agents.values()]
    split = " --guarantee split" if private_contracts else ""
    lines.append(f"fedopt broker {made.public} --agents {made.broker}{split} --out plan.json")
    result = {
        "public": str(made.public),
        "broker": str(made.broker),
        "agents": {operator: str(config) for operator, config in made.agents.items()},
    }
    emit(result, "\n".join(lines), json=json, quiet=quiet)


@app.command()
def release(
    run: Annotated[str, typer.Argument(help="Name of the run, as the plan's notes say.", metavar="RUN")],
    agents: Agents,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """End the reservations of a run at all agents.

    Exit codes: 0 released everywhere, 5 an agent refused or did not answer: it is named.

    Example: fedopt broker release run-1f2e3d4c5b6a7988 --agents agents.yaml
    """
    from fedopt.contracts.keys import load_key
    from fedopt.federated.transport.broker_config import BrokerConfig
    from fedopt.federated.transport.broker_journal import BrokerJournal
    from fedopt.federated.transport.https import Connections
    from fedopt.federated.transport.reserving import release as released

    config = BrokerConfig.load(agents)
    journal = BrokerJournal(config.file(config.state))
    try:
        with Connections(
            config.links(),
            load_key(config.file(config.key)),
            config.file(config.tls.certificate),
            config.file(config.tls.key),
            config.waits(),
        ) as connections:
            failed = released(run, journal, connections.exchange, list(connections.links))
    finally:
        journal.close()
    text = "\n".join([f"{name}: {why}" for name, why in failed.items()] or [f"released: {run}"])
    emit({"run": run, "failed": failed}, text, json=json, quiet=quiet)
    raise typer.Exit(BROKEN if failed else DONE)
