"""Several augmentations, one after the other."""

from collections.abc import Mapping

from torch import Tensor

from kd_lab.inputs import Inputs
from kd_lab.seeds import mixed, of_samples
from kd_lab.types import Augment


class Chain:
    """Gives what one part makes to the next, in their order; each draws for itself."""

    def __init__(self, parts: Mapping[str, Augment | None]) -> None:
        """Keeps the parts.

        Args:
            parts: by any name; None is left out.

        Raises:
            ValueError: there is none.
        """
        self.parts = {name: part for name, part in parts.items() if part is not None}
        if not self.parts:
            raise ValueError("Expected `parts` to name an augmentation, but got {}: choose dataset/augment=none.")

    def __call__(self, inputs: Inputs, seeds: Tensor) -> Inputs:
        """Augments a batch.

        Args:
            inputs: what the first part takes.
            seeds: [B] int64; each part gets others that follow from these.

        Returns:
            What the last part makes.
        """
        for number, part in enumerate(self.parts.values()):
            inputs = part(inputs, of_samples(mixed(number), seeds))
        return inputs
