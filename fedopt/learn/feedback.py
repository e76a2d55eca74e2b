"""Accept/reject feedback of many domains at once, and the scale that makes it dimensionless."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Feedback:
    """Answers of `count` domains, padded to a common length; a padding entry has weight 0.

    Attributes:
        delay: partial delays that were asked for, shape (count, K), units of time.
        throughput: partial throughputs that were asked for, shape (count, K).
        accepted: 1 for accepted, 0 for rejected; anything between is the probability of "accepted"
            (a robust likelihood produces such soft labels), shape (count, K).
        weight: weight of each answer, at least 0, shape (count, K).
    """

    delay: Array
    throughput: Array
    accepted: Array
    weight: Array

    @property
    def count(self) -> int:
        """Number of domains."""
        return int(self.delay.shape[0])

    def rows(self, rows: NDArray[np.intp]) -> Feedback:
        """The feedback of the chosen domains, in that order."""
        return Feedback(*(getattr(self, field.name)[rows] for field in fields(self)))

    def with_accepted(self, accepted: Array) -> Feedback:
        """The same feedback with other labels."""
        return Feedback(self.delay, self.throughput, accepted, self.weight)

    def with_weight(self, weight: Array) -> Feedback:
        """The same feedback with other weights."""
        return Feedback(self.delay, self.throughput, self.accepted, weight)

    def beside(self, other: Feedback) -> Feedback:
        """The answers of both for the same domains."""
        return Feedback(
            *(np.concatenate([getattr(self, f.name), getattr(other, f.name)], 1) for f in fields(self))
        )

    @classmethod
    def of(cls, delay: Array, throughput: Array, accepted: Array, weight: Array | None = None) -> Feedback:
        """Feedback from anything array-like; one-dimensional input is one domain."""
        parts = [np.atleast_2d(np.asarray(part, dtype=float)) for part in (delay, throughput, accepted)]
        parts.append(np.ones_like(parts[0]) if weight is None else np.atleast_2d(np.asarray(weight, float)))
        return cls(*np.broadcast_arrays(*parts))

    @classmethod
    def stack(cls, parts: list[Feedback]) -> Feedback:
        """One batch from several, padded with weight 0 to the longest."""
        length = max(part.delay.shape[1] for part in parts)

        def padded(name: str, fill: float) -> Array:
            return np.concatenate(
                [
                    np.pad(
                        getattr(part, name),
                        ((0, 0), (0, length - part.delay.shape[1])),
                        constant_values=fill,
                    )
                    for part in parts
                ]
            )

        return cls(
            padded("delay", 1.0), padded("throughput", 0.0), padded("accepted", 0.0), padded("weight", 0.0)
        )


@dataclass(frozen=True)
class Scale:
    """Reference values that make delays and throughputs dimensionless.

    A delay τ becomes u = τ / delay; a throughput θ becomes v = (θ − middle) / spread.
    """

    delay: float
    middle: float
    spread: float

    @classmethod
    def of(cls, feedback: Feedback) -> Scale:
        """Median delay, and the centre and half-width of the throughputs that were asked for."""
        used = feedback.weight > 0
        delay, throughput = feedback.delay[used], feedback.throughput[used]
        low, high = float(throughput.min()), float(throughput.max())
        middle, spread = (low + high) / 2, (high - low) / 2
        if spread <= 1e-9 * max(1.0, abs(middle)):
            spread = max(abs(middle), 1.0)
        return cls(delay=max(float(np.median(delay)), 1e-12), middle=middle, spread=spread)

    def relative(self, delay: Array, throughput: Array) -> tuple[Array, Array]:
        """(u, v) of delays and throughputs."""
        return delay / self.delay, (throughput - self.middle) / self.spread
