"""The only Rich console of kd-lab: what it prints is text, whatever names are in it."""

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from kd_lab.outside.text import visible

WIDTH_WITHOUT_TERMINAL = 120


class PlainConsole(Console):
    """Neither markup nor emoji nor highlights, and no control character but Rich's own.

    Names from stores and command lines are in tables, titles and spinners; a `[/b]` in one would end in a traceback.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render_str(self, text: str, **how: Any) -> Text:
        """Escapes first, so that tables leave room for them."""
        return super().render_str(visible(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """All that is drawn comes through here, text that was never a string too."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def status(self, status: RenderableType, **how: Any) -> Status:
        """Rich reads markup in the text of a spinner, whatever its console says."""
        return super().status(Text(visible(status)) if isinstance(status, str) else status, **how)


def console(*, stderr: bool = False) -> PlainConsole:
    """The console; output that goes into a file or a pipe is not squeezed into Rich's 80 columns."""
    found = PlainConsole(stderr=stderr)
    return found if found.is_terminal else PlainConsole(stderr=stderr, width=WIDTH_WITHOUT_TERMINAL)


def narrated() -> bool:
    """Whether what goes on is told line by line: where the output is kept, or the terminal shows no bar (TERM=dumb)."""
    return not (sys.stdout.isatty() and sys.stderr.isatty()) or PlainConsole().is_dumb_terminal
