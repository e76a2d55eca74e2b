"""Reading a contract that is not signed yet, from YAML or JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fedopt.contracts.canonical import MOST_BYTES
from fedopt.contracts.document import Contract, contract_of
from fedopt.contracts.errors import ContractError
from fedopt.instance.errors import InstanceError
from fedopt.instance.impairments import TableImpairment
from fedopt.instance.yaml_text import TextError, read_yaml

__all__ = ["read_contract", "read_impairment", "read_json", "read_token"]


def read_contract(path: str | Path) -> Contract:
    """An unsigned contract (YAML or JSON). Raises ContractError with every wrong place."""
    try:
        data, _ = read_yaml(_text(path))
    except (TextError, RecursionError) as error:
        raise ContractError("malformed", f"{path}: {error}", bad_input=True) from error
    try:
        return contract_of(data, str(path))
    except ContractError as error:
        error.exit_code = 2  # nobody has signed it: it is not broken, it is not finished
        raise


def read_impairment(path: str | Path) -> TableImpairment:
    """An impairment as `fedopt fit impairment` writes it. Raises ContractError ("file", "schema")."""
    data = read_json(path)
    try:
        return TableImpairment.model_validate(data)
    except InstanceError as error:
        raise ContractError("schema", f"{path}: not an impairment table: {error}", bad_input=True) from error


def read_token(path: str | Path) -> str:
    """The text of a signed contract. Raises ContractError ("file", "malformed")."""
    text = _text(path).strip()
    if not text.isascii():
        raise ContractError("malformed", f"{path}: a signed contract is base64url text")
    return text


def _text(path: str | Path) -> str:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ContractError("file", f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > 2 * MOST_BYTES:
        raise ContractError("file", f"{path}: larger than {2 * MOST_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContractError("file", f"{path}: not UTF-8 text") from error


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object, such as a public key. Raises ContractError("file")."""
    text = _text(path)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContractError("file", f"{path}: not JSON") from error
    if not isinstance(data, dict):
        raise ContractError("file", f"{path}: not a JSON object")
    return data
