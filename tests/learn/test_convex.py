"""The convex model's fit is the optimum that an independent solver finds, and it is convex."""

from __future__ import annotations

from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest

from fedopt.learn.feedback import Feedback, Scale
from fedopt.learn.newton import CONVEX, FLOOR, objective
from fedopt.learn.parametric import BASIS, ConvexRisk
from tests.learn.conftest import random_history


def certified_fit(model: ConvexRisk, feedback: Feedback) -> tuple[ConvexRisk, np.ndarray]:
    """The same fit as a disciplined convex program, solved by Clarabel: models, and objective values."""
    model = replace(model, scale=Scale.of(feedback))
    x, answers = model._design(feedback, np.arange(feedback.count))
    coefficients, values = [], []
    for row in range(feedback.count):
        w, y = answers.weight[row], answers.accepted[row]
        c = cp.Variable(BASIS, nonneg=True)
        phi = FLOOR + x[row] @ c
        terms = [0.5 * model.penalty * cp.sum_squares(c), (w * y) @ phi]
        rejected = np.flatnonzero(w * (1 - y) > 0)
        if rejected.size:
            terms.append(-(w * (1 - y))[rejected] @ cp.log(1 - cp.exp(-phi[rejected])))
        problem = cp.Problem(cp.Minimize(cp.sum(cp.hstack(terms))))
        values.append(problem.solve(solver=cp.CLARABEL))
        coefficients.append(np.maximum(np.asarray(c.value), 0.0))
    return replace(model, coefficients=np.array(coefficients)), np.array(values)


def test_fit_agrees_with_clarabel():
    _, history = random_history(2, 60, 5)
    soft = history.with_accepted(np.where(np.arange(60) % 7 == 0, 0.6, history.accepted))
    blank = ConvexRisk(models=6)
    for feedback in (history, soft):
        fast = blank.fit(feedback)
        certified, values = certified_fit(blank, feedback)
        x, full = fast._design(feedback, np.arange(6))
        penalty = np.full(BASIS, blank.penalty)
        for row in range(6):
            data = (x[row], full.accepted[row], full.weight[row], penalty, np.zeros(BASIS))
            assert objective(CONVEX, *data, fast.c[row]) == pytest.approx(values[row], rel=1e-6, abs=1e-6)
        delay, throughput = np.full((6, 1), 30.0), np.full((6, 1), 0.5)
        np.testing.assert_allclose(
            fast.log_probability(delay, throughput), certified.log_probability(delay, throughput), atol=1e-3
        )


def test_risk_is_jointly_convex(fitted):
    model = fitted["convex"]
    rng = np.random.default_rng(2)
    a, b = (np.stack([rng.uniform(1, 150, (6, 300)), rng.uniform(0.2, 1.0, (6, 300))]) for _ in range(2))
    middle = model.log_probability(*((a + b) / 2))
    ends = (model.log_probability(*a) + model.log_probability(*b)) / 2
    assert (middle >= ends - 1e-9 * (1 + np.abs(ends))).all()
    assert model.concave


def test_a_domain_without_rejections_is_not_thought_riskless():
    _, history = random_history(1, 40, 6)
    model = ConvexRisk(models=3).fit(history.with_accepted(np.ones_like(history.accepted)))
    log_p = model.log_probability(np.array([[0.0, 3.0, 30.0]] * 3), np.full((3, 1), 0.5))
    assert (np.diff(log_p, axis=1) > 0).all()
    assert (np.exp(log_p[:, 0]) < 0.5).all()
    assert (np.exp(log_p[:, 2]) > 0.95).all()
