import pytest
import torch
from torch import nn

from kd_lab import names
from kd_lab.measures.cost import macs, parameters, weights_bytes


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight

    def forward(self, inputs):
        return self.second(self.first(inputs))


class Recurrent(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, inputs):
        return self.cell(inputs)[0][:, -1]


def _macs(module, shape):
    return macs(module, torch.zeros(1, *shape))[names.COST_MACS]


def test_parameters__total_and_trainable():
    module = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    module[0].requires_grad_(False)
    assert parameters(module) == {names.COST_PARAMS_TOTAL: 20.0 + 12.0, names.COST_PARAMS_TRAINABLE: 12.0}


def test_parameters__shared_ones_count_once():
    assert parameters(Tied())[names.COST_PARAMS_TOTAL] == 16.0


def test_macs__mlp_by_hand():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    assert _macs(module, (1, 8, 8)) == 64 * 32 + 32 * 10


def test_macs__cnn_by_hand():
    module = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.Conv2d(32, 64, 3, padding=1, groups=2), nn.MaxPool2d(2)
    )
    assert _macs(module, (1, 8, 8)) == 64 * (32 * 9) + 64 * (64 * 16 * 9)


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_macs__recurrent_by_hand(cell, gates):
    module = Recurrent(cell(8, 16, 2, batch_first=True))
    assert _macs(module, (5, 8)) == 5 * gates * 16 * ((8 + 16) + (16 + 16))


@pytest.mark.parametrize("fused", [True, False])
def test_macs__attention_by_hand(fused):
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        module = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, batch_first=True)
        # Per token: projections 4 * 16 * 16, two products of attention 2 * 6 * 16, feed-forward 2 * 16 * 32.
        assert _macs(module, (6, 16)) == 6 * (4 * 16 * 16 + 2 * 6 * 16 + 2 * 16 * 32)
        assert torch.backends.mha.get_fastpath_enabled() is fused
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_macs__leaves_module_and_backend_as_they_were():
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    before = torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()
    _macs(module, (4,))
    assert module.training
    assert module[1].training
    assert int(module[1].num_batches_tracked) == 0
    assert (torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()) == before


def test_weights_bytes__grow_by_four_bytes_a_parameter():
    small, large = (weights_bytes(nn.Linear(64, n, bias=False))[names.COST_WEIGHTS_BYTES] for n in (10, 90))
    assert large - small == 4 * 64 * 80
    assert 4 * 640 < small < 4 * 640 + 256


def test_weights_bytes__shared_tensors_are_written_once():
    assert weights_bytes(Tied())[names.COST_WEIGHTS_BYTES] < 2 * 64 + 200


@pytest.mark.gpu
def test_macs__same_on_cuda():
    module = Recurrent(nn.LSTM(8, 16, batch_first=True)).cuda()
    assert _macs(module, (5, 8)) == 5 * 4 * 16 * (8 + 16)
    assert next(module.parameters()).is_cuda
