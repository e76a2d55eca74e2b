from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fedopt.instance import InstanceError, load, loads
from fedopt.instance.importing import import_network
from fedopt.instance.placing import place
from fedopt.instance.topology import Edge, Node, Topology

from .conftest import EXAMPLES

MADE = {
    path.stem: dict(re.findall(r"--(\w+) ([\d.]+)", found[2])) | {"source": found[1]}
    for path in EXAMPLES
    if (found := re.search(r"^# Made by: fedopt import (\S+)(.*)$", path.read_text(), re.MULTILINE))
}


def test_two_examples_are_imported() -> None:
    assert len(MADE) >= 2


@pytest.mark.parametrize("name", MADE)
def test_the_examples_can_be_made_again(name: str) -> None:
    made = dict(MADE[name])
    source, slack = made.pop("source"), float(made.pop("slack"))
    again = import_network(source, slack=slack, **{key: int(value) for key, value in made.items()})
    assert again == load(next(path for path in EXAMPLES if path.stem == name))


def test_germany50_keeps_every_demand() -> None:
    instance = import_network("topohub:sndlib/germany50")
    assert sum(tenant.count for tenant in instance.tenants) == 662
    assert [sum(domain.stage == stage for domain in instance.domains) for stage in instance.stages] == [
        9,
        8,
        4,
    ]
    for tenant in instance.tenants:
        graph = instance.graph(tenant)
        access = {data["domain"] for _, data in graph.nodes(data=True) if data["stage"] == "access"}
        assert len(access) == 1  # its own area
        assert graph
    assert loads(instance.to_json()) == instance


def test_delays_are_those_of_the_way_through_the_network() -> None:
    nodes = {name: Node(name, (float(i), 0.0)) for i, name in enumerate("abc")}
    line = Topology("line", nodes, [Edge("a", "b"), Edge("b", "c")], {("a", "c"): 1.0, ("c", "a"): 3.0})
    instance = import_network(line, areas=3, transits=1, sites=1)
    assert instance.links is not None
    delays = sorted(link.delay for link in instance.links)
    hop = 111.19 * 0.005 + 0.02
    assert delays == pytest.approx([0, 0, hop, 2 * hop], abs=0.01) or delays == pytest.approx(
        [0, 0, hop, hop], abs=0.01
    )
    assert {tenant.id: tenant.count for tenant in instance.tenants} == {"a-to-c": 1, "c-to-a": 1}
    assert instance.tenant("c-to-a").arrivals.rate == pytest.approx(
        3 * instance.tenant("a-to-c").arrivals.rate
    )


@pytest.mark.parametrize("source", ["topozoo/Abilene", "gabriel/25/0", "sndlib/nobel-eu", "sndlib/di-yuan"])
def test_many_networks_give_feasible_instances(source: str) -> None:
    instance = import_network(f"topohub:{source}", seed=3)
    placed = place(
        instance.stages, instance.domains, instance.links, instance.tenants, 1.0, np.random.default_rng(0)
    )
    assert not placed.unserved


def test_a_network_of_one_node() -> None:
    instance = import_network(Topology("one", {"a": Node("A/B c", (0, 0))}, []))
    assert [domain.id for domain in instance.domains] == ["access-a-b-c", "transit-a-b-c", "compute-a-b-c"]


def test_names_that_collide() -> None:
    nodes = {str(i): Node("R", (float(i), 0.0)) for i in range(4)}
    instance = import_network(Topology("r", nodes, [Edge("0", "1"), Edge("1", "2"), Edge("2", "3")]))
    assert len({domain.id for domain in instance.domains}) == len(instance.domains)


def test_a_net_that_is_too_wide_is_refused() -> None:
    nodes = {"a": Node("a"), "b": Node("b")}
    wide = Topology("wide", nodes, [Edge("a", "b", 100_000.0)], {("a", "b"): 1.0, ("b", "a"): 1.0})
    with pytest.raises(InstanceError, match="too far"):
        import_network(wide, areas=2, sites=1, transits=1)


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InstanceError, match="areas") as caught:
        import_network("topohub:sndlib/abilene", areas=0, slack=0.5)
    assert [problem.place for problem in caught.value.problems] == ["areas", "slack"]


def test_domains_carry_the_positions_of_their_nodes_and_no_hash_depends_on_them() -> None:
    instance = import_network("topohub:sndlib/abilene", areas=2, transits=2, sites=2, paths=2)
    assert all(
        -125 < domain.position[0] < -70 and 25 < domain.position[1] < 48 for domain in instance.domains
    )
    bare = [{**domain, "position": None} for domain in instance.to_dict()["domains"]]
    assert instance.with_({"domains": bare}).sha256 == instance.sha256


LINE = Topology(
    "line",
    {name: Node(name, (float(i), 0.0)) for i, name in enumerate("abcd")} | {"x": Node("X", (50.0, 0.0))},
    [Edge("a", "b"), Edge("b", "c"), Edge("c", "d")],
    {("a", "d"): 1.0, ("d", "a"): 3.0, ("b", "d"): 1.0},
)


def test_promises_and_counts_are_the_readers() -> None:
    notes: list[str] = []
    instance = import_network(
        LINE, areas=4, sites=1, transits=1, deadline=80, epsilon=0.01, tenants=10, notes=notes
    )
    assert {(t.slo.deadline, t.slo.epsilon) for t in instance.tenants} == {(80, 0.01)}
    assert sorted(tenant.count for tenant in instance.tenants) == [3, 3, 4]
    assert notes == ["left out, because not connected to the largest part: X"]


def test_an_absurd_promise_is_said_with_a_better_one() -> None:
    notes: list[str] = []
    import_network(LINE, areas=4, sites=1, transits=1, deadline=12, notes=notes)
    (note,) = [note for note in notes if "deadline" in note]
    found = re.search(
        r"deadline of 12 ms takes up to ([\d.]+) times .*--deadline (\d+) takes ([\d.]+) times", note
    )
    assert found is not None
    assert float(found[1]) > 10 > 5 >= float(found[3])
    better: list[str] = []
    import_network(LINE, areas=4, sites=1, transits=1, deadline=float(found[2]), notes=better)
    assert not [note for note in better if "deadline" in note]


def test_every_remedy_for_what_is_too_far_works() -> None:
    far = Topology("far", LINE.nodes, [Edge("a", "b", 100.0), Edge("b", "c", 9e3), Edge("c", "d", 100.0)], {})
    far = Topology("far", {n: Node(n) for n in "abcd"}, far.edges, {("a", "d"): 1.0, ("c", "b"): 1.0})
    sizes = {"areas": 4, "sites": 1, "transits": 1, "deadline": 40.0}
    with pytest.raises(InstanceError, match="any of these works") as caught:
        import_network(far, **sizes)
    remedies = caught.value.problems[0].remedy.partition("works: ")[2].split("; ")
    assert remedies
    for remedy in remedies:
        options = {name: float(value) for name, value in re.findall(r"--(\w+) ([\d.]+)", remedy)}
        whole = {name: value if name == "deadline" else int(value) for name, value in options.items()}
        import_network(far, **{**sizes, **whole})
