"""The split guarantee: its formula, hidden convexity, sizing against a general solver, and soundness."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from fedopt.calculus import split
from fedopt.calculus.path import Path


class PoissonWork:
    """Poisson requests of unit work; also an impairment when scaled."""

    def __init__(self, rate: float, work: float = 1.0) -> None:
        self.rate, self.work = rate, work

    def rho(self, theta):
        return self.rate * np.expm1(theta * self.work) / theta

    def sigma(self, theta):
        return 0.0 * theta

    kappa, eta = rho, sigma

    def request_log_bias(self, theta):
        return theta * self.work


class Affine:
    """A made-up impairment with κ = level + slope θ and a constant burst."""

    def __init__(self, level: float, slope: float, burst: float) -> None:
        self.level, self.slope, self.burst = level, slope, burst

    def kappa(self, theta):
        return self.level + self.slope * theta

    def eta(self, theta):
        return self.burst + 0.0 * theta


GRID = np.geomspace(0.05, 2.0, 12)


def random_path(rng: np.random.Generator, length: int | None = None, epsilon: float | None = None) -> Path:
    length = length or int(rng.integers(1, 6))
    kinds = rng.random(length) < 0.5
    latencies = rng.uniform(0, 4, length)
    return Path(
        PoissonWork(rng.uniform(0.1, 1.0)),
        tuple(Affine(rng.uniform(0, 0.3), rng.uniform(0, 0.2), rng.uniform(0, 0.5)) for _ in range(length)),
        latencies,
        kinds,
        latencies.sum() + rng.uniform(10, 60),
        math.log(epsilon or 10 ** rng.uniform(-6, -1)),
        per_request=bool(rng.random() < 0.5),
    )


def stated(path: Path, theta: float, rates, deadlines, budgets) -> list[float]:
    """θs_i(c(τ_i − D_i) − T_i) − (−log ε_i + K_i + Σφ), written out from the module's docstring."""
    rho = path.arrival.rho(theta)
    sigma = path.arrival.sigma(theta)
    if path.per_request:
        sigma += path.arrival.request_log_bias(theta) / theta
    pure = sum(t for t, kind in zip(path.latencies, path.rate_latency, strict=True) if not kind)
    window = path.deadline - pure
    c = (math.floor(window) + 1) / window
    carried, margins, out = 0.0, 0.0, []
    for i, impairment in enumerate(path.impairments):
        kappa, eta = impairment.kappa(theta), impairment.eta(theta)
        guard = path.latencies[i] if path.rate_latency[i] else 0.0
        delay = 0.0 if path.rate_latency[i] else path.latencies[i]
        s = rates[i] - kappa
        margins += -math.log(1 - math.exp(-theta * (s - rho)))
        constant = theta * (sigma + rho + eta + kappa * guard + carried)
        room = theta * s * (c * (deadlines[i] - delay) - guard)
        out.append(room - (-math.log(budgets[i]) + constant + margins))
        early = math.exp(-theta * rho * guard) * (math.exp(theta * rho * math.ceil(guard)) - 1)
        early /= math.exp(theta * rho) - 1
        carried += eta + kappa * guard + rho * guard + math.log(1 + early) / theta
    return out


@pytest.mark.parametrize("seed", range(8))
def test_excess_is_the_stated_constraint(seed):
    rng = np.random.default_rng(seed)
    path = random_path(rng)
    theta = rng.uniform(0.1, 1.5)
    of = split.terms(path, theta)
    rates = of.isolation[0] + rng.uniform(0.1, 2.0, len(path))
    deadlines = path.delay_latencies + rng.uniform(1, 20, len(path))
    budgets = rng.uniform(1e-5, 0.3, len(path))
    value = split.excess(of, rates, deadlines, budgets).value[0]
    expected = np.array(stated(path, theta, rates, deadlines, budgets))
    np.testing.assert_allclose(value * theta * (rates - of.kappa[0]), -expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_gradient_and_hessian_agree_with_differences(seed):
    rng = np.random.default_rng(100 + seed)
    path = random_path(rng)
    length = len(path)
    of = split.terms(path, rng.uniform(0.2, 1.2))
    point = np.concatenate(
        [
            of.isolation[0] + rng.uniform(0.3, 2, length),
            rng.uniform(3, 20, length),
            rng.uniform(1e-3, 0.1, length),
        ]
    )

    def at(p, order):
        return split.excess(of, p[:length], p[length : 2 * length], p[2 * length :], order=order)

    exact = at(point, 2)
    for k in range(3 * length):
        step = np.zeros(3 * length)
        step[k] = 1e-6 * point[k]
        upper, lower = at(point + step, 1), at(point - step, 1)
        slope = (upper.value[0] - lower.value[0]) / (2 * step[k])
        np.testing.assert_allclose(exact.gradient[0, :, k], slope, rtol=1e-5, atol=1e-7)
        bend = (upper.gradient[0] - lower.gradient[0]) / (2 * step[k])
        np.testing.assert_allclose(exact.hessian[0, :, :, k], bend, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_constraint_is_jointly_convex(seed):
    """Random midpoints and Hessians in (rates, deadlines, budgets), budgets up to e^{−1/2}."""
    rng = np.random.default_rng(seed)
    path = random_path(rng)
    length = len(path)
    of = split.terms(path, 10 ** rng.uniform(-1.3, 0.3))
    points = [
        (
            of.isolation[0] + 10 ** rng.uniform(-3, 1, length),
            rng.uniform(0, 50, length),
            np.exp(rng.uniform(-15, -0.5, length)),
        )
        for _ in range(2)
    ]
    ends = [split.excess(of, *point).value[0] for point in points]
    middle = split.excess(of, *[(a + b) / 2 for a, b in zip(*points, strict=True)]).value[0]
    assert np.all(middle <= (ends[0] + ends[1]) / 2 + 1e-9 * (1 + np.abs(ends[0]) + np.abs(ends[1])))
    hessian = split.excess(of, *points[0], order=2).hessian[0]
    for matrix in hessian:
        scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
        assert np.linalg.eigvalsh(matrix / np.outer(scale, scale)).min() >= -1e-9


@pytest.mark.parametrize("seed", range(10))
def test_size_agrees_with_a_general_solver(seed):
    rng = np.random.default_rng(200 + seed)
    path = random_path(rng)
    length = len(path)
    prices = 10 ** rng.uniform(-1, 1, length)
    theta = rng.uniform(0.2, 1.0)
    of = split.terms(path, theta)
    found = split.size(path, prices, [theta])
    assert found.lower_bound == pytest.approx(found.cost, rel=1e-9)
    log_epsilon = of.log_epsilon

    def slack(z):
        return log_epsilon - split.log_bound(of, of.isolation[0] + np.exp(z))[0][0]

    def slope(z):
        rates = of.isolation[0] + np.exp(z)
        return -split.log_bound(of, rates, gradient=True)[1][0] * np.exp(z)

    start = np.log(np.full(length, 2 * (found.rates - of.isolation[0]).max()))
    other = minimize(
        lambda z: prices @ (of.isolation[0] + np.exp(z)),
        start,
        jac=lambda z: prices * np.exp(z),
        constraints={"type": "ineq", "fun": slack, "jac": slope},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert other.fun == pytest.approx(found.cost, rel=1e-6)
    assert slack(np.log(found.rates - of.isolation[0])) >= -1e-9


@pytest.mark.parametrize("seed", range(6))
def test_sizing_keeps_every_share_and_no_random_point_is_cheaper(seed):
    rng = np.random.default_rng(300 + seed)
    path = random_path(rng)
    prices = rng.uniform(0.2, 3, len(path))
    found = split.size(path, prices, GRID)
    of = split.terms(path, found.theta)
    assert np.all(split.excess(of, found.rates, found.deadlines, found.budgets).value <= 1e-9)
    assert found.deadlines.sum() == pytest.approx(path.deadline, rel=1e-12)
    assert found.budgets.sum() == pytest.approx(math.exp(path.log_epsilon), rel=1e-12)
    for theta in GRID:
        terms = split.terms(path, theta)
        if not np.all(np.isfinite(terms.constants)):
            continue
        trial = terms.isolation + np.exp(rng.normal(0, 1.5, (400, 1, len(path))))
        bound, _ = split.log_bound(terms, trial)
        feasible = bound[:, 0] <= path.log_epsilon
        assert np.all(trial[feasible, 0] @ prices >= found.cost * (1 - 1e-9))


def test_largest_rates_bind_and_make_paths_infeasible():
    path = random_path(np.random.default_rng(7), length=3)
    prices = np.array([1.0, 2.0, 0.5])
    free = split.size(path, prices, GRID)
    highs = free.rates * np.array([1.0, 1.3, 0.97])
    tight = split.size(path, prices, GRID, highs=highs)
    assert np.all(tight.rates <= highs * (1 + 1e-11))
    assert free.cost < tight.cost < free.cost * 1.1
    assert tight.lower_bound == pytest.approx(tight.cost, rel=1e-7)
    none = split.size(path, prices, GRID, highs=0.5 * free.rates)
    assert math.isinf(none.cost)
    assert math.isinf(none.lower_bound)


@pytest.mark.parametrize("seed", range(4))
def test_where_the_largest_rates_alone_suffice_the_bound_is_near_the_cost(seed):
    path = random_path(np.random.default_rng(70 + seed), length=3)
    prices = np.array([1.0, 2.0, 0.5])
    free = split.size(path, prices, [0.4])
    corner = split.size(path, prices, [0.4], highs=free.rates * (1 + 1e-11))
    assert corner.cost == pytest.approx(free.cost, rel=1e-9)
    assert corner.lower_bound <= corner.cost
    assert corner.lower_bound == pytest.approx(free.cost, rel=1e-6)


def test_a_free_domain_takes_its_largest_rate():
    path = random_path(np.random.default_rng(8), length=3)
    found = split.size(path, [1.0, 0.0, 1.0], GRID, highs=[50.0, 50.0, 50.0])
    assert found.rates[1] == pytest.approx(50.0, rel=1e-6)
    assert found.lower_bound == pytest.approx(found.cost, rel=1e-7)
    unlimited = split.size(path, [1.0, 0.0, 1.0], GRID)
    assert unlimited.cost <= found.cost * (1 + 1e-9)
    assert unlimited.lower_bound <= unlimited.cost


def test_where_nothing_costs_anything_there_is_a_plan_at_no_cost():
    path = random_path(np.random.default_rng(8), 3)
    highs = 1.5 * split.size(path, np.ones(3), GRID).rates
    free = split.size(path, np.zeros(3), GRID, highs=highs)
    assert free.cost == 0.0
    assert free.lower_bound <= 0.0
    assert (free.rates <= highs).all()
    bound, _ = split.log_bound(split.terms(path, free.theta), free.rates)
    assert bound[0] <= path.log_epsilon + 1e-9
    assert math.isinf(split.size(path, np.zeros(3), GRID, highs=0.3 * highs).cost)


def test_refined_theta_is_no_worse_and_near_a_fine_grid():
    path = random_path(np.random.default_rng(9), length=3)
    coarse = split.size(path, [1, 1, 1], GRID)
    refined = split.size(path, [1, 1, 1], GRID, refine=True)
    fine = split.size(path, [1, 1, 1], np.geomspace(0.05, 2.0, 400))
    assert refined.cost <= min(coarse.cost, fine.cost) * (1 + 1e-9)
    assert refined.cost == pytest.approx(fine.cost, rel=1e-3)


def test_a_window_without_room_is_infeasible():
    path = Path(PoissonWork(0.5), (Affine(0.1, 0.1, 0.0),), [10.0], [True], 8.0, -5.0)
    assert math.isinf(split.size(path, [1.0], GRID).cost)
    assert np.isinf(split.log_bound(split.terms(path, 0.5), [3.0])[0][0])


def test_one_domain_is_the_sum_over_slots():
    """For one domain the bound is e^{θ(σ+η)} Σ_{ℓ≥1} e^{θρℓ − θs(ℓ+n)}, n the whole slots of the deadline."""
    path = Path(PoissonWork(0.4), (Affine(0.1, 0.05, 0.2),), [0.0], [True], 20.6, -5.0, per_request=False)
    theta, rate = 0.6, 1.3
    rho, kappa, eta = path.arrival.rho(theta), 0.1 + 0.05 * theta, 0.2
    terms = [math.exp(theta * (eta + rho * step - (rate - kappa) * (step + 20))) for step in range(1, 2000)]
    assert split.log_bound(split.terms(path, theta), [rate])[0][0] == pytest.approx(
        math.log(sum(terms)), rel=1e-9
    )


def test_gradient_of_the_log_bound():
    path = random_path(np.random.default_rng(11), length=4)
    of = split.terms(path, 0.5)
    rates = of.isolation[0] + np.array([0.5, 1.0, 0.3, 2.0])
    _, gradient = split.log_bound(of, rates, gradient=True)
    for k in range(4):
        step = np.zeros(4)
        step[k] = 1e-6
        up, down = split.log_bound(of, rates + step)[0][0], split.log_bound(of, rates - step)[0][0]
        assert gradient[0, k] == pytest.approx((up - down) / 2e-6, rel=1e-5)


def test_rate_excess_is_what_remains_when_the_shares_are_best():
    path = random_path(np.random.default_rng(12), length=4)
    of = split.terms(path, 0.5)
    rates = of.isolation[0] + np.array([0.5, 1.0, 0.3, 2.0])
    value, gradient = split.rate_excess(of, rates)
    deadlines, budgets = split.shares(of, rates)
    left = split.excess(of, rates, deadlines, budgets).value[0]
    assert value[0] == pytest.approx(left.sum(), rel=1e-9)
    assert np.sign(value[0]) == np.sign(split.log_bound(of, rates)[0][0] - of.log_epsilon)
    for k in range(4):
        step = np.zeros(4)
        step[k] = 1e-6
        up, down = split.rate_excess(of, rates + step)[0][0], split.rate_excess(of, rates - step)[0][0]
        assert gradient[0, k] == pytest.approx((up - down) / 2e-6, rel=1e-5)


def test_dependent_impairments_use_hoelder_exponents():
    impairments = (Affine(0.1, 0.2, 0.1), Affine(0.2, 0.1, 0.1), Affine(0.1, 0.1, 0.0))
    path = Path(PoissonWork(0.3), impairments, [1, 1, 1], [True] * 3, 60, -6, dependent=((0, 2),))
    of = split.terms(path, 0.4)
    np.testing.assert_allclose(of.kappa[0], [0.1 + 0.2 * 0.8, 0.2 + 0.1 * 0.4, 0.1 + 0.1 * 0.8])
    free = Path(PoissonWork(0.3), impairments, [1, 1, 1], [True] * 3, 60, -6)
    assert split.size(path, [1, 1, 1], GRID).cost > split.size(free, [1, 1, 1], GRID).cost


def departures(arrivals: np.ndarray, rate: float, impairment: np.ndarray) -> np.ndarray:
    """Cumulative departures behind a slotted server; priority work carries over; axes (slot, run)."""
    out = np.zeros_like(arrivals)
    ahead = np.zeros(arrivals.shape[1])
    queue = np.zeros(arrivals.shape[1])
    total = np.zeros(arrivals.shape[1])
    for t in range(arrivals.shape[0]):
        ahead += impairment[t]
        first = np.minimum(ahead, rate)
        ahead -= first
        queue += arrivals[t]
        served = np.minimum(queue, rate - first)
        queue -= served
        total += served
        out[t] = total
    return out


@pytest.mark.parametrize("seed", range(3))
def test_shares_hold_in_a_slotted_simulation(seed):
    """End to end, and in every domain at its deterministic instants, late no more often than the budget."""
    rng = np.random.default_rng(400 + seed)
    runs, before = 20_000, 60
    loads = rng.uniform(0.1, 0.3, 3)
    path = Path(
        PoissonWork(0.6),
        tuple(PoissonWork(load, 0.5) for load in loads),
        np.zeros(3),
        [True] * 3,
        rng.uniform(8, 15),
        math.log(0.05),
        per_request=False,
    )
    found = split.size(path, rng.uniform(0.3, 3, 3), np.geomspace(0.1, 2, 20))
    of = split.terms(path, found.theta)
    instants = np.ceil(np.cumsum(of.stretch * found.deadlines) - 1e-9).astype(int) - 1
    assert instants[-1] <= path.deadline
    horizon = before + instants[-1] + 1
    flow = rng.poisson(0.6, (horizon, runs)).astype(float)
    cumulative = [np.cumsum(flow, axis=0)]
    for rate, load in zip(found.rates, loads, strict=True):
        work = 0.5 * rng.poisson(load, (horizon, runs))
        cumulative.append(departures(np.diff(cumulative[-1], axis=0, prepend=0), rate, work))
    times = [before, *(before + instants)]
    tolerance = 1e-6
    for i, (start, end) in enumerate(itertools.pairwise(times)):
        late = np.mean(cumulative[i][start] > cumulative[i + 1][end] + tolerance)
        assert late <= found.budgets[i] + 3 * math.sqrt(found.budgets[i] / runs)
    assert np.mean(cumulative[0][before] > cumulative[3][times[-1]] + tolerance) <= 0.05
