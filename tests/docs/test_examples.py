"""Every example of the README and the documentation runs, page by page, from top to bottom."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from fedopt.cli import _application, command_lines
from fedopt.instance.yaml_text import read_yaml
from tests.docs.examples import ROOT, Block, blocks, commands, matches, pages

RUNNING = {page: [block for block in blocks(page) if block.runs] for page in pages()}
PAGES = [page for page, running in RUNNING.items() if not all(block.slow for block in running)]
SLOW_PAGES = [page for page, running in RUNNING.items() if any(block.slow for block in running)]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run([block for block in RUNNING[page] if not block.slow], tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW_PAGES, ids=_name)
def test_page_with_its_slow_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(RUNNING[page], tmp_path, monkeypatch)


def run(examples: list[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a page share one folder (with `instances` and `models` in it) and one Python namespace."""
    for name in ("instances", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    if "curl " in "".join(block.text for block in examples) and shutil.which("curl") is None:
        pytest.skip("this page needs curl")
    namespace: dict[str, object] = {"__name__": "__main__"}
    try:
        for block in on_free_ports(examples):
            run_block(block, namespace)
    finally:
        end_what_runs(tmp_path)


def on_free_ports(examples: list[Block]) -> list[Block]:
    """The blocks with the ports that a page names (184xx) moved to where nobody listens: several checkouts
    may be tested on one machine.
    """
    named = {int(port) for block in examples for port in re.findall(r"\b184\d\d\b", block.text)}
    if not named:
        return examples
    for base in random.Random(os.getpid()).sample(range(200, 320), 100):
        moved = {port: base * 100 + port - 18400 for port in named}
        if all(free(port + more) for port in moved.values() for more in range(3)):
            break
    return [
        replace(block, text=re.sub(r"\b184\d\d\b", lambda port: str(moved[int(port[0])]), block.text))
        for block in examples
    ]


def free(port: int) -> bool:
    """Whether nobody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def run_block(block: Block, namespace: dict[str, object]) -> None:
    """Run one block, or write it where it is a file."""
    if "files-of" in block.options:
        for other in blocks(ROOT / block.options["files-of"]):
            write_file(other)
    if "file" in block.options:
        write_file(block)
    elif block.language == "python":
        padding = "\n" * block.line
        exec(compile(padding + block.text, str(block.page), "exec"), namespace)
    elif block.language == "bash":
        result = run_command(["bash", "-euo", "pipefail", "-c", block.text])
        assert result.returncode == 0, f"{block.place}: {result.stdout}{result.stderr}"
    else:
        run_console(block)


def write_file(block: Block) -> None:
    """Write a block that is a file."""
    if "file" in block.options:
        Path(block.options["file"]).write_text(block.text, encoding="utf-8")


def end_what_runs(folder: Path) -> None:
    """End what a page that failed has left in the background; pages write its number to a file `*.pid`."""
    for file in folder.glob("*.pid"):
        with contextlib.suppress(ValueError, ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGTERM)


def run_console(block: Block) -> None:
    """Run the commands of a console block and compare exit codes and shown output."""
    todo = commands(block)
    for command in todo:
        expected = int(block.options.get("exit", 0)) if command is todo[-1] else 0
        result = run_command(command.line)
        said = (
            f"{block.place}: `{command.line}`: exit code {result.returncode}\n{result.stdout}{result.stderr}"
        )
        assert result.returncode == expected, said
        assert command.output is None or matches(command.output, result.stdout), said


def run_command(command: str | list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command line, or a program with its arguments, as a reader would in a plain terminal."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        command,
        shell=isinstance(command, str),
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )


SHOWN = [block for page in pages() for block in blocks(page) if "shown" in block.options or block.slow]
DOCUMENTS = [block for page in pages() for block in blocks(page) if "document" in block.options]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("block", [b for b in SHOWN if b.language == "console"], ids=lambda b: b.place)
def test_commands_that_are_only_shown_exist(block: Block) -> None:
    """They take long or change the reader's machine; so they do not run here, but would be understood."""
    for command in commands(block):
        words = shlex.split(command.line)
        if "|" in words:
            words, drawn = words[: words.index("|")], words[words.index("|") + 1 :]
            assert drawn[0] == "python", command.line
            assert (ROOT / drawn[1]).is_file(), command.line
        if words[0] == "fedopt" and "&" not in words:
            understood(words[1:])
        elif words[0] == "make":
            assert set(words[1:]) <= TARGETS, command.line
        elif words[:2] == ["pip", "install"]:
            assert words[2] == "." or set(re.findall(r"\[(\w+)\]", words[2])) & EXTRAS, command.line
        elif "shown" in block.options:
            assert command.line in KNOWN_OTHERS, command.line


KNOWN_OTHERS = ("python3 -m venv .venv && . .venv/bin/activate", ".ci/run")
"""Shown command lines that are nobody's but the reader's, or run this very test."""


def understood(words: list[str]) -> None:
    """The command and its options exist, and the values are of their kinds. Raises click's usage errors."""
    command = typer.main.get_command(_application(words))
    context = command.make_context("fedopt", list(words))
    while hasattr(command, "resolve_command"):  # a group: on to the command that is meant
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", [*pages(), ROOT / "SECURITY.md"], ids=_name)
def test_commands_named_in_the_text_exist(page: Path) -> None:
    """`fedopt solve --out` in a sentence names a command and its options, without their values."""
    for line in re.findall(r"`fedopt ([^`\n]+)`", page.read_text(encoding="utf-8")):
        words = line.split()
        command = typer.main.get_command(_application(words))
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        command = getattr(command, "commands", {}).get("run", command)  # what a group does without a word
        known = {"--help", *(name for parameter in command.params for name in parameter.opts)}
        assert command.name != "fedopt", f"{page.name}: there is no `fedopt {line}`"
        assert {word for word in words if word.startswith("-")} <= known, f"{page.name}: `fedopt {line}`"


@pytest.mark.parametrize("block", DOCUMENTS, ids=lambda b: b.place)
def test_documents_are_ones(block: Block) -> None:
    path, _, part = block.options["document"].partition("#")
    module, _, name = path.partition(":")
    kind = getattr(importlib.import_module(module), name)
    document = read_yaml(block.text)[0]
    for value in (
        [document] if not part else document[part] if isinstance(document[part], list) else [document[part]]
    ):
        kind.model_validate(value)


@pytest.mark.parametrize("name", command_lines())
def test_every_example_in_the_help_is_understood(name: str) -> None:
    for text in helps(typer.main.get_command(_application([name])).commands[name]):
        found = [
            re.sub(r"\s+", " ", line)
            for paragraph in re.findall(r"^\s*Examples?: (.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
            for line in re.split(r"\n\s*(?=fedopt )", paragraph)
        ]
        assert found, f"this help of fedopt {name} shows no example: {text}"
        for line in found:
            understood(shlex.split(line)[1:])


def helps(command: Any) -> list[str]:
    """The help of a command and of those below it."""
    below = getattr(command, "commands", {}).values()
    return [command.help or "", *(text for one in below for text in helps(one))]


def test_every_block_runs_is_checked_or_says_why_not() -> None:
    """What is left is YAML or JSON that shows a form beside text, and is marked as such."""
    left = [
        block.place
        for page in pages()
        for block in blocks(page)
        if not block.runs and not {"shown", "document"} & set(block.options) and block.language in RUNNABLE
    ]
    assert left == []


RUNNABLE = ("python", "console", "bash", "yaml", "json", "sh", "shell")


def test_extraction_sees_options_commands_and_output(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    console = "```console\n$ one \\\n  --two\nout ... end\n$ three\n```\n"
    page.write_text(f"text\n\n<!-- example: exit=3 -->\n{console}\n```python\nx = 1\n```\n")
    first, second = blocks(page)
    assert (first.options, first.line, first.runs) == ({"exit": "3"}, 4, True)
    assert [(c.line, c.output) for c in commands(first)] == [("one  --two", "out ... end"), ("three", None)]
    assert second.options == {}
    assert second.text == "x = 1\n"


def test_matching_ignores_spacing_and_ellipses() -> None:
    assert matches("cost  ...\nend", "cost 12.5 EUR\n  end\n")
    assert not matches("cost 12", "cost 13")
