"""The frame: finding commands, help, exit codes, what becomes of errors."""

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

import fedopt
from fedopt.cli import command_lines, run


def test_every_command_has_a_line_and_help_with_an_example(capsys):
    lines = command_lines()
    assert {"solve", "check", "compare", "explain", "inspect"} <= set(lines)
    for name, line in lines.items():
        assert line, name
        assert run([name, "--help"]) == 0
        assert f"fedopt {name}" in " ".join(capsys.readouterr().out.split()), name


def test_help_lists_every_command_without_importing_any(capsys):
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in command_lines():
        assert name in shown
    code = "import sys, fedopt.cli; fedopt.cli.run(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stderr.split()
    assert "fedopt.cli" in loaded
    assert not [name for name in loaded if name.split(".")[0] in ("numpy", "numba", "pydantic", "networkx")]


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"{fedopt.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["slove"], "Did you mean"),
        (["solve"], "Missing argument"),
        (["solve", "x", "--gap", "wide"], "--gap"),
        (["solve", "x", "--surprise"], "--surprise"),
        ([], "Usage"),
    ],
)
def test_bad_usage_is_exit_2(arguments, message, capsys):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err + captured.out


class Refusal(Exception):
    exit_code = 2


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Refusal("not this one"), 2, "not this one\n"),
        (
            OSError(28, "No space left on device", "/x/plan.json"),
            2,
            "/x/plan.json: No space left on device\n",
        ),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), 4, "Interrupted"),
        (SystemExit(7), 7, ""),
        (SystemExit(None), 0, ""),
        (SystemExit("words"), 1, "words\n"),
    ],
)
def test_errors_become_one_message_and_a_code(error, code, message, monkeypatch, capsys, metro):
    module = importlib.import_module("fedopt.cli.inspect")

    def broken(file: str) -> None:
        raise error

    monkeypatch.setattr(module, "command", broken)
    assert run(["inspect", str(metro)]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_an_interrupt_that_fell_into_a_librarys_callback_is_no_defect(monkeypatch, capsys, metro):
    module = importlib.import_module("fedopt.cli.inspect")

    def broken(file: str) -> None:
        sys.unraisablehook(SimpleNamespace(exc_value=KeyboardInterrupt()))
        raise RuntimeError("no compiled object yet")

    before = sys.unraisablehook
    monkeypatch.setattr(module, "command", broken)
    assert run(["inspect", str(metro)]) == 4
    assert capsys.readouterr().err == "Interrupted before there was a result.\n"
    assert sys.unraisablehook is before


def test_debug_shows_the_traceback(monkeypatch, capsys):
    module = importlib.import_module("fedopt.cli.inspect")

    def broken() -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(module, "command", broken)
    monkeypatch.setenv("FEDOPT_DEBUG", "1")
    assert run(["inspect"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_group_of_commands_is_found(monkeypatch, capsys):
    import typer

    module = importlib.import_module("fedopt.cli.inspect")
    app = typer.Typer()

    @app.command()
    def first(word: str) -> None:
        """Say a word. Example: fedopt inspect first word"""
        print(word)

    @app.command()
    def second() -> None:
        """Say nothing."""

    monkeypatch.setattr(module, "app", app, raising=False)
    assert run(["inspect", "first", "hello"]) == 0
    assert capsys.readouterr().out == "hello\n"


def test_completion_knows_every_command(monkeypatch, capsys):
    monkeypatch.setenv("_FEDOPT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "fedopt sol")
    monkeypatch.setenv("COMP_CWORD", "1")
    run([])
    assert "solve" in capsys.readouterr().out
