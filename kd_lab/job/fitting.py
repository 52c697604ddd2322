"""What a config names fits its data: a dataset that can be loaded, the default teacher on what is no image."""

from collections.abc import Mapping
from typing import Any

from kd_lab.errors import UserError
from kd_lab.inputs import IDS
from kd_lab.job.build import build, call, locate
from kd_lab.job.strict import Node
from kd_lab.outside.nodes import Whitelist
from kd_lab.types import Data

CNN = "kd_lab.models.cnn.CNN"
MLP = {"_target_": "kd_lab.models.mlp.MLP", "_partial_": True, "widths": [128]}
"""A member of the default teacher where there are no images: several times the default student."""
TEXT_CNN = {
    "_target_": "kd_lab.models.text_cnn.TextCNN",
    "_partial_": True,
    "width": 128,
    "channels": 100,
    "windows": [3, 4, 5],
    "dropout": 0.5,
}
"""And where there are texts."""


def dataset_of(key: str, node: Node, allowed: Whitelist | None = None) -> Any:
    """The dataset that a node describes; nothing is loaded.

    Raises:
        UserError: it cannot be built, or is none.
    """
    target = locate(key, node.get("_target_"), allowed)
    dataset = target if isinstance(target, type) and not hasattr(target, "load") else build(key, node, allowed=allowed)
    if not callable(getattr(dataset, "load", None)):
        name = node.get("_target_")
        if hasattr(dataset, "__getitem__") or hasattr(dataset, "__iter__"):
            raise UserError(
                f"{key}._target_={name}: is a PyTorch dataset; take it as dataset=torch dataset.train._target_={name}"
            )
        raise UserError(
            f"{key}._target_={name}: has no load(); expected a class with load() -> kd_lab.types.Data; or "
            "save its samples once, numpy.savez('my.npz', X=..., y=...), and take dataset=arrays dataset.path=my.npz"
        )
    return dataset


def loaded(key: str, dataset: Any) -> Data:
    """What it loads.

    Raises:
        UserError: it cannot be loaded, or something else comes.
    """
    data = call(key, dataset.load, {})
    if not isinstance(data, Data):
        raise UserError(
            f"{key}._target_={type(dataset).__module__}.{type(dataset).__qualname__}: load() gave a "
            f"{type(data).__name__}, expected a kd_lab.types.Data"
        )
    return data


def fitting(node: Node, input_shape: object) -> Node:
    """The node of a teacher; of the default one, CNNs that answer together, others where the samples are no images."""
    member = node.get("member")
    if not isinstance(member, dict) or member.get("_target_") != CNN:
        return node
    if isinstance(input_shape, Mapping) and IDS in input_shape:
        return {**node, "member": TEXT_CNN}
    no_images = isinstance(input_shape, tuple) and len(input_shape) != 3
    return {**node, "member": MLP} if no_images else node
