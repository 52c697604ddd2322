import numpy as np
import pytest

from kd_lab import names
from kd_lab.store.entries import Input
from kd_lab.store.store import Store

STUDENT_NODE = {"_target_": "kd_lab.models.mlp.MLP", "widths": [32]}
MEMBER = {"_target_": "kd_lab.models.cnn.CNN"}
TEACHER_NODE = {"_target_": "kd_lab.models.ensemble.Ensemble", "member": MEMBER, "size": 3, "seed": 100}
LOSSES = {"kd": ({"temperature": 2.0}, 0.04), "soft_label": ({}, 0.02)}
"""By loss its settings and what is gained over the student alone, of which seed s reaches 0.90 + s / 100."""


def part(name, profile):
    """A part of the data as a run names it among its datasets."""
    return Input("digits", f"digest-{name}", "code", "{}", None, profile, {names.TAG_DATA_CONTEXT: name})


PARTS = [part("training", '{"samples": 898}'), part("test", '{"samples": 597}')]


def write(store, role, *, seed, params, measured, tags, status="FINISHED", inputs=()):
    params = {"seed": seed, "dataset": {"_target_": "kd_lab.datasets.digits.Digits", "seed": 0}} | params
    head = {"role": role, "name": f"{role} seed {seed}", "config_yaml": "{}\n", "parent": None}
    run = store.start_run(**head, params=params, tags=tags, inputs=inputs)
    run.log_measurement(measured)
    run.finish(status)
    return run.run_id


def write_study(uri):
    """Three seeds, two losses; the teacher belongs to another study; one student failed; one sweep's parent."""
    noise = np.random.default_rng(0)
    other, store = Store.open(uri, "earlier"), Store.open(uri, "digits")
    measured = {names.TEST_ACCURACY_TOP1: 0.96, names.TEST_ECE: 0.03}
    teacher, _ = (
        write(other, "teacher", seed=0, params={"teacher": TEACHER_NODE}, measured=measured, tags={}) for _ in range(2)
    )
    store.sweep_parent("s", "a sweep")
    networks, tags = {"teacher": TEACHER_NODE, "student": STUDENT_NODE}, {names.TAG_TEACHER_RUN: teacher}
    for seed in range(3):
        alone = 0.90 + 0.01 * seed
        measured = {names.TEST_ACCURACY_TOP1: alone, names.TEST_ECE: 0.04}
        links = tags | {
            names.TAG_TEACHER_WEIGHTS_SHA256: "e" * 64,
            names.TAG_BASELINE_RUN: write(store, "baseline", seed=seed, params=networks, measured=measured, tags=tags),
            names.TAG_DATA_FINGERPRINT: "d" * 64,
            names.TAG_SWEEP: "s",
        }
        for loss, (settings, gain) in LOSSES.items():
            node = {"_target_": f"kd_lab.losses.{loss}.Loss", "weight": 0.9} | settings
            params = networks | {"loss": {"terms": {loss: node}, "hard_weight": 0.1}}
            reached = alone + gain + 0.001 * seed
            measured = {
                names.TEST_ACCURACY_TOP1: reached,
                names.TEST_ECE: 0.03 + 0.01 * float(noise.random()),
                names.TEST_AGREEMENT_TOP1: reached + 0.01,
                names.TEST_ALONE_AGREEMENT_TOP1: alone - 0.01,
                names.TEST_NLL_NATS: 0.2,
            }
            write(store, "student", seed=seed, params=params, measured=measured, tags=links, inputs=PARTS)
    write(store, "student", seed=9, params=networks, measured={names.TRAIN_LOSS_TOTAL: 1.0}, tags={}, status="FAILED")


@pytest.fixture(scope="session")
def uri(tmp_path_factory):
    uri = f"sqlite:///{tmp_path_factory.mktemp('study')}/mlflow.db"
    write_study(uri)
    return uri
