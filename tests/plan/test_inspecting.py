import itertools
import json

import networkx as nx
import pytest
from rich.console import Console

from fedopt.instance import InstanceError
from fedopt.plan import PlanError
from fedopt.plan.inspecting import count_paths, inspect, inspect_instance


def text_of(inspection) -> str:
    console = Console(width=110, color_system=None)
    with console.capture() as capture:
        console.print(inspection.text)
    return capture.get()


def test_instance_in_words_and_as_a_picture(metro):
    inspection = inspect_instance(metro)
    text = text_of(inspection)
    assert "3 stages, 4 domains with 5 offers, 3 tenants in 2 entries" in " ".join(text.split())
    assert "metro-1 (9, 1" in text
    assert "2 links, 0.5–1.5 ms" in text
    facts = inspection.to_dict()
    assert facts["kind"] == "instance"
    assert facts["mean_load"] == pytest.approx(2 * 0.4 + 0.3)
    assert [(t["id"], t["paths"], t["offers"]) for t in facts["tenants"]] == [("chat", 1, 3), ("batch", 4, 5)]
    json.dumps(facts)


def test_without_links_all_reach_all(metro):
    assert "all" in text_of(inspect_instance(metro.with_(links=None)))


def test_long_lists_are_cut(metro):
    text = text_of(inspect_instance(metro, rows=1))
    assert "… 1 more rows" in text
    assert "… 1 more" in text


def test_plan_file(good, tmp_path):
    good.save(tmp_path / "plan.json")
    inspection = inspect(tmp_path / "plan.json")
    assert inspection.to_dict() | {"cost": 0, "lower_bound": 0, "gap": 0} == {
        "kind": "plan",
        "instance": "metro",
        "status": "optimal",
        "method": "brute force",
        "guarantee": "minplus",
        "objective": "cost",
        "cost": 0,
        "lower_bound": 0,
        "gap": 0,
        "count": 3,
        "admitted": 3,
        "entries": 2,
        "domains": 4,
        "rounds": 0,
    }
    assert text_of(inspection).startswith("A plan. metro: optimal")


def test_instance_file_in_yaml_and_json(metro, tmp_path):
    (tmp_path / "metro.json").write_text(metro.to_json())
    assert inspect(tmp_path / "metro.json").facts["sha256"] == metro.sha256


def test_what_is_neither(tmp_path):
    (tmp_path / "x.json").write_text('{"status": 1, "method": 2}')
    with pytest.raises(PlanError):
        inspect(tmp_path / "x.json")
    (tmp_path / "y.yaml").write_text("just words")
    with pytest.raises(InstanceError):
        inspect(tmp_path / "y.yaml")
    with pytest.raises(InstanceError):
        inspect(tmp_path / "none.yaml")


def test_paths_are_counted_without_enumeration():
    graph = nx.DiGraph()
    layers = [[(layer, i) for i in range(10)] for layer in range(12)]
    for layer, nodes in enumerate(layers):
        for node in nodes:
            graph.add_node(node, layer=layer)
    for before, after in itertools.pairwise(layers):
        graph.add_edges_from((b, a) for b in before for a in after)
    assert count_paths(graph) == 10**12
    assert count_paths(nx.DiGraph()) == 0
