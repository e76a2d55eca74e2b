"""From an audit to the next version of a domain's contract: over all audited tenants that cross it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from fedopt.audit.document import Audit, AuditError
from fedopt.audit.recalibrating import (
    Effect,
    Increase,
    audited_levels,
    effects,
    next_version,
    smallest_increase,
)
from fedopt.contracts import Contract
from fedopt.contracts.applying import with_contract
from fedopt.instance import Instance
from fedopt.plan import Plan
from fedopt.plan.paths import Paths

__all__ = ["Recalibration", "recalibrate"]


@dataclass(frozen=True)
class Recalibration:
    """What a contract must be raised by, its next version (None where nothing must), and what that does to
    the plan.
    """

    increase: Increase
    contract: Contract | None
    effects: tuple[Effect, ...]


def recalibrate(
    audit: Audit,
    instance: Instance,
    plan: Plan,
    contract: Contract,
    *,
    parent: str,
    issued: str,
    eta_limit: float = float("inf"),
) -> Recalibration:
    """The smallest increase of one contract after which the guarantee bounds every audited tenant that
    crosses it.

    parent: SHA-256 of the signed current version; issued: when the next one begins; it ends when the current
    one does. The whole breach is laid on this contract, so it is the one to take where the attribution named
    its domain. Raises AuditError where no audited tenant crosses it, or the increase that is allowed does
    not suffice.
    """
    signed = with_contract(instance, contract)
    paths = Paths(signed)
    delays = {(link.from_, link.to): link.delay for link in instance.links or ()}
    increases = []
    for entry in plan.tenants:
        series = audit.series.get(entry.id, audit if entry.id == audit.name or not audit.series else None)
        if not entry.admitted or contract.subject not in entry.path or series is None:
            continue
        links = sum(delays.get((a, b), 0.0) for (a, _), (b, _) in pairwise(entry.hops()))
        levels = audited_levels(series, instance.slot, links)
        if levels:
            place = entry.path.index(contract.subject)
            increases.append(
                smallest_increase(paths.entry(entry), paths.rates(entry), place, levels, eta_limit=eta_limit)
            )
    if not increases:
        raise AuditError(f"no audited tenant with bounded quantiles crosses {contract.subject}")
    if not all(increase.reached for increase in increases):
        raise AuditError(
            f"no increase that is allowed makes the guarantee bound the audit of {contract.subject}"
        )
    increase = Increase(max(i.eta for i in increases), max(i.kappa for i in increases), True)
    if increase.eta == 0 and increase.kappa == 0:
        return Recalibration(increase, None, ())
    following = next_version(contract, increase, instance.slot, parent, issued, contract.valid_until)
    return Recalibration(increase, following, tuple(effects(plan, signed, following)))
