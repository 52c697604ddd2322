import numpy as np
import pytest
import torch
from torch import Tensor

from kd_lab.losses import dist
from kd_lab.losses.dist import DIST
from tests.losses.of_logits import evaluate, logits, probabilities
from tests.reference.losses.dist import reference

__all__ = ["reference"]

SETTINGS = [{"beta": 0.0}, {"gamma": 0.0}, {"temperature": 1.0, "beta": 2.0, "gamma": 0.5}]

ROWS = {"temperature": 1.0, "gamma": 0.0}
COLUMNS = {"temperature": 1.0, "beta": 0.0}


def test_dist__one_row_by_hand() -> None:
    """Teacher 3/6, 2/6, 1/6 is (1, 0, -1) / 6 about its mean; student 2/6, 3/6, 1/6 is (0, 1, -1) / 6: rho = 1/2."""
    student, teacher = probabilities([2 / 6, 3 / 6, 1 / 6]), probabilities([3 / 6, 2 / 6, 1 / 6])

    assert evaluate(DIST(**ROWS), student, teacher)[0] == pytest.approx(0.5, abs=1e-6)


def test_dist__columns_by_hand() -> None:
    """Three samples, two classes. Class 0 has the numbers of the test above, class 1 their mirror image."""
    student = probabilities([2 / 6, 4 / 6], [3 / 6, 3 / 6], [1 / 6, 5 / 6])
    teacher = probabilities([3 / 6, 3 / 6], [2 / 6, 4 / 6], [1 / 6, 5 / 6])

    assert evaluate(DIST(**COLUMNS), student, teacher)[0] == pytest.approx(0.5, abs=1e-6)


def test_dist__is_numpys_correlation_of_rows_and_columns() -> None:
    student, teacher = logits(9, 5, 0), logits(9, 5, 1)
    p_s, p_t = (student / 2).softmax(1).numpy(), (teacher / 2).softmax(1).numpy()
    rows = np.mean([np.corrcoef(s, t)[0, 1] for s, t in zip(p_s, p_t, strict=True)])
    columns = np.mean([np.corrcoef(s, t)[0, 1] for s, t in zip(p_s.T, p_t.T, strict=True)])

    value, _ = evaluate(DIST(temperature=2.0, beta=3.0, gamma=0.5), student, teacher)

    assert value == pytest.approx(4 * (3 * (1 - rows) + 0.5 * (1 - columns)), rel=1e-5)


def test_dist__does_not_see_how_sure_the_student_is() -> None:
    """Half of each probability and half of an even guess: the same correlation, another KL."""
    teacher = logits(6, 5, 1).softmax(1)
    unsure = (0.5 * teacher + 0.1).log()

    assert evaluate(DIST(temperature=1.0), unsure, teacher.log())[0] == pytest.approx(0, abs=1e-4)


def test_dist__opposite_preferences_are_twice_the_temperature_squared_of_each_part() -> None:
    """rho = -1: T^2 (2 beta + 2 gamma)."""
    teacher = logits(6, 2, 1)

    assert evaluate(DIST(temperature=2.0, gamma=0.5), -teacher, teacher)[0] == pytest.approx(4 * 3, rel=1e-4)


def test_dist__the_order_of_the_batch_and_of_the_classes_changes_nothing() -> None:
    student, teacher = logits(6, 5, 0), logits(6, 5, 1)
    turned = [z.flip(0).roll(2, 1) for z in (student, teacher)]

    assert evaluate(DIST(), *turned)[0] == pytest.approx(evaluate(DIST(), student, teacher)[0], rel=1e-12)


def test_dist__a_batch_of_one_has_no_columns() -> None:
    """That term is gamma T^2 and has no gradient; the row's is as it is in any batch."""
    student, teacher = logits(1, 5, 0), logits(1, 5, 1)

    both, rows = evaluate(DIST(gamma=0.7), student, teacher), evaluate(DIST(gamma=0.0), student, teacher)

    assert both[0] == pytest.approx(rows[0] + 0.7 * 16, rel=1e-12)
    torch.testing.assert_close(both[1], rows[1], rtol=1e-12, atol=0)
    assert both[1].abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("flat", ["student", "teacher", "both"])
def test_dist__what_does_not_vary_correlates_with_nothing(flat: str, dtype: torch.dtype) -> None:
    """The same even guess for every sample: lengths 0, whose square root has no derivative. rho is 0, all is finite."""
    even, varied = torch.zeros(4, 8, dtype=dtype), logits(4, 8, 0, dtype)

    value, gradient = evaluate(DIST(), varied if flat == "teacher" else even, varied if flat == "student" else even)

    assert value == pytest.approx(2 * 16, rel=1e-5)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("settings", [{}, {"gamma": 0.0}])
def test_dist__a_student_that_says_nothing_yet_is_shown_the_way(settings: dict[str, float]) -> None:
    """Divided by 1e-8 alone, its gradient would be of the order 1e7 here, and no number at all in half precision."""
    student, teacher = torch.zeros(4, 8), logits(4, 8, 1, torch.float32)

    value, gradient = evaluate(DIST(**settings), student, teacher)

    assert 1e-3 < gradient.abs().max() < 10
    assert evaluate(DIST(**settings), student - 0.1 * gradient, teacher)[0] < value - 1


def test_dist__gather_correlates_over_the_samples_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other process has is put in by hand; this one's value is that of the whole batch."""
    student, teacher = logits(8, 5, 0), logits(8, 5, 1)

    def gathered(own: Tensor) -> Tensor:
        return torch.cat([own, student[3:] if torch.equal(own, student[:3]) else teacher[3:]])

    monkeypatch.setattr(dist, "gathered", gathered)

    together = evaluate(DIST(gather=True), student[:3], teacher[:3])[0]
    alone = evaluate(DIST(gather=False), student[:3], teacher[:3])[0]

    assert together == pytest.approx(evaluate(DIST(), student, teacher)[0], rel=1e-12)
    assert alone != pytest.approx(together, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
        ({"beta": -1}, r"Expected `beta` to be a finite number >= 0, but got -1\.0\."),
        ({"gamma": -1}, r"Expected `gamma` to be a finite number >= 0, but got -1\.0\."),
    ],
)
def test_dist__bad_setting_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DIST(**settings)


def test_dist__print_shows_the_settings() -> None:
    assert repr(DIST(temperature=1)) == "DIST(temperature=1.0, beta=1.0, gamma=1.0, gather=False)"
