"""What a person is told of the data before anything is trained."""

import io

import pytest

from kd_lab.job.parts import sentence, table
from kd_lab.outside.console import PlainConsole
from tests.job.composed import plan


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            [],
            "digits: 1x8x8 float32, 10 classes (10 labelled of each); 100 labelled for the teacher and the student "
            "alone, 1,197 for the student, 0 for validation, 600 for the test",
        ),
        (
            ["loss=label_smoothing", "teacher=none", "baseline=false", "dataset.validation=100"],
            "digits: 1x8x8 float32, 10 classes (10 labelled of each); 100 labelled for the student, 100 for "
            "validation, 600 for the test",
        ),
    ],
)
def test_sentence__parts_and_whom_they_are_for(overrides: list[str], expected: str) -> None:
    assert sentence(plan(*overrides)) == expected


def test_table__counts_by_class_and_the_largest() -> None:
    out = io.StringIO()
    PlainConsole(file=out, width=100).print(table(plan("dataset.labels=null", "student.without_classes=[3]")))
    lines = out.getvalue().splitlines()
    assert lines[0].strip() == "digits: 1x8x8 float32, 10 classes"
    rows = {
        cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in (r.split("│")[1:-1] for r in lines) if cells
    }
    assert rows["train"][:2] == ["1,197", "1,197"]
    assert rows["transfer"][2].startswith("0 to ")
    assert rows["validation"] == ["0", "0", "-", "-", "validation"]
    assert rows["test"][0] == "600"
    assert 9 < float(rows["test"][3]) < 12
