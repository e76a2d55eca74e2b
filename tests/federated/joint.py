"""The joint model of a federation, all private problems in one cvxpy program: what a federated plan is held
against."""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from fedopt.calculus import split
from fedopt.federated.domain import offers_of
from fedopt.federated.problem import stated
from fedopt.federated.public import by_operator
from fedopt.formulations import Program
from fedopt.pricing import Network, Oracle, sizing_for

__all__ = ["joint_optimum"]


def joint_optimum(instance, problems, guarantee, rounds=60, objective="cost"):
    """What the best plan of whole tenants costs, by HiGHS over every path; under split, where rates are free,
    to the precision of tangents."""
    joint = _Joint(instance, problems, objective == "profit")
    if guarantee == "split":
        return joint.over_rates(rounds)
    network = Network(instance, paid=objective == "profit")
    oracle = Oracle(network, sizing_for(guarantee, network))
    least = np.full(len(network.kinds), 1e300)
    for column in oracle.within_all(np.zeros(len(network.names)), least):
        heads = joint.heads(network.kinds[column.kind], column.charge)
        for o, rate in zip(column.offers, column.rates, strict=True):
            joint.carry(network.names[o], rate / network.slot * heads)
    return joint.solve()


class _Joint:
    def __init__(self, instance, problems, profit):
        self.instance, self.profit = instance, profit
        self.rows, self.costs, self.served = [], [], {}
        self.loads, self.made, self.whole, self.idle = {}, [], [], 0.0
        for name, domains in by_operator(instance).items():
            problem, again = stated(problems[name], domains), stated(problems[name], domains)
            self.made.append((offers_of(domains), problem))
            self.idle += cp.Problem(cp.Minimize(again.cost), again.constraints).solve(solver=cp.HIGHS)

    def heads(self, asked, charge):
        """Whole units of a tenant, or of a class of them."""
        heads = cp.Variable(nonneg=True)
        whole = cp.Variable(integer=True)
        self.whole.append(heads == whole)
        self.served.setdefault(id(asked), (asked, []))[1].append(heads)
        self.costs.append((charge - self.profit * asked.payment) * heads)
        return heads

    def carry(self, hop, load):
        self.loads.setdefault(hop, []).append(load)

    def solve(self, relaxed=False):
        rows, costs = list(self.rows), list(self.costs)
        for asked, units in self.served.values():
            served = sum(units)
            rows.append(served <= asked.count if self.profit else served == asked.count)
        for offers, problem in self.made:
            load = problem.loads(offers)
            rows += problem.constraints
            rows += [load[i] >= sum(self.loads[o]) for i, o in enumerate(offers) if o in self.loads]
            costs.append(problem.cost)
        rows += [] if relaxed else self.whole
        program = cp.Problem(cp.Minimize(sum(costs)), rows)
        return program.solve(solver=cp.HIGHS, mip_rel_gap=1e-7) - self.idle

    def over_rates(self, rounds):
        """Rates free under split: Kelley's tangents to the deadline that rates need, in perspective."""
        program, choices = Program(self.instance), []
        for tenant in program.tenants:
            for route in program.routes(tenant):
                for theta in self.instance.theta:
                    terms = split.terms(route.path, float(theta))
                    first = split.size(route.path, np.ones(len(route.hops)), terms, highs=route.highs)
                    if not np.isfinite(first.cost):
                        continue
                    heads = self.heads(tenant, route.fixed)
                    rates = cp.Variable(len(route.hops), nonneg=True)
                    low, high = terms.isolation[0] * (1 + split.LEAST_MARGIN), route.highs
                    self.rows += [rates >= low * heads, rates <= high * heads]
                    for i, hop in enumerate(route.hops):
                        self.carry(hop, rates[i])
                    inside = np.minimum(1.3 * first.rates, 0.5 * (first.rates + high))
                    choices.append((terms, heads, rates, inside))
                    for dear in np.eye(len(route.hops)):  # where one domain's rate is dear
                        prices = 1.0 + 8.0 * dear
                        sized = split.size(route.path, prices, terms, highs=route.highs)
                        self._tangent(terms, heads, rates, sized.rates)
        for relaxed in (True, False):
            for _ in range(rounds):
                value, worst = self.solve(relaxed), 0.0
                for terms, heads, rates, inside in choices:
                    if heads.value > 1e-6:
                        outside = rates.value / heads.value
                        missed = split.rate_excess(terms, outside)[0][0]
                        worst = max(worst, missed)
                        for _ in range(40 if missed > 1e-6 else 0):  # to the edge
                            middle = 0.5 * (inside + outside)
                            fine = split.rate_excess(terms, middle)[0][0] <= 0.0
                            inside, outside = (middle, outside) if fine else (inside, middle)
                        if missed > 1e-6:
                            self._tangent(terms, heads, rates, outside)
                if worst < 1e-5:
                    break
        return value

    def _tangent(self, terms, heads, rates, at):
        """G(R̂)n + ∇G(R̂)·(X − R̂n) ≤ Nn."""
        missed, slope = split.rate_excess(terms, at)
        scale = np.abs(slope[0]).max()
        self.rows.append((missed[0] - slope[0] @ at) / scale * heads + slope[0] / scale @ rates <= 0)
