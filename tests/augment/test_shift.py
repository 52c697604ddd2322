import pickle

import pytest
import torch
from torch import Tensor

from kd_lab.augment.shift import Shift
from kd_lab.seeds import integers, of_samples


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _seeds(images: Tensor, seed: int = 0) -> Tensor:
    return of_samples(seed, torch.arange(len(images)))


def test_shift__moves_one_bright_pixel_by_at_most_pixels_and_fills_with_zeros() -> None:
    images = torch.zeros(500, 1, 9, 7)
    images[:, 0, 4, 3] = 5.0
    moved = Shift(2)(images, _seeds(images))
    places = torch.nonzero(moved)
    assert moved.shape == images.shape
    assert torch.equal(moved.flatten(1).sum(1), torch.full((500,), 5.0))
    distances = {(int(h) - 4, int(w) - 3) for _, _, h, w in places}
    assert distances == {(h, w) for h in range(-2, 3) for w in range(-2, 3)}


def test_shift__all_channels_of_an_image_move_together() -> None:
    images = torch.rand(64, 1, 6, 6, generator=_generator(3)).repeat(1, 3, 1, 1)
    moved = Shift(1)(images, _seeds(images))
    assert torch.equal(moved[:, 0], moved[:, 1])
    assert torch.equal(moved[:, 0], moved[:, 2])


def test_shift__equals_a_loop_over_images() -> None:
    images = torch.rand(32, 2, 5, 8, generator=_generator(1))
    seeds = _seeds(images, 7)
    offsets = [divmod(int(place), 3) for place in integers(seeds, 0, 9)]
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    looped = [padded[i, :, y : y + 5, x : x + 8] for i, (y, x) in enumerate(offsets)]
    assert torch.equal(Shift(1)(images, seeds), torch.stack(looped))


def test_shift__what_leaves_the_image_is_lost() -> None:
    images = torch.zeros(200, 1, 4, 4)
    images[:, 0, 0, 0] = 1.0
    kept = Shift(1)(images, _seeds(images)).flatten(1).sum(1)
    # A corner survives 4 of the 9 shifts.
    assert 0.3 < float(kept.mean()) < 0.6


def test_shift__input_is_left_alone() -> None:
    images = torch.rand(8, 1, 4, 4)
    before = images.clone()
    Shift(1)(images, _seeds(images))
    assert torch.equal(images, before)


def test_shift__pickles() -> None:
    images = torch.rand(8, 1, 4, 4)
    again = pickle.loads(pickle.dumps(Shift(1)))
    assert torch.equal(again(images, _seeds(images)), Shift(1)(images, _seeds(images)))


@pytest.mark.parametrize("pixels", [0, -1])
def test_shift__pixels_below_one(pixels: int) -> None:
    with pytest.raises(ValueError, match=rf"Expected `pixels` to be >= 1, but got {pixels}\."):
        Shift(pixels)


@pytest.mark.parametrize("shape", [(4, 20), (4, 8, 8)])
def test_shift__inputs_that_are_no_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected images \[B, C, H, W\] to shift, but got inputs of shape \[4, "):
        Shift(1)(torch.zeros(shape), torch.zeros(4, dtype=torch.int64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_shift__same_on_the_gpu() -> None:
    images = torch.rand(64, 3, 9, 9)
    assert torch.equal(Shift(2)(images.cuda(), _seeds(images).cuda()).cpu(), Shift(2)(images, _seeds(images)))
