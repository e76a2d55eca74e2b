"""The other worlds: plateau, change, contracts."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.papers.rade_loop import Oracle, RandomSplit, run
from fedopt.papers.rade_networks import Changing, ContractNetwork, TwoRegimes, contract_rate, tabulated_rate
from fedopt.papers.rade_simulator import PAPER_DOMAINS, AnalyticNetwork, DomainParameters, Scenario


def check_gradient(truth, rows: int) -> None:
    rng = np.random.default_rng(0)
    delay, throughput = rng.uniform(20, 90, (rows, 30)), rng.uniform(0.4, 0.6, (rows, 30))
    by_delay, by_throughput = truth.gradient(delay, throughput)
    value = truth.log_probability(delay, throughput)
    up, down = (truth.log_probability(delay + h, throughput) for h in (1e-4, -1e-4))
    smooth = np.isfinite(value) & (value > -20) & np.isfinite(down)
    numeric = (up[smooth] - down[smooth]) / 2e-4
    np.testing.assert_allclose(by_delay[smooth], numeric, rtol=1e-2, atol=1e-5)
    assert (by_delay[smooth] >= -1e-9).all()
    assert (by_throughput[smooth] <= 1e-9).all()


def test_two_regimes_have_a_plateau():
    world = TwoRegimes(AnalyticNetwork(np.array([0.5]), 100), 0.3, 6.0)
    truth = world.acceptance(0)
    delay = np.tile(np.linspace(5, 95, 200), (3, 1))
    value = truth.log_probability(delay, np.full((3, 1), 0.5))
    value = np.maximum(value, -1e9)
    assert (np.diff(value, axis=1) >= -1e-12).all()
    middle = value[:, 1:-1] - (value[:, 2:] + value[:, :-2]) / 2
    possible = value[:, :-2] > -1e8
    assert middle[possible].min() < -1e-4  # not concave
    assert not truth.concave
    check_gradient(truth, 3)


def test_a_change_is_abrupt():
    swapped = DomainParameters(PAPER_DOMAINS.names, PAPER_DOMAINS.capacity[::-1], PAPER_DOMAINS.service[::-1])
    world = Changing(AnalyticNetwork(np.array([0.5]), 100), 10, swapped)
    ask = np.full((3, 1), 30.0), np.full((3, 1), 0.5)
    before, after = (np.exp(world.acceptance(t).log_probability(*ask))[:, 0] for t in (0, 100))
    np.testing.assert_allclose(after, before[::-1])


@pytest.fixture
def contracts():
    theta = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
    rho = np.expm1(theta) / theta  # Poisson jobs of size 1, per unit of throughput
    kappa = np.array([-np.log1p(-mean * np.minimum(theta, 0.9 / mean)) / theta for mean in (0.2, 0.4, 0.1)])
    return contract_rate(theta, np.array([1.0, 4.0, 2.0]), np.zeros((3, 5)), kappa, 1e-3, rho)


def test_contract_rates_are_monotone_and_met_by_the_network(contracts):
    delay = np.linspace(0.5, 90, 80)
    for domain in range(3):
        rates = contracts(domain, delay, np.full(80, 0.5))
        assert (np.diff(rates[np.isfinite(rates)]) <= 1e-12).all()
        assert (contracts(domain, delay, np.full(80, 0.7)) >= rates).all()
        assert np.isinf(rates[0])
    network = ContractNetwork(contracts, np.array([2.0, 2.5, 1.5]), np.full(4, 0.5), 50)
    check_gradient(network.acceptance(3), 12)
    scenario = Scenario.draw(np.full((4, 30), 1.0), np.arange(4), 3, 0)
    best = run(Oracle(network), network, scenario).score
    assert (best >= run(RandomSplit(), network, scenario).score).all()


def test_tabulated_rates_interpolate():
    delays, throughputs = np.array([10.0, 20.0, 40.0]), np.array([0.0, 1.0])
    table = np.stack([np.outer([4.0, 3.0, 2.0], [1.0, 2.0])])
    rate = tabulated_rate(delays, throughputs, table)
    asked = np.array([5.0, 10.0, 15.0, 30.0, 99.0])
    np.testing.assert_allclose(rate(0, asked, np.full(5, 0.5)), [np.inf, 6.0, 5.25, 3.75, 3.0])
