"""Where both papers meet: RADE learns controllers that accept what their TRE contract can carry.

A domain reserves, for a partial SLA (delay, throughput), the least rate that keeps the delay for all but a
share ε of the requests; it accepts if that rate fits into what its load leaves free. The rate comes from the
calculus (a bound that is a theorem) or from the packet simulator (a measurement), so that the difference is
what the bound's slack costs in accepted SLAs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fedopt.calculus.path import Path
from fedopt.laws import ExponentialWork, Poisson
from fedopt.learn.feedback import Array, Buffer
from fedopt.learn.parametric import ConvexRisk
from fedopt.papers.rade_experiment import ANCHOR, band
from fedopt.papers.rade_loop import EqualSplit, Learner, Method, Oracle, gather_history, run
from fedopt.papers.rade_networks import ContractNetwork, RequiredRate, contract_rate, tabulated_rate
from fedopt.papers.rade_simulator import RequestModel, Scenario, load_at
from fedopt.papers.series import Series
from fedopt.simulate.simulated import size

MEANS = (0.2, 0.4, 0.1)
"""Mean impairment of each domain, work per slot (exponential)."""
LATENCIES = np.array([1.0, 4.0, 2.0])
CAPACITY = np.array([1.35, 1.6, 1.1])
EPSILON = 0.01
REQUESTS = RequestModel(delay=(32.0, 40.0), throughput=(0.4, 0.6))
LOADS = (0.3, 0.5, 0.7)


def contracts(trials: int = 30, seed: int = 0, quick: bool = False) -> list[Series]:
    """Acceptance against the mean load, with controllers that size by the bound and by simulation."""
    trials, steps = (3, 40) if quick else (min(trials, 30), 200)
    mean_load, seeds = np.repeat(LOADS, trials), np.tile(np.arange(trials), len(LOADS))
    rates = np.stack([load_at(mean_load, t, steps) for t in range(steps)], axis=1)
    scenario = Scenario.draw(rates, seeds, 3, 2 * seed, requests=REQUESTS)
    past = Scenario.draw(2 * rates, seeds, 3, 2 * seed + 1, requests=REQUESTS)
    worlds = {"bound": bound_rates(), "simulation": simulated_rates(seed, 50_000 if quick else 300_000)}
    curves = []
    for world, required in worlds.items():
        network = ContractNetwork(required, CAPACITY, mean_load, steps)
        history = gather_history(network, past, 100)
        models = 3 * mean_load.size
        methods: dict[str, Callable[[], Method]] = {
            "Equal split": EqualSplit,
            "Convex": lambda history=history, models=models: Learner(  # type: ignore[misc]
                ConvexRisk(models=models).fit(history),
                3,
                Buffer.empty(models, 200),
                anchor=history.with_weight(ANCHOR * history.weight),
            ),
            "OPT": lambda network=network: Oracle(network),  # type: ignore[misc]
        }
        for name, method in methods.items():
            scores = run(method(), network, scenario).score.reshape(len(LOADS), trials)
            axes = ("mean load r", "acceptance probability")
            curves.append(band(f"{name}, controllers size by {world}", LOADS, scores, axes))
    return curves


def bound_rates() -> RequiredRate:
    """Rates by the calculus: the one-domain martingale bound for Poisson jobs, per request."""
    theta = np.geomspace(0.02, 1.8, 60)
    unit, impairments = Poisson(1.0, 1.0), [ExponentialWork(mean) for mean in MEANS]
    kappa = np.array([[law.kappa(t) if t < law.theta_max else np.inf for t in theta] for law in impairments])
    bias = np.array([unit.request_log_bias(t) / t for t in theta])
    rho = np.array([unit.rho(t) for t in theta])
    return contract_rate(theta, LATENCIES, np.tile(bias, (3, 1)), kappa, EPSILON, rho)


def simulated_rates(seed: int, slots: int) -> RequiredRate:
    """Rates by the packet simulator, on a grid of delays and throughputs."""
    throughputs = np.array([REQUESTS.throughput[0], sum(REQUESTS.throughput) / 2, REQUESTS.throughput[1]])
    queueing = np.array([2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    bound = bound_rates()
    table = np.empty((3, queueing.size, throughputs.size))
    for domain, mean in enumerate(MEANS):
        for j, throughput in enumerate(throughputs):
            arrival = Poisson(throughput, 1.0)
            for i, window in enumerate(queueing):
                deadline = window + LATENCIES[domain]
                path = Path(
                    arrival,
                    (ExponentialWork(mean),),
                    LATENCIES[domain : domain + 1],
                    np.array([False]),
                    deadline,
                    math.log(EPSILON),
                )
                start: Array = bound(domain, np.array([deadline]), np.array([throughput]))
                table[domain, i, j] = size(path, start, slots=slots, seed=seed, tolerance=1e-2).rates[0]
    tables = [tabulated_rate(queueing + late, throughputs, table) for late in LATENCIES]
    return lambda domain, delay, throughput: tables[domain](domain, delay, throughput)
