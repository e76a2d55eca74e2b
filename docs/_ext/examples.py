"""Where the notebooks find the repository's instances, whatever folder they run in."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def instance(name: str) -> Path:
    """The file of a ready instance."""
    return ROOT / "instances" / f"{name}.yaml"
