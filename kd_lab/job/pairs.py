"""Which layers of the two networks a loss compares: those that a user named, or those that are proposed."""

import math
from collections.abc import Sequence

from kd_lab.insight.pairing import Pair, every_pair, named, over_tokens, propose
from kd_lab.insight.probe import Probe
from kd_lab.losses.common.loss import Loss

ONE_BY_ONE = ("hint", "stages", "last")
"""The layers of losses that say something of any pair of stages alone."""


def compared(
    kind: type[Loss],
    student: Probe,
    teacher: Probe,
    own: Sequence[str] | None,
    theirs: Sequence[str] | None,
    *,
    every: bool,
) -> list[Pair]:
    """The pairs for a loss of layers.

    Args:
        kind: the loss.
        student: its layers.
        teacher: its layers.
        own: the student's layers that the user named.
        theirs: the teacher's.
        every: each layer of the student with each of the teacher; else one with one.

    Raises:
        ValueError: a layer does not exist, only one network's are named, or the loss has no meaning for them.
    """
    if bool(own) != bool(theirs):
        raise ValueError(
            f"expected layers of both networks or of none, but only {'student' if own else 'teacher'}.layers="
            f"{own or theirs} is given; name the other's too"
        )
    if every:
        return _every(kind, student, teacher, own, theirs)
    if own and theirs:
        return named(student, teacher, own, theirs, pre_activation=kind.pre_activation)
    assert kind.layers is not None
    return _with_places(
        kind, propose(kind.layers, student, teacher, maps=kind.maps, pre_activation=kind.pre_activation)
    )


def _every(
    kind: type[Loss], student: Probe, teacher: Probe, own: Sequence[str] | None, theirs: Sequence[str] | None
) -> list[Pair]:
    alone = kind.deploys is None and kind.first_stage is Loss.first_stage
    if kind.layers not in ONE_BY_ONE or not alone:
        raise ValueError(
            "has no value for each pair of layers alone; expected a loss that has, such as loss=fitnet, at, sp or vid"
        )
    if own and theirs:
        both = [(s, t) for s in own for t in theirs]
        ours, others = ([pair[i] for pair in both] for i in (0, 1))
        return named(student, teacher, ours, others, pre_activation=kind.pre_activation)
    return _with_places(kind, every_pair(student, teacher, maps=kind.maps, pre_activation=kind.pre_activation))


def _with_places(kind: type[Loss], pairs: list[Pair]) -> list[Pair]:
    """Those of more than one position, for a loss that compares them; all, where none is, and the loss says so.

    The last maps of a network for large images have one position on small ones.
    """
    return [pair for pair in pairs if not kind.places or _positions_in_common(pair) > 1] or pairs


def _positions_in_common(pair: Pair) -> int:
    return math.prod(map(min, pair.student_shape[1:], pair.teacher_shape[1:]))


def each(name: str, pairs: Sequence[Pair]) -> dict[str, tuple[Pair, ...]]:
    """A name for each pair alone: `fitnet_s1_t2` is the student's first layer with the teacher's second."""
    own, theirs = (list(dict.fromkeys(taps)) for taps in zip(*((p.student, p.teacher) for p in pairs), strict=True))
    return {f"{name}_s{own.index(p.student) + 1}_t{theirs.index(p.teacher) + 1}": (p,) for p in pairs}


def of_texts(kind: type[Loss], pairs: list[Pair]) -> list[Pair]:
    """Positions of texts hold padding: a loss that knows nothing of it is shown the mean over the others.

    Raises:
        ValueError: it needs positions.
    """
    of_positions = [pair for pair in pairs if len(pair.student_shape) == 2 or len(pair.teacher_shape) == 2]
    if kind.tokens or not of_positions:
        return pairs
    if kind.maps:
        raise ValueError(
            "it compares positions, and knows nothing of the padding behind texts; choose at, patient, minilm or "
            "tinybert, or a loss that compares vectors, such as rkd or fitnet"
        )
    return [over_tokens(pair) for pair in pairs]
