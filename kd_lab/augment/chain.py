"""Several augmentations, one after the other."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from kd_lab.inputs import Inputs
from kd_lab.seeds import mixed, of_samples
from kd_lab.types import Augment, cuts


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
        return self._through(inputs, seeds, 0)

    @property
    def cuts(self) -> bool:
        """Whether the first part cuts, as whole pictures are cut."""
        return cuts(next(iter(self.parts.values())))

    def cut(self, pictures: Sequence[Tensor], seeds: Tensor, size: tuple[int, int]) -> Inputs:
        """What the last part makes, where the first one cuts; see `kd_lab.types.Cutting`."""
        first = next(iter(self.parts.values()))
        assert cuts(first)
        return self._through(first.cut(pictures, of_samples(mixed(0), seeds), size), seeds, 1)

    def _through(self, inputs: Inputs, seeds: Tensor, done: int) -> Inputs:
        """The parts from this one on."""
        for number, part in list(enumerate(self.parts.values()))[done:]:
            inputs = part(inputs, of_samples(mixed(number), seeds))
        return inputs
