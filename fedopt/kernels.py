"""How fedopt compiles: one decorator for loops, one for formulas, a clock that compilation does not move.

`kernel` compiles a function when it is first called; it is for loops over long arrays. `formula` is for the
functions of one path that planning calls: it runs them in the interpreter until compiling pays, so that a
first plan need not wait for code that it hardly uses. Machine code is kept on disk, beside the sources or,
where they cannot be written, in the user's cache folder.

The environment variable FEDOPT_KERNELS overrides the choice for formulas: "tiered" (default), "compiled"
(at the first call, as kernels) or "interpreted" (never).
"""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, cached_property, partial
from hashlib import sha256
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
import platformdirs
from numba import njit, types
from numba.core import event
from numba.core.caching import FunctionCache, NullCache
from numba.extending import typeof_impl

from fedopt.storage import write_atomically

__all__ = ["COMPILE_SECONDS", "Formula", "clock", "compile_seconds", "formula", "kernel"]

COMPILE_SECONDS = 0.05
"""What compiling a formula takes for each formula that it can reach, roughly: their code is linked into it
and optimised again. A formula is compiled once the interpreter has spent as long on it, without what it
calls, as compiling would take: nobody waits more than twice as long as who knew in advance."""


class _CompileTime(event.Listener):
    """Seconds in which at least one thread has been compiling."""

    def __init__(self) -> None:
        self.total, self.since, self.depth = 0.0, 0.0, 0
        self.lock = threading.Lock()

    def on_start(self, event: Any) -> None:
        with self.lock:
            if self.depth == 0:
                self.since = time.perf_counter()
            self.depth += 1

    def on_end(self, event: Any) -> None:
        with self.lock:
            self.depth -= 1
            if self.depth == 0:
                self.total += time.perf_counter() - self.since

    def seconds(self) -> float:
        with self.lock:
            running = time.perf_counter() - self.since if self.depth else 0.0
            return self.total + running


_compiling = _CompileTime()
event.register("numba:compile", _compiling)


class _Callers(threading.local):
    """The formulas that a thread is interpreting, outermost first: seconds in what each has called so far."""

    def __init__(self) -> None:
        self.times: list[float] = []


_callers = _Callers()


def compile_seconds() -> float:
    """Seconds that this process has spent compiling so far."""
    return _compiling.seconds()


def clock() -> float:
    """A monotonic clock in seconds that stands still while kernels are compiled.

    Limits and reported times are measured with it: compiling happens once per installation and belongs to
    no solve.
    """
    return time.perf_counter() - _compiling.seconds()


def kernel(function: Callable[..., Any] | None = None, *, cache: bool = True, **options: Any) -> Any:
    """Compile a function on first use and keep the machine code on disk.

    Division by zero gives inf or nan as numpy does, and the interpreter's lock is released. `options` go to
    `numba.njit`, for instance ``inline="always"`` or ``parallel=True``.
    """
    if function is None:
        return partial(kernel, cache=cache, **options)
    dispatcher = njit(**{"error_model": "numpy", "nogil": True, **options})(function)
    if cache:
        dispatcher._cache = _cache_of(function)
    return dispatcher


class _Cache(FunctionCache):
    """Machine code on disk that counts as long as nothing that is linked into it has changed.

    numba's own cache looks at the file of the function; what it calls is compiled into it and may stand in
    another one.
    """

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        self._stamp()
        return super()._load_overload(sig, target_context)

    def _save_overload(self, sig: Any, data: Any) -> None:
        self._stamp()
        super()._save_overload(sig, data)

    def _stamp(self) -> None:
        # not when the function is made: what it calls may be defined below it
        self._cache_file._source_stamp = source_stamp(self._py_func)
        try:
            self._cache_file._load_index()
        except Exception:  # damaged, or it names classes by modules that have moved: start over
            self.flush()


def _cache_of(function: Callable[..., Any]) -> Any:
    try:
        return _Cache(function)
    except RuntimeError:  # neither the sources' folder nor a home can be written
        folder = _fallback_folder()
        if folder is None:
            return NullCache()
        numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]
        return _Cache(function)


@cache
def source_stamp(function: Callable[..., Any]) -> str:
    """A digest of all that is compiled with a function: its code, what it calls, the constants they read."""
    digest = sha256()
    for one, made in _linked(function).items():
        options = sorted(getattr(made, "targetoptions", {}).items())
        read = [(name, _constant(value)) for name, value in _read_by(one) if not _source(value)]
        parts = (one.__module__, one.__qualname__, one.__defaults__, options, read, _code(one.__code__))
        digest.update(repr(parts).encode())
    return digest.hexdigest()


def _linked(function: Callable[..., Any]) -> dict[FunctionType, Any]:
    """The functions that are compiled with one, itself first, and what numba or `formula` made of each."""
    found: dict[FunctionType, Any] = {}
    waiting: list[Any] = [function]
    while waiting:
        one = waiting.pop()
        source = _source(one)
        if source is not None and source not in found:
            found[source] = one
            waiting += [value for _, value in _read_by(source)]
    return found


def _source(value: Any) -> FunctionType | None:
    source = getattr(value, "py_func", value)  # of what numba or `formula` made
    return source if isinstance(source, FunctionType) else None


def _read_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function reads from outside itself; attributes count as names, which is too many at worst."""
    names = sorted(_names(function.__code__))
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    known = {**function.__globals__, **{name: cell.cell_contents for name, cell in cells}}
    package = function.__module__.partition(".")[0]
    for name in names:
        value = known.get(name)
        if isinstance(value, ModuleType) and value.__name__.partition(".")[0] == package:
            for member in names:
                yield f"{name}.{member}", getattr(value, member, None)
        else:
            yield name, value


def _names(code: CodeType) -> set[str]:
    inner = [_names(one) for one in code.co_consts if isinstance(one, CodeType)]
    return {*code.co_names, *code.co_freevars}.union(*inner)


def _code(code: CodeType) -> tuple[Any, ...]:
    constants = [_code(one) if isinstance(one, CodeType) else _constant(one) for one in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, constants


def _constant(value: Any) -> Any:
    """What identifies a constant; of what cannot be one in compiled code, the type."""
    if isinstance(value, bool | int | float | complex | str | bytes | np.generic | np.dtype | None):
        return repr(value)
    if isinstance(value, tuple | list):
        return [_constant(one) for one in value]
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, type):
        return f"{value.__qualname__}{getattr(value, '_fields', '')}"
    return type(value).__qualname__


def _fallback_folder() -> str | None:
    """A folder of this user's where machine code may be kept, or None."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    for folder in (
        Path(platformdirs.user_cache_dir("fedopt")),
        Path(tempfile.gettempdir()) / f"fedopt-{user}",
    ):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
        except OSError:
            continue
        # code is loaded from it, so nobody else may have made it or may write to it
        own = not hasattr(os, "getuid") or (status.st_uid == user and not status.st_mode & 0o022)
        if own and os.access(folder, os.W_OK):
            return str(folder)
    return None


class Formula:
    """A function that is interpreted until it is worth compiling; called like the function itself.

    Compiled code may call it, and is then compiled together with it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.py_func = function
        self.__name__, self.__doc__, self.__module__ = (
            function.__name__,
            function.__doc__,
            function.__module__,
        )
        self.__qualname__, self.__wrapped__ = function.__qualname__, function
        self.calls, self.seconds = 0, 0.0
        self._dispatcher: Any = None
        self._mode = os.environ.get("FEDOPT_KERNELS", "tiered")
        self._known: set[str] = set()  # signatures whose machine code is on disk
        self._compiled = self._mode == "compiled"

    @property
    def compiled_here(self) -> bool:
        """Whether this process has machine code of it that no record names yet."""
        return self._dispatcher is not None and any(
            _signature(one) not in self._known for one in self._dispatcher.signatures
        )

    @property
    def dispatcher(self) -> Any:
        """What compiles it."""
        if self._dispatcher is None:
            self._dispatcher = kernel(self.py_func)
        return self._dispatcher

    def __call__(self, *args: Any) -> Any:
        if not self._compiled and self._mode == "tiered":
            self._decide(args)
        if not self._compiled:
            return self._interpret(args)
        callers = _callers.times
        if not callers:
            return self.dispatcher(*args)
        started = time.perf_counter()
        try:
            return self.dispatcher(*args)
        finally:
            callers[-1] += time.perf_counter() - started

    def _decide(self, args: tuple[Any, ...]) -> None:
        """Whether to compile it now: where that was done before, or the interpreter has been slow enough."""
        if self.calls == 0:
            self._read()
            if self._known and _signature(map(numba.typeof, args)) in self._known:
                self._compiled = True
        elif self.seconds > 4 * COMPILE_SECONDS and self.seconds > self._cost():
            self._compiled = True

    def _interpret(self, args: tuple[Any, ...]) -> Any:
        callers = _callers.times
        callers.append(0.0)
        started = time.perf_counter()
        self.calls += 1
        try:
            if len(callers) > 1:
                return self.py_func(*args)
            with np.errstate(all="ignore"):
                return self.py_func(*args)
        except (ArithmeticError, ValueError):
            # compiled code goes on with inf and nan where the interpreter raises
            self._compiled = True
            return self.dispatcher(*args)
        finally:
            passed = time.perf_counter() - started
            self.seconds += passed - callers.pop()  # without what it called
            if callers:
                callers[-1] += passed

    @cached_property
    def reach(self) -> frozenset[Formula]:
        """The formulas that it can call, itself included."""
        linked = _linked(self.py_func).values()
        return frozenset(one for one in linked if isinstance(one, Formula)) | {self}

    def _cost(self) -> float:
        """Seconds that compiling it is thought to take, with what it calls and is not compiled yet."""
        return COMPILE_SECONDS * sum(3 + len(one.reach) for one in self.reach if not one._compiled)

    def _record(self) -> Path | None:
        """The file that says which signatures are on disk; None where nothing is kept."""
        folder = self.dispatcher.stats.cache_path
        return Path(folder) / f"{self.__module__}.{self.__qualname__}.compiled" if folder else None

    def _stamp(self) -> str:
        return f"{numba.__version__} {sys.version_info[:3]} {source_stamp(self.py_func)}"

    def _read(self) -> None:
        """What earlier processes left: signatures on disk, seconds that were spent interpreting."""
        try:
            record = self._record()
            if record is not None:
                stamp, seconds, *signatures = record.read_text(encoding="utf-8").splitlines()
                if stamp == self._stamp():
                    self.seconds, self._known = float(seconds), set(signatures)
        except (OSError, ValueError):  # none, or not whole
            pass

    def note(self) -> None:
        """Remember on disk what is compiled and how long the interpreter has spent on it."""
        known = self._known | {_signature(one) for one in self.dispatcher.signatures}
        try:
            record = self._record()
            if record is not None:
                lines = [self._stamp(), f"{self.seconds:.3f}", *sorted(known)]
                write_atomically(record, "\n".join(lines) + "\n")
        except OSError:  # the next process starts over
            pass


def _signature(kinds: Any) -> str:
    return ", ".join(str(kind) for kind in kinds)


@typeof_impl.register(Formula)
def _(value: Formula, context: Any) -> Any:
    return types.Dispatcher(value.dispatcher)


_formulas: list[Formula] = []
_NOTEWORTHY = 0.05  # seconds


@atexit.register
def _note_all() -> None:
    for one in _formulas:
        if (one.seconds > _NOTEWORTHY and one.calls) or one.compiled_here:
            one.note()


def formula(function: Callable[..., Any]) -> Formula:
    """Interpret a function until it is worth compiling (see `Formula`)."""
    made = Formula(function)
    _formulas.append(made)
    return made
