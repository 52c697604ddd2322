import pandas as pd
import pytest

from kd_lab.analysis.arms import with_arms
from tests.analysis.made_up import each, table

KD, RECIPE, HARD = "params.loss.terms.kd.", "params.student.recipe.", "params.loss.hard_weight"
T, WEIGHT, STANDARDIZE = f"{KD}temperature", f"{KD}weight", f"{KD}standardize"
SCHEDULE = f"{KD}schedules.temperature."
COSINE, PIECEWISE = "kd_lab.schedules.cosine.cosine", "kd_lab.schedules.piecewise.piecewise"

LABELS = {
    "network and loss": ({"loss": ["kd", "kd+at"]}, ["kd", "kd+at"]),
    "settings that differ": (
        {T: ["1.0", "2.0", "2.0"], WEIGHT: ["0.9", "0.9", "0.5"]},
        ["kd T=1 weight=0.9", "kd T=2 weight=0.9", "kd T=2 weight=0.5"],
    ),
    "and no others": ({T: ["1.0", "2.0"], WEIGHT: ["0.9", "0.9"]}, ["kd T=1", "kd T=2"]),
    "two ways to write one number": ({T: ["4", "4.0"]}, ["kd", "kd"]),
    "settings of another loss": ({"loss": ["kd", "kd", "dkd"], T: ["1", "2", None]}, ["kd T=1", "kd T=2", "dkd"]),
    "what only one has": ({STANDARDIZE: [None, "true"]}, ["kd", "kd standardize=true"]),
    "standardized, always": ({T: ["4", "2"], STANDARDIZE: [None, "true"]}, ["kd T=4", "kd standardize=true T=2"]),
    "what comes with another setting": (
        {f"{SCHEDULE}_target_": [None, "kd_lab.schedules.cosine.cosine"], f"{SCHEDULE}final": [None, "0.5"]},
        ["kd", "kd T=cosine"],
    ),
    "a schedule beside what it changes": (
        {T: ["4", "2", "2"], f"{SCHEDULE}_target_": [None, None, "kd_lab.schedules.cosine.cosine"]},
        ["kd T=4", "kd T=2", "kd T=2 schedules.temperature=cosine"],
    ),
    "hard labels that have the rest of 1": (
        {WEIGHT: ["0.9", "0.1"], HARD: ["0.09999999999999998", "0.9"]},
        ["kd weight=0.9", "kd weight=0.1"],
    ),
    "hard labels that have not": (
        {WEIGHT: ["0.9", "0.1", "0.1"], HARD: ["0.1", "0.9", "1.0"]},
        ["kd hard_weight=0.1 weight=0.9", "kd hard_weight=0.9 weight=0.1", "kd hard_weight=1 weight=0.1"],
    ),
    "one last name twice": (
        {"loss": "kd+at", WEIGHT: ["1", "2"], "params.loss.terms.at.weight": ["3", "4"]},
        ["kd+at at.weight=3 kd.weight=1", "kd+at at.weight=4 kd.weight=2"],
    ),
    "a recipe unlike the others": (
        {
            "loss": ["kd", "dkd", "tf_kd"],
            f"{RECIPE}batch_size": ["64", "64", "32"],
            f"{RECIPE}clip_norm": ["1", "1", "null"],
        },
        ["kd", "dkd", "tf_kd batch_size=32 clip_norm=null"],
    ),
    "classes and lists": (
        {
            f"{RECIPE}optimizer._target_": ["torch.optim.Adam", "torch.optim.SGD", "torch.optim.Adam"],
            "params.student.channels": ["[8, 16]", "[8, 16]", "[32, 64]"],
        },
        ["kd channels=[8,16] optimizer=Adam", "kd channels=[8,16] optimizer=SGD", "kd channels=[32,64] optimizer=Adam"],
    ),
    "lists of numbers": (
        {"params.student.widths": ["[16, 32]", "[8]"], "params.student.rates": ["[0.123456]", "[0.5, 1e-05]"]},
        ["kd rates=[0.1235] widths=[16,32]", "kd rates=[0.5,1e-05] widths=[8]"],
    ),
    "values that a population has learned": (
        {
            T: ["2.0", "16.86", "4.0"],
            f"{SCHEDULE}_target_": [None, PIECEWISE, PIECEWISE],
            f"{SCHEDULE}milestones": [None, "[0.20462370880472208, 0.9050664043285784]", "[0.5]"],
            f"{SCHEDULE}factors": [None, "[1.18624, 0.948992]", "[1.2]"],
            f"{RECIPE}optimizer.lr": ["0.005", "0.01", "0.005"],
            f"{RECIPE}schedule._target_": [COSINE, PIECEWISE, COSINE],
            f"{RECIPE}schedule.under._target_": [None, COSINE, None],
            f"{RECIPE}schedule.milestones": [None, "[0.5]", None],
            f"{RECIPE}schedule.factors": [None, "[0.8]", None],
            HARD: ["0.5", "0.5", "0.25"],
            "params.loss.hard_schedule.factors": [None, None, "[2, 4]"],
        },
        [
            "kd hard_weight=0.5 T=2 lr=0.005",
            "kd hard_weight=0.5 T=16.9>20>16 lr=0.01>0.008",
            "kd hard_weight=0.25>0.5>1 T=4>4.8 lr=0.005",
        ],
    ),
    "learned values that change at other moments": (
        {
            T: ["4.0", "4.0"],
            f"{SCHEDULE}milestones": ["[0.25]", "[0.512345]"],
            f"{SCHEDULE}factors": ["[1.2]", "[1.2]"],
        },
        ["kd milestones=[0.25]", "kd milestones=[0.5123]"],
    ),
    "what is no setting": (
        {
            f"params.{name}": ["1", "2"]
            for name in ("dataset.seed", "teacher.seed", "teacher.weights", "trainer.threads")
        },
        ["kd", "kd"],
    ),
}


def labels(frame, more=()):
    return [label.removeprefix("mlp 32 ") for label in with_arms(frame, more)["arm"]]


@pytest.mark.parametrize(("columns", "expected"), LABELS.values(), ids=LABELS)
def test_arm__told_by_what_differs(columns, expected):
    assert labels(table([0.9] * len(expected), **columns)) == expected


def test_arm__more_columns_tell_apart():
    frame = table([0.9] * 4, loss=each(["kd", "dkd"], 2)).assign(teacher=["cnn", "mlp"] * 2)
    assert labels(frame, ["teacher"]) == ["kd cnn", "kd mlp", "dkd cnn", "dkd mlp"]


def test_arm__split_is_the_data_seed():
    assert with_arms(table([0.9] * 2, **{"params.dataset.seed": ["0", "1"]}))["split"].tolist() == ["0", "1"]
    assert with_arms(table([0.9]))["split"].tolist() == [""]


def test_student__is_told_by_its_settings_too():
    frame = table([0.9] * 3, network=["cnn", "cnn", "cnn"], **{"params.student.channels": ["8", "8", "16"]})
    found: pd.Series = with_arms(frame)["student"]
    assert found[0] == found[1] != found[2]
