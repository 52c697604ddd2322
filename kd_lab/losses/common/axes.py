"""The check of losses that take vectors as well as maps."""

from kd_lab.losses.common.checks import same_number
from kd_lab.types import Shape


def same_axes(student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> None:
    """Raises ValueError unless both layers of a pair are vectors, or sequences, or maps."""
    same_number(student_shapes, teacher_shapes)
    for student, teacher in zip(student_shapes, teacher_shapes, strict=True):
        if len(student) != len(teacher):
            raise ValueError(f"Expected two layers with as many axes, but got {list(student)} and {list(teacher)}.")
