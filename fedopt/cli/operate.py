"""Run a scenario period by period: plan, let packets run, audit, recalibrate, settle, and plan again."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fedopt.cli import BROKEN, DONE
from fedopt.cli._options import Json, Out, Quiet, Seed
from fedopt.cli._output import check_out, emit, fail, say, stdout_kept_clean
from fedopt.cli._progress import PLAIN_INTERVAL, SILENT_SECONDS

ScenarioFile = Annotated[Path, typer.Argument(help="Scenario file (YAML or JSON).", metavar="SCENARIO")]


def command(
    scenario: ScenarioFile,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            help="State file (SQLite); default: the scenario's name with .state.db, in this folder. A run "
            "that was interrupted goes on from there.",
            metavar="FILE",
        ),
    ] = None,
    policies: Annotated[
        str,
        typer.Option(
            "--policies",
            help="Runs to make, separated by commas: fedopt (default), minplus, simulated, paper-path, peak, "
            "mean-rate, best-effort; or all.",
            metavar="NAMES",
        ),
    ] = "fedopt",
    v: Annotated[
        str,
        typer.Option(
            "--v",
            help="Weights V of drift-plus-penalty, separated by commas: a run of fedopt for each.",
            metavar="NUMBERS",
        ),
    ] = "",
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", help="Draw cost against backlog in V to this file (PNG, SVG).", metavar="FILE"
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads of the simulation.", min=1, metavar="N")
    ] = None,
    seed: Seed = 0,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a scenario period by period: plan, let packets run, audit, recalibrate, settle, and plan again.

    Every period is one transaction of the state file. Ctrl-C ends after the period at hand; the same command
    goes on from there, and the outcome is the same as without the interruption.

    Exit codes: 0 done, 2 bad input, 5 a promise was broken in the run named fedopt.

    Example: fedopt operate instances/scenarios/quick-day.yaml --policies fedopt,mean-rate
    """
    from fedopt.control.loop import identity_of, operate
    from fedopt.control.policies import POLICIES, check_policy
    from fedopt.control.scenario import load_scenario
    from fedopt.control.store import Store
    from fedopt.control.summary import summarize, table, trade_off

    names = list(POLICIES) if policies.strip() == "all" else [name.strip() for name in policies.split(",")]
    weights = _numbers(v)
    chosen = [name for name in names if name]
    for name in chosen:
        check_policy(name)
    file = state or Path(f"{scenario.stem}.state.db")
    check_out(out, [scenario, file])
    document, instance = load_scenario(scenario)
    with Store.open(file, identity_of(document, instance, seed)) as store:
        with stdout_kept_clean(), PeriodProgress(quiet) as progress:
            operate(
                document,
                instance,
                store,
                policies=chosen,
                weights=weights,
                seed=seed,
                threads=threads,
                watch=progress,
            )
        rows = summarize(store)
        if plot is not None:
            from fedopt.control.summary import plot_trade_off

            plot_trade_off(store, plot)
        if progress.stop and not quiet:
            say(f"Stopped; the same command goes on from {file}.")
        answer = {
            "scenario": document.name,
            "seed": seed,
            "state": str(file),
            "runs": [row.to_dict() for row in rows],
            "trade_off": trade_off(store),
        }
        emit(answer, table(rows), json=json, out=out, quiet=quiet)
        broken = any(row.broken for row in rows if row.run == "fedopt")
    raise typer.Exit(BROKEN if broken else DONE)


def _numbers(text: str) -> list[float]:
    values = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        try:
            value = float(part)
        except ValueError:
            fail(2, f"--v: {part!r} is not a number; give weights such as --v 1,10,100")
        if not 0 < value < 1e15:
            fail(2, f"--v: {part} must be above 0")
        values.append(value)
    return values


class PeriodProgress:
    """Progress of a run: silent for two seconds, then a line now and then. Ctrl-C stops after the period."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.stop = False
        self._start = self._last = time.monotonic()
        self._previous: Any = None
        self._timer = threading.Timer(SILENT_SECONDS, self._announce)
        self._timer.daemon = True
        self._told = False

    def __enter__(self) -> PeriodProgress:
        if not self.quiet:
            self._timer.start()

        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def __call__(self, run: str, period: int, periods: int, row: Mapping[str, Any]) -> bool:
        now = time.monotonic()
        self._told = True
        due = now - self._start >= SILENT_SECONDS and now - self._last >= PLAIN_INTERVAL
        if not self.quiet and (due or (period == periods and now - self._start >= SILENT_SECONDS)):
            self._last = now
            gap = "" if row["gap"] is None else f"  gap {100 * row['gap']:.2g} %"
            late = row["late"] / max(row["requests"], 1.0)
            done = f"{run}: period {period} of {periods}  {row['tenants']} tenants  {row['mode']}"
            say(f"{done}  cost {row['cost']:.6g}{gap}  late {late:.2e}")
        return self.stop

    def _announce(self) -> None:
        if not self._told:
            say("working on the first period …")

    def _interrupted(self, number: int, frame: Any) -> None:
        if self.stop:
            raise KeyboardInterrupt
        self.stop = True
        say("Stopping after this period; Ctrl-C again to stop at once.")
