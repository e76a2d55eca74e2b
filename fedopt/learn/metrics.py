"""What an SLA is made of: metrics with the rule by which they compose along domains, and the context.

Every SLA has a delay (domains add up) and a throughput (the least of theirs). Further metrics compose by a
declared rule; a quasi-arithmetic rule g(total) = Σ g(part) makes any of them a sum that can be split.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from fedopt.errors import InputError
from fedopt.learn.decompose import Decomposition, Problem, on_grid
from fedopt.learn.feedback import Array, Rows
from fedopt.learn.model import RiskModel


class SLAError(InputError):
    """An SLA that cannot be read."""


@dataclass(frozen=True)
class Rule:
    """How a metric composes.

    Attributes
    ----------
    split
        Whether the end-to-end value is divided among domains; otherwise each is asked for the whole of it.
    laxer
        1 where a larger column value is easier to keep, −1 where it is harder.
    forward, inverse
        g and its inverse: values ↔ column values, which add up where `split`.
    lowest, highest
        Values allowed, both included.
    """

    split: bool
    laxer: int
    forward: Callable[[float], float]
    inverse: Callable[[float], float]
    lowest: float = 0.0
    highest: float = math.inf


def _same(value: float) -> float:
    return value


RULES: dict[str, Rule] = {
    "sum": Rule(True, 1, _same, _same),
    "product": Rule(True, 1, lambda x: -math.log(x), lambda y: math.exp(-y), 1e-12, 1.0),
    "loss": Rule(True, 1, lambda x: -math.log1p(-x), lambda y: -math.expm1(-y), 0.0, 1.0 - 1e-12),
    "root-sum-square": Rule(True, 1, lambda x: x * x, lambda y: math.sqrt(max(y, 0.0))),
    "min": Rule(False, -1, _same, _same),
    "max": Rule(False, 1, _same, _same),
}
"""sum (cost, delay), product (reliability), loss (1 − Π(1 − x)), root-sum-square (jitter of independent
stages), min (bandwidth: at least), max (staleness: at most). Further ones may be added by name.
"""


@dataclass(frozen=True)
class Metric:
    """A metric beyond delay and throughput.

    Attributes
    ----------
    name
        In answers and SLAs.
    rule
        A name of `RULES`.
    typical
        A usual value of a domain, which makes it dimensionless; from a history: the median.
    """

    name: str
    rule: str
    typical: float | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InputError(f"{self.name}: there is no rule {self.rule!r}; there are {', '.join(RULES)}")

    @property
    def law(self) -> Rule:
        """The rule itself."""
        return RULES[self.rule]

    def column(self, value: Any) -> float:
        """The value as a risk model takes it, before scaling."""
        law = self.law
        number = _number(value)
        if not law.lowest <= number <= law.highest:
            raise InputError(
                f"{self.name} is {value!r}; by the rule {self.rule!r} it lies in "
                f"[{law.lowest:g}, {law.highest:g}]"
            )
        return law.forward(number)

    @property
    def unit(self) -> float:
        """Column value of a usual domain."""
        usual = 0.0 if self.typical is None else self.law.forward(self.typical)
        return usual if usual > 0 else 1.0


@dataclass(frozen=True)
class Context:
    """What an answer may depend on without being asked for: an hour of a day, a type of slice.

    Either `period` (a number that comes round, such as 24 for hours) or `values` (names).
    """

    name: str
    period: float | None = None
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(str(value) for value in self.values))
        if (self.period is None) == (not self.values) or (self.period is not None and not self.period > 0):
            raise InputError(f"{self.name}: a context has either a period above 0 or a list of values")

    def columns(self, value: Any) -> list[float]:
        """Cosine and sine, or one column per value; zeros where nothing is known."""
        if value is None or value == "":
            return [0.0] * self.width
        if self.period is None:
            return [float(str(value) == name) for name in self.values]
        angle = 2 * math.pi * _number(value) / self.period
        if not math.isfinite(angle):
            raise InputError(f"{self.name} is {value!r}, which is no finite number")
        return [math.cos(angle), math.sin(angle)]

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.values) or 2


@dataclass(frozen=True)
class Schema:
    """The further metrics and the context of a set of domains, as columns of `Feedback.extra`."""

    metrics: tuple[Metric, ...] = ()
    context: tuple[Context, ...] = ()

    def __post_init__(self) -> None:
        names = self.names
        taken = {"delay", "throughput", "domain", "stage", "accepted", "request", "time"}
        for name in names:
            if names.count(name) > 1 or name in taken:
                raise InputError(f"the name {name!r} of a metric or context is taken")

    @property
    def names(self) -> list[str]:
        """Of the metrics, then of the context."""
        return [*(m.name for m in self.metrics), *(c.name for c in self.context)]

    @property
    def signs(self) -> tuple[int, ...]:
        """Of the columns: 1 more is laxer, −1 more is stricter, 0 context."""
        return (
            *(m.law.laxer for m in self.metrics),
            *(0 for part in self.context for _ in range(part.width)),
        )

    def columns(self, values: Mapping[str, Any]) -> Array:
        """The columns of one answer or request, scaled, shape (E,).

        Raises
        ------
        InputError
            For a metric without a value, one out of range, or a name that is not declared.
        """
        unknown = sorted(set(values) - set(self.names))
        if unknown:
            raise InputError(f"{', '.join(unknown)}: neither a metric nor a context of these domains")
        found = []
        for metric in self.metrics:
            if metric.name not in values:
                raise InputError(f"the metric {metric.name!r} is missing")
            found.append(metric.column(values[metric.name]) / metric.unit)
        for part in self.context:
            found.extend(part.columns(values.get(part.name)))
        return np.array(found)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        metrics = [{"name": m.name, "rule": m.rule, "typical": m.typical} for m in self.metrics]
        context = [{"name": c.name, "period": c.period, "values": list(c.values)} for c in self.context]
        return {"metrics": metrics, "context": context}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The schema that gave this."""
        return cls(
            tuple(Metric(**row) for row in data["metrics"]),
            tuple(Context(c["name"], c["period"], tuple(c["values"])) for c in data["context"]),
        )


@dataclass(frozen=True)
class SLA:
    """An end-to-end SLA.

    Attributes
    ----------
    delay
        End-to-end delay, in the history's unit of time, more than 0.
    throughput
        In the history's unit, at least 0.
    more
        Values of the further metrics, end to end.
    """

    delay: float
    throughput: float = 0.0
    more: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.delay) and self.delay > 0):
            raise SLAError(f"the SLA's delay must be a positive number, not {self.delay}")
        if not (math.isfinite(self.throughput) and self.throughput >= 0):
            raise SLAError(f"the SLA's throughput must be a number of at least 0, not {self.throughput}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `delay=100,throughput=0.5`, further metrics by their names."""
        values = assignments(text, "--sla delay=100,throughput=0.5")
        if "delay" not in values:
            raise SLAError("an SLA needs a delay, for example --sla delay=100,throughput=0.5")
        return cls(values.pop("delay"), values.pop("throughput", 0.0), values)


def assignments(text: str, example: str) -> dict[str, float]:
    """Read `name=number` pairs separated by commas; raises `SLAError` with the example in its message."""
    values: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, separator, number = (piece.strip() for piece in part.rpartition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not separator or not name or math.isnan(value):
            raise SLAError(f"cannot read {part!r}: expected name=number, for example {example}")
        if name in values:
            raise SLAError(f"{name!r} is given twice")
        values[name] = value
    return values


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


@dataclass(frozen=True)
class Sliced:
    """Risk models as a function of one metric, everything else fixed: an `Acceptance` in that metric.

    Attributes
    ----------
    model
        Risk models that take further columns.
    extra
        Further columns in the order of the flattened rows, shape (R · N, E), or one for all, (1, E).
    column
        The metric: a further column, or −1 for the delay.
    delay
        Partial delays where the metric is a further column, shape (R · N,).
    """

    model: RiskModel
    extra: Array
    column: int = -1
    delay: Array = field(default_factory=lambda: np.zeros(0))

    concave = False

    def log_probability(self, delay: Array, throughput: Array, rows: Rows | None = None) -> Array:
        extra = np.broadcast_to(self.extra[:, None], (*delay.shape, self.extra.shape[1]))
        if self.column >= 0:
            extra = extra.copy()
            extra[..., self.column] = delay
            delay = np.broadcast_to(self.delay[:, None], delay.shape)
        return self.model.log_probability(delay, throughput, rows, extra)

    def gradient(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        """Slopes by central differences."""
        h = 1e-5 * np.maximum(np.abs(delay), 1e-6)
        ends = [self.log_probability(delay + s * h, throughput, rows) for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * h)
        return slope, np.zeros_like(slope)


def on_every_metric(
    model: RiskModel,
    rows: Rows,
    delay: Array,
    throughput: Array,
    extra: Array,
    columns: tuple[int, ...],
    bounds: tuple[Array, Array],
    rounds: int = 8,
) -> tuple[Decomposition, Array]:
    """Split the delay and further metrics in turn, each exactly on grids, until nothing is gained.

    For concave log P that is the optimum over all metrics together (their constraints are separate); for
    other models a point that no single metric can improve.

    Parameters
    ----------
    extra
        Further columns end to end, shape (R, E); those of `columns` are divided among the domains.
    bounds
        On partial delays, each of shape (N,).

    Returns
    -------
    The decomposition, and the further columns of every domain, shape (R, N, E).
    """
    requests, domains = rows.shape
    shared = np.repeat(extra[:, None], domains, axis=1)
    shared[:, :, list(columns)] /= domains
    worth = np.full(requests, -np.inf)
    found = None
    for _ in range(rounds):
        flat = shared.reshape(requests * domains, -1)
        found = on_grid(Problem(Sliced(model, flat), rows, delay, throughput, *bounds))
        for column in columns:
            sliced = Sliced(model, flat, column, found.delay.reshape(-1))
            part = on_grid(Problem(sliced, rows, extra[:, column], throughput))
            shared[:, :, column] = part.delay
            flat = shared.reshape(requests * domains, -1)
            found = Decomposition(found.delay, part.log_probability)
        if (found.log_probability <= worth + 1e-6).all():
            break
        worth = found.log_probability
    assert found is not None
    return found, shared
