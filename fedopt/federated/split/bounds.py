"""What the answers about shares prove: tangents of the rates, and the least cost of every lane under them.

An answer z at worth w, prices p and penalties, asked at the shares S, says that p' = p + penalties·(S − z) is
a subgradient of w·r at z, r the least rate as a function of the shares. r is convex in time, risk, the margin
stated and the margins of the domains before (split.md), the burst acts like the logarithm of the risk, and
both slopes are one: ∂r/∂B = −e ∂r/∂e. So one answer gives a tangent that lies below the rate for all shares,
on every path through the offer whose base bursts before it are no smaller than those it was asked with. The
least of Σ worth·rate over a lane's shares is then a linear program. An answer where a unit of rate is worth
nothing tells in the same way which shares are out of reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import highspy
import numpy as np
import numpy.typing as npt

from fedopt.federated.split.lanes import LARGEST_MARGIN, LEAST_MARGIN, Answers, Hops, Lane, after

__all__ = ["Key", "LaneProgram", "Tangent", "Tangents"]

Floats = npt.NDArray[np.float64]
Key = tuple[int, int, int, float]
"""Service, θ, offer, Hölder exponent: what a rate depends on besides shares and bursts."""

_SAFE, _ROUNDING = 1e-9, 1e-12
_RANGE = np.array([1.0, 1.0, LARGEST_MARGIN])
_INF = highspy.kHighsInf


@dataclass(frozen=True, eq=False)
class Tangent:
    """rate ≥ constant + slots·y + risk·e + margin·z + before·(margins of the domains before), or 0 in place
    of the rate where it is a `wall`; for base bursts before it of `base` nats and more.
    """

    constant: float
    slots: float
    risk: float
    margin: float
    before: Floats
    base: float
    wall: bool


@dataclass(eq=False)
class Tangents:
    """All tangents, by key; `impossible` are the keys of which no rate will do."""

    by_key: dict[Key, list[Tangent]] = field(default_factory=dict)
    impossible: set[Key] = field(default_factory=set)

    def add(self, hops: Hops, answers: Answers) -> dict[Key, Tangent]:
        """Take the answers; the last tangent of each key among them."""
        fresh: dict[Key, Tangent] = {}
        slopes = after(hops, answers)
        size = np.abs(hops.prices) + hops.pulls * (np.abs(hops.shares) + np.abs(answers.wanted))
        noise = _ROUNDING * size  # what rounding leaves of a slope
        slopes = np.where(np.abs(slopes) <= noise, 0.0, slopes)
        for n in range(len(hops)):
            key = (int(hops.service[n]), int(hops.theta[n]), int(hops.offer[n]), float(hops.power[n]))
            rate = float(answers.rate[n])
            if not math.isfinite(rate):
                continue
            time, risk, margin = answers.wanted[n]
            worth = float(hops.worth[n])
            if rate < 0.0:
                if not np.any(answers.wanted[n] != hops.shares[n]):
                    self.impossible.add(key)
                continue
            wall = not worth > 0.0
            if wall and not slopes[n].any():
                continue
            slope = slopes[n] if wall else slopes[n] / worth
            doubt = float(noise[n] @ _RANGE) / (1.0 if wall else worth)
            slots = slope[0] / float(hops.slots[n])
            before = hops.before[n, : int(hops.stage[n])]
            per_burst = max(-float(risk) * float(slope[1]), 0.0)
            turned = -per_burst / np.expm1(before)  # φ' of a margin before
            parts = [slope[0] * time, slope[1] * risk, slope[2] * margin, float(turned @ before)]
            value = 0.0 if wall else rate
            constant = value - math.fsum(parts) - _SAFE * (value + sum(map(abs, parts))) - doubt
            tangent = Tangent(
                constant,
                float(slots),
                float(slope[1]),
                float(slope[2]),
                turned,
                float(hops.base[n]),
                wall,
            )
            if not wall:
                fresh[key] = tangent
            self.by_key.setdefault(key, []).append(tangent)
        return fresh


class LaneProgram:
    """The linear program of one lane; rates in the operators' units per unit of time. `binding` are the
    tangents of each hop that decided an answer so far.
    """

    def __init__(self, lane: Lane, base: Floats, tangents: Tangents) -> None:
        """base: base bursts of the lane's domains, nats, (L,)."""
        self._tangents = tangents
        self._base = np.cumsum(base) - base
        self._keys = [
            (lane.service, lane.theta, int(o), float(p))
            for o, p in zip(lane.offers, lane.powers, strict=True)
        ]
        length = self._length = len(self._keys)
        lp = self._lp = highspy.Highs()
        lp.setOptionValue("output_flag", False)
        lp.setOptionValue("threads", 1)
        for high in (lane.slots, 1.0):
            for _ in range(length):
                lp.addVar(0.0, high)
            first = lp.getNumCol() - length
            lp.addRow(-_INF, high, length, np.arange(first, first + length, dtype=np.int32), np.ones(length))
        for _ in range(length):
            lp.addVar(LEAST_MARGIN, LARGEST_MARGIN)
        for _ in range(length):
            lp.addVar(0.0, _INF)
        self._taken = [0] * length
        self._rows: list[tuple[int, Tangent]] = []
        self._first_row = lp.getNumRow()
        self.binding: list[dict[int, Tangent]] = [{} for _ in range(length)]

    def least(self, worth: Floats) -> float:
        """A lower bound on Σ worth·rate over the lane's shares, worth (L,); +inf where no rate will do."""
        if any(key in self._tangents.impossible for key in self._keys):
            return math.inf
        length, lp = self._length, self._lp
        for i, key in enumerate(self._keys):
            known = self._tangents.by_key.get(key, [])
            for tangent in known[self._taken[i] :]:
                if tangent.base > self._base[i] + 1e-12:
                    continue
                index = [i, length + i, 2 * length + i, *range(2 * length, 2 * length + i), 3 * length + i]
                value = [-tangent.slots, -tangent.risk, -tangent.margin, *-tangent.before, 1.0]
                if tangent.wall:
                    del index[-1], value[-1]
                if i == length - 1:  # the last domain states no margin
                    del index[2], value[2]
                lp.addRow(tangent.constant, _INF, len(index), np.array(index, np.int32), np.array(value))
                self._rows.append((i, tangent))
            self._taken[i] = len(known)
            lp.changeColCost(3 * length + i, float(worth[i]))
        lp.run()
        status = lp.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            return math.inf
        if status != highspy.HighsModelStatus.kOptimal:
            return 0.0
        for row in np.flatnonzero(np.array(lp.getSolution().row_dual)[self._first_row :] > 0.0):
            hop, tangent = self._rows[row]
            self.binding[hop][id(tangent)] = tangent
        return float(lp.getInfo().objective_function_value)
