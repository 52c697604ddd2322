import pytest
import torch

from kd_lab.errors import UserError
from kd_lab.mixing.cutmix import CutMix
from tests.job.composed import plan


def mixed(seed: int, height: int = 12, width: int = 8, alpha: float = 1.0) -> tuple[torch.Tensor, float]:
    zeros, ones = torch.zeros(2, 3, height, width), torch.ones(2, 3, height, width)
    return CutMix(alpha)(zeros, ones, seed)


@pytest.mark.parametrize("seed", range(30))
def test_cutmix__one_rectangle_of_the_other_image_and_the_exact_share_of_what_is_left(seed: int) -> None:
    images, share = mixed(seed)
    plane = images[0, 0]
    assert torch.equal(images, plane.expand_as(images)), "another rectangle in another image or channel"
    assert set(plane.unique().tolist()) <= {0.0, 1.0}
    rows, columns = plane.any(1).nonzero().flatten(), plane.any(0).nonzero().flatten()
    if len(rows):
        inside = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert bool(inside.all()), "no rectangle"
    assert share == pytest.approx(1 - float(plane.mean()), abs=1e-6)


def test_cutmix__is_cut_off_at_the_border_and_of_every_size() -> None:
    shares = [mixed(seed)[1] for seed in range(300)]
    assert min(shares) < 0.4
    assert max(shares) > 0.95
    corners = [mixed(seed)[0][0, 0, [0, 0, -1, -1], [0, -1, 0, -1]].tolist() for seed in range(300)]
    assert all(any(corner[i] for corner in corners) for i in range(4))


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 8)])
def test_cutmix__is_for_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected images \[B, C, H, W\] to cut rectangles out of, but got \["):
        CutMix()(torch.zeros(shape), torch.zeros(shape), 0)


def test_cutmix__a_wrong_alpha_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `alpha` to be a finite number > 0, but got 0\.0"):
        CutMix(0.0)


def test_cutmix__on_a_table_is_a_sentence_before_anything_is_trained() -> None:
    with pytest.raises(UserError, match=r"student\.recipe\.mix: Expected images .* choose student/recipe/mix=mixup"):
        plan("dataset=synthetic", "teacher=mlp", "student/recipe/mix=cutmix")
