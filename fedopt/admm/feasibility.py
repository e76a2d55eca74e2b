"""Whether the operators can carry the tenants at all, when no plan was found: rounds about capacity alone.

With cost left out, an operator answers the nearest loads that it can carry, and the direction away from them
bounds what it can carry: λ·v ≤ −D for all of its loads v, D = −max λ·v the support. Where the least λ·v that
the tenants need exceeds what all operators together can offer, no plan exists, and λ names the domains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedopt.admm.certificate import Below
from fedopt.admm.evidence import Evidence
from fedopt.admm.flows import Cut, Flows
from fedopt.admm.negotiation import Negotiation
from fedopt.admm.rounds import Run
from fedopt.oracle import Oracle, sizing_for

__all__ = ["Shortage", "short_of_capacity"]

Floats = npt.NDArray[np.float64]
_ROUNDS = 60
_CERTAIN = 1e-7


@dataclass(frozen=True)
class Shortage:
    """The domains that together cannot carry what the tenants need of them."""

    domains: tuple[str, ...]


def short_of_capacity(
    negotiation: Negotiation, evidence: Evidence, run: Run, guarantee: str, scale: Floats, wall: Floats
) -> Shortage | None:
    """A proof that no split plan exists, or None; where one exists the evidence then knows it.

    scale: typical load of each offer; wall: penalties that keep answers where they were asked.
    """
    network = evidence.flows.network.without_costs()
    flows = Flows(network, Oracle(network, sizing_for(guarantee, network)), False)
    groups = [np.arange(flows.offers)]
    below = Below(flows, groups)
    penalties = 1.0 / scale**2
    nothing = np.zeros(flows.offers)
    flows.begin(1.0 / scale)
    for _ in range(_ROUNDS):
        below.bound(math.inf, 1e-9, passes=2)
        if below.best > _CERTAIN:
            below.bound(below.best, 0.0, passes=4)  # every path is looked at
            if below.best > _CERTAIN:
                return Shortage(_named(network.domain_ids, network.domain, below.prices * scale))
        loads = flows.step(nothing, 1e-3 * penalties, evidence.above.loads, below.cuts).loads
        answer = negotiation.ask(loads, nothing, penalties, of="capacity")
        run.record(evidence)
        if run.expired() or not answer.totals:
            return None
        totals = list(answer.totals.values())
        if all(each.fits for each in totals) or _close(loads, answer.loads):
            carried = negotiation.ask(answer.loads, evidence.below.prices, wall)
            evidence.take(answer.loads, carried)
            evidence.bound(1e-3)
            run.record(evidence)
            if math.isfinite(evidence.upper):
                return None
        below.add(Cut(0, sum(each.support for each in totals), answer.prices))
    return None


def _close(loads: Floats, carried: Floats) -> bool:
    return bool((loads <= carried * (1.0 + 1e-6) + 1e-12).all())


def _named(domains: list[str], domain_of: np.ndarray, prices: Floats) -> tuple[str, ...]:
    """The domains whose capacity the proof rests on, the heaviest first."""
    weight = np.zeros(len(domains))
    np.maximum.at(weight, domain_of, prices)
    order = np.argsort(-weight)
    return tuple(domains[d] for d in order if weight[d] > 1e-3 * weight.max())
