"""The restricted master problem: a persistent linear program over the columns found so far.

minimise  Σ_j charge_j x_j + Σ_o v_o(z_o) + overflow price · overflow
subject to  Σ_{j of kind k} x_j = count_k  (profit: ≤, each unit earning its payment),
            Σ_o w_o Σ_j R_{j,o} x_j ≤ capacity_d + overflow_d,   z_o = Σ_j R_{j,o} x_j.

Linear cost curves sit in the columns' own cost; other curves are kept below by tangents that are added
where the solution passes them.  Everything in slots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import highspy
import numpy as np

from fedopt.pricing import Column, Network, TenantClass

__all__ = ["Duals", "Master", "Solution"]


@dataclass(frozen=True, eq=False)
class Duals:
    """Prices of a master's optimum.

    Attributes:
        unit: value of serving one more unit, shape (kinds,).
        capacity: price of a unit of capacity, shape (domains,), ≥ 0.
        marginal: marginal cost of an offer's total rate, per work/slot, shape (offers,).
    """

    unit: np.ndarray
    capacity: np.ndarray
    marginal: np.ndarray

    def prices(self, network: Network) -> np.ndarray:
        """What a unit of reserved rate costs, capacity included, shape (offers,)."""
        return self.marginal + network.factor * self.capacity[network.domain]

    def towards(self, other: Duals, weight: float) -> Duals:
        """A weighted mean of two."""
        own = 1.0 - weight
        return Duals(
            own * self.unit + weight * other.unit,
            own * self.capacity + weight * other.capacity,
            own * self.marginal + weight * other.marginal,
        )


@dataclass(frozen=True, eq=False)
class Solution:
    """A master's optimum: its value, the columns' multiplicities (columns,) and the overflow of each
    domain."""

    value: float
    x: np.ndarray
    overflow: np.ndarray


class Master:
    """The linear program, grown column by column and re-solved from its last basis.

    unit: cost of a rate is the curve at rate/slot; `profit` makes serving optional and paid.
    """

    def __init__(self, network: Network, profit: bool, overflow_price: float) -> None:
        self.network = network
        self.profit = profit
        self.overflow_price = overflow_price
        self.payments = np.array([kind.payment if profit else 0.0 for kind in network.kinds])
        self.columns: list[Column] = []
        self._path_rows: dict[tuple[int, int], int] = {}
        self._seen: set[tuple[int, bytes, bytes]] = set()
        self._curved = [
            o for o, curve in enumerate(network.curves) if getattr(curve, "model", "") != "linear"
        ]
        self._linear = np.zeros(len(network.names))
        for o, curve in enumerate(network.curves):
            if o not in set(self._curved):
                self._linear[o] = float(curve.marginal(0.0)) / network.slot
        lp = self.highs = highspy.Highs()
        lp.setOptionValue("output_flag", False)
        lp.setOptionValue("threads", 1)
        self._inf = highspy.kHighsInf
        for kind in network.kinds:
            lp.addRow(-self._inf if profit else float(kind.count), float(kind.count), 0, [], [])
        self._first_domain = len(network.kinds)
        for capacity in network.capacity:
            lp.addRow(-self._inf, float(capacity), 0, [], [])
        for d in range(len(network.capacity)):
            lp.addCol(overflow_price, 0.0, self._inf, 1, [self._first_domain + d], [-1.0])
        self._first_offer = self._first_domain + len(network.capacity)
        self._tangents: dict[int, set[float]] = {}
        for position, o in enumerate(self._curved):  # z_o and its cost t_o ≥ every tangent
            lp.addRow(0.0, 0.0, 0, [], [])
            lp.addCol(0.0, 0.0, self._inf, 1, [self._first_offer + position], [-1.0])
            lp.addCol(1.0, -self._inf, self._inf, 0, [], [])
            self._tangents[o] = set()
        self.first_column = len(network.capacity) + 2 * len(self._curved)
        for o in self._curved:
            self._add_tangent(o, 0.0)
            most = float(network.capacity[network.domain[o]] / network.factor[o])
            for share in (0.25, 0.5, 1.0):
                self._add_tangent(o, share * most)

    def _z(self, o: int) -> int:
        return len(self.network.capacity) + 2 * self._curved.index(o)

    def _add_tangent(self, o: int, z: float) -> bool:
        """Add t ≥ v(z) + v'(z)(z' − z) at a total rate z in work/slot; False if it is there already."""
        slot, curve = self.network.slot, self.network.curves[o]
        if any(math.isclose(z, other, rel_tol=1e-9, abs_tol=1e-12) for other in self._tangents[o]):
            return False
        self._tangents[o].add(z)
        slope = float(curve.marginal(z / slot)) / slot
        column = self._z(o)
        self.highs.addRow(
            float(curve.variable(z / slot)) - slope * z, self._inf, 2, [column, column + 1], [-slope, 1.0]
        )
        return True

    def set_overflow_price(self, price: float) -> None:
        """Change what a unit of missing capacity costs."""
        self.overflow_price = price
        for d in range(len(self.network.capacity)):
            self.highs.changeColCost(d, price)

    @staticmethod
    def _key(column: Column) -> tuple[int, bytes, bytes]:
        return column.kind, column.offers.tobytes(), np.round(column.rates, 12).tobytes()

    def knows(self, column: Column) -> bool:
        """Whether a column is in the program."""
        return self._key(column) in self._seen

    def add(self, columns: list[Column]) -> int:
        """Add columns that are not there yet; returns how many were."""
        added = 0
        for column in columns:
            if self.knows(column):
                continue
            self._seen.add(self._key(column))
            self.columns.append(column)
            rows, values, cost = self.entries(column)
            if (column.kind, column.path) in self._path_rows:
                rows.append(self._path_rows[column.kind, column.path])
                values.append(1.0)
            self.highs.addCol(cost, 0.0, self._inf, len(rows), rows, values)
            added += 1
        return added

    def entries(self, column: Column) -> tuple[list[int], list[float], float]:
        """Rows, coefficients and cost of a column."""
        network = self.network
        rows, values = [column.kind], [1.0]
        cost = column.charge - (network.kinds[column.kind].payment if self.profit else 0.0)
        for o, rate in zip(column.offers, column.rates, strict=True):
            rows.append(self._first_domain + int(network.domain[o]))
            values.append(float(network.factor[o] * rate))
            if int(o) in self._tangents:
                rows.append(self._first_offer + self._curved.index(int(o)))
                values.append(float(rate))
            else:
                cost += self._linear[o] * rate
        return rows, values, float(cost)

    def solve(self) -> tuple[Solution, Duals]:
        """The optimum over the present columns, tangents added until they hold."""
        while True:
            self.highs.run()
            status = self.highs.getModelStatus()
            if status != highspy.HighsModelStatus.kOptimal:  # the last basis led astray: once more without it
                self.highs.clearSolver()
                self.highs.run()
                status = self.highs.getModelStatus()
            if status != highspy.HighsModelStatus.kOptimal:
                raise RuntimeError(
                    f"the master linear program ended with {self.highs.modelStatusToString(status)}"
                )
            values = np.array(self.highs.getSolution().col_value)
            if not self.refine(values):
                break
        return self._solution(values), self._duals()

    def refine(self, values: np.ndarray) -> bool:
        """Add tangents where a solution (all columns' values) is above the curves' outline; False if none
        was needed."""
        added = False
        for o in self._curved:
            column = self._z(o)
            z, t = float(values[column]), float(values[column + 1])
            true = float(self.network.curves[o].variable(z / self.network.slot))
            if true > t + 1e-9 * max(1.0, abs(true)):
                added |= self._add_tangent(o, z)
        return added

    def _solution(self, values: np.ndarray) -> Solution:
        overflow = values[: len(self.network.capacity)]
        return Solution(
            float(self.highs.getInfo().objective_function_value), values[self.first_column :], overflow
        )

    def _duals(self) -> Duals:
        dual = np.array(self.highs.getSolution().row_dual)
        capacity = np.maximum(-dual[self._first_domain : self._first_offer], 0.0)
        marginal = self._linear.copy()
        for position, o in enumerate(self._curved):
            marginal[o] = max(-dual[self._first_offer + position], 0.0)
        return Duals(dual[: self._first_domain], capacity, marginal)

    def lagrangian(self, duals: Duals, least: np.ndarray) -> float:
        """The Lagrangian lower bound at any duals, given each kind's least cost a unit (kinds,), safely
        rounded down.

        Σ_k count_k·least_k − Σ_d λ_dC_d + Σ_{curved o} min_z [v_o(z) − ν_o z].
        """
        network = self.network
        terms = []
        for kind, value in zip(network.kinds, least, strict=True):
            each = min(value - kind.payment, 0.0) if self.profit else value
            terms.append(kind.count * each)
        terms.extend(-duals.capacity * network.capacity)
        for o in self._curved:
            terms.append(self._conjugate(o, float(duals.marginal[o])))
        return math.fsum(terms) - 1e-13 * math.fsum(abs(term) for term in terms)

    def _conjugate(self, o: int, price: float) -> float:
        """min over 0 ≤ z ≤ capacity of v_o(z) − price·z, by bisection on the marginal cost."""
        network, slot = self.network, self.network.slot
        curve = network.curves[o]
        low, high = 0.0, float(network.capacity[network.domain[o]] / network.factor[o])
        if float(curve.marginal(high / slot)) / slot <= price:
            low = high
        else:
            for _ in range(100):
                middle = 0.5 * (low + high)
                if float(curve.marginal(middle / slot)) / slot <= price:
                    low = middle
                else:
                    high = middle
        candidates = [float(curve.variable(z / slot)) - price * z for z in (0.0, low, high)]
        value = min(candidates)
        return value - 1e-12 * abs(value)

    def cost(self, x: np.ndarray) -> float:
        """The true cost of multiplicities of the columns (profit: less payments), overflow not counted."""
        network = self.network
        total = np.zeros(len(network.names))
        cost = 0.0
        for j in np.flatnonzero(x > 0.0):
            column = self.columns[j]
            cost += x[j] * (column.charge - (network.kinds[column.kind].payment if self.profit else 0.0))
            np.add.at(total, column.offers, x[j] * column.rates)
        return cost + sum(
            float(curve.variable(z / network.slot))
            for curve, z in zip(network.curves, total, strict=True)
            if z > 0.0
        )

    def release(self, kind: TenantClass) -> None:
        """Let the units of a kind go unserved."""
        self.highs.changeRowBounds(kind.index, -self._inf, float(kind.count))

    def adopt_tangents(self, other: Master) -> None:
        """Start from the tangents another master has found."""
        for o, points in other._tangents.items():
            for z in points:
                self._add_tangent(o, z)

    def forbid_overflow(self) -> None:
        """Let no domain carry more than its capacity."""
        for d in range(len(self.network.capacity)):
            self.highs.changeColBounds(d, 0.0, 0.0)

    def add_cut(self, coefficients: np.ndarray) -> None:
        """Demand Σ coefficient·x ≤ 1 of the present columns, shape (columns,)."""
        own = np.flatnonzero(coefficients)
        self.highs.addRow(
            -self._inf, 1.0, len(own), (self.first_column + own).astype(np.int32), coefficients[own]
        )

    def make_integer(self) -> None:
        """Ask for whole units and forbid overflow: the program becomes mixed-integer."""
        self.forbid_overflow()
        count = len(self.columns)
        indices = np.arange(self.first_column, self.first_column + count, dtype=np.int32)
        kinds = np.full(count, highspy.HighsVarType.kInteger)
        self.highs.changeColsIntegrality(count, indices, kinds)

    def suggest(self, columns: list[Column], units: np.ndarray) -> None:
        """Give the mixed-integer search a plan to start from."""
        position = {id(column): j for j, column in enumerate(self.columns)}
        values = np.zeros(self.first_column + len(self.columns))
        for column, count in zip(columns, units, strict=True):
            if id(column) not in position:
                return
            values[self.first_column + position[id(column)]] = count
        indices = np.arange(self.first_column, len(values), dtype=np.int32)
        self.highs.setSolution(len(indices), indices, values[self.first_column :])

    def loads(self, x: np.ndarray) -> np.ndarray:
        """Capacity used by multiplicities of the columns, shape (domains,), work/slot."""
        used = np.zeros(len(self.network.capacity))
        for j in np.flatnonzero(x > 0.0):
            column = self.columns[j]
            np.add.at(
                used,
                self.network.domain[column.offers],
                x[j] * column.rates * self.network.factor[column.offers],
            )
        return used

    def overloaded(self, x: np.ndarray) -> bool:
        """Whether a domain carries more than its capacity (beyond the last digits)."""
        return bool((self.loads(x) > self.network.capacity * (1.0 + 1e-12)).any())

    def tighten(self) -> None:
        """Shrink the capacities by a relative 1e-9: a solver's tolerance must not end in an overload."""
        for d, capacity in enumerate(self.network.capacity):
            self.highs.changeRowBounds(self._first_domain + d, -self._inf, float(capacity) * (1.0 - 1e-9))

    def prices(self, x: np.ndarray, duals: Duals) -> np.ndarray:
        """Marginal costs at the loads of multiplicities x, capacity at its dual, per work/slot, shape
        (offers,)."""
        network = self.network
        total = np.zeros(len(network.names))
        for column, units in zip(self.columns, x, strict=True):
            np.add.at(total, column.offers, units * column.rates)
        rates = total / network.slot
        marginal = [float(curve.marginal(z)) for curve, z in zip(network.curves, rates, strict=True)]
        prices = replace(duals, marginal=np.array(marginal) / network.slot).prices(network)
        return np.asarray(prices)

    def list_prices(self) -> np.ndarray:
        """Marginal cost of each offer at rate 0, per work/slot, shape (offers,)."""
        return np.array([float(curve.marginal(0.0)) for curve in self.network.curves]) / self.network.slot

    def limit_paths(self, units: dict[tuple[int, int], int]) -> None:
        """Fix how many units of a kind take a path, by a row each; columns added later obey."""
        for key, count in units.items():
            self._path_rows[key] = self.highs.getNumRow()
            self.highs.addRow(float(count), float(count), 0, [], [])

    def has_path(self, key: tuple[int, int]) -> bool:
        """Whether some column takes this path of this kind."""
        return any((column.kind, column.path) == key for column in self.columns)

    def worth(self, column: Column, duals: Duals) -> float:
        """What the duals say a unit on this column's path is worth."""
        value = float(duals.unit[column.kind])
        row = self._path_rows.get((column.kind, column.path))
        if row is not None:
            value += float(self.highs.getSolution().row_dual[row])
        return value + (self.network.kinds[column.kind].payment if self.profit else 0.0)
