import pytest
import torch

from kd_lab.augment.cutout import Cutout
from kd_lab.seeds import integers, of_samples


@pytest.mark.parametrize("size", [1, 5, 8])
def test_cutout__equals_a_loop_over_images(size: int) -> None:
    images = torch.rand(64, 3, 16, 12, generator=torch.Generator().manual_seed(1))
    seeds = of_samples(3, torch.arange(64))
    looped = images.clone()
    for i, place in enumerate(integers(seeds, 0, 16 * 12).tolist()):
        row, column = divmod(place, 12)
        top, left = row - size // 2, column - size // 2
        looped[i, :, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0.25
    assert torch.equal(Cutout(size, 0.25)(images, seeds), looped)


def test_cutout__bytes_are_painted_as_bytes() -> None:
    images = torch.zeros(200, 1, 8, 8, dtype=torch.uint8)
    made = Cutout(3, fill=0.5)(images, of_samples(0, torch.arange(200)))
    assert made.dtype == torch.uint8
    assert made.unique().tolist() == [0, 128]
    covered = (made > 0).flatten(1).sum(1)
    assert (int(covered.min()), int(covered.max())) == (4, 9)  # in a corner, and inside


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"size": 0}, r"`size` to be >= 1, but got 0\."), ({"fill": 1.5}, r"`fill` to be from 0 to 1, but got 1\.5\.")],
)
def test_cutout__settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"Expected {message}"):
        Cutout(**settings)  # type: ignore[arg-type]


def test_cutout__inputs_that_are_no_images() -> None:
    with pytest.raises(ValueError, match=r"Expected images \[B, C, H, W\] to cut, but got inputs of shape \[4, 20\]"):
        Cutout()(torch.zeros(4, 20), torch.zeros(4, dtype=torch.int64))
