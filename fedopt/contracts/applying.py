"""Putting a contract into an instance: the offer takes the latency and the impairment that were signed."""

from __future__ import annotations

from fedopt.contracts.document import Contract
from fedopt.contracts.errors import ContractError
from fedopt.instance import Instance
from fedopt.instance.impairments import TableImpairment

__all__ = ["with_contract"]


def with_contract(instance: Instance, contract: Contract) -> Instance:
    """The instance with the contract's promise for its offer. Raises ContractError("unit") where units
    differ.

    Raises InstanceError where the instance has no such offer.
    """
    units = instance.units
    if (units.time, units.work) != (contract.time_unit, contract.work_unit):
        raise ContractError(
            "unit",
            f"the contract counts in {contract.time_unit} and {contract.work_unit}, "
            f"the instance in {units.time} and {units.work}",
        )
    instance.offer(contract.subject)
    place = f"domains.{contract.domain}.offers.{contract.offer}"
    changes: dict[str, object] = {
        f"{place}.latency": contract.latency,
        f"{place}.latency_kind": contract.latency_kind,
        f"{place}.impairment": contract.impairment,
    }
    if contract.max_rate is not None:
        changes[f"{place}.max_rate"] = contract.max_rate
    if instance.theta is None and isinstance(contract.impairment, TableImpairment):
        changes["theta"] = tuple(theta for theta in contract.impairment.theta if theta > 0)
    return instance.with_(changes)
