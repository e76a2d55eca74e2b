"""Accept/reject feedback of many domains: a batch of answers, the memory of the latest, their scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Feedback:
    """Answers of `count` domains, padded to a common length; a padding entry has weight 0.

    Attributes
    ----------
    delay, throughput
        Partial delays and throughputs that were asked for, shape (count, K).
    accepted
        1 for accepted, 0 for rejected, between them the probability of "accepted", shape (count, K).
    weight
        Weight of each answer, at least 0, shape (count, K).
    age
        How many answers of the same domain are newer, shape (count, K); 0 where nothing is known of it.
    extra
        Further columns (`fedopt.learn.metrics`): other metrics and the context, shape (count, K, E).
    """

    delay: Array
    throughput: Array
    accepted: Array
    weight: Array
    age: Array = field(default_factory=lambda: np.zeros(0))
    extra: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if self.age.ndim != 2:
            object.__setattr__(self, "age", np.zeros(self.delay.shape))
        if self.extra.ndim != 3:
            object.__setattr__(self, "extra", np.zeros((*self.delay.shape, 0)))

    @property
    def count(self) -> int:
        """Number of domains."""
        return int(self.delay.shape[0])

    def rows(self, rows: Rows) -> Feedback:
        """The feedback of the chosen domains, in that order."""
        return Feedback(*(getattr(self, part.name)[rows] for part in fields(self)))

    def with_accepted(self, accepted: Array) -> Feedback:
        """The same feedback with other labels."""
        return replace(self, accepted=accepted)

    def with_weight(self, weight: Array) -> Feedback:
        """The same feedback with other weights."""
        return replace(self, weight=weight)

    def faded(self, half_life: float) -> Feedback:
        """Weights halved with every `half_life` newer answers."""
        return self if half_life == np.inf else self.with_weight(self.weight * 0.5 ** (self.age / half_life))

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
    def stack(cls, parts: Sequence[Feedback]) -> Feedback:
        """One batch from several, padded with weight 0 to the longest."""
        length = max(part.delay.shape[1] for part in parts)
        padding = {"delay": 1.0}

        def padded(name: str) -> Array:
            columns = []
            for part in parts:
                values = getattr(part, name)
                free = [(0, 0), (0, length - values.shape[1])] + [(0, 0)] * (values.ndim - 2)
                columns.append(np.pad(values, free, constant_values=padding.get(name, 0.0)))
            return np.concatenate(columns)

        return cls(*(padded(part.name) for part in fields(cls)))

    def sample(self, most: int, seed: int = 0) -> Feedback:
        """At most `most` answers of each domain, drawn at random."""
        if self.delay.shape[1] <= most:
            return self
        rng = np.random.default_rng(np.random.SeedSequence([seed, 0x414E4348]))
        order = np.argsort(np.where(self.weight > 0, rng.random(self.weight.shape), 2.0), axis=1)[:, :most]
        order.sort(axis=1)
        parts = {f.name: np.take_along_axis(getattr(self, f.name), order, 1) for f in fields(self)[:-1]}
        return Feedback(**parts, extra=np.take_along_axis(self.extra, order[:, :, None], 1))


@dataclass(frozen=True)
class Scale:
    """Reference values of each domain that make delays and throughputs dimensionless, each (models,).

    A delay τ becomes u = τ / delay; a throughput θ becomes v = (θ − middle) / spread.
    """

    delay: Array
    middle: Array
    spread: Array

    @classmethod
    def unit(cls, models: int) -> Scale:
        """No change of units."""
        return cls(np.ones(models), np.zeros(models), np.ones(models))

    @classmethod
    def of(cls, feedback: Feedback) -> Scale:
        """Median delay, and the centre and half-width of the throughputs that each domain was asked for."""
        used = feedback.weight > 0
        some = used.any(axis=1)
        masked = np.where(used, feedback.delay, np.nan)
        masked[~some] = 1.0
        delay = np.maximum(np.nanmedian(masked, axis=1), 1e-12)
        low = np.where(used, feedback.throughput, np.inf).min(axis=1, initial=np.inf)
        high = np.where(used, feedback.throughput, -np.inf).max(axis=1, initial=-np.inf)
        low, high = np.where(some, low, 0.0), np.where(some, high, 0.0)
        middle, spread = (low + high) / 2, (high - low) / 2
        narrow = spread <= 1e-9 * np.maximum(1.0, np.abs(middle))
        return cls(delay, middle, np.where(narrow, np.maximum(np.abs(middle), 1.0), spread))

    def rows(self, rows: Rows | None) -> Scale:
        """The scale of the chosen models, in columns against (rows, K) arrays."""
        chosen = slice(None) if rows is None else rows
        return Scale(*(part[chosen, None] for part in (self.delay, self.middle, self.spread)))

    def replaced(self, rows: Rows, other: Scale) -> Scale:
        """The scale with the values of some models replaced."""
        parts = [part.copy() for part in (self.delay, self.middle, self.spread)]
        for part, new in zip(parts, (other.delay, other.middle, other.spread), strict=True):
            part[rows] = new
        return Scale(*parts)

    def grown(self, models: int) -> Scale:
        """With the usual scale of what is known up to `models`."""
        more = models - self.delay.size
        parts = (self.delay, self.middle, self.spread)
        return Scale(*(np.append(p, np.full(more, np.median(p) if p.size else 1.0)) for p in parts))

    def relative(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        """(u, v) of delays and throughputs of shape (rows, K)."""
        own = self.rows(rows)
        return np.asarray(delay, float) / own.delay, (np.asarray(throughput, float) - own.middle) / own.spread

    def state(self) -> dict[str, Any]:
        """As plain arrays."""
        return {
            "scale_delay": self.delay,
            "scale_middle": self.middle,
            "scale_spread": self.spread,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Scale:
        """The scale that gave this state."""
        return cls(*(np.asarray(state[f"scale_{name}"], float) for name in ("delay", "middle", "spread")))


@dataclass
class Buffer:
    """First-in first-out memory of the latest answers: `count` rings of `capacity`, one per domain."""

    delay: Array
    throughput: Array
    accepted: Array
    weight: Array
    time: Array
    extra: Array
    seen: np.ndarray

    @classmethod
    def empty(cls, count: int, capacity: int, extra: int = 0) -> Self:
        """Rings without an answer, each answer with `extra` further columns."""
        if capacity < 1:
            raise ValueError("a buffer holds at least one answer")
        shape = (count, capacity)
        none = {name: np.zeros(shape) for name in ("throughput", "accepted", "weight", "time")}
        more = np.zeros((*shape, extra))
        return cls(np.ones(shape), **none, extra=more, seen=np.zeros(count, np.int64))

    @property
    def count(self) -> int:
        """Number of rings."""
        return int(self.delay.shape[0])

    @property
    def capacity(self) -> int:
        """Answers that a ring holds."""
        return int(self.delay.shape[1])

    def push(
        self,
        rows: Rows,
        delay: Array,
        throughput: Array,
        accepted: Array,
        weight: Array | float = 1.0,
        time: Array | float = 0.0,
        extra: Array | None = None,
    ) -> None:
        """Add one answer to each of the given rings; a ring may not be named twice in one call."""
        at = self.seen[rows] % self.capacity
        self.delay[rows, at] = delay
        self.throughput[rows, at] = throughput
        self.accepted[rows, at] = accepted
        self.weight[rows, at] = weight
        self.time[rows, at] = time
        if extra is not None:
            self.extra[rows, at] = extra
        self.seen[rows] += 1

    def extend(self, feedback: Feedback) -> None:
        """Add a history, column by column, entries of weight 0 excepted."""
        for column in range(feedback.delay.shape[1]):
            rows = np.flatnonzero(feedback.weight[:, column] > 0)
            names = ("delay", "throughput", "accepted", "weight")
            values = {name: getattr(feedback, name)[rows, column] for name in names}
            self.push(rows, **values, extra=feedback.extra[rows, column])

    def age(self, rows: Rows) -> Array:
        """How many newer answers each place has seen, shape (rows, capacity)."""
        age: Array = ((self.seen[rows][:, None] - 1 - np.arange(self.capacity)) % self.capacity).astype(float)
        return age

    def forget(self, rows: Rows, keep: int = 0) -> None:
        """Drop all but the `keep` newest answers of the given rings."""
        self.weight[rows] = np.where(self.age(rows) < keep, self.weight[rows], 0.0)

    def view(self, rows: Rows) -> Feedback:
        """What the given rings hold, as feedback; empty places have weight 0."""
        names = ("delay", "throughput", "accepted", "weight", "extra")
        return Feedback(**{name: getattr(self, name)[rows] for name in names}, age=self.age(rows))

    def aged(self, anchor: Feedback, rows: Rows) -> Feedback:
        """The anchor of the given domains, older than all answers that came after it."""
        chosen = anchor.rows(rows)
        return replace(chosen, age=chosen.age + self.seen[rows][:, None])

    def grown(self, count: int) -> Self:
        """The same rings, and empty ones up to `count`."""
        more = type(self).empty(count - self.count, self.capacity, self.extra.shape[2])
        names = [part.name for part in fields(self)]
        return type(self)(*(np.concatenate([getattr(self, n), getattr(more, n)]) for n in names))

    def state(self) -> dict[str, Any]:
        """All that is needed to resume."""
        return {part.name: getattr(self, part.name).copy() for part in fields(self)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The buffer that gave this state."""
        names = [part.name for part in fields(cls)]
        values = {name: np.array(state[name], float) for name in names if name != "seen"}
        return cls(**values, seen=np.array(state["seen"], np.int64))
