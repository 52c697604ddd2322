"""What is said of a result that is not what it seems, and nothing of one that is."""

from dataclasses import replace

import pytest
import torch

from kd_lab import names
from kd_lab.datasets.common.splits import Parts, assemble
from kd_lab.job.console import in_a_line
from kd_lab.job.report import measured_on, report_markdown, table
from kd_lab.job.sanity import remarks, wide
from kd_lab.types import Data, NetworkResult, RunResult


def data(inputs: torch.Tensor, name: str = "arrays") -> Data:
    targets = torch.arange(len(inputs)) % 2
    rows = torch.arange(len(inputs))
    return assemble(name, inputs, targets, Parts(rows, rows, rows[:0], rows), num_classes=2, augment=None)


def network(role: str, accuracy: float, *, answered: int = 2, parameters: int = 100) -> NetworkResult:
    found = {
        names.TEST_ACCURACY_TOP1: accuracy,
        names.TEST_MAJORITY: 0.7,
        names.TEST_CLASSES_ANSWERED: float(answered),
        names.COST_PARAMS_TOTAL: float(parameters),
        names.TEST_ACCURACY_BALANCED: accuracy / 2,
    }
    return NetworkResult(role, "id", found, "", reused=False)


def result(teacher: float, alone: float, student: float, **more: int) -> RunResult:
    taught = network("student", student, **more)
    if teacher > alone:
        taught.measurement[names.TEST_GAP_RECOVERED] = 0.5
    return RunResult(network("teacher", teacher, parameters=1000), network("baseline", alone), taught, None, 40, 2)


PLAIN = data(torch.randn(40, 3))


def test_remarks__all_is_well__nothing() -> None:
    assert remarks(result(0.95, 0.9, 0.93), [*wide(PLAIN)]) == []


def test_remarks__a_collapsed_teacher() -> None:
    """70% was reported as a success, and is what always answering one class reaches."""
    found = result(0.7, 0.3, 0.7, answered=1)
    found.teacher.measurement[names.TEST_CLASSES_ANSWERED] = 1.0
    assert remarks(found, [*wide(PLAIN)]) == [
        "The teacher answers one class only, whatever it sees: 70.00%.",
        "The student alone (30.00%) is no better than always answering the commonest class (70.00%).",
        "The student answers one class only, whatever it sees: 70.00%.",
    ]


def test_remarks__a_teacher_worse_than_the_student_alone() -> None:
    (said,) = remarks(result(0.85, 0.925, 0.9), [*wide(PLAIN)])
    assert said == "The teacher (85.00%) is worse than the student alone (92.50%): a better teacher first."


def test_remarks__a_gap_too_small_to_divide_by() -> None:
    found = result(0.93, 0.925, 0.9)
    del found.student.measurement[names.TEST_GAP_RECOVERED]
    (said,) = remarks(found, [*wide(PLAIN)])
    assert said.startswith("The teacher is only 0.50 points better than the student alone, too few on these")


def test_remarks__a_student_as_large_as_its_teacher() -> None:
    (said,) = remarks(result(0.95, 0.9, 0.93, parameters=1000), [*wide(PLAIN)])
    assert said == "The student is not smaller than its teacher (1,000 and 1,000 parameters)."


@pytest.mark.parametrize(
    ("inputs", "name", "said"),
    [
        (18424 * torch.rand(40, 1), "arrays", r"not standardised: dataset\.standardize=true\."),
        (-60 * torch.rand(40, 1), "mine", r"not standardised\."),
    ],
)
def test_remarks__wide_inputs(inputs: torch.Tensor, name: str, said: str) -> None:
    inputs[0] = 18424.0 if name == "arrays" else -60.0
    inputs[1] = 0.0
    (found,) = remarks(result(0.95, 0.9, 0.93), [*wide(data(inputs, name))])
    span = "0 to 18,424" if name == "arrays" else "-60 to 0"
    assert found.startswith(f"The inputs span {span}, ")
    assert found.endswith(said.replace("\\", ""))


def test_remarks__tokens_have_no_span() -> None:
    assert remarks(result(0.95, 0.9, 0.93), [*wide(data(torch.full((40, 3), 30_000)))]) == []


def test_report__says_what_was_measured_and_what_is_amiss() -> None:
    found = replace(result(0.85, 0.925, 0.9), remarks=("The teacher is worse.",))
    assert measured_on(found) == "40 test samples (commonest class 70.0%)"
    text = report_markdown(found)
    assert "On 40 test samples (commonest class 70.0%).\n\n- The teacher is worse.\n" in text
    assert in_a_line(found).endswith("teacher 85.00%, but the teacher is worse")


@pytest.mark.parametrize(("classes", "shown"), [(2, True), (3, True), (10, True)])
def test_table__unequal_classes__balanced_accuracy(classes: int, *, shown: bool) -> None:
    rows = [row[0] for row in table(replace(result(0.95, 0.9, 0.93), num_classes=classes))[1]]
    assert ("balanced accuracy, %" in rows) is shown


def test_table__equal_classes__no_second_accuracy() -> None:
    found = replace(result(0.95, 0.9, 0.93), num_classes=10)
    found.student.measurement[names.TEST_MAJORITY] = 0.11
    assert "balanced accuracy, %" not in [row[0] for row in table(found)[1]]
