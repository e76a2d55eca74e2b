"""Whether an entry of a plan keeps its promise: isolation, guarantee, deadline and budget shares.

Everything is recomputed by the calculus from the instance and the reservations; nothing that the plan states
is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.calculus import split
from fedopt.plan.document import TenantPlan
from fedopt.plan.guarantees import FORMS
from fedopt.plan.policy import Violation

if TYPE_CHECKING:
    from fedopt.calculus.path import Path

Evaluate = Callable[["Path", np.ndarray, str], Any]
"""(path, rates in work per slot, guarantee) → an object whose `log_bound` is the least natural log-bound."""


def promise_violations(
    path: Path, rates: np.ndarray, entry: TenantPlan, guarantee: str, evaluate: Evaluate, tolerance: float
) -> Iterator[Violation]:
    """What is wrong with the entry's promise; `rates` and `path` are in slots."""
    problem = _form_problem(entry, guarantee)
    if problem is not None:
        yield "form", None, problem
        return
    yield from _isolation(path, rates, entry, guarantee, tolerance)
    named = f"minplus:{entry.form}" if entry.form in FORMS else guarantee
    bound = float(evaluate(path, rates, named).log_bound)
    if entry.log_bound is not None and not bound <= entry.log_bound + tolerance:
        yield "bound", None, f"the log-bound stated is {entry.log_bound:.9g}, the one proven {bound:.9g}"
    if not bound <= path.log_epsilon + tolerance and named != guarantee:
        bound = min(bound, float(evaluate(path, rates, guarantee).log_bound))
    if not bound <= path.log_epsilon + tolerance:
        yield (
            "guarantee",
            None,
            f"the reservations prove a log-bound of {bound:.9g} under {guarantee}, "
            f"the SLO asks for {path.log_epsilon:.9g}",
        )


def share_violations(
    path: Path, rates: np.ndarray, entry: TenantPlan, slot: float, tolerance: float
) -> Iterator[Violation]:
    """What is wrong with the deadline and budget shares of a split entry."""
    domains = [domain for domain, _ in entry.hops()]
    for name, shares in (("deadline", entry.deadlines), ("budget", entry.budgets)):
        if set(shares) != set(domains):
            yield name, None, f"the {name} shares name {sorted(shares)}, the path crosses {sorted(domains)}"
            return
    deadlines = np.array([entry.deadlines[domain] for domain in domains]) / slot
    budgets = np.array([entry.budgets[domain] for domain in domains])
    if deadlines.sum() > path.deadline * (1 + tolerance):
        yield (
            "deadline",
            None,
            f"the deadline shares add up to {deadlines.sum() * slot:.9g}, "
            f"the deadline less link delays is {path.deadline * slot:.9g}",
        )
    if not np.all(budgets > 0) or budgets.sum() > np.exp(path.log_epsilon) * (1 + tolerance):
        yield (
            "budget",
            None,
            f"the budgets add up to {budgets.sum():.9g}, ε is {np.exp(path.log_epsilon):.9g}",
        )
        return
    excess = split.excess(split.terms(path, entry.theta or 1.0), rates, deadlines, budgets).value[0]
    for domain, late in zip(domains, excess, strict=True):
        if not late <= tolerance * max(1.0, path.deadline):
            yield (
                "share",
                domain,
                f"the share of {domain} is {late * slot:.6g} too short for its budget and rate",
            )


def _form_problem(entry: TenantPlan, guarantee: str) -> str | None:
    family, _, form = guarantee.partition(":")
    if entry.theta is None:
        return "an admitted entry must state its θ"
    if entry.form is None:
        return "an admitted entry must state its form"
    expected = (form,) if form else FORMS if family == "minplus" else (family,)
    if entry.form not in expected:
        return f"form {entry.form} does not belong to the guarantee {guarantee}"
    return None


def _isolation(
    path: Path, rates: np.ndarray, entry: TenantPlan, guarantee: str, tolerance: float
) -> Iterator[Violation]:
    """R ≥ ρ + κ in every domain at the entry's θ, with κ as the form charges it.

    Forms that charge every domain the whole window (ville, monotone, paper-path) need ρ + Σκ on the smallest
    rate, block-ville ρ + max κ. The image form's θ is not that of one domain, so it needs stability: the
    means.
    """
    theta = float(entry.theta or 0.0)
    domains = [domain for domain, _ in entry.hops()]
    if entry.form == "image":
        needed = path.arrival.mean + np.array([impairment.mean for impairment in path.impairments])
    else:
        powers = path.exponents
        kappa = np.array(
            [float(i.kappa(theta * p)) for i, p in zip(path.impairments, powers, strict=True)], dtype=float
        )
        if entry.form in ("ville", "monotone", "paper-path"):
            kappa = np.full(len(kappa), kappa.sum())
        elif entry.form == "block-ville":
            kappa = np.full(len(kappa), kappa.max() if len(kappa) > 1 else kappa.sum())
        needed = float(path.arrival.rho(theta)) + kappa
    for domain, rate, floor in zip(domains, rates, needed, strict=True):
        if not rate >= floor * (1 - tolerance):
            yield (
                "isolation",
                domain,
                f"the rate in {domain} is {rate:.9g} per slot; isolation at θ={theta:.6g} needs {floor:.9g}",
            )
