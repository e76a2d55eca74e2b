"""A federated solve in one process: operators made from the instance, a broker on the public view alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fedopt.federated.negotiating import Method, Outcome, negotiate
from fedopt.federated.operator import InProcess, Operator, Transport
from fedopt.federated.public import by_operator, public_view
from fedopt.federated.report import as_broker, as_owner
from fedopt.federated.settings import Settings, SettingsError
from fedopt.plan.progress import Progress
from fedopt.pricing import Network

if TYPE_CHECKING:
    from fedopt.federated.problem import Build
    from fedopt.instance import Instance
    from fedopt.plan import Plan

__all__ = ["Outcome", "negotiate", "operators_of", "solve"]


def solve(
    instance: Instance,
    *,
    method: Method = "admm",
    guarantee: str = "minplus",
    objective: str = "cost",
    gap: float = 1e-3,
    time_limit: float | None = None,
    warm_start: Plan | None = None,
    progress: Progress | None = None,
    transport: Transport | None = None,
    problems: Mapping[str, Build] | None = None,
    **switches: Any,
) -> Plan:
    """Plan an instance by negotiation between a broker and its operators, all in this process.

    The broker works on the public view alone; under the split guarantee that view lacks the contracts too.
    `switches` are those of `Settings`. `transport` takes the place of the operators in this process.
    `problems` states the private problems of operators in cvxpy, by operator: functions that take the
    operator's domains and return a `PrivateProblem`; what an operator pays when nothing is carried is no part
    of the cost. Operators that are not named have what the instance says.

    Status and bounds are as the central method's; `ledger` holds what crossed each boundary and the interval
    of the relaxation by round. Raises SettingsError, and OperatorLost where an operator falls silent.
    """
    settings = _settings(switches)
    if transport is None:
        transport = InProcess(operators_of(instance, settings, problems))
    offers = {
        name: [f"{d.id}/{offer.id}" for d in mine for offer in d.offers]
        for name, mine in by_operator(instance, settings.alone).items()
    }
    outcome = negotiate(
        public_view(instance, contracts=guarantee != "split"),
        transport,
        offers=offers,
        method=method,
        guarantee=guarantee,
        objective=objective,
        gap=gap,
        time_limit=time_limit,
        warm_start=warm_start,
        progress=progress,
        settings=settings,
    )
    if problems:
        return as_broker(outcome, instance, sorted(problems))
    return as_owner(outcome, Network(instance, paid=objective == "profit"))


def operators_of(
    instance: Instance, settings: Settings | None = None, problems: Mapping[str, Build] | None = None
) -> dict[str, Operator]:
    """The operators of an instance as they stand in one process: by name, the same for the same settings.

    Raises ProblemError, and SettingsError for a problem of an operator that does not exist.
    """
    settings, problems = settings or Settings(), problems or {}
    owned = by_operator(instance, settings.alone)
    for name in problems:
        if name not in owned:
            raise SettingsError(f"there is no operator {name!r}; there are {', '.join(owned)}")
    if problems:
        from fedopt.federated.problem import stated
    return {
        name: Operator(
            name,
            domains,
            problem=stated(problems[name], domains) if name in problems else None,
            secret=_secret(settings, name),
            noise=settings.noise,
            seed=settings.seed,
            slot=float(instance.slot),
        )
        for name, domains in owned.items()
    }


def _secret(settings: Settings, name: str) -> bytes:
    """Of an operator in this process: chance where sums are masked; else the same every time, so that a run
    can be repeated, for there is nobody to hide from."""
    if settings.masked:
        from fedopt.federated.masking import generate_secret

        return generate_secret()
    return hashlib.sha512(f"{settings.seed} {name}".encode()).digest()


def _settings(switches: Mapping[str, Any]) -> Settings:
    known = Settings.__dataclass_fields__
    unknown = sorted(set(switches) - set(known))
    if unknown:
        raise SettingsError(f"there is no switch {unknown[0]!r}; there are {', '.join(known)}")
    return Settings(**switches)
