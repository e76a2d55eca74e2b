"""The stage graph: offers as nodes, and edges along the links from each stage to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import networkx as nx

from .policy import admissible

if TYPE_CHECKING:
    from .documents import Domain, Instance, Tenant


def stage_graph(instance: Instance, tenant: str | Tenant | None = None) -> nx.DiGraph:
    """The stage graph of `instance`; for a tenant (or its id) only what lies on a path that it may use.

    Nodes are `"domain/offer"` with attributes `stage` (its name), `layer` (counted from 0), `domain` (its id)
    and `offer` (the `Offer`); edges have `delay` (units of time) and `cost` (per tenant). Without a tenant
    the graph is whole, dead ends included; with one every node lies on a complete path from the first stage
    to the last, and it is empty where there is none. Raises `InstanceError` for an unknown tenant.
    """
    who = instance.tenant(tenant) if isinstance(tenant, str) else tenant
    layer_of = {stage: layer for layer, stage in enumerate(instance.stages)}
    graph = nx.DiGraph(name=instance.name, stages=instance.stages)
    offered: dict[str, list[str]] = {}
    for domain in instance.domains:
        offers = [o for o in domain.offers if who is None or not admissible(who, domain, o, instance.rated)]
        offered[domain.id] = [f"{domain.id}/{offer.id}" for offer in offers]
        for name, offer in zip(offered[domain.id], offers, strict=True):
            graph.add_node(
                name, stage=domain.stage, layer=layer_of[domain.stage], domain=domain.id, offer=offer
            )
    for start, end, delay, cost in links_of(instance):
        for tail in offered[start]:
            for head in offered[end]:
                graph.add_edge(tail, head, delay=delay, cost=cost)
    if who is not None:
        graph.remove_nodes_from(_off_path(graph, len(instance.stages)))
    return graph


def links_of(instance: Instance) -> Iterator[tuple[str, str, float, float]]:
    """All links as (from, to, delay, cost) of domain ids; without `links` those between all domains of
    consecutive stages, with delay and cost 0."""
    if instance.links is not None:
        for link in instance.links:
            yield link.from_, link.to, link.delay, link.cost
        return
    staged: dict[str, list[Domain]] = {stage: [] for stage in instance.stages}
    for domain in instance.domains:
        staged[domain.stage].append(domain)
    for stage, following in zip(instance.stages, instance.stages[1:], strict=False):
        for start in staged[stage]:
            for end in staged[following]:
                yield start.id, end.id, 0.0, 0.0


def _off_path(graph: nx.DiGraph, stages: int) -> set[str]:
    """The nodes that lie on no complete path; edges lead to the next layer, so layers are swept in order."""
    layers: list[list[str]] = [[] for _ in range(stages)]
    for name, layer in graph.nodes(data="layer"):
        layers[layer].append(name)
    ahead, behind = set(layers[0]), set(layers[-1])
    for layer in layers[1:]:
        ahead.update(name for name in layer if any(p in ahead for p in graph.predecessors(name)))
    for layer in reversed(layers[:-1]):
        behind.update(name for name in layer if any(s in behind for s in graph.successors(name)))
    return set(graph) - (ahead & behind)
