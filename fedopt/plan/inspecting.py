"""What a file holds, in words and a small picture."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fedopt.instance.impairments import LearnedImpairment
from fedopt.plan.document import Plan
from fedopt.plan.summary import headline, summarize

if TYPE_CHECKING:
    from fedopt.instance import Domain, Instance

ROWS_SHOWN = 20


@dataclass(frozen=True)
class Inspection:
    """What a file holds: its kind, the facts as plain data, and the same for people."""

    kind: str
    facts: dict[str, Any]
    text: RenderableType

    def to_dict(self) -> dict[str, Any]:
        """Kind and facts."""
        return {"kind": self.kind, **self.facts}


def inspect(path: str | Path, rows: int = ROWS_SHOWN) -> Inspection:
    """Read a file of any kind that fedopt knows and describe it; lists are cut after `rows` rows.

    Raises PlanError or InstanceError where the file is not what it seems to be.
    """
    path = Path(path)
    if looks_like_plan(path):
        return inspect_plan(Plan.load(path), rows)
    from fedopt.instance import load

    return inspect_instance(load(path), rows)


def inspect_plan(plan: Plan, rows: int = ROWS_SHOWN) -> Inspection:
    """A plan: status, cost and bound, how many tenants, offers and rounds."""
    facts = {
        "instance": plan.instance.name,
        "status": plan.status,
        "method": plan.method,
        "guarantee": plan.guarantee,
        "objective": plan.objective,
        "cost": plan.cost,
        "lower_bound": plan.lower_bound,
        "gap": plan.gap,
        "count": sum(entry.count for entry in plan.tenants),
        "admitted": plan.admitted,
        "entries": len(plan.tenants),
        "domains": len(plan.domains),
        "rounds": len(plan.history),
    }
    return Inspection("plan", facts, Group(Text(f"A plan. {headline(plan)}"), summarize(plan, rows)))


def inspect_instance(instance: Instance, rows: int = ROWS_SHOWN) -> Inspection:
    """An instance: its stages and domains as columns, its tenants with the number of paths open to them."""
    from fedopt.laws import build

    staged = {stage: [d for d in instance.domains if d.stage == stage] for stage in instance.stages}
    tenants = []
    for tenant in instance.tenants:
        graph = instance.graph(tenant)
        tenants.append(
            {
                "id": tenant.id,
                "count": tenant.count,
                "mean_rate": float(build(tenant.arrivals, instance.slot).mean) / instance.slot,
                "deadline": tenant.slo.deadline,
                "epsilon": tenant.slo.epsilon,
                "of": tenant.slo.of,
                "offers": graph.number_of_nodes(),
                "paths": count_paths(graph),
            }
        )
    units = sum(tenant.count for tenant in instance.tenants)
    load = sum(tenant["count"] * tenant["mean_rate"] for tenant in tenants)
    facts: dict[str, Any] = {
        "name": instance.name,
        "sha256": instance.sha256,
        "units": {"time": instance.units.time, "work": instance.units.work},
        "slot": instance.slot,
        "stages": {stage: [domain.id for domain in domains] for stage, domains in staged.items()},
        "domains": len(instance.domains),
        "offers": sum(len(domain.offers) for domain in instance.domains),
        "links": None if instance.links is None else len(instance.links),
        "count": units,
        "mean_load": load,
        "capacity": {stage: sum(domain.capacity for domain in domains) for stage, domains in staged.items()},
        "tenants": tenants,
    }
    time, work = instance.units.time, instance.units.work
    words = (
        f"An instance: {instance.name}. {len(staged)} stages, {facts['domains']} domains with "
        f"{facts['offers']} offers, {units} tenants in {len(tenants)} entries. Time in {time}, "
        f"work in {work}, slots of {instance.slot:g} {time}. The tenants bring {load:.4g} {work}/{time} on "
        f"average; the tightest stage has room for {min(facts['capacity'].values()):.4g}."
    )
    parts = [Text(words), stage_picture(instance, rows), _tenant_table(tenants, time, rows)]
    return Inspection("instance", facts, Group(*parts))


def stage_picture(instance: Instance, rows: int = ROWS_SHOWN) -> RenderableType:
    """The stages as columns from left to right, the domains below them, the links in between."""
    staged = [[d for d in instance.domains if d.stage == stage] for stage in instance.stages]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    arrows = [_links_text(instance, left, right) for left, right in pairwise(staged)]
    for position, stage in enumerate(instance.stages):
        table.add_column(stage)
        if position < len(arrows):
            table.add_column("→", justify="center")
    height = max(len(domains) for domains in staged)
    for index in range(min(height, rows)):
        cells = []
        for position, domains in enumerate(staged):
            cells.append(_domain_text(domains[index]) if index < len(domains) else "")
            if position < len(arrows):
                cells.append(arrows[position] if index == 0 else "")
        table.add_row(*cells)
    if height > rows:
        table.add_row(f"… {height - rows} more rows", *[""] * (2 * len(staged) - 2))
    return table


def count_paths(graph: Any) -> int:
    """Number of paths from the first stage to the last in a tenant's stage graph; nothing is enumerated."""
    if graph.number_of_nodes() == 0:
        return 0
    layers = sorted(graph.nodes(data="layer"), key=lambda node: node[1])
    first, last = layers[0][1], layers[-1][1]
    ways: dict[str, int] = {}
    for node, layer in layers:
        ways[node] = 1 if layer == first else sum(ways[before] for before in graph.predecessors(node))
    return sum(ways[node] for node, layer in layers if layer == last)


def _domain_text(domain: Domain) -> str:
    offers = f"{len(domain.offers)} offer{'s' * (len(domain.offers) > 1)}"
    learned = sum(isinstance(offer.impairment, LearnedImpairment) for offer in domain.offers)
    if learned:
        offers += ", no contract" if learned == len(domain.offers) else f", {learned} without contract"
    return f"{domain.id} ({domain.capacity:g}, {offers})"


def _links_text(instance: Instance, left: Iterable[Domain], right: Iterable[Domain]) -> str:
    if instance.links is None:
        return "all"
    starts, ends = {domain.id for domain in left}, {domain.id for domain in right}
    delays = [link.delay for link in instance.links if link.from_ in starts and link.to in ends]
    if not delays:
        return "none"
    low, high = min(delays), max(delays)
    span = f"{low:g}" if low == high else f"{low:g}–{high:g}"
    return f"{len(delays)} links, {span} {instance.units.time}"


def _tenant_table(tenants: list[dict[str, Any]], time: str, rows: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("tenant")
    for name in ("count", "mean rate", f"deadline ({time})", "ε", "of", "paths open"):
        table.add_column(name, justify="right")
    for tenant in tenants[:rows]:
        table.add_row(
            tenant["id"],
            str(tenant["count"]),
            f"{tenant['mean_rate']:.4g}",
            f"{tenant['deadline']:g}",
            f"{tenant['epsilon']:g}",
            tenant["of"],
            str(tenant["paths"]),
        )
    if len(tenants) > rows:
        table.add_row(f"… {len(tenants) - rows} more", *[""] * 6)
    return table


def looks_like_plan(path: Path) -> bool:
    """Whether a file is a JSON object with the two fields that only a plan has."""
    try:
        with path.open("rb") as stream:
            if stream.read(64).lstrip()[:1] != b"{":
                return False
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and "status" in data and "method" in data
