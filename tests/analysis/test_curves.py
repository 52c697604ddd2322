import time

import pytest

from kd_lab.analysis.curves import curves
from kd_lab.errors import UserError
from kd_lab.store.store import Store
from tests.analysis.made_up import copied

KEY = "train/loss_total"


@pytest.fixture(scope="module")
def own(uri, tmp_path_factory):
    return copied(uri, tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def runs(own):
    store, found = Store.open(own, "curves"), []
    for start in (2.0, 1.0):
        with store.start_run(role="student", name="s", params={}, tags={}, config_yaml="{}\n", parent=None) as run:
            for step in (0, 20, 10):
                run.log(step, {KEY: start / (1 + step)})
        found.append(run.run_id)
    return found


def test_curves__one_row_per_run_and_step(own, runs):
    frame = curves(runs, KEY, own)
    assert list(frame.columns) == ["run_id", "step", "value"]
    first = frame[frame["run_id"] == runs[0]]
    assert first["step"].tolist() == [0, 10, 20]
    assert first["value"].tolist() == pytest.approx([2, 2 / 11, 2 / 21])
    assert len(frame) == 6


def test_curves__a_step_twice__the_later_value(own):
    with Store.open(own, "curves").start_run(
        role="student", name="s", params={}, tags={}, config_yaml="{}\n", parent=None
    ) as run:
        run.log(0, {KEY: 3.0})
        run.flush()
        time.sleep(0.01)
        run.log(0, {KEY: 1.0})
    assert curves([run.run_id, run.run_id], KEY, own)["value"].tolist() == [1.0]


def test_curves__never_logged__no_rows(own, runs):
    frame = curves(runs, "val/accuracy_top1", own)
    assert list(frame.columns) == ["run_id", "step", "value"]
    assert frame.empty
    assert frame["value"].dtype == "float64"


def test_curves__no_store__user_error(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        curves([], KEY, f"sqlite:///{tmp_path}/none.db")
