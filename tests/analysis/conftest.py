from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kd_lab import names
from kd_lab.store.entries import Input
from kd_lab.store.store import Store

DATA = {"dataset": {"_target_": "kd_lab.datasets.digits.Digits", "seed": 0}}
TEACHER_NODE = {
    "_target_": "kd_lab.models.ensemble.Ensemble",
    "member": {"_target_": "kd_lab.models.cnn.CNN"},
    "size": 3,
    "seed": 100,
}
STUDENT_NODE = {"_target_": "kd_lab.models.mlp.MLP", "widths": [32]}
TEACHER_SHA = "e" * 64
SEEDS = (0, 1, 2)
LOSSES = {"kd": {"temperature": 2.0}, "soft_label": {}}
GAIN = {"kd": 0.04, "soft_label": 0.02}


def accuracy_alone(seed: int) -> float:
    return 0.90 + 0.01 * seed


def part(name: str, profile: str) -> Input:
    """A part of the data as a run names it among its datasets."""
    return Input("digits", f"digest-{name}", "code", "{}", None, profile, {names.TAG_DATA_CONTEXT: name})


def write(
    store: Store,
    role: str,
    *,
    seed: int,
    params: dict,
    measured: dict,
    tags: dict,
    status: str = "FINISHED",
    inputs: Sequence[Input] = (),
) -> str:
    run = store.start_run(
        role=role,
        name=f"{role} seed {seed}",
        params={"seed": seed} | DATA | params,
        tags=tags,
        config_yaml="{}\n",
        parent=None,
        inputs=inputs,
    )
    run.log_measurement(measured)
    run.finish(status)
    return run.run_id


PARTS = [part("training", '{"samples": 898}'), part("test", '{"samples": 597}')]


def write_study(uri: str) -> None:
    """Three seeds, two losses; the teacher belongs to another study; one student failed; one sweep's parent."""
    noise = np.random.default_rng(0)
    other, store = Store.open(uri, "earlier"), Store.open(uri, "digits")
    measured = {names.TEST_ACCURACY_TOP1: 0.96, names.TEST_ECE: 0.03}
    teacher = write(other, "teacher", seed=0, params={"teacher": TEACHER_NODE}, measured=measured, tags={})
    write(other, "teacher", seed=0, params={"teacher": TEACHER_NODE}, measured=measured, tags={})
    store.sweep_parent("s", "a sweep")
    for seed in SEEDS:
        alone = accuracy_alone(seed)
        networks = {"teacher": TEACHER_NODE, "student": STUDENT_NODE}
        measured = {names.TEST_ACCURACY_TOP1: alone, names.TEST_ECE: 0.04}
        baseline = write(
            store, "baseline", seed=seed, params=networks, measured=measured, tags={names.TAG_TEACHER_RUN: teacher}
        )
        links = {
            names.TAG_TEACHER_RUN: teacher,
            names.TAG_TEACHER_WEIGHTS_SHA256: TEACHER_SHA,
            names.TAG_BASELINE_RUN: baseline,
            names.TAG_DATA_FINGERPRINT: "d" * 64,
            names.TAG_SWEEP: "s",
        }
        for loss, settings in LOSSES.items():
            node = {"_target_": f"kd_lab.losses.{loss}.Loss", "weight": 0.9} | settings
            params = networks | {"loss": {"terms": {loss: node}, "hard_weight": 0.1}}
            reached = alone + GAIN[loss] + 0.001 * seed
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
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("study")
    uri = f"sqlite:///{folder}/mlflow.db"
    write_study(uri)
    return uri
