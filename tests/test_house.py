"""What the repository promises about itself: one version, one complete lock, one place for every room."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import grimp
import networkx as nx
import yaml

import fedopt

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]).lower()


def test_every_dependency_is_locked() -> None:
    metadata = PROJECT["project"]
    wanted = [*metadata["dependencies"], *PROJECT["build-system"]["requires"]]
    for group in (metadata["optional-dependencies"], PROJECT["dependency-groups"]):
        wanted += [requirement for members in group.values() for requirement in members]
    locked = {_name(line) for line in LOCK.splitlines() if line and not line[0].isspace()}
    assert {_name(requirement) for requirement in wanted} - {
        "fedopt"
    } <= locked  # the extra `all` names itself


def test_the_lock_pins_hashes_and_names_no_index() -> None:
    pins = re.split(r"\n(?=\S)", LOCK.strip())
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)
    assert not re.search(r"https?:|file:|--index|--find-links|^-", LOCK, re.MULTILINE)


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == fedopt.__version__
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "fedopt/__init__.py"


def test_every_room_has_its_place_in_the_import_order() -> None:
    contract, *_ = PROJECT["tool"]["importlinter"]["contracts"]
    placed = {room.strip("() ") for layer in contract["layers"] for room in layer.split("|")}
    rooms = {
        path.stem for path in (ROOT / "fedopt").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))
    }
    assert rooms - {"__init__"} <= placed


def test_no_files_import_each_other_in_a_circle() -> None:
    built = grimp.build_graph("fedopt", exclude_type_checking_imports=True, cache_dir=None)
    imports = nx.DiGraph(
        (importer, imported)
        for importer in built.modules
        for imported in built.find_modules_directly_imported_by(importer)
    )
    circles = [
        " → ".join([*(start for start, _ in circle), circle[0][0]])
        for part in nx.strongly_connected_components(imports)
        if len(part) > 1
        for circle in [nx.find_cycle(imports.subgraph(part))]
    ]
    assert not circles, "\n".join(circles)


def test_check_meets_the_methods_only_in_the_calculus() -> None:
    """`check` computes costs, loads and policy itself: what solvers add up wrongly is found."""
    built = grimp.build_graph("fedopt", cache_dir=None)
    for module in ("plan.charges", "pricing", "central", "federated", "formulations", "explain", "solve"):
        assert (
            built.find_shortest_chain("fedopt.plan.checking", f"fedopt.{module}", as_packages=True) is None
        ), module
    for module in ("fedopt.plan.checking", "fedopt.plan.policy"):
        assert "fedopt.instance.graph" not in built.find_modules_directly_imported_by(module)
