"""A plan in words: one table of what every tenant receives and one paragraph on what it is worth."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from fedopt.instance import Instance
    from fedopt.plan.document import Plan, TenantPlan

MEANING = {
    "minplus": "The bounds are theorems and hold end to end, for whole requests in continuous time.",
    "split": "The bounds are theorems, for whole requests in continuous time; each domain answers for "
    "its own deadline and budget.",
    "paper-path": "The paper's path formula: unproven where ρ(τ−T) is less than κT − Σκ_dT_d.",
    "paper-local": "The paper's local formula gives each domain the whole deadline: no end-to-end bound.",
    "simulated": "The rates were sized by simulation: a measurement, not a theorem.",
}
"""What each guarantee is worth, in one sentence."""

ROWS_SHOWN = 40


def summarize(plan: Plan, rows: int = ROWS_SHOWN, instance: Instance | None = None) -> RenderableType:
    """The summary of a plan as something rich can print; at most `rows` tenants are listed.

    Rates are in the units of the plan's instance; where `instance` is given, in those that it gives its
    stages.
    """
    parts: list[RenderableType] = [Text(headline(plan), style="bold")]
    if plan.has_plan and plan.tenants:
        parts.append(_tenant_table(plan, rows, instance))
        if plan.domains:
            parts.append(_domain_table(plan, rows, instance))
    parts.append(Text(paragraph(plan)))
    return Group(*parts)


def summary_text(
    plan: Plan, width: int = 110, rows: int = ROWS_SHOWN, instance: Instance | None = None
) -> str:
    """The summary as plain text, `width` columns wide, without trailing spaces."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None, force_terminal=False, highlight=False)
    console.print(summarize(plan, rows, instance))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def headline(plan: Plan) -> str:
    """One line: instance, status, cost and certified gap."""
    text = f"{plan.instance.name}: {plan.status}"
    if plan.cost is not None:
        text += f", cost {plan.cost:.6g}"
    if plan.gap is not None:
        text += f", certified gap {format_gap(plan.gap)}"
    return f"{text} ({plan.method}, {plan.guarantee})"


def paragraph(plan: Plan) -> str:
    """What the plan is worth: who is served, how far from the optimum it can be, what the bounds mean."""
    if plan.status == "infeasible":
        return _infeasible_text(plan)
    if plan.status == "limit":
        return "A limit was reached before any plan was found. More time may find one."
    units = sum(entry.count for entry in plan.tenants)
    served = f"{plan.admitted} of {_plural(units, 'tenant')}"
    if plan.admitted == units:
        served = f"{'the' if units == 1 else 'all'} {_plural(units, 'tenant')}"
    sentences = [f"Serves {served} at a total cost of {plan.cost:.6g}."]
    if plan.objective == "profit":
        sentences = [f"Admits {served}; cost less payments is {plan.cost:.6g}."]
    if plan.lower_bound is None and plan.catalogue_gap is not None:
        sentences.append(
            f"It is within {format_gap(plan.catalogue_gap)} of the best of this method's plans; "
            "of others no lower bound is known."
        )
    elif plan.lower_bound is None or plan.gap is None:
        sentences.append(
            "No lower bound is known, so nothing is certified about its distance from the optimum."
        )
    else:
        sentences.append(_certificate(plan, plan.lower_bound, plan.gap))
    sentences.extend(meaning(plan))
    sentences.extend(plan.notes)
    if "total" in plan.timing:
        rounds = f" and {_plural(len(plan.history), 'round')}" if plan.history else ""
        sentences.append(f"Took {plan.timing['total']:.3g} s{rounds}.")
    return " ".join(sentences)


def meaning(plan: Plan) -> list[str]:
    """What the bounds mean and what they rest on, in sentences; no theorem where a record is taken for a
    law."""
    served = [entry for entry in plan.tenants if entry.admitted]
    resting = resting_on(plan)
    if any(entry.basis == "estimate" for entry in served) and not plan.guarantee.startswith("paper"):
        return ["The bounds are about whole requests in continuous time and hold end to end.", *resting]
    if any(entry.learned for entry in served):
        return ["What follows from contracts is a theorem.", *resting]
    sentence = MEANING.get(plan.guarantee.partition(":")[0])
    return [*([sentence] if sentence else []), *resting]


def resting_on(plan: Plan) -> list[str]:
    """A sentence on the entries whose promise rests on fitted laws, and one on those that rest on a
    record."""
    served = [entry for entry in plan.tenants if entry.admitted]
    sentences = []
    fitted = [entry for entry in served if entry.basis == "fitted" and not entry.learned]
    if fitted:
        least = min(entry.confidence or 0.0 for entry in fitted)
        sentences.append(
            f"{len(fitted)} of {_plural(len(served), 'entry')} rest on laws fitted to records, "
            f"all of which hold at a confidence of {least:.3g} or more."
        )
    estimates = sum(entry.basis == "estimate" for entry in served)
    if estimates and not plan.guarantee.startswith("paper"):
        sentences.append(
            f"{estimates} of {_plural(len(served), 'entry')} rest on a record taken for the law: "
            "an estimate that says nothing about traffic that was not recorded."
        )
    return sentences


def _certificate(plan: Plan, bound: float, gap: float) -> str:
    """What the lower bound bounds: what the method chooses from, which under minplus is not everything."""
    within = f"so this one is within {format_gap(gap)} of the best"
    if plan.catalogue_bound is None:
        return f"None of this method's plans costs less than {bound:.6g}, {within} of them."
    text = f"No plan under this guarantee costs less than {bound:.6g}, whatever it reserves, {within}"
    near = plan.catalogue_gap
    if near is None or near >= gap - 1e-9:
        return f"{text}."
    return f"{text}; over the reservations that the method chooses from the gap is {format_gap(near)}."


def _infeasible_text(plan: Plan) -> str:
    lines = ["The method has no plan that serves all tenants under this guarantee."]
    for reason in plan.explanation:
        lines.append(f"• {reason.message}")
        lines.extend(f"    → {remedy.message}" for remedy in reason.remedies)
    return "\n".join(lines)


def _tenant_table(plan: Plan, rows: int, instance: Instance | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=None)
    table.add_column("tenant")
    table.add_column("count", justify="right")
    table.add_column("path and rate")
    table.add_column("P(late) ≤", justify="right")
    table.add_column("form")
    table.add_column("basis")
    table.add_column("cost", justify="right")
    for entry in plan.tenants[:rows]:
        table.add_row(
            entry.id,
            str(entry.count),
            path_text(entry, instance),
            _bound_text(entry),
            entry.form or "–",
            basis_text(entry),
            f"{entry.cost:.5g}",
        )
    if len(plan.tenants) > rows:
        table.add_row(f"… {len(plan.tenants) - rows} more", "", "", "", "", "")
    return table


def _domain_table(plan: Plan, rows: int, instance: Instance | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("domain")
    for name in ("reserved", "capacity", "used", "price"):
        table.add_column(name, justify="right")
    busiest = sorted(plan.domains, key=lambda domain: -_usage(domain.reserved, domain.capacity))
    for domain in busiest[:rows]:
        price = "–" if domain.price is None else f"{domain.price:.4g}"
        usage = f"{100 * _usage(domain.reserved, domain.capacity):.1f} %"
        rates = [_rate(instance, domain.id, rate, 5) for rate in (domain.reserved, domain.capacity)]
        table.add_row(domain.id, *rates, usage, price)
    if len(plan.domains) > rows:
        table.add_row(f"… {len(plan.domains) - rows} more", "", "", "", "")
    return table


def _usage(reserved: float, capacity: float) -> float:
    if capacity > 0:
        return reserved / capacity
    return math.inf if reserved > 0 else 0.0


def _rate(instance: Instance | None, place: str, rate: float, digits: int) -> str:
    text = None if instance is None else instance.rate_text(place, rate)
    return f"{rate:.{digits}g}" if text is None else text


def path_text(entry: TenantPlan, instance: Instance | None = None) -> str:
    """The path with the rates reserved on it, in words."""
    if not entry.admitted:
        return "not admitted"
    steps = []
    for hop, (domain, _) in zip(entry.path, entry.hops(), strict=True):
        rate = entry.reservations.get(domain)
        steps.append(hop if rate is None else f"{hop} {_rate(instance, hop, rate, 4)}")
    return " → ".join(steps) or "–"


def basis_text(entry: TenantPlan) -> str:
    """What an entry's promise rests on, with its confidence where it has one."""
    if entry.basis is None:
        return "–"
    return entry.basis if entry.confidence is None else f"{entry.basis}, {100 * entry.confidence:.4g} %"


def _bound_text(entry: TenantPlan) -> str:
    return "–" if entry.log_bound is None else format_probability(entry.log_bound)


def format_probability(log_bound: float) -> str:
    """A natural log-probability as a decimal number, without underflow: −2302.6 is 1.0e-1000."""
    exponent, mantissa = divmod(log_bound / math.log(10.0), 1.0)
    digits = f"{10.0**mantissa:.2f}"
    if digits == "10.00":
        digits, exponent = "1.00", exponent + 1
    return f"{digits}e{int(exponent):+03d}"


def format_gap(gap: float) -> str:
    """A relative gap in per cent, three digits: 0.000123 is 0.0123 %; what is less than rounding is 0 %."""
    return f"{100.0 * gap if abs(gap) > 1e-11 else 0.0:.3g} %"


def _plural(count: int, noun: str) -> str:
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun}" if count == 1 else f"{count} {many}"
