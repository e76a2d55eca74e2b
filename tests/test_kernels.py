"""Formulas: interpreted until it pays, the same results either way, kept for the next process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numba
import pytest

from fedopt import kernels
from fedopt.kernels import Formula, clock, compile_seconds, formula, kernel

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def tiered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDOPT_KERNELS", "tiered")


def _halved(x: float) -> float:
    return 1.0 / x


def _sum(n: int) -> float:
    total = 0.0
    for i in range(1, n + 1):
        total += halved(i)
    return total


halved = formula(_halved)


def test_interpreted_at_first_and_compiled_when_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    summed = Formula(_sum)
    exact = sum(1.0 / i for i in range(1, 101))
    assert summed(100) == pytest.approx(exact, rel=1e-15)
    assert not summed.dispatcher.signatures
    monkeypatch.setattr(kernels, "COMPILE_SECONDS", 0.0)
    summed.seconds = 1.0
    assert summed(100) == pytest.approx(exact, rel=1e-15)
    assert summed.dispatcher.signatures  # and the formula that it calls was compiled with it


def test_cost_counts_what_is_called_and_not_compiled() -> None:
    # three each, one more for every formula that can be reached: itself, and what it calls
    expected = (3 + 1 if not halved._compiled else 0) + 3 + 2
    assert Formula(_sum)._cost() == pytest.approx(expected * kernels.COMPILE_SECONDS)


def test_where_the_interpreter_raises_compiled_code_goes_on() -> None:
    assert Formula(_halved)(0.0) == float("inf")


def test_kernels_may_call_formulas() -> None:
    @kernel(cache=False)
    def twice(x: float) -> float:
        return 2.0 * halved(x)

    assert twice(4.0) == 0.5


def test_the_clock_stands_still_while_something_is_compiled() -> None:
    slow: Any = numba.njit(lambda x: x * 3.0 + 1.0)
    before, at, real = compile_seconds(), clock(), time.perf_counter()
    slow(1.0)
    compiled = compile_seconds() - before
    passed, elapsed = clock() - at, time.perf_counter() - real
    assert compiled > 0.0
    assert passed == pytest.approx(elapsed - compiled, abs=1e-3)


MODULE = """
from fedopt.kernels import formula

def _squares(n):
    total = 0.0
    for i in range(n):
        total += i * i
    return total

squares = formula(_squares)
"""


def test_the_next_process_finds_what_was_compiled(tmp_path: Path) -> None:
    (tmp_path / "counted.py").write_text(MODULE)

    def process(body: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "import counted\n" + textwrap.dedent(body)],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": f"{tmp_path}:{ROOT}",
                "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    assert process("counted.squares(10); print(counted.squares._compiled)") == "False"
    assert process("counted.squares.seconds = 9.0; counted.squares(10); counted.squares.calls") == ""
    # nine seconds of interpreting were not noted, since it was never interpreted; compile it now
    assert process("f = counted.squares; f.calls = 1; f.seconds = 9.0; f(10); print(f._compiled)") == "True"
    compiled = "from fedopt.kernels import compile_seconds; counted.squares(10)\n"
    found = process(
        compiled + "print(counted.squares._compiled, counted.squares.dispatcher.stats.cache_hits)"
    )
    assert found.startswith("True")
    assert "(int64,): 1" in found
    # another version of the source starts over
    (tmp_path / "counted.py").write_text(MODULE.replace("i * i", "i * i * i"))
    assert process("counted.squares(10); print(counted.squares._compiled)") == "False"


CALLEE = """
from fedopt.kernels import kernel

FACTOR = 2.0

@kernel
def scaled(x):
    return FACTOR * x
"""
CALLER = """
import parts.lower
from fedopt.kernels import formula, kernel
from parts.lower import scaled

@formula
def between(x):
    return scaled(x) + 1.0

@kernel
def direct(x):
    return between(x)

@kernel
def dotted(x):
    return parts.lower.scaled(x)
"""
PRINTED = """
from fedopt.kernels import source_stamp
from parts.upper import direct, dotted
stamps = [source_stamp(one.py_func) for one in (direct, dotted)]
print(direct(3.0), *direct.stats.cache_hits.values(), *stamps)
"""


def test_machine_code_on_disk_follows_what_is_called_from_another_file(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "upper.py").write_text(CALLER)
    seen: set[str] = set()

    def run(source: str) -> list[str]:
        (folder / "lower.py").write_text(source)
        done = subprocess.run(
            [sys.executable, "-B", "-c", PRINTED],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "NUMBA_CACHE_DIR": str(tmp_path / "c")},
            capture_output=True,
            text=True,
            check=True,
        )
        *found, one, other = done.stdout.split()
        seen.update((one, other))
        return found

    assert run(CALLEE) == ["7.0"]
    assert run(CALLEE + "\n# a comment changes nothing\n") == ["7.0", "1"]
    assert len(seen) == 2
    assert run(CALLEE.replace("2.0", "5.0")) == ["16.0"]  # a constant of the callee's file
    assert run(CALLEE.replace("FACTOR * x", "FACTOR - x")) == ["0.0"]  # its code
    assert run(CALLEE.replace("@kernel", "@kernel(fastmath=True)")) == ["7.0"]  # how it is compiled
    assert len(seen) == 8


def test_an_index_that_cannot_be_read_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert kernel(_halved)(2.0) == 0.5
    (index,) = tmp_path.rglob("*.nbi")
    for damaged in (
        pickle.dumps(numba.__version__) + b"cgone.module\nClass\n.",  # names a module that has moved
        pickle.dumps(numba.__version__) + b"\x80",
    ):
        index.write_bytes(damaged)
        again = kernel(_halved)
        assert again(4.0) == 0.25
        assert not again.stats.cache_hits
        found = kernel(_halved)
        assert found(4.0) == 0.25
        assert sum(found.stats.cache_hits.values()) == 1


def test_where_neither_sources_nor_home_can_be_written(tmp_path: Path) -> None:
    code = """
    import numba.core.caching as caching
    for name in ("InTreeCacheLocator", "UserWideCacheLocator"):
        getattr(caching, name).from_function = classmethod(lambda cls, function, file: None)
    import counted
    from fedopt.kernels import kernel
    print(kernel(counted._squares)(3), counted.squares(3))
    """
    (tmp_path / "counted.py").write_text(MODULE)
    for cache in (tmp_path / "cache", Path("/proc/nowhere")):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{tmp_path}:{ROOT}",
                "XDG_CACHE_HOME": str(cache),
                "TMPDIR": str(tmp_path),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["5.0", "5.0"]
    assert list((tmp_path / "cache" / "fedopt").rglob("*.nbi"))
    assert list(tmp_path.glob("fedopt-*/**/*.nbi"))
