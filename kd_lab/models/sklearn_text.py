"""A classifier of scikit-learn's kind over TF-IDF, fitted instead of trained, that answers as a network of text does.

On texts that are told apart by their words it is the one to beat: a teacher that it beats has nothing to teach.
Legend: B batch, L tokens of the longest text, V tokens of the vocabulary, K classes.
"""

from typing import Any

import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.inputs import IDS, MASK, Inputs
from kd_lab.models.common.inputs import first_line
from kd_lab.models.common.text import check_text
from kd_lab.models.sklearn import SklearnEstimator

LAST = "classifier"


class SklearnText(SklearnEstimator):
    """The log of an estimator's probabilities for the counts of a text's tokens, weighted by TF-IDF.

    Args:
        num_classes: K.
        input_shape: of texts as tokens.
        vocab_size: V.
        estimator: not fitted, of sparse rows; see `SklearnEstimator`. None: a linear SVM, calibrated on three folds.
        sublinear: whether a token that stands n times counts 1 + log(n).
        floor: see `SklearnEstimator`.

    Raises:
        ValueError: no texts, or see `SklearnEstimator`.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Any,
        vocab_size: int | None = None,
        *,
        estimator: Any = None,
        sublinear: bool = True,
        floor: float = 1e-6,
    ) -> None:
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.pipeline import Pipeline

        size = check_text(input_shape, vocab_size, "sklearn_text")
        super().__init__(_linear_svm() if estimator is None else estimator, num_classes, floor=floor)
        self.vocab_size = size
        self.estimator = Pipeline([("tfidf", TfidfTransformer(sublinear_tf=sublinear)), (LAST, self.estimator)])

    def fit(self, inputs: Inputs, targets: Tensor, weights: Tensor | None) -> None:
        """Learn from texts and classes [N]; weights [N] of the samples, where they differ.

        Raises:
            UserError: the estimator refuses, as the calibrated one where a class has fewer texts than folds.
        """
        assert not isinstance(inputs, Tensor), "checked when it was built"
        more = {} if weights is None else {f"{LAST}__sample_weight": weights.numpy()}
        try:
            self._fit(self._counts(inputs[IDS], inputs[MASK]), targets, more)
        except ValueError as error:
            raise UserError(
                f"teacher=sklearn_text: cannot be fitted ({first_line(error)}); choose another, such as "
                "teacher.estimator={_target_: sklearn.linear_model.LogisticRegression, C: 100}"
            ) from error

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]  # texts, not rows
        """Tokens [B, L] and the mask [B, L] to logits [B, K] float32; all alike before it is fitted."""
        return self._answers(self._counts(input_ids, attention_mask), input_ids.device)

    def _counts(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """How often each token stands in each text, sparse [B, V]."""
        from scipy.sparse import csr_array

        rows, places = torch.nonzero(attention_mask.cpu(), as_tuple=True)
        tokens = input_ids.cpu()[rows, places]
        ones = torch.ones(len(rows), dtype=torch.float64)
        # Of 32 bits: liblinear (LinearSVC) takes no others.
        where = tuple(one.to(torch.int32).numpy() for one in (rows, tokens))
        made = csr_array((ones.numpy(), where), shape=(len(input_ids), self.vocab_size))
        made.sum_duplicates()
        return made


def _linear_svm() -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import LinearSVC

    return CalibratedClassifierCV(LinearSVC(random_state=0), cv=3, ensemble=False)
