"""The audit document: what telemetry says about a tail, with how it was computed. Immutable; knows nothing
of its maker.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer

from fedopt.errors import InputError
from fedopt.plan.present import frame, html_table
from fedopt.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = [
    "Audit",
    "AuditError",
    "DriftReport",
    "Probability",
    "Promise",
    "Quantile",
    "ThresholdRow",
    "audit_schema",
]

Verdict = Literal["kept", "broken", "undecided"]


class AuditError(InputError):
    """An audit file that cannot be read; the message names file and places."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Quantile(_Document):
    """A quantile with its interval.

    method: "counts" where the counts bound it from both sides; "tail" where it lies beyond them and the
    fitted tail extrapolates (never below what the counts say). An end that is None cannot be bounded.
    at_least: the quantile lies among requests that did not come back or reached the cap; the estimate is the
    least that it can be. warning: why the interval is not to be relied on as stated.
    """

    estimate: float
    interval: tuple[float | None, float | None]
    empirical: float
    empirical_interval: tuple[float | None, float | None]
    method: Literal["tail", "counts"]
    at_least: bool = False
    warning: str | None = None
    tail: float | None = None


class Probability(_Document):
    """The probability of exceeding a level by the counts, with its interval; beside it what the fitted tail
    says.

    count: samples above the level, those included that did not come back. clusters: independent episodes that
    hold them. warning: why the interval is not to be relied on as stated.
    """

    level: float
    estimate: float
    interval: tuple[float, float]
    count: int
    clusters: int
    warning: str | None = None
    tail: float | None = None


class Promise(_Document):
    """What was promised: P(delay > deadline) ≤ epsilon; log_bound: the plan's natural log-bound on that
    probability.
    """

    deadline: float
    epsilon: float
    log_bound: float | None = None


class ThresholdRow(_Document):
    """What one candidate threshold shows.

    statistic and critical: the largest studentised difference between observed and predicted exceedances of
    a higher level, and what it may reach (level 5 %, all levels together); None where no higher level could
    be checked. accepted: whether the law fits from here upwards. modified_scale: β − ξq, which with ξ is
    constant above a good threshold. Standard errors assume independence.
    """

    threshold: float
    exceedances: int
    shape: float
    shape_error: float | None
    scale: float
    modified_scale: float
    clustering: float
    statistic: float | None
    critical: float
    accepted: bool


class DriftReport(_Document):
    """What the change-point test says.

    kind: none; transient (a stretch differs and the series came back); systematic (it differs to the end, or
    from the beginning); unknown (too few independent cells to tell). direction: of the tail inside the
    stretch. start, end: the stretch, as positions in the series, [start, end), and as times where known.
    load_ratio: mean tail load per sample inside ÷ outside. statistic, critical: largest contrast and its
    critical value at the false-alarm rate.
    """

    kind: Literal["none", "transient", "systematic", "unknown"]
    direction: Literal["heavier", "lighter", "none"] = "none"
    start: int | None = None
    end: int | None = None
    start_time: float | None = None
    end_time: float | None = None
    load_ratio: float | None = None
    statistic: float
    critical: float | None
    cells: int
    false_alarm_rate: float


class Audit(_Document):
    """The audit of one series, and under `series` of its tenants, domains or runs.

    threshold, scale and quantiles are in the telemetry's unit. clustering: variance of exceedance counts
    over that of independent samples. used_cosines: degrees of freedom behind the intervals.
    samples_to_decide: about how many samples would decide an undecided verdict; None where it is decided or
    where no number can be told.
    """

    fedopt: Literal[1] = 1
    kind: Literal["audit"] = "audit"
    name: str = "all"
    verdict: Verdict | None
    promise: Promise | None = None
    samples: int
    lost: int = Field(0, description="samples that are late whatever the deadline: no answer, or at the cap")
    cap: float | None = Field(
        None, description="values that reached it are only known to be at least as large"
    )
    unit: str | None = Field(None, description="unit of the delays, where the telemetry states it")
    mean: float
    maximum: float
    grid: float = Field(description="width of the rounding grid; 0: none")
    confidence: float
    threshold: float
    threshold_passed: bool
    exceedances: int
    shape: float
    shape_error: float | None
    scale: float
    scale_error: float | None
    extremal_index: float
    clustering: float
    used_cosines: int
    quantiles: dict[str, Quantile]
    violation: Probability | None = None
    samples_to_decide: int | None
    drift: DriftReport
    thresholds: list[ThresholdRow] = Field(default_factory=list)
    mean_residual_life: list[tuple[float, float, float, int]] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    series: dict[str, Audit] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _published(self, handler: Any) -> dict[str, Any]:
        document: dict[str, Any] = handler(self)
        if not document["series"]:
            del document["series"]
        return document

    @property
    def broken(self) -> bool:
        """Whether this or any of its series broke its promise."""
        return self.verdict == "broken" or any(part.broken for part in self.series.values())

    def to_json(self, indent: int | None = 2) -> str:
        """The published JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=indent, ensure_ascii=False, allow_nan=False)

    def to_frame(self) -> DataFrame:
        """A pandas DataFrame, a row per quantile of the audit and of each of its series.

        Raises
        ------
        MissingExtraError
            If pandas is not installed (the extra `table`).
        """
        return frame(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        parts = self.series.values() if self.series else [self]
        return [
            {
                "series": part.name,
                "verdict": part.verdict,
                "samples": part.samples,
                "quantile": float(level),
                "estimate": found.estimate,
                "low": found.interval[0],
                "high": found.interval[1],
                "empirical": found.empirical,
            }
            for part in parts
            for level, found in part.quantiles.items()
        ]

    def plot(self) -> Figure:
        """A matplotlib figure: tail, quantiles, threshold stability and mean residual life.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed (the extra `plot`).
        """
        from fedopt.audit.presenting import audit_figure

        return audit_figure(self, self.unit or "")

    def _repr_html_(self) -> str:
        verdict = f", {self.verdict}" if self.verdict else ""
        return html_table(f"Audit of {self.name}: {self.samples:,} samples{verdict}", self._rows())

    def save(self, path: str | Path) -> None:
        """Write the JSON to `path`, atomically."""
        write_atomically(Path(path), self.to_json() + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Audit:
        """Read an audit file. Raises AuditError."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise AuditError(f"{path}: cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise AuditError(f"{path}: not UTF-8 text, so not an audit") from error
        try:
            return cls.model_validate_json(text)
        except (ValidationError, RecursionError) as error:
            problems = error.errors()[:10] if isinstance(error, ValidationError) else []
            places = "\n".join(
                f"  {'.'.join(map(str, p['loc'])) or 'document'}: {p['msg']}" for p in problems
            )
            raise AuditError(f"{path}: not a valid audit\n{places}") from error


def finite(value: float | None) -> float | None:
    """The value, or None where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def audit_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the audit document."""
    schema = Audit.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "fedopt audit", **schema}
