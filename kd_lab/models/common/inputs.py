"""Checks that every network makes of the data it is built for, with one wording for all of them.

Legend: C channels, H height, W width.
"""

import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import nn


def check_num_classes(num_classes: int) -> None:
    """Raises ValueError when there are fewer than two classes."""
    if num_classes < 2:
        raise ValueError(f"Expected `num_classes` to be at least 2, but got {num_classes}.")


def check_positive(**settings: int) -> None:
    """Raises ValueError naming the first setting that is below 1."""
    for name, value in settings.items():
        if value < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, but got {value}.")


def check_shape(input_shape: tuple[int, ...] | Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError when a sample is several tensors, has no dimension, or a dimension without elements."""
    if isinstance(input_shape, Mapping):
        raise ValueError(
            f"Expected `input_shape` to be that of one tensor, but got {', '.join(input_shape)}: choose a network of "
            "texts, such as bag_of_embeddings, text_cnn, bilstm or hf."
        )
    if not input_shape or any(size < 1 for size in input_shape):
        raise ValueError(f"Expected `input_shape` to hold sizes of at least 1, but got {tuple(input_shape)}.")


def image_shape(input_shape: tuple[int, ...], network: str, *, least: int = 1) -> tuple[int, int, int]:
    """`input_shape` as (C, H, W), or a ValueError that says what `network` wants and what to choose instead.

    least: so many pixels an image must be high and wide.
    """
    check_shape(input_shape)
    if len(input_shape) != 3:
        series = ", or fcn for series [channels, time]" if len(input_shape) == 2 else ""
        raise ValueError(
            f"Expected `input_shape` of {network} to be an image [channels, height, width], but got "
            f"{tuple(input_shape)}: give the data that shape, or choose mlp, which takes every shape{series}."
        )
    channels, height, width = input_shape
    if min(height, width) < least:
        raise ValueError(
            f"Expected `input_shape` of {network} to be at least {least} pixels high and wide, but got "
            f"{tuple(input_shape)}: give larger images or choose mlp."
        )
    return channels, height, width


def series_shape(input_shape: tuple[int, ...], network: str) -> tuple[int, int]:
    """`input_shape` as (C, T), channels and steps, or a ValueError that says what `network` wants."""
    check_shape(input_shape)
    if len(input_shape) != 2:
        raise ValueError(
            f"Expected `input_shape` of {network} to be a series [channels, time], but got {tuple(input_shape)}: give "
            "the data that shape, or choose mlp, which takes every shape."
        )
    channels, steps = input_shape
    return channels, steps


def check_takes(module: nn.Module, input_shape: tuple[int, ...], num_classes: int, network: str) -> None:
    """Sends two blank samples through `module`, so that a network that cannot take the data says so before training.

    Two samples and eval mode: BatchNorm statistics stay as they are. The random state is left as it was.

    Raises:
        ValueError: the network fails on this shape, or does not give one logit per class.
    """
    was_training = module.training
    module.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            logits = module(torch.zeros(2, *input_shape))
    except Exception as error:
        raise ValueError(cannot_take(network, input_shape, error)) from error
    finally:
        module.train(was_training)
    came = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if came != (2, num_classes):
        raise ValueError(
            f"Expected {network} to turn 2 samples into logits {(2, num_classes)}, but it gave {came}: "
            "choose a network that classifies."
        )


def cannot_take(network: str, input_shape: tuple[int, ...], error: Exception) -> str:
    """The sentence for a network that fails on this input shape."""
    return (
        f"Expected `input_shape` to be one that {network} can take, but it fails on {tuple(input_shape)} "
        f"({first_line(error)}): give larger images or choose another network, such as cnn or mlp."
    )


def unknown_name(given: str, known: Sequence[str], library: str) -> str:
    """The sentence for a network that `library` does not have, with the nearest names."""
    near = difflib.get_close_matches(given, known, n=5, cutoff=0.5)
    listed = f"did you mean {', '.join(near)}?" if near else f"for example {', '.join(known[:3])}."
    return f"Expected `name` to be a network of {library}, but got {given}: {listed}"


def no_weights(network: str, error: Exception) -> str:
    """The sentence for pretrained weights that do not come."""
    return (
        f"Expected pretrained weights for {network} in the local cache or to download, but got none "
        f"({first_line(error)}): connect to the internet once, or set pretrained=false."
    )


def first_line(error: Exception) -> str:
    """What an exception of another library says, short enough to stand inside a sentence."""
    lines = str(error).strip().splitlines()
    text = lines[0].strip().rstrip(".") if lines else type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."
