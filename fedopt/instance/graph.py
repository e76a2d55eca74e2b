"""Who may use what, and the stage graph: offers as nodes, edges along the links to the next stage.

A tenant's policy and the quality that its SLO asks for stand against a domain and an offer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx as nx

from .weighing import fits

if TYPE_CHECKING:
    from .documents import Domain, Instance, Offer, Tenant


@dataclass(frozen=True)
class RatedStages:
    """The stages whose offers must state an accuracy or a staleness to be admitted under a limit on it.

    A stage where some offer states a quality is rated: there an offer that does not state it may have any,
    and a limit does not admit it. A stage where none does, such as transport, has no such quality. Where no
    offer of the instance states it, every stage is rated, so that nothing is admitted.
    """

    accuracy: frozenset[str]
    staleness: frozenset[str]

    @classmethod
    def of(cls, stages: Sequence[str], domains: Iterable[Domain]) -> RatedStages:
        """The rated stages of an instance with these stages and domains."""
        stated: dict[str, set[str]] = {"accuracy": set(), "staleness": set()}
        for domain in domains:
            for quality, where in stated.items():
                if any(getattr(offer, quality) is not None for offer in domain.offers):
                    where.add(domain.stage)
        return cls(**{quality: frozenset(where or stages) for quality, where in stated.items()})


def admissible(tenant: Tenant, domain: Domain, offer: Offer, rated: RatedStages) -> list[str]:
    """The reasons for which a tenant may not use an offer of a domain; empty where it may.

    Allow-lists of operators and regions admit only domains that state one of them; limits on accuracy and
    staleness only offers that state theirs, on the stages that are `rated`. A domain of capacity 0 is
    drained and serves nobody.
    """
    policy, slo, reasons = tenant.policy, tenant.slo, []
    if not fits(tenant, domain, offer):
        reasons.append("is for tenants whose work is another there")
    if policy.operators is not None and domain.operator not in policy.operators:
        stated = f"operator {domain.operator}" if domain.operator is not None else "a domain without operator"
        reasons.append(
            f"{stated} is not among {', '.join(policy.operators) or 'the (empty) list of operators'}"
        )
    if policy.regions is not None and domain.region not in policy.regions:
        stated = f"region {domain.region}" if domain.region is not None else "a domain without region"
        reasons.append(f"{stated} is not among {', '.join(policy.regions) or 'the (empty) list of regions'}")
    if policy.min_trust is not None and domain.trust < policy.min_trust:
        reasons.append(f"trust {domain.trust:g} is below {policy.min_trust:g}")
    if domain.id in policy.forbid:
        reasons.append(f"domain {domain.id} is forbidden")
    elif f"{domain.id}/{offer.id}" in policy.forbid:
        reasons.append(f"offer {domain.id}/{offer.id} is forbidden")
    if domain.capacity == 0:
        reasons.append(f"domain {domain.id} is drained (capacity 0)")
    if slo.min_accuracy is not None:
        if offer.accuracy is None:
            if domain.stage in rated.accuracy:
                reasons.append("states no accuracy")
        elif offer.accuracy < slo.min_accuracy:
            reasons.append(f"accuracy {offer.accuracy:g} is below {slo.min_accuracy:g}")
    if slo.max_staleness is not None:
        if offer.staleness is None:
            if domain.stage in rated.staleness:
                reasons.append("states no staleness")
        elif offer.staleness > slo.max_staleness:
            reasons.append(f"staleness {offer.staleness:g} s is above {slo.max_staleness:g} s")
    return reasons


def exclusions(instance: Instance, tenant: Tenant, most: int = 12) -> list[str]:
    """What keeps a tenant from the stages where it may use nothing: `stage: offer (reasons); …`, a line each.

    At most `most` offers of a stage are listed.
    """
    lines = []
    for stage in instance.stages:
        here = [d for d in instance.domains if d.stage == stage]
        offers = [(d, o) for d in here for o in d.offers if fits(tenant, d, o)]
        reasons = [(f"{d.id}/{o.id}", admissible(tenant, d, o, instance.rated)) for d, o in offers]
        if all(why for _, why in reasons):
            shown = "; ".join(f"{name} ({', '.join(why)})" for name, why in reasons[:most])
            lines.append(f"{stage}: {shown}" + ("; …" if len(reasons) > most else ""))
    return lines


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
