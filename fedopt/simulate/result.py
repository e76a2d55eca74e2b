"""The outcome of simulating a plan: per tenant what was promised, proven and seen."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fedopt.plan.present import frame, html_table, tail_figure
from fedopt.simulate.estimates import Share

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

WHOLE, FLUID = "requests", "fluid"


@dataclass(frozen=True)
class Quantile:
    """A delay quantile with its confidence interval, in units of time."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class TenantResult:
    """One entry of a plan, simulated.

    ``verdict``: kept (the interval lies at or below ε), broken (above it), undecided (ε lies inside, or what
    was replayed is the very record that the plan rests on). ``requests`` counts requests (slots where the
    promise is about instants or the model knows only work); ``more`` is how many further ones would decide.
    ``model``: whole requests, or the fluid in slots. ``until``: the stage up to whose end a milestone counts,
    empty for the whole path.
    """

    id: str
    path: tuple[str, ...]
    count: int
    requests: float
    epsilon: float
    deadline: float
    violation: Share
    quantiles: dict[float, Quantile]
    log_bound: float | None
    notes: tuple[str, ...] = ()
    model: str = WHOLE
    more: float | None = None
    independent: bool = True
    until: str = ""

    @property
    def name(self) -> str:
        """The tenant's id, and up to which stage its promise counts where it is a milestone."""
        return f"{self.id}, to the end of {self.until}" if self.until else self.id

    @property
    def verdict(self) -> str:
        """kept, broken or undecided."""
        if self.violation.low > self.epsilon:
            return "broken"
        return "kept" if self.violation.high <= self.epsilon and self.independent else "undecided"

    @property
    def kept(self) -> bool:
        """Whether the simulation does not contradict the promise: the interval reaches down to ε."""
        return self.violation.low <= self.epsilon

    @property
    def bound_holds(self) -> bool:
        """Whether the simulation does not contradict the plan's bound."""
        return self.log_bound is None or self.violation.low <= math.exp(min(self.log_bound, 0.0)) * (
            1 + 1e-12
        )

    def to_dict(self) -> dict[str, Any]:
        """The published JSON of a tenant."""
        return {
            "id": self.id,
            **({"until": self.until} if self.until else {}),
            "path": list(self.path),
            "count": self.count,
            "requests": self.requests,
            "deadline": self.deadline,
            "epsilon": self.epsilon,
            "violation": {
                "estimate": self.violation.estimate,
                "interval": [self.violation.low, self.violation.high],
            },
            "quantiles": {
                f"{p:g}": {"estimate": value.estimate, "interval": [value.low, value.high]}
                for p, value in self.quantiles.items()
            },
            "log_bound": self.log_bound,
            "kept": self.kept,
            "verdict": self.verdict,
            "model": self.model,
            "more_to_decide": None if self.more is None else math.ceil(self.more),
            "independent": self.independent,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class SimulationResult:
    """All entries of a plan, simulated, with the settings that made them reproducible."""

    tenants: tuple[TenantResult, ...]
    seed: int
    trials: int
    confidence: float
    skipped: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether no promise and no bound is contradicted."""
        return all(tenant.kept and tenant.bound_holds for tenant in self.tenants)

    def to_dict(self) -> dict[str, Any]:
        """The published JSON."""
        return {
            "tenants": [tenant.to_dict() for tenant in self.tenants],
            "ok": self.ok,
            "seed": self.seed,
            "trials": self.trials,
            "confidence": self.confidence,
            "skipped": list(self.skipped),
        }

    def to_json(self) -> str:
        """The published JSON as text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def to_frame(self) -> DataFrame:
        """A pandas DataFrame, a row per entry; quantiles are columns `q0.999` with `_low` and `_high`.

        Raises
        ------
        MissingExtraError
            If pandas is not installed (the extra `table`).
        """
        return frame(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for tenant in self.tenants:
            share = tenant.violation
            row: dict[str, Any] = {
                "tenant": tenant.name,
                "count": tenant.count,
                "deadline": tenant.deadline,
                "promised": tenant.epsilon,
                "simulated": share.estimate,
                "low": share.low,
                "high": share.high,
                "bound": None if tenant.log_bound is None else math.exp(tenant.log_bound),
                "verdict": tenant.verdict,
            }
            for p, value in tenant.quantiles.items():
                row |= {f"q{p:g}": value.estimate, f"q{p:g}_low": value.low, f"q{p:g}_high": value.high}
            rows.append(row)
        return rows

    def plot(self) -> Figure:
        """A matplotlib figure: simulated violation probabilities with intervals beside the promises.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed (the extra `plot`).
        """
        rows = [
            (t.name, t.violation.estimate, t.violation.low, t.violation.high, t.epsilon) for t in self.tenants
        ]
        return tail_figure(f"simulated, {self.confidence:.0%} intervals", rows)

    def _repr_html_(self) -> str:
        return html_table(f"Simulation of {len(self.tenants)} entries", self._rows())

    def to_text(self) -> str:
        """A plain table, one line per entry, and what it means."""
        rows = [("tenant", "count", "promise", "bound", "simulated", "interval", "p99.9", "verdict")]
        for tenant in self.tenants:
            tail = tenant.quantiles.get(0.999)
            rows.append(
                (
                    tenant.name,
                    str(tenant.count),
                    f"P(delay > {tenant.deadline:g}) ≤ {tenant.epsilon:g}",
                    "–" if tenant.log_bound is None else f"{math.exp(tenant.log_bound):.2e}",
                    f"{tenant.violation.estimate:.2e}",
                    f"[{tenant.violation.low:.1e}, {tenant.violation.high:.1e}]",
                    "–" if tail is None else f"{tail.estimate:g} [{tail.low:g}, {tail.high:g}]",
                    tenant.verdict if tenant.bound_holds else f"{tenant.verdict}, BOUND EXCEEDED",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines = [*(_MODELS[model] for model in dict.fromkeys(t.model for t in self.tenants)), *lines, ""]
        broken = [tenant.name for tenant in self.tenants if not (tenant.kept and tenant.bound_holds)]
        open_ = [tenant for tenant in self.tenants if tenant.verdict == "undecided"]
        if broken:
            lines.append(f"Broken: {', '.join(dict.fromkeys(broken))}.")
        else:
            lines.append(f"No promise is broken ({self.confidence:.0%} intervals over {self.trials} trials).")
        lines.extend(f"Not decided: {reason}." for reason in dict.fromkeys(map(_undecided, open_)))
        notes = dict.fromkeys(note for tenant in self.tenants for note in tenant.notes)
        lines.extend(f"Note: {note}." for note in notes)
        lines.extend(f"Skipped: {reason}." for reason in self.skipped)
        return "\n".join(lines)


_MODELS = {
    WHOLE: "Whole requests in continuous time.",
    FLUID: "A fluid in slots: work moves on while it is served; whole requests may take longer.",
}


def _undecided(tenant: TenantResult) -> str:
    if not tenant.independent:
        return f"{tenant.name}, its own record is no independent evidence"
    if tenant.more is None:
        return tenant.name
    return f"{tenant.name}, some {tenant.more:.2g} more requests would decide"
