"""An impairment envelope with η and κ raised by the same amount at every θ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fedopt.instance.impairments import TableImpairment
from fedopt.laws import Impairment, build
from fedopt.laws.protocol import Law

__all__ = ["Raised", "raised_table"]

POINTS = 48


@dataclass(frozen=True, eq=False)
class Raised(Law):
    """base with η + more_eta (work) and κ + more_kappa (work per slot); in slots. Negative θ keep the base's
    log-moment.

    more_eta may be negative as long as the base's own η leaves room; it is never taken below 0.
    """

    base: Any
    more_eta: float = 0.0
    more_kappa: float = 0.0

    @property
    def monotone(self) -> bool:
        """As declared by the base."""
        return bool(getattr(self.base, "monotone", False))

    @property
    def independent_increments(self) -> bool:
        """As declared by the base."""
        return bool(getattr(self.base, "independent_increments", False))

    @property
    def iid(self) -> bool:
        """As declared by the base."""
        return bool(getattr(self.base, "iid", False))

    @property
    def theta_max(self) -> float:
        """As the base's."""
        return float(self.base.theta_max)

    @property
    def mean(self) -> float:
        """The base's mean and what was added to κ, work per slot."""
        return float(self.base.mean) + self.more_kappa

    def log_rate(self, theta: Any) -> Any:
        """θκ, nats per slot."""
        theta = np.asarray(theta, float)
        return (np.asarray(self.base.log_rate(theta)) + np.maximum(theta, 0.0) * self.more_kappa)[()]

    def log_burst(self, theta: Any) -> Any:
        """θη, nats."""
        theta = np.asarray(theta, float)
        return np.maximum(np.asarray(self.base.log_burst(theta)) + theta * self.more_eta, 0.0)[()]


def raised_table(document: Any, slot: float, eta: float, kappa: float) -> TableImpairment:
    """The raised envelope of an instance's impairment document as a table that can be signed.

    eta in work, kappa in work per slot. A table keeps its grid; a parametric model is tabulated at 48 tilts
    up to 95 % of its domain (at most 20 over its mean), which is sound because log-moments are convex in θ.
    """
    base: Impairment = build(document, slot)
    if isinstance(document, TableImpairment):
        grid = np.array(document.theta)
    else:
        scale = 20.0 / max(float(base.mean), 1e-9)
        top = min(0.95 * float(base.theta_max), scale)
        grid = np.geomspace(top / 200, top, POINTS)
    law = Raised(base, eta, kappa)
    positive = grid > 0
    rate = np.asarray(law.log_rate(grid)) / grid
    burst = np.where(positive, np.asarray(law.log_burst(np.abs(grid))) / np.abs(grid), 0.0)
    return TableImpairment(
        theta=tuple(grid.tolist()),
        kappa=tuple(np.maximum(rate / slot, 0.0).tolist()),
        eta=tuple(np.maximum(burst, 0.0).tolist()),
        monotone=law.monotone,
        independent_increments=law.independent_increments and law.iid,
    )
