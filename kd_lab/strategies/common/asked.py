"""What a trained network says of samples that somebody learns to make: logits, and what its layers saw, with a graph.

Legend: B batch, C channels, K classes.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Watched:
    """A network whose BatchNorm layers and classifiers tell what they were given, from `attach` to `remove`.

    Args:
        network: trained, in eval mode.
        num_classes: a linear layer with so many outputs is a classifier.
        means: whether `means` is wanted.
    """

    def __init__(self, network: nn.Module, num_classes: int, *, means: bool = False) -> None:
        self.network = network
        self.samples = 0
        """So many it has answered."""
        self.norms = [part for part in network.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
        self._heads = [
            part for part in network.modules() if isinstance(part, nn.Linear) and part.out_features == num_classes
        ]
        self._handles: list[Any] = []
        self._distances: list[Tensor] = []
        self._sizes: list[Tensor] = []
        self._means: list[Tensor] | None = [] if means else None

    @property
    def means(self) -> Tensor:
        """Of the last call, of each sample by itself: the means of what its BatchNorm layers were given, [B, sum C]."""
        assert self._means is not None
        return torch.cat(self._means, dim=1)

    def attach(self) -> None:
        """Begin to listen."""
        self._handles = [norm.register_forward_pre_hook(self._norm_hook(norm)) for norm in self.norms]
        self._handles += [head.register_forward_pre_hook(self._head) for head in self._heads]

    def remove(self) -> None:
        """Take the hooks off again."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Samples [B, ...] to logits [B, K]; how far the statistics that its BatchNorm layers saw are from those that
        they keep, `sum |mean - mean'| + |var - var'|` over layers (Euclidean norms); the mean of what its classifiers
        were given, in absolute value. The two are scalars, 0 where there is no such layer."""
        self._distances, self._sizes = [], []
        self._means = None if self._means is None else []
        self.samples += len(inputs)
        logits = self.network(inputs)
        none = logits.new_zeros(())
        size = torch.stack(self._sizes).mean() if self._sizes else none
        return logits, sum(self._distances, start=none), size

    def _norm_hook(self, norm: _BatchNorm) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            axes = [0, *range(2, given[0].ndim)]
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean = torch.linalg.vector_norm(given[0].mean(dim=axes) - norm.running_mean)
            variance = torch.linalg.vector_norm(given[0].var(dim=axes, unbiased=False) - norm.running_var)
            self._distances.append(mean + variance)
            if self._means is not None:
                self._means.append(given[0].mean(dim=axes[1:]) if axes[1:] else given[0])

        return hook

    def _head(self, _module: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._sizes.append(given[0].abs().mean())
