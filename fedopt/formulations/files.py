"""Finding model files: by name among those that come with fedopt, or by a path that the user states."""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import fedopt
from fedopt.formulations.errors import ModelError

__all__ = ["available", "find", "folder", "load"]

REQUIRED = ("build", "solve", "extract")


def folder() -> Path:
    """Where the model files lie: inside the installed package, or `models/` of a checkout.

    Raises ModelError where there are none.
    """
    package = Path(fedopt.__file__).resolve().parent
    for place in (package / "_models", package.parent / "models"):
        if place.is_dir() and any(place.glob("*.py")):
            return place
    raise ModelError(f"no model files were found in {package / '_models'}; reinstall fedopt")


def available() -> list[tuple[str, str, Path]]:
    """(name, first line of its docstring, path) of every model file that comes with fedopt; runs nothing."""
    found = []
    for path in sorted(folder().glob("*.py")):
        if not path.stem.startswith("_"):
            found.append((path.stem, _first_line(path), path))
    return found


def find(name_or_path: str) -> Path:
    """The file of a model name, or the path itself where it ends in ``.py`` or has a folder in it.

    Raises ModelError for an unknown name, with the nearest one, and for a path that is no file.
    """
    if name_or_path.endswith(".py") or "/" in name_or_path or "\\" in name_or_path:
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise ModelError(f"there is no model file {name_or_path!r}")
        return path
    names = {name: path for name, _, path in available()}
    if name_or_path in names:
        return names[name_or_path]
    near = difflib.get_close_matches(name_or_path, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ModelError(
        f"there is no model {name_or_path!r}; {hint}There are {', '.join(names)}, or the path of a .py file"
    )


def load(name_or_path: str) -> ModuleType:
    """Run a model file and return it as a module with `build`, `solve` and `extract`.

    Only the file that was named is run. Raises ModelError where it fails, naming the line, or lacks a
    function.
    """
    path = find(name_or_path).resolve()
    key = f"fedopt_model_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(key, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        del sys.modules[key]
        raise ModelError(f"{path}: needs the package {error.name!r}, which is not installed") from error
    except BaseException as error:
        del sys.modules[key]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ModelError(f"{path}{_line(error, path)}: {type(error).__name__}: {error}") from error
    missing = [name for name in REQUIRED if not callable(getattr(module, name, None))]
    if missing:
        raise ModelError(f"{path}: a model file defines {', '.join(REQUIRED)}; missing: {', '.join(missing)}")
    return module


def _first_line(path: Path) -> str:
    try:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError, UnicodeDecodeError, ValueError) as error:
        return f"(cannot be read: {error})"
    return docstring.partition("\n")[0]


def _line(error: BaseException, path: Path) -> str:
    """ ":12" where line 12 of the model file is at fault."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f":{error.lineno}"
    line = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line
