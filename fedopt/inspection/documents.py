"""Documents: contracts and keys, audits, simulations, settlements, scenarios, intents."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fedopt.plan.inspecting import Inspection

if TYPE_CHECKING:
    from fedopt.contracts import Contract

__all__ = ["audit", "contract", "intent", "key", "scenario", "settlement", "signed_contract", "simulation"]


def contract(path: Path, rows: int) -> Inspection:
    """A contract that is not signed yet."""
    from fedopt.contracts.reading import read_contract

    return _contract("contract", read_contract(path), "A contract that nobody has signed yet", {}, rows)


def signed_contract(path: Path, rows: int) -> Inspection:
    """A signed contract, as it says; whether that is true, `fedopt contract verify` tells."""
    from fedopt.contracts.document import contract_of
    from fedopt.contracts.errors import ContractError
    from fedopt.contracts.reading import read_token
    from fedopt.contracts.signing import header_of, unchecked_payload

    token = read_token(path)
    header = header_of(token)
    try:
        data = json.loads(unchecked_payload(token))
    except (ValueError, RecursionError) as error:
        raise ContractError("malformed", f"{path}: the payload is not JSON", bad_input=True) from error
    words = f"A signed contract (key {header['kid']}), not verified here: fedopt contract verify does that"
    found = contract_of(data, str(path))
    return _contract("signed contract", found, words, {"kid": header["kid"]}, rows)


def _contract(kind: str, found: Contract, words: str, more: dict[str, Any], rows: int) -> Inspection:
    from fedopt.instance.writing import plain

    model = plain(found.impairment)
    facts = {
        "subject": found.subject,
        "issuer": found.issuer,
        "version": found.version,
        "valid_from": found.valid_from,
        "valid_until": found.valid_until,
        "latency": found.latency,
        "latency_kind": found.latency_kind,
        "impairment": model,
        "max_rate": found.max_rate,
        **more,
    }
    text = (
        f"{words}. {found.issuer} promises {found.subject}, version {found.version}, from "
        f"{found.valid_from} to {found.valid_until}: a latency of {found.latency:g} {found.time_unit} "
        f"({found.latency_kind}), and an impairment of the model {model['model']}."
    )
    parts: list[Any] = [Text(text)]
    if model["model"] == "table":
        table = _table("θ", "κ", "η")
        for row in list(zip(model["theta"], model["kappa"], model["eta"], strict=True))[:rows]:
            table.add_row(*(f"{value:g}" for value in row))
        parts.append(table)
    return Inspection(kind, facts, Group(*parts))


def key(path: Path, rows: int) -> Inspection:
    """A signing key; a private half is never shown."""
    from fedopt.contracts.keys import public_key
    from fedopt.contracts.reading import read_json

    members = read_json(path)
    private = "d" in members
    kid, issuer, _ = public_key({name: value for name, value in members.items() if name != "d"})
    half = "private signing key: keep it where it is" if private else "public signing key, to be shared"
    facts = {"kid": kid, "issuer": issuer, "private": private}
    return Inspection("key", facts, Text(f"The {half}. It is {issuer}'s, {kid}."))


def audit(path: Path, rows: int) -> Inspection:
    """An audit: the verdict and the quantiles, series by series."""
    from fedopt.audit import Audit
    from fedopt.audit.summary import summary

    found = Audit.load(path)
    facts = {
        "name": found.name,
        "verdict": found.verdict,
        "samples": found.samples,
        "confidence": found.confidence,
        "quantiles": {name: row.estimate for name, row in found.quantiles.items()},
        "series": {name: part.verdict for name, part in found.series.items()},
    }
    return Inspection("audit", facts, Text("An audit of telemetry.\n" + _cut(summary(found), 3 * rows)))


def simulation(path: Path, rows: int) -> Inspection:
    """A simulation: the tenants' violation probabilities beside their promises."""
    from fedopt.report import read_simulation

    found = read_simulation(path)
    verdicts = Counter(tenant.verdict for tenant in found.tenants)
    facts = {
        "tenants": len(found.tenants),
        "verdicts": dict(verdicts),
        "seed": found.seed,
        "trials": found.trials,
        "confidence": found.confidence,
        "skipped": len(found.skipped),
    }
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "nothing simulated"
    words = (
        f"A simulation of {len(found.tenants)} entries in {found.trials} trials (seed {found.seed}): {told}."
    )
    table = _table("tenant", "deadline", "ε", "simulated", "interval", "verdict")
    for tenant in found.tenants[:rows]:
        low, high = tenant.violation.interval
        table.add_row(
            tenant.id,
            f"{tenant.deadline:g}",
            f"{tenant.epsilon:g}",
            f"{tenant.violation.estimate:.2e}",
            f"{low:.1e} to {high:.1e}",
            tenant.verdict,
        )
    return Inspection("simulation", facts, Group(Text(words), table, *_more(len(found.tenants), rows)))


def settlement(path: Path, rows: int) -> Inspection:
    """A settlement: what each domain receives."""
    from fedopt.report import read_settlement
    from fedopt.settlement.summary import summary

    found = read_settlement(path)
    facts = {
        "period": found.period,
        "rule": found.rule,
        "guarantee": found.guarantee,
        "net": found.net,
        "received": found.received,
        "conserved": found.conserved,
    }
    return Inspection("settlement", facts, Text(_cut(summary(found), rows)))


def scenario(path: Path, rows: int) -> Inspection:
    """A scenario: its clock and what happens on it."""
    from fedopt.control.scenario import load_scenario

    found, instance = load_scenario(path)
    unit = instance.units.time
    groups = ("streams", "intents", "traffic", "degradations", "failures", "reissues", "hidden")
    counts = {name: len(getattr(found, name)) for name in groups}
    facts = {
        "name": found.name,
        "instance": instance.name,
        "periods": found.periods,
        "period": found.period,
        "unit": unit,
        **counts,
    }
    happens = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing happens"
    words = (
        f"A scenario: {found.name}. {found.periods:,} periods of {found.period:g} {unit} on the instance "
        f"{instance.name}: {happens}."
    )
    lines = [Text(words)]
    spans = [*found.degradations, *found.failures]
    width = 60
    for span in sorted(spans, key=lambda one: one.from_)[:rows]:
        start = math.floor(span.from_ / found.periods * width)
        length = max(1, round((span.until - span.from_) / found.periods * width))
        kind = type(span).__name__.lower()
        lines.append(
            Text(f"  {'·' * start}{'█' * length}{'·' * (width - start - length)}  {kind} {span.domain}")
        )
    return Inspection("scenario", facts, Group(*lines))


def intent(path: Path, rows: int) -> Inspection:
    """An intent: what a service needs."""
    from fedopt.control.intents import load_intent

    found = load_intent(path)
    facts = found.model_dump(mode="json", by_alias=True, exclude_unset=True)
    traffic = f"traffic like {found.like}" if found.like else "traffic of its own"
    accuracy = "" if found.min_accuracy is None else f", an accuracy of at least {found.min_accuracy:g}"
    words = (
        f"An intent: {found.id} ({found.service}). Answers within {found.answers.within} for "
        f"{100 * found.answers.share:g} % of the {found.answers.of}{accuracy}; {traffic}. fedopt intent "
        "resolves it on an instance."
    )
    return Inspection("intent", facts, Text(words))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number == 0 else "right")
    return table


def _cut(text: str, lines: int) -> str:
    """The text's first lines, and how many more there are."""
    all_lines = text.splitlines()
    if len(all_lines) <= lines:
        return text
    return "\n".join([*all_lines[:lines], f"… {len(all_lines) - lines} more lines"])


def _more(count: int, rows: int) -> list[Text]:
    return [Text(f"… {count - rows} more")] if count > rows else []
