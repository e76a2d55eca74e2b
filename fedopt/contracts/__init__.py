"""Signed tail-risk envelopes: the contract document, keys, signing, verifying, the registry, contracts from
telemetry.
"""

from fedopt.contracts.document import (
    Contract,
    ContractError,
    Evidence,
    contract_of,
    contract_schema,
    signed_digest,
)
from fedopt.contracts.registry import Registry, with_registry
from fedopt.contracts.signing import SigningKey, generate_key, load_key, save_key, sign, verify

__all__ = [
    "Contract",
    "ContractError",
    "Evidence",
    "Registry",
    "SigningKey",
    "contract_of",
    "contract_schema",
    "generate_key",
    "load_key",
    "save_key",
    "sign",
    "signed_digest",
    "verify",
    "with_registry",
]
