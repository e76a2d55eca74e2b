"""Contracts of a run: signed, chained, verified again on resuming, and put into what is planned."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.contracts import ContractError
from fedopt.contracts.measuring import measure_impairment
from fedopt.control.contracts import Register, rehearsal_key
from fedopt.control.scenario import Reissue, Scenario
from fedopt.instance import ExponentialImpairment, Instance


@pytest.fixture
def register(day: Scenario, network: Instance) -> Register:
    opened = Register(day, network, 3)
    opened.open()
    return opened


def _measured() -> object:
    rng = np.random.default_rng(0)
    work = rng.exponential(0.3, size=30_000)
    return measure_impairment(work, np.geomspace(0.02, 2.0, 16), independent_increments=True, negative=True)


def test_keys_are_the_seeds_and_the_issuers() -> None:
    assert rehearsal_key("A", 1).kid == rehearsal_key("A", 1).kid
    assert len({rehearsal_key(issuer, seed).kid for issuer in "AB" for seed in (1, 2)}) == 4


def test_versions_follow_each_other_and_are_put_into_the_plan(register: Register, network: Instance) -> None:
    assert register.applied(network) == network
    raised = register.measured("c1/m", _measured(), 2)
    assert (raised.contract.version, raised.contract.evidence is not None) == (2, True)
    assert register.raised("c1/m")
    view = register.applied(network)
    assert view.offer("c1/m")[1].impairment == raised.contract.impairment
    assert view.theta is not None
    restored = register.restore_promise("c1/m", 4)
    assert restored.contract.parent == raised.sha256
    assert not register.raised("c1/m")
    assert register.applied(network).domains == network.domains


def test_two_tables_of_different_reach_fit_one_instance(register: Register, network: Instance) -> None:
    register.measured("c1/m", _measured(), 2)
    rng = np.random.default_rng(1)
    shorter = measure_impairment(rng.exponential(0.6, 30_000), np.geomspace(0.02, 1.0, 9))
    register.measured("c2/m", shorter, 2)
    view = register.applied(network)
    assert view.theta[-1] <= 1.0


def test_a_reissued_promise_is_what_the_domain_returns_to(register: Register) -> None:
    part = Reissue(period=1, domain="a1", offer="s", impairment=ExponentialImpairment(mean=0.1), latency=0.5)
    register.reissue(part, 1)
    register.measured("a1/s", _measured(), 2)
    register.restore_promise("a1/s", 5)
    contract = register.signed["a1/s"].contract
    assert (contract.version, contract.latency, contract.impairment.mean) == (4, 0.5, 0.1)


def test_resuming_verifies_every_token_and_refuses_a_changed_one(
    register: Register, day: Scenario, network: Instance
) -> None:
    tokens = [signed.token for signed in register.signed.values()]
    tokens.append(register.measured("c1/m", _measured(), 2).token)
    again = Register(day, network, 3)
    again.restore(tokens, {})
    assert again.signed["c1/m"].token == tokens[-1]
    assert again.promised == register.promised
    with pytest.raises(ContractError):
        Register(day, network, 3).restore([*tokens[:-1], tokens[-1][:-8] + "AAAAAAAA"], {})
    with pytest.raises(ContractError, match=r"registered already|not above"):
        Register(day, network, 3).restore([*tokens, tokens[-1]], {})
    with pytest.raises(ContractError):
        Register(day, network, 4).restore(tokens, {})  # another seed's keys
