"""Models are chosen by what they foretell, chosen again after a change, and say how far to believe them."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.learn import choice
from fedopt.learn.choice import AdaptiveRisk, blank
from fedopt.learn.feedback import Feedback
from fedopt.learn.scores import Calibration, cross_validated, hosmer_lemeshow, log_loss
from fedopt.learn.settings import Settings
from tests.learn.conftest import random_history


def sharp(seed: int, answers: int = 400) -> Feedback:
    """Two controllers that accept beyond a delay with hardly any chance between, at 10 and at 40."""
    rng = np.random.default_rng(seed)
    delay = rng.uniform(0.5, 100, (2, answers))
    least = np.array([[10.0], [40.0]]) * (1 + 0.3 * (rng.random((2, answers)) - 0.5))
    return Feedback.of(delay, rng.uniform(0.4, 0.6, (2, answers)), (delay > least).astype(float))


def test_the_kind_with_the_best_held_out_score_is_chosen():
    answers = sharp(0)
    model = AdaptiveRisk.blank(2, Settings()).fit(answers)
    assert model.kinds()[1] != "convex"
    best = model.share[model.history.argmin(axis=0), np.arange(2)]
    assert (best >= model.share.max(axis=0) * np.exp(-model.settings.preference)).all()
    fresh = sharp(1)
    alone = {
        kind: log_loss(
            blank(kind, 2).fit(answers).log_probability(fresh.delay, fresh.throughput), fresh.accepted
        ).mean(axis=1)
        for kind in ("convex", "logistic", "spline")
    }
    said = log_loss(model.log_probability(fresh.delay, fresh.throughput), fresh.accepted).mean(axis=1)
    assert (said <= np.min(list(alone.values()), axis=0) + 0.03).all()


def test_simple_models_are_preferred_where_they_fit():
    """Answers by chance of a convex model: nothing else is needed to foretell them."""
    asked = random_history(10, 100, 4)[1]
    truth = blank("convex", 30).fit(asked)
    p = np.exp(truth.log_probability(asked.delay, asked.throughput))
    answers = asked.with_accepted((np.random.default_rng(5).random(p.shape) < p).astype(float))
    model = AdaptiveRisk.blank(30, Settings()).fit(answers)
    assert np.mean([kind == "convex" for kind in model.kinds()]) > 0.6


def short_share(model: AdaptiveRisk) -> float:
    return sum(float(s[0]) for s, m in zip(model.share, model.members, strict=True) if m.short)


def test_a_change_moves_to_the_short_memory_and_back():
    settings = Settings(keep=10)
    delay, throughput = np.linspace(2, 60, 60)[None], np.full((1, 60), 0.5)
    early = Feedback.of(delay, throughput, (delay > 15).astype(float))
    late = Feedback.of(delay, throughput, (delay > 40).astype(float))
    row = np.array([0])
    model = AdaptiveRisk.blank(1, settings).fit(early)
    assert short_share(model) < 0.5
    model = model.alarmed(row)
    past = early.with_weight(early.weight)
    for k in np.random.default_rng(0).permutation(60):
        one = Feedback(
            *(part[:, k : k + 1] for part in (late.delay, late.throughput, late.accepted, late.weight))
        )
        model = model.judge(one, row)
        past = past.beside(one)
        age = np.arange(past.delay.shape[1])[::-1][None] * 1.0
        past = Feedback(past.delay, past.throughput, past.accepted, past.weight, age)
        model = model.update(past, row)
    assert short_share(model) > 0.5
    p = np.exp(model.log_probability(np.array([[25.0, 55.0]]), np.full((1, 2), 0.5)))[0]
    assert p[0] < 0.3
    assert p[1] > 0.8


def test_stated_probabilities_come_true_where_the_model_is_wrong():
    """A convex model of a sharp controller states far too little just beyond the delay that it needs."""
    model = AdaptiveRisk.blank(2, Settings(model="convex")).fit(sharp(2))
    fresh = sharp(3).rows(np.array([1]))
    row = np.array([1])
    log_p = model.log_probability(fresh.delay, fresh.throughput, row)
    beyond = (fresh.delay > 46) & (fresh.delay < 60)
    assert fresh.accepted[beyond].all()
    plain, stated = 1 - np.exp(log_p)[beyond].mean(), 1 - model.stated(log_p, row)[beyond].mean()
    assert plain > 0.1
    assert stated < 0.75 * plain
    assert model.misfit()[1] < 1e-3


def test_misfit_is_rarely_claimed_of_a_model_that_is_right():
    rng = np.random.default_rng(0)
    values = []
    for _ in range(400):
        p = rng.beta(2, 0.5, 200)
        values.append(hosmer_lemeshow(p, (rng.random(200) < p).astype(float)))
    assert np.mean(np.array(values) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert hosmer_lemeshow(np.full(200, 0.5), np.ones(200)) < 1e-6


def test_folds_leave_out_what_they_foretell():
    """A label that nothing else foretells is not foretold."""
    delay = np.full((1, 40), 10.0) + np.arange(40) * 1e-3
    odd = Feedback.of(delay, 0.5, np.r_[np.ones(39), 0.0][None])
    log_p = cross_validated(blank("logistic", 1), odd, 5, 0)
    assert np.exp(log_p[0, -1]) > 0.9


def test_heavier_kinds_join_where_none_fits(monkeypatch):
    """Acceptance by a corner of (delay, throughput) that no index of both describes."""
    pytest.importorskip("sklearn", reason="the optional extra `learn` is not installed")
    monkeypatch.setattr(choice, "HEAVY", {"trees": "sklearn", "network": "not installed"})
    rng = np.random.default_rng(5)
    delay, throughput = rng.uniform(1, 100, (1, 400)), rng.uniform(0, 1, (1, 400))
    answers = Feedback.of(delay, throughput, ((delay > 50) & (throughput < 0.5)).astype(float))
    model = AdaptiveRisk.blank(1, Settings()).fit(answers)
    assert model.kinds() == ["trees"]
    p = np.exp(model.log_probability(np.array([[30.0, 70.0, 70.0]]), np.array([[0.3, 0.3, 0.7]])))[0]
    assert p[0] < 0.2
    assert p[1] > 0.8
    assert p[2] < 0.2


def test_calibration_scores():
    rng = np.random.default_rng(0)
    p = rng.random(40000)
    found = Calibration.of(p, (rng.random(p.size) < p).astype(float))
    assert abs(found.brier - 1 / 6) < 0.005
    assert found.error < 4 * 0.5 / np.sqrt(4000)
    assert found.number.sum() == p.size
    assert Calibration.of(np.sqrt(p), (rng.random(p.size) < p).astype(float)).error > 0.1
