"""The samples that an exported network is checked, calibrated and measured on, as it takes them: raw."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.inputs import Inputs, dtypes, shapes
from kd_lab.job.evaluate import data_of
from kd_lab.job.pyfunc import Description
from kd_lab.job.raw import as_taken, listed, read_back, repeated
from kd_lab.outside.paths import read_text
from kd_lab.store.stored_run import StoredRun
from kd_lab.types import Data, Rows


@dataclass(frozen=True)
class Samples:
    """Those of the run's dataset, or, where it cannot be loaded, the one that was kept with the network.

    told: which, in words. held: real samples [B, ...]. data: the dataset, its rows raw.
    """

    told: str
    held: Inputs
    data: Data | None = None

    @property
    def test(self) -> Rows | None:
        """All of the test part."""
        return None if self.data is None else self.data.rows(self.data.test)

    @property
    def targets(self) -> Tensor | None:
        """Theirs."""
        return None if self.data is None else self.data.targets[self.data.test]

    def some(self, count: int) -> Inputs:
        """So many [count, ...], repeated if need be."""
        return repeated(self.held, count)


MOST = 256
"""So many samples of the test part are compared with PyTorch's answers."""


def samples_of(stored: StoredRun, description: Description) -> Samples:
    """Of a run.

    Raises:
        UserError: neither its dataset nor an example is there.
    """
    try:
        data, _ = as_taken(data_of(stored, stored.config()))
        held = data.rows(data.test[:MOST]).batch(0, MOST, "cpu")
    except UserError as error:
        return _kept(stored, description, str(error))
    if dtypes(held) != description.input_dtype:
        return _kept(stored, description, f"its samples are {dtypes(held)} here, and were {description.input_dtype}")
    same = data.fingerprint == stored.tags.get(names.TAG_DATA_FINGERPRINT)
    other = "" if same else ", which are not the data that the run was measured on: their fingerprint differs"
    return Samples(f"{min(MOST, len(data.test))} test samples of {data.name}{other}", held, data)


def _kept(stored: StoredRun, description: Description, why: str) -> Samples:
    try:
        with stored.opened(names.ARTIFACT_EXAMPLE) as file:
            held = read_back(read_text(file), description.input_dtype)
    except (UserError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(
            f"run={stored.run_id}: the exported file cannot be checked, since the run's data cannot be loaded ({why}) "
            "and it kept no example; give the data their place again"
        ) from error
    if not description.prepare and shapes(held) != listed(description.input_shape):
        raise UserError(
            f"run={stored.run_id}: the example that it kept has the shape {shapes(held)}, expected "
            f"{listed(description.input_shape)}; choose another run"
        )
    return Samples(f"the one example that the run kept, since its data cannot be loaded ({why})", held)


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference of two answers [N, K]; infinite where one of them is not finite, or of another shape."""
    if one.shape != other.shape or not bool(torch.isfinite(one).all() & torch.isfinite(other).all()):
        return float("inf")
    return float((one - other).abs().max())
