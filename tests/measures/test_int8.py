"""Accuracy and size in int8, against a network that NumPy rounded."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from kd_lab import names
from kd_lab.insight.int8 import keep_ranges
from kd_lab.measures.int8 import int8_accuracy, int8_bytes
from kd_lab.models.common.weights import weights_sha256
from kd_lab.types import Data, InMemory
from tests.insight.test_int8 import activation_reference, of_plain, weight_reference
from tests.training.toys import Plain, toy_data


def data() -> Data:
    return toy_data(90)


def accuracy(logits: np.ndarray, targets: torch.Tensor) -> float:
    return float((logits.argmax(axis=1) == targets.numpy()).mean())


@pytest.mark.parametrize("learned", [False, True])
def test_accuracy__as_of_the_network_that_numpy_rounds(learned: bool) -> None:
    toy, network = data(), Plain(1)
    rows = toy.rows(toy.train)
    held = rows.batch(0, 90, "cpu")
    assert isinstance(held, torch.Tensor)
    given = [held, network.layers[1](network.layers[0](held)).detach()]
    ends = np.array([[-0.2, 0.4], [-0.1, 0.2]] if learned else [[float(x.min()), float(x.max())] for x in given])
    if learned:  # so narrow that other answers come out
        keep_ranges(network, torch.tensor(ends, dtype=torch.float32))
    before = weights_sha256(network)
    found = int8_accuracy(network, rows, rows, device="cpu", batch_size=7)
    expected = accuracy(of_plain(network, held, ends), toy.targets)
    assert found == {names.TEST_INT8_ACCURACY_TOP1: expected}
    assert weights_sha256(network) == before
    assert network.training
    if learned:
        assert expected != accuracy(network(held).detach().numpy(), toy.targets)


def test_accuracy__a_convolution__as_numpy_rounds_it() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.ReLU(), nn.Linear(16, 3))
    inputs, targets = torch.randn(60, 1, 4, 4), torch.arange(60) % 3
    rows = torch.arange(60)
    toy = Data("t", InMemory(inputs), targets, rows, rows, rows[:0], rows, 3, "")
    convolution, linear = network[0], network[3]
    hidden = network[:3](inputs).detach().double().numpy()
    x = activation_reference(inputs.double().numpy(), float(inputs.min()), float(inputs.max()))
    kernel = weight_reference(convolution.weight.detach().double().numpy())
    windows = np.lib.stride_tricks.sliding_window_view(x[:, 0], (3, 3), axis=(1, 2))
    maps = np.einsum("nijkl,okl->noij", windows, kernel[:, 0]) + convolution.bias.detach().numpy()[:, None, None]
    x = activation_reference(maps.reshape(60, -1).clip(min=0), 0.0, float(hidden.max()))
    logits = x @ weight_reference(linear.weight.detach().double().numpy()).T + linear.bias.detach().numpy()
    found = int8_accuracy(network, toy.rows(rows), toy.rows(rows), device="cpu")
    assert found == {names.TEST_INT8_ACCURACY_TOP1: accuracy(logits, targets)}


def test_bytes__a_byte_for_each_weight_and_four_for_each_channel(tmp_path, monkeypatch) -> None:
    from safetensors.torch import save_model

    network = nn.Sequential(nn.Linear(200, 30), nn.BatchNorm1d(30), nn.Conv1d(1, 8, 5))
    save_model(network, str(tmp_path / "float"))
    found = int8_bytes(network)[names.COST_INT8_WEIGHTS_BYTES]
    content = 200 * 30 + 30 * (4 + 4) + 4 * 30 * 4 + 8 + 8 * 5 + 8 * (4 + 4) + 2 * (4 + 1)
    header = found - content
    assert 0 < header < 2048  # JSON, which names the tensors
    assert network[0].weight.dtype is torch.float32
    assert json.dumps(list(network.state_dict())).count("scale") == 0
