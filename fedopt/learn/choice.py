"""Choosing among risk models by how well they foretell answers that they have not seen.

Every domain has several *members*: kinds of models, each with a long and a short memory. On a history
they are scored by cross-validation; online each answer is foretold by every member before any of them learns
from it. The sum of these log-losses, which fades, decides: a domain that changes moves to a member that
forgets, and back when the change is over. What the chosen member foretold, beside what came, also says
whether its probabilities are to be believed (`AdaptiveRisk.stated`) and whether it fits at all (`misfit`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, Self

import numpy as np
from scipy.stats import chi2

from fedopt.errors import InputError
from fedopt.learn.feedback import Array, Feedback, Rows
from fedopt.learn.model import RiskModel
from fedopt.learn.monotone import IsotonicRisk, TreesRisk
from fedopt.learn.network import NetworkRisk
from fedopt.learn.newton import LOGISTIC, minimise
from fedopt.learn.parametric import ConvexRisk, LogisticRisk
from fedopt.learn.settings import Settings

KINDS = ("convex", "logistic", "isotonic", "trees", "network")
AUTO = ("convex", "logistic", "isotonic")
"""Kinds that compete by default, the simplest first."""
HEAVY = {"trees": "sklearn", "network": "jax"}
"""Kinds that join where none of the others fits and their library is installed."""
FEW = 60
"""Answers of a domain below which a history is too short to say that no model fits."""
_CLIP = 1e-4
_SCORE_CLIP = 0.01
"""Of probabilities in scores: one surprise (4.6 nats) does not decide alone."""


def blank(kind: str, models: int, signs: tuple[int, ...] = (), seed: int = 0) -> RiskModel:
    """Models of a kind that have seen nothing; `signs`: of the further columns of feedback.

    Raises
    ------
    InputError
        For an unknown kind, or one that knows no further columns where there are some.
    """
    if kind not in KINDS:
        raise InputError(f"there is no risk model {kind!r}: choose one of auto, {', '.join(KINDS)}")
    if signs and kind not in ("logistic", "isotonic"):
        raise InputError(
            f"the {kind} model knows delay and throughput alone: choose auto, logistic or isotonic"
        )
    if kind == "convex":
        return ConvexRisk(models)
    if kind == "logistic":
        return LogisticRisk(models, signs=signs)
    if kind == "isotonic":
        return IsotonicRisk.blank(models, signs)
    return TreesRisk.blank(models, seed) if kind == "trees" else NetworkRisk(models, seed)


@dataclass(frozen=True)
class Member:
    """Models of one kind with one memory: a long one, or a short one that begins at the latest alarm and
    halves the weight of an answer with every `half_life` newer ones.
    """

    kind: str
    half_life: float
    model: RiskModel
    short: bool = False


@dataclass(frozen=True)
class AdaptiveRisk(RiskModel):
    """One chosen member per domain.

    Attributes
    ----------
    members
        The candidates, the preferred ones first.
    settings
        Which rule chooses.
    signs, seed
        Of the further columns; of models that draw lots.
    chosen
        Member of each domain, shape (count,).
    loss
        Log-loss of each member on unseen answers, faded, shape (members, count).
    foretold, came, judged
        Log-odds stated by the chosen member and what came, the latest `settings.judged` of each domain, and
        how many there have been; shapes (count, judged), (count,).
    since
        Answers since the latest alarm, and the few before it that count as new, shape (count,).
    calibration
        (a, b) of each domain: stated log-odds are a + b · log-odds, shape (count, 2).
    """

    members: tuple[Member, ...]
    settings: Settings
    signs: tuple[int, ...] = ()
    seed: int = 0
    chosen: Rows = field(default_factory=lambda: np.zeros(0, np.intp))
    loss: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    foretold: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    came: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    judged: Rows = field(default_factory=lambda: np.zeros(0, np.intp), repr=False)
    since: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    calibration: Array = field(default_factory=lambda: np.zeros(0), repr=False)

    @classmethod
    def blank(cls, models: int, settings: Settings, signs: tuple[int, ...] = (), seed: int = 0) -> Self:
        """Members that have seen nothing."""
        kinds: tuple[str, ...] = AUTO if settings.model == "auto" else (settings.model,)
        if signs and settings.model == "auto":
            kinds = ("logistic", "isotonic")
        members = tuple(
            Member(kind, settings.half_life if short else np.inf, blank(kind, models, signs, seed), short)
            for short in (False, True)
            for kind in kinds
        )
        return cls(members, settings, signs, seed)._begin(models)

    def _begin(self, models: int) -> Self:
        return replace(
            self,
            chosen=np.zeros(models, np.intp),
            loss=np.zeros((len(self.members), models)),
            foretold=np.zeros((models, self.settings.judged)),
            came=np.full((models, self.settings.judged), np.nan),
            judged=np.zeros(models, np.intp),
            since=np.full(models, np.inf),
            calibration=np.tile([0.0, 1.0], (models, 1)),
        )

    @property
    def count(self) -> int:
        return self.members[0].model.count

    @property
    def concave(self) -> bool:  # type: ignore[override]
        return all(self.members[m].model.concave for m in np.unique(self.chosen))

    def kinds(self) -> list[str]:
        """The kind of each domain's chosen member."""
        return [self.members[m].kind for m in self.chosen]

    # ---- learning

    def fit(self, feedback: Feedback) -> Self:
        """Cross-validate every kind, fit every member, choose; heavier kinds join where none fits."""
        fitted = self._begin(self.count)._joined(feedback, self.members)
        if (
            self.settings.model == "auto"
            and not self.signs
            and (fitted.misfit() < self.settings.misfit).any()
        ):
            heavy = [kind for kind, library in HEAVY.items() if find_spec(library) is not None]
            more = tuple(Member(k, np.inf, blank(k, self.count, (), self.seed)) for k in heavy)
            fitted = fitted._joined(feedback, more)
        return fitted

    def _joined(self, feedback: Feedback, more: tuple[Member, ...]) -> Self:
        """With further members, fitted and scored on a history, and what was foretold by the chosen ones."""
        first = len(self.members) if more is not self.members else 0
        members = [*self.members[:first], *(replace(m, model=m.model.fit(feedback)) for m in more)]
        unseen = {m.kind: cross_validated(m.model, feedback, self.settings, self.seed) for m in more}
        used = feedback.weight > 0
        # where acceptance is unlikely no good split asks: what happens there matters as little
        matters = np.exp(self.settings.focus * np.mean(list(unseen.values()), axis=0)) * used
        losses = [(log_loss(unseen[m.kind], feedback.accepted) * matters).sum(axis=1) for m in more]
        joined = replace(
            self, members=tuple(members), loss=np.concatenate([self.loss[:first], np.array(losses)])
        )._chosen_again(np.arange(self.count))
        for row in np.flatnonzero(joined.chosen >= first):
            log_p = unseen[members[joined.chosen[row]].kind][row, used[row]]
            joined = joined._noted(np.array([row]), log_p[None], feedback.accepted[row, used[row]][None])
        return joined

    def judge(self, fresh: Feedback, rows: Rows) -> Self:
        used = fresh.weight > 0
        loss = self.loss.copy()
        log_p = self.log_probability(fresh.delay, fresh.throughput, rows, fresh.extra)
        fade = self.settings.fade ** used.sum(axis=1)
        since = self.since.copy()
        since[rows] += used.sum(axis=1)
        for place, member in enumerate(self.members):
            said = member.model.log_probability(fresh.delay, fresh.throughput, rows, fresh.extra)
            missed = (log_loss(said, fresh.accepted) * used).sum(axis=1)
            loss[place, rows] = fade * loss[place, rows] + missed
        noted = replace(self, loss=loss, since=since)
        for at, row in enumerate(rows):
            one = np.array([row])
            noted = noted._noted(one, log_p[at, used[at]][None], fresh.accepted[at, used[at]][None])
        return noted._chosen_again(rows)

    def _chosen_again(self, rows: Rows) -> Self:
        chosen = self.chosen.copy()
        other = np.arange(len(self.members)) > 0
        short = np.array([member.short for member in self.members])
        handicap = self.settings.preference * other + self.settings.doubt * short
        chosen[rows] = np.argmin(self.loss[:, rows] + handicap[:, None], axis=0)
        return replace(self, chosen=chosen)

    def _noted(self, row: Rows, log_p: Array, accepted: Array) -> Self:
        """What was foretold of one domain's answers, in their order, and what came."""
        ring, number = self.settings.judged, log_p.shape[1]
        kept = np.arange(max(0, number - ring), number)
        at = (self.judged[row[0]] + kept) % ring
        foretold, came, judged = self.foretold.copy(), self.came.copy(), self.judged.copy()
        foretold[row[0], at] = log_odds(log_p[0, kept])
        came[row[0], at] = accepted[0, kept]
        judged[row[0]] += number
        noted = replace(self, foretold=foretold, came=came, judged=judged)
        calibration = self.calibration.copy()
        calibration[row[0]] = noted._platt(int(row[0]))
        return replace(noted, calibration=calibration)

    def _platt(self, row: int) -> Array:
        """(a, b) that make the stated log-odds likeliest, drawn to (0, 1) where little has come."""
        used = np.isfinite(self.came[row])
        x = np.stack([np.ones(used.sum()), self.foretold[row, used]], axis=-1)[None]
        found, _ = minimise(
            LOGISTIC,
            np.ascontiguousarray(x),
            np.ascontiguousarray(self.came[row, used][None]),
            np.ones((1, int(used.sum()))),
            np.array([2.0, 8.0]),
            np.array([0.0, 1.0]),
            np.array([True, False]),
            np.array([[0.0, 1.0]]),
            60,
            1e-7,
        )
        return np.asarray(found[0])

    def update(self, feedback: Feedback, rows: Rows | None = None) -> Self:
        index = np.arange(self.count) if rows is None else np.asarray(rows)
        if index.size == 0:
            return self
        new = feedback.age < self.since[index][:, None]
        recent = feedback.with_weight(feedback.weight * new).faded(self.settings.half_life)
        members = tuple(
            replace(m, model=m.model.update(recent if m.short else feedback, index)) for m in self.members
        )
        return replace(self, members=members)

    def alarmed(self, rows: Rows) -> Self:
        """Begin the short memories anew: these domains seem to have changed.

        Whether they have, the scores decide: a false alarm costs nothing but the short members' answers.
        """
        since, came = self.since.copy(), self.came.copy()
        since[rows] = self.settings.keep
        came[rows] = np.nan
        return replace(self, since=since, came=came)

    # ---- stating

    def log_probability(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> Array:
        return self._by_member(
            lambda m, d, x, r, e: (m.log_probability(d, x, r, e),), delay, throughput, rows, extra
        )[0]

    def gradient(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> tuple[Array, Array]:
        found = self._by_member(lambda m, d, x, r, e: m.gradient(d, x, r, e), delay, throughput, rows, extra)
        return found[0], found[1]

    def _by_member(
        self, act: Any, delay: Array, throughput: Array, rows: Rows | None, extra: Array | None
    ) -> tuple[Array, ...]:
        index = np.arange(self.count) if rows is None else np.asarray(rows)
        delay = np.asarray(delay, float)
        throughput = np.broadcast_to(np.asarray(throughput, float), delay.shape)
        who = self.chosen[index]
        present = np.unique(who)
        if present.size == 1:
            return tuple(act(self.members[present[0]].model, delay, throughput, index, extra))
        out = [np.empty(delay.shape), np.empty(delay.shape)]
        for member in present:
            at = np.flatnonzero(who == member)
            own = None if extra is None else extra[at]
            parts = act(self.members[member].model, delay[at], throughput[at], index[at], own)
            for whole, part in zip(out, parts, strict=False):
                whole[at] = part
        return tuple(out)

    def stated(self, log_p: Array, rows: Rows) -> Array:
        """Calibrated probabilities of what the models state, shape as `log_p` (rows, K)."""
        a, b = self.calibration[rows].T
        return np.asarray(1 / (1 + np.exp(-(a[:, None] + b[:, None] * log_odds(log_p)))))

    def misfit(self) -> Array:
        """p-value of "the chosen member's probabilities are right", by domain; 1 where too little has come.

        Hosmer and Lemeshow's statistic on answers that the member had not seen.
        """
        found = np.ones(self.count)
        for row in range(self.count):
            used = np.isfinite(self.came[row])
            if used.sum() >= FEW:
                found[row] = hosmer_lemeshow(
                    1 / (1 + np.exp(-self.foretold[row, used])), self.came[row, used]
                )
        return found

    # ---- what is kept

    def grown(self, models: int) -> Self:
        """With blank models up to `models`; what is there stays."""
        members = tuple(replace(m, model=m.model.grown(models)) for m in self.members)
        more = replace(self, members=members)._begin(models)
        old = self.count
        more.chosen[:old], more.loss[:, :old] = self.chosen, self.loss
        more.since[:old] = self.since
        more.foretold[:old], more.came[:old], more.judged[:old] = self.foretold, self.came, self.judged
        more.calibration[:old] = self.calibration
        return more

    def state(self) -> dict[str, Any]:
        own = ("chosen", "loss", "foretold", "came", "judged", "since", "calibration")
        return {
            **{name: getattr(self, name) for name in own},
            "kinds": np.array([m.kind for m in self.members]),
            "half_lives": np.array([m.half_life for m in self.members]),
            "short": np.array([m.short for m in self.members]),
            "signs": np.array(self.signs, np.int64),
            "seed": self.seed,
            **{f"{k}.{key}": v for k, m in enumerate(self.members) for key, v in m.model.state().items()},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], settings: Settings | None = None) -> Self:
        classes: dict[str, type[RiskModel]] = {
            "convex": ConvexRisk,
            "logistic": LogisticRisk,
            "isotonic": IsotonicRisk,
            "trees": TreesRisk,
            "network": NetworkRisk,
        }
        members = []
        memories = zip(state["kinds"], state["half_lives"], state["short"], strict=True)
        for k, (kind, memory, short) in enumerate(memories):
            part = {key.partition(".")[2]: v for key, v in state.items() if key.startswith(f"{k}.")}
            model = classes[str(kind)].from_state(part)
            members.append(Member(str(kind), float(memory), model, bool(short)))
        signs = tuple(int(sign) for sign in state["signs"])
        arrays: dict[str, Any] = {
            name: np.array(state[name], float)
            for name in ("loss", "foretold", "came", "since", "calibration")
        }
        arrays.update({name: np.array(state[name], np.intp) for name in ("chosen", "judged")})
        return cls(tuple(members), settings or Settings(), signs, int(state["seed"]), **arrays)


def log_odds(log_p: Array) -> Array:
    """log P − log(1 − P), within ±log(1/_CLIP)."""
    p = np.clip(np.exp(log_p), _CLIP, 1 - _CLIP)
    return np.asarray(np.log(p) - np.log1p(-p))


def log_loss(log_p: Array, accepted: Array) -> Array:
    """Negative log-likelihood of answers, with probabilities clipped to [_SCORE_CLIP, 1 − _SCORE_CLIP]."""
    p = np.clip(np.exp(log_p), _SCORE_CLIP, 1 - _SCORE_CLIP)
    return np.asarray(-accepted * np.log(p) - (1 - accepted) * np.log1p(-p))


def cross_validated(model: RiskModel, feedback: Feedback, settings: Settings, seed: int) -> Array:
    """log P of every answer by a model fitted without its fold, shape (count, K)."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x464F4C44]))
    fold = rng.permuted(np.tile(np.arange(feedback.delay.shape[1]), (feedback.count, 1)), axis=1)
    fold = fold % settings.folds
    out = np.empty(feedback.delay.shape)
    for k in range(settings.folds):
        fitted = model.fit(feedback.with_weight(feedback.weight * (fold != k)))
        log_p = fitted.log_probability(feedback.delay, feedback.throughput, None, feedback.extra)
        out = np.where(fold == k, log_p, out)
    return out


def hosmer_lemeshow(probability: Array, accepted: Array, groups: int = 10) -> float:
    """p-value that answers come with the stated probabilities, by groups of similar ones."""
    order = np.argsort(probability, kind="stable")
    statistic = 0.0
    parts = [part for part in np.array_split(order, groups) if part.size]
    for part in parts:
        p = probability[part]
        # a group of certain answers has next to no variance: half an answer of it is allowed
        statistic += (accepted[part].sum() - p.sum()) ** 2 / max(float((p * (1 - p)).sum()), 0.5)
    return float(chi2.sf(statistic, len(parts)))


@dataclass(frozen=True)
class Calibration:
    """Whether stated probabilities came true, over answers that no model had seen.

    Attributes
    ----------
    brier
        Mean squared difference of probability and answer (0 is perfect).
    log_loss
        Mean negative log-likelihood, natural.
    error
        Expected calibration error: mean |frequency − probability| over the bins, weighted.
    stated, observed, number
        Reliability diagram: mean probability, frequency of "accepted" and number of answers of each bin.
    """

    brier: float
    log_loss: float
    error: float
    stated: Array
    observed: Array
    number: Array

    @classmethod
    def of(cls, probability: Array, accepted: Array, bins: int = 10) -> Calibration:
        """Calibration of stated probabilities against answers."""
        p = np.clip(probability, 1e-9, 1 - 1e-9)
        where = np.minimum((p * bins).astype(int), bins - 1)
        number = np.bincount(where, minlength=bins).astype(float)
        with np.errstate(invalid="ignore"):
            stated = np.bincount(where, weights=p, minlength=bins) / number
            observed = np.bincount(where, weights=accepted, minlength=bins) / number
        return cls(
            brier=float(np.mean((p - accepted) ** 2)),
            log_loss=float(-np.mean(accepted * np.log(p) + (1 - accepted) * np.log1p(-p))),
            error=float(np.nansum(number / number.sum() * np.abs(stated - observed))),
            stated=stated,
            observed=observed,
            number=number,
        )
