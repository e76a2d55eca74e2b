"""What a sweep solves, and the row that comes of it: every instance, at every point of the grid, by every
method under every guarantee.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from fedopt.errors import InputError
from fedopt.plan.guarantees import check_guarantee
from fedopt.solve import Objective, solve

if TYPE_CHECKING:
    from fedopt.instance import Instance
    from fedopt.plan import Plan

__all__ = ["RESULTS", "Axis", "Case", "Row", "SweepError", "cases_of", "parse_axis", "run_case"]


class SweepError(InputError):
    """A sweep that cannot be meant: an axis, a table or a cluster; the message says which and what to do."""


@dataclass(frozen=True)
class Axis:
    """A place of the instance, as `Instance.with_` takes it, and the values that it is given in turn."""

    place: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Case:
    """One solve of a sweep.

    Attributes:
        name: what the table calls the instance.
        instance: the instance before the changes; None where its file could not be read.
        problem: why it could not.
        changes: (place, value) of each axis.
        method, guarantee, objective, gap, time_limit: as for `fedopt.solve`.
        seed: of the simulations, under the guarantee "simulated".
    """

    name: str
    instance: Instance | None
    changes: tuple[tuple[str, Any], ...] = ()
    method: str = "central"
    guarantee: str = "minplus"
    objective: Objective = "cost"
    gap: float = 1e-3
    time_limit: float | None = None
    seed: int = 0
    problem: str | None = None

    @cached_property
    def key(self) -> str:
        """Hash of all that determines the answer; a table knows its rows again by it."""
        base = self.name if self.instance is None else self.instance.sha256
        asked = [base, self.changes, self.method, self.guarantee, self.objective, self.gap, self.time_limit]
        text = json.dumps([*asked, self.seed], sort_keys=True, ensure_ascii=False, default=repr)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def parse_axis(text: str) -> Axis:
    """PLACE=VALUE,VALUE,… as an axis; values are read as in an instance file. Raises SweepError."""
    from fedopt.instance.yaml_text import TextError, read_yaml

    place, equals, listed = text.partition("=")
    if not (equals and place.strip() and listed.strip()):
        raise SweepError(
            f"{text!r} is no axis; write PLACE=VALUE,VALUE as in tenants.chat.slo.deadline=80,100"
        )
    try:
        values, _ = read_yaml(f"[{listed}]")
    except TextError as error:
        raise SweepError(f"{text!r}: the list of values {error.message}; {error.remedy}") from None
    return Axis(place.strip(), tuple(values))


def cases_of(
    instances: Iterable[tuple[str, Instance | None, str | None]],
    axes: Sequence[Axis] = (),
    methods: Sequence[str] = ("central",),
    guarantees: Sequence[str] = ("minplus",),
    **options: Any,
) -> Iterator[Case]:
    """All combinations, in order: instances slowest, then the axes as given, guarantees, methods.

    `instances` are (name, instance, problem); `options` are the further fields of a `Case`. Raises SweepError
    where a place is swept twice.
    """
    places = [axis.place for axis in axes]
    for place in places:
        if places.count(place) > 1:
            raise SweepError(f"{place} is swept twice; give all of its values in one --set")
    points = [tuple(zip(places, values, strict=True)) for values in product(*(axis.values for axis in axes))]
    for name, instance, problem in instances:
        for changes, guarantee, method in product(points, guarantees, methods):
            yield Case(
                name, instance, changes, method=method, guarantee=guarantee, problem=problem, **options
            )


@dataclass(frozen=True)
class Row:
    """What came of a case.

    `status` is the plan's, "refused" where the instance or the options cannot be meant (`problem` says why),
    or "failed" for a defect. `admitted` counts heads. `seconds` is wall-clock time of the solve.
    """

    status: str
    cost: float | None = None
    lower_bound: float | None = None
    gap: float | None = None
    admitted: int | None = None
    seconds: float | None = None
    rounds: int | None = None
    problem: str | None = None

    @property
    def settled(self) -> bool:
        """Whether solving the case again would say the same: it was answered, not refused or broken off."""
        return self.status in ("optimal", "feasible", "infeasible", "limit")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self)


RESULTS: dict[str, type] = {
    "status": str,
    "cost": float,
    "lower_bound": float,
    "gap": float,
    "admitted": int,
    "seconds": float,
    "rounds": int,
    "problem": str,
}
"""The fields of a row and what a table reads them back as."""


def run_case(case: Case) -> Row:
    """Solve a case. Nothing that goes wrong with it escapes: the row says what."""
    if case.instance is None:
        return Row("refused", problem=case.problem)
    started = time.perf_counter()
    try:
        instance = case.instance.with_(dict(case.changes)) if case.changes else case.instance
        plan = solve(
            instance,
            case.method,
            guarantee=check_guarantee(case.guarantee),
            objective=case.objective,
            gap=case.gap,
            time_limit=case.time_limit,
            explain=False,
            simulation={"seed": case.seed},
        )
    except Exception as error:
        seconds = time.perf_counter() - started
        if hasattr(error, "exit_code"):
            return Row("refused", seconds=seconds, problem=" ".join(str(error).split()))
        return Row("failed", seconds=seconds, problem=f"{type(error).__name__}: {error}")
    return _row(plan, time.perf_counter() - started)


def _row(plan: Plan, seconds: float) -> Row:
    return Row(
        status=plan.status,
        cost=plan.cost,
        lower_bound=plan.lower_bound,
        gap=plan.gap,
        admitted=plan.admitted if plan.has_plan else None,
        seconds=seconds,
        rounds=len(plan.history),
        problem=plan.explanation[0].message if plan.explanation else None,
    )
