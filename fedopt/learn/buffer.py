"""First-in first-out memory of the latest answers, one ring per domain, many domains at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fedopt.learn.feedback import Array, Feedback
from fedopt.learn.model import Rows


@dataclass
class Buffer:
    """`count` rings of `capacity` answers; the oldest makes room for the newest."""

    delay: Array
    throughput: Array
    accepted: Array
    weight: Array
    seen: np.ndarray

    @classmethod
    def empty(cls, count: int, capacity: int) -> Self:
        """Rings without an answer."""
        if capacity < 1:
            raise ValueError("a buffer holds at least one answer")
        shape = (count, capacity)
        return cls(
            np.ones(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(count, np.int64)
        )

    @property
    def count(self) -> int:
        """Number of rings."""
        return int(self.delay.shape[0])

    @property
    def capacity(self) -> int:
        """Answers that a ring holds."""
        return int(self.delay.shape[1])

    def push(
        self, rows: Rows, delay: Array, throughput: Array, accepted: Array, weight: Array | float = 1.0
    ) -> None:
        """Add one answer to each of the given rings; a ring may not be named twice in one call."""
        at = self.seen[rows] % self.capacity
        self.delay[rows, at] = delay
        self.throughput[rows, at] = throughput
        self.accepted[rows, at] = accepted
        self.weight[rows, at] = weight
        self.seen[rows] += 1

    def extend(self, feedback: Feedback) -> None:
        """Add a history, column by column, entries of weight 0 excepted."""
        for column in range(feedback.delay.shape[1]):
            rows = np.flatnonzero(feedback.weight[:, column] > 0)
            values = (
                getattr(feedback, name)[rows, column]
                for name in ("delay", "throughput", "accepted", "weight")
            )
            self.push(rows, *values)

    def forget(self, rows: Rows, keep: int = 0) -> None:
        """Drop all but the `keep` newest answers of the given rings."""
        slots = np.arange(self.capacity)
        age = (self.seen[rows][:, None] - 1 - slots) % self.capacity
        self.weight[rows] = np.where(age < keep, self.weight[rows], 0.0)

    def view(self, rows: Rows) -> Feedback:
        """What the given rings hold, as feedback; empty places have weight 0."""
        return Feedback(self.delay[rows], self.throughput[rows], self.accepted[rows], self.weight[rows])

    def state(self) -> dict[str, Any]:
        """All that is needed to resume."""
        return {
            name: getattr(self, name).copy() for name in ("delay", "throughput", "accepted", "weight", "seen")
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The buffer that gave this state."""
        delay, throughput, accepted, weight = (
            np.array(state[name], float) for name in ("delay", "throughput", "accepted", "weight")
        )
        return cls(delay, throughput, accepted, weight, np.array(state["seen"], np.int64))
