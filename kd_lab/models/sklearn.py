"""A classifier of scikit-learn's kind, fitted instead of trained, that answers as a network does.

Trees, boosting, nearest neighbours teach what a small network then answers in microseconds; on tables they are the
teachers to beat. LightGBM's and XGBoost's classifiers are of this kind too.
Legend: B batch, K classes.
"""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.inputs import Inputs
from kd_lab.models.common.estimators import dumped, loaded
from kd_lab.models.common.fitted import Fitted


class Classifier(Protocol):
    """What an estimator has to have."""

    classes_: Any

    def fit(self, X: Any, y: Any) -> Any:
        """Learn from [N, features] and [N]."""

    def predict_proba(self, X: Any) -> Any:
        """Probabilities [B, K] of `classes_`."""


class SklearnEstimator(Fitted):
    """The log of an estimator's probabilities, so that their softmax is what it answers.

    Args:
        estimator: not fitted; its `random_state`, if it has one that is None, follows from the network's seed.
        num_classes: K.
        floor: a probability below it is answered as it, and so is that of a class it never saw: an estimator that
            counts is often sure, and the log of 0 teaches nothing.

    Raises:
        ValueError: it gives no probabilities, or `floor` is not between 0 and 1.
    """

    def __init__(self, estimator: Any, num_classes: int, *, floor: float = 1e-6) -> None:
        super().__init__()
        if not hasattr(estimator, "predict_proba"):
            raise ValueError(
                f"Expected `estimator` to have predict_proba, but {type(estimator).__name__} gives no probabilities "
                "(scikit-learn's CalibratedClassifierCV around it does)."
            )
        if not 0 < floor < 1:
            raise ValueError(f"Expected `floor` to be between 0 and 1, but got {floor}.")
        seed = int(torch.randint(2**31 - 1, (1,)))
        if "random_state" in estimator.get_params() and estimator.get_params()["random_state"] is None:
            estimator.set_params(random_state=seed)
        self.estimator: Classifier = estimator
        self.num_classes, self.floor = num_classes, floor
        self._content = b""

    def fit(self, inputs: Inputs, targets: Tensor, weights: Tensor | None) -> None:
        """Learn from samples [N, ...] and classes [N]; weights [N] of the samples, where they differ.

        Raises:
            UserError: samples of several tensors.
        """
        if not isinstance(inputs, Tensor):
            raise UserError(
                "teacher=sklearn: is fitted to one table; expected a dataset whose samples are one tensor each"
            )
        self._fit(_rows(inputs), targets, {} if weights is None else {"sample_weight": weights.numpy()})

    def _fit(self, rows: Any, targets: Tensor, more: dict[str, Any]) -> None:
        self.estimator.fit(rows, targets.numpy(), **more)
        self._content = dumped(self.estimator)  # once: written again, the same estimator is other bytes

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, ...], a row of numbers each, to logits [B, K] float32; all alike before it is fitted."""
        return self._logits(_rows(inputs), inputs.device)

    def _logits(self, rows: Any, device: torch.device) -> Tensor:
        probabilities = np.zeros((rows.shape[0], self.num_classes))
        if self._content:
            classes = np.asarray(self.estimator.classes_, np.int64)
            probabilities[:, classes] = self.estimator.predict_proba(rows)
        logits = np.log(np.maximum(probabilities, self.floor))
        return torch.from_numpy(logits).to(device, torch.float32)

    def get_extra_state(self) -> Tensor:
        """The fitted estimator as bytes [size] uint8, none before: it is kept with the network as weights are."""
        return torch.from_numpy(np.frombuffer(self._content, np.uint8).copy())

    def set_extra_state(self, state: Tensor) -> None:
        """See `loaded` for what is refused."""
        self._content = state.cpu().numpy().tobytes()
        if self._content:
            self.estimator = loaded(self._content)


def _rows(inputs: Tensor) -> Any:
    return inputs.detach().cpu().float().flatten(1).numpy()
