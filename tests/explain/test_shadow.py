"""Shadow prices of plans against planning again with a little more and a little less."""

from __future__ import annotations

import json

import pytest

import fedopt
from fedopt.explain import Budget, explain, shadow_prices
from fedopt.instance import loads

CHAIN = """
name: chain
theta: [0.1, 0.2, 0.3]
stages: [access, compute]
domains:
  - id: near
    stage: access
    capacity: 10
    offers:
      - id: std
        latency: 5
        latency_kind: delay
        impairment: {model: table, theta: [0.1, 0.2, 0.3, 0.6], kappa: [0.1, 0.11, 0.12, 0.15], eta: [0.2, 0.2, 0.2, 0.2], monotone: true, independent_increments: true}
        cost: {model: linear, rate: 1}
  - id: edge
    stage: compute
    capacity: 10
    offers: [{id: llm, latency: 2.5, latency_kind: rate, cost: {model: quadratic, rate: 2, quad: 0.1}}]
tenants:
  - {id: chat, count: 2, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 40.25, epsilon: 0.001}}
  - {id: batch, arrivals: {model: exponential, mean: 0.3}, slo: {deadline: 60, epsilon: 0.01}}
"""  # noqa: E501


@pytest.fixture(scope="module")
def chain():
    return loads(CHAIN, "chain.yaml")


def planned(instance, guarantee):
    # a region of rates is approached by columns, a catalogue is met exactly
    gap = 1e-6 if guarantee == "split" else 1e-9
    return fedopt.solve(instance, guarantee=guarantee, gap=gap, explain=False)


def cost(instance, guarantee):
    return planned(instance, guarantee).cost


def priced(instance, guarantee):
    plan = planned(instance, guarantee)
    found = shadow_prices(instance, plan)
    assert found.share == 1.0
    return {(shadow.parameter, shadow.place): shadow for shadow in found.prices}


@pytest.mark.parametrize(
    "guarantee",
    ["minplus:ville", "minplus:fine", "minplus:block-ville", pytest.param("split", marks=pytest.mark.slow)],
)
def test_slopes_are_what_planning_again_gives(chain, guarantee):
    shadow = priced(chain, guarantee)

    def by(place, value, step):
        return (
            cost(chain.with_({place: value + step}), guarantee)
            - cost(chain.with_({place: value - step}), guarantee)
        ) / (2 * step)

    def agrees(slope, again):
        """Split and ville: the same. Elsewhere too much, never too little.

        Forms that plan along a profile turn it when planned again, towards the one domain that changed.
        """
        if guarantee in ("split", "minplus:ville"):
            return slope == pytest.approx(again, rel=5e-2, abs=1e-4)
        return abs(again) <= 1.1 * abs(slope) and slope * again > 0.0

    place = "tenants.chat.slo.epsilon"
    assert shadow["epsilon", place].slope == pytest.approx(by(place, 1e-3, 2e-5), rel=5e-2)
    place = "domains.edge.offers.llm.latency"
    assert agrees(shadow["latency", place].slope, by(place, 2.5, 0.02))
    place = "domains.near.offers.std.impairment"
    held = chain.offer("near/std")[1].impairment
    for name, parameter in (("kappa", "kappa"), ("eta", "eta")):

        def moved(step, name=name):
            changed = {f"{place}.{name}": [value + step for value in getattr(held, name)]}
            return cost(chain.with_(changed), guarantee)

        step = 1e-3
        assert agrees(shadow[parameter, place].slope, (moved(step) - moved(-step)) / (2 * step))


@pytest.mark.parametrize("guarantee", ["minplus", "minplus:fine", "split"])
def test_a_deadline_counts_in_whole_slots(chain, guarantee):
    shadow = priced(chain, guarantee)["deadline", "tenants.chat.slo.deadline"]
    assert shadow.slope is None
    base = cost(chain, guarantee)
    at = {
        step: cost(chain.with_({"tenants.chat.slo.deadline": 40.25 + step}), guarantee) - base
        for step in (-1, 0.5, 1)
    }
    assert abs(at[0.5]) <= 1e-9 * base if guarantee != "split" else True
    # marginal prices stand still here; the quadratic cost makes steps smaller than that, the more the shorter
    # the window is
    assert shadow.slot_more == pytest.approx(at[1], rel=0.04)
    assert shadow.slot_less == pytest.approx(at[-1], rel=0.12)
    assert shadow.message.startswith("one whole slot (1 ms) more deadline for chat saves ")
    assert ", one less costs " in shadow.message


def test_a_deadline_under_paper_path_is_smooth(chain):
    shadow = priced(chain, "paper-path")["deadline", "tenants.chat.slo.deadline"]
    step = 0.1
    ends = [cost(chain.with_({"tenants.chat.slo.deadline": 40.25 + s}), "paper-path") for s in (step, -step)]
    assert shadow.slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-2)
    assert shadow.message.startswith("1 ms more deadline for chat saves ")


def test_a_price_of_capacity_is_what_more_of_it_saves(chain):
    # under split the rates along one path trade against each other, so a full domain has a price
    free = planned(chain, "split")
    used = next(domain.reserved for domain in free.domains if domain.id == "near")
    tight = chain.with_({"domains.near.capacity": 0.97 * used})
    shadow = priced(tight, "split")["capacity", "domains.near.capacity"]
    step = 1e-2 * used
    ends = [cost(tight.with_({"domains.near.capacity": 0.97 * used + s}), "split") for s in (step, -step)]
    assert shadow.slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=5e-2)


def test_what_is_worth_most_comes_first_and_all_is_in_the_document(chain):
    report = explain(chain, "minplus:ville")
    effects = [abs(shadow.effect) for shadow in report.shadow.prices]
    assert effects == sorted(effects, reverse=True)
    document = json.loads(json.dumps(report.to_dict()))["shadow_prices"]
    assert len(document["prices"]) == len(effects)
    assert document["prices"][0]["message"] in report.text()


def test_two_heads_are_worth_twice_one(chain):
    linear = chain.with_({"domains.edge.offers.llm.cost.quad": 0.0})

    def epsilon(instance):
        found = priced(instance, "minplus:ville")
        return found["epsilon", "tenants.chat.slo.epsilon"].slope

    assert epsilon(linear) == pytest.approx(2 * epsilon(linear.with_({"tenants.chat.count": 1})), rel=1e-6)


def test_without_time_only_capacities_are_priced(chain):
    plan = fedopt.solve(chain, guarantee="minplus:ville")
    found = shadow_prices(chain, plan, Budget(0.0))
    assert found.share == 0.0
    assert all(shadow.parameter == "capacity" for shadow in found.prices)


def test_a_guarantee_without_slopes_says_so(chain):
    text = explain(chain, "paper-local").text()
    assert "paper-local has no shadow prices but those of capacity" in text
