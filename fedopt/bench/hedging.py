"""Progressive hedging, as the package mpi-sppy has it, on the relaxation of a federated plan.

Two scenarios share the loads: the broker's flows over the columns that a run of ADMM found, and the domains.
Hedging then is ADMM with one proximal term for each load and no over-relaxation. A round counts until the
same certificate as ours, from the same sums over the domains, is met. Its subproblems are solved by HiGHS
through Pyomo; seconds are those of the hedging alone.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fedopt.federated.bounds import BoundTracker
from fedopt.federated.domain import PrivateDomain
from fedopt.federated.flows import Flows, Start, start_from
from fedopt.federated.operator import InProcess
from fedopt.federated.public import by_operator, public_view
from fedopt.federated.rounds import Run, Sharing, relax
from fedopt.federated.session import Round, Session, Totals
from fedopt.federated.settings import Settings
from fedopt.federated.solver import operators_of
from fedopt.instance import Linear, Piecewise, Quadratic
from fedopt.pricing import Network, Oracle, sizing_for

if TYPE_CHECKING:
    from fedopt.instance import Instance

__all__ = ["RHO", "Hedged", "available", "hedged"]

Floats = npt.NDArray[np.float64]
RHO = {"mpi-sppy": "price", "mpi-sppy, one rho": "one"}
"""Variants: rho of a load in proportion to its price over its mean load, as our first penalty is; or the mean
of these for all loads."""


@dataclass(frozen=True)
class Hedged:
    """Rounds until the relaxation was certified to the gap (None: not within the limit); their seconds."""

    rounds: int | None
    seconds: float
    gap: float | None


def available() -> bool:
    """Whether mpi-sppy is installed."""
    return find_spec("mpisppy") is not None


def hedged(instance: Instance, rho: str, gap: float, most: int, time_limit: float) -> Hedged:
    """Rounds of progressive hedging on an instance's relaxation; rho: "price" or "one"."""
    flows, start = _columns(instance, gap)
    problem = _Problem(instance, flows)
    penalties = start.penalties if rho == "price" else np.full(flows.offers, start.penalties.mean())
    certified = _Certified(problem, gap)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        _hedge(problem, penalties, certified, most, time_limit)
    reached = float(certified.evidence.gap)
    return Hedged(certified.rounds, certified.seconds(), reached if math.isfinite(reached) else None)


def _columns(instance: Instance, gap: float) -> tuple[Flows, Start]:
    """The columns that a run of ADMM needs for the gap, and its start."""
    settings = Settings(alone=True)
    network = Network(public_view(instance))
    flows = Flows(network, Oracle(network, sizing_for("minplus", network)), False)
    at = {name: o for o, name in enumerate(network.names)}
    offers = {
        name: np.array([at[f"{d.id}/{o.id}"] for d in domains for o in d.offers])
        for name, domains in by_operator(instance, True).items()
    }
    session = Session(InProcess(operators_of(instance, settings)), "hedging", network.names, offers)
    start = start_from(flows, session.open(instance.sha256), settings)
    evidence = BoundTracker(flows, session.groups)
    run = Run(time.perf_counter(), math.inf, None)
    relax(Sharing(flows, start, settings), session, evidence, run, gap, settings.most_rounds)
    return flows, start


@dataclass(eq=False)
class _Problem:
    """The relaxation over the columns at hand: flows on the one side, domains on the other."""

    instance: Instance
    flows: Flows
    domains: list[PrivateDomain] = field(init=False)
    parts: list[slice] = field(init=False)

    def __post_init__(self) -> None:
        self.domains = [PrivateDomain(domain) for domain in self.instance.domains]
        ends = np.cumsum([len(domain.offers) for domain in self.instance.domains])
        self.parts = [
            slice(int(end) - len(d.offers), int(end))
            for end, d in zip(ends, self.instance.domains, strict=True)
        ]

    def scenario(self, name: str) -> Any:
        """The Pyomo model of one side; its objective is twice its cost, as its probability is a half."""
        import pyomo.environ as pyo
        from mpisppy.utils import sputils

        flows, offers = self.flows, range(self.flows.offers)
        heaviest = float(
            flows.counts
            @ np.array([flows.matrix[:, flows.kind == k].max() for k in range(len(flows.counts))])
        )
        model = pyo.ConcreteModel(name)
        model.loads = pyo.Var(offers, bounds=(0.0, heaviest))
        if name == "broker":
            columns = range(len(flows.columns))
            model.units = pyo.Var(columns, within=pyo.NonNegativeReals)
            owned = [np.flatnonzero(flows.kind == k).tolist() for k in range(len(flows.counts))]
            model.served = pyo.Constraint(
                range(len(owned)),
                rule=lambda m, k: sum(m.units[j] for j in owned[k]) == float(flows.counts[k]),
            )
            rows = flows.matrix.tocsr()

            def carried(m: Any, o: int) -> Any:
                row = rows[o]
                return m.loads[o] == sum(
                    float(v) * m.units[int(j)] for j, v in zip(row.indices, row.data, strict=True)
                )

            model.carried = pyo.Constraint(offers, rule=carried)
            cost = sum(float(flows.charge[j]) * model.units[j] for j in columns)
        else:
            model.lines = pyo.ConstraintList()
            cost = sum(self._domain(model, d) for d in range(len(self.domains)))
        model.cost = pyo.Expression(expr=2.0 * cost)
        model.objective = pyo.Objective(expr=model.cost)
        sputils.attach_root_node(model, model.cost, [model.loads])
        model._mpisppy_probability = 0.5
        return model

    def _domain(self, model: Any, d: int) -> Any:
        """A domain's cost of its loads; its capacity goes into the model."""
        import pyomo.environ as pyo

        domain, part = self.domains[d], self.parts[d]
        mine = range(part.start, part.stop)
        model.lines.add(
            sum(float(w) * model.loads[o] for w, o in zip(domain.factor, mine, strict=True))
            <= domain.capacity
        )
        cost: Any = 0.0
        for o, curve in zip(mine, domain.curves, strict=True):
            load = model.loads[o]
            if isinstance(curve, Linear):
                cost += curve.rate * load
            elif isinstance(curve, Quadratic):
                cost += curve.rate * load + curve.quad * load**2
            elif isinstance(curve, Piecewise):
                paid = pyo.Var(within=pyo.NonNegativeReals)
                model.add_component(f"paid_{o}", paid)
                for (rate, value), slope in zip(curve.points, curve.slopes, strict=False):
                    model.lines.add(paid >= slope * (load - rate) + (value - curve.fixed))
                cost += paid
            else:
                raise TypeError(f"a {type(curve).__name__} cost has no form in this program")
        return cost

    def answer(self, loads: Floats, prices: Floats, proposed: Floats) -> Round:
        """What our operators would say of loads at prices and of loads proposed, as sums."""
        pairs = list(zip(self.domains, self.parts, strict=True))
        support = math.fsum(domain.support(prices[part]) for domain, part in pairs)
        fits = all(math.isfinite(domain.cost(proposed[part])) for domain, part in pairs)
        totals = Totals(
            support,
            math.fsum(domain.cost(loads[part]) for domain, part in pairs),
            math.fsum(domain.cost(proposed[part]) for domain, part in pairs) if fits else 0.0,
            fits,
        )
        return Round(loads, prices, np.ones(len(loads), dtype=bool), {0: totals})


class _Certified:
    """Takes every round's answers until the relaxation is certified to the gap."""

    def __init__(self, problem: _Problem, gap: float) -> None:
        self.problem, self.gap = problem, gap
        self.evidence = BoundTracker(problem.flows, [np.arange(problem.flows.offers)])
        self.rounds: int | None = None
        self._seen, self._begun, self._ended, self._aside = 0, time.perf_counter(), 0.0, 0.0

    def seconds(self) -> float:
        """Time of the hedging, without that of the certificate."""
        return self._ended - self._begun - self._aside

    def reached(self, loads: Floats, prices: Floats, proposed: Floats) -> bool:
        """Note a round."""
        began = time.perf_counter()
        self._seen += 1
        self.evidence.take(proposed, self.problem.answer(loads, prices, proposed))
        if self.evidence.bound(self.gap) <= self.gap:
            self.rounds = self._seen
        self._ended = time.perf_counter()
        self._aside += self._ended - began
        return self.rounds is not None


def _hedge(problem: _Problem, rho: Floats, certified: _Certified, most: int, time_limit: float) -> None:
    from mpisppy.extensions.extension import Extension
    from mpisppy.opt.ph import PH

    class Watch(Extension):
        """Reads loads and prices off the scenarios after every round."""

        def enditer(self) -> None:
            sides = {}
            for name, scenario in self.opt.local_scenarios.items():
                own = scenario._mpisppy_model
                at = [("ROOT", o) for o in range(problem.flows.offers)]
                loads = np.array([scenario.loads[o].value for o in range(problem.flows.offers)])
                slopes = [
                    float(own.W[i].value) + float(own.rho[i].value) * (load - float(own.xbars[i].value))
                    for i, load in zip(at, loads, strict=True)
                ]
                sides[name] = np.maximum(loads, 0.0), np.array(slopes)
            loads, pull = sides["domains"]
            if certified.reached(loads, np.maximum(-0.5 * pull, 0.0), sides["broker"][0]):
                self.opt.options["time_limit"] = 0.0  # asked before the next round

        def pre_iter0(self) -> None: ...

        def post_iter0(self) -> None: ...

        def post_iter0_after_sync(self) -> None: ...

        def miditer(self) -> None: ...

        def enditer_after_sync(self) -> None: ...

        def post_everything(self) -> None: ...

    options = {
        "solver_name": "highs",
        "PHIterLimit": most,
        "defaultPHrho": 1.0,
        "convthresh": -1.0,
        "verbose": False,
        "display_progress": False,
        "display_timing": False,
        "display_convergence_detail": False,
        "smoothed": 0,
        "iter0_solver_options": {},
        "iterk_solver_options": {},
        "time_limit": time_limit,
    }
    PH(
        options,
        ["broker", "domains"],
        lambda name, **_: problem.scenario(name),
        rho_setter=lambda model: [(id(model.loads[o]), 2.0 * float(r)) for o, r in enumerate(rho)],
        extensions=Watch,
    ).ph_main(finalize=False)
