"""What an estimator says of the very samples that it learned from, when it is asked as if it had not seen them.

Legend: N samples, K classes.
"""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kd_lab.errors import TrainingFailedError, UserError

Probabilities = npt.NDArray[np.float64]
_DIGEST = 32


class OwnAnswers(nn.Module):
    """Logits [N, K] float32 to the samples that were learned from, kept with the network; a hash tells these."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self._state = torch.empty(0, dtype=torch.uint8)

    def keep(self, logits: Tensor, inputs: Tensor, targets: Tensor) -> None:
        """Logits [N, K] to these samples [N, ...] of these classes [N]."""
        held = logits.float().contiguous().view(torch.uint8).flatten()
        self._state = torch.cat([_digest(inputs, targets), held])

    def of(self, inputs: Tensor, targets: Tensor) -> Tensor | None:
        """The logits [N, K] again; None before anything was learned.

        Raises:
            UserError: these are other samples, or other classes.
        """
        if not len(self._state):
            return None
        size = 4 * self.num_classes * len(targets)
        if len(self._state) != _DIGEST + size or not torch.equal(self._state[:_DIGEST], _digest(inputs, targets)):
            raise UserError(
                "teacher.answers: the teacher keeps what it says of the samples that it learned from, and these are "
                "others; expected the data, the parts and the labels that it was fitted on, or teacher.answers=in_bag"
            )
        return self._state[_DIGEST:].clone().view(torch.float32).reshape(len(targets), self.num_classes)

    def get_extra_state(self) -> Tensor:
        """A hash of the samples, and the logits, as bytes."""
        return self._state

    def set_extra_state(self, state: Tensor) -> None:
        """See `of` for what is refused."""
        self._state = state.cpu().to(torch.uint8).flatten()


def out_of_fold(
    estimator: Any, rows: Any, targets: Any, *, folds: int, seed: int, weights: Any | None
) -> Probabilities:
    """Probabilities [N, K'] of the K' classes in order: each sample's by an estimator fitted without its fold.

    The folds are stratified and shuffled by the seed (Stone 1974, cross-validatory choice; Wolpert 1992, stacking).
    """
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    cut = StratifiedKFold(folds, shuffle=True, random_state=seed)
    given = None if weights is None else {"sample_weight": weights}
    said: Probabilities = cross_val_predict(
        clone(estimator), rows, targets, cv=cut, method="predict_proba", params=given
    )
    return said


def out_of_bag(estimator: Any) -> Probabilities:
    """Probabilities [N, K'] of a fitted ensemble, each sample's by the members that drew it not (Breiman 1996).

    Raises:
        TrainingFailedError: every member drew some sample.
    """
    said: Probabilities = np.asarray(estimator.oob_decision_function_, np.float64)
    asked = np.isfinite(said).all(axis=1) & (said.sum(axis=1) > 0)
    if not asked.all():
        raise TrainingFailedError(
            f"teacher.answers=out_of_bag: {int((~asked).sum())} of {len(said):,} samples are in the bag of every "
            "member, so that none answers; expected more of them, teacher.estimator.n_estimators"
        )
    return said


def _digest(inputs: Tensor, targets: Tensor) -> Tensor:
    digest = hashlib.sha256()
    for tensor in (inputs, targets):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
