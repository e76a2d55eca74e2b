"""Offers without a contract: what their table says, and what it does not."""

from __future__ import annotations

import pytest

from fedopt.contracts.document import ContractError, contract_of
from fedopt.instance import (
    Ask,
    EnvelopeArrivals,
    ExponentialSize,
    ExponentialWork,
    InstanceError,
    LearnedImpairment,
    OnOff,
    Poisson,
    TokenBucket,
    loads,
)
from fedopt.instance.impairments import no_heavier
from fedopt.laws import build

ASK = {
    "arrivals": {"model": "poisson", "rate": 0.4},
    "throughput": 1.5,
    "delay": [4, 8, 12],
    "risk": [0.01, 0.0004, 0.0001],
    "answers": 50000,
}
TABLE = LearnedImpairment.model_validate({"model": "learned", "asks": [ASK]})

FILE = """
stages: [compute]
domains:
  - {{id: c, stage: compute, capacity: 9.0, offers: [{{id: m, {offer}}}]}}
tenants:
  - {{id: chat, arrivals: {{model: poisson, rate: 0.3}}, slo: {{deadline: 30, epsilon: 0.001}}}}
"""


def test_risk_holds_for_asks_that_are_no_stricter() -> None:
    traffic = Poisson(rate=0.4)
    assert TABLE.risk(traffic, 1.5, 8.0) == 0.0004
    assert TABLE.risk(traffic, 1.0, 11.9) == 0.0004  # less throughput, more delay
    assert TABLE.risk(Poisson(rate=0.2), 1.5, 100.0) == 0.0001
    assert TABLE.risk(traffic, 1.6, 8.0) == 1.0
    assert TABLE.risk(Poisson(rate=0.41), 1.5, 8.0) == 1.0
    assert TABLE.risk(traffic, 1.5, 3.9) == 1.0
    assert LearnedImpairment().risk(traffic, 1.5, 8.0) == 1.0


def test_the_least_of_several_asks_counts() -> None:
    wider = Ask.model_validate(
        ASK | {"arrivals": {"model": "poisson", "rate": 0.6}, "risk": [0.5, 0.1, 0.01]}
    )
    table = LearnedImpairment(asks=(wider, TABLE.asks[0]))
    assert table.risk(Poisson(rate=0.4), 1.5, 8.0) == 0.0004
    assert table.risk(Poisson(rate=0.5), 1.5, 8.0) == 0.1


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Poisson(rate=1.0), Poisson(rate=1.0), True),
        (Poisson(rate=1.0, size=0.5), Poisson(rate=1.0), False),
        (Poisson(rate=0.9, size=ExponentialSize(exponential=1)), Poisson(rate=1.0), False),
        (ExponentialWork(mean=0.4), ExponentialWork(mean=0.5), True),
        (ExponentialWork(mean=0.4), Poisson(rate=0.5), False),
        (OnOff(peak=1, on_to_off=0.1, off_to_on=0.1), OnOff(peak=2, on_to_off=0.1, off_to_on=0.1), True),
        (OnOff(peak=1, on_to_off=0.1, off_to_on=0.2), OnOff(peak=2, on_to_off=0.1, off_to_on=0.1), False),
        (TokenBucket(rate=1, burst=3), TokenBucket(rate=2, burst=3), True),
        (TokenBucket(rate=1, burst=4), TokenBucket(rate=2, burst=3), False),
    ],
)
def test_no_heavier(one: object, other: object, expected: bool) -> None:
    assert no_heavier(one, other) is expected
    if expected and one != other:
        assert not no_heavier(other, one)


def test_an_envelope_is_no_heavier_than_itself_alone() -> None:
    table = {"theta": (0.1,), "sigma": (0.0,), "request_size": 1.0}
    light, heavy = EnvelopeArrivals(rho=(0.1,), **table), EnvelopeArrivals(rho=(0.2,), **table)
    assert no_heavier(light, light)
    assert not no_heavier(light, heavy)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"risk": [0.01, 0.02, 0.0001]}, "cannot be riskier"),
        ({"risk": [0.01, 0.001]}, "equally long"),
        ({"delay": [4, 4, 12]}, "ascending"),
        ({"risk": [0.01, 0.001, 0.0]}, "above 0"),
        ({"throughput": 0}, "throughput"),
    ],
)
def test_a_table_that_cannot_be_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(InstanceError, match=words):
        Ask.model_validate(ASK | change)


def test_its_delay_is_the_whole_of_it() -> None:
    loads(FILE.format(offer="impairment: {model: learned}"))
    with pytest.raises(InstanceError, match=r"domains\[0\].offers\[0\].latency"):
        loads(FILE.format(offer="latency: 3, impairment: {model: learned}"))


def test_nothing_takes_it_for_an_envelope() -> None:
    with pytest.raises(InstanceError, match="without a contract"):
        build(TABLE, 1.0)


def test_it_survives_being_written_and_read() -> None:
    instance = loads(FILE.format(offer="impairment: {model: learned}")).with_(
        {"domains.c.offers.m.impairment": TABLE}
    )
    again = loads(instance.to_json())
    assert again.sha256 == instance.sha256
    assert again.offer("c/m")[1].impairment == TABLE


def test_it_is_not_signed_as_a_contract() -> None:
    data = {
        "issuer": "B", "domain": "c", "offer": "m", "version": 1, "issued": "2026-01-01T00:00:00Z",
        "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2026-02-01T00:00:00Z", "latency": 0,
        "impairment": {"model": "learned"},
    }  # fmt: skip
    with pytest.raises(ContractError, match="no promise of its own"):
        contract_of(data)
