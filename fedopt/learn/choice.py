"""Weighing risk models by how well they foretell answers that they have not seen.

Every domain has several *members*: kinds of models, each with a long and a short memory. On a history
they are scored by cross-validation; online each answer is foretold by every member before any of them learns
from it. The sum of these log-losses, which fades, gives each its share: a domain that changes moves to
members that forget, and back when the change is over. What they foretold together, beside what came, also
says whether the probabilities are to be believed (`AdaptiveRisk.stated`) and whether they fit (`misfit`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Self

import numpy as np

from fedopt.errors import InputError
from fedopt.learn.feedback import Array, Feedback, Rows
from fedopt.learn.model import RiskModel
from fedopt.learn.monotone import IsotonicRisk, SplineRisk, TreesRisk
from fedopt.learn.network import NetworkRisk
from fedopt.learn.newton import LOGISTIC, minimise
from fedopt.learn.parametric import ConvexRisk, LogisticRisk
from fedopt.learn.scores import blunt, cross_validated, hosmer_lemeshow, log_loss, log_odds
from fedopt.learn.settings import Settings

KINDS = ("convex", "logistic", "spline", "isotonic", "trees", "network")
AUTO = ("convex", "spline")
"""Kinds that compete by default, the simplest first."""
HEAVY = {"trees": "sklearn", "network": "jax"}
"""Kinds that join where none of the others fits and their library is installed."""
LEAST_SHARE = 0.02
"""Members below this share are left out: what they say costs time and changes next to nothing."""
FEW = 60
"""Answers of a domain below which a history is too short to say that no model fits."""


def blank(kind: str, models: int, signs: tuple[int, ...] = (), seed: int = 0) -> RiskModel:
    """Models of a kind that have seen nothing; `signs`: of the further columns of feedback.

    Raises
    ------
    InputError
        For an unknown kind, or one that knows no further columns where there are some.
    """
    if kind not in KINDS:
        raise InputError(f"there is no risk model {kind!r}: choose one of auto, {', '.join(KINDS)}")
    if signs and kind not in ("logistic", "spline", "isotonic"):
        raise InputError(
            f"the {kind} model knows delay and throughput alone: choose auto, logistic, spline or isotonic"
        )
    if kind == "convex":
        return ConvexRisk(models)
    if kind == "logistic":
        return LogisticRisk(models, signs=signs)
    if kind == "spline":
        return SplineRisk(LogisticRisk(models, signs=signs))
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
    """P of a domain is a mean over its members, P = Σ share_k P_k.

    A share is proportional to exp(−(loss of the member + its handicap) / temperature): with temperature 1 and
    losses that do not fade, Bayes' rule. What few answers leave open stays open, so splits are drawn to what
    one member takes for good and another does not; the answers there decide.

    Attributes
    ----------
    members
        The candidates, the preferred ones first.
    settings
        Which rule chooses.
    signs, seed
        Of the further columns; of models that draw lots.
    history
        Log-loss of each member on the answers of the first history, unseen ones, shape (members, count). It
        tells shapes apart that answers to good splits do not, so it does not fade.
    loss
        Log-loss on later answers, each foretold before it was learned from, faded, shape (members, count).
    foretold, came, judged
        Log-odds that were stated and what came, the latest `settings.judged` of each domain, and how many
        there have been; shapes (count, judged), (count,).
    since
        Answers since the latest alarm, and the few before it that count as new, shape (count,).
    refitted
        Answers that had been judged when heavy members were last fitted, shape (count,).
    """

    members: tuple[Member, ...]
    settings: Settings
    signs: tuple[int, ...] = ()
    seed: int = 0
    history: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    loss: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    foretold: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    came: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    judged: Rows = field(default_factory=lambda: np.zeros(0, np.intp), repr=False)
    since: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    refitted: Rows = field(default_factory=lambda: np.zeros(0, np.intp), repr=False)

    @classmethod
    def blank(cls, models: int, settings: Settings, signs: tuple[int, ...] = (), seed: int = 0) -> Self:
        """Members that have seen nothing."""
        kinds: tuple[str, ...] = AUTO if settings.model == "auto" else (settings.model,)
        if signs and settings.model == "auto":
            kinds = ("logistic", "spline")
        members = tuple(
            Member(kind, settings.half_life if short else np.inf, blank(kind, models, signs, seed), short)
            for short in (False, True)
            for kind in kinds
        )
        return cls.begun(members, settings, signs, seed)

    @classmethod
    def begun(
        cls, members: tuple[Member, ...], settings: Settings, signs: tuple[int, ...] = (), seed: int = 0
    ) -> Self:
        """Members of which nothing has been judged."""
        models, none = members[0].model.count, np.zeros(members[0].model.count, np.intp)
        return cls(
            members,
            settings,
            signs,
            seed,
            history=np.zeros((len(members), models)),
            loss=np.zeros((len(members), models)),
            foretold=np.zeros((models, settings.judged)),
            came=np.full((models, settings.judged), np.nan),
            judged=none,
            since=np.full(models, np.inf),
            refitted=none,
        )

    @property
    def count(self) -> int:
        return self.members[0].model.count

    @cached_property
    def share(self) -> Array:
        """Of each member in each domain, shape (members, count)."""
        short = np.array([member.short for member in self.members])
        handicap = self.settings.preference * (np.arange(len(self.members)) > 0) + self.settings.doubt * short
        score = self.history + self.loss + handicap[:, None]
        share = np.exp((score.min(axis=0) - score) / self.settings.temperature)
        share[share < LEAST_SHARE * share.sum(axis=0)] = 0.0
        return np.asarray(share / share.sum(axis=0))

    @property
    def concave(self) -> bool:  # type: ignore[override]
        alone = bool((self.share.max(axis=0) == 1).all())
        used = np.flatnonzero(self.share.any(axis=1))
        return alone and all(self.members[k].model.concave for k in used)

    def kinds(self) -> list[str]:
        """The kind with the largest share in each domain."""
        kinds = [member.kind for member in self.members]
        total = [
            {kind: sum(share[k] for k, own in enumerate(kinds) if own == kind) for kind in kinds}
            for share in self.share.T
        ]
        return [max(shares, key=lambda kind: float(shares[kind])) for shares in total]

    # ---- learning

    def fit(self, feedback: Feedback) -> Self:
        """Cross-validate every kind, fit every member; heavier kinds join, one by one, while none fits."""
        light = tuple(m for m in self.members if m.kind not in HEAVY or self.settings.model != "auto")
        begun = type(self).begun(light, self.settings, self.signs, self.seed)
        fitted, foretold = begun._joined(feedback, light)
        for kind, library in HEAVY.items():
            if self.settings.model != "auto" or self.signs or find_spec(library) is None:
                continue
            if fitted._refuted(feedback, foretold):
                more = (Member(kind, np.inf, blank(kind, self.count, (), self.seed)),)
                fitted, foretold = fitted._joined(feedback, more)
        return fitted

    def _refuted(self, feedback: Feedback, foretold: Array) -> bool:
        """Whether some domain's answers speak against what was foretold of them."""
        worst = self.misfit()
        for row in range(self.count):
            used = feedback.weight[row] > 0
            if used.sum() >= FEW:
                asked = feedback.delay[row, used], feedback.throughput[row, used]
                seen = np.exp(foretold[row, used]), asked, feedback.accepted[row, used]
                worst[row] = min(worst[row], blunt(*seen))
        return bool((worst < self.settings.misfit).any())

    def _joined(self, feedback: Feedback, more: tuple[Member, ...]) -> tuple[Self, Array]:
        """With further members, scored on a history, and log P that all together foretold of it."""
        first = len(self.members) if more is not self.members else 0
        old, new = self.members[:first], tuple(replace(m, model=m.model.fit(feedback)) for m in more)
        unseen = {
            m.kind: cross_validated(m.model, feedback, self.settings.folds, self.seed) for m in (*old, *more)
        }
        used = feedback.weight > 0
        # where acceptance is unlikely no good split asks: what happens there matters as little
        matters = np.exp(self.settings.focus * np.mean(list(unseen.values()), axis=0)) * used
        members = (*old, *new)
        loss = [(log_loss(unseen[m.kind], feedback.accepted) * matters).sum(axis=1) for m in members]
        joined = type(self).begun(members, self.settings, self.signs, self.seed)
        joined = replace(joined, history=np.array(loss))
        each = np.exp([unseen[m.kind] for m in members])
        mean = np.log(np.maximum(np.einsum("mc,mck->ck", joined.share, each), 1e-300))
        return joined._noted(np.arange(self.count), mean, feedback), mean

    def judge(self, fresh: Feedback, rows: Rows) -> Self:
        used = fresh.weight > 0
        each = [
            m.model.log_probability(fresh.delay, fresh.throughput, rows, fresh.extra) for m in self.members
        ]
        mean = np.log(np.maximum(np.einsum("mc,mck->ck", self.share[:, rows], np.exp(each)), 1e-300))
        number = used.sum(axis=1)
        loss, since = self.loss.copy(), self.since.copy()
        missed = (log_loss(np.array(each), fresh.accepted) * used).sum(axis=2)
        loss[:, rows] = self.settings.fade**number * loss[:, rows] + missed
        since[rows] += number
        return replace(self, loss=loss, since=since)._noted(rows, mean, fresh)

    def _noted(self, rows: Rows, log_p: Array, answers: Feedback) -> Self:
        """What was foretold of answers of these domains, in their order, and what came."""
        ring, used = self.settings.judged, answers.weight > 0
        after = used.sum(axis=1)[:, None] - np.cumsum(used, axis=1)
        place, column = np.nonzero(used & (after < ring))
        row = rows[place]
        at = (self.judged[row] + np.cumsum(used, axis=1)[place, column] - 1) % ring
        foretold, came, judged = self.foretold.copy(), self.came.copy(), self.judged.copy()
        foretold[row, at] = log_odds(log_p[place, column])
        came[row, at] = answers.accepted[place, column]
        judged[rows] += used.sum(axis=1)
        return replace(self, foretold=foretold, came=came, judged=judged)

    @cached_property
    def calibration(self) -> Array:
        """(a, b) of each domain, shape (count, 2): stated log-odds are a + b · log-odds.

        The likeliest ones, drawn to (0, 1) where little has come (Platt's method).
        """
        known = np.isfinite(self.came)
        found, _ = minimise(
            LOGISTIC,
            np.stack([np.ones(self.foretold.shape), self.foretold], axis=-1),
            np.where(known, self.came, 0.0),
            known.astype(float),
            np.array([2.0, 8.0]),
            np.array([0.0, 1.0]),
            np.array([True, False]),
            np.tile([0.0, 1.0], (self.count, 1)),
            60,
            1e-7,
        )
        return np.asarray(found)

    def update(self, feedback: Feedback, rows: Rows | None = None) -> Self:
        index = np.arange(self.count) if rows is None else np.asarray(rows)
        if index.size == 0:
            return self
        new = feedback.age < self.since[index][:, None]
        recent = feedback.with_weight(feedback.weight * new).faded(self.settings.half_life)
        due = self.judged[index] - self.refitted[index] >= self.settings.heavy_every
        refitted = self.refitted.copy()
        refitted[index[due]] = self.judged[index[due]]
        members = []
        for m in self.members:
            seen, who = recent if m.short else feedback, index
            if m.kind in HEAVY and self.settings.model == "auto":
                seen, who = seen.rows(np.flatnonzero(due)), index[due]
            members.append(replace(m, model=m.model.update(seen, who)) if who.size else m)
        return replace(self, members=tuple(members), refitted=refitted)

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
        index = np.arange(self.count) if rows is None else np.asarray(rows)
        delay = np.asarray(delay, float)
        throughput = np.broadcast_to(np.asarray(throughput, float), delay.shape)
        parts = list(self._parts(delay, throughput, index, extra))
        if len(parts) == 1:
            return parts[0][1].log_probability(*parts[0][3])
        p = np.zeros(delay.shape)
        for at, model, share, asked in parts:
            p[at] += share * np.exp(model.log_probability(*asked))
        return np.asarray(np.log(np.maximum(p, 1e-300)))

    def gradient(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> tuple[Array, Array]:
        index = np.arange(self.count) if rows is None else np.asarray(rows)
        delay = np.asarray(delay, float)
        throughput = np.broadcast_to(np.asarray(throughput, float), delay.shape)
        parts = list(self._parts(delay, throughput, index, extra))
        if len(parts) == 1:
            return parts[0][1].gradient(*parts[0][3])
        p, slopes = np.zeros(delay.shape), (np.zeros(delay.shape), np.zeros(delay.shape))
        for at, model, share, asked in parts:
            own = share * np.exp(model.log_probability(*asked))
            p[at] += own
            for slope, part in zip(slopes, model.gradient(*asked), strict=True):
                slope[at] += own * part
        return slopes[0] / np.maximum(p, 1e-300), slopes[1] / np.maximum(p, 1e-300)

    def _parts(
        self, delay: Array, throughput: Array, index: Rows, extra: Array | None
    ) -> Iterator[tuple[Any, RiskModel, Array, tuple[Array, Array, Rows, Array | None]]]:
        """Of each member that has a share: where, the model, its shares, and what it is asked."""
        shares = self.share[:, index]
        for member, share in zip(self.members, shares, strict=True):
            if share.all():
                yield slice(None), member.model, share[:, None], (delay, throughput, index, extra)
            elif share.any():
                at = np.flatnonzero(share)
                own = None if extra is None else extra[at]
                yield at, member.model, share[at, None], (delay[at], throughput[at], index[at], own)

    def stated(self, log_p: Array, rows: Rows) -> Array:
        """Calibrated probabilities of what the models state, shape as `log_p` (rows, K)."""
        a, b = self.calibration[rows].T
        return np.asarray(1 / (1 + np.exp(-(a[:, None] + b[:, None] * log_odds(log_p)))))

    def misfit(self) -> Array:
        """p-value of "these probabilities are right", by domain; 1 where too little has come.

        Hosmer and Lemeshow's statistic on answers that had not been seen.
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
        more = type(self).begun(members, self.settings, self.signs, self.seed)
        old = self.count
        more.history[:, :old], more.loss[:, :old] = self.history, self.loss
        for name in ("since", "foretold", "came", "judged", "refitted"):
            getattr(more, name)[:old] = getattr(self, name)
        return more

    def state(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in _KEPT},
            "kinds": np.array([m.kind for m in self.members]),
            "half_lives": np.array([m.half_life for m in self.members]),
            "short": np.array([m.short for m in self.members]),
            "signs": np.array(self.signs, np.int64),
            "seed": self.seed,
            **{f"{k}.{key}": v for k, m in enumerate(self.members) for key, v in m.model.state().items()},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], settings: Settings | None = None) -> Self:
        members = []
        memories = zip(state["kinds"], state["half_lives"], state["short"], strict=True)
        for k, (kind, memory, short) in enumerate(memories):
            part = {key.partition(".")[2]: v for key, v in state.items() if key.startswith(f"{k}.")}
            model = _CLASSES[str(kind)].from_state(part)
            members.append(Member(str(kind), float(memory), model, bool(short)))
        signs = tuple(int(sign) for sign in state["signs"])
        arrays: dict[str, Any] = {name: np.array(state[name], kind) for name, kind in _KEPT.items()}
        return cls(tuple(members), settings or Settings(), signs, int(state["seed"]), **arrays)


_KEPT: dict[str, type] = {
    "history": float,
    "loss": float,
    "foretold": float,
    "came": float,
    "judged": np.intp,
    "since": float,
    "refitted": np.intp,
}
_CLASSES: dict[str, type[RiskModel]] = {
    "convex": ConvexRisk,
    "logistic": LogisticRisk,
    "spline": SplineRisk,
    "isotonic": IsotonicRisk,
    "trees": TreesRisk,
    "network": NetworkRisk,
}
