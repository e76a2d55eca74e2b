"""The image form of whole requests: against exact tandems, simulation, and the rates that the seed paper's
needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq

import fedopt
from fedopt.calculus.minplus import evaluate, verify
from fedopt.calculus.path import Path
from fedopt.calculus.store_and_forward import least_bound, least_scale, log_bound
from fedopt.errors import InputError
from fedopt.instance import loads
from fedopt.laws import NoImpairment, Poisson, Renewal, Size


def hypoexponential_tail(rates, time):
    """P(Σ of independent exponentials > time) of different rates."""
    total = 0.0
    for i, own in enumerate(rates):
        others = np.delete(rates, i)
        total += float(np.prod(others / (others - own))) * math.exp(-own * time)
    return total


@pytest.mark.parametrize(("load", "factor"), [(0.55, 1.125), (0.70, 1.053), (0.85, 1.015)])
def test_the_papers_tandem_needs_the_rates_that_were_stated(load, factor):
    """μ = 1, 1.15, 1.25, p99.9; exact: by Burke's theorem the sojourns are independent exponentials."""
    rates = np.array([1.0, 1.15, 1.25])
    tau = brentq(lambda t: hypoexponential_tail(rates - load, t) - 1e-3, 1.0, 1e3)
    law = Poisson(load, 1.0, exponential=True, per_stage=True)
    scale, proof = least_scale(law, rates, 10.0 * rates, tau, math.log(1e-3))
    assert scale == pytest.approx(factor, abs=1.5e-3)
    assert proof.log_bound <= math.log(1e-3)
    assert least_bound(law, scale * rates * (1.0 - 5e-3), tau).log_bound > math.log(1e-3)
    again = log_bound(law, scale * rates, tau, proof.theta, proof.alpha, proof.reach)
    assert again == pytest.approx(proof.log_bound, abs=1e-12)


@pytest.mark.parametrize("seed", range(24))
def test_never_below_the_exact_tail_of_an_exponential_tandem(seed):
    rng = np.random.default_rng(seed)
    hops = int(rng.integers(1, 5))
    rates = np.sort(rng.uniform(1.0, 2.0, hops))[rng.permutation(hops)]
    load = rng.uniform(0.2, 0.95)
    law = Poisson(load, 1.0, exponential=True, per_stage=True)
    for tail in (1e-1, 1e-3, 1e-6):
        tau = brentq(lambda t, p=tail: hypoexponential_tail(rates - load, t) - p, 1e-6, 1e5)
        assert least_bound(law, rates, tau).log_bound >= math.log(tail) - 1e-6
        theta, alpha = rng.uniform(0.05, 1.0) * (rates.min() - load), 1.0 + 10.0 ** rng.uniform(-4.0, 0.5)
        reach = rng.choice([0.3, 1.0, math.inf])
        assert log_bound(law, rates, tau, theta, alpha, reach) >= math.log(tail) - 1e-6


def test_one_exponential_server_is_exact():
    law = Poisson(0.6, 1.0, exponential=True, per_stage=True)
    found = least_bound(law, np.array([1.0]), 20.0)
    # P(sojourn > t) = e^{−(μ−λ)t}; at θ = μ − λ the bound is m(θ)·e^{−θt}, m = μ/λ
    assert found.log_bound == pytest.approx(-0.4 * 20.0 + math.log(1.0 / 0.6), abs=1e-3)


def sojourns(gaps, sizes, rates):
    """By the recursion D_i(n) = max(D_{i−1}(n), D_i(n−1)) + X_i(n); sizes of shape (L, n)."""
    at = np.cumsum(gaps)
    begin = at
    for work, rate in zip(sizes, rates, strict=True):
        need = np.cumsum(work) / rate
        at = np.maximum.accumulate(at - (need - work / rate)) + need
    return at - begin


@pytest.mark.parametrize("seed", range(12))
def test_never_below_a_simulation_of_whole_requests(seed):
    rng = np.random.default_rng(100 + seed)
    hops, count = int(rng.integers(1, 6)), 300_000
    size = (Size("fixed", (2.0,)), Size("gamma", (2.0, 0.5)), Size("uniform", (0.5, 3.0)))[seed % 3]
    law = Renewal(0.4, size, rng.choice([0.5, 1.0, 4.0]), per_stage=True)
    rates = law.mean / rng.uniform(0.4, 0.9) * rng.uniform(1.0, 1.3, hops)
    gaps = rng.gamma(law.shape, 1.0 / (law.shape * law.rate), count)
    found = sojourns(gaps, [size.sample(rng, count) for _ in range(hops)], rates)
    for quantile in (0.9, 0.99, 0.999):
        tau = float(np.quantile(found, quantile))
        late = found > tau
        run = max(late.sum() / max(np.count_nonzero(late[1:] & ~late[:-1]), 1), 1.0)
        bound = math.exp(min(least_bound(law, rates, tau).log_bound, 0.0))
        assert late.mean() <= bound + 4.0 * math.sqrt(late.mean() * run / count)


def test_a_path_of_such_requests_knows_no_other_form():
    law = Poisson(0.5, 1.0, exponential=True, per_stage=True)
    common = ([0.0, 0.0], [False, False], 40.0, math.log(1e-3))
    path = Path(law, (NoImpairment(),) * 2, *common, whole=(True, True))
    rates = np.array([1.0, 1.2])
    found = evaluate(path, rates)
    assert found.form == "store-and-forward"
    assert verify(path, rates, found) == pytest.approx(found.log_bound, abs=1e-12)
    assert evaluate(path, rates, 1).log_bound == math.inf
    impaired = Path(law, (NoImpairment(), Poisson(0.1)), *common, whole=(True, True))
    assert evaluate(impaired, rates).log_bound == math.inf
    through = Path(law, (NoImpairment(),) * 2, *common, whole=(False, True))
    assert evaluate(through, rates).log_bound == math.inf


TEXT = """
fedopt: 1
stages: [a, b]
domains:
  - {id: x, stage: a, capacity: 5, offers: [{id: s, latency: 1, latency_kind: delay, cost: {model: linear,
  rate: 3}}]}
  - {id: y, stage: b, capacity: 5, offers: [{id: s}, {id: busy, impairment: {model: poisson, rate: 0.1}}]}
tenants:
  - id: t
    arrivals: {model: poisson, rate: 0.5, size: {exponential: 1}, sizes: per stage}
    slo: {deadline: 30, epsilon: 0.001}
"""


def test_planning_and_checking_agree():
    instance = loads(TEXT)
    plan = fedopt.solve(instance)
    entry = plan.tenants["t"]
    assert (entry.form, entry.path) == ("store-and-forward", ["x/s", "y/s"])
    assert fedopt.check(plan, instance).ok
    less = {domain: 0.995 * rate for domain, rate in entry.reservations.items()}
    changed = plan.model_copy(
        update={"tenants": type(plan.tenants)([entry.model_copy(update={"reservations": less})])}
    )
    assert "guarantee" in {finding.constraint for finding in fedopt.check(changed, instance).findings}


@pytest.mark.parametrize("guarantee", ["split", "paper-path", "paper-local"])
def test_guarantees_about_work_that_keeps_its_size_refuse_sizes_per_stage(guarantee):
    with pytest.raises(InputError, match=f"not under {guarantee}"):
        fedopt.solve(fedopt.examples()["tandem"], guarantee=guarantee)
