import pytest

from kd_lab import names
from kd_lab.analysis.columns import column
from kd_lab.analysis.comparison import compare
from kd_lab.analysis.protocol import MIXABLE, with_protocol
from kd_lab.errors import UserError
from tests.analysis.students import STEPS, each, seeds, table

SPLIT = "params.dataset.seed"


def refused(frame, match, **settings):
    with pytest.raises(UserError, match=match):
        compare(frame, **settings)


def test_protocol__one_of_everything__no_refusal_no_note():
    comparison = compare(table([0.9, 0.8], loss=["kd", "dkd"]))
    assert comparison.students["data"].unique().tolist() == ["digits"]
    assert comparison.students["teacher"].unique().tolist() == ["3 x cnn"]
    assert not [note for note in comparison.notes if note.startswith("Mixed")]


def test_protocol__other_data__refused_and_both_ways_out():
    frame = table(
        [0.9] * 3, loss=["kd", "dkd", "kd"], dataset=["digits", "digits", "mnist"], fingerprint=["a", "a", "b"]
    )
    refused(
        frame,
        r"^These students are not comparable: they differ in data \(digits: 2; mnist: 1 students\)\. "
        r"Choose one, such as where=data=digits, or allow it with mix=data\.$",
    )
    assert compare(frame, where={"data": ["digits"]}).arms["arm"].tolist() == ["mlp 32 kd", "mlp 32 dkd"]


def test_protocol__other_labels_of_one_dataset__named():
    frame = table([0.9] * 2, fingerprint=["a", "b"], **{"params.dataset.labels": ["100", "50"]})
    refused(frame, r"differ in data \(digits labels=100: 1; digits labels=50: 1 students\)")


def test_protocol__same_settings_but_another_fingerprint__named_by_it():
    frame = table([0.9] * 2, fingerprint=["a1b2c3d4e5", "f6a7b8c9d0"])
    refused(frame, r"differ in data \(digits a1b2c3d4: 1; digits f6a7b8c9: 1 students\)")


def test_protocol__other_path_but_the_same_fingerprint__the_same_data():
    frame = table([0.9] * 2, loss=["kd", "dkd"], **{"params.dataset.path": ["/a/x.npz", "/b/x.npz"]})
    assert len(compare(frame).arms) == 2


def test_protocol__splits_of_one_dataset__repetitions():
    frame = table(
        [0.9] * 4,
        loss=each(["kd", "dkd"], 2),
        fingerprint=["a", "b"] * 2,
        teacher_weights=["x", "y"] * 2,
        **{SPLIT: ["0", "1"] * 2},
    )
    comparison = compare(frame)
    assert comparison.arms["n"].tolist() == [2, 2]
    assert comparison.arms["to_kd_pairs"].tolist() == [0, 2]


def test_protocol__arms_on_different_splits__refused():
    frame = table(
        [0.9] * 2, loss=["kd", "dkd"], fingerprint=["a", "b"], teacher_weights=["x", "y"], **{SPLIT: ["0", "1"]}
    )
    refused(frame, r"differ in split \(no split that all arms have; dataset\.seed=0: 1; dataset\.seed=1: 1 students\)")
    refused(frame, r"Choose one, such as where=dataset\.seed=0, or allow it with mix=split\.")
    comparison = compare(frame, mix=["split"])
    assert comparison.arms["to_kd_pairs"].tolist() == [0, 0]
    assert [note for note in comparison.notes if note.startswith("Mixed: split")]


def test_protocol__other_teacher__refused_and_arms_of_their_own_when_mixed():
    frame = table(
        [0.9] * 4,
        loss=["kd", "dkd"] * 2,
        teacher_weights=["x", "x", "y", "y"],
        teacher_network=["cnn", "cnn", "mlp", "mlp"],
    )
    refused(frame, r"differ in teacher \(cnn: 2; mlp: 2 students\)\. Choose one, such as where=teacher=cnn, or")
    comparison = compare(frame, mix=["teacher"])
    by_arm = comparison.arms.set_index("arm")
    assert set(by_arm.index) == {"mlp 32 kd cnn", "mlp 32 kd mlp", "mlp 32 dkd cnn", "mlp 32 dkd mlp"}
    assert by_arm.loc["mlp 32 dkd mlp", "kd_arm"] == "mlp 32 kd mlp"
    assert (
        "Mixed: teacher (cnn: 2; mlp: 2 students); agreement and KL are to each arm's own teacher." in comparison.notes
    )


def test_protocol__teacher_trained_twice__named_by_its_weights():
    frame = table([0.9] * 2, loss=["kd", "dkd"], teacher_weights=["1111111122", "3333333344"])
    refused(frame, r"differ in teacher \(3 x cnn 11111111: 1; 3 x cnn 33333333: 1 students\)")


def test_protocol__teacher_seed__named():
    frame = table([0.9] * 2, loss=["kd", "dkd"], teacher_weights=["x", "y"], **{"params.teacher.seed": ["100", "101"]})
    refused(frame, r"differ in teacher \(3 x cnn seed=100: 1; 3 x cnn seed=101: 1 students\)")


def test_protocol__no_teacher__comparable_with_every_teacher():
    frame = table([0.9] * 2, loss=["kd", "label_smoothing"], teacher_weights=["x", None], teacher_network=["cnn", None])
    assert with_protocol(frame)["teacher"].tolist() == ["cnn", "none"]
    assert len(compare(frame).arms) == 2


def test_protocol__other_budget__refused():
    frame = table([0.9] * 3, loss=["kd", "dkd", "ab"], **{STEPS: [2033.0, 2033.0, 2603.0]})
    refused(
        frame, r"differ in budget \(2,033 steps: 2; 2,603 steps: 1 students\)\. .* 'where=budget=2,033 steps', or allow"
    )
    comparison = compare(frame, mix=["budget"])
    assert comparison.arms["arm"].tolist() == ["mlp 32 kd", "mlp 32 dkd", "mlp 32 ab"]
    assert "Not only the loss differs from plain kd, but also budget: mlp 32 ab." in comparison.notes
    assert len(compare(frame, where={"budget": ["2,033 steps"]}).arms) == 2


def test_protocol__budget_within_one_arm__told_apart():
    comparison = compare(table([0.9] * 2, **{STEPS: [100.0, 200.0]}), mix=["budget"])
    assert set(comparison.arms["arm"]) == {"mlp 32 kd 100 steps", "mlp 32 kd 200 steps"}


def test_protocol__other_steps_but_as_many_samples__comparable():
    frame = table(
        [0.9] * 2,
        **{
            STEPS: [100.0, 200.0],
            "params.student.recipe.batch_size": ["64", "32"],
            column("student", names.COST_TRAIN_SAMPLES_PER_S): [640.0, 320.0],
            column("student", names.COST_TRAIN_WALL_S): [10.0, 20.0],
        },
    )
    comparison = compare(frame)
    assert comparison.students["budget"].unique().tolist() == ["6,400 samples"]
    assert len(comparison.arms) == 2


def test_protocol__several_differences__all_named_at_once():
    frame = table([0.9] * 2, loss=["kd", "ab"], teacher_weights=["x", "y"], **{STEPS: [10.0, 20.0]})
    refused(frame, r"differ in teacher \(.*\) and in budget \(.*\)\. .* mix=teacher,budget\.$")
    refused(frame, r"differ in budget \(.*mix=teacher,budget\.$", mix=["teacher"])


def test_protocol__mixed_data__a_group_each():
    frame = table(
        [0.9] * 8,
        loss=each(["kd", "dkd"], 2) * 2,
        seed=seeds(4, 2),
        dataset=each(["digits", "mnist"], 4),
        fingerprint=each(["a", "b"], 4),
        teacher_weights=each(["x", "y"], 4),
    )
    comparison = compare(frame, mix=["data"])
    assert comparison.arms["group"].tolist() == ["digits", "digits", "mnist", "mnist"]
    assert comparison.arms["arm"].is_unique
    kd = comparison.arms.set_index("arm")["kd_arm"]
    assert kd["mlp 32 dkd, mnist"] == "mlp 32 kd, mnist"
    assert [
        note
        for note in comparison.notes
        if note.startswith("Mixed: data (digits: 4; mnist: 4 students); each is a group")
    ]


def test_protocol__other_machine__costs_left_out_and_the_rest_compared():
    key = column("student", names.COST_LATENCY_MS_P50)
    frame = table([0.9, 0.8], loss=["kd", "dkd"], machine=["A, threads=1", "B, threads=1"], **{key: [1.0, 2.0]})
    comparison = compare(frame)
    assert comparison.arms["latency"].isna().all()
    assert comparison.arms["mean"].tolist() == [0.9, 0.8]
    assert [n for n in comparison.notes if "different machines (A, threads=1: 1; B, threads=1: 1 students)" in n]
    shown = compare(frame, mix=["machine"])
    assert shown.arms["latency"].tolist() == [1.0, 2.0]


def test_protocol__machine_shared_with_other_jobs__costs_left_out():
    key = column("student", names.COST_LATENCY_MS_P50)
    shared = "A, threads=1, processes=1, jobs at once=2"
    frame = table([0.9, 0.8], loss=["kd", "dkd"], machine=shared, **{key: [1.0, 2.0]})
    comparison = compare(frame)
    assert comparison.arms["latency"].isna().all()
    assert [note for note in comparison.notes if f"other jobs ran beside each ({shared})" in note]
    assert compare(frame, mix=["machine"]).arms["latency"].tolist() == [1.0, 2.0]


OLD, NEW = "a1b2c3d4" * 8, "e5f6a7b8" * 8


def codes(*codes, **columns):
    """Ten students of one arm, five of each code, with ten seeds."""
    return table([0.9] * 10, seed=range(10), code=each(codes, 5), **columns)


def test_protocol__one_arm_of_two_codes__refused_and_every_way_out():
    refused(
        codes(OLD, NEW),
        r"^These students are not comparable: they differ in code \(a1b2c3d4: 5; e5f6a7b8: 5 students\)\. "
        r"Choose one, such as where=code=e5f6a7b8, train those of older code again \(the same command does\), "
        r"or allow it with mix=code\.$",
    )
    assert compare(codes(OLD, NEW), where={"code": ["e5f6a7b8"]}).arms["n"].tolist() == [5]
    comparison = compare(codes(OLD, NEW), mix=["code"])
    assert comparison.arms["n"].tolist() == [10]
    assert (
        "Mixed: code (a1b2c3d4: 5; e5f6a7b8: 5 students); within one arm, so a change of the source may be all that "
        "its seeds differ by."
    ) in comparison.notes


def test_protocol__arms_of_different_code__comparable():
    frame = table([0.9] * 4, seed=seeds(2, 2), loss=each(["kd", "dkd"], 2), code=each([OLD, NEW], 2))
    comparison = compare(frame)
    assert comparison.arms["to_kd_pairs"].tolist() == [0, 2]
    assert not [note for note in comparison.notes if "code" in note]


def test_protocol__runs_that_do_not_tell_their_code__are_of_one():
    assert compare(codes(None, None)).arms["n"].tolist() == [10]
    refused(
        codes(None, NEW), r"differ in code \(e5f6a7b8: 5; unknown: 5 students\)\. Choose one, such as where=code=e5f6"
    )
    assert compare(codes(None, NEW), where={"code": ["unknown"]}).arms["n"].tolist() == [5]


def test_protocol__old_code_of_which_every_seed_was_made_again__is_left_out_and_not_mixed():
    frame = table([0.5, 0.5, 0.9, 0.9], seed=[0, 1, 0, 1], code=each([OLD, NEW], 2))
    comparison = compare(frame)
    assert comparison.arms["mean"].tolist() == [0.9]
    assert "Of runs with the same arm, seed and split the newest counts: 2 older left out." in comparison.notes
    refused(frame.iloc[:3], r"differ in code \(a1b2c3d4: 1; e5f6a7b8: 1 students\)")


def test_protocol__code_of_other_teachers__no_difference_of_its_own():
    frame = codes(OLD, NEW, teacher_weights=each(["x", "y"], 5), teacher_network=each(["cnn", "mlp"], 5))
    refused(frame, r"differ in teacher \(cnn: 5; mlp: 5 students\)\. Choose one, such as where=teacher=cnn, or")
    assert len(compare(frame, mix=["teacher"]).arms) == 2


def test_protocol__the_end_of_a_sweep__says_it_and_refuses_nothing():
    comparison = compare(codes(OLD, NEW), mix=[key for key in MIXABLE if key != "machine"])  # as kd_lab.sweep.summary
    assert [note.split(" (")[0] for note in comparison.notes if note.startswith("Mixed")] == ["Mixed: code"]


def test_protocol__mix_of_a_word_that_is_none():
    refused(table([0.9]), r"^mix=teachers: did you mean teacher\?", mix=["teachers"])
