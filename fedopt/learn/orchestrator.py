"""RADE in service: decompose SLAs over named domains while their risk models learn from the answers."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np

from fedopt.errors import InputError
from fedopt.learn.answers import Answer, Received, Requests, checked, in_chunks
from fedopt.learn.choice import AdaptiveRisk
from fedopt.learn.decompose import METHODS, Decomposition, Problem, on_grid, settle, tangent_bound
from fedopt.learn.feedback import Array, Buffer, Feedback, Rows
from fedopt.learn.history import History
from fedopt.learn.metrics import SLA, Metric, Schema, SLAError, Sliced, on_every_metric
from fedopt.learn.model import RiskModel, cleaned
from fedopt.learn.providers import StageGraph, choose
from fedopt.learn.scores import Calibration, PageHinkley
from fedopt.learn.settings import Settings

BOUND_POINTS = 256
"""Grid of the certificate for models that are not concave."""
NOTABLE = 0.03
"""Calibration error below which a model that is refuted by very many answers is good enough."""


@dataclass(frozen=True)
class Split:
    """A decomposed SLA.

    Attributes
    ----------
    sla
        What was asked.
    delay
        Partial delay of each domain; they add up to the SLA's.
    probability
        Each domain's calibrated probability of accepting.
    log_probability
        Σ log P of the risk models, which the split maximises.
    upper_bound
        No other split has a higher Σ log P under the same models; None where it was not asked for.
    parts
        The further metrics of each domain.
    """

    sla: SLA
    delay: Mapping[str, float]
    probability: Mapping[str, float]
    log_probability: float
    upper_bound: float | None = None
    parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def accepted(self) -> float:
        """Calibrated probability that all of them accept."""
        return math.prod(self.probability.values())

    @property
    def gap(self) -> float | None:
        """Certified distance to the best split, in log-probability."""
        return None if self.upper_bound is None else max(self.upper_bound - self.log_probability, 0.0)


class Orchestrator:
    """Risk models of named domains, their memory, and the decomposition by them.

    `decompose` reads one immutable set of models; `observe` may run in another thread and replaces that set
    when it is done: decomposing never waits for learning. Both may be called from any thread.

    Parameters
    ----------
    domains
        Names, or names with their stages: then one domain per stage serves a request.
    settings
        How it learns.
    schema
        Metrics beyond delay and throughput, and context.
    seed
        Of whatever draws lots.
    """

    def __init__(
        self,
        domains: Iterable[str] | Mapping[str, str] = (),
        settings: Settings | None = None,
        schema: Schema | None = None,
        seed: int = 0,
    ) -> None:
        self.settings = settings or Settings()
        self.schema = schema or Schema()
        self.seed = seed
        self.names: list[str] = list(domains)
        self.stages: dict[str, str] = dict(domains) if isinstance(domains, Mapping) else {}
        self._row = {name: row for row, name in enumerate(self.names)}
        signs, count = self.schema.signs, len(self.names)
        self.model = AdaptiveRisk.blank(count, self.settings, signs, seed)
        self.buffer = Buffer.empty(count, self.settings.capacity, len(signs))
        self.anchor = _nothing(count, self.settings.anchor, len(signs))
        self.drift = PageHinkley(count, self.settings.alarm, keep=self.settings.keep)
        self.now = -math.inf
        self.span = (math.inf, -math.inf)
        self.requests = Requests(self.settings.requests)
        self._learning = threading.RLock()

    @classmethod
    def from_history(
        cls, history: History, settings: Settings | None = None, schema: Schema | None = None, seed: int = 0
    ) -> Self:
        """Fit risk models to a history and choose among them."""
        stages = history.stages
        domains = history.names if stages is None else dict(zip(history.names, stages, strict=True))
        schema, extra = _typical(schema or Schema(), history)
        feedback = replace(history.feedback, extra=extra)
        made = cls(domains, settings, schema, seed)
        memory = feedback.sample(max(made.settings.capacity, made.settings.anchor), seed)
        model = made.model.fit(memory)
        for _ in range(8 if made.settings.flip > 0 else 0):
            model = made.model.fit(cleaned(model, memory, made.settings.flip))
        made.model = model
        anchor = memory.sample(made.settings.anchor, seed)
        anchor = anchor.with_weight(made.settings.anchor_weight * anchor.weight)
        if made.settings.anchor:
            made.anchor = Feedback.stack([anchor, made.anchor]).rows(np.arange(anchor.count))
        made._widen(feedback)
        return made

    # ---- decomposing

    def decompose(
        self,
        sla: SLA,
        min_delay: Mapping[str, float] | None = None,
        max_delay: Mapping[str, float] | None = None,
        method: str = "auto",
        domains: Sequence[str] | None = None,
        context: Mapping[str, Any] | None = None,
        request: str | None = None,
        tolerance: float = 1e-2,
    ) -> Split:
        """Split the SLA over the domains with the highest probability that all of them accept.

        Parameters
        ----------
        sla
            What is to be split.
        min_delay, max_delay
            Bounds on partial delays, by domain.
        method
            grid, price (concave models), slsqp, or auto.
        domains
            Those that serve it; otherwise the best one of every stage, or all where there are no stages.
        context
            Values of the schema's context.
        request
            Identifier by which answers may come later, without repeating what was asked.
        tolerance
            Certified gap, in log-probability, from which on the split is good enough; a small one takes
            longer where the models are not concave.

        Raises
        ------
        DecompositionInfeasible
            If the bounds leave no split.
        SLAError
            For a name that is not known.
        """
        given = None if context is None else [context]
        bounds = (min_delay or {}, max_delay or {})
        (split,) = self._decompose([sla], bounds, method, domains, given, True, tolerance)
        if request is not None:
            self._remember([request], [split], [context or {}])
        return split

    def decompose_batch(
        self,
        slas: Sequence[SLA],
        domains: Sequence[str] | None = None,
        contexts: Sequence[Mapping[str, Any]] | None = None,
        requests: Sequence[str] | None = None,
        certify: bool = False,
    ) -> list[Split]:
        """Split many SLAs at once, each as `decompose` would; certificates on demand."""
        if not slas:
            return []
        splits = self._decompose(slas, ({}, {}), "auto", domains, contexts, certify)
        if requests is not None:
            self._remember(requests, splits, contexts or [{}] * len(splits))
        return splits

    def _decompose(
        self,
        slas: Sequence[SLA],
        bounds: tuple[Mapping[str, float], Mapping[str, float]],
        method: str,
        domains: Sequence[str] | None,
        contexts: Sequence[Mapping[str, Any]] | None,
        certify: bool,
        tolerance: float = 1e-2,
    ) -> list[Split]:
        model = self.model
        delay = np.array([sla.delay for sla in slas])
        throughput = np.array([sla.throughput for sla in slas])
        extra = self._columns(slas, contexts)
        rows = self._serving(model, domains, delay, throughput, extra)
        names = self.names
        limits = self._bounds(rows, bounds)
        shared: Array | None = None
        if extra.shape[1]:
            if method not in ("auto", "grid"):
                raise SLAError(f"the method {method!r} knows delay and throughput alone: use --method grid")
            columns = tuple(k for k, m in enumerate(self.schema.metrics) if m.law.split)
            found, shared = on_every_metric(model, rows, delay, throughput, extra, columns, limits)
        else:
            problem = Problem(model, rows, delay, throughput, *limits)
            found = self._split(model, problem, method, certify, tolerance)
        flat, each = rows.reshape(-1), np.repeat(throughput, rows.shape[1])[:, None]
        own = None if shared is None else shared.reshape(flat.size, 1, -1)
        log_p = model.log_probability(found.delay.reshape(-1, 1), each, flat, own)
        stated: Any = model.stated(log_p, flat).reshape(rows.shape).tolist()
        total = log_p.reshape(rows.shape).sum(axis=1)
        upper = None if found.upper_bound is None else np.maximum(found.upper_bound, total).tolist()
        splits = []
        for i, (sla, one, parts) in enumerate(zip(slas, rows, found.delay.tolist(), strict=True)):
            chosen = [names[row] for row in one]
            splits.append(
                Split(
                    sla,
                    dict(zip(chosen, parts, strict=True)),
                    dict(zip(chosen, stated[i], strict=True)),
                    float(total[i]),
                    None if upper is None else upper[i],
                    {} if shared is None else self._parts(chosen, sla, shared[i]),
                )
            )
        return splits

    @staticmethod
    def _split(
        model: RiskModel, problem: Problem, method: str, certify: bool, tolerance: float
    ) -> Decomposition:
        if method not in ("auto", *METHODS):
            raise SLAError(f"there is no method {method!r}: choose one of auto, {', '.join(METHODS)}")
        if method == "price" and not model.concave:
            raise SLAError("price bisection needs a concave model (convex or logistic); use --method grid")
        if method == "auto":
            method = "price" if model.concave and certify else "grid"
        if not certify:
            return on_grid(problem, points=48, windows=1)
        if method == "grid" and not model.concave:
            return settle(problem, on_grid(problem, BOUND_POINTS, 1, bound=True), tolerance)
        found = METHODS[method](problem)
        if found.upper_bound is not None:
            return found
        if model.concave:
            return replace(found, upper_bound=tangent_bound(problem, found.delay))
        return replace(found, upper_bound=on_grid(problem, BOUND_POINTS, 0, bound=True).upper_bound)

    def _columns(self, slas: Sequence[SLA], contexts: Sequence[Mapping[str, Any]] | None) -> Array:
        """The further columns of requests, end to end, shape (R, E)."""
        given = contexts or [{}] * len(slas)
        if not self.schema.names:
            for sla, context in zip(slas, given, strict=True):
                if sla.more or context:
                    self.schema.columns({**sla.more, **context})
            return np.zeros((len(slas), 0))
        return np.array([self.schema.columns({**s.more, **c}) for s, c in zip(slas, given, strict=True)])

    def _serving(
        self,
        model: RiskModel,
        domains: Sequence[str] | None,
        delay: Array,
        throughput: Array,
        extra: Array,
    ) -> Rows:
        """Rows of the domains that serve each request, shape (R, N)."""
        if domains is not None:
            return np.tile([self._known(name) for name in domains], (delay.size, 1))
        if not self.names:
            raise SLAError("nothing is known of any domain yet: observe answers first")
        order = list(dict.fromkeys(self.stages.values()))
        if len(order) == len(self.names) or not order:
            return np.tile(np.arange(len(self.names)), (delay.size, 1))
        by_stage = [
            np.array([row for name, row in self._row.items() if self.stages[name] == stage], dtype=np.intp)
            for stage in order
        ]
        graph = StageGraph(
            tuple(by_stage), tuple(np.zeros((a.size, b.size)) for a, b in itertools.pairwise(by_stage))
        )
        if not extra.shape[1]:
            return choose(model, graph, delay, throughput).rows
        # the path is chosen at equal shares of the further metrics
        even = extra.copy()
        even[:, [k for k, m in enumerate(self.schema.metrics) if m.law.split]] /= len(order)
        paths = [
            choose(Sliced(model, even[i : i + 1]), graph, delay[i : i + 1], throughput[i : i + 1]).rows
            for i in range(delay.size)
        ]
        return np.concatenate(paths)

    def _bounds(
        self, rows: Rows, bounds: tuple[Mapping[str, float], Mapping[str, float]]
    ) -> tuple[Array, Array]:
        serving = [self.names[row] for row in rows[0]]
        for name in itertools.chain(*bounds):
            if name not in serving:
                raise SLAError(f"there is no domain {name!r}: known are {', '.join(serving)}")
        lower, upper = bounds
        return (
            np.array([lower.get(name, 0.0) for name in serving]),
            np.array([upper.get(name, np.inf) for name in serving]),
        )

    def _parts(self, chosen: list[str], sla: SLA, shared: Array) -> dict[str, dict[str, float]]:
        """The further metrics of each domain, in their own units."""
        found: dict[str, dict[str, float]] = {name: {} for name in chosen}
        for column, metric in enumerate(self.schema.metrics):
            for name, value in zip(chosen, shared[:, column], strict=True):
                part = metric.law.inverse(float(value) * metric.unit) if metric.law.split else None
                found[name][metric.name] = float(sla.more[metric.name]) if part is None else part
        return found

    def _known(self, name: str) -> int:
        if name not in self._row:
            raise SLAError(f"there is no domain {name!r}: known are {', '.join(self.names)}")
        return self._row[name]

    def _remember(
        self, requests: Sequence[str], splits: Sequence[Split], contexts: Sequence[Mapping[str, Any]]
    ) -> None:
        """Keep what was sent to whom, for answers that come later."""
        if len(requests) != len(splits):
            raise InputError("as many request identifiers as SLAs are needed")
        sent = {}
        for request, split, context in zip(requests, splits, contexts, strict=True):
            sent[str(request)] = {
                name: {
                    "delay": delay,
                    "throughput": split.sla.throughput,
                    "values": {**split.parts.get(name, {}), **context},
                }
                for name, delay in split.delay.items()
            }
        with self._learning:
            self._record({"sent": sent})
            self._note_sent(sent)

    def _note_sent(self, sent: Mapping[str, Any]) -> None:
        for request, parts in sent.items():
            self.requests.send(request, parts)

    def _record(self, event: Mapping[str, Any]) -> None:
        """What a kept orchestrator writes down before it counts (`fedopt.learn.keeping`)."""

    # ---- learning

    def observe(self, answers: Answer | Iterable[Answer]) -> Received:
        """Learn from answers: one, a batch, late ones, repeated ones.

        Raises
        ------
        InputError
            If an answer is not one: no finite number, a delay that is not positive, a label other than 0 and
            1, an unknown request. Then none of the batch is learned from.
        """
        batch = [answers] if isinstance(answers, Answer) else list(answers)
        with self._learning:
            rows, duplicates = checked(batch, self.schema, self.stages, self.requests)
            self._record({"answers": rows})
            return Received(len(rows), duplicates, self._take(rows))

    def _take(self, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """Learn from checked rows."""
        if not rows:
            return ()
        for row in rows:
            if row["request"] is not None:
                self.requests.answer(row["request"], row["domain"])
        self._add_domains(rows)
        index = np.array([self._row[row["domain"]] for row in rows], dtype=np.intp)
        self.now = max([self.now, *(row["row"][3] for row in rows if row["row"][3] is not None)])
        now = self.now if math.isfinite(self.now) else 0.0
        table = np.array([[now if x is None else x for x in row["row"]] for row in rows], dtype=float)
        changed: set[int] = set()
        for active, fresh, times in in_chunks(index, table, self.settings.capacity):
            changed |= self._learn(active, fresh, times)
        return tuple(self.names[row] for row in sorted(changed))

    def _learn(self, active: Rows, fresh: Feedback, times: Array) -> set[int]:
        used = fresh.weight > 0
        at = np.nonzero(used)[0]
        log_p = self.model.log_probability(fresh.delay, fresh.throughput, active, fresh.extra)
        alarmed = self.drift.observe(active[at], fresh.accepted[used], np.exp(log_p[used]))
        model = self.model.alarmed(alarmed) if alarmed.size else self.model
        model = model.judge(fresh, active)
        for k in range(fresh.delay.shape[1]):
            here = used[:, k]
            names = ("delay", "throughput", "accepted", "extra")
            values = {name: getattr(fresh, name)[here, k] for name in names}
            self.buffer.push(active[here], time=times[here, k], **values)
        self._widen(fresh)
        memory = self.buffer.view(active)
        if math.isfinite(self.settings.half_life_time):
            old = np.maximum(self.now - self.buffer.time[active], 0.0) / self.settings.half_life_time
            memory = memory.with_weight(memory.weight * 0.5**old)
        memory = memory.beside(self.buffer.aged(self.anchor, active))
        self.model = model.update(cleaned(model, memory, self.settings.flip, active), active)
        return set(alarmed.tolist())

    def _add_domains(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            if row["stage"] is not None:
                self.stages.setdefault(row["domain"], row["stage"])
            if row["domain"] not in self._row:
                self._row[row["domain"]] = len(self.names)
                self.names.append(row["domain"])
        count = len(self.names)
        if count > self.buffer.count:
            more = count - self.buffer.count
            nothing = _nothing(more, self.anchor.delay.shape[1], self.anchor.extra.shape[2])
            self.anchor = Feedback.stack([self.anchor, nothing])
            self.model = self.model.grown(count)
            self.buffer = self.buffer.grown(count)
            self.drift.up, self.drift.down = (
                np.append(p, np.zeros(more)) for p in (self.drift.up, self.drift.down)
            )

    def _widen(self, fresh: Feedback) -> None:
        asked = fresh.throughput[fresh.weight > 0]
        if asked.size:
            low, high = self.span
            self.span = (min(low, float(asked.min())), max(high, float(asked.max())))

    # ---- telling

    def warnings(self, sla: SLA | None = None) -> list[str]:
        """What a user should know: models that fit badly, and a throughput that no answer speaks of."""
        found = []
        low, high = self.span
        if sla is not None and low <= high and not low <= sla.throughput <= high:
            found.append(
                f"the throughput {sla.throughput:g} lies outside what the history asked for "
                f"({low:g} to {high:g}): the models extrapolate"
            )
        refuted = self.model.misfit() < self.settings.misfit
        for row in np.flatnonzero(refuted):
            score = self.calibration([self.names[row]])
            if score is not None and score.error > NOTABLE:
                kind = self.model.kinds()[row]
                found.append(
                    f"{self.names[row]}: the {kind} model fits badly (stated probabilities are off by "
                    f"{score.error:.2f} on average on {int(score.number.sum())} answers that it had not seen)"
                )
        return found

    def calibration(self, domains: Sequence[str] | None = None) -> Calibration | None:
        """Scores on answers that no model had seen; None where there are none."""
        rows = [self._known(name) for name in (self.names if domains is None else domains)]
        came = self.model.came[rows]
        used = np.isfinite(came)
        if not used.any():
            return None
        return Calibration.of(1 / (1 + np.exp(-self.model.foretold[rows][used])), came[used])

    # ---- what is kept

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, as arrays."""
        with self._learning:
            meta = {
                "names": self.names,
                "stages": self.stages,
                "settings": {k: str(v) if v == math.inf else v for k, v in asdict(self.settings).items()},
                "schema": self.schema.to_dict(),
                "seed": self.seed,
                "now": None if self.now == -math.inf else self.now,
                "span": None if self.span[0] > self.span[1] else self.span,
                "alarms": self.drift.alarms,
                "sent": list(self.requests.entries.items()),
            }
            anchor = {name: getattr(self.anchor, name) for name in self.anchor.__dataclass_fields__}
            return {
                "meta": np.array(json.dumps(meta)),
                "drift.up": self.drift.up.copy(),
                "drift.down": self.drift.down.copy(),
                **{f"anchor.{key}": value for key, value in anchor.items()},
                **{f"buffer.{key}": value for key, value in self.buffer.state().items()},
                **{f"model.{key}": np.asarray(value) for key, value in self.model.state().items()},
            }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The orchestrator that gave this state."""
        meta = json.loads(str(state["meta"]))

        def part(prefix: str) -> dict[str, Any]:
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        options: dict[str, Any] = {k: math.inf if v == "inf" else v for k, v in meta["settings"].items()}
        settings = Settings(**options)
        made = cls((), settings, Schema.from_dict(meta["schema"]), meta["seed"])
        made.names, made.stages = meta["names"], meta["stages"]
        made._row = {name: row for row, name in enumerate(made.names)}
        made.model = AdaptiveRisk.from_state(part("model."), settings)
        made.buffer = Buffer.from_state(part("buffer."))
        made.anchor = Feedback(**part("anchor."))
        made.drift = PageHinkley(len(made.names), settings.alarm, keep=settings.keep, alarms=meta["alarms"])
        made.drift.up, made.drift.down = np.array(state["drift.up"]), np.array(state["drift.down"])
        made.now = -math.inf if meta["now"] is None else meta["now"]
        made.span = (math.inf, -math.inf) if meta["span"] is None else tuple(meta["span"])
        made.requests = Requests(settings.requests, (tuple(entry) for entry in meta["sent"]))
        return made


def _nothing(count: int, width: int, extra: int) -> Feedback:
    none = np.zeros((count, width))
    return Feedback(none + 1.0, none, none, none, none, np.zeros((count, width, extra)))


def _typical(schema: Schema, history: History) -> tuple[Schema, Array]:
    """The schema with usual values of its metrics, and the history's further columns."""
    shape = history.feedback.delay.shape
    metrics: list[Metric] = []
    for metric in schema.metrics:
        if metric.typical is None and metric.name in history.values:
            given = [float(v) for row in history.values[metric.name] for v in row if v != ""]
            metric = replace(metric, typical=float(np.median(given)) if given else None)
        metrics.append(metric)
    schema = Schema(tuple(metrics), schema.context)
    extra = np.zeros((*shape, len(schema.signs)))
    if schema.names:
        missing = [metric.name for metric in schema.metrics if metric.name not in history.values]
        if missing:
            raise InputError(f"the history has no column {missing[0]!r}, which is a metric")
        for i, k in zip(*np.nonzero(history.feedback.weight > 0), strict=True):
            values = {name: history.values[name][i][k] for name in schema.names if name in history.values}
            extra[i, k] = schema.columns(values)
    return schema, extra
