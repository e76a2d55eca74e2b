"""Private problems of operators, each a function of the operator's domains, as `fedopt agent --problem` takes
them; and a federation of four operators that have one each."""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from fedopt.federated import PrivateProblem, default_problem
from fedopt.federated.domain import offers_of

__all__ = ["FOUR", "INSTANCE", "contract", "default_problem", "packing", "smooth", "tariff"]


def tariff(domains):
    """A stepped energy tariff over all offers and a joint limit on energy."""
    offers = offers_of(domains)
    rate = cp.Variable(len(offers), nonneg=True)
    energy = cp.Variable(nonneg=True)
    factor = np.array([offer.work_factor for domain in domains for offer in domain.offers])
    capacity = sum(domain.capacity for domain in domains)
    cost = cp.maximum(0.8 * energy, 2.5 * energy - 0.3 * capacity, 6.0 * energy - 2.4 * capacity) + 7.0
    own = [
        energy >= 0.9 * factor @ rate,
        energy <= 0.8 * capacity,
        *(rate[i] * factor[i] <= domains[0].capacity for i in range(len(offers))),
    ]
    return PrivateProblem(rate, cost, own)


def packing(domains):
    """Requests packed on accelerators of two kinds (relaxed): each has memory, speed and a cost."""
    offers = offers_of(domains)
    placed = cp.Variable((len(offers), 2), nonneg=True)  # work of each offer on each kind
    used = cp.Variable(2, nonneg=True)
    limit = sum(domain.capacity for domain in domains)
    memory = np.array([[0.5, 0.2]])
    own = [
        cp.sum(placed, axis=0) <= cp.multiply(np.array([1.0, 1.6]), used),
        cp.sum(cp.multiply(np.repeat(memory, len(offers), axis=0), placed), axis=0) <= 0.4 * used,
        used <= np.array([0.7 * limit, 0.4 * limit]),
    ]
    load = {name: cp.sum(placed[i]) for i, name in enumerate(offers)}
    return PrivateProblem(load, 1.1 * used[0] + 2.3 * used[1], own)


def smooth(domains):
    """A cost with a curvature that no instance can state, over a congested total."""
    offers = offers_of(domains)
    rate = cp.Variable(len(offers), nonneg=True)
    capacity = sum(domain.capacity for domain in domains)
    return PrivateProblem(
        rate,
        1.2 * cp.sum(rate) + capacity * cp.inv_pos(1.2 - cp.sum(rate) / capacity),
        [cp.sum(rate) <= capacity],
    )


def contract(domains):
    """Own machines first, a partner's beyond them at three times the price, up to what a contract allows."""
    offers = offers_of(domains)
    own, bought = cp.Variable(len(offers), nonneg=True), cp.Variable(nonneg=True)
    limit = sum(domain.capacity for domain in domains)
    rows = [cp.sum(own) <= 0.3 * limit + bought, bought <= 0.5 * limit]
    return PrivateProblem(own, 0.9 * cp.sum(own) + 1.8 * bought, rows)


FOUR = {"opT": "tariff", "opP": "packing", "opC": "contract", "opD": "default_problem"}

INSTANCE = """\
fedopt: 1
name: four operators
theta: [0.5, 0.7, 0.95]
stages: [access, compute]
domains:
  - {id: metro, stage: access, operator: opT, capacity: 30,
     offers: [{id: gold, latency: 2, latency_kind: delay, impairment: {model: exponential, mean: 0.3},
               cost: {model: linear, rate: 1.0}}]}
  - {id: edge, stage: compute, operator: opT, capacity: 30,
     offers: [{id: llm, latency: 3, latency_kind: delay, impairment: {model: exponential, mean: 0.2},
               cost: {model: linear, rate: 1.0}}]}
  - {id: ring, stage: access, operator: opD, capacity: 26,
     offers: [{id: best, latency: 4, latency_kind: delay, impairment: {model: exponential, mean: 0.2},
               cost: {model: piecewise, points: [[0, 0.05], [6, 6.05], [26, 48.05]]}}]}
  - {id: gpu, stage: compute, operator: opP, capacity: 24,
     offers: [{id: small, latency: 4, latency_kind: delay, impairment: {model: exponential, mean: 0.15},
               cost: {model: linear, rate: 1.0}},
              {id: big, latency: 3, latency_kind: delay, impairment: {model: exponential, mean: 0.25},
               cost: {model: linear, rate: 1.0, fixed: 0.1}}]}
  - {id: cloud, stage: compute, operator: opC, capacity: 40,
     offers: [{id: llm, latency: 6, latency_kind: delay, impairment: {model: exponential, mean: 0.1},
               cost: {model: linear, rate: 1.0}}]}
tenants:
  - {id: chat, count: 14, arrivals: {model: poisson, rate: 0.5, size: 1},
     slo: {deadline: 30, epsilon: 0.001}}
  - {id: scan, count: 8, arrivals: {model: poisson, rate: 0.3, size: 1.5},
     slo: {deadline: 60, epsilon: 0.001}}
  - {id: voice, count: 6, arrivals: {model: poisson, rate: 0.4, size: 0.5},
     slo: {deadline: 20, epsilon: 0.01}}
"""
