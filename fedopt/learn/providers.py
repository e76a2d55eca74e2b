"""Several providers per stage: choose the path and the decomposition together.

Along a path Σ log P_n(τ_n) is to be as large as possible, with Στ_n plus the links' delays equal to the
SLA's. On a grid of delays this is a longest path over (provider, delay spent so far): exact there for any
risk models. The path found is then decomposed by itself on finer grids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedopt.kernels import kernel
from fedopt.learn.decompose import IMPOSSIBLE, Acceptance, DecompositionInfeasible, Problem, on_grid
from fedopt.learn.feedback import Array


@dataclass(frozen=True)
class StageGraph:
    """Providers by stage; `delay[s][i, j]` is that of the link from provider i of stage s to j of the next.

    An infinite delay means that there is no link. `rows[s]` names the risk model of each provider.
    """

    rows: tuple[NDArray[np.intp], ...]
    delay: tuple[Array, ...]

    @classmethod
    def complete(cls, sizes: Sequence[int]) -> StageGraph:
        """Every provider reaches every one of the next stage at once; rows are numbered stage by stage."""
        starts = np.concatenate([[0], np.cumsum(sizes)])
        rows = tuple(np.arange(a, b) for a, b in pairwise(starts))
        return cls(rows, tuple(np.zeros((a, b)) for a, b in pairwise(sizes)))

    @classmethod
    def of(cls, graph: Any, stages: Sequence[str], row_of: Mapping[str, int]) -> StageGraph:
        """From a networkx stage graph (nodes with `stage` and `domain`, edges with `delay`).

        `row_of` maps domain names to rows; domains without one (nothing is known of them) are left out.
        """
        nodes = [
            [n for n, data in graph.nodes(data=True) if data["stage"] == stage and data["domain"] in row_of]
            for stage in stages
        ]
        rows = tuple(
            np.array([row_of[graph.nodes[n]["domain"]] for n in level], dtype=np.intp) for level in nodes
        )
        delay = []
        for here, there in pairwise(nodes):
            matrix = np.full((len(here), len(there)), np.inf)
            for i, a in enumerate(here):
                for j, b in enumerate(there):
                    if graph.has_edge(a, b):
                        matrix[i, j] = graph.edges[a, b].get("delay", 0.0)
            delay.append(matrix)
        return cls(rows, tuple(delay))

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.rows)


@dataclass(frozen=True)
class PathChoice:
    """Chosen paths and their splits, for R requests.

    Attributes:
        providers: index of the provider in each stage, shape (R, S).
        rows: their risk models, shape (R, S).
        delay: partial delays, shape (R, S); with the links' delays they add up to the SLA's.
        log_probability: Σ log P, shape (R,).
    """

    providers: NDArray[np.intp]
    rows: NDArray[np.intp]
    delay: Array
    log_probability: Array


@kernel
def longest_path(table: Array, sizes: NDArray[np.int64], link: NDArray[np.int64]) -> NDArray[np.int64]:
    """Provider of each stage on the best path, shape (R, S).

    table (R, S, P, K): log P with k cells of delay; link (S−1, P, P): cells of each link, −1 for none.
    """
    requests, stages, width, points = table.shape
    path = np.zeros((requests, stages), dtype=np.int64)
    value = np.empty((stages, width, points))
    spent = np.zeros((stages, width, points), dtype=np.int64)
    origin = np.zeros((stages, width, points), dtype=np.int64)
    for r in range(requests):
        for p in range(sizes[0]):
            value[0, p] = table[r, 0, p]
        for s in range(1, stages):
            for p in range(sizes[s]):
                arrive = np.full(points, -np.inf)
                source = np.zeros(points, dtype=np.int64)
                for q in range(sizes[s - 1]):
                    cells = link[s - 1, q, p]
                    if cells >= 0:
                        for b in range(cells, points):
                            if value[s - 1, q, b - cells] > arrive[b]:
                                arrive[b] = value[s - 1, q, b - cells]
                                source[b] = q
                first = points - 1 if s == stages - 1 else 0
                for b in range(first, points):
                    top, at = -np.inf, 0
                    for k in range(b + 1):
                        candidate = arrive[b - k] + table[r, s, p, k]
                        if candidate > top:
                            top, at = candidate, k
                    value[s, p, b] = top
                    spent[s, p, b] = at
                    origin[s, p, b] = source[b - at]
        last = stages - 1
        best = 0
        for p in range(sizes[last]):
            if value[last, p, points - 1] > value[last, best, points - 1]:
                best = p
        budget = points - 1
        for s in range(last, -1, -1):
            path[r, s] = best
            if s > 0:
                previous = origin[s, best, budget]
                budget -= spent[s, best, budget] + link[s - 1, previous, best]
                best = previous
    return path


def choose(
    acceptance: Acceptance,
    graph: StageGraph,
    delay: Array,
    throughput: Array,
    offset: NDArray[np.intp] | None = None,
    points: int = 128,
) -> PathChoice:
    """Best path and split of each request; `offset` is added to the rows of a request (its run's models).

    Raises `DecompositionInfeasible` where no path's links leave any delay to the domains.
    """
    delay, throughput = np.atleast_1d(np.asarray(delay, float)), np.atleast_1d(np.asarray(throughput, float))
    shift = np.zeros(delay.size, np.intp) if offset is None else offset
    step = delay / (points - 1)
    sizes = np.array([rows.size for rows in graph.rows])
    table = np.full((delay.size, graph.stages, sizes.max(), points), IMPOSSIBLE)
    for s, rows in enumerate(graph.rows):
        each = (shift[:, None] + rows).reshape(-1)
        asked = np.repeat(step[:, None] * np.arange(points), rows.size, axis=0)
        demanded = np.repeat(throughput, rows.size)[:, None]
        values = acceptance.log_probability(np.maximum(asked, 1e-12), demanded, each)
        values = np.where(np.isfinite(values), values, IMPOSSIBLE)
        table[:, s, : rows.size] = values.reshape(delay.size, rows.size, points)
    paths = np.empty((delay.size, graph.stages), dtype=np.int64)
    for length in np.unique(delay):
        same = delay == length
        link = np.full((max(graph.stages - 1, 1), sizes.max(), sizes.max()), -1, dtype=np.int64)
        for s, matrix in enumerate(graph.delay):
            cells = np.ceil(np.where(np.isfinite(matrix), matrix, 0.0) / (length / (points - 1)) - 1e-9)
            fits = np.isfinite(matrix) & (cells < points)
            link[s, : matrix.shape[0], : matrix.shape[1]] = np.where(fits, cells, -1)
        paths[same] = longest_path(table[same], sizes, link)
    return evaluate_paths(acceptance, graph, paths, delay, throughput, shift)


def evaluate_paths(
    acceptance: Acceptance,
    graph: StageGraph,
    paths: NDArray[np.int64],
    delay: Array,
    throughput: Array,
    offset: NDArray[np.intp] | None = None,
) -> PathChoice:
    """Decompose each request over its given path."""
    shift = np.zeros(delay.size, np.intp) if offset is None else offset
    rows = np.stack([graph.rows[s][paths[:, s]] for s in range(graph.stages)], axis=1) + shift[:, None]
    spent = np.zeros(delay.size)
    for s, matrix in enumerate(graph.delay):
        spent = spent + matrix[paths[:, s], paths[:, s + 1]]
    if not (spent < delay).all():
        raise DecompositionInfeasible("no path of links leaves any of the SLA's delay to the domains")
    problem = Problem(acceptance, rows, delay - spent, throughput)
    found = on_grid(problem, points=96)
    return PathChoice(paths, rows, found.delay, found.log_probability)


def exhaustive(acceptance: Acceptance, graph: StageGraph, delay: float, throughput: float) -> PathChoice:
    """The best of all paths, each decomposed by itself (the reference; exponential in the stages)."""
    paths = np.array(list(product(*(range(rows.size) for rows in graph.rows))), dtype=np.int64)
    spent = np.zeros(len(paths))
    for s, matrix in enumerate(graph.delay):
        spent = spent + matrix[paths[:, s], paths[:, s + 1]]
    paths = paths[spent < delay]
    if not len(paths):
        raise DecompositionInfeasible("no path of links leaves any of the SLA's delay to the domains")
    found = evaluate_paths(
        acceptance, graph, paths, np.full(len(paths), delay), np.full(len(paths), throughput)
    )
    best = int(np.argmax(found.log_probability))
    only = slice(best, best + 1)
    return PathChoice(found.providers[only], found.rows[only], found.delay[only], found.log_probability[only])
