import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise

import pytest

from fedopt.report.given import Given
from fedopt.report.network import MOST, arranged, draw, draw_map, network, operator_table
from tests.report.documents import large


def tenants_on_links(plan):
    counts = Counter()
    for entry in plan.tenants:
        for (a, _), (b, _) in pairwise(entry.hops()):
            counts[a, b] += entry.count
    return counts


def test_flows_are_the_tenants_of_the_plan(plan, instance):
    for given in (Given(plan), Given(plan, instance)):
        net = network(given)
        named = {(net.nodes[a].id, net.nodes[b].id): count for (a, b), count in net.flows.items()}
        assert named == tenants_on_links(plan)
        assert all(net.nodes[net.numbers[node.id]] is node for node in net.nodes)


def test_with_the_instance_unused_domains_and_links_are_there(plan, instance):
    net = network(Given(plan, instance))
    assert {node.id for node in net.nodes} == {"metro", "near", "far"}
    assert len(net.flows) + len(net.unused) == 2
    assert [node.layer for node in net.nodes] == [0, 1, 1]


def test_the_drawing_holds_every_node_and_link_once(plan, instance):
    net = network(Given(plan, instance))
    groups = list(ET.fromstring(draw(net, "job/ms")).iter("g"))
    assert sorted(g.get("data-node") for g in groups if g.get("data-node")) == ["0", "1", "2"]
    assert {g.get("data-link") for g in groups if g.get("data-link")} == {f"{a}-{b}" for a, b in net.flows}


def test_many_domains_keep_those_with_most_tenants():
    given = large(400)
    crowded = given.plan.model_copy(
        update={
            "tenants": type(given.plan.tenants)(
                entry.model_copy(update={"path": [f"only-{at % 100:03d}/x"], "count": 1 + at % 7})
                for at, entry in enumerate(given.plan.tenants)
            )
        }
    )
    net = network(Given(crowded))
    columns, hidden = arranged(net)
    assert (len(columns[0]), hidden) == (MOST, [70])
    assert (
        min(n.tenants for n in columns[0]) >= sorted((n.tenants for n in net.nodes), reverse=True)[MOST - 1]
    )
    assert "and 70 more" in draw(net, "job/ms")


def test_an_empty_plan_has_no_graph(plan, instance):
    empty = plan.model_copy(update={"tenants": type(plan.tenants)(), "domains": []})
    assert network(Given(empty)).nodes == []
    assert network(Given(empty, instance)).flows == {}


def test_a_map_stands_where_every_domain_has_a_position(plan, instance):
    places = {"metro": [8.7, 50.1], "near": [8.7, 50.1], "far": [13.4, 52.5]}
    placed = instance.with_({f"domains.{name}.position": place for name, place in places.items()})
    assert placed.sha256 == instance.sha256
    assert draw_map(network(Given(plan, instance)), "job/ms") == ""
    drawing = draw_map(network(Given(plan, placed)), "job/ms")
    assert drawing.count("data-node=") == 3
    assert drawing.count("data-link=") == 2
    assert "metro +1" in drawing  # near lies at the same place
    partly = instance.with_({"domains.metro.position": [8.7, 50.1]})
    assert draw_map(network(Given(plan, partly)), "job/ms") == ""


def test_totals_by_operator_add_up_to_the_plan(plan, instance):
    given = Given(plan, instance)
    table = operator_table(given, network(given))
    assert {row[0] for row in table.rows} == {"opA", "opB", "opC"}
    assert sum(table.keys[6]) == pytest.approx(plan.cost)
    assert sum(table.keys[3]) == pytest.approx(sum(domain.reserved for domain in plan.domains))
    assert operator_table(Given(plan), network(Given(plan))) is None
