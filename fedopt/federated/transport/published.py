"""The operators' signed contracts as the broker reads them: fetched, verified, put into the instance it
plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fedopt.contracts import Contract, ContractError, signed_digest, verify
from fedopt.contracts.applying import with_contract
from fedopt.contracts.registry import KeyRecord, State, Version
from fedopt.federated.public import by_operator
from fedopt.federated.transport.federation import AgentFailure
from fedopt.federated.transport.https import Failure

if TYPE_CHECKING:
    from fedopt.federated.transport.broker_journal import BrokerJournal
    from fedopt.federated.transport.https import Connections
    from fedopt.instance import Instance

__all__ = ["with_published"]


def with_published(
    instance: Instance,
    connections: Connections,
    public_keys: Mapping[str, Mapping[str, Any]],
    journal: BrokerJournal,
) -> tuple[Instance, dict[str, str]]:
    """The instance with every offer as its operator signed it, and the contracts' SHA-256 by "domain/offer".

    A contract must be valid now, signed with the operator's own key, and not older than the newest that this
    broker has seen. Raises ContractError, or AgentFailure where an agent publishes none or cannot be asked.
    """
    owned = {
        operator: [f"{domain.id}/{offer.id}" for domain in domains for offer in domain.offers]
        for operator, domains in by_operator(instance).items()
    }
    missing = sorted(set(owned) - set(connections.links))
    if missing:
        raise AgentFailure(missing[0], "unknown", "there is no such agent in the configuration")
    tokens = connections.contracts(owned)
    digests: dict[str, str] = {}
    for operator, subjects in owned.items():
        for subject in subjects:
            token = tokens[subject]
            if isinstance(token, Failure):
                raise AgentFailure(operator, token.kind, f"{subject}: {token.message}", token.reason)
            contract = _verified(token, subject, operator, public_keys[operator])
            digests[subject] = signed_digest(token)
            journal.see_contract(subject, contract.version, digests[subject])
            instance = _applied(instance, contract)
    return instance, digests


def _verified(token: str, subject: str, operator: str, members: Mapping[str, Any]) -> Contract:
    """The contract, if everything about it is right now. Raises ContractError naming it."""
    kid = str(members["kid"])
    # this very text counts as the newest version: its age is judged by what the broker saw before
    state = State(
        keys={kid: KeyRecord(kid, operator, dict(members), "active", "")},
        versions={subject: [Version(1, signed_digest(token), operator, kid)]},
    )
    try:
        contract, _ = verify(token, state)
    except ContractError as error:
        raise ContractError(error.reason, f"the contract of {subject} from {operator}: {error}") from None
    if contract.subject != subject:
        raise ContractError(
            "issuer", f"{operator} published {contract.subject} where {subject} was asked for"
        )
    return contract


def _applied(instance: Instance, contract: Contract) -> Instance:
    """The instance with the offer as it was signed; itself where nothing differs."""
    _, offer = instance.offer(contract.subject)
    units = (instance.units.time, instance.units.work)
    same = (
        units == (contract.time_unit, contract.work_unit)
        and offer.latency == contract.latency
        and offer.latency_kind == contract.latency_kind
        and offer.impairment == contract.impairment
        and (contract.max_rate is None or offer.max_rate == contract.max_rate)
    )
    return instance if same else with_contract(instance, contract)
