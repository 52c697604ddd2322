"""Which layer of the student learns from which of the teacher: named by a user, or proposed by depth and size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kd_lab.errors import choices
from kd_lab.insight.attention import attentions
from kd_lab.insight.probe import Layer, Probe
from kd_lab.insight.stages import embedding, listed, pooled, stages, vectors
from kd_lab.insight.taps import Tap
from kd_lab.types import Shape

MOST_BLOCKS = 4
"""So many pairs at the most where both networks have one resolution only: the stages of the usual CNN."""

MOST_EXTRA_TOKENS = 8
"""So many tokens a transformer puts before those of the patches at the most: class, distillation, registers."""

INPUT = ":input"

Heard = tuple[Tap, Shape]
"""Where a network is listened to, and the shape of what is read there."""


@dataclass(frozen=True)
class Pair:
    """One layer of each network, with the shape that its tap reads (channels first, without the batch)."""

    student: Tap
    teacher: Tap
    student_shape: Shape
    teacher_shape: Shape


def propose(layers: str, student: Probe, teacher: Probe, *, maps: bool, pre_activation: bool) -> list[Pair]:
    """The pairs for a loss that compares `layers` (see `kd_lab.losses.common.loss`) where nobody named any.

    Raises:
        ValueError: a network has no layer of that kind.
    """
    if layers == "embedding":
        return [_pair(student, embedding(student), teacher, embedding(teacher))]
    if layers == "pooled":
        return [_pooled_pair(student, teacher, maps=maps)]
    if layers == "attention":
        read = zip(attentions(student)[-1], attentions(teacher)[-1], strict=True)
        return [_pair(student, (s.tap, s.shape), teacher, (t.tap, t.shape)) for s, t in read]
    own, theirs = _stages_of_a_kind(student, teacher, maps=maps)
    if layers == "transformer":
        return _blocks(student, teacher, _matched(own, theirs))
    if layers == "last":
        chosen = [(own[-1], theirs[-1])]
    else:
        chosen = _matched(own, theirs)
        if layers == "hint":
            chosen = [chosen[(len(chosen) - 1) // 2]]
    return _between(student, teacher, chosen, pre_activation=pre_activation)


def every_pair(student: Probe, teacher: Probe, *, maps: bool, pre_activation: bool) -> list[Pair]:
    """Each stage of the student with each of the teacher, in the student's order.

    Of a network with one resolution MOST_BLOCKS of its blocks at the most, evenly spaced.

    Raises:
        ValueError: a network has no such layers.
    """
    own, theirs = map(_few, _stages_of_a_kind(student, teacher, maps=maps))
    return _between(student, teacher, [(s, t) for s in own for t in theirs], pre_activation=pre_activation)


def _between(
    student: Probe, teacher: Probe, chosen: Sequence[tuple[Layer, Layer]], *, pre_activation: bool
) -> list[Pair]:
    if pre_activation:
        heard = [(student.before_activation(s), teacher.before_activation(t)) for s, t in chosen]
    else:
        heard = [((s.tap, s.shape), (t.tap, t.shape)) for s, t in chosen]
    return [_pair(student, s, teacher, t) for s, t in heard]


def _blocks(student: Probe, teacher: Probe, matched: list[tuple[Layer, Layer]]) -> list[Pair]:
    """Of each pair of blocks: what its queries are compared with its keys by, and what it says."""
    found = []
    for own, theirs in matched:
        query_s, key_s, _ = attentions(student, own.path)[-1]
        query_t, key_t, _ = attentions(teacher, theirs.path)[-1]
        for s, t in ((query_s, query_t), (key_s, key_t), (own, theirs)):
            found.append(_pair(student, (s.tap, s.shape), teacher, (t.tap, t.shape)))
    return found


def over_tokens(pair: Pair) -> Pair:
    """The pair, its sequences read as the mean over the tokens of each text."""
    own, own_shape = _over_tokens(pair.student, pair.student_shape)
    theirs, their_shape = _over_tokens(pair.teacher, pair.teacher_shape)
    return Pair(own, theirs, own_shape, their_shape)


def _over_tokens(tap: Tap, shape: Shape) -> Heard:
    return (replace(tap, over_tokens=True), shape[:1]) if len(shape) == 2 else (tap, shape)


def named(
    student: Probe,
    teacher: Probe,
    student_names: Sequence[str],
    teacher_names: Sequence[str],
    *,
    pre_activation: bool,
) -> list[Pair]:
    """The pairs that the user named, in order.

    Raises:
        ValueError: a layer that does not exist or is not called, or not as many of one network as of the other.
    """
    if len(student_names) != len(teacher_names):
        raise ValueError(
            f"Expected as many layers of the student as of the teacher, but got {len(student_names)} "
            f"({', '.join(student_names)}) and {len(teacher_names)} ({', '.join(teacher_names)})."
        )
    return [
        _pair(
            student,
            _look_up(student, "student", s, pre_activation=pre_activation),
            teacher,
            _look_up(teacher, "teacher", t, pre_activation=pre_activation),
        )
        for s, t in zip(student_names, teacher_names, strict=True)
    ]


def _look_up(probe: Probe, whose: str, name: str, *, pre_activation: bool) -> Heard:
    path = name.removesuffix(INPUT)
    known = probe.inputs if name.endswith(INPUT) else probe.layers
    if path not in known or not path:
        there = [layer.path for layer in probe.spine()]
        raise ValueError(f"the {whose} has no layer {name}; {choices(name, there)}")
    layer = known[path]
    if pre_activation and not name.endswith(INPUT):
        return probe.before_activation(layer)
    return layer.tap, layer.shape


def _pooled_pair(student: Probe, teacher: Probe, *, maps: bool) -> Pair:
    own, theirs = pooled(student), pooled(teacher)
    if own is not None and theirs is not None:
        return _pair(student, (own.tap, own.shape), teacher, (theirs.tap, theirs.shape))
    if maps:
        whose = "student" if own is None else "teacher"
        raise ValueError(
            f"expected a classifier that reads the average of the last map (a ResNet), but the {whose}'s does not; "
            f"{listed(student if own is None else teacher)}"
        )
    return _pair(student, embedding(student), teacher, embedding(teacher))


def _stages_of_a_kind(student: Probe, teacher: Probe, *, maps: bool) -> tuple[list[Layer], list[Layer]]:
    """Maps where both networks have them, else vectors (unless the loss needs maps)."""
    own, theirs = stages(student, maps=True), stages(teacher, maps=True)
    if own and theirs:
        return own, theirs
    if maps:
        whose, probe = ("student", student) if not own else ("teacher", teacher)
        raise ValueError(f"expected maps or sequences to compare, but the {whose} has none; {listed(probe)}")
    own, theirs = vectors(student), vectors(teacher)
    if own and theirs:
        return own, theirs
    whose, probe = ("student", student) if not own else ("teacher", teacher)
    raise ValueError(f"expected hidden vectors, but the {whose} has none; {listed(probe)}")


def _matched(own: list[Layer], theirs: list[Layer]) -> list[tuple[Layer, Layer]]:
    """Each stage of the network with fewer finds one of the other, in the same order, of the nearest resolution."""
    few, many = (own, theirs) if len(own) <= len(theirs) else (theirs, own)
    if _one_resolution(few) and _one_resolution(many):
        few = _few(few)
    if _one_resolution(few) or _one_resolution(many):
        places = _evenly(len(many), len(few))
    else:
        places = _nearest([_log_size(x) for x in few], [_log_size(x) for x in many])
    pairs = [(one, many[place]) for one, place in zip(few, places, strict=True)]
    return pairs if few is own or few[0] in own else [(other, one) for one, other in pairs]


def _few(layers: list[Layer]) -> list[Layer]:
    """Not more than MOST_BLOCKS of one resolution."""
    if not _one_resolution(layers):
        return layers
    return [layers[i] for i in _evenly(len(layers), min(len(layers), MOST_BLOCKS))]


def _one_resolution(layers: list[Layer]) -> bool:
    return len(layers) > 1 and len({layer.shape[1:] for layer in layers}) == 1


def _evenly(total: int, count: int) -> list[int]:
    """`count` places of `total`, evenly spaced, the last one included."""
    return [round((i + 1) * total / count) - 1 for i in range(count)]


def _log_size(layer: Layer) -> float:
    return math.log2(math.prod(layer.shape[1:]))


def _nearest(few: list[float], many: list[float]) -> list[int]:
    """Rising places in `many`, one for each of `few`, with the smallest sum of distances; the latest if several."""
    best: dict[tuple[int, int], tuple[float, list[int]]] = {}

    def solve(i: int, last: int) -> tuple[float, list[int]]:
        if i < 0:
            return 0.0, []
        if (i, last) not in best:
            found: tuple[float, list[int]] = (math.inf, [])
            for place in range(last, i - 1, -1):
                cost, places = solve(i - 1, place - 1)
                cost += abs(few[i] - many[place])
                if cost < found[0]:
                    found = (cost, [*places, place])
            best[i, last] = found
        return best[i, last]

    return solve(len(few) - 1, len(many) - 1)[1]


def _pair(student: Probe, own: Heard, teacher: Probe, theirs: Heard) -> Pair:
    """Tokens beside a map are read as a map too, their class token and registers left out."""
    if len(own[1]) == 2 and len(theirs[1]) == 3:
        own = _as_map(student, own)
    elif len(own[1]) == 3 and len(theirs[1]) == 2:
        theirs = _as_map(teacher, theirs)
    return Pair(own[0], theirs[0], own[1], theirs[1])


def _as_map(probe: Probe, heard: Heard) -> Heard:
    """The grid is that of the convolution that cut the image into patches; without one, the tokens are no map."""
    tap, (channels, tokens) = heard
    for layer in reversed(list(probe.layers.values())):
        if len(layer.shape) == 3 and 0 <= (prefix := tokens - math.prod(layer.shape[1:])) <= MOST_EXTRA_TOKENS:
            height, width = layer.shape[1:]
            return replace(tap, prefix=prefix, grid=(height, width)), (channels, height, width)
    return heard
