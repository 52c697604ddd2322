"""Convolutions over the words' embeddings, and of each of their channels the largest value in the text.

Source: Kim 2014 (arXiv:1408.5882), CNN-rand: windows of 3, 4 and 5 words, 100 channels each, dropout 0.5.
Differs: windows may reach over both ends of a text, where there is nothing, so that a text may be of any length.

Legend: B batch, L tokens of the longest text, W width, C channels, K classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.models.common.inputs import check_num_classes, check_positive
from kd_lab.models.common.text import check_text, trimmed


class TextCNN(nn.Module):
    """One convolution for each size of window, ReLU, the maximum over the text, dropout, a linear classifier.

    Args:
        num_classes: K.
        input_shape: of texts as tokens.
        vocab_size: how many different tokens there are.
        width: W, of an embedding.
        channels: C, of each convolution.
        windows: how many tokens each of them sees.
        dropout: the share of the maxima that are left out in training.

    Raises:
        ValueError: no texts, no window, or a size below 1.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Any,
        vocab_size: int | None = None,
        *,
        width: int = 128,
        channels: int = 100,
        windows: Sequence[int] = (3, 4, 5),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        check_positive(width=width, channels=channels, windows=min(windows, default=0))
        self.embedding = nn.Embedding(check_text(input_shape, vocab_size, "text_cnn"), width)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, channels, size) for size in windows)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels * len(windows), num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens [B, L] and the mask [B, L] to logits [B, K]."""
        input_ids, attention_mask = trimmed(self, input_ids, attention_mask)
        embedded_blw = self.embedding(input_ids)
        weight_b1l = attention_mask.unsqueeze(1).to(embedded_blw.dtype)
        embedded_bwl = embedded_blw.transpose(1, 2) * weight_b1l
        # What is active is positive after the ReLU, so a position that is 0 never wins against one that counts.
        maxima = [(F.relu(self._seen(conv, embedded_bwl)) * weight_b1l).amax(2) for conv in self.convolutions]
        logits_bk: Tensor = self.classifier(self.dropout(torch.cat(maxima, dim=1)))
        return logits_bk

    @staticmethod
    def _seen(conv: nn.Module, embedded_bwl: Tensor) -> Tensor:
        """A window around each position; one of even size reaches further to the right."""
        assert isinstance(conv, nn.Conv1d)
        size = conv.kernel_size[0]
        seen: Tensor = conv(F.pad(embedded_bwl, ((size - 1) // 2, size // 2)))
        return seen
