"""The 1797 handwritten digits that come with scikit-learn: 8x8 pixels, ten classes, no download.

Source: E. Alpaydin and C. Kaynak, UCI, 1998 (test part of "Optical Recognition of Handwritten Digits").
"""

import torch

from kd_lab.datasets.common.scaled import Scaled
from kd_lab.datasets.common.splits import SplitSettings, assemble, cut, stratified
from kd_lab.types import Augment, Data

_TEST = 600


class Digits:
    """Inputs [1797, 1, 8, 8] in 0..1 (grey value / 16); 600 points are the test, the rest is the training pool.

    With seed 0 and 100 labels these are the parts of the demo: 100 labelled and 1097 unlabelled points.
    """

    def __init__(
        self, *, labels: int | None = 100, validation: int = 0, seed: int = 0, augment: Augment | None = None
    ) -> None:
        """Checks the settings, reads nothing.

        Args:
            labels: how many labels are kept, stratified; None keeps all.
            validation: how many labelled points are cut from the training pool before labels are hidden.
            seed: fixes the parts.
            augment: the batch transform that training may apply.

        Raises:
            ValueError: a value that no dataset can meet.
        """
        self._settings = SplitSettings(labels, validation, seed, augment)

    def load(self) -> Data:
        """Reads the digits and cuts them.

        Raises:
            UserError: more labels or validation points than there are, or fewer labels than classes.
        """
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images, from_raw = torch.from_numpy(bunch.images).unsqueeze(1), Scaled(divisor=16)
        targets = torch.from_numpy(bunch.target).to(torch.int64)
        rows = torch.arange(len(targets))
        pool, test = stratified(targets, rows, len(rows) - _TEST, self._settings.seed, "dataset=digits")
        targets, parts = cut(targets, pool, test, 10, self._settings)
        return assemble(
            "digits",
            from_raw.of_one(images),
            targets,
            parts,
            num_classes=10,
            augment=self._settings.augment,
            from_raw=from_raw,
        )
