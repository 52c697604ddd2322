"""The stages of a network, seen from its spine: the layers that follow each other from input to logits.

A stage is what a network does at one resolution; its end is the outermost layer that finishes last there. A network
with one resolution (a transformer, a small CNN, an MLP) has its blocks, or its weighty layers, as stages. A network
that knows better names the ends of its stages itself: `stage_ends`, a tuple of module paths.
"""

from dataclasses import replace
from itertools import pairwise

import torch

from kd_lab.errors import UserError
from kd_lab.insight.probe import Layer, Probe
from kd_lab.insight.taps import Tap
from kd_lab.types import Shape

WEIGHTY_BEHIND = 2
"""So many layers with weights, the classifier one of them, follow an inner stage; else there is but the classifier."""


def stages(probe: Probe, *, maps: bool) -> list[Layer]:
    """The ends of a network's stages that have positions (maps), or those that are vectors; logits left out."""
    known: tuple[str, ...] = getattr(probe.network, "stage_ends", ())
    if maps and known:
        return [_called(probe, path) for path in known]
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


def _called(probe: Probe, path: str) -> Layer:
    if path not in probe.layers:
        raise UserError(f"{type(probe.network).__name__}.stage_ends: there is no layer {path}; {listed(probe)}")
    return probe.layers[path]


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
    taken = probe.inputs.get(following[0].path) if following else None  # none of an embedding, which takes numbers
    return taken is not None and taken.shape == layer.shape


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


def inner_ends(probe: Probe) -> list[Layer]:
    """The ends of the stages, of maps and of vectors, behind which there is more than the classifier."""
    weighty = [layer.order for layer in probe.layers.values() if layer.weighty]
    found: dict[int, Layer] = {}  # a vector may be a map that was pooled: as many layers follow
    for end in (*stages(probe, maps=True), *stages(probe, maps=False)):
        found.setdefault(sum(order > end.order for order in weighty), end)
    return [end for behind, end in found.items() if behind >= WEIGHTY_BEHIND]


def pooling(layer: Layer) -> Tap:
    """The tap of a layer; of a text's, the mean over the positions that are no padding."""
    return replace(layer.tap, over_tokens=True) if len(layer.shape) == 2 else layer.tap


def vectors(probe: Probe) -> list[Layer]:
    """The hidden vectors; what the classifier reads, where there is no other."""
    found = stages(probe, maps=False)
    read = _read_by_head(probe)
    return found or ([] if read is None else [read])


def listed(probe: Probe) -> str:
    """The end of an error message: the layers there are, with their shapes."""
    there = [f"{layer.path} {list(layer.shape)}" for layer in probe.spine()]
    return f"its layers: {', '.join(there)}"


def embedding(probe: Probe) -> tuple[Tap, Shape]:
    """What the classifier reads; without one linear classifier, the last vector before the logits.

    Raises:
        ValueError: the network has no vector before its logits.
    """
    read = _read_by_head(probe)
    found = [read] if read is not None else stages(probe, maps=False)
    if not found:
        raise ValueError(f"expected a hidden vector before the logits, but there is none; {listed(probe)}")
    return found[-1].tap, found[-1].shape


def _read_by_head(probe: Probe) -> Layer | None:
    """The vector that the classifier reads, if something before it is trained."""
    if probe.head is None:
        return None
    read = probe.inputs[probe.head]
    earlier = [x for x in probe.layers.values() if x.weighty and x.order < read.order]
    return read if len(read.shape) == 1 and earlier else None


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
