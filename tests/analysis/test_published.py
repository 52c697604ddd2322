import math

import pytest

from kd_lab.analysis.cells import cells_of
from kd_lab.analysis.comparison import Comparisons, compare
from kd_lab.analysis.page_tables import results
from kd_lab.analysis.printed import markdown, tables
from kd_lab.analysis.published import COLUMN, figures, notes
from tests.analysis.made_up import table

PAIR = "cifar100/resnet32x4_resnet8x4"


def compared(changed=("", "", ""), experiment=PAIR, losses=("kd", "dkd", "at"), **more):
    called = [loss.removesuffix(" standardized") for loss in losses]
    frame = table(
        [0.70, 0.72, 0.69],
        alone=0.68,
        loss=called,
        experiment=experiment,
        experiment_loss=list(losses),
        experiment_changed=list(changed),
        **more,
    )
    return compare(frame)


def test_figures__of_a_pair():
    found = figures(PAIR)
    assert {loss: round(100 * found[loss].accuracy, 2) for loss in ("teacher", "alone", "kd", "dkd", "crd")} == {
        "teacher": 79.42,
        "alone": 72.50,
        "kd": 73.33,
        "dkd": 76.32,
        "crd": 75.51,
    }
    assert found["kd"].protocol == "last epoch"
    assert found["dkd"].protocol == "best epoch"
    assert round(100 * found["dkd standardized"].accuracy, 2) == 77.01
    assert figures("article") == figures("cifar100/none") == {}


def test_figures__of_several_sources_the_first():
    assert round(100 * figures("cifar100/wrn_40_2_wrn_40_1")["dist"].accuracy, 2) == 74.43
    assert figures("cifar100/wrn_40_2_wrn_16_2")["dist"].source == "the tables of TTM's README (Zheng 2024)"


def test_compare__a_column_beside_what_was_measured():
    arms = compared().arms.set_index("loss")
    assert arms[COLUMN].round(4).to_dict() == {"dkd": 0.7632, "kd": 0.7333, "at": 0.7344}
    assert arms["mean"].to_dict() == {"dkd": 0.72, "kd": 0.70, "at": 0.69}


def test_printed__column_and_notes():
    comparison = compared()
    first = tables(comparison)[0]
    place = first.header.index("published")
    assert [(row[0], row[place]) for row in first.rows] == [("dkd", "76.32"), ("kd", "73.33"), ("at", "73.44")]
    told = list(notes(comparison.arms))
    assert told == [
        "Published is what others report, not measured here. dkd: best epoch, mdistiller's README (Zhao 2022); kd, at: "
        "last epoch, the table of CRD's repository (Tian 2020, RepDistiller).",
        f"Published for {PAIR}: the teacher 79.42% and the student alone 72.50%.",
    ]
    assert comparison.notes[-2:] == told
    text = markdown(Comparisons([comparison]), "cifar100")
    assert "| dkd | 1 | 72.00 |" in text
    assert "| 76.32 |" in text
    assert "best epoch" in text


def test_page__a_column_of_numbers_that_sorts():
    comparison = compared()
    page = results(comparison.arms, comparison.students)
    heads = [column.head for column in page.columns]
    place = heads.index("published, %")
    assert page.columns[place].note == "by others, not measured here"
    assert next((row[place].text, row[place].order) for row in page.rows) == (
        "76.32",
        repr(figures(PAIR)["dkd"].accuracy),
    )
    assert {len(row) for row in [*page.rows, *page.below]} == {len(heads)}


def test_no_column__where_nothing_is_known():
    for comparison in (
        compared(experiment=None),
        compared(experiment="article"),
        compared(losses=("jsd", "tvd", "cwd")),
    ):
        assert not [name for name in comparison.arms if name.startswith(COLUMN)]
        assert "published" not in tables(comparison)[0].header
        assert not list(notes(comparison.arms))
    assert COLUMN not in compare(table([0.9, 0.8], loss=["kd", "at"])).arms


def test_no_figure__for_another_loss_or_network_than_was_published():
    arms = compared(changed=("loss.temperature=2", "student.depth=20", "")).arms.set_index("loss")
    assert math.isnan(arms.loc["kd", COLUMN])
    assert math.isnan(arms.loc["dkd", COLUMN])
    assert [cell[COLUMN].text for cell in cells_of(arms.reset_index(), "test/accuracy_top1")].count("-") == 2


def test_another_recipe__is_told_beside_the_figure():
    told = list(notes(compared(changed=("student.recipe.epochs=2", "", "")).arms))
    assert told[-1] == (
        f"Not as published for {PAIR}, so that the two do not compare: kd with student.recipe.epochs=2."
    )


def test_standardized__has_its_own_figure():
    arms = compared(losses=("kd standardized", "dkd", "at")).arms.set_index("loss")
    assert arms.loc["kd", COLUMN] == pytest.approx(0.7662)


def test_other_metric__no_column():
    frame = table([0.7], loss=["kd"], experiment=PAIR, experiment_loss="kd", experiment_changed="")
    frame["student.test/nll_nats"] = 1.0
    assert COLUMN not in compare(frame, "test/nll_nats").arms
