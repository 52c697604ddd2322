"""Comparisons as one self-contained page that answers them, with its figures as files beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kd_lab.analysis.curves import curves as read_curves
from kd_lab.analysis.figures.learning import shown_students
from kd_lab.analysis.gallery import Exhibit, Material, gallery, reliable_runs
from kd_lab.analysis.headline import headline
from kd_lab.analysis.inline_svg import inline, save
from kd_lab.analysis.learned import NOTHING, Learned, learned
from kd_lab.analysis.made import made as how_made
from kd_lab.analysis.page_tables import costs, results
from kd_lab.analysis.predictions import predictions_of
from kd_lab.names import ARTIFACT_PAGE, TRAIN_LOSS_TOTAL, VAL_ACCURACY_TOP1
from kd_lab.outside.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kd_lab.analysis.comparison import Comparison, Comparisons

WIDE_INCHES = 8.0
TALL = 1.2


@dataclass(frozen=True)
class Beside:
    """What figures need beside a comparison.

    curves: what `kd_lab.analysis.curves.curves` returned for the students and baselines.
    curves_key: which metric `curves` holds.
    predictions: by run id, what `kd_lab.analysis.predictions.predictions_of` returned.
    learned: what `kd_lab.analysis.learned.learned` returned for the students.
    """

    curves: pd.DataFrame
    curves_key: str = VAL_ACCURACY_TOP1
    predictions: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    learned: Learned = NOTHING


def page_of(comparisons: "Comparisons", uri: str, folder: Path, command: str, *, files: bool = True) -> Path:
    """Read what the figures need beside the comparisons, and write the page.

    Args:
        comparisons: what is told.
        uri: the store that its runs are in.
        folder: where the files go; made if it is not there.
        command: what the user typed, for the page to say.
        files: whether every figure is written as PNG and SVG too.

    Raises:
        UserError: the store cannot be read.
    """
    students = pd.concat([one.students for one in comparisons.each])
    made = how_made(students.drop_duplicates("student_run"), uri, command)
    beside = [_beside(one.students, uri) for one in comparisons.each]
    return write_page(comparisons, beside, folder, made=made, files=files)


def _beside(students: pd.DataFrame, uri: str) -> Beside:
    shown = shown_students(students)
    runs = [*shown["student_run"], *shown["baseline_run"].dropna()]
    key = VAL_ACCURACY_TOP1
    curves = read_curves(runs, key, uri)
    if curves.empty:
        key = TRAIN_LOSS_TOTAL
        curves = read_curves(runs, key, uri)
    predictions = predictions_of([i for ids in reliable_runs(students).values() for i in ids], uri)
    return Beside(curves, key, predictions, learned(students["student_run"], uri))


def write_page(
    comparisons: "Comparisons",
    beside: list[Beside],
    folder: Path,
    *,
    made: Mapping[str, str],
    files: bool = True,
) -> Path:
    """Write comparison.html, and every figure as a file beside it; of several groups the page has a section each.

    Args:
        comparisons: what is told.
        beside: for each of them what its figures need.
        folder: where the files go; made if it is not there.
        made: how the runs were made, by name of the fact; `study` is the title.
        files: whether every figure is written as PNG and SVG too.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    several = len(comparisons.each) > 1
    sections = []
    for number, (comparison, more) in enumerate(zip(comparisons.each, beside, strict=True), start=1):
        exhibits = _exhibits(comparison, more, f"group_{number}_" if several else "")
        for exhibit in exhibits if files else []:
            save(exhibit.figure, folder, exhibit.name)
        sections.append(_section(comparison, exhibits))
    page = folder / ARTIFACT_PAGE
    page.write_text(_rendered(sections, comparisons.notes, made), encoding="utf-8")
    return page


def _exhibits(comparison: "Comparison", beside: Beside, start: str) -> list[Exhibit]:
    """The figures of one group; `start` makes their names unlike those of another's."""
    of = comparison.students, comparison.arms, comparison.metric
    more = beside.curves, beside.curves_key, beside.predictions
    material = Material(*of, *more, comparison.reference, beside.learned)
    return [exhibit._replace(name=start + exhibit.name) for exhibit in gallery(material)]


def _shape(figure: "Figure") -> str:
    """`wide` figures get the whole width of the page, `tall` ones of a printed one the height: letters stay legible."""
    width, height = figure.get_size_inches()
    return "wide" if width > WIDE_INCHES else "tall" if height > TALL * width else ""


def _visible(value: object) -> object:
    """Every value of the page but what is HTML already."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _section(comparison: "Comparison", exhibits: list[Exhibit]) -> dict[str, object]:
    """What the page says of one group."""
    from markupsafe import Markup

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
    arms, metric, reference = comparison.arms, comparison.metric, comparison.reference
    return {
        "name": comparison.name,
        "headline": headline(arms, metric, reference),
        "notes": comparison.notes,
        "results": results(arms, comparison.students, metric, reference),
        "costs": costs(arms, metric),
        "figures": figures,
    }


def _rendered(sections: list[dict[str, object]], notes: list[str], made: Mapping[str, str]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("kd_lab.analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
        finalize=_visible,
    )
    return environment.get_template("comparison.html").render(
        title=f"Study {made['study']}" if "study" in made else "Comparison",
        sections=sections,
        notes=notes,
        made=list(made.items()),
    )
