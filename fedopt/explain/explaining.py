"""One answer to "why?": reasons where there is no plan, worths where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedopt.explain.binding import Worth, worths
from fedopt.explain.infeasibility import infeasibility
from fedopt.explain.oracle import Budget, Feasibility, Solver
from fedopt.explain.shadow import ShadowPrices, shadow_prices
from fedopt.plan.document import Explanation, Plan

if TYPE_CHECKING:
    from fedopt.instance import Instance


SHOWN = 12
"""Shadow prices that the report in words names."""


@dataclass(frozen=True)
class Report:
    """What was found: `reasons` if the instance has no plan, else what binds.

    `binding` are finite steps, each of them solved again for its tenant at the plan's prices; `shadow` are
    first derivatives at the plan.
    """

    instance: str
    guarantee: str
    status: str
    cost: float | None
    reasons: tuple[Explanation, ...]
    binding: tuple[Worth, ...]
    shadow: ShadowPrices | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "instance": self.instance,
            "guarantee": self.guarantee,
            "status": self.status,
            "cost": self.cost,
            "reasons": [reason.model_dump(mode="json") for reason in self.reasons],
            "binding": [worth.to_dict() for worth in self.binding],
            "shadow_prices": None if self.shadow is None else self.shadow.to_dict(),
        }

    def text(self) -> str:
        """The report in words."""
        lines = []
        if self.status == "infeasible":
            lines.append(f"{self.instance} has no plan under {self.guarantee} that serves all.")
            for reason in self.reasons:
                lines.append(f"• {reason.message}.")
                lines.extend(f"    → {remedy.message}" for remedy in reason.remedies)
                if not reason.remedies:
                    lines.append("    No single change was found that would mend it.")
            if not self.reasons:
                lines.append("No reason was found in the time given.")
        elif self.status == "limit":
            lines.append(
                f"{self.instance}: a limit was reached before any plan; there is nothing to explain yet."
            )
        else:
            lines.append(f"{self.instance} has a plan under {self.guarantee} at a cost of {self.cost:.6g}.")
            lines.append(
                "What binds, and what relaxing it is worth (each tenant planned again at the plan's prices):"
                if self.binding
                else "Nothing binds."
            )
            lines.extend(f"• {worth.message}" for worth in self.binding)
            lines.extend(self._shadow_lines())
        return "\n".join(lines)

    def _shadow_lines(self) -> list[str]:
        if self.shadow is None:
            return []
        prices = [price for price in self.shadow.prices if price.parameter != "capacity"]
        if not prices:
            return [f"The guarantee {self.guarantee} has no shadow prices but those of capacity."]
        spoken = "" if self.shadow.share > 0.999 else f", for {100 * self.shadow.share:.0f} % of the cost"
        lines = [f"Shadow prices, at the plan's paths to first order{spoken}:"]
        lines.extend(f"• {price.message}" for price in prices[:SHOWN])
        if len(prices) > SHOWN:
            lines.append(f"  and {len(prices) - SHOWN} more (--json lists them all)")
        return lines


def explain(
    instance: Instance,
    guarantee: str = "minplus",
    *,
    plan: Plan | None = None,
    seconds: float = 60.0,
    solver: Solver | None = None,
) -> Report:
    """Explain an instance: solve it (unless its plan is given), then say why there is no plan, or what binds.

    `seconds` limits the solve, and then the explanation; `solver` replaces the central method.
    """
    if plan is None:
        plan = Feasibility(guarantee, Budget(seconds), solver).plan(instance, gap=1e-3)
    feasible = Feasibility(guarantee, Budget(seconds), solver)
    reasons = list(plan.explanation)
    if plan.status == "infeasible" and not any(reason.remedies for reason in reasons):
        found = infeasibility(instance, guarantee, seconds=seconds, solver=solver)
        reasons = found or reasons
    binding: list[Worth] = []
    shadow = None
    if plan.has_plan:
        shadow = shadow_prices(instance, plan, Budget(0.5 * seconds))
        binding = worths(instance, plan, feasible)
    return Report(instance.name, guarantee, plan.status, plan.cost, tuple(reasons), tuple(binding), shadow)
