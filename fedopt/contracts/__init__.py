"""Signed tail-risk envelopes: the contract document, keys, signing, verifying, the registry, contracts from
telemetry.
"""

from fedopt.contracts.document import Contract, Evidence, contract_of, contract_schema, signed_digest
from fedopt.contracts.errors import ContractError
from fedopt.contracts.keys import SigningKey, generate_key, load_key, save_key
from fedopt.contracts.registry import Registry
from fedopt.contracts.signing import sign
from fedopt.contracts.verifying import verify

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
]
