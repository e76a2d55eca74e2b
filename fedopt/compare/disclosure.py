"""What a method is shown of the numbers that operators would rather keep: costs and capacities, and under the
split guarantee their contracts.

A method that plans an instance as a whole is given all of them. A federated one is given none; its ledger
says how many numbers the operators told it, quotes and loads, and costs where sums are not masked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedopt.instance import Linear, Piecewise, Quadratic

if TYPE_CHECKING:
    from fedopt.instance import Instance
    from fedopt.plan import Plan

__all__ = ["Disclosure", "disclosed", "private_numbers"]


@dataclass(frozen=True)
class Disclosure:
    """`given`: private numbers that the planner was handed outright; `told`: numbers that operators answered
    in rounds, `costs` those of them that state an operator's cost in the clear (None without operators).
    """

    given: int
    told: int | None = None
    costs: int | None = None

    def __str__(self) -> str:
        if self.told is None:
            return f"{self.given} private"
        return f"{self.told} told, {self.costs} costs"


def disclosed(plan: Plan, instance: Instance) -> Disclosure:
    """What the planner of a plan was shown."""
    if not plan.ledger:
        return Disclosure(private_numbers(instance, plan.guarantee))
    told: Counter[str] = Counter()
    for boundary in plan.ledger.get("boundaries", ()):
        told.update(boundary["told"])
    return Disclosure(0, told.total(), told["costs"])


def private_numbers(instance: Instance, guarantee: str) -> int:
    """How many numbers of an instance its operators keep: capacities and cost curves, under the split
    guarantee latencies and impairments too. A connection charge (`fixed`) is a public tariff.
    """
    count = 0
    for domain in instance.domains:
        count += 1
        for offer in domain.offers:
            count += _of_cost(offer.cost)
            if guarantee == "split":
                count += 1 + _of_impairment(offer.impairment)
    return count


def _of_cost(cost: Any) -> int:
    match cost:
        case Linear():
            return 1
        case Quadratic():
            return 2
        case Piecewise():
            return 2 * (len(cost.points) - 1)
    return 1  # a curve of the operator's own


def _of_impairment(impairment: Any) -> int:
    dump = getattr(impairment, "model_dump", None)
    return 1 if dump is None else _numbers(dump(mode="json"))


def _numbers(value: object) -> int:
    if isinstance(value, dict):
        return sum(_numbers(item) for item in value.values())
    if isinstance(value, list):
        return sum(_numbers(item) for item in value)
    return int(isinstance(value, int | float) and not isinstance(value, bool))
