import pytest
import torch
from torch import nn

from kd_lab.losses.fitnet import FitNet
from kd_lab.norm import BatchNorm
from kd_lab.types import Batch, Outputs


@pytest.mark.parametrize(
    ("theirs", "shape"),
    [
        (nn.BatchNorm1d, (8, 3)),
        (nn.BatchNorm1d, (8, 3, 5)),
        (nn.BatchNorm2d, (8, 3, 5, 4)),
        (nn.BatchNorm2d, (1, 3, 2, 1)),
    ],
)
def test_batch_norm__is_torchs_where_there_is_a_variance(theirs: type[nn.Module], shape: tuple[int, ...]) -> None:
    own, torchs = BatchNorm(3), theirs(3)  # type: ignore[call-arg]
    for seed in (0, 1):
        feature = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(own(feature), torchs(feature))

    for key, value in torchs.state_dict().items():
        assert torch.equal(own.state_dict()[key], value), key


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1)])
def test_batch_norm__one_value_per_channel_takes_the_running_statistics(shape: tuple[int, ...]) -> None:
    norm = BatchNorm(3)
    norm(torch.randn(16, *shape[1:]) * 3 + 1)
    kept = {key: value.clone() for key, value in norm.state_dict().items()}
    feature = torch.randn(shape)

    result = norm(feature)

    expected = (feature.flatten() - kept["running_mean"]) / (kept["running_var"] + norm.eps).sqrt()
    torch.testing.assert_close(result.flatten(), expected, rtol=1e-6, atol=1e-7)
    assert result.shape == shape
    assert all(torch.equal(value, kept[key]) for key, value in norm.state_dict().items())


def test_batch_norm__a_loss_survives_a_batch_of_one_with_one_position() -> None:
    """The end of an epoch, on the last stage of a ResNet that has pooled its map to one position."""
    loss = FitNet(student_shapes=((4, 1, 1),), teacher_shapes=((6, 1, 1),))
    own = torch.randn(1, 4, 1, 1, requires_grad=True)
    seen = Batch(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))

    loss(Outputs(torch.zeros(1, 3), (own,)), Outputs(torch.zeros(1, 3), (torch.ones(1, 6, 1, 1),)), seen).backward()

    assert own.grad is not None
    assert own.grad.isfinite().all()
