"""Any image classifier of timm (Wightman, PyTorch Image Models), with or without its pretrained weights.

Legend: B batch, C channels, H height, W width, K classes.
"""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Raises ValueError naming the nearest names when timm has no such network; builds and downloads nothing.

    `hf-hub:OWNER/NAME` is taken as it is: only the hub knows what it holds.
    """
    import timm

    if not name.startswith("hf-hub:") and not timm.is_model(name):
        raise ValueError(unknown_name(name, timm.list_models(), "timm"))


class Timm(nn.Module):
    """A network of timm with a classifier for K classes and as many input channels as the data has.

    Pretrained weights are adapted: the classifier is new, the first convolution is summed or repeated over channels,
    position embeddings are resized to the images. Inputs are not normalised or resized here.

    Args:
        num_classes: K.
        input_shape: (C, H, W).
        name: as in `timm.list_models()`, optionally with the tag of its weights: "resnet18.a1_in1k".
        pretrained: start from published weights (from the local cache, or downloaded).

    Raises:
        ValueError: unknown name, no image, a shape the network cannot take, weights that cannot be had.
    """

    def __init__(
        self, num_classes: int, input_shape: tuple[int, ...], *, name: str = "resnet18", pretrained: bool = False
    ) -> None:
        super().__init__()
        check_name(name)
        check_num_classes(num_classes)
        label = f"timm network {name}"
        channels, height, width = image_shape(input_shape, label)
        settings: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
        if _has_fixed_size(name):
            settings["img_size"] = (height, width)
        if pretrained:
            # Built blank first: a shape that does not fit must not read as weights that do not come.
            check_takes(_create(name, settings, label, input_shape), input_shape, num_classes, label)
            self.network = _create_pretrained(name, settings, label)
        else:
            self.network = _create(name, settings, label, input_shape)
            check_takes(self.network, input_shape, num_classes, label)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, H, W] to logits [B, K]."""
        logits_bk: Tensor = self.network(inputs)
        return logits_bk


def _has_fixed_size(name: str) -> bool:
    """Transformers of timm are built for one image size, which then has to be given; others take no such argument."""
    import timm

    config = None if name.startswith("hf-hub:") else timm.models.get_pretrained_cfg(name)
    return config is not None and bool(config.fixed_input_size)


def _create(name: str, settings: dict[str, Any], label: str, input_shape: tuple[int, ...]) -> nn.Module:
    import timm

    try:
        network: nn.Module = timm.create_model(name, pretrained=False, **settings)
    except Exception as error:
        raise ValueError(cannot_take(label, input_shape, error)) from error
    return network


def _create_pretrained(name: str, settings: dict[str, Any], label: str) -> nn.Module:
    import timm

    try:
        with _cache_only_without_network():
            network: nn.Module = timm.create_model(name, pretrained=True, **settings)
    except Exception as error:
        raise ValueError(no_weights(label, error)) from error
    return network


@contextmanager
def _cache_only_without_network() -> Iterator[None]:
    """Offline, the hub client (huggingface_hub 1.x) retries for most of a minute; the cache answers at once."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(url: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
