import numpy as np
import pytest

from kd_lab import names
from kd_lab.analysis.headline import headline
from tests.analysis.made_up import arms, difference

GAIN = difference("to_baseline", 0.04, (0.03, 0.05), 0.0001, "better 5/5")
LEVEL = difference("to_baseline", 0.002, (-0.01, 0.014), 0.7, "not distinguishable 3/5")
LOSS = difference("to_baseline", -0.02, (-0.03, -0.01), 0.01, "worse 0/5")
ONE = difference("to_baseline", 0.04, (np.nan, np.nan), np.nan, "not tested 1/1") | {"n": 1}
LEVEL_TO_KD = difference("to_kd", 0.001, (-0.002, 0.004), 1.0, "not distinguishable 3/5") | {"kd_arm": "kd"}
WORSE_TO_KD = difference("to_kd", -0.02, (-0.03, -0.01), 0.01, "worse 0/5") | {"kd_arm": "kd"}


def test_headline__better_than_the_student_alone_not_distinguishable_from_kd():
    assert headline(arms(dist=GAIN | LEVEL_TO_KD | {"mean": 0.953}, kd=GAIN | {"mean": 0.952})) == [
        "Of 2 arms, dist has the highest mean test accuracy: 95.30% over 5 seeds. "
        "It is better than the student alone by 4.00 points (95% interval [+3.00, +5.00], p < 0.001 after Holm). "
        "It is not distinguishable from plain kd (kd): +0.10 points "
        "(95% interval [-0.20, +0.40], p 1.000 after Holm)."
    ]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (LEVEL, "5 seeds. It is not distinguishable from the student alone: +0.20 points"),
        (LOSS, "5 seeds. It is worse than the student alone by 2.00 points"),
        ({}, "nobody knows what distilling gained"),
        (ONE, "1 seed. It differs from the student alone by +4.00 points, which is not tested. One seed is an anec"),
    ],
    ids=["level", "worse", "no baseline", "one seed"],
)
def test_headline__the_best_may_be_no_gain(found, told):
    (said,) = headline(arms(kd=found | {"mean": 0.9}))
    assert said.startswith("kd reaches a mean test accuracy of 90.00% over ")
    assert told in said
    assert " better " not in said


def test_headline__plain_kd_is_the_best__how_many_others_are_worse():
    kd, a, b = {"mean": 0.96}, WORSE_TO_KD | {"mean": 0.94}, LEVEL_TO_KD | {"mean": 0.95}
    (said,) = headline(arms(kd=kd, a=a, b=b))
    assert said.endswith("It is plain kd; of 2 other arms, 1 is worse and 1 not distinguishable from it.")
    (said,) = headline(arms(kd=kd, a=a, b=LEVEL_TO_KD | {"mean": 0.95, "to_kd_verdict": "not tested"}))
    assert said.endswith("of 2 other arms, 1 is worse and 1 not tested.")
    (said,) = headline(arms(kd=kd, a=a))
    assert said.endswith("It is plain kd; of 1 other arm, 1 is worse.")


def test_headline__against_another__is_called_so():
    arms_of = {"mean": 0.96} | LEVEL_TO_KD | {"kd_arm": "mlp dkd"}
    (said,) = headline(arms(dist=arms_of), reference="dkd")
    assert "It is not distinguishable from dkd (mlp dkd): +0.10 points" in said
    (said,) = headline(arms(dist=arms_of), reference="mlp dkd")
    assert "It is not distinguishable from mlp dkd: +0.10 points" in said
    (said,) = headline(arms(kd={"mean": 0.96}, a=WORSE_TO_KD | {"mean": 0.94}), reference="dkd")
    assert said.endswith("The others are compared with it; of 1 other arm, 1 is worse.")


def test_headline__less_is_better__a_paragraph_for_each_group__no_values():
    (said,) = headline(arms(a={"mean": 0.3}, b={"mean": 0.2}), names.TEST_NLL_NATS)
    assert said.startswith("Of 2 arms, b has the lowest mean test/nll_nats: 0.2 over 5 seeds.")
    told = headline(arms(a={"mean": 0.9}, b={"mean": 0.8, "group": "mnist"}))
    assert [paragraph.split(" reaches")[0] for paragraph in told] == ["digits: a", "mnist: b"]
    assert headline(arms(a={})) == ["No arm has test/accuracy_top1 yet."]
