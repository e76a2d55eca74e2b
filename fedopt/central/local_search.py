"""A good plan in moments: units change their columns one and two at a time.

A step puts one unit, or a pair of units, on the columns that cost least given all the others, missing
capacity at a price. Few units try all pairs until no step helps; then some are moved at random and the
descent begins again. A crowd tries random pairs: with many units near the relaxation's prices some pair
nearly always fits better. It proves nothing: what it finds is where the proof begins.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from fedopt.central.run import Run
from fedopt.kernels import formula
from fedopt.pricing import Column, Network

__all__ = ["Catalogue", "local_search"]


class Catalogue:
    """N columns of K kinds over paths of L offers; work per slot.

    Attributes:
        columns: the columns, those of a kind side by side, equal ones once.
        kind: kind of each column, shape (N,).
        start: where each kind's columns begin and the last kind's end, shape (K + 1,).
        offers: offer indices, shape (N, L).
        rates: reservations, shape (N, L).
        charge: fixed and link charges of a unit, shape (N,).
    """

    def __init__(self, network: Network, columns: list[Column]) -> None:
        self.network = network
        once: dict[tuple[int, bytes, bytes], Column] = {}
        for column in columns:
            once.setdefault((column.kind, column.offers.tobytes(), column.rates.tobytes()), column)
        self.columns = sorted(once.values(), key=lambda column: column.kind)
        self.kind = np.array([column.kind for column in self.columns], dtype=np.int64)
        self.start = np.searchsorted(self.kind, np.arange(len(network.kinds) + 1))
        shape = (len(self.columns), network.stages)
        self.offers = np.array([column.offers for column in self.columns], dtype=np.int64).reshape(shape)
        self.rates = np.array([column.rates for column in self.columns], dtype=float).reshape(shape)
        self.charge = np.array([column.charge for column in self.columns], dtype=float)

    def __len__(self) -> int:
        return len(self.columns)

    def priced(self, prices: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Cost of the columns `which` at prices per work/slot of each offer."""
        return self.charge[which] + (prices[self.offers[which]] * self.rates[which]).sum(axis=1)


@formula
def _at(table, cell, limit, price, o, z):
    """Cost of an offer's total load z: a table of straight pieces up to the limit, beyond it the price."""
    if z <= 0.0:
        return 0.0
    position = z / cell[o]
    i = min(int(position), table.shape[1] - 2)
    value = table[o, i] + (position - i) * (table[o, i + 1] - table[o, i])
    over = z - limit[o]
    return value + price * over if over > 0.0 else value


@formula
def _lack(used, capacity, price):
    """What an overload costs: at least that of a hundredth of the capacity, so small ones do not stay."""
    over = used - capacity
    return price * max(over, 0.01 * capacity) if over > 1e-12 * capacity else 0.0


@formula
def _put(c, sign, offers, loads, charge, model, z, used):
    """Add (sign 1) or take away (−1) a column; returns the change of cost."""
    table, cell, limit, capacity, price, domain = model
    change = sign * charge[c]
    for j in range(offers.shape[1]):
        o = offers[c, j]
        if o < 0:
            continue
        d = domain[o]
        before = _at(table, cell, limit, price, o, z[o])
        lack = _lack(used[d], capacity[d], price)
        z[o] += sign * loads[c, j]
        used[d] += sign * loads[c, j]
        change += _at(table, cell, limit, price, o, z[o]) - before
        change += _lack(used[d], capacity[d], price) - lack
    return change


@formula
def _change(c, offers, loads, charge, model, z, used, stop):
    """What a column would add; given up early above `stop` (every part but the charge is ≥ 0)."""
    table, cell, limit, capacity, price, domain = model
    change = charge[c]
    for j in range(offers.shape[1]):
        if change >= stop:
            return change
        o = offers[c, j]
        if o < 0:
            continue
        d = domain[o]
        load = loads[c, j]
        change += _at(table, cell, limit, price, o, z[o] + load) - _at(table, cell, limit, price, o, z[o])
        change += _lack(used[d] + load, capacity[d], price) - _lack(used[d], capacity[d], price)
    return change


@formula
def _singles(chosen, unit_kind, start, offers, loads, charge, model, z, used):
    """Put every unit in turn on the column that adds least; returns the change of cost."""
    total = 0.0
    for h in range(len(chosen)):
        old, kind = chosen[h], unit_kind[h]
        best = -_put(old, -1.0, offers, loads, charge, model, z, used)
        before, pick = best, old
        for c in range(start[kind], start[kind + 1]):
            value = _change(c, offers, loads, charge, model, z, used, best)
            if value < best - 1e-12:
                best, pick = value, c
        _put(pick, 1.0, offers, loads, charge, model, z, used)
        chosen[h] = pick
        if best < before - 1e-10:
            total += best - before
    return total


@formula
def _pair(a, b, alone, chosen, unit_kind, short, offers, loads, charge, model, z, used):
    """Put two units on the columns that add least together; returns the change of cost. alone: scratch."""
    one, two = chosen[a], chosen[b]
    before = -_put(one, -1.0, offers, loads, charge, model, z, used)
    before -= _put(two, -1.0, offers, loads, charge, model, z, used)
    best, pick_one, pick_two = before - 1e-10, one, two
    least = math.inf  # of b: costs are convex, so with a on board no column of it adds less than alone
    for t in range(short.shape[1]):
        e = short[unit_kind[b], t]
        if e < 0:
            break
        alone[t] = _change(e, offers, loads, charge, model, z, used, math.inf)
        least = min(least, alone[t])
    for s in range(short.shape[1]):
        c = short[unit_kind[a], s]
        if c < 0:
            break
        if _change(c, offers, loads, charge, model, z, used, best - least) >= best - least:
            continue
        first = _put(c, 1.0, offers, loads, charge, model, z, used)
        for t in range(short.shape[1]):
            e = short[unit_kind[b], t]
            if e < 0:
                break
            if first + alone[t] >= best:
                continue
            value = first + _change(e, offers, loads, charge, model, z, used, best - first)
            if value < best:
                best, pick_one, pick_two = value, c, e
        _put(c, -1.0, offers, loads, charge, model, z, used)
    _put(pick_one, 1.0, offers, loads, charge, model, z, used)
    _put(pick_two, 1.0, offers, loads, charge, model, z, used)
    chosen[a], chosen[b] = pick_one, pick_two
    return best - before if pick_one != one or pick_two != two else 0.0


@formula
def _descend(chosen, unit_kind, start, short, offers, loads, charge, model, z, used, order):
    """Improve a choice in place until no single or pair of units can; returns the total change."""
    total, count = 0.0, len(chosen)
    alone = np.empty(short.shape[1])
    while True:
        change = _singles(chosen, unit_kind, start, offers, loads, charge, model, z, used)
        if change < 0.0:
            total += change
            continue
        for p in range(count * count):
            a, b = order[p] // count, order[p] % count
            if a < b:
                change += _pair(a, b, alone, chosen, unit_kind, short, offers, loads, charge, model, z, used)
        total += change
        if not change < 0.0:
            return total


@formula
def _sweep(rng, pairs, chosen, unit_kind, start, short, offers, loads, charge, model, z, used):
    """Improve every unit by itself and so many random pairs, once; returns the change of cost."""
    total = _singles(chosen, unit_kind, start, offers, loads, charge, model, z, used)
    alone = np.empty(short.shape[1])
    for _ in range(pairs):
        a, b = rng.integers(0, len(chosen)), rng.integers(0, len(chosen))
        if a != b:
            total += _pair(a, b, alone, chosen, unit_kind, short, offers, loads, charge, model, z, used)
    return total


@formula
def _search(
    rng,
    rounds,
    chosen,
    best,
    unit_kind,
    start,
    short,
    sizes,
    offers,
    loads,
    charge,
    model,
    keep,
    value,
    least,
):
    """Rounds of shaking and descending from `chosen` (cost `value`), the best kept in `best`
    (cost `least`)."""
    capacity, domain = model[3], model[5]
    z, used = np.zeros(len(domain)), np.zeros(len(capacity))
    value = 0.0
    for h in range(len(chosen)):
        value += _put(chosen[h], 1.0, offers, loads, charge, model, z, used)
    order = rng.permutation(len(chosen) * len(chosen))
    value += _descend(chosen, unit_kind, start, short, offers, loads, charge, model, z, used, order)
    if value < least - 1e-10:
        least = value
        best[:] = chosen
    trial, z_old, used_old = chosen.copy(), z.copy(), used.copy()
    for _ in range(rounds):
        order = rng.permutation(len(chosen) * len(chosen))
        change = 0.0
        for _ in range(2 + rng.integers(0, 3)):
            h = rng.integers(0, len(chosen))
            kind = unit_kind[h]
            c = short[kind, rng.integers(0, sizes[kind])]
            change += _put(chosen[h], -1.0, offers, loads, charge, model, z, used)
            change += _put(c, 1.0, offers, loads, charge, model, z, used)
            chosen[h] = c
        change += _descend(chosen, unit_kind, start, short, offers, loads, charge, model, z, used, order)
        if value + change < least - 1e-10:
            least = value + change
            best[:] = chosen
        if change <= keep * abs(least) * -math.log(1.0 - rng.random()):
            value += change
            trial[:] = chosen
            z_old[:], used_old[:] = z, used
        else:
            chosen[:] = trial
            z[:], used[:] = z_old, used_old
    return value, least


def local_search(
    catalogue: Catalogue,
    prices: np.ndarray,
    missing: float,
    profit: bool,
    run: Run,
    seconds: float,
    *,
    start: tuple[list[Column], np.ndarray] | None = None,
    seed: int = 0,
    patience: int = 100,
    enough: float = -math.inf,
) -> tuple[list[Column], np.ndarray] | None:
    """The best choice of whole units found in some seconds as (columns, units); None if none fits.

    prices: per work/slot of each offer, shape (offers,), by which the search begins and shortens its lists;
    missing: cost of a unit of missing capacity; start: a choice to improve; it ends early after `patience`
    batches of rounds without progress, and at a cost of `enough`; seconds are of the processor. Where the run
    counts effort, no clock ends it.
    """
    network, settings = catalogue.network, run.settings
    if (np.diff(catalogue.start) == 0).any() and not profit:
        return None
    columns: list[Column | None] = list(catalogue.columns)
    offers, rates, charge, ends = catalogue.offers, catalogue.rates, catalogue.charge, catalogue.start
    if profit:  # not serving a unit is a column of its own, without offers
        charge = charge - np.array([network.kinds[k].payment for k in catalogue.kind])
        for kind in reversed(network.kinds):
            columns.insert(ends[kind.index + 1], None)
        offers = np.insert(offers, ends[1:], -1, axis=0)
        rates = np.insert(rates, ends[1:], 0.0, axis=0)
        charge = np.insert(charge, ends[1:], 0.0)
        ends = ends + np.arange(len(ends))
    loads = np.where(offers >= 0, network.factor[offers] * rates, 0.0)
    model = _model(catalogue, missing, settings.cost_cells)
    value = charge + np.where(offers >= 0, prices[offers] * rates, 0.0).sum(axis=1)
    short = np.full((len(network.kinds), settings.pair_columns), -1, dtype=np.int64)
    sizes = np.zeros(len(network.kinds), dtype=np.int64)
    for kind in network.kinds:
        k = kind.index
        order = np.argsort(value[ends[k] : ends[k + 1]], kind="stable")[: settings.pair_columns] + ends[k]
        short[k, : len(order)], sizes[k] = order, len(order)
    unit_kind = np.repeat(np.arange(len(network.kinds)), [kind.count for kind in network.kinds])
    chosen = short[unit_kind, 0].copy()
    if start is not None:
        place = {id(column): j for j, column in enumerate(columns) if column is not None}
        waiting: dict[int, list[int]] = {}
        for column, count in zip(*start, strict=True):
            if id(column) in place:
                waiting.setdefault(column.kind, []).extend([place[id(column)]] * round(count))
        for h, kind_index in enumerate(unit_kind):
            if waiting.get(int(kind_index)):
                chosen[h] = waiting[int(kind_index)].pop()
    if len(chosen) > settings.pair_units:
        best = _among_many(
            chosen, unit_kind, ends, short, offers, loads, charge, model, run, seconds, enough, seed
        )
    else:
        best, least, cost = chosen.copy(), math.inf, 0.0
        deadline = time.thread_time() + (seconds if run.effort is None else math.inf)
        rounds = settings.rounds if len(chosen) <= 30 else 1
        rng, idle = np.random.default_rng(seed), 0
        while idle < patience and least > enough and not run.expired() and time.thread_time() < deadline:
            before = least
            cost, least = _search(
                rng, rounds, chosen, best, unit_kind, ends, short, sizes,
                offers, loads, charge, model, 2e-3, cost, least,
            )  # fmt: skip
            idle = 0 if least < before - 1e-9 * abs(before) or not math.isfinite(before) else idle + 1
    counts: dict[int, int] = {}
    for j in best:
        if columns[j] is not None:
            counts[int(j)] = counts.get(int(j), 0) + 1
    used = np.zeros(len(network.capacity))
    for j, count in counts.items():
        np.add.at(used, network.domain[offers[j]], count * loads[j])
    if (used > network.capacity * (1.0 + 1e-12)).any():
        return None
    return [columns[j] for j in counts], np.array(list(counts.values()), dtype=float)  # type: ignore[misc]


def _among_many(
    chosen: np.ndarray,
    unit_kind: np.ndarray,
    ends: np.ndarray,
    short: np.ndarray,
    offers: np.ndarray,
    loads: np.ndarray,
    charge: np.ndarray,
    model: tuple[Any, ...],
    run: Run,
    seconds: float,
    enough: float,
    seed: int,
) -> np.ndarray:
    """Sweeps over a crowd until they gain next to nothing, then again from a shaken choice; the best one."""
    settings = run.settings
    z, used = np.zeros(len(model[5])), np.zeros(len(model[3]))
    cost = sum(_put(c, 1.0, offers, loads, charge, model, z, used) for c in chosen)
    best, least = (chosen.copy(), z.copy(), used.copy()), cost
    deadline = time.thread_time() + (seconds if run.effort is None else math.inf)
    rng, idle = np.random.default_rng(seed), 0
    while idle < settings.shakes and not run.expired() and time.thread_time() < deadline:
        gain = -_sweep(
            rng, settings.pairs, chosen, unit_kind, ends, short, offers, loads, charge, model, z, used
        )
        cost -= gain
        if cost <= enough:
            return chosen
        if gain > (settings.small_gain * (cost - enough) if math.isfinite(enough) else 1e-6 * abs(cost)):
            continue
        if cost < least - 1e-9 * abs(least):
            best, least, idle = (chosen.copy(), z.copy(), used.copy()), cost, 0
        else:
            for mine, kept in zip((chosen, z, used), best, strict=True):
                mine[:] = kept
            cost, idle = least, idle + 1
        for h in rng.integers(0, len(chosen), size=3 + len(chosen) // 100):
            c = short[
                unit_kind[h], rng.integers(0, min(settings.shaken_columns, (short[unit_kind[h]] >= 0).sum()))
            ]
            cost += _put(chosen[h], -1.0, offers, loads, charge, model, z, used)
            cost += _put(c, 1.0, offers, loads, charge, model, z, used)
            chosen[h] = c
    return best[0]


def _model(catalogue: Catalogue, missing: float, cells: int) -> tuple[Any, ...]:
    """Cost tables of the offers over their total load (work, factor included) and the capacities."""
    network = catalogue.network
    limit = network.capacity[network.domain]
    table = np.empty((len(network.names), cells))
    for o, curve in enumerate(network.curves):
        rates = np.linspace(0.0, limit[o] / network.factor[o], cells) / network.slot
        table[o] = curve.variable(rates)
    return table, limit / (cells - 1), limit, network.capacity, float(missing), network.domain
