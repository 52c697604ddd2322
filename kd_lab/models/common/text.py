"""What networks over tokens have in common: checks of what they are told, and no work on what is padding throughout.

Legend: B batch, L tokens of the longest text.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kd_lab.inputs import IDS, MASK


def check_text(input_shape: Any, vocab_size: int | None, network: str) -> int:
    """How many different tokens there are.

    Raises:
        ValueError: the samples are no texts.
    """
    if not isinstance(input_shape, Mapping) or {*input_shape} != {IDS, MASK} or vocab_size is None:
        raise ValueError(
            f"Expected `input_shape` of {network} to be that of texts as tokens, but got {input_shape}: choose "
            "dataset=text, or a network for these data, such as mlp."
        )
    return vocab_size


def trimmed(network: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Without the positions at the end that are padding in all texts; at least one is left.

    A network that looks nowhere but where the mask is 1 answers the same. All positions stay while somebody listens to
    its layers, whose features are of one length then, in whichever batch a text comes; and under torch.compile.
    """
    if torch.compiler.is_compiling() or any(m._forward_hooks or m._forward_pre_hooks for m in network.modules()):
        return input_ids, attention_mask
    longest = max(int(attention_mask.any(0).sum()), 1)
    return input_ids[:, :longest], attention_mask[:, :longest]
