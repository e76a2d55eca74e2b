"""The golden results: what fedopt answered before a change, it answers after it.

Each group runs in a process of its own, so that nothing solved earlier can matter. A change that is meant
to alter results records them anew (`python -m tests.golden.runs --record`), visibly in its own commit.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.golden.runs import GROUPS, RESULTS, ROOT

EXACT = 1e-9
SEARCHED = 1e-6
"""Relative: optima of searches end within their own tolerance, all else to rounding."""
UNSEARCHED = ("audits", "decompositions", "day")


def differences(before: Any, after: Any, tolerance: float, place: str = "") -> list[str]:
    """Where two documents differ: keys, lengths, words, and numbers beyond a relative tolerance."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in before if key in after]
        found = [f"{place}.{key}: only on one side" for key in sorted(set(before) ^ set(after))]
        return found + [
            line for key in keys for line in differences(before[key], after[key], tolerance, f"{place}.{key}")
        ]
    if isinstance(before, list) and isinstance(after, list):
        found = [] if len(before) == len(after) else [f"{place}: {len(before)} and {len(after)} entries"]
        pairs = enumerate(zip(before, after, strict=False))
        return found + [
            line for n, (old, new) in pairs for line in differences(old, new, tolerance, f"{place}[{n}]")
        ]
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    same = math.isclose(before, after, rel_tol=tolerance, abs_tol=1e-12) if numbers else before == after
    return [] if same else [f"{place}: {before} and {after}"]


def test_differences_are_seen() -> None:
    before = {"cost": 1.0, "tenants": [{"id": "a", "rate": 2.0}]}
    assert differences(before, {"cost": 1.0 + 1e-12, "tenants": [{"id": "a", "rate": 2.0}]}, EXACT) == []
    for after in (
        {"cost": 1.0 + 1e-8, "tenants": [{"id": "a", "rate": 2.0}]},
        {"cost": 1.0, "tenants": [{"id": "b", "rate": 2.0}]},
        {"cost": 1.0, "tenants": [{"id": "a", "rate": 2.0}] * 2},
        {"cost": 1.0, "tenants": [{"id": "a"}]},
        {"cost": math.nan, "tenants": [{"id": "a", "rate": 2.0}]},
    ):
        assert len(differences(before, after, EXACT)) == 1


@pytest.mark.parametrize("name", list(GROUPS))
def test_results_are_what_they_were(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden.runs", name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    tolerance = EXACT if name in UNSEARCHED else SEARCHED
    found = differences(before, json.loads(done.stdout), tolerance, name)
    assert not found, "\n".join(found[:40])
