import math

import numpy as np
import pytest

from kd_lab import names
from kd_lab.analysis.columns import column
from kd_lab.analysis.comparison import Comparison, compare
from kd_lab.analysis.runs import pairs, runs
from kd_lab.errors import UserError
from tests.analysis.made_up import each, seeds, table

KD = [0.95, 0.96, 0.94, 0.95, 0.97]
DKD = [0.93, 0.95, 0.92, 0.94, 0.94]
ALONE = [0.90, 0.92, 0.91, 0.90, 0.93]


def two_arms(**columns) -> Comparison:
    frame = table(KD + DKD, alone=ALONE * 2, teacher=0.98, seed=seeds(2, 5), loss=each(["kd", "dkd"], 5), **columns)
    return compare(frame)


def test_compare__means_intervals_and_paired_differences():
    kd = two_arms().arms.set_index("arm").loc["mlp 32 kd"]
    assert (kd["n"], kd["network"], kd["loss"], kd["group"]) == (5, "mlp 32", "kd", "digits")
    assert (kd["mean"], kd["sd"]) == pytest.approx((0.954, math.sqrt(0.00052 / 4)))
    # t of 4 degrees of freedom at 0.975 is 2.776445
    assert kd["high"] - kd["mean"] == pytest.approx(2.776445 * kd["sd"] / math.sqrt(5), rel=1e-6)
    assert kd["mean"] - kd["low"] == pytest.approx(kd["high"] - kd["mean"])
    assert (kd["baseline_mean"], kd["teacher_mean"]) == pytest.approx((0.912, 0.98))
    assert kd["to_baseline_mean"] == pytest.approx(0.042)
    # differences of 5, 4, 3, 5, 4 points: 4.2 +- 2.776445 * 0.83666 / sqrt(5)
    assert (kd["to_baseline_low"], kd["to_baseline_high"]) == pytest.approx((0.042 - 0.0103885, 0.042 + 0.0103885))
    assert (kd["to_baseline_wins"], kd["to_baseline_pairs"], kd["to_baseline_verdict"]) == (5, 5, "better")
    assert kd["to_baseline_p_wilcoxon"] == pytest.approx(0.0625)
    assert kd["gap_recovered"] == pytest.approx(0.042 / 0.068)


def test_compare__to_plain_kd__paired_by_seed__the_best_arm_first():
    kd, dkd = (arm for _, arm in two_arms().arms.iterrows())
    assert (dkd["arm"], dkd["kd_arm"]) == ("mlp 32 dkd", "mlp 32 kd")
    assert dkd["to_kd_mean"] == pytest.approx(np.mean(np.subtract(DKD, KD)))
    assert (dkd["to_kd_wins"], dkd["to_kd_pairs"], dkd["to_kd_verdict"]) == (0, 5, "worse")
    assert (kd["kd_arm"], kd["to_kd_pairs"], kd["to_kd_verdict"]) == ("", 0, "")
    assert math.isnan(kd["to_kd_p_holm"])


def test_compare__holm_over_the_arms():
    arms = two_arms().arms.sort_values("to_baseline_p_t")
    smaller, larger = arms["to_baseline_p_t"]
    assert arms["to_baseline_p_holm"].tolist() == pytest.approx([2 * smaller, max(larger, 2 * smaller)])
    dkd = arms[arms["loss"] == "dkd"].iloc[0]
    assert dkd["to_kd_p_holm"] == dkd["to_kd_p_t"]


def test_compare__lower_is_better():
    student, alone = (column(role, names.TEST_NLL_NATS) for role in ("student", "baseline"))
    frame = table([0.9] * 4, seed=seeds(2, 2), loss=each(["dkd", "kd"], 2))
    arms = compare(frame.assign(**{student: [0.3, 0.5, 0.1, 0.2], alone: 0.4}), names.TEST_NLL_NATS).arms
    assert arms["mean"].tolist() == pytest.approx([0.15, 0.4])
    assert arms["to_baseline_wins"].tolist() == [2, 1]
    assert arms["to_baseline_mean"].tolist() == pytest.approx([-0.25, 0.0])


def test_compare__fidelity_calibration_and_cost():
    measured = {
        "agreement": (names.TEST_AGREEMENT_TOP1, 0.8),
        "kl": (names.TEST_KL_NATS, 0.1),
        "nll": (names.TEST_NLL_NATS, 0.2),
        "ece": (names.TEST_ECE, 0.05),
        "params": (names.COST_PARAMS_TOTAL, 2410.0),
        "macs": (names.COST_MACS, 2368.0),
        "latency": (names.COST_LATENCY_MS_P50, 0.02),
        "samples_per_s": (names.COST_TRAIN_SAMPLES_PER_S, 1000.0),
        "peak_memory_bytes": (names.COST_TRAIN_PEAK_MEMORY_BYTES, 2.0**20),
    }
    columns = {column("student", key): value for key, value in measured.values()}
    columns[column("student", names.COST_TRAIN_WALL_S)] = [36.0, 72.0]
    arm = compare(table([0.9, 0.8], seed=[0, 1], **columns)).arms.iloc[0]
    assert {name: arm[name] for name in measured} == {name: value for name, (_, value) in measured.items()}
    assert arm["train_wall_s"] == 54


def test_compare__one_seed_is_not_tested():
    arm = compare(table([0.95], alone=0.5)).arms.iloc[0]
    assert (arm["n"], arm["to_baseline_verdict"]) == (1, "not tested")
    assert np.isnan([arm["sd"], arm["low"], arm["to_baseline_low"], arm["to_baseline_p_holm"]]).all()


def test_compare__two_seeds__intervals_end_where_accuracies_do():
    arm = compare(table([0.99, 0.90], alone=[0.1, 0.5], seed=[0, 1])).arms.iloc[0]
    # t of 1 degree of freedom at 0.975 is 12.7: 94.5 +- 57 points, and a gain of 64.5 +- 311
    assert (arm["low"], arm["high"]) == (pytest.approx(0.945 - 12.7062 * 0.045, abs=1e-4), 1.0)
    assert (arm["to_baseline_low"], arm["to_baseline_high"]) == (-1.0, 1.0)


def test_compare__without_a_baseline__no_difference():
    arm = compare(table([0.9, 0.8], seed=[0, 1], baseline_run=None)).arms.iloc[0]
    assert (arm["n"], arm["to_baseline_pairs"], arm["to_baseline_verdict"]) == (2, 0, "")


def test_compare__pairs_are_the_common_seeds_and_splits():
    dkd = compare(table([0.9, 0.8, 0.7, 0.6, 0.5], seed=[0, 1, 2, 1, 5], loss=["kd"] * 3 + ["dkd"] * 2)).arms.iloc[1]
    assert (dkd["n"], dkd["to_kd_pairs"]) == (2, 1)
    assert dkd["to_kd_mean"] == pytest.approx(-0.2)
    split = {"params.dataset.seed": ["0", "1"] * 2, "fingerprint": ["a", "b"] * 2, "teacher_weights": ["x", "y"] * 2}
    dkd = compare(table([0.9, 0.8, 0.85, 0.7], loss=each(["kd", "dkd"], 2), **split)).arms.iloc[1]
    assert (dkd["n"], dkd["to_kd_pairs"], dkd["to_kd_wins"]) == (2, 2, 0)
    assert dkd["to_kd_mean"] == pytest.approx(-0.075)


def test_compare__the_newest_finished_one_of_an_arm_and_seed_counts():
    assert compare(table([0.5, 0.9], seed=0)).arms.iloc[0][["n", "mean"]].tolist() == [1, 0.9]
    frame = table([0.9, 0.1, np.nan, 0.2], seed=range(4), status=["FINISHED", "FAILED", "RUNNING", "FAILED"])
    assert compare(frame).arms["mean"].tolist() == [0.9]
    with pytest.raises(UserError, match="no finished student has it"):
        compare(frame.assign(status="FAILED"))


def test_compare__unknown_metric__user_error():
    with pytest.raises(UserError, match=r"^metric=test/accuracy: no run has it; did you mean test/accuracy_top1\?"):
        compare(table([0.9]), "test/accuracy")


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ({"loss": ["kd"]}, ["kd"]),
        ({"loss": ["kd", "dist"]}, ["kd", "dist"]),
        ({"loss": ["kd", "dkd"], "network": ["mlp 16"]}, ["dkd"]),
        ({"temperature": ["4.0"]}, ["dkd"]),
        ({"params.loss.terms.dkd.temperature": ["4"]}, ["dkd"]),
        ({"seed": ["0"]}, ["kd", "dkd", "dist"]),
    ],
)
def test_where__keeps(where, left):
    temperatures = {f"params.loss.terms.{loss}.temperature": each([None], 3) for loss in ("kd", "dkd")}
    frame = table([0.9] * 3, loss=["kd", "dkd", "dist"], network=["mlp 32", "mlp 16", "mlp 16"], **temperatures)
    frame.loc[0, "params.loss.terms.kd.temperature"] = "1"
    frame.loc[1, "params.loss.terms.dkd.temperature"] = "4"
    assert sorted(compare(frame, where=where).students["loss"]) == sorted(left)


def test_where__unknown__user_error():
    frame = table([0.9] * 2, loss=["kd", "dkd"])
    with pytest.raises(UserError, match=r"^where=los=\.\.\.: nothing that differs has this name; did you mean loss\?"):
        compare(frame, where={"los": ["kd"]})
    with pytest.raises(UserError, match=r"^where=loss=kdd: no student has it; did you mean kd\? \(known: dkd, kd\)"):
        compare(frame, where={"loss": ["kdd"]})


def test_compare__a_store(uri):
    comparison = compare(pairs(runs("digits", uri)))
    arms = comparison.arms.set_index("arm")
    assert arms.loc["mlp kd", ["n", "to_baseline_pairs", "to_baseline_wins"]].tolist() == [3, 3, 3]
    assert arms.loc["mlp kd", ["mean", "to_baseline_mean", "gap_recovered"]].tolist() == pytest.approx(
        [0.951, 0.041, 0.041 / 0.05]
    )
    assert arms.loc["mlp soft_label", "to_kd_mean"] == pytest.approx(-0.02)
    assert {"arm", "group", "split", "student", "data", "teacher", "budget"} <= set(comparison.students.columns)


@pytest.mark.parametrize("taught", ["dkd", "born_again:kd"])
def test_compare__training_of_all__for_every_arm_where_one_has_a_strategy(taught):
    whole = {column("student", names.COST_CHAIN_WALL_S): [5.0, 7.0, 30.0, 50.0]}
    targets = each([None, "kd_lab.strategies.born_again.BornAgain"], 2)
    frame = table(KD[:2] + DKD[:2], seed=seeds(2, 2), loss=each(["kd", taught], 2), params__strategy___target_=targets)
    arms = compare(frame.assign(**whole)).arms.set_index("loss")
    assert arms["arm"].to_dict() == {"kd": "mlp 32 kd", taught: f"mlp 32 {taught}"}, "a loss's name has the strategy's"
    found = arms["chain_wall_s"]
    if taught == "dkd":
        assert found.isna().all()
    else:
        assert found.to_dict() == {"kd": 6.0, taught: 40.0}
