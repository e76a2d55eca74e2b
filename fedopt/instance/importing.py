"""An instance from a real network.

How a topology becomes stages, in steps that depend on nothing but the source and the arguments:

1. *Areas.* Up to `areas` hubs are placed on nodes so that the demand-weighted distance of nodes to their
   nearest hub is least (greedy p-median). Each hub is a domain of the stage **access**, a region of its own;
   its latency holds the propagation delay from the farthest node that it collects.
2. *Compute sites.* `sites` nodes are placed in the same way: domains of the stage **compute**, in the region
   `core`, run in turn by two operators, with three AI models as offers.
3. *Transits.* The `transits` nodes that carry most demand on shortest paths between hubs and sites are
   domains of the stage **transport**, each with a standard and an express class.
4. *Links.* Delays are those of shortest paths through the network: 5 µs per km of great circle and 20 µs per
   hop. From a hub to a site `paths` ways are kept, those through the transits that make the way shortest.
5. *Tenants.* Demands from area to area become one tenant entry; its `count` is the number of demands between
   nodes that fall on it (so each demand is one tenant), its rate is their mean. Its policy admits its own
   area and `core`. The entries take three kinds of service in turn, by falling demand. Where the source has
   no demands, the product of the degrees of two nodes serves for their demand. Where `arrivals` are given,
   such as an envelope fitted to a trace, every tenant sends this traffic and the demands are only counted.
6. *Capacities.* Compute capacity is shared out equally, that of transits by the capacity or number of their
   edges; the totals are `slack` times what all tenants need, and what proves too little for a first
   placement (see `placing`) is enlarged. So the instance is feasible, and the cheapest paths do not all fit.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from .arrivals import EnvelopeArrivals, ExponentialSize, Poisson
from .costs import Linear
from .documents import SLO, Domain, Instance, Link, Offer, Policy, Tenant
from .errors import InstanceError, Problem
from .impairments import ExponentialImpairment, GammaImpairment, PoissonImpairment
from .placing import Placement, place, rounded, rounded_up
from .topology import Topology, topology

MS_PER_KM = 0.005
MS_PER_HOP = 0.02
STAGES = ("access", "transport", "compute")
MEAN_RATE = 0.2
"""Requests per ms of a tenant with the mean demand."""

ABSURD = 10.0
"""Rates of so many times the mean load are warned of."""

SERVICES = (
    SLO(deadline=100, epsilon=1e-3, min_accuracy=0.8),
    SLO(deadline=60, epsilon=1e-3),
    SLO(deadline=150, epsilon=1e-4, min_accuracy=0.9),
)
MODELS = (("small", 0.82, 1.0, 3.0, 2.0), ("medium", 0.91, 1.5, 6.0, 3.5), ("large", 0.97, 2.5, 12.0, 6.0))
"""AI models: name, accuracy, work factor, latency in ms, cost per unit of rate."""


def import_network(
    source: str | Topology,
    *,
    areas: int = 9,
    transits: int = 8,
    sites: int = 4,
    paths: int = 4,
    slack: float = 1.6,
    seed: int = 0,
    name: str | None = None,
    arrivals: EnvelopeArrivals | Poisson | None = None,
    deadline: float | None = None,
    epsilon: float | None = None,
    tenants: int | None = None,
    notes: list[str] | None = None,
) -> Instance:
    """The instance of a real network; the module's text says how it is made.

    Parameters
    ----------
    source
        `topohub:GROUP/NAME`, an SNDlib, GraphML or GML file, or a `Topology`.
    areas, transits, sites, paths
        How many access domains, transport domains, compute sites, and ways kept from an area to a site.
    slack
        Capacity of a stage by what all tenants need.
    seed
        Draws prices and impairments, which no topology states.
    name
        Of the instance; by default that of the source.
    arrivals
        What every tenant sends, in jobs and ms, in place of Poisson requests by its demand; the tilts of an
        envelope become the instance's `theta`.
    deadline, epsilon
        The promise to every tenant (ms, probability), in place of the three kinds of service.
    tenants
        Tenants in all, shared out by the number of demands; by default each demand is one.
    notes
        Takes what the reader should know: what was guessed or left out, and promises that cost absurdly much.

    Returns
    -------
    Instance
        Feasible, its times in ms and its work in jobs.

    Raises
    ------
    InstanceError
        For a source that cannot be used, arguments out of range, or tenants that are too far from every
        compute site.
    """
    _check(areas=areas, transits=transits, sites=sites, paths=paths, slack=slack, seed=seed)
    found = topology(source) if isinstance(source, str) else source
    graph = found.graph()
    for _, _, edge in graph.edges(data=True):
        edge["ms"] = edge["km"] * MS_PER_KM + MS_PER_HOP
    title = name or _plain(found.name)
    demands = _demands(found, graph)
    services = _services(deadline, epsilon)

    def draft(services: Sequence[SLO] = services, **sizes: int) -> _Draft:
        chosen = {"areas": areas, "transits": transits, "sites": sites, "paths": paths, **sizes}
        rng = np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(title.encode())]))
        return _drafted(
            rng, graph, _Places(graph, demands, **chosen), demands, arrivals, services, tenants, slack
        )

    made = draft()
    if made.placement.unserved:
        message = f"{len(made.placement.unserved)} of {len(made.tenants)} tenants are too far from every site"
        longest = max(slo.deadline for slo in services)
        options: dict[str, dict[str, Any]] = {
            f"--areas {2 * areas}": {"areas": 2 * areas},
            f"--sites {2 * sites}": {"sites": 2 * sites},
            f"--paths {2 * paths} --transits {2 * transits}": {"paths": 2 * paths, "transits": 2 * transits},
        }
        for factor in (2, 5, 20):
            longer = _services(factor * longest, epsilon)
            options[f"--deadline {factor * longest:g}"] = {"services": longer}
        works = [option for option, changed in options.items() if not draft(**changed).placement.unserved]
        remedy = f"any of these works: {'; '.join(works[:3])}" if works else "ask for longer deadlines"
        raise InstanceError([Problem("", message, remedy)], source=title)
    if notes is not None:
        notes += [*graph.graph["notes"], *_absurd(made, lambda value: draft(_services(value, epsilon)))]
    return Instance(
        name=title,
        theta=arrivals.theta if isinstance(arrivals, EnvelopeArrivals) else None,
        stages=STAGES,
        domains=tuple(_enlarged(domain, made.placement) for domain in made.domains),
        links=tuple(made.links),
        tenants=tuple(_paid(tenant, made.placement) for tenant in made.tenants),
    )


@dataclass(frozen=True)
class _Draft:
    """An instance before its capacities are enlarged and its tenants pay, and its first placement."""

    domains: list[Domain]
    links: list[Link]
    tenants: list[Tenant]
    placement: Placement


def _drafted(
    rng: np.random.Generator,
    graph: nx.Graph,
    plan: _Places,
    demands: Mapping[tuple[str, str], float],
    arrivals: EnvelopeArrivals | Poisson | None,
    services: Sequence[SLO],
    total: int | None,
    slack: float,
) -> _Draft:
    domains = _domains(rng, graph, plan)
    tenants = _tenants(plan, demands, arrivals, services, total)
    domains = _with_capacities(rng, graph, plan, domains, tenants, slack)
    return _Draft(domains, plan.links, tenants, place(STAGES, domains, plan.links, tenants, 1.0, rng))


def _services(deadline: float | None, epsilon: float | None) -> tuple[SLO, ...]:
    """The kinds of service, with one deadline and one ε for all where they are given."""
    given = {"deadline": deadline, "epsilon": epsilon}
    change = {field: value for field, value in given.items() if value is not None}
    return tuple(SLO(**{**slo.model_dump(), **change}) for slo in SERVICES)


def _absurd(made: _Draft, with_deadline: Callable[[float], _Draft]) -> Iterator[str]:
    """Promises that reserve many times the load, with a deadline that would not."""
    worst: dict[float, tuple[float, int]] = {}
    for tenant in made.tenants:
        ratio = made.placement.rates[tenant.id] / _mean(tenant.arrivals)
        if ratio > ABSURD:
            before, count = worst.get(tenant.slo.deadline, (0.0, 0))
            worst[tenant.slo.deadline] = max(before, ratio), count + tenant.count
    for deadline, (ratio, count) in sorted(worst.items()):
        better = ""
        for factor in (2, 5, 10, 20, 50, 100):
            again = with_deadline(factor * deadline)
            least = max(again.placement.rates[t.id] / _mean(t.arrivals) for t in again.tenants)
            if least <= ABSURD / 2:
                better = f"; --deadline {factor * deadline:g} takes {least:.2g} times"
                break
        yield (
            f"a deadline of {deadline:g} ms takes up to {ratio:.2g} times the mean load of {count} tenants, "
            f"which is more than such traffic is worth{better}"
        )


def _mean(arrivals: Any) -> float:
    """Mean work of arrivals per ms; of an envelope the rate at its least tilt, an upper bound."""
    if isinstance(arrivals, EnvelopeArrivals):
        return arrivals.rho[0]
    size = arrivals.size.exponential if isinstance(arrivals.size, ExponentialSize) else arrivals.size
    return float(arrivals.rate * size)


def _check(**arguments: float) -> None:
    limits = {"areas": (1, 500), "transits": (1, 500), "sites": (1, 100), "paths": (1, 500)}
    limits |= {"slack": (1, 100), "seed": (0, 2**63)}
    problems = [
        Problem(
            name, f"must be between {low} and {high}, is {arguments[name]}", "give a number in that range"
        )
        for name, (low, high) in limits.items()
        if not low <= arguments[name] <= high
    ]
    if problems:
        raise InstanceError(problems, source="import")


def _plain(name: str) -> str:
    """A name that a document and a policy can hold."""
    return re.sub(r"[^\w.+-]+", "-", name.strip()).strip("-")[:100] or "unnamed"


def _demands(found: Topology, graph: nx.Graph) -> dict[tuple[str, str], float]:
    """The positive demands between nodes of the graph; without any, the product of the nodes' degrees."""
    stated = {ends: value for ends, value in found.demands.items() if value > 0 and ends[0] != ends[1]}
    kept = {ends: value for ends, value in sorted(stated.items()) if ends[0] in graph and ends[1] in graph}
    if kept:
        return kept
    nodes = sorted(graph)
    if len(nodes) == 1:
        return {(nodes[0], nodes[0]): 1.0}
    return {
        (a, b): float(graph.degree[a] * graph.degree[b]) for i, a in enumerate(nodes) for b in nodes[i + 1 :]
    }


@dataclass(frozen=True)
class _Path:
    """A way from a hub over a transit to a site."""

    hub: str
    transit: str
    site: str
    ms: float


class _Places:
    """Which nodes are hubs, transits and sites, and the ways between them."""

    def __init__(
        self,
        graph: nx.Graph,
        demands: Mapping[tuple[str, str], float],
        areas: int,
        transits: int,
        sites: int,
        paths: int,
    ) -> None:
        self.graph = graph
        self.weight = dict.fromkeys(sorted(graph), 0.0)
        for (start, end), value in demands.items():
            self.weight[start] += value
            self.weight[end] += value
        self.ms: dict[str, dict[str, float]] = {
            node: dict(nx.single_source_dijkstra_path_length(graph, node, weight="ms"))
            for node in self.weight
        }
        self.hubs = self._medians(areas)
        self.sites = self._medians(sites)
        self.area = {node: min(self.hubs, key=lambda hub: (self.ms[node][hub], hub)) for node in self.weight}
        self.transits = self._busiest(transits)
        self.names = self._names()
        self.links = self._links(paths)

    def _medians(self, count: int) -> list[str]:
        """Greedy p-median: each new place lowers the weighted distance of all nodes to their nearest most."""
        nodes = list(self.weight)
        distance = np.array([[self.ms[a][b] for b in nodes] for a in nodes])
        weight = np.array([self.weight[node] for node in nodes]) + 1e-9
        nearest = np.full(len(nodes), float(distance.max()) + 1.0)
        chosen: list[int] = []
        for _ in range(min(count, len(nodes))):
            total = weight @ np.minimum(nearest[:, None], distance)
            total[chosen] = np.inf
            best = int(np.argmin(total))
            chosen.append(best)
            nearest = np.minimum(nearest, distance[:, best])
        return [nodes[i] for i in chosen]

    def _busiest(self, count: int) -> list[str]:
        """The nodes that carry most demand on the shortest paths from hubs to sites."""
        carried = dict.fromkeys(self.weight, 0.0)
        load = dict.fromkeys(self.hubs, 0.0)
        for node, weight in self.weight.items():
            load[self.area[node]] += weight
        for hub in self.hubs:
            ways = nx.single_source_dijkstra_path(self.graph, hub, weight="ms")
            for site in self.sites:
                for node in ways[site]:
                    carried[node] += load[hub]
        return sorted(carried, key=lambda node: (-carried[node], node))[: max(1, count)]

    def _names(self) -> dict[str, str]:
        """A name for every node, unlike all others."""
        taken: set[str] = set()
        names = {}
        for node in self.weight:
            name = _plain(str(self.graph.nodes[node]["name"])).lower()
            if name in taken:
                name = f"{name}-{_plain(node).lower()}"
            while name in taken:
                name += "-x"
            taken.add(name)
            names[node] = name
        return names

    def _links(self, paths: int) -> list[Link]:
        """The links of the `paths` shortest ways from every hub to every site."""
        kept: dict[tuple[str, str], float] = {}
        for hub in self.hubs:
            for site in self.sites:
                ways = [_Path(hub, t, site, self.ms[hub][t] + self.ms[t][site]) for t in self.transits]
                for way in sorted(ways, key=lambda way: (way.ms, way.transit))[:paths]:
                    kept[self.access(hub), self.transport(way.transit)] = self.ms[hub][way.transit]
                    kept[self.transport(way.transit), self.compute(site)] = self.ms[way.transit][site]
        return [
            Link.model_validate({"from": start, "to": end, "delay": rounded(delay)})
            for (start, end), delay in sorted(kept.items())
        ]

    def access(self, node: str) -> str:
        """The id of a hub's domain."""
        return f"access-{self.names[node]}"

    def transport(self, node: str) -> str:
        """The id of a transit's domain."""
        return f"transit-{self.names[node]}"

    def compute(self, node: str) -> str:
        """The id of a site's domain."""
        return f"compute-{self.names[node]}"


def _domains(rng: np.random.Generator, graph: nx.Graph, plan: _Places) -> list[Domain]:
    """The domains with their offers; capacities follow."""
    carrier = _plain(str(graph.graph["name"]))
    domains = []
    for hub in plan.hubs:
        farthest = max(plan.ms[node][hub] for node in plan.area if plan.area[node] == hub)
        jitter = GammaImpairment(shape=rounded(rng.uniform(0.3, 0.8)), scale=0.2)
        cost = Linear(rate=rounded(rng.uniform(0.5, 1.0)))
        offer = Offer(
            id="standard", latency=rounded(1.0 + farthest), latency_kind="delay", impairment=jitter, cost=cost
        )
        where = _position(graph, hub)
        domains.append(_domain(plan.access(hub), "access", carrier, plan.names[hub], where, [offer]))
    for node in plan.transits:
        price = rng.uniform(0.4, 1.2)
        traffic = rng.uniform(0.3, 0.8)
        offers = [
            Offer(
                id=id,
                latency=0.1,
                latency_kind="delay",
                impairment=PoissonImpairment(rate=rounded(traffic * less), size=0.25),
                cost=Linear(rate=rounded(price * more)),
            )
            for id, less, more in (("standard", 1.0, 1.0), ("express", 0.3, 1.5))
        ]
        where = _position(graph, node)
        domains.append(_domain(plan.transport(node), "transport", carrier, "core", where, offers))
    for i, site in enumerate(plan.sites):
        price = rng.uniform(0.8, 1.5)
        sharing = ExponentialImpairment(mean=rounded(rng.uniform(0.05, 0.15)))
        offers = [
            Offer(
                id=id,
                latency=latency,
                impairment=sharing,
                cost=Linear(rate=rounded(price * cost)),
                work_factor=factor,
                accuracy=accuracy,
            )
            for id, accuracy, factor, latency, cost in MODELS
        ]
        where = _position(graph, site)
        domains.append(_domain(plan.compute(site), "compute", f"cloud-{'ab'[i % 2]}", "core", where, offers))
    return domains


def _domain(
    id: str,
    stage: str,
    operator: str,
    region: str,
    position: tuple[float, float] | None,
    offers: Iterable[Offer],
) -> Domain:
    return Domain(
        id=id,
        stage=stage,
        operator=operator,
        region=region,
        position=position,
        capacity=1e12,
        offers=tuple(offers),
    )


def _position(graph: nx.Graph, node: str) -> tuple[float, float] | None:
    """Longitude and latitude of a node to 10 m, None where the source has none on the globe."""
    found = graph.nodes[node].get("position")
    if found is None or abs(found[0]) > 180 or abs(found[1]) > 90:
        return None
    return round(found[0], 4), round(found[1], 4)


def _tenants(
    plan: _Places,
    demands: Mapping[tuple[str, str], float],
    arrivals: EnvelopeArrivals | Poisson | None,
    services: Sequence[SLO],
    total: int | None,
) -> list[Tenant]:
    """One entry for each pair of areas with demand, by falling demand; `total` tenants or one a demand."""
    between: dict[tuple[str, str], list[float]] = {}
    for (start, end), value in demands.items():
        between.setdefault((plan.area[start], plan.area[end]), []).append(value)
    mean = sum(demands.values()) / len(demands)
    ranked = sorted(between.items(), key=lambda entry: (-sum(entry[1]), entry[0]))
    counts = _shared_out([len(values) for _, values in ranked], total)
    tenants = []
    for k, ((start, end), values) in enumerate(ranked):
        if counts[k] == 0:
            continue
        rate = MEAN_RATE * sum(values) / len(values) / mean
        tenants.append(
            Tenant(
                id=f"{plan.names[start]}-to-{plan.names[end]}",
                count=counts[k],
                arrivals=arrivals or Poisson(rate=rounded(min(max(rate, 0.02), 2.0))),
                slo=services[k % len(services)],
                policy=Policy(regions=("core", plan.names[start])),
            )
        )
    return tenants


def _shared_out(weights: list[int], total: int | None) -> list[int]:
    """`total` in whole parts by weight, the largest remainders first."""
    if total is None:
        return weights
    exact = np.array(weights) * total / sum(weights)
    parts = np.floor(exact).astype(int)
    rest = np.argsort(parts - exact, kind="stable")[: total - int(parts.sum())]
    parts[rest] += 1
    return [int(part) for part in parts]


def _with_capacities(
    rng: np.random.Generator,
    graph: nx.Graph,
    plan: _Places,
    domains: list[Domain],
    tenants: list[Tenant],
    slack: float,
) -> list[Domain]:
    """Capacities by what the network states and what all tenants together need."""
    loads = place(STAGES, domains, plan.links, tenants, 1.0, rng).loads
    stated = {node: sum(graph[node][other]["capacity"] for other in graph[node]) for node in plan.transits}
    edges = {node: float(graph.degree[node]) or 1.0 for node in plan.transits}
    shares = {plan.compute(site): 1.0 for site in plan.sites}
    known = all(value > 0 for value in stated.values())
    shares |= {plan.transport(node): (stated if known else edges)[node] for node in plan.transits}
    result = []
    for domain in domains:
        if domain.stage == "access":
            capacity = (
                1.5 * loads[domain.id]
            )  # every tenant has one access, which is not where the choice lies
        else:
            members = [other.id for other in domains if other.stage == domain.stage]
            share = shares[domain.id] / sum(shares[id] for id in members)
            capacity = slack * share * sum(loads[id] for id in members)
        result.append(domain.model_copy(update={"capacity": rounded_up(max(capacity, 0.01))}))
    return result


def _enlarged(domain: Domain, placement: Placement) -> Domain:
    capacity = max(domain.capacity, rounded_up(placement.loads[domain.id] * 1.001))
    return domain.model_copy(update={"capacity": capacity})


def _paid(tenant: Tenant, placement: Placement) -> Tenant:
    payment = rounded(1.5 * placement.costs[tenant.id], 2)
    return tenant.model_copy(update={"payment": payment, "penalty": rounded(5 * payment, 2)})
