"""What a run reveals, and how noise blurs it."""

from __future__ import annotations

import pytest

from fedopt.federated import negotiate
from fedopt.federated.public import public_view
from fedopt.federated.settings import Settings
from fedopt.instance.generating import generate
from tests.federated.curious import recovered, what_is_seen
from tests.federated.test_solver import Recorder, operators


@pytest.fixture(scope="module")
def instance():
    return generate(12, 2, 3, seed=5)


def attacked(instance, noise):
    recorder = Recorder(operators(instance, noise=noise))
    settings = Settings(alone=True, most_rounds=10, most_confirmations=4)
    outcome = negotiate(public_view(instance), recorder, gap=2e-2, settings=settings)
    return recovered(what_is_seen(recorder.crossed), instance), outcome.plan


def test_linear_costs_are_read_off_the_prices_and_noise_blurs_them(instance):
    clear, plan = attacked(instance, 0.0)
    assert clear.marginal_error < 0.05  # prices are what is negotiated: the page on federation says so
    assert plan.status == "optimal"
    blurred, noisy = attacked(instance, 0.1)
    assert blurred.marginal_error > clear.marginal_error
    assert blurred.capacities_known <= clear.capacities_known
    assert noisy.ledger["relaxation"]["gap"] > plan.ledger["relaxation"]["gap"]
    assert noisy.ledger["relaxation"]["lower_bound"] <= plan.cost
