"""The plan: its document, its summary in words, and checking it independently of the solvers."""

from fedopt.plan.document import (
    DomainPlan,
    Explanation,
    HistoryRow,
    InstanceReference,
    Plan,
    PlanError,
    Remedy,
    TenantPlan,
    TenantPlans,
    plan_schema,
    relative_gap,
    split_hop,
)
from fedopt.plan.progress import Progress

__all__ = [
    "DomainPlan",
    "Explanation",
    "HistoryRow",
    "InstanceReference",
    "Plan",
    "PlanError",
    "Progress",
    "Remedy",
    "TenantPlan",
    "TenantPlans",
    "plan_schema",
    "relative_gap",
    "split_hop",
]
