"""How commands read the instances and plans that they are given, and hand over the instances they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedopt.cli._output import emit, fail, say

if TYPE_CHECKING:
    from fedopt.instance import Instance
    from fedopt.plan import Plan

BAD_INPUT = 2


def read_instance(path: Path) -> Instance:
    """The instance of a file; `quickstart` and `instances/quickstart.yaml` mean a shipped one anywhere."""
    from fedopt.instance import load

    return load(found(path))


def found(path: Path) -> Path:
    """The path itself, or the shipped example that it names where there is no such file."""
    from fedopt.instance.reading import shipped

    if not path.exists() and (example := shipped(path)) is not None:
        say(f"{path}: taken from {example.parent}, which comes with fedopt")
        return example
    return path


def read_pair(plan: Path, instance: Path) -> tuple[Plan, Instance]:
    """A plan and the instance that it is for, whichever of the two is named first.

    Ends the command with exit code 2 where the plan was made for another instance.
    """
    decided, document = read_both(plan, instance)
    assert document is not None
    if decided.instance.sha256 != document.sha256:
        fail(BAD_INPUT, f"{plan} was made for another instance than {instance} (their checksums differ)")
    return decided, document


def read_both(plan: Path, instance: Path | None) -> tuple[Plan, Instance | None]:
    """A plan, and an instance where one is given, whichever of the two is named first."""
    from fedopt.plan import Plan
    from fedopt.plan.inspecting import looks_like_plan

    if instance is not None and looks_like_plan(instance) and not looks_like_plan(plan):
        say(f"took {instance} for the plan and {plan} for the instance: they were named the other way round")
        plan, instance = instance, plan
    decided = Plan.load(plan)
    return decided, None if instance is None else read_instance(instance)


def hand_over(instance: Instance, *, out: Path | None, json: bool, quiet: bool, header: str = "") -> None:
    """Write the instance to `out` by its suffix, or print it: as YAML, or with `json` as JSON."""
    from fedopt.instance import dump, dumps

    if out is not None:
        dump(instance, out, header)
        if not quiet:
            heads = sum(tenant.count for tenant in instance.tenants)
            size = f"{len(instance.stages)} stages, {len(instance.domains)} domains, {heads} tenants"
            say(f"wrote {out}: {size}")
    if json:
        emit(instance, "", json=True)
    elif out is None:
        emit(instance, dumps(instance, "yaml", header).rstrip("\n"))
