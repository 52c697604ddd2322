import pytest

from kd_lab import names
from kd_lab.analysis.columns import column
from kd_lab.analysis.comparison import compare
from kd_lab.analysis.protocol import MIXABLE
from kd_lab.errors import UserError
from tests.analysis.made_up import STEPS, each, seeds, table

SPLIT = "params.dataset.seed"
LATENCY = column("student", names.COST_LATENCY_MS_P50)
OLD, NEW = "a1b2c3d4" * 8, "e5f6a7b8" * 8


def refused(frame, match, **settings):
    with pytest.raises(UserError, match=match):
        compare(frame, **settings)


def noted(comparison, start):
    return [note for note in comparison.notes if note.startswith(start)]


def codes(*codes, **columns):
    """Ten students of one arm, five of each code, with ten seeds."""
    return table([0.9] * 10, seed=range(10), code=each(codes, 5), **columns)


DIFFERENT = {
    "data": (
        {"dataset": ["digits", "mnist"], "fingerprint": ["a", "b"]},
        r"data \(digits: 1; mnist: 1 students\)\. Choose one, such as where=data=digits, or allow it with mix=data\.$",
    ),
    "labels of one dataset": (
        {"fingerprint": ["a", "b"], "params.dataset.labels": ["100", "50"]},
        r"data \(digits labels=100: 1; digits labels=50: 1 students\)",
    ),
    "a fingerprint alone": (
        {"fingerprint": ["a1b2c3d4e5", "f6a7b8c9d0"]},
        r"data \(digits a1b2c3d4: 1; digits f6a7b8c9: 1 students\)",
    ),
    "splits": (
        {"fingerprint": ["a", "b"], "teacher_weights": ["x", "y"], SPLIT: ["0", "1"]},
        r"split \(no split that all arms have; dataset\.seed=0: 1; dataset\.seed=1: 1 students\)\. "
        r"Choose one, such as where=dataset\.seed=0, or allow it with mix=split\.$",
    ),
    "a teacher trained twice": (
        {"teacher_weights": ["1111111122", "3333333344"]},
        r"teacher \(3 x cnn 11111111: 1; 3 x cnn 33333333: 1 students\)",
    ),
    "the seed of a teacher": (
        {"teacher_weights": ["x", "y"], "params.teacher.seed": ["100", "101"]},
        r"teacher \(3 x cnn seed=100: 1; 3 x cnn seed=101: 1 students\)",
    ),
    "a budget": (
        {STEPS: [2033.0, 2603.0]},
        r"budget \(2,033 steps: 1; 2,603 steps: 1 students\)\. .* 'where=budget=2,033 steps', or allow",
    ),
    "a teacher and a budget": (
        {"teacher_weights": ["x", "y"], STEPS: [10.0, 20.0]},
        r"teacher \(.*\) and in budget \(.*\)\. .* mix=teacher,budget\.$",
    ),
}


@pytest.mark.parametrize(("columns", "match"), DIFFERENT.values(), ids=DIFFERENT)
def test_protocol__other__refused_by_name_with_both_ways_out(columns, match):
    frame = table([0.9] * 2, loss=["kd", "ab"], **columns)
    refused(frame, rf"^These students are not comparable: they differ in {match}")
    assert len(compare(frame, mix=MIXABLE).students) == 2


def test_protocol__one_of_two_differences_allowed__the_other_refused_with_both():
    frame = table([0.9] * 2, loss=["kd", "ab"], **DIFFERENT["a teacher and a budget"][0])
    refused(frame, r"differ in budget \(.*mix=teacher,budget\.$", mix=["teacher"])


@pytest.mark.parametrize(
    "where", [{"data": ["digits"]}, {"teacher": ["cnn"]}, {"budget": ["2,033 steps"]}, {"code": ["a1b2c3d4"]}]
)
def test_protocol__chosen_by_name__compared(where):
    frame = table(
        [0.9] * 3,
        loss=["kd", "dkd", "kd"],
        dataset=["digits", "digits", "mnist"],
        fingerprint=["a", "a", "b"],
        teacher_weights=["x", "x", "y"],
        teacher_network=["cnn", "cnn", "mlp"],
        code=[OLD, OLD, NEW],
        **{STEPS: [2033.0, 2033.0, 10.0]},
    )
    assert compare(frame, where=where).arms["arm"].tolist() == ["mlp 32 kd", "mlp 32 dkd"]


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"params.dataset.path": ["/a/x.npz", "/b/x.npz"]},
        {"teacher_weights": ["x", None], "teacher_network": ["cnn", None]},
        {"code": [OLD, NEW]},
    ],
    ids=["all alike", "a path of the same data", "no teacher", "a loss of another code"],
)
def test_protocol__no_difference__compared_and_nothing_said(columns):
    comparison = compare(table([0.9] * 2, loss=["kd", "dkd"], **columns))
    assert comparison.arms["to_kd_pairs"].tolist() == [0, 1]
    assert noted(comparison, "Mixed") == []


def test_protocol__mixed_splits__no_pairs():
    comparison = compare(table([0.9] * 2, loss=["kd", "dkd"], **DIFFERENT["splits"][0]), mix=["split"])
    assert comparison.arms["to_kd_pairs"].tolist() == [0, 0]
    assert noted(comparison, "Mixed: split")


def test_protocol__mixed_teachers__arms_of_their_own():
    teachers = {"teacher_weights": each(["x", "y"], 2), "teacher_network": each(["cnn", "mlp"], 2)}
    comparison = compare(table([0.9] * 4, loss=["kd", "dkd"] * 2, **teachers), mix=["teacher"])
    kd = comparison.arms.set_index("arm")["kd_arm"]
    assert set(kd.index) == {"mlp 32 kd cnn", "mlp 32 kd mlp", "mlp 32 dkd cnn", "mlp 32 dkd mlp"}
    assert kd["mlp 32 dkd mlp"] == "mlp 32 kd mlp"
    assert noted(comparison, "Mixed") == [
        "Mixed: teacher (cnn: 2; mlp: 2 students); agreement and KL are to each arm's own teacher."
    ]


def test_protocol__mixed_budgets__told_and_apart_within_one_arm():
    comparison = compare(table([0.9] * 2, loss=["kd", "ab"], **{STEPS: [100.0, 200.0]}), mix=["budget"])
    assert "Not only the loss differs from plain kd, but also budget: mlp 32 ab." in comparison.notes
    one = compare(table([0.9] * 2, **{STEPS: [100.0, 200.0]}), mix=["budget"])
    assert set(one.arms["arm"]) == {"mlp 32 kd 100 steps", "mlp 32 kd 200 steps"}


def test_protocol__other_steps_but_as_many_samples__comparable():
    speed, wall = (column("student", key) for key in (names.COST_TRAIN_SAMPLES_PER_S, names.COST_TRAIN_WALL_S))
    columns = {STEPS: [100.0, 200.0], speed: [640.0, 320.0], wall: [10.0, 20.0]}
    comparison = compare(table([0.9] * 2, **columns, **{"params.student.recipe.batch_size": ["64", "32"]}))
    assert comparison.students["budget"].unique().tolist() == ["6,400 samples"]
    assert len(comparison.arms) == 2


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
    assert comparison.arms.set_index("arm").loc["mlp 32 dkd, mnist", "kd_arm"] == "mlp 32 kd, mnist"
    assert noted(comparison, "Mixed: data (digits: 4; mnist: 4 students); each is a group")


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        (["A, threads=1", "B, threads=1"], "different machines (A, threads=1: 1; B, threads=1: 1 students)"),
        ("A, threads=1, jobs at once=2", "other jobs ran beside each (A, threads=1, jobs at once=2)"),
    ],
)
def test_protocol__other_or_shared_machine__costs_left_out_and_the_rest_compared(machine, why):
    frame = table([0.9, 0.8], loss=["kd", "dkd"], machine=machine, **{LATENCY: [1.0, 2.0]})
    comparison = compare(frame)
    assert comparison.arms["latency"].isna().all()
    assert comparison.arms["mean"].tolist() == [0.9, 0.8]
    assert [note for note in comparison.notes if why in note]
    assert compare(frame, mix=["machine"]).arms["latency"].tolist() == [1.0, 2.0]


def test_protocol__one_arm_of_two_codes__refused_with_every_way_out():
    refused(
        codes(OLD, NEW),
        r"they differ in code \(a1b2c3d4: 5; e5f6a7b8: 5 students\)\. Choose one, such as where=code=e5f6a7b8, train "
        r"those of older code again \(the same command does\), or allow it with mix=code\.$",
    )
    # As kd_lab.sweep.summary asks at the end of a sweep.
    comparison = compare(codes(OLD, NEW), mix=[key for key in MIXABLE if key != "machine"])
    assert comparison.arms["n"].tolist() == [10]
    assert noted(comparison, "Mixed") == [
        "Mixed: code (a1b2c3d4: 5; e5f6a7b8: 5 students); within one arm, so a change of the source may be all that "
        "its seeds differ by."
    ]


def test_protocol__runs_that_do_not_tell_their_code__are_of_one():
    assert compare(codes(None, None)).arms["n"].tolist() == [10]
    refused(codes(None, NEW), r"code \(e5f6a7b8: 5; unknown: 5 students\)\. Choose one, such as where=code=e5f6")
    assert compare(codes(None, NEW), where={"code": ["unknown"]}).arms["n"].tolist() == [5]


def test_protocol__old_code_of_which_every_seed_was_made_again__is_left_out_and_not_mixed():
    frame = table([0.5, 0.5, 0.9, 0.9], seed=[0, 1, 0, 1], code=each([OLD, NEW], 2))
    comparison = compare(frame)
    assert comparison.arms["mean"].tolist() == [0.9]
    assert "Of runs with the same arm, seed and split the newest counts: 2 older left out." in comparison.notes
    refused(frame.iloc[:3], r"differ in code \(a1b2c3d4: 1; e5f6a7b8: 1 students\)")


def test_protocol__code_of_other_teachers__no_difference_of_its_own():
    frame = codes(OLD, NEW, teacher_weights=each(["x", "y"], 5), teacher_network=each(["cnn", "mlp"], 5))
    refused(frame, r"differ in teacher \(cnn: 5; mlp: 5 students\)\. Choose one")
    assert len(compare(frame, mix=["teacher"]).arms) == 2


def test_protocol__mix_of_a_word_that_is_none():
    refused(table([0.9]), r"^mix=teachers: did you mean teacher\?", mix=["teachers"])
