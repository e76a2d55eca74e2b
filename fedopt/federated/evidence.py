"""What a run has learnt: the cuts and points of its answers, and the interval in which the optimum lies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fedopt.federated.certificate import Above, Below
from fedopt.federated.flows import Cut, Flows
from fedopt.federated.session import Round

__all__ = ["Evidence"]

Floats = npt.NDArray[np.float64]


class Evidence:
    """Bounds of the relaxation (heads may be split over paths) from the answers so far."""

    def __init__(self, flows: Flows, groups: Sequence[np.ndarray]) -> None:
        self.flows = flows
        self.groups = list(groups)
        self.below, self.above = Below(flows, groups), Above(flows, groups)
        self._masks = [np.isin(np.arange(flows.offers), members) for members in groups]

    @property
    def cuts(self) -> list[Cut]:
        """All cuts, in the order of the rounds."""
        return self.below.cuts

    @property
    def lower(self) -> float:
        """No plan costs less."""
        return self.below.best

    @property
    def upper(self) -> float:
        """What the best split plan costs whose loads the operators can carry."""
        return self.above.best

    @property
    def gap(self) -> float:
        """Relative distance of the two; infinite while no split plan is known."""
        if not (math.isfinite(self.upper) and math.isfinite(self.lower)):
            return math.inf
        return max(self.upper - self.lower, 0.0) / max(abs(self.upper), 1e-300)

    def take(self, proposed: Floats, answer: Round) -> None:
        """The answers of a round to the loads proposed."""
        for group, totals in answer.totals.items():
            mask = self._masks[group]
            self.below.add(Cut(group, totals.support, np.where(mask, answer.prices, 0.0)))
            self.above.add(group, answer.loads, totals.cost)
            if totals.fits:
                self.above.add(group, np.maximum(proposed, 0.0), totals.proposed_cost)

    def bound(self, gap: float) -> float:
        """Bring both bounds up to date; the relative gap."""
        upper = self.above.bound(gap)
        self.below.bound(upper, gap)
        return self.gap
