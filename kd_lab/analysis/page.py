"""A comparison as one self-contained page that answers it, with its figures as files beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kd_lab.analysis.curves import curves as read_curves
from kd_lab.analysis.figures.learning import shown_students
from kd_lab.analysis.gallery import Exhibit, Material, gallery, reliable_runs
from kd_lab.analysis.headline import headline
from kd_lab.analysis.inline_svg import inline, save
from kd_lab.analysis.made import made as how_made
from kd_lab.analysis.page_tables import costs, results
from kd_lab.analysis.predictions import predictions_of
from kd_lab.names import ARTIFACT_PAGE, TRAIN_LOSS_TOTAL, VAL_ACCURACY_TOP1
from kd_lab.outside.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kd_lab.analysis.comparison import Comparison

WIDE_INCHES = 8.0
TALL = 1.2


def page_of(comparison: "Comparison", uri: str, folder: Path, command: str, *, files: bool = True) -> Path:
    """Read what the figures need beside the comparison, and write the page.

    Args:
        comparison: what is told.
        uri: the store that its runs are in.
        folder: where the files go; made if it is not there.
        command: what the user typed, for the page to say.
        files: whether every figure is written as PNG and SVG too.

    Raises:
        UserError: the store cannot be read.
    """
    students = comparison.students
    shown = shown_students(students)
    runs = [*shown["student_run"], *shown["baseline_run"].dropna()]
    key = VAL_ACCURACY_TOP1
    curves = read_curves(runs, key, uri)
    if curves.empty:
        key = TRAIN_LOSS_TOTAL
        curves = read_curves(runs, key, uri)
    predictions = predictions_of([i for ids in reliable_runs(students).values() for i in ids], uri)
    made = how_made(students, uri, command)
    return write_page(comparison, curves, folder, made=made, curves_key=key, predictions=predictions, files=files)


def write_page(
    comparison: "Comparison",
    curves: pd.DataFrame,
    folder: Path,
    *,
    made: Mapping[str, str],
    curves_key: str = VAL_ACCURACY_TOP1,
    predictions: Mapping[str, pd.DataFrame] | None = None,
    files: bool = True,
) -> Path:
    """Write comparison.html, and every figure as a file beside it.

    Args:
        comparison: what is told.
        curves: what `kd_lab.analysis.curves.curves` returned for the students and baselines.
        folder: where the files go; made if it is not there.
        made: how the runs were made, by name of the fact; `study` is the title.
        curves_key: which metric `curves` holds.
        predictions: by run id, what `kd_lab.analysis.predictions.predictions_of` returned.
        files: whether every figure is written as PNG and SVG too.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    of = comparison.students, comparison.arms, comparison.metric
    exhibits = gallery(Material(*of, curves, curves_key, predictions or {}))
    for exhibit in exhibits if files else []:
        save(exhibit.figure, folder, exhibit.name)
    page = folder / ARTIFACT_PAGE
    page.write_text(_rendered(comparison, exhibits, made), encoding="utf-8")
    return page


def _shape(figure: "Figure") -> str:
    """`wide` figures get the whole width of the page, `tall` ones of a printed one the height: letters stay legible."""
    width, height = figure.get_size_inches()
    return "wide" if width > WIDE_INCHES else "tall" if height > TALL * width else ""


def _visible(value: object) -> object:
    """Every value of the page but what is HTML already."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _rendered(comparison: "Comparison", exhibits: list[Exhibit], made: Mapping[str, str]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("kd_lab.analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
        finalize=_visible,
    )
    figures = [
        {
            "name": exhibit.name,
            "title": exhibit.title,
            "caption": exhibit.caption,
            "shape": _shape(exhibit.figure),
            # Matplotlib has escaped what is in it.
            "svg": Markup(inline(exhibit.figure, exhibit.name, exhibit.title)),
        }
        for exhibit in exhibits
    ]
    return environment.get_template("comparison.html").render(
        title=f"Study {made['study']}" if "study" in made else "Comparison",
        headline=headline(comparison.arms, comparison.metric),
        notes=comparison.notes,
        results=results(comparison.arms, comparison.students, comparison.metric),
        costs=costs(comparison.arms, comparison.metric),
        figures=figures,
        made=list(made.items()),
    )
