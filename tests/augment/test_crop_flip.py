import pytest
import torch
from torch import Tensor

from kd_lab.augment.crop_flip import CropFlip
from kd_lab.seeds import integers, of_samples


def _images(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def _seeds(count: int, seed: int = 0) -> Tensor:
    return of_samples(seed, torch.arange(count))


@pytest.mark.parametrize(("padding", "flip"), [(4, True), (2, False), (0, True)])
def test_crop_flip__equals_a_loop_over_images(padding: int, flip: bool) -> None:
    images, seeds = _images(64, 3, 32, 20), _seeds(64, 7)
    side = 2 * padding + 1
    places, mirrored = integers(seeds, 0, side**2).tolist(), (integers(seeds, 1, 2) == 1).tolist()
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    looped = []
    for i, place in enumerate(places):
        down, right = divmod(place, side)
        crop = padded[i, :, down : down + 32, right : right + 20]
        looped.append(crop.flip(2) if flip and mirrored[i] else crop)
    made = CropFlip(padding, flip)(images, seeds)
    assert made.dtype == torch.uint8
    assert torch.equal(made, torch.stack(looped))


def test_crop_flip__half_are_mirrored_and_every_place_is_drawn() -> None:
    images = torch.zeros(4000, 1, 12, 12)
    images[:, 0, 5, 5], images[:, 0, 5, 6] = 1.0, 2.0
    made = CropFlip(2)(images, _seeds(4000))[:, 0]
    bright, brighter = torch.nonzero(made == 1.0), torch.nonzero(made == 2.0)
    mirrored = bright[:, 2] > brighter[:, 2]
    assert 0.47 < float(mirrored.float().mean()) < 0.53
    left = torch.minimum(bright[:, 2], brighter[:, 2])
    drawn = {(int(m), int(h) - 5, int(w) - 5) for m, (_, h, _), w in zip(mirrored, bright, left, strict=True)}
    assert drawn == {(m, h, w) for m in (0, 1) for h in range(-2, 3) for w in range(-2, 3)}


def test_crop_flip__a_padding_below_zero() -> None:
    with pytest.raises(ValueError, match=r"Expected `padding` to be >= 0, but got -1\."):
        CropFlip(-1)


def test_crop_flip__inputs_that_are_no_images() -> None:
    with pytest.raises(ValueError, match=r"Expected images \[B, C, H, W\] to crop, but got inputs of shape \[4, 20\]"):
        CropFlip()(torch.zeros(4, 20), _seeds(4))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_crop_flip__same_on_the_gpu() -> None:
    images = _images(64, 3, 32, 32)
    assert torch.equal(CropFlip()(images.cuda(), _seeds(64).cuda()).cpu(), CropFlip()(images, _seeds(64)))
