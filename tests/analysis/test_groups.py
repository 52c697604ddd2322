"""What is not comparable is told apart, and each group is as if it had been compared alone."""

import pytest

from kd_lab import names
from kd_lab.analysis.columns import column
from kd_lab.analysis.comparison import compare_each
from kd_lab.analysis.protocol import MIXABLE
from kd_lab.errors import UserError
from tests.analysis.made_up import STEPS, each, seeds, table

SPLIT = "params.dataset.seed"
OLD, NEW = "a1b2c3d4" * 8, "e5f6a7b8" * 8


def groups(frame, **settings):
    """By name of the group its arms."""
    return {one.name: one.arms["arm"].tolist() for one in compare_each(frame, **settings).each}


DIFFERENT = {
    "data": (
        {"dataset": ["digits", "digits", "mnist"], "fingerprint": ["a", "a", "b"]},
        {"digits": ["mlp 32 kd", "mlp 32 ab"], "mnist": ["mlp 32 at"]},
        "data (digits: 2; mnist: 1 students): those that are comparable have tables of their own, 2 in all. "
        "where=data=digits keeps one, mix=data puts all into one.",
    ),
    "teacher": (
        {"teacher_weights": ["x", "x", "y"], "teacher_network": ["cnn", "cnn", "mlp"]},
        {"teacher cnn": ["mlp 32 kd", "mlp 32 ab"], "teacher mlp": ["mlp 32 at"]},
        "teacher (cnn: 2; mlp: 1 students): ",
    ),
    "budget": (
        {STEPS: [2033.0, 2033.0, 2603.0]},
        {"2,033 steps": ["mlp 32 kd", "mlp 32 ab"], "2,603 steps": ["mlp 32 at"]},
        "budget (2,033 steps: 2; 2,603 steps: 1 students): those that are comparable have tables of their own, 2 in "
        "all. 'where=budget=2,033 steps' keeps one, mix=budget puts all into one.",
    ),
    "split": (
        {SPLIT: ["0", "0", "1"], "fingerprint": ["a", "a", "b"], "teacher_weights": ["x", "x", "y"]},
        {"dataset.seed=0": ["mlp 32 kd", "mlp 32 ab"], "dataset.seed=1": ["mlp 32 at"]},
        "split (dataset.seed=0: 2; dataset.seed=1: 1 students): ",
    ),
    "two things at once": (
        {"teacher_weights": ["x", "x", "y"], "teacher_network": ["cnn", "cnn", "mlp"], STEPS: [10.0, 10.0, 20.0]},
        {"teacher cnn, 10 steps": ["mlp 32 kd", "mlp 32 ab"], "teacher mlp, 20 steps": ["mlp 32 at"]},
        "teacher (cnn: 2; mlp: 1 students) and in budget (10 steps: 2; 20 steps: 1 students): ",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "expected", "why"), DIFFERENT.values(), ids=DIFFERENT)
def test_groups__what_differs__the_largest_first_and_the_reason(columns, expected, why):
    frame = table([0.9, 0.8, 0.7], loss=["kd", "ab", "at"], **columns)
    assert groups(frame) == expected
    assert list(groups(frame)) == list(expected)
    assert compare_each(frame).notes[0].startswith(f"These students differ in {why}")
    mixed = compare_each(frame, mix=MIXABLE)
    assert (len(mixed.each), mixed.notes, mixed.each[0].name) == (1, [], "")


def test_groups__nothing_differs__one_without_a_name__and_its_notes_where_they_were():
    found = compare_each(table([0.9, 0.8, 0.1], loss=["kd", "dkd", "at"], status=["FINISHED", "FINISHED", "FAILED"]))
    assert (found.notes, [one.name for one in found.each]) == ([], [""])
    assert "Left out: 1 failed." in found.each[0].notes


def test_groups__several__what_is_left_out_is_told_once():
    frame = table([0.9, 0.9, 0.8, 0.1], status=["FINISHED"] * 3 + ["FAILED"], **{STEPS: [1.0, 1.0, 2.0, 2.0]})
    found = compare_each(frame)
    assert found.notes[1:] == [
        "Left out: 1 failed.",
        "Of runs with the same arm, seed and split the newest counts: 1 older left out.",
    ]
    assert not [note for one in found.each for note in one.notes if note.startswith(("Left out", "Of runs"))]


def test_groups__arms_are_called_by_what_differs_within_their_group():
    batch = {"params.student.recipe.batch_size": ["32", "32", "64"], "params.loss.temperature": ["1", "4", "4"]}
    assert groups(table([0.9, 0.8, 0.7], **batch, **{STEPS: [10.0, 10.0, 5.0]})) == {
        "10 steps": ["mlp 32 kd T=1", "mlp 32 kd T=4"],
        "5 steps": ["mlp 32 kd"],
    }


def test_groups__a_control_without_a_teacher__beside_the_students_of_each():
    teachers = {"teacher_weights": ["x", "y", None], "teacher_network": ["cnn", "mlp", None]}
    frame = table([0.9, 0.8, 0.7], loss=["kd", "kd", "tf_kd"], **teachers)
    assert groups(frame) == {
        "teacher cnn": ["mlp 32 kd", "mlp 32 tf_kd"],
        "teacher mlp": ["mlp 32 kd", "mlp 32 tf_kd"],
    }
    # One of another budget is beside nobody, and once.
    assert groups(frame.assign(**{STEPS: [10.0, 10.0, 20.0]})) == {
        "teacher cnn, 10 steps": ["mlp 32 kd"],
        "teacher mlp, 10 steps": ["mlp 32 kd"],
        "no teacher, 20 steps": ["mlp 32 tf_kd"],
    }


def test_groups__an_arm_of_two_codes__the_newest_with_all_others_and_the_older_one_by_itself():
    frame = table([0.5, 0.9, 0.8], seed=[0, 1, 1], loss=["kd", "kd", "dkd"], code=[OLD, NEW, "other"])
    assert groups(frame) == {"newest code": ["mlp 32 kd", "mlp 32 dkd"], "older code": ["mlp 32 kd"]}
    # Made again, the seeds of the older code no longer count.
    again = table([0.5, 0.9], seed=[0, 0], code=[OLD, NEW])
    assert groups(again) == {"": ["mlp 32 kd"]}


def test_groups__an_arm_of_several_splits__stays_whole():
    frame = table([0.9] * 4, loss=["kd"] * 3 + ["at"], **{SPLIT: ["0", "1", "2", "3"]})
    frame = frame.assign(fingerprint=list("abcd"), teacher_weights=list("wxyz"))
    assert groups(frame) == {"dataset.seed=0,1,2": ["mlp 32 kd"], "dataset.seed=3": ["mlp 32 at"]}


def test_groups__mixed_data_of_other_teachers__no_group_of_its_own():
    frame = table([0.9, 0.8], dataset=["a", "b"], fingerprint=["x", "y"], teacher_weights=["s", "t"])
    frame = frame.assign(teacher_network=["cnn", "mlp"])
    assert list(groups(frame, mix=["data"])) == [""]


def test_groups__as_many_samples_in_other_steps__one_budget_beside_a_larger_one():
    speed, wall = (column("student", key) for key in (names.COST_TRAIN_SAMPLES_PER_S, names.COST_TRAIN_WALL_S))
    frame = table([0.9, 0.8, 0.7], loss=["kd", "ab", "at"], **{STEPS: [100.0, 200.0, 100.0]})
    frame = frame.assign(**{speed: [640.0, 320.0, 1280.0], wall: [10.0, 20.0, 10.0]})
    assert groups(frame) == {"6,400 samples": ["mlp 32 kd", "mlp 32 ab"], "100 steps": ["mlp 32 at"]}


def test_groups__against__an_arm_of_one_of_them():
    frame = table([0.9, 0.8, 0.7, 0.6], loss=["kd", "dkd", "kd", "at"], **{STEPS: each([10.0, 20.0], 2)})
    first, second = compare_each(frame, against="dkd").each
    assert first.arms.set_index("arm")["kd_arm"].to_dict() == {"mlp 32 kd": "mlp 32 dkd", "mlp 32 dkd": ""}
    assert "dkd is not among these arms: none is compared with it." in second.notes
    with pytest.raises(UserError, match=r"^against=dkdd: there is no such arm or loss; did you mean dkd\?"):
        compare_each(frame, against="dkdd")


def test_groups__corrected_within_each():
    frame = table(
        [0.95, 0.96, 0.94] * 2, alone=[0.90, 0.92, 0.91] * 2, seed=seeds(2, 3), **{STEPS: each([10.0, 20.0], 3)}
    )
    for one in compare_each(frame).each:
        assert one.arms["to_baseline_p_holm"].tolist() == one.arms["to_baseline_p_t"].tolist()
        assert one.arms["group"].tolist() == [one.name]
