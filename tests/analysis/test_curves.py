import time

import pytest

from kd_lab.analysis.curves import curves
from kd_lab.errors import UserError
from kd_lab.store.store import Store
from tests.analysis.conftest import write
from tests.analysis.made_up import copied

KEY = "train/loss_total"


@pytest.fixture(scope="module")
def own(uri, tmp_path_factory):
    return copied(uri, tmp_path_factory.mktemp("own"))


def run_with(own, *points):
    with Store.open(own, "curves").start_run(
        role="student", name="s", params={}, tags={}, config_yaml="{}\n", parent=None
    ) as run:
        for step, value in points:
            run.log(step, {KEY: value})
            run.flush()
            time.sleep(0.01)
    return run.run_id


def test_curves__one_row_per_run_and_step__the_later_value(own):
    first, second = run_with(own, (0, 2.0), (20, 0.1), (10, 0.2)), run_with(own, (0, 3.0), (0, 1.0))
    without = write(Store.open(own, "curves"), "student", seed=0, params={}, measured={}, tags={})
    frame = curves([first, second, first, without], KEY, own)
    expected = sorted([(first, 0, 2.0), (first, 10, 0.2), (first, 20, 0.1), (second, 0, 1.0)])
    assert list(frame.itertuples(index=False, name=None)) == expected
    assert list(frame.columns) == ["run_id", "step", "value"]


def test_curves__never_logged__no_rows_of_numbers(own):
    frame = curves([run_with(own)], KEY, own)
    assert (len(frame), frame["value"].dtype) == (0, "float64")


def test_curves__no_store__user_error(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        curves([], KEY, f"sqlite:///{tmp_path}/none.db")
