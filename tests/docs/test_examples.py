"""Every example of the README and the documentation runs, page by page, from top to bottom."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
        for block in examples:
            run_block(block, namespace)
    finally:
        end_what_runs(tmp_path)


def run_block(block: Block, namespace: dict[str, object]) -> None:
    """Run one block, or write it where it is a file."""
    if "file" in block.options:
        Path(block.options["file"]).write_text(block.text, encoding="utf-8")
    elif block.language == "python":
        padding = "\n" * block.line
        exec(compile(padding + block.text, str(block.page), "exec"), namespace)
    elif block.language == "bash":
        result = run_command(["bash", "-euo", "pipefail", "-c", block.text])
        assert result.returncode == 0, f"{block.place}: {result.stdout}{result.stderr}"
    else:
        run_console(block)


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
