"""What the golden results hold: documents of the command line, reduced to the numbers that a reader acts on.

`python -m tests.golden.runs NAME` prints one group as JSON; `--record` writes all of them to `results/`.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fedopt.cli import run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
INSTANCES = ("quickstart", "tandem", "tight", "metro-llm", "abilene", "city", "germany50", "infeasible")
METHODS = (
    ("central", "minplus"),
    ("central", "split"),
    ("central", "paper-path"),
    ("central", "paper-local"),
    ("admm", "minplus"),
    ("bundle", "minplus"),
)


ENTRY = (
    "id",
    "count",
    "admitted",
    "path",
    "reservations",
    "deadlines",
    "budgets",
    "log_bound",
    "cost",
    "milestones",
)
AUDIT = ("verdict", "samples", "threshold", "exceedances", "shape", "scale", "quantiles", "violation")


def command(*arguments: object) -> Any:
    """The JSON document that a command prints, or its exit code where it prints none."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        code = run([str(argument) for argument in arguments] + ["--json", "-q"])
    text = stream.getvalue()
    return json.loads(text) if text.strip() else {"exit": code}


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ENTRY if entry.get(key) is not None}


def _plan(plan: dict[str, Any]) -> dict[str, Any]:
    kept = {key: plan.get(key) for key in ("status", "objective", "cost", "lower_bound")}
    return kept | {"tenants": [_entry(entry) for entry in plan.get("tenants", [])]}


def instance(name: str, methods: tuple[tuple[str, str], ...] = METHODS) -> dict[str, Any]:
    """The plans of a shipped instance under every method and guarantee, or some."""
    file = ROOT / "instances" / f"{name}.yaml"
    return {
        f"{method} {guarantee}": _plan(command("solve", file, "--method", method, "--guarantee", guarantee))
        for method, guarantee in methods
    }


def _telemetry(folder: Path) -> Iterator[tuple[str, Path, float]]:
    """Delays of four kinds: their name, a file and a promised delay."""
    random = np.random.default_rng(20_261)
    light = random.gamma(2.0, 2.0, 20_000)
    heavy = 3.0 * (random.pareto(3.0, 20_000) + 1.0)
    walk = np.empty(20_000)
    wait = 0.0
    pairs = zip(random.exponential(0.7, 20_000), random.exponential(1.0, 20_000), strict=True)
    for n, (service, gap) in enumerate(pairs):
        wait = max(wait - gap, 0.0) + service
        walk[n] = wait
    for name, delays, deadline in (("gamma", light, 20.0), ("pareto", heavy, 30.0), ("queue", walk, 16.0)):
        file = folder / f"{name}.csv"
        file.write_text("delay\n" + "\n".join(f"{delay:.9f}" for delay in delays) + "\n")
        yield name, file, deadline


def audits() -> dict[str, Any]:
    """Audits of generated delays."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, file, deadline in _telemetry(Path(folder)):
            audit = command("audit", file, "--deadline", deadline, "--epsilon", 1e-3)
            found[name] = {key: audit[key] for key in AUDIT if key in audit}
    return found


def decompositions() -> dict[str, Any]:
    """Splits of an SLA that are learned from a generated history."""
    random = np.random.default_rng(7)
    rows = ["domain,delay,throughput,accepted"]
    scales = {"edge": 20.0, "core": 8.0, "cloud": 15.0}
    for _ in range(600):
        name = ("edge", "core", "cloud")[random.integers(3)]
        delay, rate = random.uniform(1.0, 60.0), random.uniform(0.1, 1.0)
        accepts = random.random() < 1.0 / (1.0 + np.exp(-(delay / scales[name] - 1.5 - rate)))
        rows.append(f"{name},{delay:.6f},{rate:.6f},{int(accepts)}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "history.csv"
        file.write_text("\n".join(rows) + "\n")
        return {
            model: command("decompose", file, "--sla", "delay=100,throughput=0.5", "--model", model)
            for model in ("convex", "logistic")
        }


def settlements() -> dict[str, Any]:
    """The settlement of a plan by an audit of its tenants' generated delays."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, plan, audit = ROOT / "instances" / "tight.yaml", folder / "plan.json", folder / "audit.json"
        run(["solve", str(file), "--out", str(plan), "-q"])
        random = np.random.default_rng(3)
        tenants = [entry["id"] for entry in json.loads(plan.read_text())["tenants"]]
        lines = ["tenant,delay"]
        for tenant in dict.fromkeys(tenants):
            lines += [f"{tenant},{delay:.6f}" for delay in random.gamma(2.0, 1.5, 8_000)]
        (folder / "telemetry.csv").write_text("\n".join(lines) + "\n")
        run(["audit", str(folder / "telemetry.csv"), "--plan", str(plan), "--instance", str(file),
             "--out", str(audit), "-q"])  # fmt: skip
        found = command("settle", plan, "--instance", file, "--audit", audit)
        return {key: value for key, value in found.items() if key != "salt"}


def day() -> dict[str, Any]:
    """A short day of operation."""
    with tempfile.TemporaryDirectory() as folder:
        scenario = ROOT / "instances" / "scenarios" / "quick-day.yaml"
        found = command("operate", scenario, "--state", Path(folder) / "day.sqlite")
        return {"runs": found["runs"], "trade_off": found["trade_off"]}


GROUPS: dict[str, Callable[[], dict[str, Any]]] = {
    **{name: (lambda name=name: instance(name)) for name in INSTANCES},  # type: ignore[misc]
    "llm-first-token": lambda: instance("llm-first-token", (("central", "minplus"),)),
    "audits": audits,
    "decompositions": decompositions,
    "settlements": settlements,
    "day": day,
}


def main(arguments: list[str]) -> None:
    """Print one group, or record all or the named ones."""
    record = "--record" in arguments
    names = [name for name in arguments if name != "--record"] or list(GROUPS)
    for name in names:
        text = json.dumps(GROUPS[name](), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        if record:
            (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
        else:
            print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
