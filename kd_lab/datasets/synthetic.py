"""Ten classes, each a mixture of three Gaussians in 20 dimensions: made, not read, in a few milliseconds.

Hard enough that a teacher beats a small student, and large enough that soft labels on unlabelled points help it.
"""

import torch

from kd_lab.datasets.common.splits import SplitSettings, assemble, cut, stratified
from kd_lab.types import Augment, Data

_POINTS, _TEST, _CLASSES, _MODES, _FEATURES = 4400, 2000, 10, 3, 20
_SPREAD = 1.6
_GENERATOR_SEED = 0


class Synthetic:
    """Inputs [4400, 20]; 2000 points are the test; 400 of the other 2400 keep their label by default.

    Centres and noise are both 1.6 times standard normal; the sum is divided by its standard deviation, 1.6 * sqrt(2).
    The points are always the same; the data seed fixes which part they go to.
    """

    def __init__(
        self, *, labels: int | None = 400, validation: int = 0, seed: int = 0, augment: Augment | None = None
    ) -> None:
        """Checks the settings, makes nothing.

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
        """Makes the points and cuts them.

        Raises:
            UserError: more labels or validation points than there are, or fewer labels than classes.
        """
        generator = torch.Generator().manual_seed(_GENERATOR_SEED)
        centres = torch.randn(_CLASSES, _MODES, _FEATURES, generator=generator)
        targets = torch.arange(_POINTS) % _CLASSES
        modes = torch.randint(_MODES, (_POINTS,), generator=generator)
        noise = torch.randn(_POINTS, _FEATURES, generator=generator)
        inputs = (_SPREAD * centres[targets, modes] + _SPREAD * noise) / (_SPREAD * 2**0.5)
        pool, test = stratified(
            targets, torch.arange(_POINTS), _POINTS - _TEST, self._settings.seed, "dataset=synthetic"
        )
        targets, parts = cut(targets, pool, test, _CLASSES, self._settings)
        return assemble("synthetic", inputs, targets, parts, num_classes=_CLASSES, augment=self._settings.augment)
