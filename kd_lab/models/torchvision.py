"""Any image classifier of torchvision, with or without its pretrained weights.

Legend: B batch, C channels, H height, W width, K classes.
"""

from typing import Any

from torch import Tensor, nn

from kd_lab.models.common.inputs import (
    cannot_take,
    check_num_classes,
    check_takes,
    image_shape,
    no_weights,
    unknown_name,
)


def check_name(name: str) -> None:
    """Raises ValueError naming the nearest names when torchvision has no such classifier; builds nothing."""
    known = _names()
    if name not in known:
        raise ValueError(unknown_name(name, known, "torchvision"))


class Torchvision(nn.Module):
    """A classifier of torchvision with K classes; an image of one channel is repeated to three.

    With pretrained weights the last layer is new. Auxiliary classifiers (googlenet, inception_v3) are left out, so
    that there is one output in training too. Inputs are not normalised or resized here.

    Args:
        num_classes: K.
        input_shape: (C, H, W) with C 1 or 3.
        name: as in `torchvision.models.list_models(module=torchvision.models)`.
        pretrained: start from torchvision's default weights (from the local cache, or downloaded).

    Raises:
        ValueError: unknown name, no image, a shape the network cannot take, weights that cannot be had.
    """

    def __init__(
        self, num_classes: int, input_shape: tuple[int, ...], *, name: str = "resnet18", pretrained: bool = False
    ) -> None:
        super().__init__()
        check_name(name)
        check_num_classes(num_classes)
        label = f"torchvision network {name}"
        channels, height, width = image_shape(input_shape, label)
        if channels not in {1, 3}:
            raise ValueError(
                f"Expected `input_shape` of {label} to have 1 or 3 channels, but got {tuple(input_shape)}: "
                "choose timm, which takes any number of channels."
            )
        colour = (3, height, width)
        network = _create(name, num_classes, colour, label)
        check_takes(network, colour, num_classes, label)
        self.network = _create_pretrained(name, num_classes, label) if pretrained else network
        if pretrained:
            check_takes(self.network, colour, num_classes, label)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, H, W] to logits [B, K]."""
        if inputs.shape[1] == 1:
            inputs = inputs.expand(-1, 3, -1, -1)
        logits_bk: Tensor = self.network(inputs)
        return logits_bk


def _names() -> list[str]:
    import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _create(name: str, num_classes: int, shape: tuple[int, int, int], label: str) -> nn.Module:
    import torchvision

    settings: dict[str, Any] = {"num_classes": num_classes}
    if name.startswith("vit_"):
        settings["image_size"] = shape[1]
    elif name.startswith("maxvit"):
        settings["input_size"] = shape[1:]
    elif name in {"googlenet", "inception_v3"}:
        settings |= {"aux_logits": False, "init_weights": True}
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=None, **settings)
    except Exception as error:
        raise ValueError(cannot_take(label, shape, error)) from error
    return network


def _create_pretrained(name: str, num_classes: int, label: str) -> nn.Module:
    import torchvision

    # inception_v3 keeps its auxiliary classifier unless told; googlenet drops it unless told, and refuses to be told.
    settings: dict[str, Any] = {"aux_logits": False} if name == "inception_v3" else {}
    if name.startswith("inception") or name == "googlenet":
        settings["transform_input"] = False
    try:
        network: nn.Module = torchvision.models.get_model(name, weights="DEFAULT", **settings)
    except Exception as error:
        raise ValueError(no_weights(label, error)) from error
    _replace_head(network, num_classes)
    return network


def _replace_head(network: nn.Module, num_classes: int) -> None:
    """Puts a new last layer in place: torchvision loads weights only into a network with the classes of ImageNet."""
    heads = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    path, old = heads[-1]
    parent, _, child = path.rpartition(".")
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
    else:
        new = nn.Conv2d(old.in_channels, num_classes, kernel_size=1)
    setattr(network.get_submodule(parent), child, new)
