import pytest

from kd_lab.errors import UserError
from kd_lab.outside.ids import is_run_id, run_id

GOOD = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "said", ["", "../../victim", GOOD[:-1], GOOD + "0", GOOD.upper(), GOOD + "\n", "/" + GOOD[1:], None, 5]
)
def test_run_id__anything_else__user_error(said):
    assert not is_run_id(said)
    with pytest.raises(
        UserError, match=r"^tracking\.uri=x: .* came as the id of a run, expected 32 digits 0-9 and a-f"
    ):
        run_id(said, "tracking.uri=x")


def test_run_id__as_it_is():
    assert is_run_id(GOOD)
    assert run_id(GOOD, "x") == GOOD
