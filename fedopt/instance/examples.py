"""The instances that come with fedopt, from a checkout or an installed wheel."""

from __future__ import annotations

from pathlib import Path

__all__ = ["examples", "shipped"]


def examples() -> dict[str, Path]:
    """The files of the instances that come with fedopt, by name.

    Returns
    -------
    dict of str to Path
        Such as ``{"quickstart": …, "metro-llm": …}``; `fedopt.load` and `fedopt.solve` take the paths.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_instances", package.parent / "instances"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def shipped(path: Path) -> Path | None:
    """The example that a path such as `instances/quickstart.yaml` or `quickstart` means, if there is one."""
    if path.suffix not in ("", ".yaml") or str(path.parent) not in (".", "instances"):
        return None
    return examples().get(path.stem)
