"""The same instance by several methods and guarantees, side by side: a table, and how each got there.

What a method is shown counts too: of the numbers that operators would rather keep (costs, capacities, and
under the split guarantee their contracts) one that plans an instance as a whole is given all, a federated
one none; its ledger says how many numbers operators sent it, quotes and loads, and costs where sums are not
masked.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fedopt.errors import FedoptError
from fedopt.instance import Linear, Piecewise, Quadratic
from fedopt.plan.document import Plan, relative_gap
from fedopt.plan.guarantees import check_guarantee
from fedopt.plan.present import COLOURS, figure, frame, html_table
from fedopt.plan.progress import Progress
from fedopt.plan.summary import format_gap
from fedopt.solve import Objective, check_method, solve
from fedopt.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from fedopt.instance import Instance

__all__ = [
    "HEADINGS",
    "Comparison",
    "Disclosure",
    "Row",
    "cells",
    "compare",
    "disclosed",
    "largest_difference",
    "private_numbers",
]

FORMATS = ("png", "svg", "pdf")
"""Suffixes of a plot's file."""

SMALLEST = 1e-9
"""What is smaller is drawn here; zero has no place on a log axis."""

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Disclosure:
    """`given`: private numbers that the planner was handed outright; `told`: numbers that operators answered
    in rounds, `costs` those of them that state an operator's cost in the clear (None without operators).
    """

    given: int
    told: int | None = None
    costs: int | None = None

    def __str__(self) -> str:
        if self.told is None:
            return f"{self.given} private"
        return f"{self.told} told, {self.costs} costs"


def disclosed(plan: Plan, instance: Instance) -> Disclosure:
    """What the planner of a plan was shown."""
    if not plan.ledger:
        return Disclosure(private_numbers(instance, plan.guarantee))
    told: Counter[str] = Counter()
    for boundary in plan.ledger.get("boundaries", ()):
        told.update(boundary["told"])
    return Disclosure(0, told.total(), told["costs"])


def private_numbers(instance: Instance, guarantee: str) -> int:
    """How many numbers of an instance its operators keep: capacities and cost curves, under the split
    guarantee latencies and impairments too. A connection charge (`fixed`) is a public tariff.
    """
    count = 0
    for domain in instance.domains:
        count += 1
        for offer in domain.offers:
            count += _of_cost(offer.cost)
            if guarantee == "split":
                count += 1 + _of_impairment(offer.impairment)
    return count


def _of_cost(cost: Any) -> int:
    match cost:
        case Linear():
            return 1
        case Quadratic():
            return 2
        case Piecewise():
            return 2 * (len(cost.points) - 1)
    return 1  # a curve of the operator's own


def _of_impairment(impairment: Any) -> int:
    dump = getattr(impairment, "model_dump", None)
    return 1 if dump is None else _numbers(dump(mode="json"))


def _numbers(value: object) -> int:
    if isinstance(value, dict):
        return sum(_numbers(item) for item in value.values())
    if isinstance(value, list):
        return sum(_numbers(item) for item in value)
    return int(isinstance(value, int | float) and not isinstance(value, bool))


@dataclass(frozen=True)
class Row:
    """One solve. `difference` is the largest difference of a reservation from the first row that has a plan.

    Reservations are compared as the rate that a tenant group holds in a domain, all units together, in work
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

    def to_frame(self) -> DataFrame:
        """A pandas DataFrame, a row per solve.

        Raises
        ------
        MissingExtraError
            If pandas is not installed (the extra `table`).
        """
        return frame(map(asdict, self.rows), [field.name for field in fields(Row)])

    def plot(self, path: str | Path | None = None) -> Figure:
        """How each method got there, as a matplotlib figure, written to `path` too where one is given.

        Left: certified gap by round, dashed where the tenants of a group may still be split over paths (the
        relaxation that the rounds of a federated method close). Middle: residuals by round. Right: the same
        gap against the numbers that operators had sent by then; a method that is given everything stands as
        a vertical line at the number of private numbers that it was given.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed (the extra `plot`).
        ValueError
            If the path ends in none of .png, .svg and .pdf.
        """
        suffix = "" if path is None else Path(path).suffix.lstrip(".").lower()
        if path is not None and suffix not in FORMATS:
            raise ValueError(
                f"a plot is written as {', '.join(FORMATS)}, not {suffix or 'without a suffix'!r}"
            )
        drawn = _drawn(self)
        if path is not None:
            content = io.BytesIO()
            drawn.savefig(content, format=suffix, dpi=120)
            write_atomically(path, content.getvalue())
        return drawn

    def _repr_html_(self) -> str:
        rows = [dict(zip(HEADINGS, cells(row), strict=True)) for row in self.rows]
        return html_table(f"{self.instance} by several methods", rows)

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
    objective: Objective = "cost",
    gap: float = 1e-3,
    time_limit: float | None = None,
    progress: Progress | None = None,
    simulation: Mapping[str, Any] | None = None,
    problems: Mapping[str, Any] | None = None,
) -> Comparison:
    """Solve an instance by every method under every guarantee.

    A method that does not know a guarantee, or that fails on this instance with a message of its own, gives a
    row with status "refused" and the message. The method "admm" masks its sums where the extra `federation`
    is installed and there are two operators or more.

    Parameters
    ----------
    instance
        What is planned.
    methods, guarantees
        Names as `fedopt.solve` takes them.
    objective, gap
        As for `fedopt.solve`.
    time_limit
        Seconds for each row.
    progress
        Called after every round of every solve.
    simulation
        Options of the guarantee "simulated".
    problems
        Operators' private problems for the federated methods, by operator.

    Returns
    -------
    Comparison
        A row per solve, guarantees slowest.

    Raises
    ------
    OptionError, GuaranteeError
        If a name does not exist at all.
    """
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
                    guarantee=check_guarantee(guarantee),
                    objective=objective,
                    gap=gap,
                    time_limit=time_limit,
                    progress=progress,
                    explain=False,
                    simulation=simulation,
                    **_switches(method, instance, problems),
                )
            except FedoptError as error:
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
    """Largest difference of the rate that a tenant group holds in a domain, all units together."""
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


def _drawn(comparison: Comparison) -> Figure:
    drawn: Any = figure(15.0, 4.6)
    gaps, residuals, shown = drawn.subplots(1, 3)
    several = len({row.guarantee for row in comparison.rows}) > 1
    planned = [
        (row, plan) for row, plan in zip(comparison.rows, comparison.plans, strict=True) if plan is not None
    ]
    for k, (row, plan) in enumerate(planned):
        name = f"{row.method}, {row.guarantee}" if several else row.method
        colour = COLOURS[k % len(COLOURS)]
        _line(gaps, _plan_gaps(plan), "o-", colour, f"{name}: plan")
        _line(gaps, _relaxation(plan, "round"), ".--", colour, f"{name}: relaxation")
        _line(residuals, _residuals(plan, "primal_residual"), "o-", colour, f"{name}: primal")
        _line(residuals, _residuals(plan, "dual_residual"), ".--", colour, f"{name}: dual")
        _line(shown, _relaxation(plan, "told"), ".--", colour, f"{name}: relaxation")
        if row.private_numbers:
            label = f"{name}: is given {row.private_numbers} private numbers"
            shown.axvline(row.private_numbers, color=colour, linestyle=":", label=label)
    for axis, x_label, y_label in (
        (gaps, "round", "certified relative gap"),
        (residuals, "round", "relative residual (certifies nothing)"),
        (shown, "numbers that operators had told", "certified relative gap of the relaxation"),
    ):
        axis.set(xlabel=x_label, ylabel=y_label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        if axis.get_lines():
            axis.set_yscale("log")
            axis.legend(fontsize="small")
        else:
            axis.text(0.5, 0.5, "nothing to show", ha="center", va="center", transform=axis.transAxes)
    drawn.suptitle(comparison.instance)
    return drawn


def _line(axis: Any, points: Points, style: str, colour: str, label: str) -> None:
    if points:
        x, y = zip(*points, strict=True)
        axis.plot(x, [max(value, SMALLEST) for value in y], style, color=colour, label=label)


def _plan_gaps(plan: Plan) -> Points:
    return _gaps((row.round, row.cost, row.lower_bound) for row in plan.history)


def _relaxation(plan: Plan, x: str) -> Points:
    records = plan.ledger.get("relaxation", {}).get("by_round", ())
    return _gaps((record[x], record["upper"], record["lower"]) for record in records if x in record)


def _gaps(bounds: Iterable[tuple[int, float | None, float | None]]) -> Points:
    """Relative gaps where both bounds are known."""
    known = ((x, relative_gap(cost, low)) for x, cost, low in bounds if cost is not None and low is not None)
    return [(float(x), gap) for x, gap in known if gap is not None]


def _residuals(plan: Plan, which: str) -> Points:
    values = ((row.round, getattr(row, which)) for row in plan.history)
    return [(float(round_), value) for round_, value in values if value is not None]
