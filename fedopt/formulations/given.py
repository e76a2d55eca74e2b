"""Paths that are data of a model: stated by the user, taken from a plan, or chosen by `path_selection`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from fedopt.formulations.errors import ModelError
from fedopt.formulations.files import load
from fedopt.formulations.program import Program, Route
from fedopt.plan.document import Explanation, Plan

__all__ = ["given_paths"]

STRETCHES = (1.0, 1.15, 1.5)
"""Overbooking tried in turn where the rates that paths are sized to do not fit the capacities: the model that
asks will choose rates anew, and knows whether they fit."""

Paths = Mapping[str, Sequence[Any]] | Plan | None


def given_paths(
    program: Program, paths: Paths, guarantee: str, objective: str
) -> tuple[list[tuple[Route, int]], list[Explanation]]:
    """(route, units) entries, and why there are none where `path_selection` finds no choice.

    `paths` is a plan, or for each tenant one path (a list of "domain/offer", for all its units) or a list of
    paths, one a unit; tenants left out are not admitted (objective "profit" only). None: `path_selection`
    chooses, with rates sized under the guarantee. Raises ModelError for a path that the tenant may not take.
    """
    if paths is None:
        model = load("path_selection")
        for stretch in STRETCHES:
            chosen = model.build(program.instance, guarantee=guarantee, objective=objective, stretch=stretch)
            model.solve(chosen)
            plan = model.extract(chosen)
            if plan.has_plan:
                return _of_plan(program, plan), []
        return [], list(plan.explanation)
    if isinstance(paths, Plan):
        return _of_plan(program, paths), []
    entries: list[tuple[Route, int]] = []
    for tenant in program.tenants:
        stated = paths.get(tenant.id)
        if not stated:
            if objective == "cost":
                raise ModelError(f"no path is given for tenant {tenant.id!r}, and all must be served")
            continue
        several = not isinstance(stated[0], str)
        units: dict[tuple[str, ...], int] = {}
        for hops in stated if several else [stated]:
            units[tuple(hops)] = units.get(tuple(hops), 0) + (1 if several else tenant.count)
        total = sum(units.values())
        if total > tenant.count or (objective == "cost" and total < tenant.count):
            raise ModelError(f"tenant {tenant.id!r} has {tenant.count} units, {total} paths are given")
        entries += [(_admitted(program, tenant.id, hops), count) for hops, count in units.items()]
    return entries, []


def _of_plan(program: Program, plan: Plan) -> list[tuple[Route, int]]:
    return [
        (_admitted(program, entry.id, tuple(entry.path)), entry.count)
        for entry in plan.tenants
        if entry.admitted and entry.count
    ]


def _admitted(program: Program, tenant: str, hops: tuple[str, ...]) -> Route:
    graph = program.graph(program.instance.tenant(tenant))
    layers = [graph.nodes[hop]["layer"] if hop in graph else None for hop in hops]
    joined = all(graph.has_edge(a, b) for a, b in pairwise(hops))
    if layers != list(range(len(program.stages))) or not joined:
        raise ModelError(f"{' → '.join(hops)} is not an admissible path of tenant {tenant!r}")
    return program.route(tenant, hops)
