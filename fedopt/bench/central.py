"""The central method on generated instances: time, peak memory, rounds, columns and the certified gap."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fedopt.bench.row import Row
from fedopt.central import solve
from fedopt.instance.generating import generate

if TYPE_CHECKING:
    from fedopt.instance import Instance

__all__ = ["CASES", "Case", "measured", "parse_case", "rows", "warm_up"]

SIZES = "TENANTSxSTAGESxDOMAINS[xOFFERS][:KINDS][@BINDING]"


@dataclass(frozen=True)
class Case:
    """A generated instance and the gap to certify.

    ``kinds`` tenants are listed (None: every one), each domain has ``offers``, about the share ``binding`` of
    the domains is full. Without another limit a solve ends after ``seconds``.
    """

    tenants: int
    stages: int
    domains: int
    kinds: int | None = None
    gap: float = 1e-3
    offers: int = 1
    binding: float = 1 / 3
    seconds: float = 300.0

    def __str__(self) -> str:
        size = f"{self.tenants}x{self.stages}x{self.domains}"
        offers = "" if self.offers == 1 else f"x{self.offers}"
        kinds = "" if self.kinds is None else f":{self.kinds}"
        binding = "" if self.binding == 1 / 3 else f"@{self.binding:g}"
        return f"{size}{offers}{kinds}{binding}"

    def instance(self, seed: int) -> Instance:
        """The generated instance."""
        return generate(
            self.tenants,
            self.stages,
            self.domains,
            seed,
            kinds=self.kinds,
            offers=self.offers,
            binding=self.binding,
        )


CASES = (
    Case(100, 3, 8, gap=5e-3),
    Case(1_000, 4, 12),
    Case(10_000, 5, 20, gap=2e-3),
    Case(100, 3, 8, offers=3, gap=5e-3),
    Case(1_000, 4, 12, offers=3),
    Case(1_000, 5, 20, binding=0.5, gap=3e-3),
    Case(20, 3, 8, seconds=60.0),
    Case(50, 3, 8, seconds=60.0),
    Case(200, 4, 12),
    Case(1_000_000, 4, 12, kinds=200),
)
"""The three sizes, two of them with three offers a domain; the hard regimes (half the domains binding; few
tenants, where the relaxation is 3–6 % away); 200 tenants, and a million in 200 kinds."""


def parse_case(text: str, gap: float | None = None) -> Case:
    """TENANTSxSTAGESxDOMAINS[xOFFERS][:KINDS][@BINDING] as a case. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+)x(\d+)x(\d+)(?:x(\d+))?(?::(\d+))?(?:@(0?\.\d+|0))?", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size; write {SIZES}, such as 100x3x8")
    tenants, stages, domains = (int(part) for part in found.groups()[:3])
    case = Case(tenants, stages, domains, kinds=None if found[5] is None else int(found[5]))
    if found[4] is not None:
        case = replace(case, offers=int(found[4]))
    if found[6] is not None:
        case = replace(case, binding=float(found[6]))
    case = next((known for known in CASES if str(known) == str(case)), case)
    return case if gap is None else replace(case, gap=gap)


def rows(case: Case, time_limit: float | None = None, seed: int = 0) -> list[Row]:
    """The solve of one case, after a small one that loads the compiled code."""
    warm_up(case.stages)
    plan, seconds = measured(case.instance(seed), gap=case.gap, time_limit=time_limit or case.seconds)
    more = {
        "status": plan.status,
        "rounds": len(plan.history),
        "columns": plan.history[-1].columns if plan.history else None,
        "cost": plan.cost,
        "gap_asked": case.gap,
        "catalogue_gap": plan.catalogue_gap,
    }
    return [Row(str(case), seconds, gap=plan.gap, more=more)]


def warm_up(stages: int, guarantee: str = "minplus") -> None:
    """Compile, or load, what a solve of so many stages calls."""
    solve(generate(8, stages, 3, seed=0), guarantee=guarantee, gap=1e-2, time_limit=20.0)


def measured(instance: Instance, **options: Any) -> tuple[Any, float]:
    """(plan, wall-clock seconds) of a central solve."""
    start = time.perf_counter()
    plan = solve(instance, **options)
    return plan, time.perf_counter() - start
