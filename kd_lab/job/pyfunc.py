"""A run's network as an MLflow model: `mlflow.pyfunc.load_model("runs:/RUN_ID/model")` answers with its logits.

MLflow's own writers are left out: they guess requirements, and copy or pickle the network. The weights and what
rebuilds it are in the run already; here is the file that tells MLflow how to load them, and the loader.
"""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from kd_lab import names
from kd_lab.datasets.common.columns import Columns
from kd_lab.datasets.common.readers.texts import Texts
from kd_lab.errors import UserError
from kd_lab.inputs import Inputs, dtypes, shapes
from kd_lab.insight.int8 import Int8, keep_ranges
from kd_lab.job.build import build, check_named
from kd_lab.measures.predict import predict
from kd_lab.models.common.weights import load_weights
from kd_lab.outside.nodes import NETWORK, PREPARE, READER
from kd_lab.outside.paths import read_text
from kd_lab.types import Data, Prepare, Reader

FOLDER = Path(names.ARTIFACT_MLMODEL).parent
DTYPES = frozenset(("float32", "float64", "uint8", "int32", "int64", "bool"))
"""What a network may be given."""


class Model:
    """What `mlflow.pyfunc.load_model` wraps: the network in eval mode, in float32 on the CPU.

    steps: what is done to raw samples before the network is given them. reader: of files with such samples, if there is
    one.
    """

    def __init__(
        self,
        network: nn.Module,
        dtypes: Any = "float32",
        steps: Sequence[Prepare] = (),
        reader: Reader | None = None,
    ) -> None:
        self.network, self.dtypes, self.steps = network, dtypes, steps
        self.reader = self.columns if reader is None else reader

    def predict(self, inputs: Any) -> np.ndarray:
        """Logits [N, K] float32 of raw samples [N, ...], an array or arrays by name, as the dataset's files have them.

        Where the dataset prepares its samples in a way that could not be kept: of samples so prepared. Of a table: of
        rows of numbers and codes, which `columns.of_frame(DATAFRAME, "rows")` makes. Of texts: of a DataFrame with
        their columns, or their tokens by name.

        Raises:
            UserError: texts without a column of the name, or empty ones.
        """
        if isinstance(self.reader, Texts) and hasattr(inputs, "iloc"):
            inputs = self.reader.of_frame(inputs, "texts")
        if isinstance(self.dtypes, str):
            given: Inputs = torch.tensor(np.asarray(inputs, self.dtypes))
        else:
            given = {name: torch.tensor(np.asarray(inputs[name], kind)) for name, kind in self.dtypes.items()}
        for step in self.steps:
            given = step(given)
        logits: np.ndarray = predict(self.network, given, device="cpu").numpy()
        return logits

    @property
    def columns(self) -> Columns | None:
        """Of the table that was learned from, if it was one."""
        return next((step for step in self.steps if isinstance(step, Columns)), None)


@dataclass(frozen=True)
class Description:
    """What a run kept to rebuild its network, its `network.json`: whoever can write to the store can write it."""

    node: dict[str, Any]
    num_classes: int
    input_shape: Any
    input_dtype: Any = "float32"
    prepare: tuple[dict[str, Any], ...] = ()
    tokens: dict[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    reader: dict[str, Any] | None = None
    activation_ranges: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of_file(cls, path: Path, key: str = "network") -> "Description":
        """Read it, and look at the classes that it names.

        Args:
            path: the file.
            key: what messages start with.

        Raises:
            UserError: it is not what a run keeps, or names what a store may not name or cannot be imported from here.
        """
        try:
            said = json.loads(read_text(path))
            shape, dtype = said["input_shape"], said.get("input_dtype", "float32")
            named, kinds = (shape, dtype) if isinstance(shape, dict) else ({"": shape}, {"": dtype})
            steps, classes = (tuple(said.get(key, [])) for key in ("prepare", "classes"))
            tokens = said.get("tokens", {})
            tokens = {key: tokens[key] for key in ("vocab_size", "padding") if tokens}
            learned = said.get("activation_ranges", {}).items()
            ranges = {path: [float(low), float(high)] for path, (low, high) in learned}
            kept = steps, tokens, classes, said.get("reader"), ranges
            found = cls(said["node"], said["num_classes"], _tuples(shape), dtype, *kept)
            sizes = [found.num_classes, *(size for one in named.values() for size in one)]
            sizes += [1 + number for number in tokens.values()]
            whole = all(type(size) is int and size > 0 for size in sizes)
            whole &= named.keys() == kinds.keys() and {*kinds.values()} <= DTYPES
            whole &= not classes or (len(classes) == found.num_classes and all(isinstance(c, str) for c in classes))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{key}: {path.name} cannot be read ({type(error).__name__}); choose another run"
            ) from error
        nodes = (found.node, *found.prepare, *([] if found.reader is None else [found.reader]))
        if not whole or not all(isinstance(node, dict) for node in nodes):
            raise UserError(
                f"{key}: expected {path.name} to hold a network, its classes and input shape; choose another"
            )
        check_named(key, found.node, NETWORK)
        for node in found.prepare:
            check_named(f"{key}.prepare", node, PREPARE)
        if found.reader is not None:
            check_named(f"{key}.reader", found.reader, READER)
        return found

    def model(self, network: nn.Module) -> Model:
        """The network for raw samples.

        Raises:
            UserError: what prepares or reads them is not what it was.
        """
        steps = [build("network.prepare", node, allowed=PREPARE) for node in self.prepare]
        return Model(network, self.input_dtype, steps, self.reads())

    def reads(self) -> Reader | None:
        """What reads raw samples, if that was kept.

        Raises:
            UserError: it is not what it was.
        """
        given = {"input_shape": self.input_shape, **self.tokens}
        found: Reader | None = None if self.reader is None else build("network.reader", self.reader, given, READER)
        return found

    def check_meaning(self, data: Data, key: str, todo: str) -> None:
        """Look whether the numbers of these samples stand for what they did where the network learned.

        key: what the message starts with. todo: its end.

        Raises:
            UserError: they stand for other tokens or genes; of a network that kept no reader nobody knows.
        """
        own = self.reads()
        if own is not None and data.reader is not None and own.meaning != data.reader.meaning:
            what = "tokens" if data.tokens is not None else "names of its columns"
            raise UserError(f"{key}: that network was trained with other {what} than this dataset has; {todo}")

    def build(self, key: str = "network") -> nn.Module:
        """The network, its weights not loaded yet.

        Raises:
            UserError: a class is not what it was.
        """
        given = {"num_classes": self.num_classes, "input_shape": self.input_shape, **self.tokens}
        try:
            network = build(key, self.node, given, NETWORK)
        except (RuntimeError, MemoryError, OverflowError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{key}._target_={self.node.get('_target_')}: cannot be built ({reason})") from error
        if not isinstance(network, nn.Module):
            raise UserError(
                f"{key}._target_={self.node.get('_target_')}: expected a torch.nn.Module, got {type(network).__name__}"
            )
        return network


def _tuples(shape: Any) -> Any:
    return {name: tuple(one) for name, one in shape.items()} if isinstance(shape, dict) else tuple(shape)


def rebuilt(description: Description, weights: Path) -> nn.Module:
    """The network that a run kept, with its weights; see `Description.build` for errors."""
    network = description.build()
    load_weights(network, weights)
    if description.activation_ranges:
        keep_ranges(network, Int8(network).of_named(description.activation_ranges))
    return network


def described(
    run_id: str, example: Inputs, num_classes: int, *, with_example: bool = False, texts: Sequence[str] = ()
) -> tuple[str, str]:
    """The text of a run's MLmodel, and the tag by which MLflow's page shows it.

    with_example: whether the example, a real sample, lies beside it. texts: columns that it takes instead.
    """
    logits = torch.empty(0, num_classes)
    created = str(datetime.now(UTC).replace(tzinfo=None))
    flavors = {"python_function": {"loader_module": __name__, "python_version": platform.python_version()}}
    model = {
        "artifact_path": str(FOLDER),
        "flavors": flavors,
        "mlflow_version": version("mlflow"),
        "run_id": run_id,
        "signature": {
            "inputs": text_specs(texts) if texts else tensor_specs(example),
            "outputs": tensor_specs(logits),
            "params": None,
        },
        "utc_time_created": created,
    }
    if with_example and not texts:
        file = Path(names.ARTIFACT_EXAMPLE).name
        model["saved_input_example_info"] = {"artifact_path": file, "type": "ndarray", "format": "tf-serving"}
    told = {"artifact_path": str(FOLDER), "flavors": flavors, "utc_time_created": created}
    return yaml.safe_dump(model), json.dumps([told])


def tensor_specs(inputs: Inputs) -> str:
    """The tensors of a batch in MLflow's words, JSON."""
    named = {"": inputs} if isinstance(inputs, torch.Tensor) else inputs
    specs = []
    for name, one in named.items():
        spec = {"type": "tensor", "tensor-spec": {"dtype": dtypes(one), "shape": [-1, *shapes(one)]}}
        specs.append({"name": name, **spec} if name else spec)
    return json.dumps(specs)


def text_specs(columns: Sequence[str]) -> str:
    """Columns of texts in MLflow's words, JSON."""
    return json.dumps([{"name": name, "type": "string", "required": True} for name in columns])


def _load_pyfunc(path: str) -> Model:
    """What MLflow calls, by this name, with the folder of the model."""
    folder = Path(path)
    description = Description.of_file(folder / Path(names.ARTIFACT_NETWORK).name)
    return description.model(rebuilt(description, folder / Path(names.ARTIFACT_WEIGHTS).name))
