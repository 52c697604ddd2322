"""A classifier of scikit-learn's kind, fitted instead of trained, that answers as a network does.

Trees, boosting, nearest neighbours teach what a small network then answers in microseconds; on tables they are the
teachers to beat. LightGBM's and XGBoost's classifiers are of this kind too.
Legend: B batch, K classes.
"""

import math
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.inputs import Inputs
from kd_lab.models.common.estimators import dumped, loaded
from kd_lab.models.common.fitted import Fitted
from kd_lab.models.common.own_answers import OwnAnswers, out_of_bag, out_of_fold


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
        answers: what it teaches of the samples that it learned from. "in_bag": what it answers to any. "out_of_bag": by
            those of its members that drew a sample not; of forests and bagging. "out_of_fold": by estimators of the
            same kind that were fitted without the sample's fold. All other samples are answered by the whole.
        folds: how many, out of fold.

    Raises:
        ValueError: it gives no probabilities or no out-of-bag answers, `floor` is not between 0 and 1, or `folds` is
            below 2.
    """

    def __init__(
        self,
        estimator: Any,
        num_classes: int,
        *,
        floor: float = 1e-6,
        answers: Literal["in_bag", "out_of_bag", "out_of_fold"] = "in_bag",
        folds: int = 5,
    ) -> None:
        super().__init__()
        if not hasattr(estimator, "predict_proba"):
            raise ValueError(
                f"Expected `estimator` to have predict_proba, but {type(estimator).__name__} gives no probabilities "
                "(scikit-learn's CalibratedClassifierCV around it does)."
            )
        if not 0 < floor < 1:
            raise ValueError(f"Expected `floor` to be between 0 and 1, but got {floor}.")
        if folds < 2:
            raise ValueError(f"Expected `folds` to be at least 2, but got {folds}.")
        seed = int(torch.randint(2**31 - 1, (1,)))
        if "random_state" in estimator.get_params() and estimator.get_params()["random_state"] is None:
            estimator.set_params(random_state=seed)
        self.estimator: Classifier = estimator
        if answers == "out_of_bag":
            _ask_for_oob(estimator)
        self.num_classes, self.floor = num_classes, floor
        self.answers, self.folds, self._seed = answers, folds, seed
        self.own = None if answers == "in_bag" else OwnAnswers(num_classes)
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
        rows, counts = _rows(inputs), None if weights is None else weights.numpy()
        self._fit(rows, targets, {} if counts is None else {"sample_weight": counts})
        if self.own is not None and self.answers == "out_of_bag":
            self.own.keep(self._logits(out_of_bag(self.estimator)), inputs, targets)
        elif self.own is not None:
            said = out_of_fold(self.estimator, rows, targets.numpy(), folds=self.folds, seed=self._seed, weights=counts)
            self.own.keep(self._logits(said), inputs, targets)

    def _fit(self, rows: Any, targets: Tensor, more: dict[str, Any]) -> None:
        self.estimator.fit(rows, targets.numpy(), **more)
        self._content = dumped(self.estimator)  # once: written again, the same estimator is other bytes

    def check(self, targets: Tensor) -> None:
        """See `Fitted.check`: each fold needs a sample of each class."""
        counts = torch.bincount(targets)
        least = int(counts[counts > 0].min())
        if self.answers == "out_of_fold" and least < self.folds:
            rare = int((counts == least).nonzero()[0])
            raise UserError(
                f"teacher.folds={self.folds}: expected at most {least}, the labelled samples of class {rare}, so that "
                "each fold has one"
            )

    def own_answers(self, inputs: Tensor, targets: Tensor) -> Tensor | None:
        """See `Fitted.own_answers`."""
        return None if self.own is None else self.own.of(inputs, targets)

    def described(self) -> str | None:
        """See `Fitted.described`."""
        return {"out_of_bag": "out of bag", "out_of_fold": f"out of {self.folds} folds"}.get(self.answers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, ...], a row of numbers each, to logits [B, K] float32; all alike before it is fitted."""
        return self._answers(_rows(inputs), inputs.device)

    def _answers(self, rows: Any, device: torch.device) -> Tensor:
        if not self._content:
            return torch.full((rows.shape[0], self.num_classes), math.log(self.floor), device=device)
        return self._logits(self.estimator.predict_proba(rows)).to(device)

    def _logits(self, said: Any) -> Tensor:
        """Of probabilities [B, K'] of the classes that it saw, [B, K] float32."""
        probabilities = np.zeros((len(said), self.num_classes))
        probabilities[:, np.asarray(self.estimator.classes_, np.int64)] = said
        return torch.from_numpy(np.log(np.maximum(probabilities, self.floor))).float()

    def get_extra_state(self) -> Tensor:
        """The fitted estimator as bytes [size] uint8, none before: it is kept with the network as weights are."""
        return torch.from_numpy(np.frombuffer(self._content, np.uint8).copy())

    def set_extra_state(self, state: Tensor) -> None:
        """See `loaded` for what is refused."""
        self._content = state.cpu().numpy().tobytes()
        if self._content:
            self.estimator = loaded(self._content)


def _ask_for_oob(estimator: Any) -> None:
    """Have it keep out-of-bag answers."""
    settings = estimator.get_params(deep=False)
    if "oob_score" not in settings or not settings.get("bootstrap", True):
        raise ValueError(
            f"Expected `answers` to be in_bag or out_of_fold of a {type(estimator).__name__}, which draws no bags (a "
            "forest and BaggingClassifier with bootstrap=true do), but got out_of_bag."
        )
    estimator.set_params(oob_score=True)


def _rows(inputs: Tensor) -> Any:
    return inputs.detach().cpu().float().flatten(1).numpy()
