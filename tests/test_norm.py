from pathlib import Path

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from kd_lab.losses.fitnet import FitNet
from kd_lab.norm import BatchNorm, WholeBatch
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


PIECES = slice(0, 6), slice(6, 7)
"""Of two processes: one of them has a single sample, of which a vector has no variance."""


class Normed(nn.Module):
    """BatchNorm of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        maps = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), BatchNormAct2d(4), nn.Flatten())
        self.layers = nn.Sequential(maps, nn.Linear(64, 3), BatchNorm(3))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layers(inputs)
        return outputs


def trained(network: nn.Module, piece: slice, scale: float = 1.0) -> None:
    inputs = torch.randn(7, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(inputs)[piece], (torch.arange(7) % 3)[piece], reduction="sum")
        (loss * scale / 7).backward()
        optimizer.step()


class Piece(nn.Module):
    """Sees this process's part alone."""

    def __init__(self, network: nn.Module, piece: slice, *, whole: bool) -> None:
        super().__init__()
        self.network, self.piece, self.whole = network, piece, whole

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = inputs.new_zeros(len(inputs), 3)
        if self.whole:
            with WholeBatch():
                outputs[self.piece] = self.network(inputs[self.piece])
        else:
            outputs[self.piece] = self.network(inputs[self.piece])
        return outputs


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for whole in (True, False):
        network = Normed()
        trained(DistributedDataParallel(Piece(network, PIECES[rank], whole=whole)), PIECES[rank], 2.0)
        torch.save(network.state_dict(), f"{folder}/{rank}-{whole}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_whole_batch__two_processes_are_as_one_and_without_it_they_are_not(tmp_path: Path) -> None:
    alone = Normed()
    trained(alone, slice(None))

    multiprocessing.spawn(one_rank, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]

    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}-True.pt")
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)
    without = torch.load(tmp_path / "0-False.pt")
    assert float((without["layers.1.weight"] - alone.state_dict()["layers.1.weight"]).abs().max()) > 1e-3
