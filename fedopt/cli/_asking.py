"""A group of commands one of which is meant where none is named: `fedopt agent CONFIG`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ["DefaultsTo"]


class DefaultsTo(TyperGroup):
    """A group whose first argument may be left out; `DefaultsTo.the(NAME)` makes the class for one.

    With `bare` the command is meant by the group's name alone, too; otherwise that shows the help.
    """

    default_command = ""
    bare = False

    @classmethod
    def the(cls, name: str, bare: bool = False) -> type[TyperGroup]:
        """The group in which NAME is what is meant."""
        return type(f"DefaultsTo_{name}", (cls,), {"default_command": name, "bare": bare})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the default command in front where the first word is no command."""
        asks_help = any(word in ("--help", "-h") for word in args[:1])
        if (args or self.bare) and not asks_help and (not args or args[0] not in self.commands):
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)
