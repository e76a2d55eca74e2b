"""What a report is made of: a plan and whatever else is known about it, checked to belong together."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fedopt.audit.document import Audit
from fedopt.audit.settlement import Settlement
from fedopt.errors import InputError
from fedopt.plan.document import Plan, TenantPlan

if TYPE_CHECKING:
    from fedopt.instance import Instance, Tenant

T = TypeVar("T")


class ReportError(InputError):
    """Documents that cannot be read or do not belong together; the message names the file and a remedy."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Measured(_Document):
    """An estimate with its confidence interval."""

    estimate: float
    interval: tuple[float, float]


class SimulatedTenant(_Document):
    """One entry of a simulation file; times in the plan's unit."""

    id: str
    path: list[str] = []
    deadline: float
    epsilon: float
    requests: float
    violation: Measured
    quantiles: dict[str, Measured]
    verdict: str
    kept: bool
    more_to_decide: int | None = None


class Simulation(_Document):
    """A simulation file as `fedopt simulate --out` writes it."""

    tenants: list[SimulatedTenant]
    seed: int
    trials: int
    confidence: float
    skipped: list[str] = []


@dataclass(frozen=True)
class Given:
    """A plan, and the documents about it that there are; `against` is an earlier plan to compare with.

    Raises ReportError where the instance is not the plan's, or a simulation, audit or settlement names none
    of its tenants.
    """

    plan: Plan
    instance: Instance | None = None
    simulation: Simulation | None = None
    audit: Audit | None = None
    settlement: Settlement | None = None
    against: Plan | None = None
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        said = {
            role: self.names.get(role, f"the {role}")
            for role in ("plan", "instance", "simulation", "settlement")
        }
        if self.instance is not None and self.plan.instance.sha256 != self.instance.sha256:
            raise ReportError(
                f"{said['plan']} was made for another instance than {said['instance']} (their checksums "
                "differ); give the instance that was solved"
            )
        ids = {entry.id for entry in self.plan.tenants}
        for role, named in (
            ("simulation", [tenant.id for tenant in self.simulation.tenants] if self.simulation else []),
            ("settlement", [line.tenant for line in self.settlement.lines] if self.settlement else []),
        ):
            if named and not ids.intersection(named):
                raise ReportError(
                    f"{said[role]} is of another plan than {said['plan']}: they share no tenant"
                )

    def tenant(self, entry: TenantPlan) -> Tenant | None:
        """The tenant of an entry, where the instance is known."""
        return None if self.instance is None else self.instance.tenant(entry.id)

    def promise(self, entry: TenantPlan) -> tuple[float, float] | None:
        """(deadline, ε) of an entry, from the instance or else the simulation; None where nobody says."""
        if (tenant := self.tenant(entry)) is not None:
            return tenant.slo.deadline, tenant.slo.epsilon
        simulated = self.simulated(entry)
        return None if simulated is None else (simulated.deadline, simulated.epsilon)

    def simulated(self, entry: TenantPlan) -> SimulatedTenant | None:
        """What the simulation saw of an entry."""
        return self._simulated.get(id(entry))

    def audited(self, entry: TenantPlan) -> Audit | None:
        """The audit of the entry's tenant: its own series, or the whole audit of a plan with one tenant."""
        if self.audit is None:
            return None
        if entry.id in self.audit.series:
            return self.audit.series[entry.id]
        alone = len(self.plan.tenants.ids()) == 1 and not self.audit.series
        return self.audit if self.audit.name == entry.id or alone else None

    @property
    def time(self) -> str:
        """The unit of time, or words for it where the instance is not known."""
        return "units of time" if self.instance is None else self.instance.units.time

    @property
    def money(self) -> str:
        """What a cost of 1 is, empty where nothing says."""
        return "" if self.instance is None else self.instance.units.cost or ""

    @property
    def rate(self) -> str:
        """The unit of rates."""
        return "work per unit of time" if self.instance is None else f"{self.instance.units.work}/{self.time}"

    @cached_property
    def _simulated(self) -> dict[int, SimulatedTenant]:
        """By identity of the entry: entries of one tenant on one path are matched in order."""
        waiting: dict[tuple[str, tuple[str, ...]], list[SimulatedTenant]] = defaultdict(list)
        for tenant in self.simulation.tenants if self.simulation else ():
            waiting[tenant.id, tuple(tenant.path)].append(tenant)
        found = {}
        for entry in self.plan.tenants:
            queue = waiting.get((entry.id, tuple(entry.path)))
            if queue:
                found[id(entry)] = queue.pop(0)
        return found


def read_simulation(path: str | Path) -> Simulation:
    """Read a simulation file. Raises ReportError."""
    return _read(path, "simulation", Simulation.model_validate)


def read_settlement(path: str | Path) -> Settlement:
    """Read a settlement file. Raises ReportError."""
    return _read(path, "settlement", Settlement.model_validate)


def _read(path: str | Path, kind: str, build: Callable[[Any], T]) -> T:
    try:
        return build(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ReportError(f"{path}: not UTF-8 text, so not a {kind}") from error
    except ValidationError as error:
        places = "\n".join(
            f"  {'.'.join(map(str, problem['loc'])) or 'document'}: {problem['msg']}"
            for problem in error.errors()[:10]
        )
        raise ReportError(
            f"{path}: not a valid {kind}; write one with fedopt {_MAKER[kind]} --out\n{places}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: not JSON: {error}") from error


_MAKER = {"simulation": "simulate", "settlement": "settle"}
