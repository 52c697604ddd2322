"""The datasets of a run: which parts, and what MLflow is told of them."""

import json

import pytest

from kd_lab.job.inputs import inputs
from kd_lab.job.specs import TRAIN, TRANSFER
from kd_lab.names import TAG_DATA_CONTEXT
from tests.job.composed import plan

FROM_FILE = None


def told(found):
    return [(one.name, one.digest, one.tags[TAG_DATA_CONTEXT], json.loads(one.profile)["samples"]) for one in found]


@pytest.fixture(scope="module")
def digits():
    return plan("dataset.validation=50")


def test_inputs__student(digits):
    mark = digits.data.fingerprint[:12]
    found = inputs(digits, "student", digits.student_part())
    assert told(found) == [
        ("digits", f"{mark}-transfer", "training", 1147),
        ("digits", f"{mark}-validation", "validation", 50),
        ("digits", f"{mark}-test", "test", 600),
    ]
    assert json.loads(found[0].profile) == {
        "samples": 1147,
        "labelled": 100,
        "classes": 10,
        "input_shape": [1, 8, 8],
    }
    assert json.loads(found[0].source)["tags"]["_target_"] == "kd_lab.datasets.digits.Digits"


def test_inputs__as_mlflow_reads_them(digits):
    from mlflow.data import get_source
    from mlflow.entities import Dataset
    from mlflow.types import Schema

    one = inputs(digits, "teacher", TRAIN)[0]
    tensors = json.loads(one.schema)["mlflow_tensorspec"]
    assert Schema.from_json(tensors["features"]).inputs[0].shape == (-1, 1, 8, 8)
    assert get_source(Dataset(*one[:-1])).to_dict()["tags"]["labels"] == 100


@pytest.mark.parametrize(
    ("role", "part", "expected"),
    [
        ("teacher", TRAIN, ["train", "validation", "test"]),
        ("teacher", FROM_FILE, ["test"]),
        ("trial", TRANSFER, ["transfer", "validation"]),
    ],
)
def test_inputs__only_what_the_run_reads(digits, role, part, expected):
    assert [one.digest.split("-")[1] for one in inputs(digits, role, part)] == expected


def test_inputs__without_some_classes__another_digest_for_the_student_alone():
    several = [plan("dataset.labels=null", f"student.without_classes=[{number}]") for number in (3, 4)]
    students = [inputs(one, "student", one.student_part()) for one in several]
    teachers = [inputs(one, "teacher", TRAIN) for one in several]
    assert students[0][0].digest != students[1][0].digest
    assert max(len(one.digest) for one in students[0]) <= 36
    assert json.loads(students[0][0].profile)["samples"] == len(several[0].seen.transfer)
    assert students[0][1] == students[1][1] == teachers[0][1]
    assert teachers[0] == teachers[1]
