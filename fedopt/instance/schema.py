"""JSON Schema of the documents, made from the classes that read them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pydantic import BaseModel

from .errors import InstanceError, Problem, choice_remedy
from .quantities import EXAMPLES

KINDS = {
    "instance": ("fedopt.instance.documents", "Instance"),
    "plan": ("fedopt.plan.document", "Plan"),
    "contract": ("fedopt.contracts.document", "Contract"),
    "audit": ("fedopt.audit.document", "Audit"),
    "scenario": ("fedopt.control.scenario", "Scenario"),
    "intent": ("fedopt.control.intents", "ServiceIntent"),
}
"""Where the class of each kind of document lives; a kind whose part is not installed is not offered."""


def kinds() -> list[str]:
    """The kinds of documents that this installation can describe."""
    return [kind for kind in KINDS if _class(kind) is not None]


def schema(kind: str = "instance") -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a kind of document; raises `InstanceError` for an unknown kind."""
    document = _class(kind) if kind in KINDS else None
    if document is None:
        known = kinds()
        problem = Problem(kind, "is no kind of document here", choice_remedy(kind, known, "kind"))
        raise InstanceError([problem], source="schema")
    described = document.model_json_schema(by_alias=True)
    if kind == "instance":
        # Files may hold anchors and remarks under names that begin with x-.
        described["patternProperties"] = {"^x-": {}}
    _with_quantities(described, allowed=kind == "instance")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def _with_quantities(part: Any, allowed: bool) -> None:
    """Let the fields with a unit take a text such as `1.5 s`, in the documents where quantities are read."""
    if isinstance(part, list):
        for item in part:
            _with_quantities(item, allowed)
    if not isinstance(part, dict):
        return
    unit = part.pop("x-unit", None)
    for item in part.values():
        _with_quantities(item, allowed)
    if unit is None or not allowed:
        return
    kinds = [name.strip() for name in unit.split(",")]
    text = {"type": "string", "pattern": "[0-9]", "examples": [EXAMPLES[name] for name in kinds]}
    about = {key: part.pop(key) for key in ("title", "description", "default") if key in part}
    _numbers_or(part, text)
    part.update(about)
    part["x-unit"] = unit


def _numbers_or(part: dict[str, Any], text: dict[str, Any]) -> None:
    """Turn every number in a schema into a number or the text, lists and alternatives included."""
    if part.get("type") == "number":
        number = dict(part)
        part.clear()
        part["anyOf"] = [number, text]
        return
    for key in ("anyOf", "oneOf", "prefixItems"):
        for item in part.get(key, []):
            _numbers_or(item, text)
    if isinstance(part.get("items"), dict):
        _numbers_or(part["items"], text)


def _class(kind: str) -> type[BaseModel] | None:
    module, name = KINDS[kind]
    try:
        return getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is not None and module.startswith(error.name):
            return None
        raise
