"""From the relaxation to a plan: whole units, proven optimal to the gap over the entire catalogue.

An exchange search and a program over the master's columns give a first plan.
A column whose reduced cost exceeds the distance between the Lagrangian bound and the plan at hand cannot be
part of a better plan.  The others are enumerated by the oracle and handed to HiGHS as one mixed-integer
program: its bound, and the cut-off used for the enumeration, bound every plan of the catalogue.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np

from fedopt.central.cuts import Cut, Knapsacks
from fedopt.central.generation import Relaxation
from fedopt.central.local_search import Catalogue, local_search
from fedopt.central.master import Master
from fedopt.central.run import Run
from fedopt.pricing import Abandoned, Column, Oracle

__all__ = ["Choice", "choose", "exchanged", "last_resort", "proven_plan", "rounded", "watch"]


@dataclass(frozen=True, eq=False)
class Choice:
    """Columns with their multiplicities, the cost, and what no choice among the candidates can be below."""

    columns: list[Column]
    units: np.ndarray
    cost: float
    bound: float


def choose(
    template: Master,
    columns: list[Column],
    gap: float,
    run: Run,
    *,
    seconds: float = math.inf,
    start: Choice | None = None,
    outside: float = -math.inf,
    cuts: Sequence[Cut] = (),
) -> Choice | None:
    """The cheapest whole multiplicities of given columns, to a relative gap; None if there are none (or
    none in time).

    Curved costs are kept below by tangents and refined until the plan's true cost is met, so the bound is
    valid.  While the search runs it reports through `run` once a second and stops when `run` says so;
    outside: what plans beyond these columns cost at least, so that the search's bound may count as the run's;
    cuts: inequalities that all whole multiplicities obey.
    """
    seconds = min(seconds if run.effort is None else math.inf, run.left())
    program = Master(template.network, template.profit, 0.0)
    program.adopt_tangents(template)
    program.add(columns)
    for cut in cuts:
        program.add_cut(cut.of(program.network, program.columns))
    lp = program.highs
    lp.setOptionValue("mip_rel_gap", 0.5 * gap)
    lp.setOptionValue("mip_abs_gap", 1e-9)
    lp.setOptionValue("mip_feasibility_tolerance", 1e-9)
    lp.setOptionValue("primal_feasibility_tolerance", 1e-9)
    lp.setOptionValue("time_limit", float(seconds))
    if run.effort is not None:
        lp.setOptionValue("mip_max_nodes", run.effort)
    program.make_integer()
    if start is not None:
        program.suggest(start.columns, start.units)
    watch(lp, run, len(columns), outside)
    bound, tightened = -math.inf, False
    if cuts:
        lp.setOptionValue("mip_heuristic_effort", run.settings.heuristic_effort)
    while True:
        lp.run()
        status = lp.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            return Choice([], np.zeros(0), math.inf, math.inf)
        info = lp.getInfo()
        if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None
        values = np.array(lp.getSolution().col_value)
        units = np.round(values[program.first_column :])
        proven = float(info.mip_dual_bound)
        bound = min(bound, proven) if tightened else proven  # a tightened program bounds only itself
        cost = program.cost(units)
        if program.overloaded(units):
            program.tighten()
            tightened = True
            lp.cbMipInterrupt.clear()
            watch(lp, run, len(columns))  # its bound no longer counts as the run's
        elif cost - float(info.objective_function_value) <= 0.1 * gap * abs(cost) or not program.refine(
            values
        ):
            used = np.flatnonzero(units > 0.5)
            return Choice([program.columns[j] for j in used], units[used], cost, bound)
        if lp.getRunTime() > seconds or run.expired():
            used = np.flatnonzero(units > 0.5)
            return Choice([program.columns[j] for j in used], units[used], cost, bound)


def watch(lp: highspy.Highs, run: Run, columns: int, outside: float = -math.inf) -> None:
    """Let a mixed-integer search report once a second and stop when the run is over."""
    last = time.perf_counter()

    def look(event: Any) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= 1.0:
            last = now
            bound = min(float(event.data_out.mip_dual_bound), outside)
            if math.isfinite(bound):
                run.lower_bound = max(run.lower_bound, bound)
            run.record(columns)
        if run.expired():
            event.data_in.user_interrupt = 1

    lp.cbMipInterrupt += look


def proven_plan(
    master: Master, oracle: Oracle, relaxation: Relaxation, run: Run, gap: float
) -> Choice | None:
    """A plan and its bound over the whole catalogue: first from the master's columns, then by reduced-cost
    enumeration.

    Returns None where no plan was found in time, and a choice of infinite cost where there is none at all.
    """
    best = _nearby(master, oracle, relaxation, run, gap)
    if best is None or best.cost - run.lower_bound > gap * abs(best.cost):
        start = best
        best = choose(master, master.columns, gap, run, seconds=20.0 if start is None else 5.0, start=start)
        if start is not None and (best is None or start.cost < best.cost):
            best = start
    if best is not None and not best.columns and not math.isfinite(best.cost):
        best = None
    slack = 0.02
    while True:
        if best is not None:
            run.cost = min(run.cost, best.cost)
            run.record(len(master.columns))
            if best.cost - run.lower_bound <= gap * abs(best.cost) or run.expired():
                return Choice(best.columns, best.units, best.cost, run.lower_bound)
            cutoff = best.cost - 0.5 * gap * abs(best.cost)
        else:
            reach = slack * max(abs(run.lower_bound), 1.0)
            cutoff = run.lower_bound + reach if slack < 100.0 else math.inf  # in the end, everything
            slack *= 8.0
        complete = math.isinf(cutoff)
        candidates = _candidates(master, oracle, relaxation, cutoff - relaxation.bound, run)
        if candidates is None:
            return best if best is None else Choice(best.columns, best.units, best.cost, run.lower_bound)
        swapped = exchanged(master, candidates, relaxation, run, gap, 5.0, best)
        if swapped is not None and (best is None or swapped.cost < best.cost):
            best, complete = swapped, False
            run.cost = min(run.cost, best.cost)
            cutoff = min(cutoff, best.cost - 0.5 * gap * abs(best.cost))
            candidates = _below(master, candidates, relaxation, cutoff - relaxation.bound)
        found = _best_of(master, candidates, cutoff, complete, best, gap, run)
        if found is None:
            return best if best is None else Choice(best.columns, best.units, best.cost, run.lower_bound)
        run.lower_bound = max(run.lower_bound, found.bound)
        if found.columns:
            run.cost = min(run.cost, found.cost)
            run.record(len(candidates))
            return Choice(found.columns, found.units, found.cost, min(run.lower_bound, found.cost))
        if complete:
            return found  # every column listed, no plan: infeasible
        if run.expired():
            return None


def _best_of(
    master: Master,
    candidates: list[Column],
    cutoff: float,
    complete: bool,
    best: Choice | None,
    gap: float,
    run: Run,
) -> Choice | None:
    """The best choice of candidates, or the one at hand; its bound holds for every plan there is.

    Plans outside the candidates cost at least the cut-off, unless the candidates are complete. Cuts and
    mixed-integer searches take turns: a better choice lets the cuts leave out more columns, and a search over
    fewer columns finds better choices. Without columns: there is no plan below the bound. None: neither is
    known in time.
    """
    knapsacks, seconds, lower = Knapsacks(master, candidates), run.settings.first_search, -math.inf
    while True:
        outside = math.inf if complete else cutoff
        cut = knapsacks.strengthen(cutoff, run)
        lower = max(lower, min(cut.bound, outside))
        if lower >= outside:
            break
        found, ended = None, False
        if best is not None:  # among those of small reduced cost alone: a better choice, but no bound
            likely = np.flatnonzero(cut.reduced <= run.settings.likely * (cutoff - cut.bound))
            columns = [cut.columns[j] for j in likely]
            found = choose(
                master, columns, gap, run, seconds=run.settings.first_search, start=best, cuts=cut.cuts
            )
        improved = _clearly_better(found, best, gap)
        if not improved:
            begun = time.perf_counter()
            found = choose(
                master, cut.columns, gap, run, seconds=seconds, start=best, outside=outside, cuts=cut.cuts
            )
            ended = run.effort is not None or time.perf_counter() - begun < 0.9 * seconds
            lower = max(lower, min(found.bound, outside)) if found is not None else lower
            improved = _clearly_better(found, best, gap)
            seconds *= 3.0
        if found is not None and found.columns and (best is None or found.cost < best.cost):
            best = found
            run.cost = min(run.cost, best.cost)
            cutoff, complete = min(cutoff, best.cost - 0.5 * gap * abs(best.cost)), False
        proven = best is not None and best.cost - max(lower, run.lower_bound) <= gap * abs(best.cost)
        if proven or run.expired() or (ended and not improved):
            break
    if best is not None:
        return Choice(best.columns, best.units, best.cost, lower)
    return Choice([], np.zeros(0), math.inf, lower) if lower >= outside else None


def _clearly_better(found: Choice | None, best: Choice | None, gap: float) -> bool:
    if found is None or not found.columns:
        return False
    return best is None or found.cost < best.cost - 0.1 * gap * abs(best.cost)


def _nearby(master: Master, oracle: Oracle, relaxation: Relaxation, run: Run, gap: float) -> Choice | None:
    """A first plan by exchange: from the relaxation's own columns, then also from those whose reduced cost is
    small, ever more of them until the gap is met; None where none is found, or units are too many for it."""
    best = None
    units = sum(kind.count for kind in master.network.kinds)
    if units > run.settings.local_search_units:
        return None
    if not oracle.large:  # paths are few: the relaxation's columns may do
        best = exchanged(master, master.columns, relaxation, run, gap, 1.0, rounded(master, relaxation))
    room = run.settings.near * min(gap, run.settings.near_gap) * abs(relaxation.bound) / units
    for _ in range(run.settings.near_rounds):
        if run.expired() or (best is not None and best.cost - run.lower_bound <= gap * abs(best.cost)):
            break
        near = _candidates(master, oracle, relaxation, room, run)
        if near is None:
            break
        # from the relaxation again, not from the best one: that is where fewer columns got stuck
        start = rounded(master, relaxation)
        found = exchanged(master, [*master.columns, *near], relaxation, run, gap, 2.0, start)
        if found is not None and (best is None or found.cost < best.cost):
            best = found
            run.cost = min(run.cost, best.cost)
            run.record(len(near))
        if len(near) > run.settings.near_columns:
            break
        room *= run.settings.near_growth
    return best


def last_resort(master: Master, relaxation: Relaxation, run: Run, gap: float) -> Choice | None:
    """A plan of the columns at hand, for a run that is over and has none; None if they allow none."""
    grace = run.grace()
    more = run.extended(grace)
    found = exchanged(master, master.columns, relaxation, more, gap, grace, rounded(master, relaxation))
    if found is None:
        found = choose(master, master.columns, gap, run.extended(grace), seconds=grace)
    if found is None or not math.isfinite(found.cost):
        return None
    run.cost = found.cost
    return Choice(found.columns, found.units, found.cost, min(run.lower_bound, found.cost))


def rounded(master: Master, relaxation: Relaxation) -> Choice:
    """Whole units near the relaxation's: largest remainders go up; capacities may be exceeded."""
    x = relaxation.solution.x
    whole = np.floor(x + 1e-9)
    columns = [master.columns[j] for j in range(len(x))]
    kinds = np.array([column.kind for column in columns], dtype=np.int64)
    for kind in master.network.kinds:
        own = np.flatnonzero(kinds == kind.index)
        served = min(round(float(x[own].sum())), kind.count)
        missing = int(served - whole[own].sum())
        for j in own[np.argsort(-(x[own] - whole[own]), kind="stable")][: max(missing, 0)]:
            whole[j] += 1.0
    used = np.flatnonzero(whole > 0.5)
    return Choice([columns[j] for j in used], whole[used], math.inf, -math.inf)


def exchanged(
    master: Master,
    columns: list[Column],
    relaxation: Relaxation,
    run: Run,
    gap: float,
    seconds: float,
    start: Choice | None,
) -> Choice | None:
    """The best choice the exchange search finds, without a bound of its own; None where it finds none or
    there are too many units for it."""
    network = master.network
    if sum(kind.count for kind in network.kinds) > run.settings.local_search_units:
        return None
    bounded = math.isfinite(run.lower_bound)
    enough = run.lower_bound + 0.8 * gap * abs(run.lower_bound) if bounded else -math.inf
    found = local_search(
        Catalogue(network, columns),
        relaxation.duals.prices(network),
        master.overflow_price,
        master.profit,
        run,
        min(seconds, run.left()),
        start=None if start is None else (start.columns, start.units),
        enough=enough,
    )
    if found is None:
        return None
    plan = Master(network, master.profit, 0.0)
    plan.columns, units = found
    return None if plan.overloaded(units) else Choice(plan.columns, units, plan.cost(units), -math.inf)


def _below(master: Master, columns: list[Column], relaxation: Relaxation, room: float) -> list[Column]:
    """The columns whose reduced cost at the relaxation's duals is below `room`."""
    prices = relaxation.duals.prices(master.network)
    least = relaxation.least
    if master.profit:
        least = np.minimum(least, [kind.payment for kind in master.network.kinds])
    return [column for column in columns if column.cost(prices) < least[column.kind] + room]


def _candidates(
    master: Master, oracle: Oracle, relaxation: Relaxation, room: float, run: Run
) -> list[Column] | None:
    """All columns whose reduced cost at the relaxation's duals is below `room`; None if too many to list, or
    not listed in time."""
    base = relaxation.least
    if master.profit:  # not serving costs nothing: the reduced cost of a unit is against that
        base = np.minimum(base, [kind.payment for kind in oracle.network.kinds])
    prices = relaxation.duals.prices(oracle.network)
    try:
        return oracle.within_all(prices, base + room, run.settings.enumerated_columns, run.expired)
    except Abandoned:
        return None
