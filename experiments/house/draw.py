"""Draws docs/house.png: the rooms of kd_lab on the floors that CI enforces, and what imports what.

    python experiments/house/draw.py docs/house.png

Floors are the layers of import-linter's contract in pyproject.toml; imports are read from the code by grimp, which
import-linter stands on. An arrow that a longer way over other rooms implies is left out.
"""

import sys
import tomllib
from pathlib import Path

import grimp
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[2]
PACKAGE = "kd_lab"
WIDE, GAP, HIGH, FLOOR = 100.0, 1.5, 0.5, 1.25
"""Of the picture, between two rooms, a room's height, and from one floor to the next."""

Place = tuple[float, float, float]
"""Of a room: left, bottom, width."""


def floors() -> list[list[str]]:
    """The rooms of each layer, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    return [layer.split(" | ") for layer in layers]


def lines(room: str) -> int:
    """Of code, docstrings among them."""
    folder = ROOT / PACKAGE / room
    files = folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
    return sum(len(file.read_text().splitlines()) for file in files)


def arrows(rooms: list[str]) -> dict[tuple[str, str], int]:
    """How many imports of files lead from one room straight into another, but for what a longer way implies."""
    graph, found = grimp.build_graph(PACKAGE), dict[tuple[str, str], int]()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            ends = tuple((f"{module}." + "?").split(".")[1] for module in (importer, imported))
            if ends[0] != ends[1] and set(ends) <= set(rooms):
                found[ends] = found.get(ends, 0) + 1
    return {ends: count for ends, count in found.items() if not any(_over(ends, room, found) for room in rooms)}


def _over(ends: tuple[str, str], between: str, found: dict[tuple[str, str], int]) -> bool:
    return (ends[0], between) in found and (between, ends[1]) in found


def places(rooms: list[list[str]]) -> dict[str, Place]:
    """Each floor in the middle, its rooms as wide as the root of their lines, and as their names."""
    found: dict[str, Place] = {}
    for number, floor in enumerate(rooms):
        widths = [max(1.2 + 0.85 * len(room), lines(room) ** 0.5 / 4.6) for room in floor]
        left = (WIDE - sum(widths) - GAP * (len(floor) - 1)) / 2
        for room, width in zip(floor, widths, strict=True):
            found[room] = (left, -number * FLOOR, width)
            left += width + GAP
    return found


def draw(target: Path) -> None:
    """The picture."""
    rooms = floors()
    where = places(rooms)
    figure, axes = plt.subplots(figsize=(13, 0.95 * len(rooms)))
    for (above, below), count in arrows([room for floor in rooms for room in floor]).items():
        (left, high, wide), (to_left, low, to_wide) = where[above], where[below]
        axes.annotate(
            "",
            xy=(to_left + to_wide / 2, low + HIGH),
            xytext=(left + wide / 2, high),
            arrowprops={"arrowstyle": "-|>", "color": "#6b7a90", "lw": 0.5 + count / 40, "alpha": 0.75, "shrinkB": 0},
            zorder=1,
        )
    for room, (left, bottom, width) in where.items():
        kind = "#dbe7f3" if (ROOT / PACKAGE / room).is_dir() else "#f1ece0"
        axes.add_patch(plt.Rectangle((left, bottom), width, HIGH, fc=kind, ec="#33445a", lw=0.8, zorder=2))
        middle = left + width / 2
        axes.text(middle, bottom + 0.31, room, ha="center", va="center", fontsize=9, weight="bold", zorder=3)
        axes.text(middle, bottom + 0.12, f"{lines(room):,}", ha="center", va="center", fontsize=7.5, zorder=3)
    every = sum(lines(room) for room in where)
    told = f"{PACKAGE}: {every:,} lines; a room imports from lower floors only; an arrow for imports, thick for many"
    axes.text(0, HIGH + 0.35, told, fontsize=9, color="#33445a")
    axes.set(xlim=(-1, WIDE + 1), ylim=(-(len(rooms) - 1) * FLOOR - 0.2, HIGH + 0.7))
    axes.axis("off")
    figure.savefig(target, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
