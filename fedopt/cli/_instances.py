"""How commands that make an instance hand it over."""

from __future__ import annotations

from pathlib import Path

from fedopt.cli._output import emit, say
from fedopt.instance import Instance, dump, dumps


def hand_over(instance: Instance, *, out: Path | None, json: bool, quiet: bool, header: str = "") -> None:
    """Write the instance to `out` by its suffix, or print it: as YAML, or with `json` as JSON."""
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
