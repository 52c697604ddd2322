import pytest

from kd_lab.analysis.comparison import compare
from kd_lab.errors import UserError
from tests.analysis.made_up import table

KD, DKD, BATCH = "params.loss.terms.kd.", "params.loss.terms.dkd.", "params.student.recipe.batch_size"
TEMPERATURES = {f"{KD}temperature": ["1", "4", None, None], f"{DKD}temperature": [None, None, "1", "4"]}


def chosen(frame, **settings):
    """By arm the one in `kd_arm`, without the network where it is the usual one; and the notes."""
    comparison = compare(frame, **settings)
    found = comparison.arms.set_index("arm")["kd_arm"]
    short = {arm.removeprefix("mlp 32 "): kd.removeprefix("mlp 32 ") for arm, kd in found.items() if kd}
    return short, comparison.notes


CASES = {
    "the only kd": ({"loss": ["kd", "dkd", "kd+at"]}, {"dkd": "kd", "kd+at": "kd"}),
    "no kd": ({"loss": ["dkd", "dist"]}, {}),
    "the same student": (
        {"loss": ["kd", "dkd"] * 2, "network": ["mlp 16", "mlp 16", "mlp 64", "mlp 64"]},
        {"mlp 16 dkd": "mlp 16 kd", "mlp 64 dkd": "mlp 64 kd"},
    ),
    "another student has no kd": (
        {"loss": ["kd", "dkd", "dkd"], "network": ["mlp 16", "mlp 16", "mlp 64"]},
        {"mlp 16 dkd": "mlp 16 kd"},
    ),
    "the same temperature": (
        {"loss": ["kd", "kd", "dkd", "dkd"], **TEMPERATURES},
        {"dkd T=1": "kd T=1", "dkd T=4": "kd T=4"},
    ),
    "the recipe counts more than the loss": (
        {
            "loss": ["kd", "kd", "dkd", "nkd"],
            f"{KD}temperature": ["1", "4", None, None],
            f"{DKD}temperature": [None, None, "4", None],
            BATCH: ["32", "64", "32", "16"],
        },
        {"dkd": "kd T=1 batch_size=32"},
    ),
    "standardized or scheduled is not plain": (
        {
            "loss": ["kd", "kd", "kd"],
            f"{KD}standardize": [None, "true", "false"],
            f"{KD}schedules.temperature._target_": [None, None, "kd_lab.schedules.cosine.cosine"],
        },
        {"kd standardize=true": "kd", "kd standardize=false": "kd"},
    ),
}


@pytest.mark.parametrize(("columns", "expected"), CASES.values(), ids=CASES)
def test_reference__the_kd_most_alike(columns, expected):
    assert chosen(table([0.9] * len(columns["loss"]), **columns))[0] == expected


def test_reference__said():
    assert "Plain kd is the arm mlp 32 kd." in chosen(table([0.9] * 2, loss=["kd", "dkd"]))[1]
    assert "plain kd" not in " ".join(chosen(table([0.9] * 2, loss=["dkd", "dist"]))[1]).lower()
    several = chosen(table([0.9] * 4, loss=["kd", "kd", "dkd", "dkd"], **TEMPERATURES))[1]
    assert [note for note in several if note.startswith("Plain kd is, for each arm, the one most like it: ")]
    other = chosen(table([0.9] * 2, loss=["kd", "tf_kd"], **{BATCH: ["64", "32"]}))[1]
    unlike = "Not only the loss differs from plain kd, but also batch_size: mlp 32 tf_kd"
    assert [note for note in other if note.startswith(unlike)]


def test_reference__several_as_much_alike__none_and_said():
    kd, notes = chosen(table([0.9] * 3, loss=["kd", "kd", "dist"], **{f"{KD}temperature": ["1", "4", None]}))
    assert kd == {}
    assert (
        "Not compared with plain kd: mlp 32 dist, because mlp 32 kd T=1, mlp 32 kd T=4 are equally like it; "
        "choose by 'against=mlp 32 kd T=1'." in notes
    )


def test_against__another_loss():
    kd, notes = chosen(table([0.9] * 3, loss=["kd", "dkd", "dist"]), against="dkd")
    assert kd == {"kd": "dkd", "dist": "dkd"}
    assert "dkd is the arm mlp 32 dkd." in notes


@pytest.mark.parametrize("against", ["mlp 32 kd T=4", "kd T=4"])
def test_against__an_arm__of_every_other(against):
    frame = table([0.9] * 3, loss=["kd", "kd", "dist"], **{f"{KD}temperature": ["1", "4", None]})
    kd, notes = chosen(frame, against=against)
    assert kd == {"kd T=1": "kd T=4", "dist": "kd T=4"}
    assert "In the place of plain kd: mlp 32 kd T=4." in notes


def test_against__unknown__user_error():
    with pytest.raises(UserError, match=r"^against=dkdd: there is no such arm or loss; did you mean dkd\?"):
        compare(table([0.9] * 2, loss=["kd", "dkd"]), against="dkdd")
