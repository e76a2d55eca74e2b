from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.instance import SLO, Domain, Instance, InstanceError, dumps, loads
from fedopt.instance.quantities import Measures, UnitError

STATED = """
fedopt: 1
name: llm
units:
  time: ms
  work: request
  cost: EUR/h
  stages: {radio: 40 kbit, gpu: 200 token}
  define: {L4: 1200 token/s}
slot: 5 ms
stages: [radio, gpu]
domains:
  - id: ran
    stage: radio
    capacity: 200 Mbit/s
    offers:
      - id: urllc
        latency: 3 ms
        impairment: {model: exponential, mean: 0.8 Mbit/s}
        cost: {model: linear, rate: 0.02 EUR/h/(Mbit/s), fixed: 0.05 €/h}
        max_rate: 32 Mbit/s
  - id: edge
    stage: gpu
    capacity: 8 L4
    offers:
      - id: m8b
        latency: 0.04 s
        accuracy: 82 %
        staleness: 10 min
        impairment: {model: poisson, rate: 2/s, size: 20 token}
        cost: {model: piecewise, points: [[0, 0.1 EUR/h], [2 L4, 1.7 EUR/h], [4 × 1200 token/s, 4 EUR/h]]}
links:
  - {from: ran, to: edge, delay: 200 µs, cost: 0.1 EUR/h}
tenants:
  - id: chat
    arrivals: {model: poisson, rate: 2/s, size: {exponential: 400 token}}
    slo: {deadline: 1.5 s, percentile: 99.9, min_accuracy: 80 %, max_staleness: 1 h}
    payment: 2 EUR/h
  - id: sensors
    arrivals: {model: token-bucket, rate: 6 requests/min, burst: 80 kbit}
    slo: {deadline: 1 s, epsilon: 1 %}
    penalty: 48 EUR/d
"""

PLAIN = """
fedopt: 1
name: llm
units: {time: ms, work: request}
slot: 5
stages: [radio, gpu]
domains:
  - id: ran
    stage: radio
    capacity: 5
    offers:
      - id: urllc
        latency: 3
        impairment: {model: exponential, mean: 0.02}
        cost: {model: linear, rate: 0.8, fixed: 0.05}
        max_rate: 0.8
  - id: edge
    stage: gpu
    capacity: 0.048
    offers:
      - id: m8b
        latency: 40
        accuracy: 0.82
        staleness: 600
        impairment: {model: poisson, rate: 0.002, size: 0.1}
        cost: {model: piecewise, points: [[0, 0.1], [0.012, 1.7], [0.024, 4]]}
links:
  - {from: ran, to: edge, delay: 0.2, cost: 0.1}
tenants:
  - id: chat
    arrivals: {model: poisson, rate: 0.002, size: {exponential: 2}}
    slo: {deadline: 1500, epsilon: 0.001, min_accuracy: 0.8, max_staleness: 3600}
    payment: 2
  - id: sensors
    arrivals: {model: token-bucket, rate: 0.0001, burst: 2}
    slo: {deadline: 1000, epsilon: 0.01}
    penalty: 2
"""


def test_quantities_are_what_their_numbers_would_be() -> None:
    stated, plain = loads(STATED), loads(PLAIN)
    assert stated == plain.with_(units=stated.units)
    assert stated.sha256 == plain.sha256  # the units say nothing that a plan depends on


def test_what_is_written_is_read_back() -> None:
    stated = loads(STATED)
    assert loads(dumps(stated)) == stated
    assert loads(stated.to_json()) == stated


def test_an_instance_in_code_takes_quantities_too() -> None:
    data = yaml.safe_load(STATED)
    assert Instance(**data) == Instance.model_validate(data) == loads(STATED)
    changed = loads(PLAIN).with_({"tenants.*.slo.deadline": "2 s", "tenants.chat.slo.epsilon": "0.5 %"})
    assert [tenant.slo.deadline for tenant in changed.tenants] == [2000, 2000]
    assert changed.tenant("chat").slo.epsilon == 0.005
    assert loads(STATED).with_({"domains.edge.capacity": "16 L4"}).domain("edge").capacity == 0.096
    with pytest.raises(InstanceError, match="quantities with units are read in an instance"):
        Domain(id="d", stage="s", capacity="5 request/s", offers=[{"id": "o"}])


@pytest.mark.parametrize(
    ("old", "new", "place", "line", "said", "remedy"),
    [
        ("200 Mbit/s", "200 token/s", "domains[0].capacity", 15, "one request is 40 kbit", "9600 token/s"),
        ("8 L4", "8 H100", "domains[1].capacity", 24, "there is no unit 'H100'", "such as"),
        ("1.5 s", "1.5 Mbit", "tenants[0].slo.deadline", 37, "'1.5 Mbit' is no time", "1.5 s"),
        ("2/s, size: {", "2 s, size: {", "tenants[0].arrivals.rate", 36, "number per unit of time", "50/s"),
        ("48 EUR/d", "48 EUR", "tenants[1].penalty", 42, "is no cost", "EUR/h"),
        ("percentile: 99.9", "percentile: 100", "tenants[0].slo", 37, "between 0 and 100", "number"),
        ("epsilon: 1 %", "epsilon: 1 s", "tenants[1].slo.epsilon", 41, "is no share", "0.1 %"),
        ("8 L4", "9**9**9 L4", "domains[1].capacity", 24, "is no quantity", "such as"),
        ("L4: 1200 token/s", "L4: many", "units", 5, "'many'", ""),
    ],
)  # fmt: skip
def test_mistakes_are_placed(old: str, new: str, place: str, line: int, said: str, remedy: str) -> None:
    assert STATED.count(old) == 1
    with pytest.raises(InstanceError) as caught:
        loads(STATED.replace(old, new))
    problem = next(problem for problem in caught.value.problems if problem.place == place)
    assert (problem.line, said in problem.message, remedy in problem.remedy) == (line, True, True), problem


def test_every_mistake_is_reported_at_once() -> None:
    text = (
        STATED.replace("200 Mbit/s", "200 token/s").replace("1.5 s", "soon").replace("to: edge", "to: egde")
    )
    with pytest.raises(InstanceError) as caught:
        loads(text)
    assert [problem.place for problem in caught.value.problems] == [
        "domains[0].capacity",
        "tenants[0].slo.deadline",
        "links[0].to",
    ]


def test_costs_need_a_unit_of_cost() -> None:
    with pytest.raises(InstanceError, match=r"units\.cost does not say what a cost of 1 is"):
        loads(STATED.replace("  cost: EUR/h\n", ""))


def test_an_amount_that_depends_on_the_stage() -> None:
    measures = Measures(work="request", stages={"prefill": "100 token", "decode": "200 token"})
    assert measures.number("400 token", "work", "decode") == 2
    with pytest.raises(UnitError, match="4 by stage prefill, 2 by stage decode"):
        measures.number("400 token", "work")


def test_percentiles() -> None:
    assert [SLO(deadline=1, percentile=p).epsilon for p in (99.9, "99.99", "p95", "90 %")] == [
        0.001,
        0.0001,
        0.05,
        0.1,
    ]
    with pytest.raises(InstanceError, match="say the same"):
        SLO(deadline=1, percentile=99, epsilon=0.01)


def test_rates_are_shown_in_the_units_of_their_stage() -> None:
    units = loads(STATED).units
    assert units.rate(0.048, "gpu") == "9600 token/s"
    assert units.rate(5, "radio") == "200000 kbit/s"
    assert loads(PLAIN).units.rate(0.048, "gpu") == "0.048 request/ms"


@settings(max_examples=50, deadline=None)
@given(
    st.floats(1e-6, 1e6),
    st.sampled_from([("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0)]),
    st.sampled_from([("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0)]),
)
def test_times_convert_both_ways(value: float, own: tuple[str, float], given: tuple[str, float]) -> None:
    measures = Measures(time=own[0])
    assert measures.number(f"{value!r} {given[0]}", "time") == pytest.approx(value * given[1] / own[1])
    assert measures.number(f"{value!r}/{given[0]}", "frequency") == pytest.approx(value * own[1] / given[1])


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=30), st.from_regex(r"[0-9.]{1,4} ?[A-Za-z/*+() -]{0,12}", fullmatch=True)))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    data: dict[str, Any] = yaml.safe_load(PLAIN)
    data["domains"][0]["capacity"] = text
    problems = []
    try:
        Instance.model_validate(data)
    except InstanceError as error:
        problems = error.problems
    assert all(problem.place == "domains[0].capacity" for problem in problems)


def test_bare_numbers_load_no_library_of_units() -> None:
    code = f"import sys, fedopt.instance as i; i.loads({PLAIN!r}); sys.exit('pint' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("stated", "plain"),
    [
        ("{exponential: 200 token, maximum: 1000 token}", "{exponential: 1, maximum: 5}"),
        ("{gamma: {mean: 200 token, cv: 2}}", "{gamma: {mean: 1, cv: 2}}"),
        (
            "{lognormal: {mean: 1 request, cv: 2}, maximum: 2000 token}",
            "{lognormal: {mean: 1, cv: 2}, maximum: 10}",
        ),
        ("{uniform: {low: 0, high: 400 token}}", "{uniform: {low: 0, high: 2}}"),
        (
            "{pareto: {minimum: 100 token, shape: 2}, maximum: 600 token}",
            "{pareto: {minimum: 0.5, shape: 2}, maximum: 3}",
        ),
        (
            "{discrete: {sizes: [200 token, 2], weights: [1, 2]}}",
            "{discrete: {sizes: [1, 2], weights: [1, 2]}}",
        ),
    ],
)  # fmt: skip
def test_laws_of_sizes_take_quantities(stated: str, plain: str) -> None:
    texts = [STATED.replace("{exponential: 400 token}", size) for size in (stated, plain)]
    assert loads(texts[0]) == loads(texts[1])
