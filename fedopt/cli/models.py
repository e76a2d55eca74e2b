"""The model files that come with fedopt, a line each."""

from __future__ import annotations

from fedopt.cli._options import Json, Out, Quiet
from fedopt.cli._output import emit


def command(json: Json = False, out: Out = None, quiet: Quiet = False) -> None:
    """The model files that come with fedopt, a line each; any of them solves by its name.

    Example: fedopt models
    """
    from fedopt.formulations import available

    found = available()
    width = max((len(name) for name, _, _ in found), default=0)
    rows = [{"name": name, "summary": line, "path": str(path)} for name, line, path in found]
    emit(
        rows,
        "\n".join(f"{name:<{width}}  {line}" for name, line, _ in found),
        json=json,
        out=out,
        quiet=quiet,
    )
