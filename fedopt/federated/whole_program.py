"""The integer program over the cuts: the plan of whole heads that is cheapest if the cuts are exact."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

from fedopt.federated.certificate import Below
from fedopt.federated.evidence import Evidence
from fedopt.federated.room import Room
from fedopt.federated.rounds import Run

__all__ = ["Candidates", "Found", "cheapest"]

Floats = npt.NDArray[np.float64]
_SECONDS = 30.0


@dataclass(frozen=True, eq=False)
class Candidates:
    """Which columns matter: their reduced costs at prices whose bound is `bound`; `complete` whether every
    column of the catalogue with a reduced cost below `room` is among them, and no better plan needs others.
    """

    reduced: Floats
    bound: float
    room: float
    complete: bool


@dataclass(frozen=True, eq=False)
class Found:
    """Multiplicities of the columns (None where nothing is below the cut-off), what they would cost, and a
    bound on what any multiplicities of the candidates cost."""

    x: Floats | None
    value: float
    bound: float


def cheapest(
    evidence: Evidence, candidates: Candidates | None, room: Room, cutoff: float, gap: float, run: Run
) -> Found | None:
    """The answer of the integer program over the candidates (all columns at hand without any); None where
    there is none in time. `room`: where domains end.
    """
    flows = evidence.flows
    program = Below(flows, evidence.groups)
    for cut in evidence.cuts:
        program.add(cut)
    program.take_columns()
    lp = program.lp
    for domain, offers, factors in room.rows():
        if np.isfinite(room.most[domain]):
            lp.addRow(-highspy.kHighsInf, float(room.most[domain]), len(offers), offers, factors)
    upper = flows.counts[flows.kind]
    if candidates is not None:
        short = len(candidates.reduced)
        far = candidates.reduced > max(min(cutoff - candidates.bound, candidates.room), 0.0)
        upper = np.concatenate([np.where(far, 0.0, upper[:short]), np.zeros(len(upper) - short)])
    columns = np.array(program.positions, dtype=np.int32)
    lp.changeColsBounds(len(columns), columns, np.zeros(len(columns)), upper)
    lp.changeColsIntegrality(len(columns), columns, np.full(len(columns), highspy.HighsVarType.kInteger))
    for option, value in (("mip_rel_gap", 0.2 * gap), ("time_limit", min(_SECONDS, run.left()))):
        lp.setOptionValue(option, float(value))
    for option in ("mip_feasibility_tolerance", "primal_feasibility_tolerance"):
        lp.setOptionValue(option, 1e-9)

    def look(event: object) -> None:
        if run.expired():
            event.data_in.user_interrupt = 1  # type: ignore[attr-defined]

    lp.cbMipInterrupt += look
    lp.run()
    if lp.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        return Found(None, float("inf"), float("inf"))
    info = lp.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    x = np.round(program.flow())
    return Found(x, float(info.objective_function_value), float(info.mip_dual_bound))
