"""Branch and bound over the stage graph: the cheapest path of a family at given prices, without listing
paths.

A node is the first hops of a path.  Its window is the largest that any completion leaves, every domain needs
at least its floor in that window, and the cheapest completion at floors comes from a table; what survives
that is held against the scale its own hops already need together (`image_scale`, kept in a memory shared by
all prices, policies and families of a service), for a path needs no smaller scale than a part of it in the
same window.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from fedopt.oracle.image_scale import ACCURACY, image_scale, scale_workspace

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


class Graph(NamedTuple):
    """The offers, numbered 0…M−1 stage by stage, and what a family may use of them.

    first: int64[S+1], where each stage starts; row, domain: int64[M]; lag, pure, charge, cap: float64[M],
    slots
    and work/slot; delay, cost: float64[D, D] of the links between domains; windows: int64[G], ascending;
    floor:
    float64[G, M], least rate of an offer alone in a window, +inf above its cap and where it is not admitted.
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


class Memory(NamedTuple):
    """Scales by parts of paths, an open-addressing table: keys int64[N] (−1 free), values float64[N] (nan:
    unknown), used int64[1], and the last solution for each number of hops, a row of float64[S+1, …] as
    `image_scale` has it."""

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


@njit(cache=True, error_model="numpy")
def _slot(keys, key):
    """Where a key is, or would be put."""
    mask = keys.size - 1
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    at = np.int64((mixed ^ (mixed >> np.uint64(29))) & np.uint64(mask))
    while keys[at] != key and keys[at] != -1:
        at = (at + 1) & mask
    return at


@njit(cache=True, error_model="numpy")
def refill(keys, values, larger_keys, larger_values):
    """Copy a memory into a larger, empty one."""
    for n in range(keys.size):
        if keys[n] != -1:
            at = _slot(larger_keys, keys[n])
            larger_keys[at], larger_values[at] = keys[n], values[n]


@njit(cache=True, error_model="numpy")
def _completions(graph, prices):
    """Least that a completion costs after each offer: at floors with charges [G, M]; floors alone [G, M];
    charges alone [M]; least delay [M]; least cap/floor of the stages after [G, S]."""
    stages, count = graph.first.size - 1, graph.row.size
    grid = graph.windows.size
    joint, bare = np.zeros((grid, count)), np.zeros((grid, count))
    charge, delay = np.zeros(count), np.zeros(count)
    room = np.full((grid, stages), math.inf)
    for s in range(stages - 2, -1, -1):
        start, stop = graph.first[s + 1], graph.first[s + 2]
        for g in range(grid):
            room[g, s] = room[g, s + 1]
            for q in range(start, stop):
                if graph.floor[g, q] < math.inf:
                    room[g, s] = min(room[g, s], graph.cap[q] / graph.floor[g, q])
        for o in range(graph.first[s], graph.first[s + 1]):
            charge[o] = delay[o] = math.inf
            joint[:, o] = math.inf
            bare[:, o] = math.inf
            for q in range(start, stop):
                hop = graph.delay[graph.domain[o], graph.domain[q]]
                if not (hop < math.inf and graph.floor[grid - 1, q] < math.inf):
                    continue
                fixed = graph.cost[graph.domain[o], graph.domain[q]] + graph.charge[q]
                charge[o] = min(charge[o], fixed + charge[q])
                delay[o] = min(delay[o], hop + graph.pure[q] + delay[q])
                for g in range(grid):
                    own = prices[q] * graph.floor[g, q] if graph.floor[g, q] < math.inf else math.inf
                    joint[g, o] = min(joint[g, o], fixed + own + joint[g, q])
                    bare[g, o] = min(bare[g, o], own + bare[g, q])
    return joint, bare, charge, delay, room


@njit(cache=True, error_model="numpy", nogil=True)
def search(models, service, graph, prices, known, tolerance, collect, rough, most_nodes, memory, leaves):
    """(status, leaves found, bound, nodes): the paths cheaper than `known`, best bounds first at each level.

    service: (arrival row, deadline in slots, biased, log ε); prices: float64[M] per work/slot.  Each path
    found
    lowers the limit, unless all below it are to be collected; rough: floors are taken for what a path needs.
    bound: no path that is not among the leaves costs
    less; most_nodes: give up after that many.
    """
    arrival, deadline, biased, log_epsilon = service
    stages = graph.first.size - 1
    width = 0
    for s in range(stages):
        width = max(width, graph.first[s + 1] - graph.first[s])
    joint, bare, charge_go, delay_go, room = _completions(graph, prices)
    work = scale_workspace(stages)
    child = np.empty((stages, width), dtype=np.int64)
    child_bound = np.empty((stages, width))
    pointer, filled = np.zeros(stages, dtype=np.int64), np.zeros(stages, dtype=np.int64)
    hops = np.empty(stages, dtype=np.int64)
    spent, charged, key = np.zeros(stages + 1), np.zeros(stages + 1), np.zeros(stages + 1, dtype=np.int64)
    shape, rows, lags = np.empty(stages), np.empty(stages, dtype=np.int64), np.empty(stages)
    limit = known if collect or not known < math.inf else known - tolerance * abs(known)
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
                least = fixed + joint[g, o]
                for i in range(level + 1):
                    q = o if i == level else hops[i]
                    least += prices[q] * graph.floor[g, q] if graph.floor[g, q] < math.inf else math.inf
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
        scale, sure = 1.0, False
        floors = 0.0
        reach = room[g, level]
        for i in range(level + 1):
            shape[i] = graph.floor[g, hops[i]]
            rows[i], lags[i] = graph.row[hops[i]], graph.lag[hops[i]]
            floors += prices[hops[i]] * shape[i]
            reach = min(reach, graph.cap[hops[i]] / shape[i])
        if level > 0 and not rough:
            name = key[level + 1] * graph.windows.size + g
            place = _slot(memory.keys, name)
            if memory.keys[place] == -1:
                if 2 * memory.used[0] > memory.keys.size:
                    return MEMORY_FULL, found, bound, nodes
                count = level + 1
                path = (models, arrival, rows[:count], lags[:count], graph.windows[g], biased, log_epsilon)
                memory.keys[place] = name
                memory.values[place] = image_scale(path, shape[:count], memory.last[count], work)
                memory.used[0] += 1
            value = memory.values[place]
            if value <= reach:  # not where it is unknown
                scale, sure = max(value, 1.0), True
        if sure:
            least = max(least, fixed + charge_go[o] + scale * (1.0 - ACCURACY) * (floors + bare[g, o]))
        if least >= limit:
            bound = min(bound, least)
            continue
        if level < stages - 1:
            level += 1
            fresh = True
            continue
        if found >= leaves.cost.size:
            return OUTPUT_FULL, found, min(bound, least), nodes
        sure = rough or (sure and graph.windows[g] == window)
        leaves.hops[found, :stages] = hops
        leaves.window[found], leaves.sure[found] = window, sure
        leaves.cost[found] = fixed + scale * floors if sure else least
        found += 1
        if sure and not collect:
            limit = min(limit, leaves.cost[found - 1] - tolerance * abs(leaves.cost[found - 1]))
    return DONE, found, bound, nodes
