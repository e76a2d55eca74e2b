"""What the parts of an instance must agree on: names that refer to each other, and the grid of tilts.

The checks read both documents and the raw mappings of a file, so that a file with a mistyped number still has
its broken references reported in the same run. They pass over what is not of the expected type: that is
reported by the reading of the types.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from .arrivals import Arrivals, EnvelopeArrivals, TraceArrivals
from .errors import Problem, choice_remedy
from .impairments import Impairment, LearnedImpairment, TableImpairment

GUESSES = 200
"""Near misses looked for at most, which keeps a file of a million misspelt names fast."""

HEADER_LIMIT = 1_000_000
"""Bytes of a trace's header line read at most."""

_ARRIVALS: TypeAdapter[Any] = TypeAdapter(Arrivals)
_IMPAIRMENT: TypeAdapter[Any] = TypeAdapter(Impairment)


def inconsistencies(instance: object, directory: Path | None = None) -> list[Problem]:
    """All disagreements between the parts of an instance or of the mapping read from its file.

    `directory` is where trace files are looked for; without it, where the documents themselves say.
    """
    return _Checks(instance, directory).run()


def _get(item: object, name: str) -> Any:
    """A field of a document or of a mapping."""
    if isinstance(item, Mapping):
        return item.get("from" if name == "from_" and "from" in item else name)
    return getattr(item, name, None)


def _entries(item: object, name: str) -> Iterator[tuple[int, Any]]:
    """The entries of a list that can hold something."""
    value = _get(item, name)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        yield from enumerate(value)


def _names(item: object, name: str) -> Iterator[tuple[int, str]]:
    for i, entry in _entries(item, name):
        if isinstance(entry, str):
            yield i, entry


class _Checks:
    """One pass over an instance that collects problems."""

    def __init__(self, instance: object, directory: Path | None) -> None:
        self.instance = instance
        self.directory = directory
        self.problems: list[Problem] = []
        self.guesses = GUESSES
        self.grid_missed = False
        self.stages = {name: i for i, name in reversed(list(_names(instance, "stages")))}
        self.domains: dict[str, Any] = {}
        self.traces: dict[tuple[str, str, str], list[tuple[str, str, str]]] = {}
        slot = _get(instance, "slot")
        number = isinstance(slot, (int, float)) and not isinstance(slot, bool) and 0 < slot < float("inf")
        self.slot = 1.0 if slot is None else float(slot) if number else None
        self.grid = self._grid()

    def run(self) -> list[Problem]:
        self._unique("stages", [name for _, name in _names(self.instance, "stages")], "[{}]", "stage")
        self._check_domains()
        self._check_links()
        self._check_tenants()
        return self.problems

    def add(self, place: str, message: str, remedy: str) -> None:
        self.problems.append(Problem(place, message, remedy))

    def unknown(self, place: str, name: str, known: Sequence[str], what: str) -> None:
        self.guesses -= 1
        remedy = choice_remedy(name, known, what) if self.guesses >= 0 else f"use the name of a {what}"
        self.add(place, f"there is no {what} {name!r}", remedy)

    def _grid(self) -> list[float] | None:
        """The grid of tilts where it is one; an empty list where there is none."""
        theta = _get(self.instance, "theta")
        if theta is None:
            return []
        values = [value for _, value in _entries(self.instance, "theta")]
        sound = all(isinstance(v, (int, float)) and not isinstance(v, bool) and v > 0 for v in values)
        return [float(value) for value in values] if values and sound else None

    def _unique(self, place: str, names: list[Any], form: str, what: str) -> None:
        seen: dict[str, int] = {}
        for i, name in enumerate(names):
            if not isinstance(name, str):
                continue
            if name in seen:
                first = place + form.format(seen[name])
                self.add(place + form.format(i), f"is a second {what} {name!r}", f"rename it or {first}")
            else:
                seen[name] = i

    def _check_domains(self) -> None:
        listed = list(_entries(self.instance, "domains"))
        self._unique("domains", [_get(domain, "id") for _, domain in listed], "[{}].id", "domain")
        used = set()
        for i, domain in listed:
            id, stage = _get(domain, "id"), _get(domain, "stage")
            if isinstance(id, str):
                self.domains.setdefault(id, domain)
            if isinstance(stage, str):
                used.add(stage)
                if self.stages and stage not in self.stages:
                    self.unknown(f"domains[{i}].stage", stage, list(self.stages), "stage")
            offers = [_get(offer, "id") for _, offer in _entries(domain, "offers")]
            self._unique(f"domains[{i}].offers", offers, "[{}].id", "offer")
            for j, offer in _entries(domain, "offers"):
                place = f"domains[{i}].offers[{j}]"
                model = self._check_model(f"{place}.impairment", _get(offer, "impairment"), _IMPAIRMENT)
                if isinstance(model, LearnedImpairment) and _get(offer, "latency"):
                    message = "is given, though what is learned of this offer is its whole delay"
                    self.add(f"{place}.latency", message, "leave it out")
        for i, domain in listed:
            for j, other in _names(domain, "dependent_with"):
                place = f"domains[{i}].dependent_with[{j}]"
                if other == _get(domain, "id"):
                    self.add(place, f"names the domain {other!r} itself", "leave it out")
                elif other not in self.domains:
                    self.unknown(place, other, list(self.domains), "domain")
        for stage, i in self.stages.items():
            if listed and stage not in used and used <= set(self.stages):
                self.add(
                    f"stages[{i}]",
                    f"the stage {stage!r} has no domain",
                    "add a domain or leave the stage out",
                )

    def _check_links(self) -> None:
        links = _get(self.instance, "links")
        if isinstance(links, Sequence) and not links and len(self.stages) > 1:
            self.add("links", "is empty, so no domain reaches another", "leave links out to join all domains")
        seen: dict[tuple[str, str], int] = {}
        for i, link in _entries(self.instance, "links"):
            ends = [_get(link, "from_"), _get(link, "to")]
            for key, end in zip(("from", "to"), ends, strict=True):
                if isinstance(end, str) and end not in self.domains:
                    self.unknown(f"links[{i}].{key}", end, list(self.domains), "domain")
            if all(isinstance(end, str) and end in self.domains for end in ends):
                first = seen.setdefault((ends[0], ends[1]), i)
                if first != i:
                    self.add(
                        f"links[{i}]",
                        f"is a second link from {ends[0]!r} to {ends[1]!r}",
                        f"merge it with links[{first}]",
                    )
                self._check_direction(i, *ends)

    def _check_direction(self, i: int, start: str, end: str) -> None:
        """Links lead from a stage to the next one, which also rules out cycles."""
        stages = [_get(self.domains[name], "stage") for name in (start, end)]
        if not all(isinstance(stage, str) and stage in self.stages for stage in stages):
            return
        step = self.stages[stages[1]] - self.stages[stages[0]]
        if step == 1:
            return
        told = f"leads from {start!r} ({stages[0]}) to {end!r} ({stages[1]})"
        if step == 0:
            remedy = "link domains of consecutive stages; put one of the two on a stage of its own"
            told += ", a domain of the same stage" if start != end else ", itself: a cycle"
        elif step < 0:
            told += ", backwards, which would close a cycle"
            remedy = "exchange from and to" if step == -1 else "link domains of consecutive stages"
        else:
            told += f", past {step - 1} stage{'s' if step > 2 else ''}"
            remedy = "add a domain with latency 0 and impairment none on each stage that is skipped"
        self.add(f"links[{i}]", told, remedy)

    def _check_tenants(self) -> None:
        listed = list(_entries(self.instance, "tenants"))
        self._unique("tenants", [_get(tenant, "id") for _, tenant in listed], "[{}].id", "tenant")
        known = {
            "operators": sorted(
                {o for d in self.domains.values() if isinstance(o := _get(d, "operator"), str)}
            ),
            "regions": sorted({r for d in self.domains.values() if isinstance(r := _get(d, "region"), str)}),
        }
        members = {what: set(names) for what, names in known.items()}
        for i, tenant in listed:
            policy = _get(tenant, "policy")
            for j, milestone in _entries(_get(tenant, "slo"), "milestones"):
                until = _get(milestone, "until")
                if isinstance(until, str) and self.stages and until not in self.stages:
                    place = f"tenants[{i}].slo.milestones[{j}].until"
                    self.unknown(place, until, list(self.stages), "stage")
            for what, names in known.items():
                for j, name in _names(policy, what):
                    if name not in members[what]:
                        self.unknown(f"tenants[{i}].policy.{what}[{j}]", name, names, what[:-1])
            for j, name in _names(policy, "forbid"):
                self._check_forbidden(f"tenants[{i}].policy.forbid[{j}]", name)
            place = f"tenants[{i}].arrivals"
            model = self._check_model(place, _get(tenant, "arrivals"), _ARRIVALS)
            if isinstance(model, TraceArrivals):
                self._check_trace(place, model)
            self._check_requests(place, model, _get(tenant, "slo"))

    def _check_forbidden(self, place: str, name: str) -> None:
        domain, slash, offer = name.partition("/")
        if domain not in self.domains:
            self.unknown(place, domain, list(self.domains), "domain")
        elif slash:
            offers = [_get(entry, "id") for _, entry in _entries(self.domains[domain], "offers")]
            if offer not in offers:
                known = [f"{domain}/{entry}" for entry in offers if isinstance(entry, str)]
                self.unknown(place, name, known, "offer")

    def _check_model(self, place: str, value: object, adapter: TypeAdapter[Any]) -> Any:
        """Compare a model with the grid of tilts; returns the model where it could be read."""
        if isinstance(value, Mapping):
            try:
                value = adapter.validate_python(value, context={"directory": self.directory})
            except ValidationError:
                return None
        if not hasattr(value, "theta_limit") or self.grid is None or self.slot is None:
            return value
        if isinstance(value, (EnvelopeArrivals, TableImpairment)):
            self._check_table(place, value)
        elif self.grid and self.grid[0] >= (limit := value.theta_limit(self.slot)):
            self.add(
                place,
                f"has no finite moment generating function from θ = {limit:g} on, but the grid theta of the "
                f"instance starts at {self.grid[0]:g}",
                f"add a value below {limit:g} to theta, or leave theta out where no model is a table",
            )
        return value

    def _check_table(self, place: str, table: EnvelopeArrivals | TableImpairment) -> None:
        """The grid must be given where there is a table, and must not go beyond it."""
        last = table.theta[-1]
        if not self.grid:
            if not self.grid_missed:
                own = ", ".join(f"{theta:g}" for theta in table.theta[:8] if theta > 0)
                self.add("theta", f"is missing, though {place} is a table", f"add it, such as theta: [{own}]")
            self.grid_missed = True
            return
        beyond = [f"{theta:g}" for theta in self.grid if theta > last]
        if beyond:
            self.add(
                f"{place}.theta",
                f"ends at {last:g}, but the grid theta of the instance goes on to {beyond[-1]}; beyond its "
                "last point a table guarantees nothing",
                f"extend the table, or leave {', '.join(beyond[:6])} out of the grid",
            )

    def _check_requests(self, place: str, model: object, slo: object) -> None:
        """A promise about requests needs to know what a request brings."""
        wanted = slo is not None and _get(slo, "of") in (None, "requests")
        if wanted and isinstance(model, EnvelopeArrivals) and model.request_size is None:
            self.add(
                f"{place}.request_size",
                "is missing, though the SLO is about requests",
                "give the work of one request, or set slo.of: time",
            )

    def _check_trace(self, place: str, model: TraceArrivals) -> None:
        key = (str(model.path), model.time_column, model.work_column)
        if key not in self.traces:
            self.traces[key] = list(_trace_problems(model))
        for field, message, remedy in self.traces[key]:
            self.add(f"{place}.{field}", message, remedy)


def _trace_problems(model: TraceArrivals) -> Iterator[tuple[str, str, str]]:
    """What keeps a trace's file from being read: field, message, remedy."""
    try:
        if not model.path.is_file():
            there = "is a directory" if model.path.is_dir() else "does not exist"
            yield "file", f"{model.path} {there}", "give a CSV file, relative to the instance's file"
            return
        with open(model.path, encoding="utf-8-sig", newline="") as stream:
            header = next(csv.reader([stream.readline(HEADER_LIMIT)]), [])
            first = stream.readline(HEADER_LIMIT)
    except (OSError, ValueError, csv.Error) as error:
        yield "file", f"{model.path} cannot be read: {error}", "give a CSV file in UTF-8 with a header line"
        return
    columns = [name.strip() for name in header]
    for field, name in (("time_column", model.time_column), ("work_column", model.work_column)):
        if name not in columns:
            yield field, f"{model.path.name} has no column {name!r}", choice_remedy(name, columns, "column")
    if not first.strip():
        yield "file", f"{model.path} holds no rows", "give a trace with at least one request"
