"""Figures as files and as SVG inside of a page: without addresses, without names that clash, in the page's own ink."""

import html
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

from kd_lab.outside.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG_DPI = 200
NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
INK = "#000000"


def settle(figure: "Figure") -> None:
    """Lay the figure out now, once for all of its files: that takes longer than drawing it."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def save(figure: "Figure", folder: Path, name: str) -> None:
    """Write NAME.png and NAME.svg, on white."""
    figure.savefig(folder / f"{name}.png", dpi=PNG_DPI)
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def inline(figure: "Figure", name: str, title: str) -> str:
    """The figure as an SVG element for a page, see the module; black becomes the colour of the text around it.

    Args:
        figure: what to draw.
        name: a prefix for the ids, unlike that of any other figure of the page; letters and underscores.
        title: what it shows, for those who cannot see it.
    """
    text = io.StringIO()
    # Text stays text: a page can be searched and read aloud.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata=NO_METADATA)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(INK, "currentColor")
    box = re.search(r'viewBox="[^"]+"', svg)
    assert box is not None, "matplotlib always writes a view box"
    label = html.escape(visible(title))
    opening = f'<svg {box[0]} preserveAspectRatio="xMinYMid" role="img" aria-label="{label}">'
    return opening + svg[svg.index(">") + 1 :]
