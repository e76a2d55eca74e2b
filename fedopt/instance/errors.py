"""What is wrong with an instance: every problem with its place and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedopt.errors import FedoptError

SHOWN = 50
"""Problems that the text of an error lists; `InstanceError.problems` holds all of them."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `place` is where, as a path into the document (`tenants[3].slo.epsilon`), empty for the whole of it;
    `message` says what is wrong, `remedy` what would make it right; `line` is the line of the file, if known.
    """

    place: str
    message: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        line = "" if self.line is None else f"line {self.line}"
        where = f"{self.place} ({line})" if self.place and line else self.place or line
        return (f"{where}: " if where else "") + f"{self.message}\n    → {self.remedy}"


class InstanceError(FedoptError):
    """An instance that cannot be used; lists all the problems found, not only the first.

    `problems` holds them, `source` names the file or text they are in. The command line ends with
    `exit_code` 2 (bad input) when it meets this error.
    """

    exit_code = 2

    def __init__(self, problems: Iterable[Problem], source: str = "instance") -> None:
        self.problems: list[Problem] = list(problems)
        self.source = source
        super().__init__(self.source, self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.source}: {count} problem{'' if count == 1 else 's'}"
        lines = [head, *(f"  {problem}" for problem in self.problems[:SHOWN])]
        if count > SHOWN:
            lines.append(f"  … and {count - SHOWN} more")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[type[InstanceError], tuple[list[Problem], str]]:
        return type(self), (self.problems, self.source)


def near_miss(name: object, known: Iterable[str]) -> str | None:
    """The known name that `name` most likely stands for, or None."""
    names = list(known)
    if not isinstance(name, str) or len(name) > 200 or len(names) > 20_000:
        return None
    by_fold = {candidate.casefold(): candidate for candidate in names}
    found = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else None


def choice_remedy(name: object, known: Sequence[str], what: str) -> str:
    """A remedy for an unknown name: the near miss if there is one, else the names to choose from."""
    guess = near_miss(name, known)
    if guess is not None:
        return f"did you mean {guess!r}?"
    if not known:
        return f"there is no {what} to refer to; leave it out or add one"
    shown = ", ".join(repr(candidate) for candidate in known[:12])
    return f"use one of {shown}" + (", …" if len(known) > 12 else "")
