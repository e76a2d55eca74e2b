"""The method "consensus": ADMM on every tenant's rate in every domain, with a best-path projection.

What Algorithm 1 looks like where it is written down per tenant: domains own copies R of all rates, the broker
copies z that must keep every unit's guarantee on one path, and y pulls the two together.

    domain step   R ← argmin Σ_o v_o(Σ_u R_uo) + ρ/2 ‖R − z + y‖²  within the capacity
    broker step   z_u ← the best of all paths: charge + ρ/2 ‖z_u − R_u − y_u‖², z_u ≥ what the path needs
    dual step     y ← y + R − z

The set of the broker step is a union over paths, so nothing is proven of where this ends. It is here for
comparison: once paths stop changing, R and z agree to rounding while the cost may be far from the least.
Residuals certify nothing, and the plan states no bound.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fedopt.central.report import domain_plans, instance_reference, tenant_plans
from fedopt.federated.domain import ROOM
from fedopt.federated.settings import SettingsError
from fedopt.kernels import clock
from fedopt.plan import HistoryRow, Plan, TenantPlans
from fedopt.pricing import Column, Network, Oracle, sizing_for

if TYPE_CHECKING:
    from fedopt.instance import Instance
    from fedopt.plan.progress import Progress

__all__ = ["solve"]

Floats = npt.NDArray[np.float64]
_MOST = 2_000_000  # columns of units, all paths listed
_HALVINGS = 60
_ROUNDS = 300
_STILL = 1e-12  # a relative primal residual at which nothing moves any more


def solve(
    instance: Instance,
    *,
    guarantee: str = "minplus",
    objective: str = "cost",
    gap: float = 1e-3,
    time_limit: float | None = None,
    warm_start: Plan | None = None,
    progress: Progress | None = None,
    penalty: float = 1.0,
    most_rounds: int = _ROUNDS,
) -> Plan:
    """Plan an instance by per-tenant consensus; for comparison (see above).

    `penalty` is in the mean price per mean rate of a unit. `gap` counts for nothing: there is no bound to
    stop at. Every admissible path of every tenant is listed, which only small networks allow. Raises
    SettingsError for the objective "profit", a guarantee without a finite catalogue, and too many paths.
    """
    started = clock()
    if objective != "cost" or warm_start is not None:
        raise SettingsError("the method consensus serves all at least cost and starts from nothing")
    network = Network(instance)
    sizing = sizing_for(guarantee, network)
    if not sizing.points:
        raise SettingsError(f"the method consensus needs a finite catalogue, which {guarantee!r} has not")
    about: dict[str, Any] = {
        "instance": instance_reference(network),
        "method": "consensus",
        "guarantee": guarantee,
        "objective": objective,
    }
    columns = _all_columns(network, Oracle(network, sizing))
    if not all(columns):
        return Plan(**about, status="limit", notes=["A tenant has no path that keeps its promise."])
    run = _Consensus(network, columns, penalty)
    history: list[HistoryRow] = []
    for number in range(1, most_rounds + 1):
        primal, dual = run.round()
        row = HistoryRow(
            round=number,
            primal_residual=primal,
            dual_residual=dual,
            seconds=clock() - started,
        )
        history.append(row)
        late = time_limit is not None and row.seconds >= time_limit
        if late or (progress is not None and progress(row)) or max(primal, dual) < _STILL:
            break
    rounds = len(history)
    about["history"] = history
    about["ledger"] = {"totals": {"rounds": rounds, "numbers": 3 * run.rates.size * rounds}}
    about["timing"] = {"total": clock() - started}
    about["notes"] = [
        f"Broker and domains agree to {history[-1].primal_residual:.1e} after {rounds} rounds. That says "
        "nothing of the cost: this method has no bound."
    ]
    chosen, units = run.chosen()
    entries = tenant_plans(network, chosen, units)
    domains = domain_plans(network, entries, None)
    if any(domain.reserved > domain.capacity * (1.0 + ROOM) for domain in domains):
        return Plan(**about, status="limit")
    cost = math.fsum(entry.cost or 0.0 for entry in entries)
    return Plan(**about, status="feasible", cost=cost, tenants=TenantPlans(entries), domains=domains)


def _all_columns(network: Network, oracle: Oracle) -> list[list[Column]]:
    """Every point of the catalogue of every path, by kind. Raises SettingsError where they are too many."""
    listed = sum(len(network.paths(kind)) * kind.count for kind in network.kinds)
    if listed > _MOST:
        raise SettingsError(f"the method consensus lists all paths of all tenants; {listed} are too many")
    found: list[list[Column]] = [[] for _ in network.kinds]
    nothing = np.zeros(len(network.names))
    for column in oracle.within_all(nothing, np.full(len(network.kinds), 1e300)):
        found[column.kind].append(column)
    return found


class _Consensus:
    """Rates of units (rows) on offers (columns), work per unit of time: the domains', the broker's, and the
    scaled prices of their difference."""

    def __init__(self, network: Network, columns: list[list[Column]], penalty: float) -> None:
        self.network, self._columns = network, columns
        self._kinds = np.repeat(np.arange(len(columns)), [kind.count for kind in network.kinds])
        shape = (len(self._kinds), len(network.names))
        self.rates, self.wanted, self.prices = np.zeros((3, *shape))
        self.choice = np.zeros(len(self._kinds), dtype=np.int64)
        marginal = np.array([float(curve.marginal(0.0)) for curve in network.curves])
        mean = np.mean([column.rates.mean() for own in columns for column in own]) / network.slot
        self._rho = penalty * max(float(marginal.mean()), 1e-9) / max(float(mean), 1e-12)
        self._needs = [
            (
                np.array([column.offers for column in own]),
                np.array([column.rates for column in own]) / network.slot,
                np.array([column.charge for column in own]),
            )
            for own in columns
        ]
        self._capacity = np.array([domain.capacity for domain in network.instance.domains])
        for unit, own in enumerate(columns[kind] for kind in self._kinds):  # the cheapest as listed
            best = int(np.argmin([c.charge + marginal[c.offers] @ c.rates / network.slot for c in own]))
            self.choice[unit] = best
            self.wanted[unit, own[best].offers] = own[best].rates / network.slot

    def round(self) -> tuple[float, float]:
        """All three steps; relative primal and dual residuals."""
        before = self.wanted
        self.rates = self._domains(self.wanted - self.prices)
        self.wanted = self._broker(self.rates + self.prices)
        self.prices = self.prices + self.rates - self.wanted
        size = max(float(np.linalg.norm(self.wanted)), 1e-300)
        primal = float(np.linalg.norm(self.rates - self.wanted)) / size
        return primal, float(np.linalg.norm(self.wanted - before)) / size

    def chosen(self) -> tuple[list[Column], Floats]:
        """The columns that the units ended on, and how many units on each."""
        counts: dict[tuple[int, int], int] = {}
        for kind, choice in zip(self._kinds.tolist(), self.choice.tolist(), strict=True):
            counts[kind, choice] = counts.get((kind, choice), 0) + 1
        columns = [self._columns[kind][choice] for kind, choice in counts]
        return columns, np.array(list(counts.values()), dtype=float)

    def _broker(self, near: Floats) -> Floats:
        """The rates nearest to `near` that keep every unit's guarantee on its best path."""
        wanted = np.zeros_like(near)
        for unit, kind in enumerate(self._kinds):
            offers, needs, charge = self._needs[kind]
            here = near[unit][offers]
            away = np.maximum(needs - here, 0.0) ** 2 - here**2
            best = int(np.argmin(charge + 0.5 * self._rho * away.sum(axis=1)))
            self.choice[unit] = best
            wanted[unit, offers[best]] = np.maximum(here[best], needs[best])
        return wanted

    def _domains(self, near: Floats) -> Floats:
        """Each domain's rates: its cost and the distance to `near`, within its capacity."""
        network = self.network
        rates = self._at(near, np.zeros(len(self._capacity)))
        over = self._work(rates) > self._capacity
        low, high = np.zeros(len(self._capacity)), np.zeros(len(self._capacity))
        dear = self._rho * np.abs(near).max(initial=0.0) / network.factor.min()
        high[over] = dear
        for _ in range(_HALVINGS if over.any() else 0):
            middle = 0.5 * (low + high)
            rates = self._at(near, middle)
            full = self._work(rates) > self._capacity
            low, high = np.where(full, middle, low), np.where(full, high, middle)
        return self._at(near, high) if over.any() else rates

    def _at(self, near: Floats, scarcity: Floats) -> Floats:
        """The domains' rates where a unit of a domain's work costs so much more, (domains,): R = (near −
        marginal/ρ)⁺ with the marginal cost at its own load, by bisection."""
        network = self.network
        extra = scarcity[network.domain] * network.factor
        low, high = np.zeros(near.shape[1]), np.maximum(self._rho * near.max(axis=0), 0.0)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            load = np.maximum(near - middle / self._rho, 0.0).sum(axis=0)
            asked = extra + [float(c.marginal(z)) for c, z in zip(network.curves, load, strict=True)]
            low, high = np.where(asked > middle, middle, low), np.where(asked > middle, high, middle)
        return np.maximum(near - high / self._rho, 0.0)

    def _work(self, rates: Floats) -> Floats:
        network = self.network
        work = network.factor * rates.sum(axis=0)
        return np.bincount(network.domain, work, len(self._capacity)).astype(float)
