"""Texts as tokens for the tests of networks that read them."""

from typing import Any

import torch
from torch import Tensor, nn

VOCAB, LENGTH = 30, 9
SHAPE = {"input_ids": (LENGTH,), "attention_mask": (LENGTH,)}
GIVEN: dict[str, Any] = {"num_classes": 3, "input_shape": SHAPE, "vocab_size": VOCAB}


def texts(*lengths: int, padded_to: int = LENGTH, padding: int = 0, seed: int = 0) -> dict[str, Tensor]:
    """Texts of these lengths; the same ones whatever they are padded to, and with."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((len(lengths), padded_to), padding)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(4, VOCAB, (length,), generator=generator)
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask}


def check_padding_does_not_count(network: nn.Module, *, tolerance: float = 1e-6, token: int = 7) -> None:
    """The same answers with no more padding than needed, with more, with another token, one by one, listened to."""
    network.eval()
    lengths = (5, 1, 3)
    with torch.no_grad():
        short = network(**texts(*lengths, padded_to=5))
        torch.testing.assert_close(network(**texts(*lengths)), short, rtol=0, atol=tolerance)
        torch.testing.assert_close(network(**texts(*lengths, padding=token)), short, rtol=0, atol=tolerance)
        whole = texts(*lengths)
        alone = [network(**{name: one[row : row + 1] for name, one in whole.items()}) for row in range(3)]
        torch.testing.assert_close(torch.cat(alone), short, rtol=0, atol=tolerance)
        handle = network.get_submodule("classifier" if hasattr(network, "classifier") else "network")
        with_hook = handle.register_forward_hook(lambda *_: None)
        torch.testing.assert_close(network(**whole), short, rtol=0, atol=tolerance)
        with_hook.remove()


def check_every_parameter_learns(network: nn.Module) -> None:
    nn.functional.cross_entropy(network(**texts(5, 9, 3)), torch.arange(3)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
