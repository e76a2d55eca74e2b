"""The page: everything known about a plan in one HTML file that needs nothing else.

Every text goes through the template's escaping or the drawing's; data for the browser is JSON that cannot end
its element; and a content security policy lets the browser run the page's own script and nothing else, so a
hostile name in a file stays a name.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import fedopt
from fedopt.plan.basis import has_learned
from fedopt.plan.summary import format_gap, meaning, paragraph, path_text
from fedopt.report.accounts import ledger_tables, settlement_chart, settlement_tables
from fedopt.report.convergence import convergence_charts, convergence_table
from fedopt.report.difference import difference_tables
from fedopt.report.drawing import clean
from fedopt.report.given import Given, ReportError
from fedopt.report.network import domain_table, draw, draw_map, network, operator_table
from fedopt.report.tables import Column, Table, number, power
from fedopt.report.tails import Tails, tail_chart, tails
from fedopt.report.tenants import Budget, budget_bar, budgets, featured, tenant_table

if TYPE_CHECKING:
    from fedopt.explain.binding import Worth
    from fedopt.plan.checking import CheckReport
    from fedopt.plan.document import Plan, TenantPlan

SECTIONS = (
    ("summary", "Summary"),
    ("graph", "Network"),
    ("domains-section", "Reservations"),
    ("tenants-section", "Tenants"),
    ("tails", "Tails and budgets"),
    ("difference", "Difference"),
    ("worth", "What binds"),
    ("convergence", "Convergence"),
    ("disclosure", "Disclosure"),
    ("settlement", "Settlement"),
    ("provenance", "Provenance"),
)
"""Anchor and title of every section, in order; each is always there, and says so where it has nothing."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Detail:
    """One entry drawn in detail: its tail and its budgets, as SVG beside the numbers."""

    name: str
    entry: TenantPlan
    route: str
    tails: Tails | None
    chart: str
    budgets: Sequence[tuple[Budget, str]]


def render(
    given: Given,
    *,
    tenants: Sequence[str] = (),
    check: bool = True,
    explain_seconds: float = 20.0,
    written: datetime | None = None,
    progress: Progress | None = None,
) -> str:
    """The page as HTML.

    `tenants` names those whose tails and budgets are drawn (default: a few that matter most). With an
    instance the plan is checked against it (`check`), and what binds in a sound plan is valued for at most
    `explain_seconds` (0: prices only). `written` is the time that the page
    states. `progress` is told what is being done. Raises ReportError, also where
    the template engine is not installed.
    """
    tell = progress or (lambda message: None)
    tell("drawing the stage graph")
    net = network(given)
    details = _details(given, tenants, tell)
    report = None
    if check and given.instance is not None and given.plan.has_plan:
        tell("checking the plan")
        report = fedopt.check(given.plan, given.instance)
    sound = report is None or report.ok
    worths, left_out = _worths(given, explain_seconds, tell) if sound else ([], "")
    tell("writing the page")
    context: dict[str, Any] = {
        "given": given,
        "plan": given.plan,
        "sections": SECTIONS,
        "title": f"Plan for {given.plan.instance.name}",
        "verdicts": _verdicts(given, report),
        "facts": _facts(given),
        "paragraph": paragraph(given.plan).partition("\n")[0],
        "check": report,
        "learned": any(entry.learned for entry in given.plan.tenants),
        "graph": draw(net, given.rate) if net.nodes else "",
        "map": draw_map(net, given.rate),
        "operators": operator_table(given, net),
        "difference": difference_tables(given.against, given.plan) if given.against else [],
        "left_out": left_out,
        "has_links": bool(net.flows),
        "domains": domain_table(given, net),
        "tenants": tenant_table(given, net),
        "details": details,
        "tail_legend": _tail_legend(given),
        "worths": worths,
        "worth_table": _worth_table(worths),
        "charts": convergence_charts(given.plan),
        "rounds": convergence_table(given.plan),
        "ledger": ledger_tables(given.plan.ledger),
        "settlement_chart": settlement_chart(given.settlement) if given.settlement else "",
        "settlement_tables": settlement_tables(given.settlement) if given.settlement else [],
        "provenance": _provenance(given, written),
        "number": number,
        "power": power,
        **assets(),
    }
    return clean(template("page.html").render(context))


def assets() -> dict[str, str]:
    """Style and script of every page with their hashes, by the names that templates know."""
    style, script = _resource("page.css"), _resource("page.js")
    return {
        "style": style,
        "script": script,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
    }


def template(name: str) -> Any:
    """A template by name. Raises ReportError where the template engine is not installed."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ReportError(
            "the report needs Jinja2, which is not installed: pip install 'fedopt[report]'"
        ) from error
    environment = Environment(
        loader=PackageLoader("fedopt.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _resource(name: str) -> str:
    return (files("fedopt.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A content security policy's name of an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _details(given: Given, tenants: Sequence[str], tell: Progress) -> list[Detail]:
    from fedopt.plan.paths import Paths

    paths = None if given.instance is None else Paths(given.instance)
    found = []
    entries = featured(given, tenants)
    for at, entry in enumerate(entries):
        tell(f"tail curves: {at + 1} of {len(entries)}")
        curves = tails(given, paths, entry)
        name = f"detail-{at}"
        who = (
            entry.id
            if len(given.plan.tenants.of(entry.id)) == 1
            else f"{entry.id} over {' → '.join(entry.path)}"
        )
        found.append(
            Detail(
                name,
                entry,
                path_text(entry, given.instance),
                curves,
                tail_chart(f"{name}-tail", who, curves, given.time) if curves else "",
                [
                    (budget, budget_bar(f"{name}-budget-{place}", who, budget))
                    for place, budget in enumerate(budgets(given, entry))
                ],
            )
        )
    return found


def _tail_legend(given: Given) -> list[tuple[str, str, str]]:
    """(style, shape, words) of what the tail charts show."""
    partly = any(entry.learned for entry in given.plan.tenants)
    bound = "proven bound, and what was learned added to it" if partly else "proven bound"
    items = [("bound", "triangle", f"{bound}; the plan's own at the deadline")]
    if given.simulation is not None:
        items.append(("simulated", "circle", "simulated, with intervals"))
    if given.audit is not None:
        items.append(("audited", "square", "audited, with intervals and fitted tail"))
    return [*items, ("target", "diamond", "the promise: deadline and ε")]


def _worths(given: Given, seconds: float, tell: Progress) -> tuple[list[Worth], str]:
    """(what binds with its value, what was left out for lack of time in words)."""
    if given.instance is None or not given.plan.has_plan:
        return [], ""
    if seconds <= 0:
        return [], "Values were not computed: no time was given for it."
    from fedopt.explain import explain
    from fedopt.plan.guarantees import MEASURED

    if given.plan.guarantee == MEASURED:  # its rates come from no optimisation that could be relaxed
        return [], ""
    if has_learned(given.instance):  # what relaxing a learned promise would be worth, no answer tells
        return [], ""
    tell("valuing what binds")
    began = time.monotonic()
    found = explain(given.instance, given.plan.guarantee, plan=given.plan, seconds=seconds)
    words = f"The time of {seconds:g} s was used up; what could not be valued in it is left out."
    return list(found.binding), words if time.monotonic() - began >= seconds else ""


def _worth_table(worths: Sequence[Worth]) -> Table | None:
    if not worths:
        return None
    return Table(
        "worths",
        "Binding constraints and what relaxing each is worth, the most valuable first",
        [
            Column("constraint"),
            Column("saves", True),
            Column("of the cost", True),
            Column("in words", wide=True),
        ],
        [
            [
                f"{worth.constraint}: {worth.place}",
                number(worth.saving),
                "–" if worth.per_cent is None else f"{worth.per_cent:.2g} %",
                worth.message,
            ]
            for worth in worths
        ],
        keys={1: [worth.saving for worth in worths], 2: [worth.per_cent for worth in worths]},
    )


def _facts(given: Given) -> list[tuple[str, str]]:
    plan = given.plan
    asked = plan.tenants if given.instance is None else given.instance.tenants
    count = sum(entry.count for entry in asked)
    facts: list[tuple[str, str]] = [("Status", plan.status)]
    if plan.cost is not None:
        facts.append(("Cost" if plan.objective == "cost" else "Cost less payments", number(plan.cost, 6)))
    if plan.lower_bound is not None:
        facts.append(("Proven lower bound", number(plan.lower_bound, 6)))
    if plan.gap is not None:
        facts.append(("Certified gap", format_gap(plan.gap)))
    facts.append(("Tenants served", f"{plan.admitted:,} of {count:,}"))
    learned = sum(entry.count for entry in plan.tenants if entry.learned)
    if learned:
        facts.append(("Promises learned in part", f"{learned:,} of {plan.admitted:,}"))
    return [*facts, ("Guarantee", plan.guarantee), ("Method", plan.method)]


def _verdicts(given: Given, report: CheckReport | None) -> list[tuple[str, str, str]]:
    """(verdict, what it is about, in words): kept, broken, open or none."""
    found = []
    if report is not None:
        words = f"{report.entries:,} entries recomputed" if report.ok else f"{len(report.findings)} findings"
        found.append(("kept" if report.ok else "broken", "Independent check", words))
    if given.simulation is not None:
        verdict, what, words = _tally("Simulation", [tenant.verdict for tenant in given.simulation.tenants])
        found.append((verdict, what, words + _more([t.more_to_decide for t in given.simulation.tenants])))
    if given.audit is not None:
        parts = list(given.audit.series.values()) or [given.audit]
        verdict, what, words = _tally("Audit", [part.verdict or "no promise" for part in parts])
        more = [p.samples_to_decide and p.samples_to_decide - p.samples for p in parts]
        found.append((verdict, what, words + _more(more)))
    if given.settlement is not None:
        good = given.settlement.conserved
        words = "adds up to the cent" if good else "does not add up"
        found.append(("kept" if good else "broken", "Settlement", words))
    return found


def _more(counts: Sequence[int | None]) -> str:
    """How many more requests would decide all that is undecided, in words."""
    needed = [count for count in counts if count is not None and count > 0]
    return f"; some {max(needed):,} more requests would decide" if needed else ""


def _tally(what: str, verdicts: Sequence[str]) -> tuple[str, str, str]:
    kinds = [kind for kind in ("kept", "broken", "undecided", "no promise") if kind in verdicts]
    words = ", ".join(f"{verdicts.count(kind):,} {kind}" for kind in kinds)
    worst = "broken" if "broken" in verdicts else "open" if set(verdicts) - {"kept"} else "kept"
    return worst, what, words or "nothing to judge"


def _meaning(plan: Plan) -> str:
    """What the guarantee is worth, in a sentence."""
    return " ".join(meaning(plan))


def _provenance(given: Given, written: datetime | None) -> list[tuple[str, str]]:
    plan = given.plan
    rows = [
        ("Instance", plan.instance.name),
        ("SHA-256 of the instance", plan.instance.sha256),
        ("Method", plan.method),
        ("Guarantee", f"{plan.guarantee}. {_meaning(plan)}".strip()),
        ("Objective", plan.objective),
    ]
    rows += [(f"Time, {key}", f"{value:.3g} s") for key, value in plan.timing.items()]
    if given.simulation is not None:
        simulation = given.simulation
        rows.append(
            (
                "Simulation",
                f"seed {simulation.seed}, {simulation.trials} trials, {simulation.confidence:.0%} intervals",
            )
        )
    if given.audit is not None:
        rows.append(("Audit", f"{given.audit.samples:,} samples, {given.audit.confidence:.0%} intervals"))
    rows += [(f"File, {role}", name) for role, name in given.names.items()]
    if given.instance is not None:
        units = f"times in {given.time}, rates in {given.rate}"
        rows.append(("Units", f"{units}, costs in {given.money}" if given.money else units))
    if written is not None:
        rows.append(("Written on", written.strftime("%Y-%m-%d %H:%M %Z").strip()))
    return [*rows, ("Written by", f"fedopt {fedopt.__version__}")]
