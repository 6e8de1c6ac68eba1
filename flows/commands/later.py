"""Commands that are imported when one is called: a shell that completes a word, a list or a wrong word waits for none."""

from pkgutil import resolve_name
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


class Later(TyperCommand):
    """A command, or a group of commands, known by its name and its one line of help until it is used."""

    def __init__(self, name: str, place: str, help: str) -> None:
        """Import nothing yet.

        Args:
            name: as it is typed.
            place: `MODULE:NAME` of its function, or of the Typer of a group.
            help: what its own help says first, in one line.
        """
        super().__init__(name=name, help=help)
        self.place = place

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """A context of the command itself: what is called, asked for its help or completed from here on."""
        return self.command().make_context(info_name, args, parent=parent, **extra)

    def command(self) -> Any:
        """The command itself, imported."""
        found = resolve_name(self.place)
        alone = typer.Typer(callback=lambda: None, rich_markup_mode=None, pretty_exceptions_enable=False)
        if isinstance(found, typer.Typer):
            alone.add_typer(found, name=self.name)
        else:
            alone.command(self.name)(found)
        return get_group(alone).commands[str(self.name)]


def group_of(*commands: Later) -> type[TyperGroup]:
    """What a Typer takes as `cls`, to hold these commands in this order."""

    class Group(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            for command in commands:
                self.add_command(command)

    return Group


def no_options() -> None:
    """What a group that takes no options of its own is called by: without it, Typer takes the group for empty."""
