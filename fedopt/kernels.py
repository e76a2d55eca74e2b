"""The one decorator of compiled functions, so that how fedopt compiles is decided in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

__all__ = ["kernel"]


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function on first use and keep the machine code on disk.

    Division by zero gives inf or nan as numpy does, and the interpreter's lock is released. `options` go to
    `numba.njit`, for instance ``inline="always"`` or ``parallel=True``.
    """
    settings = {"cache": True, "error_model": "numpy", "nogil": True, **options}
    return njit(**settings) if function is None else njit(**settings)(function)
