from typing import ClassVar

import pytest
import torch
from torch import nn

from kd_lab.inputs import eval_mode
from kd_lab.measures.predict import predict


class Probe(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.modes, self.sizes, self.dtypes = [], [], []

    def forward(self, inputs):
        logits = self.linear(inputs)
        self.modes.append(self.training or self.norm.training)
        self.sizes.append(len(inputs))
        self.dtypes.append(logits.dtype)
        return self.norm(logits)


def test_predict__batches_change_nothing_and_eval_mode_holds():
    torch.manual_seed(0)
    module, inputs = Probe(), torch.randn(10, 3)
    whole = predict(module, inputs, device="cpu")
    parts = predict(module, inputs, device="cpu", batch_size=4)
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-6)
    torch.testing.assert_close(whole, module.eval()(inputs), rtol=0, atol=1e-6)
    assert module.sizes[:4] == [10, 4, 4, 2]
    assert not any(module.modes)
    assert int(module.norm.num_batches_tracked) == 0


def test_predict__gives_every_submodule_its_mode_back():
    module = Probe().train()
    module.norm.eval()
    predict(module, torch.zeros(2, 3), device="cpu")
    assert (module.training, module.linear.training, module.norm.training) == (True, True, False)


def test_eval_mode__restores_after_an_error():
    module = Probe().train()
    with pytest.raises(RuntimeError, match="boom"), eval_mode(module):
        raise RuntimeError("boom")
    assert module.training
    assert module.norm.training


def test_predict__the_result_may_take_part_in_a_graph():
    logits = predict(Probe(), torch.zeros(2, 3), device="cpu")
    weight = torch.ones(2, requires_grad=True)
    (logits * weight).sum().backward()
    assert not logits.requires_grad
    assert weight.grad is not None


def test_predict__bf16_runs_in_bf16_and_returns_float32():
    module = Probe()
    logits = predict(module, torch.randn(4, 3), device="cpu", precision="bf16-mixed")
    assert module.dtypes == [torch.bfloat16]
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (torch.zeros(0, 3), {}, "at least one sample, but got none"),
        (torch.zeros(1, 3), {"batch_size": 0}, "`batch_size` to be at least 1, but got 0"),
        (torch.zeros(1, 3), {"precision": "bf16-mix"}, "got bf16-mix: did you mean bf16-mixed"),
    ],
)
def test_predict__says_what_is_wrong(inputs, options, message):
    with pytest.raises(ValueError, match=message):
        predict(Probe(), inputs, device="cpu", **options)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32", "bf16-mixed", "16-mixed"])
def test_predict__cuda_returns_to_the_cpu(precision):
    module, inputs = nn.Linear(3, 2), torch.randn(5, 3)
    expected = predict(module, inputs, device="cpu")
    found = predict(module, inputs, device="cuda", precision=precision)
    assert (found.device.type, found.dtype) == ("cpu", torch.float32)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-2)


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_predict__without_memory_for_a_batch__smaller_ones_and_the_same_answers(kind: type[Exception]) -> None:
    class Small(torch.nn.Linear):
        sizes: ClassVar[list[int]] = []

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.sizes.append(len(inputs))
            if len(inputs) > 3:
                raise kind("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
            return super().forward(inputs)

    torch.manual_seed(0)
    module, inputs = Small(4, 2), torch.randn(10, 4)
    Small.sizes.clear()
    found = predict(module, inputs, device="cpu", batch_size=8)
    assert Small.sizes == [8, 4, 2, 2, 2, 2, 2]
    torch.testing.assert_close(found, torch.nn.functional.linear(inputs, module.weight, module.bias).detach())


def test_predict__another_error__raised_at_once() -> None:
    class Wrong(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        predict(Wrong(), torch.zeros(4, 2), device="cpu")
