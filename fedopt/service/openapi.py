"""The OpenAPI document: what the routes say, fedopt's own documents, and what all answers share."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fedopt.service.documents import ErrorInfo
from fedopt.service.errors import CODES
from fedopt.service.learned import schemas as learned_schemas
from fedopt.service.middleware import CORRELATOR, PATTERN
from fedopt.service.settings import BASE

__all__ = ["VERSION", "completed", "json_body", "links_to_job", "ref", "refusals"]

VERSION = "1.0.0"
"""Version of the API; its first number is the one in the path."""

COMMONALITIES = "0.7.0"
"""The release of CAMARA's Commonalities whose conventions the API follows."""

_REF = "#/components/schemas/{model}"

DESCRIPTION = """\
Plans AI services across domains under tail-latency contracts. An instance or an intent is posted and
becomes a job; its progress comes as server-sent events; what came of it is fetched as documents: the plan,
what it proves, what the independent check found, a report to look at.

Errors, correlation ids, paging and versions follow CAMARA's API design guide. Instances, plans, intents,
checks and resolutions are fedopt's own documents and come as fedopt's files have them.

A job belongs to the caller who posted it; others cannot see it. A job that was taken in survives the server:
one that was running when the server died is run again, one that is finished is not.
"""


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document with fedopt's documents, the correlation id everywhere, and the security schemes."""
    document["info"]["license"] = {
        "name": "Apache 2.0",
        "url": "https://www.apache.org/licenses/LICENSE-2.0.html",
    }
    document["info"]["x-camara-commonalities"] = COMMONALITIES
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= _documents()
    schemas["ErrorInfo"] = ErrorInfo.model_json_schema(by_alias=True, ref_template=_REF)
    schemas |= schemas["ErrorInfo"].pop("$defs", {})
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A token of fedopt serve token."},
        "certificate": {"type": "mutualTLS", "description": "A client certificate that the server pins."},
    }
    document["security"] = [{"bearer": []}, {"certificate": []}]
    components["headers"] = {
        CORRELATOR: {
            "description": "The request's correlation id, or a new one.",
            "required": True,
            "schema": {"type": "string", "pattern": PATTERN, "maxLength": 256},
        }
    }
    # CAMARA puts the name and version of an API into its server's URL, and paths follow
    document["servers"] = SERVERS
    document["paths"] = {path.removeprefix(BASE): methods for path, methods in document["paths"].items()}
    for methods in document["paths"].values():
        for operation in methods.values():
            parameters = operation.setdefault("parameters", [])
            for parameter in parameters:
                parameter["schema"] = _plain(parameter["schema"])
            parameters.append(_CORRELATOR_PARAMETER)
            if _is_fastapis(operation):
                del operation["responses"]["422"]
            for response in operation["responses"].values():
                response.setdefault("headers", {})[CORRELATOR] = {
                    "$ref": f"#/components/headers/{CORRELATOR}"
                }
    return document


def refusals(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that refuses with these codes, and with those that any route may refuse with."""
    by_status: dict[int, list[str]] = {}
    for code in (*codes, "INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "TOO_MANY_REQUESTS",
                 "INTERNAL", "UNAVAILABLE", "TIMEOUT"):  # fmt: skip
        listed = by_status.setdefault(CODES[code][0], [])
        if code not in listed:
            listed.append(code)
    answers: dict[int | str, dict[str, Any]] = {}
    for status, listed in sorted(by_status.items()):
        narrowed = {
            "allOf": [
                ref("ErrorInfo"),
                {
                    "type": "object",
                    "properties": {"status": {"enum": [status]}, "code": {"enum": listed}},
                },
            ]
        }
        answers[status] = {
            "description": "; ".join(f"`{code}`: {CODES[code][1]}" for code in listed),
            "content": {"application/json": {"schema": narrowed}},
        }
        if status in (429, 503):
            answers[status]["headers"] = {
                "Retry-After": {
                    "description": "Seconds after which to try again.",
                    "schema": {"type": "integer", "minimum": 1, "maximum": 86400},
                }
            }
    return answers


def links_to_job(*operations: str) -> dict[str, Any]:
    """Links from an answer that is a job to what can be done with it."""
    return {
        operation: {
            "operationId": operation,
            "parameters": {"jobId": "$response.body#/jobId"},
            "description": "The job of this answer.",
        }
        for operation in operations
    }


def json_body(description: str, schema: dict[str, Any], example: Any, *more: str) -> dict[str, Any]:
    """A request body that is one document, in JSON or in another of the media types."""
    content = {kind: {"schema": schema, "example": example} for kind in ("application/json", *more)}
    return {"description": description, "required": True, "content": content}


def ref(name: str) -> dict[str, Any]:
    """A reference to a schema of the document."""
    return {"$ref": _REF.format(model=name)}


def _documents() -> dict[str, Any]:
    """The schemas of fedopt's own documents, and those of bodies made of them."""
    from fedopt.control.intents import ServiceIntent
    from fedopt.instance import Instance
    from fedopt.plan import Plan

    kinds: list[type[BaseModel]] = [Instance, ServiceIntent, Plan]
    _, found = models_json_schema([(kind, "validation") for kind in kinds], ref_template=_REF)
    schemas = dict(found["$defs"])
    schemas["Instance"] = {**schemas["Instance"], "patternProperties": {"^x-": {}}}
    schemas["IntentRequest"] = {
        "type": "object",
        "description": "An intent and what it is resolved on: an instance, with the plan in force on it if "
        "there is one, or a finished job with its instance and plan.",
        "required": ["intent"],
        "additionalProperties": False,
        "properties": {
            "intent": ref("ServiceIntent"),
            "instance": ref("Instance"),
            "plan": ref("Plan"),
            "job": {
                "type": "string",
                "format": "uuid",
                "maxLength": 36,
                "description": "A job of the kind `solve` that is DONE.",
            },
        },
        "oneOf": [
            {"required": ["instance"], "properties": {"job": False}},
            {"required": ["job"], "properties": {"instance": False, "plan": False}},
        ],
    }
    schemas["Resolution"] = {
        "type": "object",
        "description": "An intent resolved, as `fedopt intent --json` prints it.",
        "required": ["intent", "service", "resolved", "tenant", "cost", "entry", "alternatives"],
        "properties": {
            "intent": {"type": "string", "description": "Name of the intent."},
            "service": {"type": "string", "description": "What it is for."},
            "resolved": {"type": "boolean", "description": "Whether there is a way to serve it."},
            "tenant": {"type": "object", "description": "The tenant that it makes of the instance."},
            "cost": {"type": ["number", "null"], "description": "Cost of the cheapest way."},
            "entry": {
                "anyOf": [ref("TenantPlan"), {"type": "null"}],
                "description": "That way, as in a plan.",
            },
            "alternatives": {
                "type": "array",
                "description": "Every offer of the last stage, the chosen one first; why the others lost.",
                "items": {
                    "type": "object",
                    "description": "One offer.",
                    "required": ["offer", "accuracy", "chosen", "cost", "why"],
                    "properties": {
                        "offer": {"type": "string", "description": '"domain/offer".'},
                        "accuracy": {"type": ["number", "null"], "description": "Of its AI model."},
                        "chosen": {"type": "boolean", "description": "Whether it serves the intent."},
                        "cost": {
                            "type": ["number", "null"],
                            "description": "Of the cheapest way through it.",
                        },
                        "why": {"type": "string", "description": "Why it was chosen or lost."},
                    },
                },
            },
        },
    }
    return {**schemas, **learned_schemas(_REF)}


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter, which is there or not but never null, without what stands beside it."""
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "title", "description")}
    (kind,) = [one for one in schema.get("anyOf", [{}]) if one.get("type") != "null"]
    return {**kind, **rest}


def _is_fastapis(operation: dict[str, Any]) -> bool:
    """Whether the operation's 422 is the one that FastAPI adds; here, wrong parameters are 400."""
    text = str(operation["responses"].get("422", ""))
    return "HTTPValidationError" in text


_CORRELATOR_PARAMETER = {
    "name": CORRELATOR,
    "in": "header",
    "required": False,
    "description": "Correlation id of the caller; the answer has the same.",
    "schema": {"type": "string", "pattern": PATTERN, "maxLength": 256},
}

SERVERS = [
    {
        "url": "{apiRoot}" + BASE,
        "variables": {
            "apiRoot": {"default": "http://127.0.0.1:8450", "description": "Where the server is reached."}
        },
    }
]
