"""Why an instance has no plan and what would mend it; what binds in one that has, and what relaxing it is
worth.

Finite steps are computed by solving what-if instances, shadow prices by differentiating the calculus; nothing
is guessed.
"""

from fedopt.explain.binding import Worth, worths
from fedopt.explain.explaining import Report, explain
from fedopt.explain.infeasibility import infeasibility
from fedopt.explain.oracle import Budget, Feasibility
from fedopt.explain.shadow import Shadow, ShadowPrices, shadow_prices

__all__ = [
    "Budget",
    "Feasibility",
    "Report",
    "Shadow",
    "ShadowPrices",
    "Worth",
    "explain",
    "infeasibility",
    "shadow_prices",
    "worths",
]
