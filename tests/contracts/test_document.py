import pytest

from fedopt.contracts import ContractError, contract_of, contract_schema
from fedopt.contracts.document import read_contract, read_json, read_token, with_contract
from fedopt.instance import loads
from tests.contracts.conftest import fields

INSTANCE = """
fedopt: 1
name: one
units: {time: ms, work: job}
slot: 1.0
stages: [compute]
domains:
  - id: edge-1
    stage: compute
    capacity: 10
    offers:
      - id: gold
        latency: 1.0
        impairment: {model: exponential, mean: 0.3}
        cost: {model: linear, rate: 1.0}
tenants:
  - {id: chat, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 30, epsilon: 0.001}}
"""


def test_payload_is_read_back_the_same():
    contract = contract_of(fields())
    assert contract_of(contract.to_dict()).payload() == contract.payload()
    assert contract.subject == "edge-1/gold"
    assert "latency" in contract_schema()["properties"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"version": 0}, "version"),
        ({"version": True}, "version"),
        ({"valid_until": "2025-01-01T00:00:00Z"}, "valid_until"),
        ({"issued": "yesterday"}, "issued"),
        ({"issued": "2026-13-01T00:00:00Z"}, "issued"),
        ({"parent": "0" * 64}, "parent"),
        ({"version": 2}, "parent"),
        ({"version": 2, "parent": "xyz"}, "parent"),
        ({"latency": float("nan")}, "latency"),
        ({"latency": -1}, "latency"),
        ({"impairment": {"model": "exponental", "mean": 1.0}}, "impairment"),
        (
            {"impairment": {"model": "table", "theta": [0.2, 0.1], "kappa": [1, 1], "eta": [0, 0]}},
            "impairment",
        ),
        ({"evidence": {"method": "m", "slots": 10, "confidence": 1.0}}, "evidence"),
        ({"extra": 1}, "extra"),
    ],
)
def test_wrong_fields_are_named(change, place):
    with pytest.raises(ContractError, match=place) as caught:
        contract_of(fields(**change))
    assert caught.value.reason == "schema"


def test_contract_is_put_into_an_instance():
    changed = with_contract(loads(INSTANCE, "i.yaml"), contract_of(fields(max_rate=4.0)))
    _, offer = changed.offer("edge-1/gold")
    assert offer.latency == 2.0
    assert offer.max_rate == 4.0
    assert offer.impairment.model == "table"
    with pytest.raises(ContractError, match="unit"):
        with_contract(loads(INSTANCE, "i.yaml"), contract_of(fields(time_unit="s")))


def test_files_are_read_or_refused_with_a_reason(tmp_path):
    import yaml

    (tmp_path / "c.yaml").write_text(yaml.safe_dump(fields()))
    assert read_contract(tmp_path / "c.yaml") == contract_of(fields())
    for content in (b"\xff\xfe", b"[", b"- 1", b"a: &a [*a]"):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(ContractError, match=r"file|malformed|schema"):
            read_contract(tmp_path / "bad")
        with pytest.raises(ContractError, match="file"):
            read_json(tmp_path / "bad")
    (tmp_path / "t").write_text("a.é.b")
    with pytest.raises(ContractError, match="base64url"):
        read_token(tmp_path / "t")
    with pytest.raises(ContractError, match="cannot be read"):
        read_token(tmp_path / "none")
