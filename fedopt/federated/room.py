"""Where domains end: what the answers of rounds about capacity alone tell.

With its cost left out a domain answers the nearest loads that it can carry. Where they fall short of those
asked it is full: its work at the answer is its capacity. Whoever proposes loads learns this sooner or later;
asking once spares plans that cannot be carried.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fedopt.federated.session import Round
from fedopt.pricing import Network

__all__ = ["Room"]

Floats = npt.NDArray[np.float64]
_SHORT = 1e-9


class Room:
    """The most work that each domain carries, shape (domains,), infinite where its end never showed; and the
    work that it is known to carry. `domain`, `factor`: whose each offer is and its work factor, (offers,).
    """

    def __init__(self, network: Network) -> None:
        self.domain, self.factor = network.domain, network.factor
        self.most = np.full(len(network.domain_ids), math.inf)
        self.carried = np.zeros(len(network.domain_ids))

    def learn(self, asked: Floats, answer: Round) -> bool:
        """Take the answer to a round about capacity; whether a domain fell short."""
        work = self.work(answer.loads)
        short = answer.answered & (answer.loads < asked * (1.0 - _SHORT))
        full = np.unique(self.domain[short])
        self.most[full] = np.minimum(self.most[full], work[full])
        heard = np.unique(self.domain[answer.answered])
        self.carried[heard] = np.maximum(self.carried[heard], work[heard])
        return bool(len(full))

    def work(self, loads: Floats) -> Floats:
        """The work of loads (offers,) in each domain."""
        return np.bincount(self.domain, self.factor * loads, len(self.most)).astype(float)

    def at_the_end(self, loads: Floats) -> Floats:
        """The loads, scaled in every domain whose end is known so that they reach it."""
        work = self.work(loads)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(np.isfinite(self.most) & (work > 0.0), self.most / work, 1.0)
        return loads * scale[self.domain]

    def rows(self) -> Iterator[tuple[int, npt.NDArray[np.int32], Floats]]:
        """(domain, its offers, their work factors), one by one."""
        for domain in range(len(self.most)):
            mine = np.flatnonzero(self.domain == domain).astype(np.int32)
            yield domain, mine, self.factor[mine]
