"""Sweeps: many instances, or one over a grid of values, by several methods and guarantees, to one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fedopt.sweep.cases import Axis, Case, Row, SweepError, cases_of, parse_axis, run_case
from fedopt.sweep.table import Table, record
from fedopt.sweep.workers import BACKENDS, Workers

__all__ = [
    "BACKENDS",
    "Axis",
    "Case",
    "Row",
    "SweepError",
    "Table",
    "Workers",
    "cases_of",
    "parse_axis",
    "run_case",
    "sweep",
]

Progress = Callable[[int, int], object]
"""Called with (rows done, rows in all) after each row."""


def sweep(
    cases: Iterable[Case],
    workers: Workers | None = None,
    table: Table | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Solve all cases and return their rows, in the order of the cases, as plain data.

    A case that is refused, infeasible or fails is a row like any other. `table` is written as rows finish,
    and once more on the way out of an interruption; with `resume`, rows that it already holds are not solved
    again (refused and failed ones are). Raises SweepError and WorkerLost of `Workers` and `Table`.
    """
    asked = list(cases)
    known = table.known(asked) if table is not None and resume else {}
    rows: dict[int, Row] = {i: known[case.key] for i, case in enumerate(asked) if case.key in known}
    open_cases = [i for i in range(len(asked)) if i not in rows]

    def records() -> list[dict[str, Any]]:
        return [record(asked[i], rows[i]) for i in sorted(rows)]

    try:
        found = (workers or Workers()).run(run_case, [asked[i] for i in open_cases])
        for number, row in found:
            rows[open_cases[number]] = row
            if table is not None:
                table.write(records())
            if progress is not None:
                progress(len(rows), len(asked))
    finally:
        if table is not None and (rows or not resume):
            table.write(records(), last=True)
    return records()
