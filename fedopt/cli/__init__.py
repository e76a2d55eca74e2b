"""The command line: one thin file per command, found by its name and imported only when it is invoked.

A module `fedopt/cli/<command>.py` (`import_.py` for `import`) exports `command`, a function annotated for
typer, or `app`, a `typer.Typer` for a group of commands. The first line of its docstring is its line in
`fedopt --help`.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

import fedopt

DONE = 0
DEFECT = 1
BAD_INPUT = 2
INFEASIBLE = 3
LIMIT = 4
BROKEN = 5

SIGNALLED = 130
"""What typer returns for an interrupt that reached it."""

HELP = (
    "Plans federated AI services under tail-latency contracts: guarantees that are theorems, costs that "
    "carry certificates.\n\nExample: fedopt solve instances/quickstart.yaml"
)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line in this process and return its exit code; nothing but a signal escapes."""
    lost: list[KeyboardInterrupt] = []
    sys.unraisablehook, before = _keeping_interrupts(lost, sys.unraisablehook), sys.unraisablehook
    try:
        outcome = _application(arguments)(list(arguments), prog_name="fedopt", standalone_mode=False)
    except SystemExit as exit_request:
        if isinstance(exit_request.__context__, BrokenPipeError):  # click ends with 1 then
            _close_stdout()
            return DONE
        return _code_of(exit_request)
    except (KeyboardInterrupt, typer.Abort):
        _complain("Interrupted before there was a result.")
        return LIMIT
    except BrokenPipeError:
        _close_stdout()
        return DONE
    except Exception as error:
        if lost and not isinstance(getattr(error, "exit_code", None), int):  # it failed because of that
            _complain("Interrupted before there was a result.")
            return LIMIT
        return _report(error, as_json="--json" in arguments)
    finally:
        sys.unraisablehook = before
    if outcome == SIGNALLED:
        _complain("Interrupted before there was a result.")
        return LIMIT
    return outcome if isinstance(outcome, int) else DONE


def command_lines() -> dict[str, str]:
    """Every command with its one-line help, in alphabetical order; nothing is imported for it."""
    here = Path(__file__).parent
    lines = {}
    for file in sorted(here.glob("*.py")):
        if not file.stem.startswith("_"):
            docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            lines[file.stem.rstrip("_").replace("_", "-")] = docstring.partition("\n")[0]
    return lines


def _application(arguments: Sequence[str]) -> typer.Typer:
    """The application for one command line: the invoked command is real, the others carry only their help."""
    application = typer.Typer(
        name="fedopt",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        # rich would leave out the colours alone; plain text is what is asked for
        rich_markup_mode=None if "NO_COLOR" in os.environ else "rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    application.callback(help=HELP)(_top)
    invoked = next((argument for argument in arguments if not argument.startswith("-")), None)
    completing = "_FEDOPT_COMPLETE" in os.environ
    for name, line in command_lines().items():
        if name == invoked or completing:
            _register(application, name, line)
        else:
            application.command(name, help=line)(_stub(name))
    return application


def _register(application: typer.Typer, name: str, line: str) -> None:
    module = import_module(f"fedopt.cli.{_module_name(name)}")
    if hasattr(module, "app"):
        own = module.app.info.help
        help = own if isinstance(own, str) else line
        application.add_typer(module.app, name=name, help=help, short_help=line, no_args_is_help=True)
    else:
        application.command(name)(module.command)


def _module_name(name: str) -> str:
    stem = name.replace("-", "_")
    return stem if (Path(__file__).parent / f"{stem}.py").exists() else f"{stem}_"


def _stub(name: str) -> Callable[[], None]:
    def stub() -> None:
        raise RuntimeError(f"the command {name!r} was listed but not loaded")

    return stub


def _print_version(asked: bool) -> None:
    if asked:
        print(fedopt.__version__)
        raise typer.Exit()


def _top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, help="Print the version and exit.", is_eager=True),
    ] = False,
) -> None:
    """Options of the bare command; they act through their callbacks."""


def _keeping_interrupts(
    lost: list[KeyboardInterrupt], before: Callable[[sys.UnraisableHookArgs], Any]
) -> Callable[[sys.UnraisableHookArgs], Any]:
    """A hook that keeps interrupts which fell into a library's callback, where Python can only print them."""

    def hook(args: sys.UnraisableHookArgs) -> Any:
        if isinstance(args.exc_value, KeyboardInterrupt):
            lost.append(args.exc_value)
        else:
            before(args)

    return hook


def _report(error: Exception, as_json: bool) -> int:
    """Say what went wrong in one message; the exit code is the error's own, or that of a defect.

    With `as_json` the document on stdout is the error: message, kind, exit code, and the problems of an
    instance one by one.
    """
    if os.environ.get("FEDOPT_DEBUG"):
        import traceback

        traceback.print_exc()
    code = getattr(error, "exit_code", None)
    show = getattr(error, "show", None)
    message = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        code, message = BAD_INPUT, f"{error.filename2 or error.filename}: {error.strerror}"
    elif not isinstance(code, int):
        code, message = (
            DEFECT,
            f"This is a defect of fedopt: {type(error).__name__}: {error}\n"
            "Please report it with the input file and the output of the same command under FEDOPT_DEBUG=1.",
        )
    elif callable(show):  # usage errors know how to show themselves
        format_message = getattr(error, "format_message", None)
        message = format_message() if callable(format_message) else message
    if as_json:
        problems = [asdict(problem) for problem in getattr(error, "problems", ())]
        document = {"message": message, "kind": type(error).__name__, "exit_code": code}
        if problems:
            document["problems"] = problems
        print(json.dumps({"error": document}, indent=2, ensure_ascii=False))
    if callable(show):
        show()
    else:
        _complain(message)
    return code


def _complain(message: str) -> None:
    print(message, file=sys.stderr)


def _code_of(exit_request: SystemExit) -> int:
    if isinstance(exit_request.code, int):
        return exit_request.code
    if exit_request.code is None:
        return DONE
    _complain(str(exit_request.code))
    return DEFECT


def _close_stdout() -> None:
    """After the reader has gone: keep the interpreter from failing again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
