import pandas as pd
import pytest

from kd_lab.analysis.studies.sizes import by_size, dominated, gains_in_words
from kd_lab.errors import UserError
from tests.analysis.made_up import SIZE, students


def sizes():
    """A small student that gains 3 points, and one four times as large that loses 2."""
    large = {key: 4 * value for key, value in SIZE.items()}
    small = students({"mlp 32 kd": [0.92, 0.93, 0.94]}).assign(loss="kd")
    big = students({"mlp 128 kd": [0.88, 0.88, 0.88]}, network="mlp 128", size=large).assign(loss="kd")
    return pd.concat([big, small], ignore_index=True)


def test_by_size__the_cheapest_first__gain_paired_by_seed():
    found = by_size(sizes())
    assert found["network"].tolist() == ["mlp 32", "mlp 128"]
    assert found["cost"].tolist() == [100, 400]
    assert found["gain"].tolist() == pytest.approx([3, -2])
    assert found["taught"].tolist() == pytest.approx([93, 88])
    assert found["taught_sd"].tolist() == pytest.approx([1, 0])
    assert (found["alone"] == 90).all()
    # 2, 3 and 4: t of 2 degrees of freedom at 0.975 is 4.302653
    half = 4.302653 / 3**0.5
    assert found.loc[0, ["gain_low", "gain_high"]].tolist() == pytest.approx([3 - half, 3 + half])


def test_by_size__one_size__user_error():
    with pytest.raises(UserError, match="all of one size; expected several, such as from kd-lab -m sweep=student_size"):
        by_size(students({"kd": [0.9, 0.9, 0.9]}))


def test_dominated__by_what_costs_no_more_and_is_more_accurate():
    found = dominated(sizes())
    assert found["network"].tolist() == ["mlp 32 alone", "mlp 32 kd", "mlp 128 kd", "mlp 128 alone", "teacher 3 x cnn"]
    assert found["cost"].tolist() == [100, 100, 400, 400, 40000]
    assert found["accuracy"].tolist() == pytest.approx([90, 93, 88, 90, 96])
    assert found["beaten_by"].tolist() == ["mlp 32 kd", "", "mlp 32 kd", "mlp 32 kd", ""]
    # An arm that does not say its network is told with it.
    assert "mlp 32 kd" in set(dominated(students({"kd": [0.9, 0.9, 0.9]}))["network"])


def test_gains_in_words__the_largest_and_what_the_smallest_reaches():
    assert gains_in_words(by_size(sizes())) == [
        "The largest gain is that of mlp 32: +3.00 points [+0.52, +5.48].",
        "mlp 32, distilled, reaches 93.00%. No student alone, of whatever size, reaches more.",
    ]
    better = sizes()
    better.loc[better["network"] == "mlp 128", "baseline.test/accuracy_top1"] = 0.94
    assert gains_in_words(by_size(better))[1].endswith("Alone, mlp 128 is the smallest that reaches more.")
    nowhere = sizes().assign(**{"baseline.test/accuracy_top1": float("nan")})
    assert gains_in_words(by_size(nowhere)) == [
        "No student has a baseline of its size: nobody knows what distilling gained."
    ]
