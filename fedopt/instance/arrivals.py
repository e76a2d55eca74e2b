"""Arrival models: how a tenant's work comes in. Rates and means are per unit of time, sizes are work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

from pydantic import (
    Discriminator,
    Field,
    PrivateAttr,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    WrapValidator,
    model_validator,
)

from .base import Document, NonNegative, OpenProbability, Positive, Probability, Tilts, accepts_objects
from .quantities import Unit


def same_lengths(**columns: Sequence[float]) -> None:
    """Raise `ValueError` unless all the columns of a table are equally long."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"the columns of the table must be equally long, but {told}")


class ExponentialSize(Document):
    """Requests whose work is exponentially distributed with mean `exponential` (work)."""

    exponential: Annotated[Positive, Unit("work")]

    def theta_limit(self) -> float:
        """The tilts below which the moment generating function is finite, 1/work."""
        return 1 / self.exponential


Work = Annotated[Positive, Unit("work")]


class _Cut(Document):
    """`maximum`: no request is larger; the law is the one given that."""

    maximum: Work | None = None


class ExponentialCut(_Cut):
    """Exponential sizes with a maximum."""

    exponential: Work
    maximum: Work


class GammaSize(_Cut):
    """Gamma-distributed sizes: `gamma: {mean, cv}`."""

    class Parameters(Document):
        """Mean work and coefficient of variation."""

        mean: Work
        cv: Positive

    gamma: Parameters


class UniformSize(_Cut):
    """Sizes between two values: `uniform: {low, high}`."""

    class Parameters(Document):
        """The least and the largest work."""

        low: Annotated[NonNegative, Unit("work")]
        high: Work

    uniform: Parameters


class LognormalSize(_Cut):
    """Log-normal sizes, given that they are at most `maximum`: `lognormal: {mean, cv}` of the uncut law."""

    lognormal: GammaSize.Parameters
    maximum: Work


class ParetoSize(_Cut):
    """Pareto sizes, given that they are at most `maximum`: P(B > x) = (minimum/x)^shape before the cut."""

    class Parameters(Document):
        """The least work and the tail index."""

        minimum: Work
        shape: Positive

    pareto: Parameters
    maximum: Work


class DiscreteSize(_Cut):
    """Sizes of a histogram: `discrete: {sizes, weights}`."""

    class Parameters(Document):
        """Work of a request, and how often it is that, in any unit."""

        sizes: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=100_000), Unit("work")]
        weights: Annotated[tuple[NonNegative, ...], Field(min_length=1, max_length=100_000)]

        @model_validator(mode="after")
        def _columns(self) -> Self:
            same_lengths(sizes=self.sizes, weights=self.weights)
            if not sum(self.weights) > 0.0:
                raise ValueError("some weight must be positive")
            return self

    discrete: Parameters


_SIZE_LAWS = {
    "gamma": GammaSize,
    "uniform": UniformSize,
    "lognormal": LognormalSize,
    "pareto": ParetoSize,
    "discrete": DiscreteSize,
}


def _size_kind(value: object) -> str:
    if isinstance(value, dict):
        found = [name for name in _SIZE_LAWS if name in value]
        return found[0] if found else "cut" if "maximum" in value else "law"
    for name, law in _SIZE_LAWS.items():
        if isinstance(value, law):
            return name
    if isinstance(value, ExponentialCut):
        return "cut"
    return "law" if isinstance(value, ExponentialSize) else "fixed"


Size = Annotated[
    Annotated[Positive, Tag("fixed")] | Annotated[ExponentialSize, Tag("law")],
    Discriminator(_size_kind),
]
"""The work of one piece: a number, or `{exponential: mean}`."""

RequestSize = Annotated[
    Annotated[Positive, Tag("fixed")]
    | Annotated[ExponentialSize, Tag("law")]
    | Annotated[ExponentialCut, Tag("cut")]
    | Annotated[GammaSize, Tag("gamma")]
    | Annotated[UniformSize, Tag("uniform")]
    | Annotated[LognormalSize, Tag("lognormal")]
    | Annotated[ParetoSize, Tag("pareto")]
    | Annotated[DiscreteSize, Tag("discrete")],
    Discriminator(_size_kind),
]
"""The work of one request: a number, or a law by its name, with `maximum` where it has one."""


def size_tilt(size: Any) -> float:
    """The tilts below which E e^{θ·size} is finite, 1/work."""
    if isinstance(size, ExponentialSize):
        return size.theta_limit()
    if isinstance(size, GammaSize) and size.maximum is None:
        return 1.0 / (size.gamma.mean * size.gamma.cv**2)
    return math.inf


class Law(Document):
    """What a model of arrivals or an impairment rests on.

    `basis`: stated by whoever wrote it; `fitted` to a record, an upper bound of it at `confidence`; or an
    `estimate`, a record taken for the law. A plan's promise rests on no more than its laws do.
    """

    later = frozenset({"basis", "confidence", "sizes"})

    basis: Literal["stated", "fitted", "estimate"] = "stated"
    confidence: OpenProbability | None = None

    @model_validator(mode="after")
    def _rests_on(self) -> Self:
        if self.basis == "fitted" and self.confidence is None:
            raise ValueError("a fitted law states the confidence at which it is an upper bound")
        return self


class EnvelopeArrivals(Law):
    """A table of (ρ, σ) over θ: E exp(θ A(s,t)) ≤ exp(θρ(θ)(t−s) + θσ(θ)).

    θ in 1/work, ascending and positive; ρ in work per unit of time; σ in work. Between grid points θρ and θσ
    are interpolated linearly; beyond the last one there is no guarantee, unless `peak` says that no slot
    brings more than that (work per unit of time). `request_size` is what a request brings at once, needed
    where an SLO speaks of requests.
    """

    later = frozenset({"basis", "confidence", "sizes", "peak"})

    model: Literal["envelope"] = "envelope"
    theta: Annotated[Tilts, Unit("tilt")]
    rho: Annotated[tuple[NonNegative, ...], Unit("rate")]
    sigma: Annotated[tuple[NonNegative, ...], Unit("work")]
    independent_increments: StrictBool = False
    peak: Annotated[Positive | None, Unit("rate")] = None
    request_size: Annotated[Size | None, Unit("work")] = None

    @model_validator(mode="after")
    def _table(self) -> Self:
        same_lengths(theta=self.theta, rho=self.rho, sigma=self.sigma)
        return self

    def theta_limit(self, slot: float) -> float:
        """The largest tilt of the table, 1/work."""
        return self.theta[-1]


class TokenBucket(Law):
    """Work that never exceeds `rate` times the length of an interval plus `burst`."""

    model: Literal["token-bucket"] = "token-bucket"
    rate: Annotated[Positive, Unit("rate")]
    burst: Annotated[NonNegative, Unit("work")] = 0.0

    def theta_limit(self, slot: float) -> float:
        """Every tilt is usable."""
        return math.inf


class Poisson(Law):
    """Requests of a Poisson process: `rate` requests per unit of time of work `size` each.

    `sizes`: `common` to all stages, or drawn anew at each (`per stage`; then only domains without impairment
    that forward whole can serve them).
    """

    model: Literal["poisson"] = "poisson"
    rate: Annotated[Positive, Unit("frequency")]
    size: Annotated[RequestSize, Unit("work")] = 1.0
    sizes: Literal["common", "per stage"] = "common"

    def theta_limit(self, slot: float) -> float:
        """The tilts below which the moment generating function is finite, 1/work."""
        return size_tilt(self.size)


class Renewal(Law):
    """Requests with independent gaps, of coefficient of variation `cv`: 1 is a Poisson process.

    `rate` epochs per unit of time, of `batch` requests each. `gaps`: their law, `gamma`, `weibull` (cv up to
    5) or `hyperexponential` with balanced means (cv from 1). `sizes` as for Poisson requests.
    """

    model: Literal["renewal"] = "renewal"
    rate: Annotated[Positive, Unit("frequency")]
    cv: Annotated[Positive, Field(ge=0.01, le=10.0)] = 1.0
    gaps: Literal["gamma", "weibull", "hyperexponential"] = "gamma"
    size: Annotated[RequestSize, Unit("work")] = 1.0
    batch: Annotated[StrictInt, Field(ge=1, le=10_000)] = 1
    sizes: Literal["common", "per stage"] = "common"

    @model_validator(mode="after")
    def _variation(self) -> Self:
        if self.gaps == "hyperexponential" and self.cv < 1.0:
            raise ValueError("hyperexponential gaps have a cv of 1 or more; take gaps: gamma or weibull")
        if self.gaps == "weibull" and not 0.02 <= self.cv <= 5.0:
            raise ValueError("weibull gaps have a cv of 0.02 to 5; take gaps: gamma or hyperexponential")
        return self

    def theta_limit(self, slot: float) -> float:
        """The tilts below which the moment generating function is finite, 1/work."""
        return size_tilt(self.size)


class Modulated(Law):
    """Poisson requests whose rate depends on the state of a Markov chain in continuous time (MMPP).

    `rates`: requests per unit of time in each state. `changes`: a row for each state, how often per unit of
    time it changes to each state; the diagonal does not count. Every state can reach every other.
    """

    model: Literal["mmpp"] = "mmpp"
    rates: Annotated[tuple[NonNegative, ...], Field(min_length=2, max_length=50), Unit("frequency")]
    changes: Annotated[tuple[tuple[NonNegative, ...], ...], Unit("frequency")]
    size: Annotated[RequestSize, Unit("work")] = 1.0

    @model_validator(mode="after")
    def _chain(self) -> Self:
        count = len(self.rates)
        if len(self.changes) != count or any(len(row) != count for row in self.changes):
            raise ValueError(f"changes must have {count} rows of {count} numbers, one for each state")
        if not max(self.rates) > 0.0:
            raise ValueError("some state must bring requests")
        for ways in (self.changes, tuple(zip(*self.changes, strict=True))):  # reached, and reaching
            met, left = {0}, [0]
            while left:
                here = left.pop()
                more = {j for j in range(count) if ways[here][j] > 0.0} - met
                met |= more
                left.extend(more)
            if len(met) < count:
                raise ValueError("every state must be reached from every other by changes")
        return self

    def theta_limit(self, slot: float) -> float:
        """The tilts below which the moment generating function is finite, 1/work."""
        return size_tilt(self.size)


class ExponentialWork(Law):
    """Independent exponentially distributed work in every slot; `mean` is work per unit of time."""

    model: Literal["exponential"] = "exponential"
    mean: Annotated[Positive, Unit("rate")]

    def theta_limit(self, slot: float) -> float:
        """The tilts below which the moment generating function is finite, 1/work."""
        return 1 / (self.mean * slot)


class OnOff(Law):
    """A discrete Markov-modulated source: `peak` work per unit of time while on.

    `on_to_off` and `off_to_on` are the probabilities of a change from one slot to the next.
    """

    model: Literal["on-off"] = "on-off"
    peak: Annotated[Positive, Unit("rate")]
    on_to_off: Annotated[Probability, Unit("share")]
    off_to_on: Annotated[Probability, Unit("share")]

    def theta_limit(self, slot: float) -> float:
        """Every tilt is usable."""
        return math.inf


class TraceArrivals(Law):
    """Recorded requests: a CSV file with a header, a column of times and one of work.

    `file` is relative to the instance's file. Times are in the instance's unit of time.
    """

    model: Literal["trace"] = "trace"
    basis: Literal["stated", "fitted", "estimate"] = "estimate"
    file: Annotated[StrictStr, Field(min_length=1, max_length=4096)]
    time_column: StrictStr = "time"
    work_column: StrictStr = "work"
    _directory: Path | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        """Remember the directory of the instance's file, which the reader hands over."""
        if isinstance(context, dict) and context.get("directory") is not None:
            self._directory = Path(context["directory"])

    @property
    def path(self) -> Path:
        """Where the file is: relative to the instance's file, else to the working directory."""
        return Path(self.file) if self._directory is None else self._directory / self.file

    def theta_limit(self, slot: float) -> float:
        """Every tilt is usable: recorded work is bounded."""
        return math.inf


class SumOfArrivals(Law):
    """Independent streams of requests of one tenant, added: `parts` are models of arrivals.

    A promise holds for the requests of every part.
    """

    model: Literal["sum"] = "sum"
    parts: Annotated[
        tuple[
            Annotated[
                EnvelopeArrivals | TokenBucket | Poisson | Renewal | Modulated | ExponentialWork | OnOff,
                Field(discriminator="model"),
            ],
            ...,
        ],
        Field(min_length=2, max_length=20),
    ]

    @model_validator(mode="after")
    def _parts(self) -> Self:
        if any(getattr(part, "sizes", "common") == "per stage" for part in self.parts):
            raise ValueError("the parts of a sum have sizes common to all stages")
        return self

    def theta_limit(self, slot: float) -> float:
        """The least of the parts, 1/work."""
        return min(part.theta_limit(slot) for part in self.parts)


@runtime_checkable
class OwnArrivals(Protocol):
    """A user's own arrival model, in slots, allowed where an instance is built in code.

    `rho(theta)` is work per slot and `sigma(theta)` work, as in E exp(θA(s,t)) ≤ exp(θρ(t−s) + θσ).
    """

    def rho(self, theta: Any) -> Any:
        """Work per slot at tilt θ (1/work)."""

    def sigma(self, theta: Any) -> Any:
        """Burst, work, at tilt θ (1/work)."""


Arrivals = Annotated[
    Annotated[
        EnvelopeArrivals
        | TokenBucket
        | Poisson
        | Renewal
        | Modulated
        | SumOfArrivals
        | ExponentialWork
        | OnOff
        | TraceArrivals,
        Field(discriminator="model"),
    ],
    WrapValidator(accepts_objects("rho", "sigma")),
]
