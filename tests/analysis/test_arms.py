import pandas as pd
import pytest

from kd_lab.analysis.arms import with_arms
from tests.analysis.students import each, table

T, WEIGHT = "params.loss.terms.kd.temperature", "params.loss.terms.kd.weight"


def labels(frame, more=()):
    return with_arms(frame, more)["arm"].tolist()


def test_arm__network_and_loss():
    assert labels(table([0.9, 0.8], loss=["kd", "kd+at"])) == ["mlp 32 kd", "mlp 32 kd+at"]


def test_arm__settings_that_differ_and_no_others():
    frame = table([0.9] * 3, **{T: ["1.0", "2.0", "2.0"], WEIGHT: ["0.9", "0.9", "0.5"]})
    assert labels(frame) == ["mlp 32 kd T=1 weight=0.9", "mlp 32 kd T=2 weight=0.9", "mlp 32 kd T=2 weight=0.5"]
    assert labels(frame[:2]) == ["mlp 32 kd T=1", "mlp 32 kd T=2"]


def test_arm__two_ways_to_write_one_number__one_arm():
    assert labels(table([0.9] * 2, **{T: ["4", "4.0"]})) == ["mlp 32 kd"] * 2


def test_arm__settings_of_another_loss_are_none_of_this_one():
    frame = table([0.9] * 3, loss=["kd", "kd", "dkd"], **{T: ["1", "2", None]})
    assert labels(frame) == ["mlp 32 kd T=1", "mlp 32 kd T=2", "mlp 32 dkd"]


def test_arm__what_only_one_has__told_by_it():
    frame = table([0.9] * 2, **{"params.loss.terms.kd.standardize": [None, "true"]})
    assert labels(frame) == ["mlp 32 kd", "mlp 32 kd standardize=true"]


def test_arm__standardized_logits__always_told():
    frame = table([0.9] * 2, **{T: ["4", "2"], "params.loss.terms.kd.standardize": [None, "true"]})
    assert labels(frame) == ["mlp 32 kd T=4", "mlp 32 kd standardize=true T=2"]


def test_arm__settings_that_come_with_another__not_told():
    node = "params.loss.terms.kd.schedules.temperature."
    target = [None, "kd_lab.schedules.cosine.cosine"]
    frame = table([0.9] * 2, **{f"{node}_target_": target, f"{node}final": [None, "0.5"]})
    assert labels(frame) == ["mlp 32 kd", "mlp 32 kd T=cosine"]


def test_arm__same_last_name_twice__longer_names():
    frame = table([0.9] * 2, loss="kd+at", **{WEIGHT: ["1", "2"], "params.loss.terms.at.weight": ["3", "4"]})
    assert labels(frame) == ["mlp 32 kd+at at.weight=3 kd.weight=1", "mlp 32 kd+at at.weight=4 kd.weight=2"]


def test_arm__recipe_unlike_the_others__told():
    frame = table(
        [0.9] * 3,
        loss=["kd", "dkd", "tf_kd"],
        **{
            "params.student.recipe.batch_size": ["64", "64", "32"],
            "params.student.recipe.clip_norm": ["1", "1", "null"],
        },
    )
    assert labels(frame) == ["mlp 32 kd", "mlp 32 dkd", "mlp 32 tf_kd batch_size=32 clip_norm=null"]


def test_arm__class_and_list_values__short():
    node = "params.student.recipe."
    frame = table(
        [0.9] * 2,
        network="cnn",
        **{
            f"{node}optimizer._target_": ["torch.optim.Adam", "torch.optim.SGD"],
            "params.student.channels": ["[8, 16]"] * 2,
        },
    )
    assert labels(frame) == ["cnn kd optimizer=Adam", "cnn kd optimizer=SGD"]
    other = frame.assign(**{"params.student.channels": "[32, 64]"})
    both = pd.concat([frame, other], ignore_index=True)
    assert labels(both)[::2] == ["cnn kd channels=[8,16] optimizer=Adam", "cnn kd channels=[32,64] optimizer=Adam"]


@pytest.mark.parametrize(
    "name", ["params.dataset.seed", "params.teacher.seed", "params.teacher.weights", "params.trainer.threads"]
)
def test_arm__what_is_no_setting(name):
    assert labels(table([0.9] * 2, **{name: ["1", "2"]})) == ["mlp 32 kd"] * 2


def test_arm__split_is_the_data_seed():
    assert with_arms(table([0.9] * 2, **{"params.dataset.seed": ["0", "1"]}))["split"].tolist() == ["0", "1"]
    assert with_arms(table([0.9]))["split"].tolist() == [""]


def test_arm__more_columns_tell_apart():
    frame = table([0.9] * 4, loss=each(["kd", "dkd"], 2)).assign(teacher=["cnn", "mlp"] * 2)
    assert labels(frame, ["teacher"]) == ["mlp 32 kd cnn", "mlp 32 kd mlp", "mlp 32 dkd cnn", "mlp 32 dkd mlp"]


def test_arm__labels_are_unique_and_one_per_setting():
    frame = table(
        [0.9] * 8, loss=each(["kd", "dkd"], 4), **{T: ["1", "1", "2", None] * 2, WEIGHT: ["1", "2", "1", "1"] * 2}
    )
    found = with_arms(frame)
    settings = found.groupby("arm")[["loss", T, WEIGHT]].apply(lambda rows: len(rows.drop_duplicates()))
    assert settings.tolist() == [1] * 8


def test_student__projector_is_the_same_network():
    frame = table([0.9] * 3, network=["cnn", "cnn + projector", "cnn"], **{"params.student.channels": ["8", "8", "16"]})
    found: pd.Series = with_arms(frame)["student"]
    assert found[0] == found[1] != found[2]
