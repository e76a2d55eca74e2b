"""The Shapley value: what each domain is owed when the effect of several together is not the sum of each
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

__all__ = ["Attribution", "shapley"]

MOST_EXACT = 10


@dataclass(frozen=True)
class Attribution:
    """Values per player, shape (n,), adding up to v(all) − v(none); errors: standard errors, 0 where
    exact.
    """

    values: np.ndarray
    errors: np.ndarray
    exact: bool


def shapley(
    players: int,
    value: Callable[[frozenset[int]], float],
    *,
    permutations: int = 400,
    seed: int | np.random.SeedSequence = 0,
) -> Attribution:
    """The Shapley value of a game on players 0 … n − 1.

    Exact up to ten players (2^n evaluations, each once). Above: the mean over random orders, each with its
    reverse, which still adds up exactly; `permutations` orders in all. Raises ValueError where the game has
    a value that is not finite.
    """
    memory: dict[frozenset[int], float] = {}

    def worth(coalition: Sequence[int] | frozenset[int]) -> float:
        key = frozenset(coalition)
        if key not in memory:
            memory[key] = float(value(key))
            if not math.isfinite(memory[key]):
                raise ValueError(f"the coalition {sorted(key)} has no finite value")
        return memory[key]

    if players <= MOST_EXACT:
        values = np.zeros(players)
        for size in range(players):
            weight = 1 / (players * math.comb(players - 1, size))
            for coalition in combinations(range(players), size):
                base = worth(coalition)
                for player in set(range(players)) - set(coalition):
                    values[player] += weight * (worth((*coalition, player)) - base)
        return Attribution(values, np.zeros(players), True)
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(max(permutations // 2, 2)):
        order = rng.permutation(players)
        rows.append((_marginals(order, worth) + _marginals(order[::-1], worth)) / 2)
    table = np.array(rows)
    return Attribution(table.mean(axis=0), table.std(axis=0, ddof=1) / math.sqrt(len(rows)), False)


def _marginals(order: np.ndarray, worth: Callable[[Sequence[int]], float]) -> np.ndarray:
    gains = np.zeros(order.size)
    members: list[int] = []
    before = worth(members)
    for player in order.tolist():
        members.append(player)
        after = worth(members)
        gains[player] = after - before
        before = after
    return gains
