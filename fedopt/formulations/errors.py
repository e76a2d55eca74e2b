"""What is raised where a model file cannot work."""

from __future__ import annotations

from fedopt.errors import InputError

__all__ = ["ModelError"]


class ModelError(InputError):
    """A model file, or a use of one, that cannot work; the message says what to change."""
