"""The plan document: what was decided, what it promises, what it costs and how near to the optimum it is.

Rates are in work per unit of time, deadlines in units of time, θ in 1/work and log-bounds are natural, all
in the instance's own units. A plan is immutable and knows nothing of the solver that made it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, overload

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, core_schema

from fedopt.errors import InputError
from fedopt.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

Status = Literal["optimal", "feasible", "infeasible", "limit"]
"""optimal: certified to the gap asked for; feasible: every constraint holds, the gap is larger or unknown;
infeasible: proven to have no plan; limit: a limit was reached before any plan was found."""

Form = Literal[
    "image",
    "ville",
    "block-ville",
    "fine",
    "monotone",
    "block",
    "store-and-forward",
    "split",
    "paper-path",
    "paper-local",
    "simulated",
]

MAX_PLAN_BYTES = 2_000_000_000


class PlanError(InputError):
    """A plan file that cannot be read or does not say what a plan must; the message names file and places."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InstanceReference(_Document):
    """Which instance a plan is for: its name and the SHA-256 of its canonical JSON."""

    name: str
    sha256: str


class LearnedPromise(_Document):
    """What a domain without a contract is asked for, and how likely it is to fail: learned, not proven.

    `delay` (units of time) is the part of the deadline that is left to the domain, `risk` an upper confidence
    limit on the probability that a request takes longer there, at `confidence`, from so many `answers`;
    `estimate` is what the risk model expects.
    """

    delay: float = Field(gt=0)
    risk: float = Field(gt=0, le=1)
    confidence: float = Field(gt=0, lt=1)
    answers: int = Field(default=0, ge=0)
    estimate: float | None = Field(default=None, ge=0, le=1)


Basis = Literal["theorem", "fitted", "estimate", "measurement"]
"""What a promise rests on, the strongest first."""


class MilestoneProof(_Document):
    """What proves the promise up to the end of the stage `until`; fields as for the whole path."""

    until: str
    log_bound: float
    form: Form | None = None
    theta: float | None = None
    block: int | None = Field(default=None, ge=1)
    parameters: dict[str, Any] = Field(default_factory=dict)


class TenantPlan(_Document):
    """What `count` identical tenants of one group receive, each of them on its own.

    `reservations`, `deadlines`, `budgets`, `risk_shares` and `learned` are keyed by domain id. Where the path
    crosses domains without a contract, `log_bound` bounds the whole: the theorem's probability for the
    deadline less the delays in `learned`, plus the risks in `learned`. `cost` is that of all
    `count` units together: fixed and link charges, and the entry's share (by rate) of the variable costs.

    `basis` says what the promise rests on: a `theorem` for the laws as stated; a theorem for laws `fitted` to
    records or learned from answers, which all hold at `confidence`; an `estimate`, where a record is taken
    for the law or a formula is unproven; a `measurement` by simulation.
    """

    id: str
    count: int = Field(default=1, ge=0)
    admitted: bool = True
    path: list[str] = Field(default_factory=list, description='"domain/offer" per stage')
    theta: float | None = Field(default=None, gt=0, description="tilting parameter, 1/work")
    reservations: dict[str, float] = Field(default_factory=dict, description="rate per domain, per unit")
    deadlines: dict[str, float] = Field(default_factory=dict, description="deadline per domain (split), time")
    budgets: dict[str, float] = Field(
        default_factory=dict, description="violation probability per domain (split)"
    )
    log_bound: float | None = Field(
        default=None, description="natural log of the bound on the violation probability"
    )
    form: Form | None = None
    block: int | None = Field(
        default=None, ge=1, description="block length in slots, where the form has blocks"
    )
    cost: float = 0.0
    risk_shares: dict[str, float] = Field(
        default_factory=dict, description="share of the tail risk per domain"
    )
    parameters: dict[str, Any] = Field(default_factory=dict, description="further parameters of the form")
    learned: dict[str, LearnedPromise] = Field(
        default_factory=dict, description="promises of domains without a contract"
    )
    milestones: list[MilestoneProof] = Field(
        default_factory=list, description="proofs of the promises for part of the way, in the SLO's order"
    )
    basis: Basis | None = Field(default=None, description="what the promise rests on")
    confidence: float | None = Field(
        default=None, gt=0, lt=1, description="that all fitted or measured parts of the basis hold"
    )

    def hops(self) -> list[tuple[str, str]]:
        """The path as (domain id, offer id) pairs."""
        return [split_hop(hop) for hop in self.path]


class TenantPlans(tuple[TenantPlan, ...]):
    """The tenants' entries in order: iterable, and indexable by position or by tenant id."""

    __slots__ = ()

    def of(self, tenant: str) -> tuple[TenantPlan, ...]:
        """All entries of a tenant group; several when its units take different plans."""
        return tuple(entry for entry in self if entry.id == tenant)

    def ids(self) -> list[str]:
        """The distinct tenant ids, in order."""
        return list(dict.fromkeys(entry.id for entry in self))

    @overload
    def __getitem__(self, key: str) -> TenantPlan: ...
    @overload
    def __getitem__(self, key: SupportsIndex) -> TenantPlan: ...
    @overload
    def __getitem__(self, key: slice) -> TenantPlans: ...
    def __getitem__(self, key: str | SupportsIndex | slice) -> TenantPlan | TenantPlans:
        if isinstance(key, str):
            entries = self.of(key)
            if not entries:
                raise KeyError(f"no tenant {key!r} in the plan")
            if len(entries) > 1:
                raise KeyError(
                    f"the tenants of group {key!r} take {len(entries)} different plans; "
                    f"plan.tenants.of({key!r}) lists them"
                )
            return entries[0]
        if isinstance(key, slice):
            return TenantPlans(super().__getitem__(key))
        return super().__getitem__(key)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        entries = core_schema.list_schema(handler.generate_schema(TenantPlan))
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.no_info_before_validator_function(_as_list, entries),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value, info: [entry.model_dump(mode=info.mode) for entry in value], info_arg=True
            ),
        )


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class DomainPlan(_Document):
    """The load of one domain: capacity used by all reservations (rate times work factor), and its price.

    `price` is the cost saved per additional unit of capacity; None where the method has no prices.
    """

    id: str
    reserved: float
    capacity: float
    price: float | None = None


class HistoryRow(_Document):
    """One round of a solver: cost and lower bound are the best known then, seconds count from the start.

    The bound of a round holds for the plans that the method chooses from, as `catalogue_bound` does.
    """

    round: int
    cost: float | None = None
    lower_bound: float | None = None
    primal_residual: float | None = None
    dual_residual: float | None = None
    seconds: float
    columns: int | None = None


class Remedy(_Document):
    """One change of the instance that alone makes it feasible, as far as the explanation can tell.

    `place` is the dotted what-if path of `Instance.with_`; `current` and `needed` are its value now and the
    nearest value that helps.
    """

    change: Literal["deadline", "epsilon", "capacity", "max-rate", "policy", "quality", "count"]
    place: str | None = None
    current: Any = None
    needed: Any = None
    message: str


class Explanation(_Document):
    """Why an instance has no plan: the tenant or domain, the constraint that fails, what would mend it."""

    tenant: str | None = None
    domain: str | None = None
    constraint: str
    message: str
    remedies: list[Remedy] = Field(default_factory=list)


class Plan(_Document):
    """A solver's answer to an instance, in the form of the published plan JSON.

    Under the objective "profit", `cost` is the cost less the payments of the admitted. `lower_bound` is a
    proven lower bound on the cost of every plan under the same guarantee and objective, whatever its
    reservations; None where the method has none. `gap`, unless given, is (cost − lower_bound)/|cost|.
    `catalogue_bound` holds for plans made of the reservations that the method chooses from; where it meets
    the gap asked for, the status is "optimal". A plan may cost less than another method's `catalogue_bound`,
    never less than its `lower_bound`.
    """

    fedopt: Literal[1] = 1
    instance: InstanceReference
    status: Status
    method: str
    guarantee: str
    objective: Literal["cost", "profit"] = "cost"
    cost: float | None = None
    lower_bound: float | None = None
    gap: float | None = None
    catalogue_bound: float | None = None
    tenants: TenantPlans = Field(default_factory=TenantPlans)
    domains: list[DomainPlan] = Field(default_factory=list)
    timing: dict[str, float] = Field(default_factory=dict, description="seconds")
    history: list[HistoryRow] = Field(default_factory=list)
    ledger: dict[str, Any] = Field(default_factory=dict, description="what crossed each boundary")
    explanation: list[Explanation] = Field(default_factory=list, description="why there is no plan")
    notes: list[str] = Field(default_factory=list, description="what a reader must know about this plan")

    @model_validator(mode="before")
    @classmethod
    def _fill_gap(cls, data: Any) -> Any:
        if isinstance(data, dict) and "gap" not in data:
            cost, bound = data.get("cost"), data.get("lower_bound")
            if isinstance(cost, int | float) and isinstance(bound, int | float):
                data = {**data, "gap": relative_gap(cost, bound)}
        return data

    @property
    def catalogue_gap(self) -> float | None:
        """How far the cost is above `catalogue_bound`, relative to it; 0 where it is below, None without."""
        if self.cost is None or self.catalogue_bound is None:
            return None
        gap = relative_gap(self.cost, self.catalogue_bound)
        return None if gap is None else max(gap, 0.0)

    @property
    def has_plan(self) -> bool:
        """Whether there is anything to carry out: status optimal or feasible."""
        return self.status in ("optimal", "feasible")

    @property
    def admitted(self) -> int:
        """Number of admitted units."""
        return sum(entry.count for entry in self.tenants if entry.admitted)

    def to_json(self, indent: int | None = 2) -> str:
        """The published JSON; entries that are optional extras and empty are left out."""
        document = self.model_dump(mode="json")
        for name in ("explanation", "notes"):
            if not document[name]:
                del document[name]
        if document["catalogue_bound"] is None:
            del document["catalogue_bound"]
        for entry in document["tenants"]:
            for name in ("parameters", "learned", "milestones"):
                if not entry[name]:
                    del entry[name]
            for name in ("basis", "confidence"):
                if entry[name] is None:
                    del entry[name]
        for row in document["history"]:
            if row["columns"] is None:
                del row["columns"]
        return json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write the JSON to `path`, atomically."""
        write_atomically(Path(path), self.to_json() + "\n")

    def to_frame(self) -> DataFrame:
        """A pandas DataFrame with a row for every hop of every tenant entry.

        Raises
        ------
        MissingExtraError
            If pandas is not installed (the extra `table`).
        """
        from fedopt.plan.present import frame, plan_rows

        return frame(plan_rows(self))

    def plot(self) -> Figure:
        """A matplotlib figure: how full each domain is, and cost and bound by round.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed (the extra `plot`).
        """
        from fedopt.plan.present import plan_figure

        return plan_figure(self)

    def _repr_html_(self) -> str:
        from fedopt.plan.present import plan_html

        return plan_html(self)

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan file. Raises PlanError, naming the file and each wrong place."""
        path = Path(path)
        try:
            if path.stat().st_size > MAX_PLAN_BYTES:
                raise PlanError(f"{path}: larger than {MAX_PLAN_BYTES} bytes; this is no plan")
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise PlanError(f"{path}: cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise PlanError(f"{path}: not UTF-8 text, so not a plan") from error
        return cls.loads(text, str(path))

    @classmethod
    def loads(cls, text: str, name: str = "plan") -> Plan:
        """Read a plan from JSON text; `name` stands for the file in messages. Raises PlanError."""
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            hint = "; it looks like an instance: fedopt solve makes a plan of it" if "stages:" in text else ""
            raise PlanError(f"{name}: not JSON: {error}{hint}") from error
        if not isinstance(data, dict):
            raise PlanError(f"{name}: a plan is a JSON object, this is a {type(data).__name__}")
        if "stages" in data and "status" not in data:
            raise PlanError(f"{name}: is an instance, not a plan; fedopt solve makes a plan of it")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise PlanError(_describe(error, name)) from error


def relative_gap(cost: float, lower_bound: float) -> float | None:
    """(cost − lower_bound)/|cost|; 0 when both are zero, None when only the cost is."""
    if cost == 0.0:
        return 0.0 if lower_bound == 0.0 else None
    return (cost - lower_bound) / abs(cost)


def split_hop(hop: str) -> tuple[str, str]:
    """ "domain/offer" as a pair. Raises PlanError when there is no slash."""
    domain, slash, offer = hop.partition("/")
    if not slash:
        raise PlanError(f'path entry {hop!r} is not of the form "domain/offer"')
    return domain, offer


def plan_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the plan document."""
    schema = Plan.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "fedopt plan", **schema}


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number JSON knows")


def _describe(error: ValidationError, name: str) -> str:
    lines = [f"{name}: not a valid plan"]
    lines.extend(f"  {_place(problem['loc'])}: {problem['msg']}" for problem in error.errors()[:20])
    if error.error_count() > 20:
        lines.append(f"  … and {error.error_count() - 20} more")
    return "\n".join(lines)


def _place(parts: Iterable[int | str]) -> str:
    place = ""
    for part in parts:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    return place or "document"


def entries_by_tenant(entries: Iterable[TenantPlan]) -> Iterator[tuple[str, list[TenantPlan]]]:
    """Group entries by tenant id, in order of first appearance."""
    groups: dict[str, list[TenantPlan]] = {}
    for entry in entries:
        groups.setdefault(entry.id, []).append(entry)
    yield from groups.items()
