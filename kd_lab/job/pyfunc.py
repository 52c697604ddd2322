"""A run's network as an MLflow model: `mlflow.pyfunc.load_model("runs:/RUN_ID/model")` answers with its logits.

MLflow's own writers are left out: they guess requirements, and copy or pickle the network. The weights and what
rebuilds it are in the run already; here is the file that tells MLflow how to load them, and the loader.
"""

import json
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.job.build import build, check_named
from kd_lab.measures.predict import predict
from kd_lab.models.common.weights import load_weights
from kd_lab.outside.nodes import NETWORK
from kd_lab.outside.paths import read_text
from kd_lab.types import Shape

FOLDER = Path(names.ARTIFACT_MLMODEL).parent


class Model:
    """What `mlflow.pyfunc.load_model` wraps: the network in eval mode, in float32 on the CPU."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Logits [N, K] of inputs [N, *input_shape], both float32."""
        logits: np.ndarray = predict(self.network, torch.tensor(np.asarray(inputs, np.float32)), device="cpu").numpy()
        return logits


@dataclass(frozen=True)
class Description:
    """What a run kept to rebuild its network, its `network.json`: whoever can write to the store can write it."""

    node: dict[str, Any]
    num_classes: int
    input_shape: Shape

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
            found = cls(said["node"], said["num_classes"], tuple(said["input_shape"]))
            whole = all(type(size) is int and size > 0 for size in (found.num_classes, *found.input_shape))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{key}: {path.name} cannot be read ({type(error).__name__}); choose another run"
            ) from error
        if not whole or not isinstance(found.node, dict):
            raise UserError(
                f"{key}: expected {path.name} to hold a network, its classes and input shape; choose another"
            )
        check_named(key, found.node, NETWORK)
        return found

    def build(self, key: str = "network") -> nn.Module:
        """The network, its weights not loaded yet.

        Raises:
            UserError: a class is not what it was.
        """
        given = {"num_classes": self.num_classes, "input_shape": self.input_shape}
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


def rebuilt(description: Description, weights: Path) -> nn.Module:
    """The network that a run kept, with its weights; see `Description.build` for errors."""
    network = description.build()
    load_weights(network, weights)
    return network


def described(run_id: str, input_shape: Shape, num_classes: int) -> tuple[str, str]:
    """The text of a run's MLmodel, and the tag by which MLflow's page shows it."""
    created = str(datetime.now(UTC).replace(tzinfo=None))
    flavors = {"python_function": {"loader_module": __name__, "python_version": platform.python_version()}}
    model = {
        "artifact_path": str(FOLDER),
        "flavors": flavors,
        "mlflow_version": version("mlflow"),
        "run_id": run_id,
        "signature": {"inputs": _tensor([-1, *input_shape]), "outputs": _tensor([-1, num_classes]), "params": None},
        "utc_time_created": created,
    }
    told = {"artifact_path": str(FOLDER), "flavors": flavors, "utc_time_created": created}
    return yaml.safe_dump(model), json.dumps([told])


def _tensor(shape: list[int]) -> str:
    return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": shape}}])


def _load_pyfunc(path: str) -> Model:
    """What MLflow calls, by this name, with the folder of the model."""
    folder = Path(path)
    description = Description.of_file(folder / Path(names.ARTIFACT_NETWORK).name)
    return Model(rebuilt(description, folder / Path(names.ARTIFACT_WEIGHTS).name))
