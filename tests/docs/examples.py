"""Finds the examples of a Markdown page: fenced `python`, `console`, `bash` and `yaml` blocks.

A block runs unless an HTML comment right above it says otherwise:

    <!-- example: file=NAME -->      write the block to NAME instead of running it
    <!-- example: exit=3 -->         the last command of the block ends with this exit code
    <!-- example: slow -->           run by `make validate`, which takes its time
    <!-- example: shown -->          not run, since it takes long or would change the reader's machine; its
                                     command lines must exist
    <!-- example: document=MODULE:CLASS#PART -->
                                     a YAML block that this class must accept, whole or the named part of it
    <!-- example: files-of=PAGE -->  the files of another page are written first

`yaml` and `json` blocks run only as files. A `bash` block is one script, which must succeed. In a console
block, lines that begin with "$ " are commands and what follows is their output; `...` stands for any text.
Output that is not shown is not compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_MARK = re.compile(r"^<!--\s*example:\s*(.*?)\s*-->$")
_FENCE = re.compile(r"^(`{3,})(\w[\w-]*)\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, text, options of the comment above it, and the line of its fence."""

    page: Path
    line: int
    language: str
    text: str
    options: dict[str, str]

    @property
    def runs(self) -> bool:
        """Whether the block is an example that runs (or a file that one needs)."""
        wanted = self.language in ("python", "console", "bash") or "file" in self.options
        return wanted and "shown" not in self.options

    @property
    def slow(self) -> bool:
        """Whether the example takes longer than a fast test may."""
        return "slow" in self.options

    @property
    def place(self) -> str:
        """Page and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a console block and the output shown below it (None where none is)."""

    line: str
    output: str | None


def pages() -> list[Path]:
    """The Markdown pages of the repository that may hold examples."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md") if (ROOT / name).exists()]
    return top + sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    options: dict[str, str] = {}
    at = 0
    while at < len(lines):
        text = lines[at].strip()
        mark, fence = _MARK.match(text), _FENCE.match(text)
        if mark:
            options = dict((part.partition("=")[::2]) for part in mark.group(1).split())
        elif fence:
            start, indent = at, len(lines[at]) - len(lines[at].lstrip())
            at += 1
            while lines[at].strip() != fence.group(1):
                at += 1
            body = "\n".join(line[indent:] for line in lines[start + 1 : at]) + "\n"
            yield Block(page, start + 1, fence.group(2), body, options)
            options = {}
        elif text:
            options = {}
        at += 1


def commands(block: Block) -> list[Command]:
    """The commands of a console block with the output shown for each."""
    found: list[tuple[str, list[str]]] = []
    continued = False
    for line in block.text.splitlines():
        if continued:
            command, output = found[-1]
            found[-1] = (command[:-1] + " " + line.strip(), output)
        elif line.startswith("$ "):
            found.append((line[2:].split("  # ")[0].rstrip(), []))
        elif found:
            found[-1][1].append(line)
        continued = not found[-1][1] and found[-1][0].endswith("\\")
    return [Command(command, "\n".join(output).strip() or None) for command, output in found]


def matches(shown: str, actual: str) -> bool:
    """Whether output equals what a page shows, up to spacing; `...` matches any text."""
    parts = [re.escape(" ".join(part.split())) for part in shown.split("...")]
    return re.fullmatch(r"\s*.*\s*".join(parts), " ".join(actual.split())) is not None
