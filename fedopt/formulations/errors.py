"""What is raised where a model file cannot work."""

from __future__ import annotations

__all__ = ["ModelError"]


class ModelError(ValueError):
    """A model file, or a use of one, that cannot work; the message says what to change."""

    exit_code = 2
