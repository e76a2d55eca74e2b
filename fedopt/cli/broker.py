"""The broker of a federated run: plans over the operators' agents and reserves the plan with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
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
    from fedopt.federated.transport.broker import Brokered, Planner
    from fedopt.federated.transport.broker_journal import BrokerJournal, RunRecord
    from fedopt.federated.transport.config import BrokerConfig
    from fedopt.federated.transport.https import Connections
    from fedopt.instance import Instance
    from fedopt.plan import Plan

app = typer.Typer(
    cls=DefaultsTo.the("run"),
    help="The broker of a federated run. `fedopt broker INSTANCE --agents FILE` plans and reserves; the "
    "other commands list, show, resume and cancel runs.\n\n"
    "Example: fedopt broker public.yaml --agents agents.yaml --out plan.json",
)

EXIT_CODES = {"optimal": DONE, "feasible": DONE, "infeasible": INFEASIBLE, "limit": LIMIT}

Agents = Annotated[
    Path, typer.Option("--agents", help="The broker's identity and its agents (YAML).", metavar="FILE")
]
RunName = Annotated[
    str, typer.Argument(help="Name of the run, as `fedopt broker runs` lists it.", metavar="RUN")
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
    again: Annotated[
        bool, typer.Option("--again", help="Book a second time what is booked already.")
    ] = False,
    term: Annotated[
        float, typer.Option(help="Seconds for which agents hold what they prepared.", min=1)
    ] = 600.0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Plan the public part of an instance with the operators' agents, and reserve the plan with them.

    Costs and capacities stay with the agents, under the guarantee split their contracts too. The name of the
    run is printed first. A broker that was stopped goes on with its run when the same command is given again;
    what the command has booked already is not booked a second time.

    Exit codes: 0 planned and reserved, 2 bad input, 3 infeasible, 4 a limit was reached before any plan, 5 an
    agent failed or refused: it is named.

    Example: fedopt broker public.yaml --agents agents.yaml --out plan.json
    """
    from fedopt.federated.transport.broker import Terms, broker
    from fedopt.instance import load

    check_out(out, [instance, agents])
    if method not in ("admm", "bundle"):
        fail(2, f"--method is admm or bundle, not {method!r}")
    public = load(instance)
    with _opened(agents) as (config, journal, connections):
        options: dict[str, Any] = {
            "method": method,
            "guarantee": guarantee,
            "objective": objective,
            "gap": gap,
            "masked": masked and method == "admm" and len(config.agents) > 1,
            "staleness": staleness,
            "replaces": replaces,
        }
        terms = Terms(
            reserving=reserve,
            term=term,
            replaces=replaces,
            again=again,
            leave_out_lost=leave_out_lost,
            published=guarantee != "split",
        )
        with stdout_kept_clean(), RoundProgress(instance.name, quiet) as progress:
            done = broker(
                public,
                connections,
                config.public_keys(),
                journal,
                _planner(**options, time_limit=time_limit, progress=progress),
                options=options,
                terms=terms,
                opened=lambda name: say(f"run {name}"),
            )
    _finish(done, agents, out, json, quiet)


@app.command()
def runs(agents: Agents, json: Json = False, quiet: Quiet = False) -> None:
    """List this broker's runs: what is booked, what was interrupted, what ended how.

    Example: fedopt broker runs --agents agents.yaml
    """
    with _journal(agents) as (_, journal):
        records = journal.runs()
    result = [_about(record) for record in records]
    lines = [
        f"{one['run']}  {one['opened']}  {one['state']}  {_money(one['cost'])}".rstrip() for one in result
    ]
    emit(result, "\n".join(lines or ["no runs"]), json=json, quiet=quiet)


@app.command()
def show(run: RunName, agents: Agents, out: Out = None, json: Json = False, quiet: Quiet = False) -> None:
    """Show a run: its state, what to do about it, and its plan, which --out writes.

    Example: fedopt broker show run-1f2e3d4c5b6a7988 --agents agents.yaml --out plan.json
    """
    from fedopt.plan import Plan
    from fedopt.plan.summary import summarize

    check_out(out, [agents])
    with _journal(agents) as (_, journal):
        record = _record(journal, run)
    lines = [f"{run} is {record.state}.", *_remedy(record, agents)]
    if record.plan is None:
        if out is not None:
            fail(2, f"{run}: has no plan to write; {lines[-1]}")
        emit(_about(record), "\n".join(lines), json=json, quiet=quiet)
        return
    plan = Plan.loads(record.plan)
    if not quiet:
        say("\n".join(lines))
    emit(plan, "" if json or quiet else summarize(plan), json=json, out=out, quiet=quiet)


@app.command()
def resume(run: RunName, agents: Agents, out: Out = None, json: Json = False, quiet: Quiet = False) -> None:
    """Go on with a run that was interrupted: plan, reserve, or complete or take back its booking.

    Exit codes: 0 planned and reserved, 2 there is nothing to resume, 3 infeasible, 4 a limit was reached, 5
    an agent failed or refused: it is named.

    Example: fedopt broker resume run-1f2e3d4c5b6a7988 --agents agents.yaml
    """
    import json as json_module

    from fedopt.federated.transport.broker import Terms, broker, finish_booking
    from fedopt.instance import loads

    check_out(out, [agents])
    with _opened(agents) as (config, journal, connections):
        record = _record(journal, run)
        if record.finished is not None:
            fail(2, f"{run}: is {record.finished}; there is nothing to resume")
        if record.booking is not None:
            done = finish_booking(record, connections, journal)
        else:
            asked = record.asked
            with stdout_kept_clean(), RoundProgress(run, quiet) as progress:
                done = broker(
                    loads(json_module.dumps(asked["instance"])),
                    connections,
                    config.public_keys(),
                    journal,
                    _planner(**asked["options"], time_limit=None, progress=progress),
                    options=asked["options"],
                    terms=Terms(**asked["terms"]),
                    opened=lambda name: say(f"run {name}"),
                )
    _finish(done, agents, out, json, quiet)


@app.command()
def cancel(run: RunName, agents: Agents, json: Json = False, quiet: Quiet = False) -> None:
    """End a run at all agents: holds are dropped, reservations released.

    Exit codes: 0 nothing of it is left anywhere, 5 an agent refused or did not answer: it is named.

    Example: fedopt broker cancel run-1f2e3d4c5b6a7988 --agents agents.yaml
    """
    from fedopt.federated.transport.broker import cancel as cancelled

    with _opened(agents) as (_, journal, connections):
        failed = cancelled(_record(journal, run), connections, journal)
    lines = [f"{name}: {why}" for name, why in failed.items()]
    if failed:
        lines.append(f"Give the same command again once {', '.join(failed)} answers.")
    emit(
        {"run": run, "failed": failed},
        "\n".join(lines or [f"cancelled: {run}"]),
        json=json,
        quiet=quiet,
    )
    raise typer.Exit(BROKEN if failed else DONE)


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

    Every operator gets a folder with its private part, policy, keys, certificate, signed contracts and its
    agent's configuration; the broker gets the public part and agents.yaml. All on this machine, 127.0.0.1.

    Example: fedopt broker divide instances/metro-llm.yaml --out federation
    """
    from fedopt.federated.transport.split_instance import split_instance
    from fedopt.instance import load

    whole = load(instance)
    try:
        made = split_instance(whole, out, first_port=port, private_contracts=private_contracts)
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


@contextmanager
def _journal(agents: Path) -> Iterator[tuple[BrokerConfig, BrokerJournal]]:
    from fedopt.federated.transport.broker_journal import BrokerJournal
    from fedopt.federated.transport.config import BrokerConfig

    config = BrokerConfig.load(agents)
    journal = BrokerJournal(config.file(config.state))
    try:
        yield config, journal
    finally:
        journal.close()


@contextmanager
def _opened(agents: Path) -> Iterator[tuple[BrokerConfig, BrokerJournal, Connections]]:
    from fedopt.contracts.signing import load_key
    from fedopt.federated.transport.https import Connections

    with (
        _journal(agents) as (config, journal),
        Connections(
            config.links(),
            load_key(config.file(config.key)),
            config.file(config.tls.certificate),
            config.file(config.tls.key),
            config.waits(),
        ) as connections,
    ):
        yield config, journal, connections


def _record(journal: BrokerJournal, run: str) -> RunRecord:
    record = journal.run(run)
    if record is None:
        fail(2, f"{run}: this broker has no such run; `fedopt broker runs` lists them")
    return record


def _planner(masked: bool, staleness: int, **options: Any) -> Planner:
    from fedopt.federated import negotiate
    from fedopt.federated.settings import Settings
    from fedopt.plan.basis import with_basis

    settings = Settings(masked=masked, staleness=staleness)

    def plan(public: Instance, transport: Transport, run: str, contracts: Mapping[str, str]) -> Plan:
        done = negotiate(public, transport, run=run, contracts=contracts, settings=settings, **options)
        return with_basis(done.plan, public)

    return plan


def _finish(done: Brokered, agents: Path, out: Path | None, json: bool, quiet: bool) -> None:
    """Hand over the plan with what became of it, and exit."""
    from fedopt.plan.summary import summarize

    notes = _notes(done, agents)
    plan = done.plan.model_copy(update={"notes": [*done.plan.notes, *notes]})
    emit(plan, "" if json or quiet else summarize(plan), json=json, out=out, quiet=quiet)
    if done.settled is not None and not done.settled.complete:
        for line in notes:
            say(line)
        raise typer.Exit(BROKEN)
    raise typer.Exit(EXIT_CODES[done.plan.status])


def _notes(done: Brokered, agents: Path) -> list[str]:
    """What became of the run besides its plan, and the command that mends it."""
    lines = [f"The run is {done.run}."]
    lines += [f"Planned without {name}: {why}" for name, why in done.lost.items()]
    if done.plan.guarantee == "split" and done.plan.has_plan:
        lines.append("The operators keep the rates; each works out and checks what it promises.")
    settled = done.settled
    if settled is None:
        return [*lines, "Nothing was reserved."]
    if done.before:
        return [
            *lines,
            "This was booked before; nothing was asked or booked now. --again books it a second time, "
            f"fedopt broker cancel {done.run} --agents {agents} ends it.",
        ]
    resume = f"fedopt broker resume {done.run} --agents {agents}"
    if settled.decision == "commit":
        lines.append(f"Reserved with {', '.join(settled.granted) or 'nobody'}.")
        lines += [
            f"{name} holds its share and has not heard of the commit: {why}. When it answers again: {resume}"
            for name, why in settled.silent.items()
        ]
        return lines
    lines += [f"Nothing is reserved: {name}: {why}" for name, why in settled.refused.items()]
    if settled.decision == "rollback":
        lines.append("What others had committed was taken back. Give the command again to plan anew.")
        if settled.silent:
            lines.append(
                f"{', '.join(settled.silent)} has not heard of that. When it answers again: {resume}"
            )
    return lines


def _about(record: RunRecord) -> dict[str, Any]:
    import json as json_module

    cost = None if record.plan is None else json_module.loads(record.plan).get("cost")
    return {
        "run": record.run,
        "opened": datetime.fromtimestamp(record.opened, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "state": record.state,
        "cost": cost,
        "operators": sorted(record.booking["shares"]) if record.booking else [],
        "replaces": record.asked["terms"]["replaces"],
    }


def _money(cost: float | None) -> str:
    return "" if cost is None else f"cost {cost:.6g}"


def _remedy(record: RunRecord, agents: Path) -> list[str]:
    """What can be done about a run."""
    if record.finished == "booked":
        return [f"fedopt broker cancel {record.run} --agents {agents} ends its reservations."]
    if record.finished is None:
        return [
            f"fedopt broker resume {record.run} --agents {agents} goes on with it, "
            f"fedopt broker cancel {record.run} --agents {agents} ends it."
        ]
    return ["Nothing is reserved in its name."]
