"""The console: names are text in all that it draws."""

import io
import itertools
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

import kd_lab
from kd_lab.outside.console import PlainConsole, console

EVIL = "[/b] [red]mine[/] :smile: \x1b[2J\x9b31m\r\u202e"
TOLD = "[/b] [red]mine[/] :smile: \\x1b[2J\\x9b31m\\x0d\\u202e"


def table(text: str) -> Table:
    drawn = Table(text, title=text, caption=text)
    drawn.add_row(text)
    drawn.add_row(Text(text))
    return drawn


DRAWN = {
    "a string": (lambda text: text, 1),
    "a table": (table, 5),
    "text": (Text, 1),
    "inside of others": (lambda text: Panel(Group(text, Text(text))), 2),
    "a tree": (Tree, 1),
}


@pytest.mark.parametrize("drawn", DRAWN)
def test_console__every_name_as_it_is_and_no_control_character(drawn: str) -> None:
    make, count = DRAWN[drawn]
    out = io.StringIO()
    PlainConsole(file=out, width=120).print(make(EVIL))
    text = out.getvalue()
    # Rich itself leaves the carriage return away where a caller has made it a Text.
    assert text.count(TOLD) + text.count(TOLD.replace("\\x0d", "")) == count
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_console__a_row_with_escapes_is_as_wide_as_the_others() -> None:
    out = io.StringIO()
    PlainConsole(file=out, width=120).print(table(f"name {EVIL}"))
    assert len({len(row) for row in out.getvalue().splitlines() if row.startswith(("│", "┃"))}) == 1


@pytest.mark.parametrize("kind", ["status", "live", "progress"])
def test_console__on_a_terminal__only_the_controls_of_rich(kind: str) -> None:
    out = io.StringIO()
    screen = PlainConsole(file=out, width=120, force_terminal=True, color_system=None)
    if kind == "status":
        with screen.status(EVIL):
            pass
    elif kind == "live":
        with Live(table(EVIL), console=screen):
            pass
    else:
        with Progress(TextColumn("{task.description}", markup=False), console=screen) as bar:
            bar.add_task(EVIL)
    text = out.getvalue()
    assert "\\x1b[2" in text
    assert "[red]mine[/] :smile:" in text
    assert "\x1b[2J" not in text
    assert "\x9b" not in text
    assert "\x1b[?25l" in text  # the cursor is hidden: Rich's own controls go through


@pytest.mark.parametrize("stderr", [False, True])
def test_console__in_a_pipe__120_columns_on_the_right_stream(stderr: bool, capsys: pytest.CaptureFixture[str]) -> None:
    console(stderr=stderr).print("x" * 130)
    said = capsys.readouterr()
    assert (said.err if stderr else said.out).splitlines() == ["x" * 120, "x" * 10]
    assert (said.out if stderr else said.err) == ""


EXITS = {
    r"(?<![A-Za-z])Console\(": "",
    r"\bmarkup=": "outside/console.py training/callbacks/progress.py",
    r"\.to_csv\(": "outside/text.py",
}


@pytest.mark.parametrize("pattern", EXITS)
def test_exits__nobody_goes_around_them(pattern: str) -> None:
    root = Path(kd_lab.__file__).parent
    found = [file.relative_to(root).as_posix() for file in root.rglob("*.py") if re.search(pattern, file.read_text())]
    assert sorted(found) == EXITS[pattern].split()


PARTS = ["[", "[/", "[b]", "[link=http://x]", "]", "/]", "\\[", "@click=x()", "\x1b]8;;http://x\x1b\\"]


@pytest.mark.parametrize("name", list(map("".join, itertools.product(PARTS, repeat=2))), ids=ascii)
def test_console__any_markup__no_traceback_and_no_control(name: str) -> None:
    out = io.StringIO()
    PlainConsole(file=out, width=80).print(table(name))
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().count(name.replace("\x1b", "\\x1b")) >= 5


@pytest.mark.parametrize(("term", "expected"), [("xterm", b"False"), ("dumb", b"True")])
def test_narrated__on_a_terminal_that_shows_no_bar(term: str, expected: bytes) -> None:
    ours, theirs = pty.openpty()
    code = "from kd_lab.outside.console import narrated; print(narrated())"
    environment = os.environ | {"TERM": term}
    command = [sys.executable, "-c", code]
    subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, check=True)
    os.close(theirs)
    assert os.read(ours, 100).strip() == expected
    os.close(ours)
