"""The mean of the words' embeddings and a linear layer: the order of the words does not matter.

Source: Joulin et al. 2017 (fastText, arXiv:1607.01759), without its n-grams and its hashing.

Legend: B batch, L tokens of the longest text, W width, K classes.
"""

from typing import Any

from torch import Tensor, nn

from kd_lab.models.common.inputs import check_num_classes, check_positive
from kd_lab.models.common.text import check_text, trimmed


class BagOfEmbeddings(nn.Module):
    """Embeddings, averaged over the tokens of a text, into a linear classifier.

    Args:
        num_classes: K.
        input_shape: of texts as tokens.
        vocab_size: how many different tokens there are.
        width: W, of an embedding.
        dropout: the share of the mean's entries that are left out in training.

    Raises:
        ValueError: no texts, or a size below 1.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Any,
        vocab_size: int | None = None,
        *,
        width: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        check_positive(width=width)
        self.embedding = nn.Embedding(check_text(input_shape, vocab_size, "bag_of_embeddings"), width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens [B, L] and the mask [B, L] to logits [B, K]."""
        input_ids, attention_mask = trimmed(self, input_ids, attention_mask)
        embedded_blw = self.embedding(input_ids)
        weight_bl1 = attention_mask.unsqueeze(2).to(embedded_blw.dtype)
        mean_bw = (embedded_blw * weight_bl1).sum(1) / weight_bl1.sum(1).clamp(min=1)
        logits_bk: Tensor = self.classifier(self.dropout(mean_bw))
        return logits_bk
