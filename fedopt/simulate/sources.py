"""Where packets come from: one small object per kind of source.

Kinds: renewal (any law of gaps, so Poisson and deterministic too), batches, correlated on-off (a Poisson
stream switched by a two-state Markov environment), and the replay of a trace. Times are in the caller's unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedopt.kernels import kernel
from fedopt.simulate import laws
from fedopt.simulate.laws import Law, draw
from fedopt.simulate.streams import exponential, uniform, word_at

RENEWAL, BATCHES, ON_OFF, REPLAY = range(4)


@dataclass(frozen=True)
class Source:
    """A stream of packets: its kind, the law of gaps, the law of batch sizes and the on-off parameters."""

    kind: int
    gap: Law
    size: Law
    rates: tuple[float, float] = (0.0, 0.0)
    leave: tuple[float, float] = (0.0, 0.0)

    @property
    def rate(self) -> float:
        """Packets per unit of time, in the long run."""
        if self.kind == ON_OFF:
            off, on = self.leave
            return (self.rates[0] * on + self.rates[1] * off) / (off + on)
        return self.size.mean / self.gap.mean

    def scaled(self, factor: float) -> Source:
        """The same source with time running ``factor`` times as fast; factor > 0."""
        return Source(
            self.kind,
            self.gap.scaled(1 / factor),
            self.size,
            (self.rates[0] * factor, self.rates[1] * factor),
            (self.leave[0] * factor, self.leave[1] * factor),
        )


def renewal(gap: Law) -> Source:
    """Independent gaps of one law."""
    return Source(RENEWAL, gap, laws.deterministic(1.0))


def poisson(rate: float) -> Source:
    """A Poisson stream of ``rate`` packets per unit of time."""
    return renewal(laws.exponential(1.0 / rate))


def periodic(gap: float) -> Source:
    """One packet every ``gap``."""
    return renewal(laws.deterministic(gap))


def batches(gap: Law, size: Law) -> Source:
    """Batches with independent gaps, each of an independent whole number of packets at one instant."""
    return Source(BATCHES, gap, size)


def on_off(rate_off: float, rate_on: float, off_to_on: float, on_to_off: float) -> Source:
    """A Poisson stream whose rate switches between two values; states last exponentially long.

    ``off_to_on`` and ``on_to_off`` are transition rates per unit of time. With ``rate_off = 0`` this is the
    interrupted Poisson process, a renewal process with hyperexponential gaps. It starts in its stationary
    state.
    """
    if min(rate_off, rate_on) < 0 or max(rate_off, rate_on) <= 0 or min(off_to_on, on_to_off) <= 0:
        raise ValueError("an on-off source needs a positive rate and positive transition rates")
    return Source(
        ON_OFF, laws.deterministic(1.0), laws.deterministic(1.0), (rate_off, rate_on), (off_to_on, on_to_off)
    )


def replay(gaps: Sequence[float] | np.ndarray) -> Source:
    """The gaps of a trace in their order, from a random place on, round and round."""
    law = laws.empirical(gaps)
    return Source(REPLAY, law, laws.deterministic(1.0))


@kernel
def start(kind, leave_off, leave_on, table, origin, step, state):
    """Put a source into its stationary state; ``state`` is (phase or place, time left in it, words used,
    batch left).
    """
    state[0] = 0.0
    state[1] = 0.0
    state[2] = 2.0
    state[3] = 0.0
    if kind == ON_OFF:
        in_on = uniform(word_at(origin, step, 0)) < leave_off / (leave_off + leave_on)
        state[0] = 1.0 if in_on else 0.0
        state[1] = exponential(word_at(origin, step, 1)) / (leave_on if in_on else leave_off)
    elif kind == REPLAY:
        state[0] = float(np.int64(uniform(word_at(origin, step, 0)) * table.shape[0]))


@kernel
def next_gap(kind, gap, size, rates, leave, table, origin, step, state):
    """Time from the last packet to the next; ``gap`` and ``size`` are (code, a, b, c)."""
    if kind == REPLAY:
        place = np.int64(state[0])
        state[0] = float(place + 1) if place + 1 < table.shape[0] else 0.0
        return table[place]
    index = np.int64(state[2])
    if kind == BATCHES:
        if state[3] > 0.5:
            state[3] -= 1.0
            return 0.0
        state[3] = (
            np.floor(draw(size[0], size[1], size[2], size[3], table, word_at(origin, step, index))) - 1.0
        )
        state[2] = float(index + 2)
        return draw(gap[0], gap[1], gap[2], gap[3], table, word_at(origin, step, index + 1))
    total = 0.0
    left = state[1]
    on = state[0] > 0.5
    while True:
        rate = rates[1] if on else rates[0]
        wait = exponential(word_at(origin, step, index)) / rate if rate > 0.0 else np.inf
        index += 1
        if wait < left:
            state[0] = 1.0 if on else 0.0
            state[1] = left - wait
            state[2] = float(index)
            return total + wait
        total += left
        on = not on
        left = exponential(word_at(origin, step, index)) / (leave[1] if on else leave[0])
        index += 1
