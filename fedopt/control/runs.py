"""Runs of a scenario: each policy, and each weight V, from where the state file left off to the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedopt.control.loop import Run
from fedopt.control.policies import check_policy
from fedopt.control.scenario import Budgets, Scenario, scenario_for
from fedopt.control.store import Store
from fedopt.instance import Instance

__all__ = ["identity_of", "operate", "run_name"]

Watcher = Callable[[str, int, int, Mapping[str, Any]], bool | None]
"""Told run, period, periods and the period's row; a true answer stops after this period."""


def operate(
    scenario: Scenario,
    instance: Instance,
    store: Store,
    *,
    policies: Sequence[str] = ("fedopt",),
    weights: Sequence[float] = (),
    seed: int = 0,
    threads: int | None = None,
    watch: Watcher | None = None,
) -> None:
    """Run a scenario under each policy, from where the state file left off to the end.

    weights: values of V; for each of them fedopt's loop is run with the scenario's budgets (or those of
    `Budgets` where it has none) as a run of its own, "fedopt V=…".
    Every period is written in one transaction. The state after period k depends on scenario, instance, seed
    and policy alone, not on threads, nor on how often the run was interrupted. Raises InstanceError,
    PolicyError, StateError.
    """
    scenario_for(scenario, instance)
    chosen = [(name, check_policy(name), scenario) for name in policies]
    for v in weights:
        budgets = (scenario.budgets or Budgets(v=v)).model_copy(update={"v": v})
        chosen.append((run_name(v), check_policy("fedopt"), scenario.model_copy(update={"budgets": budgets})))
    for name, policy, its in chosen:
        run = Run(its, instance, policy, store, seed, threads, name)
        while run.period < scenario.periods:
            row = run.step()
            if watch is not None and watch(name, run.period, scenario.periods, row):
                return


def run_name(v: float) -> str:
    """The name of a run at a weight V of its own."""
    return f"fedopt V={v:g}"


def identity_of(scenario: Scenario, instance: Instance, seed: int) -> dict[str, str]:
    """What a state file must say to be this scenario's."""
    text = json.dumps(scenario.to_dict() | {"instance": instance.sha256}, sort_keys=True, ensure_ascii=False)
    return {
        "scenario": scenario.name,
        "scenario_sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
        "instance_sha256": instance.sha256,
        "periods": str(scenario.periods),
        "seed": str(seed),
    }
