"""Branch and bound over the stage graph: the cheapest path of a family at given prices, without listing
paths.

A node is the first hops of a path.  Its window is the largest that any completion leaves, and its margin over
the floors in that window the least that its own hops need with the mildest of every later stage
(`image_margin`, kept in a memory shared by all prices, policies and families of a service): no completion
needs less.  What a completion costs at least at that margin comes from a table by dynamic programming.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fedopt.kernels import formula
from fedopt.pricing.completion import Completions
from fedopt.pricing.image_margin import ACCURACY, image_margin, margin_workspace

__all__ = [
    "DONE",
    "MEMORY_FULL",
    "OUTPUT_FULL",
    "Graph",
    "Leaves",
    "Memory",
    "refill",
    "search",
]

DONE, MEMORY_FULL, OUTPUT_FULL = 0, 1, 2

_GRID = np.array([0.0, 0.6, 0.9, 1.2, 1.7, 2.6])
"""Margins of the table of completions, in multiples of a typical one."""


class Graph(NamedTuple):
    """The offers, numbered 0…M−1 stage by stage, and what a family may use of them.

    first: int64[S+1], where each stage starts; row, domain: int64[M]; lag, pure, charge, cap: float64[M],
    slots and work/slot; delay, cost: float64[D, D] of the links between domains; windows: int64[G],
    ascending; floor: float64[G, M], least rate of an offer alone in a window, +inf above its cap and where it
    is not admitted; completions: what may stand for the stages to come; unit: about the rate of an offer.
    """

    first: np.ndarray
    row: np.ndarray
    domain: np.ndarray
    lag: np.ndarray
    pure: np.ndarray
    charge: np.ndarray
    cap: np.ndarray
    delay: np.ndarray
    cost: np.ndarray
    windows: np.ndarray
    floor: np.ndarray
    completions: Completions
    unit: float


class Memory(NamedTuple):
    """Margins by parts of paths, an open-addressing table: keys int64[N] (−1 free), values float64[N] (nan:
    unknown), used int64[1], and the last solution for each number of hops known, float64[S+1, …] as
    `image_margin` has it."""

    keys: np.ndarray
    values: np.ndarray
    used: np.ndarray
    last: np.ndarray


class Leaves(NamedTuple):
    """Paths found: hops int64[N, S], window int64[N] in slots, estimated cost float64[N] (a lower bound where
    `sure` is 0), sure int64[N]."""

    hops: np.ndarray
    window: np.ndarray
    cost: np.ndarray
    sure: np.ndarray


@formula
def _slot(keys, key):
    """Where a key is, or would be put."""
    mask = keys.size - 1
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    at = np.int64((mixed ^ (mixed >> np.uint64(29))) & np.uint64(mask))
    while keys[at] != key and keys[at] != -1:
        at = (at + 1) & mask
    return at


@formula
def refill(keys, values, larger_keys, larger_values):
    """Copy a memory into a larger, empty one."""
    for n in range(keys.size):
        if keys[n] != -1:
            at = _slot(larger_keys, keys[n])
            larger_keys[at], larger_values[at] = keys[n], values[n]


@formula
def _completions(graph, prices, margins):
    """(least cost of a completion after each offer at each margin, charges included [K, G, M]; least delay
    [M])."""
    stages, count = graph.first.size - 1, graph.row.size
    grid = graph.windows.size
    cost, delay = np.zeros((margins.size, grid, count)), np.zeros(count)
    for s in range(stages - 2, -1, -1):
        for o in range(graph.first[s], graph.first[s + 1]):
            delay[o] = math.inf
            cost[:, :, o] = math.inf
            for q in range(graph.first[s + 1], graph.first[s + 2]):
                hop = graph.delay[graph.domain[o], graph.domain[q]]
                if not (hop < math.inf and graph.floor[grid - 1, q] < math.inf):
                    continue
                fixed = graph.cost[graph.domain[o], graph.domain[q]] + graph.charge[q]
                delay[o] = min(delay[o], hop + graph.pure[q] + delay[q])
                for g in range(grid):
                    if graph.floor[g, q] < math.inf:
                        for k in range(margins.size):
                            rate = min(graph.floor[g, q] + margins[k], graph.cap[q])
                            cost[k, g, o] = min(cost[k, g, o], fixed + prices[q] * rate + cost[k, g, q])
    return cost, delay


@formula
def _at_least(graph, prices, margins, cost, hops, level, g, margin):
    """What the offers hops[0] … hops[level] and any completion cost at least at a margin, window g, charges
    of the first ones aside: the table's chords, as its columns are concave in the margin."""
    total = 0.0
    for i in range(level + 1):
        q = hops[i]
        if not graph.floor[g, q] < math.inf:
            return math.inf
        total += prices[q] * min(graph.floor[g, q] + margin, graph.cap[q])
    o = hops[level]
    last = margins.size - 1
    if margin >= margins[last]:
        return total + cost[last, g, o]
    k = 0
    while margins[k + 1] <= margin:
        k += 1
    if not cost[k + 1, g, o] < math.inf:
        return math.inf
    share = (margin - margins[k]) / (margins[k + 1] - margins[k])
    return total + (1.0 - share) * cost[k, g, o] + share * cost[k + 1, g, o]


@formula
def _margin(models, service, graph, hops, level, g, memory, place, scratch, work) -> None:
    """The least margin of hops[0] … hops[level] with the mildest of all later stages, into the memory."""
    arrival, _, biased, log_epsilon = service
    first, rows, floors, bursts = scratch
    stages, known = graph.first.size - 1, level + 1
    mild = graph.completions
    lag, lagged, size = mild.lag[g, known], mild.lagged[g, known], 0
    for s in range(known):
        q = hops[s]
        bursts[s] = graph.row[q]
        lag += graph.lag[q]
        lagged += graph.floor[g, q] * graph.lag[q]
        for side in range(2):
            first[2 * s + side] = size
            rows[size], floors[size] = graph.row[q], graph.floor[g, q]
            size += 1
    for side in range(2 * known, 2 * stages):
        first[side] = size
        for m in range(mild.first[g, side], mild.first[g, side + 1]):
            rows[size], floors[size] = mild.row[m], mild.floor[m]
            size += 1
    first[2 * stages] = size
    members = first, rows, floors
    window = graph.windows[g]
    path = models, arrival, members, bursts[:known], lag, lagged, window, biased, log_epsilon
    memory.values[place] = image_margin(path, memory.last[known], graph.unit, work)


@formula
def search(models, service, graph, prices, known, tolerance, wanted, rough, most_nodes, memory, leaves):
    """(status, leaves found, bound, nodes): the paths cheaper than `known`, best bounds first at each level.

    service: (arrival row, deadline in slots, biased, log ε); prices: float64[M] per work/slot; wanted: how
    many of the cheapest to find, 0 for all below `known`; rough: a margin that all paths are taken to need,
    negative where each is to have its own.  bound: no path that is not among the leaves costs less;
    most_nodes: give up after that many.
    """
    deadline = service[1]
    stages = graph.first.size - 1
    width = 0
    for s in range(stages):
        width = max(width, graph.first[s + 1] - graph.first[s])
    margins = _GRID * max(memory.last[stages, 0], 1e-3 * graph.unit)
    go, delay_go = _completions(graph, prices, margins)
    work = margin_workspace(stages)
    most = 2 * graph.row.size + 2 * stages
    scratch = (
        np.empty(2 * stages + 1, dtype=np.int64),
        np.empty(most, dtype=np.int64),
        np.empty(most),
        np.empty(stages, dtype=np.int64),
    )
    child = np.empty((stages, width), dtype=np.int64)
    child_bound = np.empty((stages, width))
    pointer, filled = np.zeros(stages, dtype=np.int64), np.zeros(stages, dtype=np.int64)
    hops = np.empty(stages, dtype=np.int64)
    spent, charged, key = np.zeros(stages + 1), np.zeros(stages + 1), np.zeros(stages + 1, dtype=np.int64)
    margin = np.full(stages + 1, max(rough, 0.0))
    limit = known if wanted == 0 or not known < math.inf else known - tolerance * abs(known)
    best = np.full(max(wanted, 1), math.inf)  # of the paths found, ascending
    bound, found, nodes = known, 0, 0
    level, fresh = 0, True
    while level >= 0:
        if fresh:  # the children of the node just entered, the most promising first
            fresh = False
            filled[level] = pointer[level] = 0
            for o in range(graph.first[level], graph.first[level + 1]):
                time = spent[level] + graph.pure[o]
                fixed = charged[level] + graph.charge[o]
                if level > 0:
                    before = graph.domain[hops[level - 1]]
                    time += graph.delay[before, graph.domain[o]]
                    fixed += graph.cost[before, graph.domain[o]]
                left = deadline - time - delay_go[o] + 1e-9
                if not left >= 0.0:
                    continue
                g = np.searchsorted(graph.windows, int(left))
                hops[level] = o
                least = fixed + _at_least(graph, prices, margins, go, hops, level, g, margin[level])
                if not least < math.inf:
                    continue
                at = filled[level]
                while at > 0 and child_bound[level, at - 1] > least:
                    child[level, at] = child[level, at - 1]
                    child_bound[level, at] = child_bound[level, at - 1]
                    at -= 1
                child[level, at], child_bound[level, at] = o, least
                filled[level] += 1
        if pointer[level] >= filled[level]:
            level -= 1
            continue
        at = pointer[level]
        o, least = child[level, at], child_bound[level, at]
        if least >= limit or nodes >= most_nodes:  # the others of this level are no better
            bound = min(bound, least)
            pointer[level] = filled[level]
            continue
        pointer[level] += 1
        nodes += 1
        hops[level] = o
        time = spent[level] + graph.pure[o]
        fixed = charged[level] + graph.charge[o]
        if level > 0:
            before = graph.domain[hops[level - 1]]
            time += graph.delay[before, graph.domain[o]]
            fixed += graph.cost[before, graph.domain[o]]
        spent[level + 1], charged[level + 1] = time, fixed
        key[level + 1] = key[level] * (graph.first[level + 1] - graph.first[level] + 1) + (
            o - graph.first[level] + 1
        )
        window = int(deadline - time - delay_go[o] + 1e-9)
        g = np.searchsorted(graph.windows, window)
        need, sure = margin[level], rough >= 0.0
        if not sure:
            name = key[level + 1] * graph.windows.size + g
            place = _slot(memory.keys, name)
            if memory.keys[place] == -1:
                if 2 * memory.used[0] > memory.keys.size:
                    return MEMORY_FULL, found, bound, nodes
                memory.keys[place] = name
                memory.used[0] += 1
                _margin(models, service, graph, hops, level, g, memory, place, scratch, work)
            value = memory.values[place]
            if value == value:
                sure = graph.windows[g] == window
                need = max(need, value - ACCURACY * (graph.unit + value))
        margin[level + 1] = need
        least = max(least, fixed + _at_least(graph, prices, margins, go, hops, level, g, need))
        if least >= limit:
            bound = min(bound, least)
            continue
        if level < stages - 1:
            level += 1
            fresh = True
            continue
        if found >= leaves.cost.size:
            return OUTPUT_FULL, found, min(bound, least), nodes
        for i in range(stages):  # where a cap holds, the margin of the others is another
            sure = sure and graph.floor[g, hops[i]] + need <= graph.cap[hops[i]]
        leaves.hops[found, :stages] = hops
        leaves.window[found], leaves.sure[found] = window, sure
        leaves.cost[found] = least
        found += 1
        if sure and wanted > 0 and least < best[wanted - 1]:
            at = wanted - 1
            while at > 0 and best[at - 1] > least:
                best[at] = best[at - 1]
                at -= 1
            best[at] = least
            limit = min(limit, best[wanted - 1] - tolerance * abs(best[wanted - 1]))
    return DONE, found, bound, nodes
