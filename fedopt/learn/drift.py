"""Noticing that a domain has changed, so that old answers can be dropped from its buffer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fedopt.learn.feedback import Array, Rows


@dataclass
class PageHinkley:
    """Two-sided Page–Hinkley test on the standardised surprise of each answer, one test per domain.

    With P the model's acceptance probability and y the answer, the surprise (y − P)/√(P(1−P)) has mean 0 as
    long as the model is right. Its sums, less a slack per answer, are held at 0 from below; one that passes
    the threshold is an alarm. A surprise is clipped at `clip`, so that one answer raises no alarm.

    Attributes:
        count: number of domains.
        threshold: alarm level; 12 with slack 0.15 gives false alarms about once in a thousand answers.
        slack: drift per answer that is tolerated.
        clip: largest absolute surprise counted.
        keep: newest answers that an alarm leaves in the buffer.
    """

    count: int
    threshold: float = 12.0
    slack: float = 0.15
    clip: float = 4.0
    keep: int = 20
    up: Array = field(default_factory=lambda: np.zeros(0))
    down: Array = field(default_factory=lambda: np.zeros(0))
    alarms: int = 0

    def __post_init__(self) -> None:
        if self.up.size == 0:
            self.up, self.down = np.zeros(self.count), np.zeros(self.count)

    def observe(self, rows: Rows, accepted: Array, expected: Array) -> Rows:
        """Take answers of the given domains in order (a domain may appear often); returns those alarmed."""
        p = np.clip(expected, 1e-3, 1 - 1e-3)
        surprise = np.clip((accepted - p) / np.sqrt(p * (1 - p)), -self.clip, self.clip)
        order = np.argsort(rows, kind="stable")
        ranked = rows[order]
        first = np.searchsorted(ranked, ranked)
        turn = np.arange(ranked.size) - first
        alarmed: list[Rows] = []
        for k in range(int(turn.max(initial=-1)) + 1):
            now = order[turn == k]
            at = rows[now]
            self.up[at] = np.maximum(self.up[at] + surprise[now] - self.slack, 0.0)
            self.down[at] = np.maximum(self.down[at] - surprise[now] - self.slack, 0.0)
            loud = at[(self.up[at] > self.threshold) | (self.down[at] > self.threshold)]
            self.up[loud], self.down[loud] = 0.0, 0.0
            alarmed.append(loud)
        found = np.unique(np.concatenate(alarmed)) if alarmed else np.zeros(0, np.intp)
        self.alarms += int(found.size)
        return found
