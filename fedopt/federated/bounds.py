"""What the answers of the operators certify: two linear programs between which the optimum lies.

An answer z at prices λ with λ in the subdifferential of the operators' cost G there, and the sums G(z) and
D = min_y G(y) − λ·y, say G(v) ≥ D + λ·v for every v, and that z can be carried for G(z). Hence

- below:  min over flows x of charges + max_i (D_i + λ_i·v);  its dual mixes the prices, Σα_iλ_i, and the
  pricing oracle at the mixture makes it a bound over all paths;
- above:  min over x and weights α of charges + Σα_i G(z_i)  with  v ≤ Σα_i z_i, since loads below what can be
  carried can be carried, and cost no more.

Both need only sums over the operators (one group), or one set of them per operator (the bundle method).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import highspy
import numpy as np
import numpy.typing as npt

from fedopt.federated.flows import QUICK, Cut, Flows
from fedopt.federated.session import Round

__all__ = ["Above", "Below", "BoundTracker", "FlowProgram"]

Floats = npt.NDArray[np.float64]

_INF = highspy.kHighsInf

_TINY = 1e-9

_GAVE_UP = (
    highspy.HighsModelStatus.kSolveError,
    highspy.HighsModelStatus.kUnknown,
    highspy.HighsModelStatus.kPresolveError,
    highspy.HighsModelStatus.kPostsolveError,
)


def _tidied(values: Floats) -> Floats:
    """The values without those that only upset a simplex basis. A smaller price is a weaker cut and a smaller
    load carried a weaker point, so what is certified stays true."""
    return np.where(values < _TINY * float(values.max(initial=0.0)), 0.0, values)


class FlowProgram:
    """A persistent linear program over the flows: rows of kinds, rows of offers, columns as they come."""

    def __init__(self, flows: Flows) -> None:
        self.flows = flows
        lp = self.lp = highspy.Highs()
        lp.setOptionValue("output_flag", False)
        lp.setOptionValue("threads", 1)
        for count in flows.counts:
            lp.addRow(-_INF if flows.profit else float(count), float(count), 0, [], [])
        self.kinds = len(flows.counts)
        self._columns: list[int] = []

    def take_columns(self) -> None:
        """Take over the flows' columns that are new since the last time."""
        flows, first = self.flows, len(self._columns)
        matrix, charge = flows.matrix, flows.charge
        for j in range(first, len(flows.columns)):
            part = slice(matrix.indptr[j], matrix.indptr[j + 1])
            rows = np.concatenate([[flows.kind[j]], self.kinds + matrix.indices[part]]).astype(np.int32)
            values = np.concatenate([[1.0], matrix.data[part]])
            self._columns.append(self.lp.getNumCol())
            self.lp.addCol(float(charge[j]), 0.0, _INF, len(rows), rows, values)

    @property
    def positions(self) -> list[int]:
        """Where the flows' columns stand in the program."""
        return self._columns

    def solve(self) -> bool:
        """Whether it has an optimum; where the simplex method gives up, interior points are asked."""
        self.lp.run()
        status = self.lp.getModelStatus()
        if status in _GAVE_UP:
            self.lp.clearSolver()
            self.lp.setOptionValue("solver", "ipm")
            self.lp.run()
            self.lp.setOptionValue("solver", "choose")
            status = self.lp.getModelStatus()
        return bool(status == highspy.HighsModelStatus.kOptimal)

    @property
    def value(self) -> float:
        """The optimum."""
        return float(self.lp.getInfo().objective_function_value)

    def dual(self) -> Floats:
        """Duals of all rows."""
        return np.array(self.lp.getSolution().row_dual)

    def flow(self) -> Floats:
        """Multiplicities of the flows' columns."""
        return np.array(self.lp.getSolution().col_value)[self._columns]


class Below(FlowProgram):
    """The lower bound: cuts of the operators' costs, one unknown cost for each group of offers."""

    def __init__(self, flows: Flows, groups: Sequence[np.ndarray]) -> None:
        super().__init__(flows)
        self.groups = list(groups)
        self.best, self.prices, self.support = -math.inf, np.zeros(flows.offers), 0.0
        self.least = np.zeros(self.kinds)
        for o in range(flows.offers):
            self.lp.addRow(0.0, 0.0, 0, [], [])
            self.lp.addCol(0.0, -_INF, _INF, 1, [self.kinds + o], [-1.0])
        for _ in self.groups:  # no cost is negative
            self.lp.addCol(1.0, 0.0, _INF, 0, [], [])
        self.cuts: list[Cut] = []

    def add(self, cut: Cut) -> None:
        """A new cut."""
        members = self.groups[cut.group]
        columns = np.concatenate([members, [self.flows.offers + cut.group]]).astype(np.int32)
        values = np.concatenate([-_tidied(cut.prices[members]), [1.0]])
        self.lp.addRow(float(cut.support), _INF, len(columns), columns, values)
        self.cuts.append(cut)

    def bound(self, above: float, gap: float, passes: int = 3) -> float:
        """The best lower bound so far, after a few passes of the oracle.

        Every path is looked at only where that can close the gap to an upper bound; a looser bound is as good
        before.
        """
        flows = self.flows
        effort: int | None = QUICK if flows.finite else None
        for remaining in reversed(range(passes)):
            self.take_columns()
            if not self.solve():
                break
            dual = self.dual()
            support, prices = self._mixed(np.maximum(dual[self.kinds + flows.offers :], 0.0))
            close = above - self.value <= 1.1 * gap * abs(above)
            effort = None if close and (effort is None or not remaining) else effort
            least, added = flows.price(prices, flows.cheapest(prices), 0.1 * gap, effort)
            value = flows.total(least) + support
            if value > self.best:
                self.best, self.prices, self.least, self.support = value, prices, least, support
            if above - self.best <= gap * abs(above) or not remaining:
                break
            if not added:
                if effort is None or not close:
                    break
                effort = None
        return self.best

    def bound_on_all(self) -> float | None:
        """What no plan costs less than, whatever it reserves: the bound at the best prices with every domain
        at its floor. None where domains keep their envelopes to themselves."""
        least = self.flows.relaxed(self.prices) if math.isfinite(self.best) else None
        return None if least is None else self.flows.total(least) + self.support

    def _mixed(self, weights: Floats) -> tuple[float, Floats]:
        """Σα_iD_i and Σα_iλ_i with weights that add up to one at most in each group."""
        totals = np.zeros(len(self.groups))
        for cut, weight in zip(self.cuts, weights, strict=True):
            totals[cut.group] += weight
        scale = 1.0 / np.maximum(totals, 1.0)
        prices, support = np.zeros(self.flows.offers), 0.0
        for cut, weight in zip(self.cuts, weights, strict=True):
            if weight > 0.0:
                members = self.groups[cut.group]
                share = weight * scale[cut.group]
                prices[members] += share * cut.prices[members]
                support += share * cut.support
        return support - 1e-12 * abs(support), prices


class Above(FlowProgram):
    """The upper bound: loads that the operators can carry at a known cost, mixed in each group."""

    def __init__(self, flows: Flows, groups: Sequence[np.ndarray]) -> None:
        super().__init__(flows)
        self.groups = list(groups)
        self.best = math.inf
        self.loads = np.zeros(flows.offers)
        self.prices = np.zeros(flows.offers)
        for _ in range(flows.offers):
            self.lp.addRow(-_INF, 0.0, 0, [], [])
        for _ in self.groups:  # nothing is carried for nothing
            self.lp.addRow(-_INF, 1.0, 0, [], [])
        self.points = 0

    def add(self, group: int, loads: Floats, cost: float) -> None:
        """Loads (offers,) that the group can carry for a cost."""
        members = self.groups[group]
        rows = np.concatenate([self.kinds + members, [self.kinds + self.flows.offers + group]]).astype(
            np.int32
        )
        values = np.concatenate([-_tidied(loads[members]), [1.0]])
        self.lp.addCol(float(cost), 0.0, _INF, len(rows), rows, values)
        self.points += 1

    def bound(self, gap: float, passes: int = 2) -> float:
        """The best upper bound on the relaxation so far; infinite while no mixture carries all."""
        flows = self.flows
        for remaining in reversed(range(passes)):
            self.take_columns()
            if not self.solve():
                break
            dual = self.dual()
            if self.value < self.best:
                self.best = self.value
                self.loads = flows.loads(self.flow())
            self.prices = np.maximum(-dual[self.kinds : self.kinds + flows.offers], 0.0)
            if not remaining:
                break
            _, added = flows.price(self.prices, flows.cheapest(self.prices), 0.2 * gap)
            if not added:
                break
        return self.best


class BoundTracker:
    """Bounds of the relaxation (units may be split over paths) from the answers so far."""

    def __init__(self, flows: Flows, groups: Sequence[np.ndarray]) -> None:
        self.flows = flows
        self.groups = list(groups)
        self.below, self.above = Below(flows, groups), Above(flows, groups)
        self._masks = [np.isin(np.arange(flows.offers), members) for members in groups]

    @property
    def cuts(self) -> list[Cut]:
        """All cuts, in the order of the rounds."""
        return self.below.cuts

    @property
    def lower(self) -> float:
        """No plan costs less."""
        return self.below.best

    @property
    def upper(self) -> float:
        """What the best split plan costs whose loads the operators can carry."""
        return self.above.best

    @property
    def gap(self) -> float:
        """Relative distance of the two; infinite while no split plan is known."""
        if not (math.isfinite(self.upper) and math.isfinite(self.lower)):
            return math.inf
        return max(self.upper - self.lower, 0.0) / max(abs(self.upper), 1e-300)

    def take(self, proposed: Floats, answer: Round) -> None:
        """The answers of a round to the loads proposed."""
        for group, totals in answer.totals.items():
            mask = self._masks[group]
            self.below.add(Cut(group, totals.support, np.where(mask, answer.prices, 0.0)))
            self.above.add(group, answer.loads, totals.cost)
            if totals.fits:
                self.above.add(group, np.maximum(proposed, 0.0), totals.proposed_cost)

    def bound(self, gap: float) -> float:
        """Bring both bounds up to date; the relative gap."""
        upper = self.above.bound(gap)
        self.below.bound(upper, gap)
        return self.gap
