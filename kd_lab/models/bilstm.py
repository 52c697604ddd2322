"""An LSTM in both directions over the words' embeddings; the mean of its states classifies.

Source: Tang et al. 2019 (arXiv:1903.12136), who distil BERT into a BiLSTM; they take its last states.
Differs: the mean over the text, which needs fewer epochs and does not hang on what stands at the ends.

Legend: B batch, L tokens of the longest text, W width, H hidden units, K classes.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kd_lab.models.common.inputs import check_num_classes, check_positive
from kd_lab.models.common.text import check_text, trimmed


class BiLSTM(nn.Module):
    """Embeddings, LSTM layers in both directions, the mean of the last one's states, dropout, a linear classifier.

    Args:
        num_classes: K.
        input_shape: of texts as tokens.
        vocab_size: how many different tokens there are.
        width: W, of an embedding.
        hidden: H, of each direction.
        layers: recurrent layers on top of each other.
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
        hidden: int = 64,
        layers: int = 1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        check_positive(width=width, hidden=hidden, layers=layers)
        self.embedding = nn.Embedding(check_text(input_shape, vocab_size, "bilstm"), width)
        self.recurrent = nn.LSTM(width, hidden, layers, batch_first=True, bidirectional=True)
        self.states = nn.Identity()  # where the states can be listened to: the LSTM's own have no padding
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * hidden, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens [B, L] and the mask [B, L] to logits [B, K]; the padding stands behind the text."""
        input_ids, attention_mask = trimmed(self, input_ids, attention_mask)
        lengths_b = attention_mask.sum(1)
        # The backward direction would begin in the padding.
        packed = pack_padded_sequence(
            self.embedding(input_ids), lengths_b.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        states_blh, _ = pad_packed_sequence(
            self.recurrent(packed)[0], batch_first=True, total_length=input_ids.shape[1]
        )
        states_blh = self.states(states_blh)
        mean_bh = states_blh.sum(1) / lengths_b.clamp(min=1).unsqueeze(1)  # 0 on the padding
        logits_bk: Tensor = self.classifier(self.dropout(mean_bh))
        return logits_bk
