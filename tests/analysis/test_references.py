import pytest

from kd_lab.analysis.comparison import compare
from kd_lab.errors import UserError
from tests.analysis.students import table

KD_T, DKD_T = "params.loss.terms.kd.temperature", "params.loss.terms.dkd.temperature"


def chosen(frame, **settings):
    comparison = compare(frame, **settings)
    return {arm: kd for arm, kd in comparison.arms.set_index("arm")["kd_arm"].items() if kd}, comparison.notes


def test_reference__the_only_kd():
    kd, notes = chosen(table([0.9] * 3, loss=["kd", "dkd", "kd+at"]))
    assert kd == {"mlp 32 dkd": "mlp 32 kd", "mlp 32 kd+at": "mlp 32 kd"}
    assert "Plain kd is the arm mlp 32 kd." in notes


def test_reference__no_kd__nothing_said():
    kd, notes = chosen(table([0.9] * 2, loss=["dkd", "dist"]))
    assert kd == {}
    assert not [note for note in notes if "plain kd" in note.lower()]


def test_reference__of_the_same_student():
    frame = table([0.9] * 4, loss=["kd", "dkd"] * 2, network=["mlp 16", "mlp 16", "mlp 64", "mlp 64"])
    assert chosen(frame)[0] == {"mlp 16 dkd": "mlp 16 kd", "mlp 64 dkd": "mlp 64 kd"}


def test_reference__another_student_has_no_kd__none():
    frame = table([0.9] * 3, loss=["kd", "dkd", "dkd"], network=["mlp 16", "mlp 16", "mlp 64"])
    assert chosen(frame)[0] == {"mlp 16 dkd": "mlp 16 kd"}


def test_reference__the_same_temperature():
    frame = table(
        [0.9] * 4, loss=["kd", "kd", "dkd", "dkd"], **{KD_T: ["1", "4", None, None], DKD_T: [None, None, "1", "4"]}
    )
    kd, notes = chosen(frame)
    assert kd == {"mlp 32 dkd T=1": "mlp 32 kd T=1", "mlp 32 dkd T=4": "mlp 32 kd T=4"}
    assert [n for n in notes if n.startswith("Plain kd is, for each arm, the one most like it: ")]


def test_reference__several_as_much_alike__none_and_said():
    frame = table([0.9] * 3, loss=["kd", "kd", "dist"], **{KD_T: ["1", "4", None]})
    kd, notes = chosen(frame)
    assert kd == {}
    assert (
        "Not compared with plain kd: mlp 32 dist, because mlp 32 kd T=1, mlp 32 kd T=4 are equally like it; "
        "choose by 'against=mlp 32 kd T=1'." in notes
    )


def test_reference__recipe_counts_more_than_the_loss_and_is_told():
    recipe = "params.student.recipe.batch_size"
    frame = table(
        [0.9] * 4,
        loss=["kd", "kd", "dkd", "nkd"],
        **{KD_T: ["1", "4", None, None], DKD_T: [None, None, "4", None], recipe: ["32", "64", "32", "16"]},
    )
    kd, _ = chosen(frame)
    assert kd == {"mlp 32 dkd": "mlp 32 kd T=1 batch_size=32"}


def test_reference__differs_in_more_than_the_loss__said():
    frame = table([0.9] * 2, loss=["kd", "tf_kd"], **{"params.student.recipe.batch_size": ["64", "32"]})
    notes = chosen(frame)[1]
    assert [
        n for n in notes if n.startswith("Not only the loss differs from plain kd, but also batch_size: mlp 32 tf_kd")
    ]


def test_reference__standardized_or_scheduled_is_not_plain():
    frame = table(
        [0.9] * 3,
        **{
            "params.loss.terms.kd.standardize": [None, "true", "false"],
            "params.loss.terms.kd.schedules.temperature._target_": [None, None, "kd_lab.schedules.cosine.cosine"],
        },
    )
    kd = chosen(frame)[0]
    assert len(kd) == 2
    assert set(kd.values()) == {"mlp 32 kd"}


def test_against__another_loss():
    kd, notes = chosen(table([0.9] * 3, loss=["kd", "dkd", "dist"]), against="dkd")
    assert kd == {"mlp 32 kd": "mlp 32 dkd", "mlp 32 dist": "mlp 32 dkd"}
    assert "Plain dkd is the arm mlp 32 dkd." in notes


@pytest.mark.parametrize("against", ["mlp 32 kd T=4", "kd T=4"])
def test_against__an_arm__of_every_other(against):
    frame = table([0.9] * 3, loss=["kd", "kd", "dist"], **{KD_T: ["1", "4", None]})
    kd, notes = chosen(frame, against=against)
    assert kd == {"mlp 32 kd T=1": "mlp 32 kd T=4", "mlp 32 dist": "mlp 32 kd T=4"}
    assert "In the place of plain kd: mlp 32 kd T=4." in notes


def test_against__unknown__user_error():
    with pytest.raises(UserError, match=r"^against=dkdd: there is no such arm or loss; did you mean dkd\?"):
        compare(table([0.9] * 2, loss=["kd", "dkd"]), against="dkdd")
