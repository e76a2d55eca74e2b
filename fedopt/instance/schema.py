"""JSON Schema of the documents, made from the classes that read them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pydantic import BaseModel

from .errors import InstanceError, Problem, choice_remedy

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
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def _class(kind: str) -> type[BaseModel] | None:
    module, name = KINDS[kind]
    try:
        return getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is not None and module.startswith(error.name):
            return None
        raise
