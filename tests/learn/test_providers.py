"""Path and split together against all paths; links; refusals."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from fedopt.learn.decompose import DecompositionInfeasible
from fedopt.learn.providers import StageGraph, choose, exhaustive
from fedopt.papers.rade_simulator import TrueAcceptance


def random_truth(number: int, rng: np.random.Generator) -> TrueAcceptance:
    return TrueAcceptance(
        rng.uniform(0.75, 3.0, number), rng.uniform(1.5, 8.0, number), rng.uniform(0.2, 1.2, number)
    )


def test_five_stages_of_six_providers_against_all_paths():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        truth, graph = random_truth(30, rng), StageGraph.complete([6] * 5)
        delay, throughput = rng.uniform(120, 160, 2), rng.uniform(0.4, 0.6, 2)
        found = choose(truth, graph, delay, throughput)
        for r in range(2):
            best = exhaustive(truth, graph, delay[r], throughput[r])
            assert found.log_probability[r] >= best.log_probability[0] - 1e-4
        np.testing.assert_allclose(found.delay.sum(axis=1), delay)


def test_links_take_their_delay_and_forbid_paths():
    rng = np.random.default_rng(9)
    truth = random_truth(9, rng)
    complete = StageGraph.complete([3, 3, 3])
    delays = tuple(np.where(rng.random((3, 3)) < 0.3, np.inf, rng.uniform(0, 20, (3, 3))) for _ in range(2))
    graph = StageGraph(complete.rows, delays)
    found = choose(truth, graph, np.array([80.0]), np.array([0.5]), points=256)
    best = exhaustive(truth, graph, 80.0, 0.5)
    assert found.log_probability[0] == pytest.approx(best.log_probability[0], abs=1e-4)
    path = found.providers[0]
    spent = sum(delays[s][path[s], path[s + 1]] for s in range(2))
    assert found.delay.sum() + spent == pytest.approx(80.0)
    closed = StageGraph(complete.rows, (np.full((3, 3), np.inf), np.zeros((3, 3))))
    for act in (lambda: choose(truth, closed, np.array([80.0]), np.array([0.5])),
                lambda: exhaustive(truth, closed, 80.0, 0.5)):  # fmt: skip
        with pytest.raises(DecompositionInfeasible):
            act()


def test_from_a_stage_graph():
    graph = nx.DiGraph()
    for name, stage in (("a/x", "access"), ("b/x", "access"), ("c/x", "core"), ("d/x", "core")):
        graph.add_node(name, stage=stage, domain=name[0])
    graph.add_edge("a/x", "c/x", delay=3.0, cost=0.0)
    graph.add_edge("b/x", "c/x", delay=1.0, cost=0.0)
    found = StageGraph.of(graph, ["access", "core"], {"a": 0, "b": 1, "c": 2})
    assert [rows.tolist() for rows in found.rows] == [[0, 1], [2]]
    np.testing.assert_array_equal(found.delay[0], [[3.0], [1.0]])
