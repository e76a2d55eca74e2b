"""Reference pages made from the code: commands from the typer applications, formats from JSON Schemas.

A page asks for them by a comment on a line of its own:

    <!-- reference: commands -->
    <!-- reference: schema instance -->
    <!-- reference: models -->
    <!-- reference: agent -->
    <!-- reference: service -->
"""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from sphinx.application import Sphinx

_REQUEST = re.compile(r"^<!-- reference: (\w+) ?(\w*) -->$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the replacement of the comments."""
    app.connect("source-read", _fill)
    app.connect("autodoc-process-docstring", _plain_docstring)
    return {"parallel_read_safe": True, "version": "1"}


def _fill(app: Sphinx, name: str, source: list[str]) -> None:
    makers = {
        "commands": _commands,
        "schema": _schema,
        "models": _models,
        "agent": _agent,
        "service": _service,
    }
    source[0] = _REQUEST.sub(lambda request: makers[request[1]](request[2]), source[0])


def _plain_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: make that reStructuredText."""
    for at, line in enumerate(lines):
        pieces = re.split(r"(`+[^`]+`+)", line)
        pieces[::2] = [piece.replace("|", "\\|").replace("*", "\\*") for piece in pieces[::2]]
        pieces[1::2] = [f"``{piece.strip('`')}``" for piece in pieces[1::2]]
        lines[at] = "".join(pieces)


# --- commands -------------------------------------------------------------------------------------


def _commands(_: str) -> str:
    from fedopt.cli import command_lines

    return "\n\n".join(_command(name, line) for name, line in command_lines().items())


def _command(name: str, line: str) -> str:
    stem = name.replace("-", "_")
    here = Path(import_module("fedopt.cli").__file__ or "").parent
    module = import_module(f"fedopt.cli.{stem if (here / f'{stem}.py').exists() else f'{stem}_'}")
    application = getattr(module, "app", None)
    if application is None:
        application = typer.Typer(add_completion=False)
        application.command(name)(module.command)
    command = typer.main.get_command(application)
    parts = getattr(command, "commands", None)
    if not parts:
        return _one(f"fedopt {name}", command, level=2)
    heading = f"## fedopt {name}\n\n{line}"
    return "\n\n".join([heading, *(_one(f"fedopt {name} {part}", parts[part], level=3) for part in parts)])


def _one(name: str, command: Any, level: int) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if _is_shown_option(p)]
    usage = " ".join([name, *(_placeholder(p) for p in arguments), "[OPTIONS]"])
    lines = [f"{'#' * level} {name}", "", _prose(command.help or ""), "", f"`{usage}`", ""]
    if arguments or options:
        lines += ["| | |", "|---|---|"]
        lines += [f"| `{_placeholder(p).strip('[]')}` | {_cell(p.help or '')} |" for p in arguments]
        lines += [
            f"| {_flags(p)} | {_cell(p.help or '')}{_default(p)} |" for p in options if p.name != "help"
        ]
    return "\n".join(lines)


def _is_shown_option(parameter: Any) -> bool:
    return (
        parameter.param_type_name == "option"
        and parameter.name != "help"
        and not getattr(parameter, "hidden", False)
    )


def _prose(text: str) -> str:
    """Help text as Markdown: an `Example:` line becomes a block, the rest stays."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        body = " ".join(paragraph.split())
        found = re.match(r"Examples?: (.*)", body)
        if found:
            body = "```console\n" + "\n".join(f"$ {line}" for line in _example_lines(paragraph)) + "\n```"
        paragraphs.append(body)
    return "\n\n".join(paragraphs)


def _example_lines(paragraph: str) -> list[str]:
    """The command lines of an example; a line that begins with no command goes on with the one before."""
    lines: list[str] = []
    for line in re.sub(r"^\s*Examples?:\s*", "", paragraph).splitlines():
        if line.strip().startswith("fedopt ") or not lines:
            lines.append(line.strip())
        else:
            lines[-1] += f" {line.strip()}"
    return lines


def _placeholder(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name or "").upper()
    return name if parameter.required else f"[{name}]"


def _flags(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    takes = (
        ""
        if getattr(parameter, "is_flag", False)
        else f" {(parameter.metavar or parameter.name or '').upper()}"
    )
    return ", ".join(f"`{flag}{takes}`" for flag in names)


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is None or value is False or callable(value) or value == ():
        return ""
    return f" Default: `{value}`."


# --- formats --------------------------------------------------------------------------------------


def _schema(kind: str) -> str:
    from fedopt.instance.schema import schema

    document = schema(kind)
    definitions = {
        document.get("title", kind).split()[-1].capitalize(): document,
        **document.get("$defs", {}),
    }
    ordered = [name for name in definitions if definitions[name].get("type") == "object"]
    if kind == "instance":
        ordered.sort(key=lambda name: _section(name)[0])
    parts, last = [], -1
    for name in ordered:
        number, heading = _section(name) if kind == "instance" else (-1, "")
        if number != last:
            parts.append(f"## {heading}\n\n{SECTIONS[heading][1]}")
            last = number
        parts.append(_object(name, definitions[name], level=2 + (kind == "instance")))
    return "\n\n".join(parts)


SECTIONS = {
    "The whole": ("Instance Units", "What a file holds at its top level."),
    "Domains": ("Domain Offer Link", "Who serves: domains, what they offer, and the ways between them."),
    "Tenants": (
        "Tenant SLO Milestone Policy",
        "Who asks: identical tenants, their promise, and where they may go.",
    ),
    "Arrivals": (
        "Poisson Renewal Modulated SumOfArrivals TokenBucket OnOff ExponentialWork "
        "EnvelopeArrivals TraceArrivals",
        "How a tenant's work comes in: one of these under `arrivals`, told apart by `model`.",
    ),
    "Sizes": (
        "ExponentialSize ExponentialCut GammaSize UniformSize LognormalSize ParetoSize DiscreteSize",
        "The work of one request: a number, or one of these laws under `size`.",
    ),
    "Impairments": (
        "NoImpairment ExponentialImpairment GammaImpairment PoissonImpairment OnOffImpairment "
        "TableImpairment LearnedImpairment Ask",
        "Work with priority: one of these under `impairment`, told apart by `model`.",
    ),
    "Costs": ("Linear Quadratic Piecewise", "One of these under `cost`, told apart by `model`."),
}
"""The sections of the instance format: their documents and what they are about."""


def _section(name: str) -> tuple[int, str]:
    """The number and the heading of the section that a document belongs to."""
    plain = name.rpartition("arrivals__")[2].partition("__")[0]
    for number, (heading, (names, _)) in enumerate(SECTIONS.items()):
        if plain in names.split():
            return number, heading
    raise LookupError(f"the document {name} belongs to no section of the instance format")


def _object(name: str, definition: dict[str, Any], level: int = 2) -> str:
    required = set(definition.get("required", ()))
    model = definition.get("properties", {}).get("model", {}).get("const")
    plain = name.rpartition("arrivals__")[2].replace("__", " ").lower() if "__" in name else name
    title = f"({_anchor(name)})=\n{'#' * level} {plain}" + (f" (`model: {model}`)" if model else "")
    lines = [
        title,
        "",
        definition.get("description", ""),
        "",
        "| field | type | default | |",
        "|---|---|---|---|",
    ]
    for field, described in definition.get("properties", {}).items():
        if "default" in described:
            default = f"`{json.dumps(described['default'], ensure_ascii=False)}`"
        else:
            default = "required" if field in required else ""
        lines.append(
            f"| `{field}` | {_type(described)} | {default} | {_cell(described.get('description', ''))}"
            f"{_unit(described)} |"
        )
    return "\n".join(lines)


def _unit(described: dict[str, Any]) -> str:
    """The unit of a field, with an example of a quantity."""
    from fedopt.instance.quantities import EXAMPLES

    kinds = [kind.strip() for kind in described.get("x-unit", "").split(",") if kind]
    return f" *{', '.join(f'{kind}: `{EXAMPLES[kind]}`' for kind in kinds)}*" if kinds else ""


def _type(described: dict[str, Any]) -> str:
    if "x-unit" in described:
        described = {
            **described,
            "anyOf": [o for o in described.get("anyOf", []) if o.get("type") != "string"],
        }
    if "$ref" in described:
        name = described["$ref"].rsplit("/", 1)[1]
        plain = name.rpartition("arrivals__")[2].replace("__", " ").lower() if "__" in name else name
        return f"[{plain}](#{_anchor(name)})"
    if "const" in described:
        return f"`{json.dumps(described['const'])}`"
    if "enum" in described:
        return ", ".join(f"`{value}`" for value in described["enum"])
    for joined in ("oneOf", "anyOf", "allOf"):
        if joined in described:
            shown = [o for o in described[joined] if o.get("type") != "null" and o.get("pattern") != "[0-9]"]
            kinds = [_type(option) for option in shown]
            return " or ".join(dict.fromkeys(kinds))
    if described.get("type") == "array":
        inner = _type(described["items"]) if "items" in described else "values"
        return f"list of {inner}"
    kinds = described.get("type", "any")
    return kinds if isinstance(kinds, str) else " or ".join(kind for kind in kinds if kind != "null")


def _anchor(name: str) -> str:
    return f"format-{name.lower()}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- the agent's HTTP API -------------------------------------------------------------------------


def _agent(_: str) -> str:
    from fedopt.federated.transport.agent_server import openapi_document

    document = openapi_document()
    lines = ["## Routes", "", "| | | |", "|---|---|---|"]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            about = f"{route['summary']}. {_cell(route.get('description', ''))}"
            lines.append(f"| `{method.upper()}` | `{path}` | {about} |")
    schemas = document["components"]["schemas"]
    ordered = [name for name in schemas if schemas[name].get("type") == "object"]
    return "\n\n".join(["\n".join(lines), *(_object(name, schemas[name]) for name in sorted(ordered))])


# --- the service's HTTP API ----------------------------------------------------------------------

OWN_PAGES = {
    "Instance": "instance-format.md",
    "Plan": "plan-format.md",
    "ServiceIntent": "../how-to/operate.md",
}
"""Documents that have a page of their own."""


def _service(_: str) -> str:
    from fedopt.instance.schema import schema
    from fedopt.service.errors import CODES
    from fedopt.service.server import openapi_document

    document = openapi_document()
    schemas = document["components"]["schemas"]
    parts = ["## Routes"]
    for path, methods in document["paths"].items():
        parts += [_route(path, method, route) for method, route in methods.items()]
    codes = [f"| `{code}` | {status} | {_cell(words)} |" for code, (status, words) in CODES.items()]
    parts.append("\n".join(["## Errors", "", "| code | status | |", "|---|---|---|", *codes]))
    elsewhere = {name for kind in ("instance", "plan", "intent") for name in schema(kind)["$defs"]}
    wanted = set(schemas) - elsewhere - set(OWN_PAGES)
    parts += [
        _object(name, schemas[name]) for name in sorted(wanted) if schemas[name].get("type") == "object"
    ]
    text = "\n\n".join(parts)
    for name, page in OWN_PAGES.items():
        text = text.replace(f"(#{_anchor(name)})", f"({page})")
    return re.sub(r"\[(\w+)\]\(#format-(\w+)\)", lambda link: _known_link(link, wanted), text)


def _route(path: str, method: str, route: dict[str, Any]) -> str:
    """A route: what it does, its parameters, its body and its answers."""
    lines = [
        f"### {method.upper()} {path}",
        "",
        f"{route['summary']}. {_cell(route.get('description', ''))}",
        "",
    ]
    rows = []
    for parameter in route.get("parameters", []):
        if parameter["name"] == "x-correlator":
            continue
        schema = parameter["schema"]
        default = f" Default: `{schema['default']}`." if schema.get("default") is not None else ""
        words = f"{_cell(parameter.get('description', ''))}{default}"
        rows.append(f"| `{parameter['name']}` | {parameter['in']}, {_type(schema)} | {words} |")
    if body := route.get("requestBody"):
        schema = next(iter(body["content"].values())).get("schema", {})
        rows.append(f"| body | {_type(schema)} | {_cell(body.get('description', ''))} |")
    if rows:
        lines += ["| | | |", "|---|---|---|", *rows, ""]
    for status, answer in route["responses"].items():
        if status.startswith("2"):
            kinds = [_type(content.get("schema", {})) for content in answer.get("content", {}).values()]
            lines.append(f"{status}: {', '.join(kinds) or 'nothing'}. {_cell(answer['description'])}  ")
    refused = {status for status in route["responses"] if not status.startswith("2")}
    lines.append(f"Refused with {', '.join(sorted(refused))}.")
    return "\n".join(lines)


def _known_link(link: re.Match[str], wanted: set[str]) -> str:
    return link[0] if link[1] in wanted else f"[{link[1]}](plan-format.md)"


# --- models ---------------------------------------------------------------------------------------


def _models(_: str) -> str:
    import ast

    folder = Path(__file__).resolve().parents[2] / "models"
    parts = []
    for file in sorted(folder.glob("*.py")):
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        parts.append(f"## {file.stem}\n\n```text\n{docstring}\n```")
    return "\n\n".join(parts)
