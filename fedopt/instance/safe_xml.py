"""XML from anywhere: no entities of its own, nothing fetched, bounded size and depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from .errors import InstanceError, Problem

MAX_BYTES = 64_000_000
MAX_DEPTH = 100


def read_xml(path: Path) -> ElementTree.Element:
    """The root element of an XML file, its names without namespaces.

    Raises `InstanceError` for a file that cannot be read, is no XML, is too large or too deep, or declares
    entities (which could expand without bound, or name other files).
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise refused(path, f"cannot be read: {error.strerror}", "check the path") from None
    if len(content) > MAX_BYTES:
        raise refused(path, f"is larger than {MAX_BYTES // 1_000_000} MB", "give the file of one network")
    try:
        _inspect(content, path)
        root = ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise refused(path, f"is no valid XML: {error}", "give an SNDlib XML or a GraphML file") from None
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    return root


def _inspect(content: bytes, path: Path) -> None:
    """A first pass that keeps nothing and stops at what is not allowed."""
    parser = expat.ParserCreate()
    depth = 0

    def start(*_: Any) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise refused(path, f"is nested more than {MAX_DEPTH} levels deep", "give the file of a network")

    def end(*_: Any) -> None:
        nonlocal depth
        depth -= 1

    def entity(*_: Any) -> NoReturn:
        raise refused(path, "declares entities", "write out the text that they stand for")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.EntityDeclHandler = parser.UnparsedEntityDeclHandler = entity
    parser.Parse(content, True)


def refused(path: Path, message: str, remedy: str) -> InstanceError:
    """The error for a file that cannot be used."""
    return InstanceError([Problem("", message, remedy)], source=str(path))
