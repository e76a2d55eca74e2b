"""Recalibration: the least change of a domain's contract under which the guarantee bounds the audit again.

What an end-to-end audit says of one domain is how much more it takes away, so its impairment is scaled: cI in
the place of I, κ_c(θ) = cκ(cθ), η_c(θ) = cη(cθ). Evidence asks for a change where the promise is not kept, or
where the lower ends of the audit's intervals refute the guarantee. Then the least c is taken with which the
guarantee of every audited tenant bounds the upper ends of P(late) at its deadline and of the quantile that it
was promised, at the rates reserved when the audit was made. Where the domain's own log has been fitted, that
envelope is where the scaling begins.

Scaled work has the shape that the contract says. Work that has become dependent over time delays as much at
these rates, but more rates help it less. Where requests have times, they are *replayed*: the delays of one
queue tell what work came between two requests, and so how late the very same requests would have been at
higher rates, whatever the law. The contract is then scaled until its guarantee asks for no less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from fedopt.audit.document import Audit, AuditError, Promise
from fedopt.audit.settings import METHOD
from fedopt.calculus import minplus
from fedopt.calculus.path import Path
from fedopt.contracts import Contract, Evidence, contract_of
from fedopt.contracts.document import with_contract
from fedopt.instance import Instance
from fedopt.instance.impairments import TableImpairment
from fedopt.laws import build
from fedopt.laws.protocol import Law
from fedopt.plan import Plan
from fedopt.plan.paths import Paths
from fedopt.records import Telemetry
from fedopt.records.units import SECONDS

__all__ = [
    "Effect",
    "Recalibration",
    "Scaled",
    "audited_levels",
    "headroom",
    "recalibrate",
    "replay",
    "scale_to_bound",
    "scaled_table",
]


@dataclass(frozen=True, eq=False)
class Scaled(Law):
    """A law of work with every amount multiplied by `factor`; in slots."""

    base: Any
    factor: float

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
        """The base's, divided by the factor."""
        return float(self.base.theta_max) / self.factor

    @property
    def mean(self) -> float:
        """The base's mean times the factor, work per slot."""
        return float(self.base.mean) * self.factor

    def log_rate(self, theta: Any) -> Any:
        """θκ of the scaled work, nats per slot."""
        return self.base.log_rate(np.asarray(theta, float) * self.factor)

    def log_burst(self, theta: Any) -> Any:
        """θη of the scaled work, nats."""
        return self.base.log_burst(np.asarray(theta, float) * self.factor)


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


@dataclass(frozen=True)
class Recalibration:
    """By what factor a contract's impairment is scaled, its next version (None where nothing changes), and
    what that does to the plan. overloaded: the audited series says only that the reservation was too small,
    so that the factor is a lower bound; plan again and audit again.
    """

    factor: float
    contract: Contract | None
    effects: tuple[Effect, ...]
    overloaded: bool = False


def recalibrate(
    audit: Audit,
    instance: Instance,
    plan: Plan,
    contract: Contract,
    *,
    parent: str,
    issued: str,
    measured: TableImpairment | None = None,
    replayed: Mapping[str, float] | None = None,
) -> Recalibration:
    """The least change of one contract after which the guarantee bounds every audited tenant that crosses it.

    Parameters
    ----------
    audit
        Of the tenants' end-to-end delays under `plan`.
    parent
        SHA-256 of the signed current version.
    issued
        When the next one begins; it ends when the current one does.
    measured
        An envelope fitted to the domain's own log (`fedopt fit impairment`), which takes the place of the
        contract's before anything is scaled.
    replayed
        By name of the audited series what `headroom` says of its requests. Without it delays are taken for
        more of the same work; with it work may also have become dependent over time.

    Raises
    ------
    AuditError
        If no audited tenant crosses the domain, or no factor up to 64 suffices.

    Notes
    -----
    The whole breach is laid on this contract, so it is the one to take where the attribution named its
    domain.
    """
    signed = with_contract(instance, contract)
    method = "end-to-end delays audited" + (" and replayed" if replayed else "")
    if measured is not None:
        method = "own log fitted, " + method
    evidence = Evidence(method=method, slots=audit.samples, confidence=audit.confidence)
    start = contract if measured is None else _next_version(contract, measured, parent, issued, evidence)
    paths = Paths(with_contract(instance, start))
    delays = {(link.from_, link.to): link.delay for link in instance.links or ()}
    factors, overloaded = [], False
    for entry in plan.tenants:
        series = audit.series.get(entry.id, audit if audit.name in ("all", entry.id) else None)
        if not entry.admitted or contract.subject not in entry.path or series is None:
            continue
        links = sum(delays.get((a, b), 0.0) for (a, _), (b, _) in pairwise(entry.hops()))
        levels = audited_levels(series, instance.slot, links)
        if levels:
            place, path, rates = entry.path.index(contract.subject), paths.entry(entry), paths.rates(entry)
            least = audited_levels(series, instance.slot, links, upper=False)
            if series.verdict in ("broken", "undecided") or scale_to_bound(path, rates, place, least) > 1:
                factors.append(scale_to_bound(path, rates, place, levels))
                more = (replayed or {}).get(series.name, 0.0)
                if 0 < more < math.inf:  # what no rate would have saved is no matter of rates
                    promised = [(path.deadline, math.exp(path.log_epsilon))]
                    factors.append(scale_to_bound(path, rates * (1 + more), place, promised))
                overloaded |= max(tail for _, tail in levels) > 0.5
            else:
                factors.append(1.0)
    if not factors:
        raise AuditError(f"no audited tenant with bounded quantiles crosses {contract.subject}")
    factor = max(factors)
    if not math.isfinite(factor):
        raise AuditError(
            f"no factor up to {METHOD.largest_factor:g} makes the guarantee bound the audit of "
            f"{contract.subject}"
        )
    if factor == 1.0 and measured is None:
        return Recalibration(1.0, None, ())
    table = scaled_table(start.impairment, instance.slot, factor)
    following = _next_version(contract, table, parent, issued, evidence)
    return Recalibration(factor, following, tuple(effects(plan, signed, following)), overloaded)


def headroom(time: np.ndarray, delay: np.ndarray, deadline: float, epsilon: float) -> float:
    """By what share the rates of a path had to be raised for at most ε of these very requests to be late.

    Parameters
    ----------
    time, delay
        When requests came, ascending, and their delays in the same unit, shape (n,). Those that did not come
        back tell nothing and are left out.

    Returns
    -------
    float
        0 where none is needed; +inf where 16 times more does not suffice.

    Notes
    -----
    The path is taken for one queue in order of arrival. Its delays D above the least one are the work W
    present, in units of time at the present rate, so that X = W_i − (W_{i−1} − Δt)₊ came between two
    requests. At rates 1 + x times as high the same work leaves V_i = (V_{i−1} − (1 + x)Δt)₊ + X, a delay of
    V/(1 + x). Work with priority that came while a request waited is part of its delay, so that X is
    overstated rather than understated. What is returned rests on the requests seen, not on a confidence.
    """
    known = np.isfinite(delay) & np.isfinite(time)
    time, delay = np.asarray(time, float)[known], np.asarray(delay, float)[known]
    if time.size == 0:
        return 0.0
    fixed = float(delay.min())
    work, gap = delay - fixed, np.diff(time, prepend=time[0])
    came = work - np.maximum(np.concatenate([[0.0], work[:-1]]) - gap, 0.0)
    before = np.concatenate([[0.0], came[:-1]])

    def enough(more: float) -> bool:
        walk = np.cumsum(before - (1 + more) * gap)
        left = walk - np.minimum.accumulate(np.minimum(walk, 0.0)) + came
        return float(np.mean(left > (1 + more) * (deadline - fixed))) <= epsilon

    if enough(0.0):
        return 0.0
    low, high = 0.0, 0.02
    while not enough(high):
        if high >= METHOD.largest_headroom:
            return math.inf
        low, high = high, 2 * high
    while high - low > METHOD.accuracy * (1 + high):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def replay(telemetry: Telemetry, promises: Mapping[str, Promise]) -> dict[str, float]:
    """What `headroom` says of each promised series of a record; none where its requests have no times.

    Times and delays of unknown units are taken to be in the same one. Raises TelemetryError.
    """
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for chunk in telemetry.chunks():
        if chunk.time is None:
            return {}
        labels = np.full(chunk.value.size, "all", dtype=object) if chunk.label is None else chunk.label
        for label in dict.fromkeys(labels.tolist()):
            mask = labels == label
            parts.setdefault(label, []).append((chunk.time[mask], chunk.value[mask]))
    factor = 1.0
    if telemetry.time_unit is not None and telemetry.unit is not None:
        factor = SECONDS[telemetry.time_unit] / SECONDS[telemetry.unit]
    found = {}
    for label, chunks in parts.items():
        if label in promises:
            time, delay = (np.concatenate(column) for column in zip(*chunks, strict=True))
            order = np.argsort(time, kind="stable")
            promise = promises[label]
            found[label] = headroom(time[order] * factor, delay[order], promise.deadline, promise.epsilon)
    return found


def audited_levels(
    audit: Audit, slot: float, delays: float = 0.0, upper: bool = True
) -> list[tuple[float, float]]:
    """(level in slots, tail probability) that a guarantee must bound, by the upper ends of the audit's
    intervals (by the lower ones: what refutes a guarantee that does not).

    Of a promise: P(late) at its deadline, and the quantile that it promised; without one every quantile.
    delays: link delays in units of time, taken off as the calculus does. Quantiles without an upper end bound
    nothing and are left out.
    """
    levels, end = [], 1 if upper else 0
    promised = None if audit.promise is None else 1 - audit.promise.epsilon
    if audit.promise is not None and audit.violation is not None:
        levels.append(((audit.promise.deadline - delays) / slot, audit.violation.interval[end]))
    for name, row in audit.quantiles.items():
        high = row.interval[end]
        if high is not None and (promised is None or math.isclose(float(name), promised, rel_tol=1e-9)):
            levels.append(((high - delays) / slot, 1 - float(name)))
    return levels


def scale_to_bound(
    path: Path, rates: np.ndarray, domain: int, levels: Sequence[tuple[float, float]]
) -> float:
    """The least factor ≥ 1 of one domain's impairment with which the bound at every level is at least its
    tail.

    path, rates: the reservation in slots; domain: position on the path. Rounded up by at most a thousandth;
    +inf where no factor up to 64 suffices.
    """

    def enough(factor: float) -> bool:
        impairments = list(path.impairments)
        impairments[domain] = Scaled(impairments[domain], factor)
        changed = replace(path, impairments=tuple(impairments))
        return all(
            level <= 0
            or tail <= 0
            or minplus.evaluate(replace(changed, deadline=level), rates).log_bound
            >= math.log(min(tail, 0.999))
            for level, tail in levels
        )

    if enough(1.0):
        return 1.0
    low, high = 1.0, 1.1
    while not enough(high):
        if high >= METHOD.largest_factor:
            return math.inf
        low, high = high, min(1.0 + 2 * (high - 1.0), METHOD.largest_factor)
    while high - low > METHOD.accuracy * low:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def scaled_table(document: Any, slot: float, factor: float) -> TableImpairment:
    """The scaled impairment of an instance as a table that can be signed.

    A table keeps its points; a parametric model is tabulated at 48 tilts up to 95 % of its domain (at most 20
    over its mean), which is sound because log-moments are convex in θ.
    """
    base = build(document, slot)
    if isinstance(document, TableImpairment):
        grid = np.array(document.theta)
    else:
        top = min(0.95 * float(base.theta_max), 20.0 / max(float(base.mean), 1e-9))
        grid = np.geomspace(top / 200, top, METHOD.table_points)
    rate = np.asarray(base.log_rate(grid)) / grid
    burst = np.where(grid > 0, np.asarray(base.log_burst(np.abs(grid))) / np.abs(grid), 0.0)
    return TableImpairment(
        theta=tuple((grid / factor).tolist()),
        kappa=tuple((factor * np.maximum(rate, 0.0) / slot).tolist()),
        eta=tuple((factor * np.maximum(burst, 0.0)).tolist()),
        monotone=bool(getattr(base, "monotone", False)),
        independent_increments=bool(getattr(base, "iid", False)),
    )


def effects(plan: Plan, instance: Instance, contract: Contract) -> list[Effect]:
    """What a new contract does to every entry of a plan that crosses its domain, at the rates reserved."""
    before, after = Paths(instance), Paths(with_contract(instance, contract))
    found = []
    for entry in plan.tenants:
        if entry.admitted and contract.subject in entry.path:
            rates = before.rates(entry)
            old, new = before.entry(entry), after.entry(entry)
            before_bound, after_bound = (minplus.evaluate(path, rates).log_bound for path in (old, new))
            found.append(Effect(entry.id, before_bound, after_bound, old.log_epsilon))
    return found


def _next_version(
    contract: Contract, impairment: TableImpairment, parent: str, issued: str, evidence: Evidence
) -> Contract:
    """The next version of a contract with another impairment, unsigned; it ends when the current one does."""
    return contract_of(
        contract.to_dict()
        | {
            "version": contract.version + 1,
            "parent": parent,
            "issued": issued,
            "valid_from": issued,
            "evidence": evidence.model_dump(),
            "impairment": impairment,
        }
    )
