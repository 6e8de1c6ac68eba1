"""The two streams that a person sees, on which names are data. Imports nothing but rich, so that a list starts at once."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from data_specs.wording import printable


class LiteralConsole(Console):
    """A console on which names are data: no markup is read, and nothing in a text steers the terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """See `Console`; cells of tables come here to be measured, too."""
        return super().render_str(_literal(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """See `Console`."""
        for text, style, control in super().render(renderable, options):
            # Styles and the moves of progress bars are rich's own; they are in style and control.
            yield Segment(text if control else _literal(text), style, control)


def _literal(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


screen = LiteralConsole(stderr=True)
output = LiteralConsole()
