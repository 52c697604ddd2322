"""The checks that many losses share, in the words of the style sheet."""

import math

from kd_lab.types import Shape


def positive(name: str, value: float) -> float:
    """The value as a float; ValueError unless it is a finite number above 0."""
    number = float(value)
    if not number > 0:  # Written so that NaN ends here too.
        raise ValueError(f"Expected `{name}` to be > 0, but got {number}.")
    if math.isinf(number):
        raise ValueError(f"Expected `{name}` to be finite, but got {number}.")
    return number


def not_negative(name: str, value: float) -> float:
    """The value as a float; ValueError unless it is a finite number of 0 or more."""
    number = float(value)
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"Expected `{name}` to be a finite number >= 0, but got {number}.")
    return number


def within(name: str, value: float, low: float, high: float) -> float:
    """The value as a float; ValueError unless low <= value <= high."""
    number = float(value)
    if not low <= number <= high:
        raise ValueError(f"Expected `{name}` to be from {low:g} to {high:g}, but got {number}.")
    return number


def same_number(student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> None:
    """Raises ValueError unless there are as many layers of the student as of the teacher, and at least one."""
    if not student_shapes or len(student_shapes) != len(teacher_shapes):
        raise ValueError(
            f"Expected as many layers of the student as of the teacher, at least one, but got {len(student_shapes)} "
            f"and {len(teacher_shapes)}."
        )


def one_pair(student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> tuple[Shape, Shape]:
    """The shapes of the only pair; ValueError if there are more or none."""
    same_number(student_shapes, teacher_shapes)
    if len(student_shapes) != 1:
        raise ValueError(f"Expected one layer of each network, but got {len(student_shapes)}.")
    return student_shapes[0], teacher_shapes[0]


def with_several_positions(student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> None:
    """As `with_positions`; ValueError also where two maps have one position in common, and no place to compare."""
    with_positions(student_shapes, teacher_shapes)
    for student, teacher in zip(student_shapes, teacher_shapes, strict=True):
        if math.prod(map(min, student[1:], teacher[1:])) == 1:
            raise ValueError(
                "Expected maps of more than one position, because places are compared, but got "
                f"{list(student)} of the student and {list(teacher)} of the teacher; choose earlier layers."
            )


def with_positions(student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> None:
    """Raises ValueError unless every layer has channels and positions, and both of a pair the same number of axes."""
    same_number(student_shapes, teacher_shapes)
    for student, teacher in zip(student_shapes, teacher_shapes, strict=True):
        if len(student) < 2 or len(student) != len(teacher):
            raise ValueError(
                "Expected both layers of a pair to be maps [channels, height, width] or sequences [channels, length], "
                f"but got {list(student)} and {list(teacher)}."
            )
