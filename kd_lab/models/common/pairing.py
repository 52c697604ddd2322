"""Which layer of the student learns from which of the teacher: named by the user, or proposed by depth and resolution.

A proposal looks at the spine of each network, the layers that follow each other from input to logits. A stage is what a
network does at one resolution; its end is the outermost layer that finishes last there. A network with one resolution
(a transformer, a small CNN, an MLP) has its blocks, or its weighty layers, as stages.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from kd_lab.errors import choices
from kd_lab.models.common.probe import Layer, Probe
from kd_lab.models.common.taps import Tap
from kd_lab.types import Shape

MOST_BLOCKS = 4
"""So many pairs at the most where both networks have one resolution only: the stages of the usual CNN."""

INPUT = ":input"


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
        return [_pair(embedding(student), embedding(teacher))]
    if layers == "pooled":
        return [_pooled_pair(student, teacher, maps=maps)]
    own, theirs = _stages_of_a_kind(student, teacher, maps=maps)
    if layers == "last":
        chosen = [(own[-1], theirs[-1])]
    else:
        chosen = _matched(own, theirs)
        if layers == "hint":
            chosen = [chosen[(len(chosen) - 1) // 2]]
    if pre_activation:
        return [_pair(student.before_activation(s), teacher.before_activation(t)) for s, t in chosen]
    return [_pair((s.tap, s.shape), (t.tap, t.shape)) for s, t in chosen]


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
            _look_up(student, "student", s, pre_activation=pre_activation),
            _look_up(teacher, "teacher", t, pre_activation=pre_activation),
        )
        for s, t in zip(student_names, teacher_names, strict=True)
    ]


def _look_up(probe: Probe, whose: str, name: str, *, pre_activation: bool) -> tuple[Tap, Shape]:
    path = name.removesuffix(INPUT)
    known = probe.inputs if name.endswith(INPUT) else probe.layers
    if path not in known or not path:
        listed = [layer.path for layer in probe.spine()]
        raise ValueError(f"the {whose} has no layer {name}; {choices(name, listed)}")
    layer = known[path]
    if pre_activation and not name.endswith(INPUT):
        return probe.before_activation(layer)
    return layer.tap, layer.shape


def embedding(probe: Probe) -> tuple[Tap, Shape]:
    """What the classifier reads; without one linear classifier, the last vector before the logits.

    Raises:
        ValueError: the network has no vector before its logits.
    """
    read = _read_by_head(probe)
    found = [read] if read is not None else stages(probe, maps=False)
    if not found:
        raise ValueError(f"expected a hidden vector before the logits, but there is none; {_layers(probe)}")
    return found[-1].tap, found[-1].shape


def _read_by_head(probe: Probe) -> Layer | None:
    """The vector that the classifier reads, if something before it is trained."""
    if probe.head is None:
        return None
    read = probe.inputs[probe.head]
    earlier = [x for x in probe.layers.values() if x.weighty and x.order < read.order]
    return read if len(read.shape) == 1 and earlier else None


def _pooled_pair(student: Probe, teacher: Probe, *, maps: bool) -> Pair:
    own, theirs = pooled(student), pooled(teacher)
    if own is not None and theirs is not None:
        return _pair((own.tap, own.shape), (theirs.tap, theirs.shape))
    if maps:
        whose = "student" if own is None else "teacher"
        raise ValueError(
            f"expected a classifier that reads the average of the last map (a ResNet), but the {whose}'s does not; "
            f"{_layers(student if own is None else teacher)}"
        )
    return _pair(embedding(student), embedding(teacher))


def pooled(probe: Probe) -> Layer | None:
    """The outermost layer whose average over the positions is what the classifier reads; None if there is none."""
    if probe.head is None:
        return None
    read = probe.given[probe.head]
    found = [
        layer
        for layer in probe.spine()
        if len(layer.shape) > 1
        and layer.shape[0] == read.shape[-1]
        and torch.allclose(layer.tap.read(probe.heard[layer.path]).flatten(2).mean(2), read, rtol=1e-4, atol=1e-5)
        and not _is_pooling(layer)
    ]
    return found[-1] if found else None


def stages(probe: Probe, *, maps: bool) -> list[Layer]:
    """The ends of a network's stages that have positions (maps), or those that are vectors; logits left out."""
    spine = _last_descent([layer for layer in probe.spine() if _is_hidden(probe, layer)])
    spine = [layer for layer in spine if not (maps and _is_pooling(layer))]
    kind = [layer for layer in spine if (len(layer.shape) > 1) is maps]
    if not maps:
        return _segments(probe, kind)
    groups = [group for group in _by_resolution(kind) if _weighty(probe, group)]
    if len(groups) > 1 and _weighty(probe, groups[0]) == 1 and (len(groups) > 2 or len(_repeated(groups[1])) > 1):
        groups = groups[1:]  # the stem
    if len(groups) != 1:
        return [*(_end(probe, group) for group in groups[:-1]), *(group[-1] for group in groups[-1:])]
    blocks = _repeated(groups[0])
    return blocks if len(blocks) > 1 else _segments(probe, groups[0])


def _is_hidden(probe: Probe, layer: Layer) -> bool:
    """Neither the input seen again nor the logits (or what a member of an ensemble takes for them)."""
    is_logits = layer.shape == tuple(probe.logits.shape[1:]) and not _later(probe, layer)
    before = [x for x in probe.layers.values() if x.weighty and x.order <= layer.order]
    return bool(before) and not is_logits


def _is_pooling(layer: Layer) -> bool:
    return "Pool" in layer.kind.__name__  # timm has its own classes


def _later(probe: Probe, layer: Layer) -> bool:
    """Whether the next layer with weights takes what has this one's shape."""
    following = [x for x in probe.layers.values() if x.weighty and x.order > layer.order]
    return bool(following) and probe.inputs[following[0].path].shape == layer.shape


def _last_descent(spine: list[Layer]) -> list[Layer]:
    """The layers since the last time that a map came after a vector: the last member of an ensemble."""
    start = 0
    for i, (one, other) in enumerate(pairwise(spine), start=1):
        if len(one.shape) == 1 and len(other.shape) > 1:
            start = i
    return spine[start:]


def _by_resolution(spine: list[Layer]) -> list[list[Layer]]:
    groups: list[list[Layer]] = []
    for layer in spine:
        if groups and groups[-1][-1].shape[1:] == layer.shape[1:]:
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return groups


def _weighty(probe: Probe, group: list[Layer]) -> int:
    """How many layers with weights did their work in a group."""
    return len({leaf.path for layer in group for leaf in probe.inside(layer.path) if leaf.weighty})


def _end(probe: Probe, group: list[Layer]) -> Layer:
    """The last block; what follows it at this resolution (a norm, a 1x1 convolution) begins the next stage."""
    blocks = [layer for layer in group if not layer.leaf and probe.weighty_inside(layer.path)]
    return (blocks or group)[-1]


def _repeated(group: list[Layer]) -> list[Layer]:
    """The blocks of the kind that a group has most of."""
    kinds = [layer.kind for layer in group if not layer.leaf]
    if not kinds:
        return []
    commonest = max(kinds, key=kinds.count)
    return [layer for layer in group if layer.kind is commonest]


def _segments(probe: Probe, group: list[Layer]) -> list[Layer]:
    """The last layer of each part that begins with weights."""
    ends: list[Layer] = []
    for layer in group:
        if layer.weighty or not ends:
            ends.append(layer)
        elif layer.leaf or layer.shape == ends[-1].shape:
            ends[-1] = layer
    return [layer for layer in ends if _weighty_before(probe, layer)]


def _weighty_before(probe: Probe, layer: Layer) -> bool:
    return any(x.weighty and x.order <= layer.order for x in probe.layers.values())


def _stages_of_a_kind(student: Probe, teacher: Probe, *, maps: bool) -> tuple[list[Layer], list[Layer]]:
    """Maps where both networks have them, else vectors (unless the loss needs maps)."""
    own, theirs = stages(student, maps=True), stages(teacher, maps=True)
    if own and theirs:
        return own, theirs
    if maps:
        whose, probe = ("student", student) if not own else ("teacher", teacher)
        raise ValueError(f"expected maps or sequences to compare, but the {whose} has none; {_layers(probe)}")
    own, theirs = vectors(student), vectors(teacher)
    if own and theirs:
        return own, theirs
    whose, probe = ("student", student) if not own else ("teacher", teacher)
    raise ValueError(f"expected hidden vectors, but the {whose} has none; {_layers(probe)}")


def vectors(probe: Probe) -> list[Layer]:
    """The hidden vectors; what the classifier reads, where there is no other."""
    found = stages(probe, maps=False)
    read = _read_by_head(probe)
    return found or ([] if read is None else [read])


def _layers(probe: Probe) -> str:
    listed = [f"{layer.path} {list(layer.shape)}" for layer in probe.spine()]
    return f"its layers: {', '.join(listed)}"


def _matched(own: list[Layer], theirs: list[Layer]) -> list[tuple[Layer, Layer]]:
    """Each stage of the network with fewer finds one of the other, in the same order, of the nearest resolution."""
    few, many = (own, theirs) if len(own) <= len(theirs) else (theirs, own)
    if _one_resolution(few) and _one_resolution(many):
        few = [few[i] for i in _evenly(len(few), min(len(few), MOST_BLOCKS))]
    if _one_resolution(few) or _one_resolution(many):
        places = _evenly(len(many), len(few))
    else:
        places = _nearest([_log_size(x) for x in few], [_log_size(x) for x in many])
    pairs = [(one, many[place]) for one, place in zip(few, places, strict=True)]
    return pairs if few is own or few[0] in own else [(other, one) for one, other in pairs]


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


def _pair(own: tuple[Tap, Shape], theirs: tuple[Tap, Shape]) -> Pair:
    """Tokens beside a map are read as a map too, their class token and registers left out."""
    (student, student_shape), (teacher, teacher_shape) = own, theirs
    if len(student_shape) == 2 and len(teacher_shape) == 3:
        student, student_shape = _as_map(student, student_shape)
    elif len(student_shape) == 3 and len(teacher_shape) == 2:
        teacher, teacher_shape = _as_map(teacher, teacher_shape)
    return Pair(student, teacher, student_shape, teacher_shape)


def _as_map(tap: Tap, shape: Shape) -> tuple[Tap, Shape]:
    channels, tokens = shape
    if not tap.channels_last:
        return tap, shape  # a 1-D convolution or a recurrence over positions that make no square
    side = math.isqrt(tokens)
    prefix = tokens - side * side
    if side < 2 or prefix > 8:
        return tap, shape
    return replace(tap, prefix=prefix, grid=(side, side)), (channels, side, side)
