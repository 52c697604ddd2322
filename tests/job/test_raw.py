"""A dataset's samples as they came, and the example of them that is kept with a network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kd_lab import names
from kd_lab.datasets.common.scaled import Scaled, ZNormed
from kd_lab.datasets.digits import Digits
from kd_lab.job.pyfunc import described
from kd_lab.job.raw import as_taken, read_back, repeated, written


def test_as_taken__what_the_file_has() -> None:
    from sklearn.datasets import load_digits

    taken, nodes = as_taken(Digits().load())
    assert torch.equal(taken.read(torch.arange(5))[:, 0], torch.tensor(load_digits().images[:5]).float())
    assert [node["divisor"] for node in nodes] == [16]
    assert (taken.prepare, taken.from_raw) == (None, None)


@pytest.mark.parametrize("step", ["from_raw", "prepare"])
def test_as_taken__what_cannot_be_kept__samples_stay_prepared(step: str) -> None:
    data = replace(Digits().load(), **{step: lambda inputs: inputs})
    taken, nodes = as_taken(data)
    assert taken is data
    assert nodes == []


def test_undone__scaled_again_is_the_same() -> None:
    step = Scaled(mean=[3.0, -1.0], deviation=[2.0, 0.5], divisor=7.0)
    raw = torch.tensor(np.random.default_rng(0).normal(size=(4, 2)), dtype=torch.float32)
    torch.testing.assert_close(step.undone(step(raw)), raw, rtol=1e-6, atol=1e-6)


def test_undone__series_normalised_again_are_the_same() -> None:
    step = ZNormed()
    rows = step(torch.tensor(np.random.default_rng(0).normal(100, 40, size=(4, 2, 9))))
    torch.testing.assert_close(step(step.undone(rows)), rows, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "inputs",
    [
        torch.rand(2, 3),
        torch.arange(6, dtype=torch.uint8).reshape(2, 3),
        {"input_ids": torch.arange(4).reshape(2, 2), "mask": torch.ones(2, 2, dtype=torch.bool)},
    ],
)
def test_example__written_and_read_back(inputs: Any) -> None:
    from kd_lab.inputs import dtypes, equal

    text = written(inputs)
    assert text is not None
    assert equal(read_back(text, dtypes(inputs)), inputs)


@pytest.mark.parametrize("inputs", [torch.rand(2, 3), {"a": torch.rand(2, 3), "b": torch.arange(4).reshape(2, 2)}])
def test_example__as_mlflow_reads_it(inputs: Any, tmp_path: Path) -> None:
    from mlflow.models import Model

    text = written(inputs)
    assert text is not None
    (tmp_path / "MLmodel").write_text(described("1", inputs, 3, with_example=True)[0])
    (tmp_path / Path(names.ARTIFACT_EXAMPLE).name).write_text(text)
    found = Model.load(str(tmp_path)).load_input_example(str(tmp_path))
    for name, one in inputs.items() if isinstance(inputs, dict) else [("", inputs)]:
        read = found[name] if name else found
        assert (str(read.dtype), read.tolist()) == (str(one.numpy().dtype), one.tolist())


def test_example__too_long_for_every_run__none() -> None:
    assert written(torch.rand(1, 3, 300, 300)) is None


def test_repeated() -> None:
    assert repeated(torch.tensor([1, 2]), 5).tolist() == [1, 2, 1, 2, 1]  # type: ignore[union-attr]
