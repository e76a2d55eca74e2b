"""Whether an entry of a plan keeps its promise: isolation, guarantee, deadline and budget shares.

Everything is recomputed by the calculus from the instance and the reservations, at the θ, block length and
parameters that the entry names for its proof; no number that the plan states is believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fedopt.calculus import forms, minplus, paper, split
from fedopt.calculus.store_and_forward import STORE_AND_FORWARD
from fedopt.plan.basis import total_log_bound
from fedopt.plan.document import TenantPlan
from fedopt.plan.guarantees import FORMS, MEASURED, THEOREMS
from fedopt.plan.policy import Violation

if TYPE_CHECKING:
    from fedopt.calculus.path import Path


def promise_violations(
    path: Path, rates: np.ndarray, entry: TenantPlan, guarantee: str, tolerance: float
) -> Iterator[Violation]:
    """What is wrong with the entry's promise; `rates` and `path` are in slots."""
    problem = _form_problem(entry, guarantee)
    if problem is not None:
        yield "form", None, problem
        return
    if not (np.all(np.isfinite(rates)) and np.all(rates > 0)):
        yield "rates", None, f"rates must be positive numbers, they are {entry.reservations}"
        return
    yield from _isolation(path, rates, entry, tolerance)
    if entry.form == MEASURED:
        yield from _measurement(path, entry, tolerance)
        return
    if path.fluid.log_epsilon == -math.inf:
        yield "guarantee", None, "the learned risks leave nothing of ε to what must be proven"
        return
    bound = proven_log_bound(path, rates, entry, guarantee, tolerance)
    whole = total_log_bound(bound, entry)
    if entry.log_bound is not None and not whole <= entry.log_bound + tolerance:
        yield "bound", None, f"the log-bound stated is {entry.log_bound:.9g}, the one proven {whole:.9g}"
    if not bound <= path.log_epsilon + tolerance:
        yield (
            "guarantee",
            None,
            f"the reservations prove a log-bound of {bound:.9g} under {guarantee}, "
            f"the SLO asks for {path.log_epsilon:.9g}{' after the learned risks' if entry.learned else ''}",
        )


def _measurement(path: Path, entry: TenantPlan, tolerance: float) -> Iterator[Violation]:
    """What is wrong with the measurement that an entry states; it is no theorem, so it cannot be proven
    here."""
    if entry.log_bound is None:
        yield "bound", None, "a measured entry must state the confidence bound that was measured"
    elif not entry.log_bound <= path.log_epsilon + tolerance:
        yield (
            "guarantee",
            None,
            f"the confidence bound measured has the log {entry.log_bound:.9g}, "
            f"the SLO asks for {path.log_epsilon:.9g}",
        )


def proven_log_bound(
    path: Path, rates: np.ndarray, entry: TenantPlan, guarantee: str, tolerance: float
) -> float:
    """The log-bound of the entry's own proof; under minplus, where that falls short, the best there is.

    A bound at the rates lowered to the smallest one is a bound, for delay only falls when a server gets
    faster. A log-bound of −∞ proves nothing: at a finite θ no bound is zero, so a number was lost on the way.
    """
    theta = float(entry.theta or math.nan)
    if entry.form in (*FORMS, STORE_AND_FORWARD):
        needed = path.log_epsilon + tolerance
        stated = minplus.Evaluation(needed, entry.form, theta, entry.block, entry.parameters)
        bound = _finite(minplus.verify(path, rates, stated))
        if not bound <= needed:
            _, _, form = guarantee.partition(":")
            mask = forms.bit(form) if form else forms.ALL
            bound = min(bound, _finite(minplus.evaluate(path, rates, mask).log_bound))
    elif entry.form == "split":
        bound = path.total(float(split.log_bound(split.terms(path, theta), rates)[0][0]))
    elif entry.form == "paper-path":
        bound = path.total(float(paper.path_bound(path, rates, theta)[0]))
    else:
        thetas = entry.parameters.get("thetas", [theta] * len(path))
        bound = path.total(max(float(paper.local(path, rates, tilt)[0, i]) for i, tilt in enumerate(thetas)))
    return _finite(bound)


def _finite(bound: float) -> float:
    return bound if math.isfinite(bound) else math.inf


def share_violations(
    path: Path, rates: np.ndarray, entry: TenantPlan, slot: float, tolerance: float
) -> Iterator[Violation]:
    """What is wrong with the deadline and budget shares of a split entry."""
    path = path.fluid
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
    if entry.theta is None and entry.form != MEASURED:
        return "an admitted entry must state its θ"
    if entry.form is None:
        return "an admitted entry must state its form"
    expected: tuple[str, ...] = (form,) if form else (family,)
    if guarantee == "minplus":  # what every domain promises by itself holds for the whole path
        expected = (*FORMS, STORE_AND_FORWARD, "split")
    if guarantee == MEASURED:  # what simulation could not make smaller keeps its theorem
        expected = (MEASURED, *FORMS, STORE_AND_FORWARD, *THEOREMS)
    if entry.form not in expected:
        return f"form {entry.form} does not belong to the guarantee {guarantee}"
    return _parameter_problem(entry, len(entry.path))


def _parameter_problem(entry: TenantPlan, hops: int) -> str | None:
    """What is wrong with the further parameters of a proof, before the calculus sees them."""
    known = entry.parameters
    lists = {name: known[name] for name in ("exponents", "thetas") if name in known}
    for name, values in lists.items():
        fits = isinstance(values, list) and len(values) == hops
        if not fits or not all(isinstance(v, int | float) and v > 0 for v in values):
            return f"{name} must be {hops} positive numbers, one for each domain of the path"
    if "exponents" in lists and not all(value >= 1 for value in lists["exponents"]):
        return "Hölder exponents must be 1 or more"
    alpha, cut = known.get("alpha", 1.0), known.get("split", 0)
    if not (isinstance(alpha, int | float) and alpha >= 1):
        return f"alpha must be a number ≥ 1, not {alpha!r}"
    if not (isinstance(cut, int) and (0 <= cut < hops or 1 <= -cut < hops)):
        return f"split must be a whole number from 0 to {hops - 1} or from {1 - hops} to -1, not {cut!r}"
    return None


def _isolation(path: Path, rates: np.ndarray, entry: TenantPlan, tolerance: float) -> Iterator[Violation]:
    """R ≥ ρ + κ in every domain at the entry's θ, with κ as the form charges it.

    Forms that charge every domain the whole window (ville, monotone, paper-path) need ρ + Σκ on the smallest
    rate, block-ville ρ + max κ. The image form's θ is not that of one domain, and a measured entry has none,
    so these need stability: the means.
    """
    path = path.fluid
    theta = float(entry.theta or 0.0)
    at = f" at θ={theta:.6g}" if theta else ""
    domains = [domain for domain, _ in entry.hops()]
    if entry.form in ("image", STORE_AND_FORWARD, MEASURED):
        needed = path.arrival.mean + np.array([impairment.mean for impairment in path.impairments])
    else:
        plain = path.within_slot and "exponents" not in entry.parameters
        powers = np.ones(len(path)) if plain else path.exponents
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
                f"the rate in {domain} is {rate:.9g} per slot; isolation{at} needs {floor:.9g}",
            )
