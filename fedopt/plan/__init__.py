"""The plan: its document, its summary in words, and checking it independently of the solvers."""

from fedopt.plan.checking import CheckReport, Finding, check
from fedopt.plan.document import (
    DomainPlan,
    Explanation,
    HistoryRow,
    InstanceReference,
    LearnedPromise,
    Plan,
    PlanError,
    Remedy,
    TenantPlan,
    TenantPlans,
    plan_schema,
    relative_gap,
    split_hop,
)
from fedopt.plan.guarantees import FORMS, GUARANTEES, MEASURED, THEOREMS, GuaranteeError, check_guarantee
from fedopt.plan.progress import Progress

__all__ = [
    "FORMS",
    "GUARANTEES",
    "MEASURED",
    "THEOREMS",
    "CheckReport",
    "DomainPlan",
    "Explanation",
    "Finding",
    "GuaranteeError",
    "HistoryRow",
    "InstanceReference",
    "LearnedPromise",
    "Plan",
    "PlanError",
    "Progress",
    "Remedy",
    "TenantPlan",
    "TenantPlans",
    "check",
    "check_guarantee",
    "plan_schema",
    "relative_gap",
    "split_hop",
]
