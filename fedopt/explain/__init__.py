"""Why an instance has no plan and what would mend it; what binds in one that has, and what relaxing it is
worth.

Everything is computed by solving what-if instances, never guessed.
"""

from fedopt.explain.binding import Worth, worths
from fedopt.explain.explaining import Report, explain
from fedopt.explain.infeasibility import infeasibility
from fedopt.explain.oracle import Budget, Feasibility

__all__ = ["Budget", "Feasibility", "Report", "Worth", "explain", "infeasibility", "worths"]
