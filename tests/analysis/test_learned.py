"""Which curves of a run are of what was learned in it."""

import pytest

from kd_lab import names
from kd_lab.analysis.learned import NOTHING, learned
from kd_lab.errors import UserError
from kd_lab.store.store import Store
from tests.analysis.made_up import copied

LOGGED = {
    "train/kd_weight": 1.0,
    "train/at_weight": 2.0,
    "train/hard_weight": 0.1,
    "train/kd_temperature": 4.0,
    "train/loss_kd": 3.0,
    "train/learning_rate": 0.1,
    "train/gradient_norm_kd": 5.0,
    "val/accuracy_top1": 0.9,
}


def student(store, tags, **params):
    head = {"role": "student", "name": "student", "config_yaml": "{}\n", "parent": None}
    run = store.start_run(**head, params={"loss": params}, tags=tags)
    for step in (2, 4):
        run.log(step, {key: value * step for key, value in LOGGED.items()})
    run.finish("FINISHED")
    return run.run_id


def test_learned__the_readings_of_runs_that_say_so_without_what_a_schedule_moves(uri, tmp_path):
    own = copied(uri, tmp_path)
    store = Store.open(own, "learned")
    term = {"kd": {"schedules": {"temperature": {"_target_": "kd_lab.schedules.cosine.cosine"}}}}
    tags = {names.TAG_LEARNED: "weights, from the training part"}
    scheduled = student(store, tags, terms=term, hard_schedule={"_target_": "kd_lab.schedules.cosine.cosine"})
    free, silent = student(store, tags, terms={"kd": {"weight": 1.0}}), student(store, {}, terms={})
    found = learned([scheduled, free, silent], own)
    assert found.told == dict.fromkeys((scheduled, free), "weights, from the training part")
    readings = found.curves.groupby("run_id")["reading"].unique().map(set).to_dict()
    assert readings == {
        scheduled: {"kd_weight", "at_weight"},
        free: {"kd_weight", "at_weight", "hard_weight", "kd_temperature"},
    }
    of_at = found.curves.query("run_id == @free and reading == 'at_weight'")
    assert of_at[["step", "value"]].to_numpy().tolist() == [[2, 4.0], [4, 8.0]]
    assert learned([silent], own) == NOTHING


def test_learned__no_store(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .+; run kd-lab first"):
        learned(["1"], f"sqlite:///{tmp_path}/none.db")
