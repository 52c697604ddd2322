import pickle

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from kd_lab.augment.rand_augment import OTHERS, SIGNED, RandAugment
from kd_lab.seeds import integers, of_samples


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _seeds(count: int, seed: int = 0) -> Tensor:
    return of_samples(seed, torch.arange(count))


def _images(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=_generator(seed))


@pytest.mark.parametrize(
    ("shape", "magnitude"), [((1, 8, 8), 10), ((3, 13, 10), 7), ((1, 28, 28), 30), ((3, 8, 8), 15), ((1, 13, 10), 0)]
)
def test_rand_augment__every_operation_is_torchvisions(shape: tuple[int, ...], magnitude: int) -> None:
    """Many copies of one image: what our draws make of it, and how often, is what torchvision's draws do."""
    image = _images(*shape)
    ours = RandAugment(1, magnitude)(image.expand(600, *shape), _seeds(600))
    library = v2.RandAugment(1, magnitude)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torch.stack([library(image) for _ in range(600)])

    kinds, counts = _counted(torch.cat([ours, theirs]))

    found = {float(k): counts[k] for k in range(len(kinds))}
    for ours_count, theirs_count in (_split(kinds, k, ours, theirs) for k in range(len(kinds))):
        assert ours_count > 0, found
        assert theirs_count > 0, found
        # Each is drawn with a probability p of about n / 1200: five standard deviations of the difference.
        total = ours_count + theirs_count
        assert abs(ours_count - theirs_count) < 5 * total**0.5


def _counted(images: Tensor) -> tuple[list[Tensor], list[int]]:
    """The different images, up to rounding, and how often each is there."""
    kinds: list[Tensor] = []
    counts: list[int] = []
    for image in images:
        place = next((i for i, kind in enumerate(kinds) if _alike(kind, image)), None)
        if place is None:
            kinds.append(image)
            counts.append(1)
        else:
            counts[place] += 1
    return kinds, counts


def _split(kinds: list[Tensor], k: int, ours: Tensor, theirs: Tensor) -> tuple[int, int]:
    return sum(_alike(kinds[k], i) for i in ours), sum(_alike(kinds[k], i) for i in theirs)


def _alike(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() < 1e-5)


def test_rand_augment__there_are_fourteen_operations() -> None:
    assert (len(SIGNED), len(OTHERS)) == (9, 5)


def test_rand_augment__images_of_a_batch_are_drawn_apart() -> None:
    image = _images(3, 16, 16)

    views = RandAugment(2, 10)(image.expand(64, 3, 16, 16), _seeds(64))

    assert len(_counted(views)[0]) > 40


def test_rand_augment__equals_a_loop_over_images() -> None:
    """The operations of all that drew alike are those of each alone, whatever else is in the batch."""
    images, augment = _images(40, 3, 9, 12), RandAugment(3, 20)
    together = augment(images, _seeds(len(images)))
    draws = [[integers(_seeds(40), 2 * turn, 14), integers(_seeds(40), 2 * turn + 1, 2)] for turn in range(3)]

    for b in range(40):
        alone = images[b]
        for operations, signs in draws:
            number, sign = int(operations[b]), -1 if signs[b] and operations[b] < 9 else 1
            alone = (*SIGNED, *OTHERS)[number](alone[None], sign * 20 / 30)[0]
        torch.testing.assert_close(together[b], alone)


def test_rand_augment__magnitude_0_is_two_operations_of_fourteen() -> None:
    """Contrast stretched and histogram equalized know no magnitude; of the others none changes what can be seen."""
    images = 0.2 + 0.5 * _images(400, 1, 28, 28)

    views = RandAugment(1, 0)(images, _seeds(len(images)))

    same = ((views - images).abs().flatten(1).max(1).values < 1 / 255).float().mean()
    assert float(same) == pytest.approx(12 / 14, abs=0.07)  # four standard deviations


def test_rand_augment__more_operations_change_more() -> None:
    images = _images(200, 1, 28, 28)
    changed = [float((RandAugment(n, 15)(images, _seeds(len(images))) - images).abs().mean()) for n in (1, 3)]

    assert changed[1] > 1.5 * changed[0]


def test_rand_augment__follows_from_the_seeds_alone() -> None:
    images, augment = _images(16, 1, 8, 8), RandAugment()
    torch.manual_seed(5)
    before = torch.get_rng_state()

    first, second = augment(images, _seeds(len(images), 1)), augment(images, _seeds(len(images), 2))
    torch.manual_seed(6)
    again = augment(images, _seeds(len(images), 1))

    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    augment(images, _seeds(len(images), 1))
    assert torch.equal(torch.get_rng_state(), before)


def test_rand_augment__input_is_left_alone() -> None:
    images = _images(32, 1, 8, 8)
    before = images.clone()

    RandAugment(3, 30)(images, _seeds(len(images)))

    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", [(64, 1, 8, 8), (64, 3, 32, 32), (5, 1, 1, 1), (5, 3, 1, 7)])
@pytest.mark.parametrize("fill", [None, 0.0, 1.0])
def test_rand_augment__values_stay_from_0_to_1(shape: tuple[int, ...], fill: float | None) -> None:
    images = _images(*shape) if fill is None else torch.full(shape, fill)

    views = RandAugment(3, 30)(images, _seeds(len(images)))

    assert views.shape == images.shape
    assert views.dtype == images.dtype
    assert views.isfinite().all()
    assert 0 <= float(views.min()) <= float(views.max()) <= 1


def test_rand_augment__pickles() -> None:
    images = _images(8, 1, 8, 8)
    again = pickle.loads(pickle.dumps(RandAugment(1, 3)))
    assert torch.equal(again(images, _seeds(len(images))), RandAugment(1, 3)(images, _seeds(len(images))))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((0, 10), r"Expected `num_ops` to be >= 1, but got 0\."),
        ((2, 31), r"Expected `magnitude` to be from 0 to 30, but got 31\."),
        ((2, -1), r"Expected `magnitude` to be from 0 to 30, but got -1\."),
    ],
)
def test_rand_augment__bad_settings_are_refused(settings: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandAugment(*settings)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            torch.zeros(4, 20),
            r"of 1 or 3 channels for RandAugment, .* shape \[4, 20\]: choose a dataset of images, or no augmentation\.",
        ),
        (
            torch.zeros(4, 8, 8),
            r"but got inputs of shape \[4, 8, 8\]: choose a dataset of images, or no augmentation\.",
        ),
        (torch.zeros(4, 2, 8, 8), r"shape \[4, 2, 8, 8\]: choose another augmentation, such as kd_lab\.augment\.shift"),
        (torch.full((4, 1, 8, 8), -1.5), r"values from 0 to 1 .* got values from -1\.5 to -1\.5: choose another"),
        (torch.full((4, 1, 8, 8), 255.0), r"got values from 255 to 255: .*, or scale the images\."),
        (torch.full((4, 1, 8, 8), torch.nan), r"got values from nan to nan: "),
    ],
)
def test_rand_augment__other_inputs_are_refused(inputs: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandAugment()(inputs, _seeds(len(inputs)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_rand_augment__same_draws_on_the_gpu() -> None:
    images, before = _images(64, 3, 32, 32), torch.cuda.get_rng_state()
    there = RandAugment(1, 10)(images.cuda(), _seeds(len(images)).cuda()).cpu()
    apart = (there - RandAugment(1, 10)(images, _seeds(len(images)))).abs().flatten(1).max(1).values
    assert float((apart < 1e-3).float().mean()) > 0.9  # a pixel on the edge may be rounded to the other side
    assert torch.equal(torch.cuda.get_rng_state(), before)
