"""Versions, cache and threads of this installation, for reports of defects and for tuning."""

from __future__ import annotations

from fedopt.cli._options import Json, Quiet
from fedopt.cli._output import emit


def command(json: Json = False, quiet: Quiet = False) -> None:
    """Versions, cache and threads of this installation, for reports of defects and for tuning.

    Example: fedopt info
    """
    facts = _facts()
    lines = [f"{name:<12} {_words(value)}" for name, value in facts.items()]
    emit(facts, "\n".join(lines), json=json, quiet=quiet)


def _facts() -> dict[str, object]:
    import importlib.metadata
    import os
    import platform
    import sys
    from pathlib import Path

    import numba

    import fedopt

    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    package = Path(fedopt.__file__).resolve().parent
    cache = getattr(numba.config, "CACHE_DIR", "")
    kernels = Path(cache) if cache else package
    compiled = sum(1 for _ in kernels.rglob("*.nbc"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "fedopt": fedopt.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "folder": str(package),
        "libraries": {name: version(name) for name in LIBRARIES if version(name)},
        "missing": [name for name in EXTRAS if version(name) is None],
        "kernels": f"{compiled} compiled, in {kernels}",
        "cores": cores,
        "threads": getattr(numba.config, "NUMBA_NUM_THREADS", cores),
    }


LIBRARIES = (
    "numpy",
    "scipy",
    "numba",
    "highspy",
    "clarabel",
    "cvxpy",
    "pyomo",
    "networkx",
    "pydantic",
    "pint",
)
EXTRAS = (
    "cryptography",
    "fastapi",
    "jax",
    "matplotlib",
    "jinja2",
    "pandas",
    "pyarrow",
    "pyscipopt",
    "distributed",
)
"""A library of each optional part; those that are not installed are told."""


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value)
