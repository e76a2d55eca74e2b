"""The same instance by several methods and guarantees, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fedopt.compare.disclosure import Disclosure, disclosed
from fedopt.plan.document import Plan
from fedopt.plan.progress import Progress
from fedopt.plan.summary import format_gap
from fedopt.solve import solve

if TYPE_CHECKING:
    from fedopt.instance import Instance


@dataclass(frozen=True)
class Row:
    """One solve. `difference` is the largest difference of a reservation from the first row that has a plan.

    Reservations are compared as the rate that a tenant group holds in a domain, all heads together, in work
    per unit of time. `numbers_exchanged` and `bytes_exchanged` are None where nothing was exchanged between
    operators; `private_numbers` were given to the planner outright, `numbers_told` were answered by operators
    in the rounds and `costs_told` of them state a cost in the clear. `seconds` is wall-clock time. `problem`
    says why there is no plan.
    """

    method: str
    guarantee: str
    status: str
    cost: float | None
    lower_bound: float | None
    gap: float | None
    seconds: float
    rounds: int
    numbers_exchanged: int | None
    bytes_exchanged: int | None
    difference: float | None
    problem: str | None = None
    private_numbers: int | None = None
    numbers_told: int | None = None
    costs_told: int | None = None

    @property
    def disclosure(self) -> str:
        """What the planner was shown, in words."""
        if self.private_numbers is None:
            return "–"
        return str(Disclosure(self.private_numbers, self.numbers_told, self.costs_told))


@dataclass(frozen=True)
class Comparison:
    """Rows of a comparison, and the plans behind them (None where a method refused the instance)."""

    instance: str
    rows: tuple[Row, ...]
    plans: tuple[Plan | None, ...]

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame. Raises ImportError naming the extra where pandas is missing."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame() needs pandas: pip install 'fedopt[table]'") from error
        return pd.DataFrame([asdict(row) for row in self.rows], columns=[field.name for field in fields(Row)])

    def to_json(self) -> str:
        """The rows as a JSON list."""
        return json.dumps([asdict(row) for row in self.rows], indent=2, ensure_ascii=False, allow_nan=False)

    def to_markdown(self) -> str:
        """The rows as a Markdown table."""
        header = "| " + " | ".join(HEADINGS) + " |"
        ruler = "|" + "|".join("---" if i < 3 else "---:" for i in range(len(HEADINGS))) + "|"
        return "\n".join([header, ruler, *("| " + " | ".join(cells(row)) + " |" for row in self.rows)])


HEADINGS = (
    "method",
    "guarantee",
    "status",
    "cost",
    "bound",
    "gap",
    "seconds",
    "rounds",
    "numbers",
    "difference",
    "planner is shown",
)


def cells(row: Row) -> list[str]:
    """A row as the texts of a table's cells, under HEADINGS."""
    return [
        row.method,
        row.guarantee,
        row.status,
        _number(row.cost, ".6g"),
        _number(row.lower_bound, ".6g"),
        "–" if row.gap is None else format_gap(row.gap),
        f"{row.seconds:.3g}",
        str(row.rounds),
        _number(row.numbers_exchanged, "d"),
        _number(row.difference, ".4g"),
        row.disclosure,
    ]


def compare(
    instance: Instance,
    methods: Sequence[str] = ("central",),
    guarantees: Sequence[str] = ("minplus",),
    *,
    objective: str = "cost",
    gap: float = 1e-3,
    time_limit: float | None = None,
    progress: Progress | None = None,
    simulation: Mapping[str, Any] | None = None,
    problems: Mapping[str, Any] | None = None,
) -> Comparison:
    """Solve an instance by every method under every guarantee.

    A method that does not know a guarantee, or that fails on this instance with a message of its own, gives a
    row with status "refused" and the message. `simulation` holds options of the guarantee "simulated" (see
    `solve`). The method "admm" masks its sums where the extra `federation` is installed and
    there are two operators or more. `problems` are
    operators' private problems for the federated methods (see `fedopt.federated.solve`). Raises OptionError
    or GuaranteeError where a name does not exist at all.
    """
    from fedopt.plan.guarantees import check_guarantee
    from fedopt.solve import check_method

    for method in methods:
        check_method(method)
    for guarantee in guarantees:
        check_guarantee(guarantee)
    rows: list[Row] = []
    plans: list[Plan | None] = []
    first: Plan | None = None
    for guarantee in guarantees:
        for method in methods:
            start = perf_counter()
            plan, problem = None, None
            try:
                plan = solve(
                    instance,
                    method,
                    guarantee=guarantee,
                    objective=objective,
                    gap=gap,
                    time_limit=time_limit,
                    progress=progress,
                    explain=False,
                    simulation=simulation,
                    **_switches(method, instance, problems),
                )
            except Exception as error:
                if not hasattr(error, "exit_code"):
                    raise
                problem = str(error)
            seconds = perf_counter() - start
            if first is None and plan is not None and plan.has_plan:
                first = plan
            shown = None if plan is None else disclosed(plan, instance)
            rows.append(_row(method, guarantee, plan, first, seconds, problem, shown))
            plans.append(plan)
    return Comparison(instance.name, tuple(rows), tuple(plans))


def _switches(method: str, instance: Instance, problems: Mapping[str, Any] | None) -> dict[str, Any]:
    """Sums are masked where that is possible: with the extra, and among two operators or more."""
    own = {"problems": problems} if problems and method in ("admm", "bundle") else {}
    if method != "admm" or find_spec("cryptography") is None:
        return own
    return own | {"masked": len({domain.operator or domain.id for domain in instance.domains}) > 1}


def largest_difference(plan: Plan, other: Plan) -> float:
    """Largest difference of the rate that a tenant group holds in a domain, all heads together."""
    one, two = _holdings(plan), _holdings(other)
    return max((abs(one.get(key, 0.0) - two.get(key, 0.0)) for key in one.keys() | two.keys()), default=0.0)


def _holdings(plan: Plan) -> dict[tuple[str, str], float]:
    holdings: dict[tuple[str, str], float] = {}
    for entry in plan.tenants:
        if entry.admitted:
            for domain, rate in entry.reservations.items():
                key = (entry.id, domain)
                holdings[key] = holdings.get(key, 0.0) + entry.count * rate
    return holdings


def _row(
    method: str,
    guarantee: str,
    plan: Plan | None,
    first: Plan | None,
    seconds: float,
    problem: str | None,
    shown: Disclosure | None,
) -> Row:
    if plan is None or shown is None:
        return Row(method, guarantee, "refused", None, None, None, seconds, 0, None, None, None, problem)
    totals = plan.ledger.get("totals", plan.ledger)
    comparable = plan.has_plan and first is not None
    return Row(
        method=method,
        guarantee=guarantee,
        status=plan.status,
        cost=plan.cost,
        lower_bound=plan.lower_bound,
        gap=plan.gap,
        seconds=seconds,
        rounds=len(plan.history),
        numbers_exchanged=_whole(totals.get("numbers")),
        bytes_exchanged=_whole(totals.get("bytes")),
        difference=largest_difference(plan, first) if comparable and first is not None else None,
        problem=plan.explanation[0].message if plan.explanation else None,
        private_numbers=shown.given,
        numbers_told=shown.told,
        costs_told=shown.costs,
    )


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _number(value: float | None, pattern: str) -> str:
    return "–" if value is None else format(value, pattern)
