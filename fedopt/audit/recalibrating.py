"""Recalibration: the smallest increase of η (then κ) that makes the guarantee an upper bound of the audited
tail again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedopt.audit.document import Audit
from fedopt.audit.raised import Raised, raised_table
from fedopt.calculus import minplus
from fedopt.calculus.path import Path
from fedopt.contracts import Contract, contract_of
from fedopt.contracts.applying import with_contract
from fedopt.instance import Instance
from fedopt.plan import Plan
from fedopt.plan.paths import Paths

__all__ = ["Effect", "Increase", "audited_levels", "effects", "next_version", "smallest_increase"]

EVIDENCE_CLUSTERS = 1000.0


@dataclass(frozen=True)
class Increase:
    """What must be added to one domain's envelope: eta in work, kappa in work per slot; reached: whether
    that suffices.

    A decrease (eta < 0) happens only on request and on the evidence that was asked for.
    """

    eta: float
    kappa: float
    reached: bool


@dataclass(frozen=True)
class Effect:
    """What a new contract does to one entry of a plan: natural log-bounds before and after, and whether it
    still holds.
    """

    tenant: str
    before: float
    after: float
    log_epsilon: float

    @property
    def holds(self) -> bool:
        """Whether the reservation still proves the promise."""
        return self.after <= self.log_epsilon + 1e-9


def audited_levels(audit: Audit, slot: float, delays: float = 0.0) -> list[tuple[float, float]]:
    """(level in slots, tail probability) that a guarantee must bound: the upper ends of the audit's
    intervals.

    delays: link delays in units of time, taken off as the calculus does. Quantiles whose interval has no
    upper end bound nothing and are left out.
    """
    levels = []
    for name, row in audit.quantiles.items():
        high = row.interval[1]
        if high is not None:
            levels.append(((high - delays) / slot, 1 - float(name)))
    return levels


def smallest_increase(
    path: Path,
    rates: np.ndarray,
    domain: int,
    levels: Sequence[tuple[float, float]],
    *,
    eta_limit: float = math.inf,
    decrease_clusters: float | None = None,
    clusters: float = 0.0,
) -> Increase:
    """The smallest increase of one domain's envelope after which every audited level is bounded.

    path, rates: the reservation in slots; domain: position on the path; levels: (level in slots, tail
    probability) pairs, upper confidence limits of the audited quantiles. η is raised first, up to
    `eta_limit` more (work), then κ as well. With `decrease_clusters`, at least 1,000, η may also fall, if
    the audit rests on that many independent clusters (`clusters`).
    """
    if decrease_clusters is not None and decrease_clusters < EVIDENCE_CLUSTERS:
        raise ValueError(
            f"a decrease asks for at least {EVIDENCE_CLUSTERS:g} independent clusters of evidence"
        )

    def bounded(eta: float, kappa: float) -> bool:
        impairments = list(path.impairments)
        impairments[domain] = Raised(impairments[domain], eta, kappa)
        changed = replace(path, impairments=tuple(impairments))
        return all(_log_bound(changed, rates, level) >= math.log(tail) for level, tail in levels)

    may_fall = decrease_clusters is not None and clusters >= decrease_clusters
    if bounded(0.0, 0.0):
        if not may_fall:
            return Increase(0.0, 0.0, True)
        room = float(np.max(np.asarray(path.impairments[domain].eta(_tilts(path, domain)))))
        # 0.999 of the least fall that is too much is not too much: `_least` rounds up by a thousandth at most
        return Increase(-0.999 * _least(lambda x: not bounded(-x, 0.0), room, fallback=room), 0.0, True)
    reach = max(1.0, float(np.max(rates)) * max(level for level, _ in levels))
    eta = _least(lambda x: bounded(x, 0.0), min(eta_limit, 64 * reach))
    if math.isfinite(eta):
        return Increase(eta, 0.0, True)
    most = min(eta_limit, 64 * reach)
    kappa = _least(lambda x: bounded(most, x), float(np.max(rates)) * 4)
    return Increase(most, kappa, True) if math.isfinite(kappa) else Increase(most, 0.0, False)


def next_version(
    contract: Contract, increase: Increase, slot: float, parent: str, issued: str, valid_until: str
) -> Contract:
    """The next version of a contract with the raised envelope, unsigned. parent: hash of the signed current
    version.
    """
    return contract_of(
        contract.to_dict()
        | {
            "version": contract.version + 1,
            "parent": parent,
            "issued": issued,
            "valid_from": issued,
            "valid_until": valid_until,
            "evidence": None,
            "impairment": raised_table(contract.impairment, slot, increase.eta, increase.kappa),
        }
    )


def effects(plan: Plan, instance: Instance, contract: Contract) -> list[Effect]:
    """What a new contract does to every entry of a plan that crosses its domain, at the rates reserved."""
    before, after = Paths(instance), Paths(with_contract(instance, contract))
    found = []
    for entry in plan.tenants:
        if entry.admitted and contract.subject in entry.path:
            rates = before.rates(entry)
            old, new = before.entry(entry), after.entry(entry)
            found.append(
                Effect(
                    entry.id,
                    minplus.evaluate(old, rates).log_bound,
                    minplus.evaluate(new, rates).log_bound,
                    old.log_epsilon,
                )
            )
    return found


def _log_bound(path: Path, rates: np.ndarray, level: float) -> float:
    return minplus.evaluate(replace(path, deadline=level), rates).log_bound if level > 0 else 0.0


def _tilts(path: Path, domain: int) -> np.ndarray:
    top = min(float(path.impairments[domain].theta_max), 1e3)
    return np.geomspace(1e-3 * top, 0.999 * top, 50)


def _least(enough: Callable[[float], bool], limit: float, fallback: float = math.inf) -> float:
    """The least x in [0, limit] with enough(x), to 0.1 % (rounded up); `fallback` where there is none."""
    if limit <= 0:
        return fallback
    low, high = 0.0, min(limit, 1e-3 * limit if math.isfinite(limit) else 1.0)
    while not enough(high):
        if high >= limit:
            return fallback
        low, high = high, min(2 * high, limit)
    while high - low > 1e-3 * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
