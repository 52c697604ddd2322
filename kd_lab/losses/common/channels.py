"""The check of the losses that compare channels one by one."""

from kd_lab.types import Shape


def with_equal_channels(student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> None:
    """Raises ValueError unless the two layers of every pair have as many channels."""
    for student, teacher in zip(student_shapes, teacher_shapes, strict=True):
        if student[0] != teacher[0]:
            raise ValueError(
                "Expected as many channels in both layers of a pair, because they are compared one by one, but got "
                f"{list(student)} and {list(teacher)}."
            )
