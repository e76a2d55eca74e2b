"""The central method on generated instances: time, peak memory, rounds, columns and the certified gap."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace

from fedopt.bench.row import Row
from fedopt.central import solve
from fedopt.instance.generating import generate


@dataclass(frozen=True)
class Case:
    """A generated instance and the gap to certify; ``kinds`` tenants are listed (None: every one)."""

    tenants: int
    stages: int
    domains: int
    kinds: int | None = None
    gap: float = 1e-3

    def __str__(self) -> str:
        kinds = "" if self.kinds is None else f":{self.kinds}"
        return f"{self.tenants}x{self.stages}x{self.domains}{kinds}"


CASES = (Case(100, 3, 8, gap=5e-3), Case(1_000, 4, 12), Case(10_000, 5, 20, gap=2e-3))


def parse_case(text: str, gap: float | None = None) -> Case:
    """TENANTSxSTAGESxDOMAINS[:KINDS] as a case. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+)x(\d+)x(\d+)(?::(\d+))?", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size; write TENANTSxSTAGESxDOMAINS, such as 100x3x8")
    tenants, stages, domains = (int(part) for part in found.groups()[:3])
    case = Case(tenants, stages, domains, kinds=None if found[4] is None else int(found[4]))
    if gap is None:
        gap = next((known.gap for known in CASES if str(known) == str(case)), case.gap)
    return replace(case, gap=gap)


def rows(case: Case, time_limit: float | None = None, seed: int = 0) -> list[Row]:
    """The solve of one case, after a small one that loads the compiled code."""
    solve(generate(3, 2, 2, seed=0))
    instance = generate(case.tenants, case.stages, case.domains, seed, kinds=case.kinds)
    start = time.perf_counter()
    plan = solve(instance, gap=case.gap, time_limit=time_limit)
    seconds = time.perf_counter() - start
    more = {
        "status": plan.status,
        "rounds": len(plan.history),
        "columns": plan.history[-1].columns if plan.history else None,
        "cost": plan.cost,
        "gap_asked": case.gap,
    }
    return [Row(str(case), seconds, gap=plan.gap, more=more)]
