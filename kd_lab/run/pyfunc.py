"""A run's network as an MLflow model: `mlflow.pyfunc.load_model("runs:/RUN_ID/model")` answers with its logits.

MLflow's own writers are left out: they guess requirements, and copy or pickle the network. The weights and what
rebuilds it are in the run already; here is the file that tells MLflow how to load them, and the loader.
"""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from kd_lab import names
from kd_lab.measures.predict import predict
from kd_lab.models.common.weights import load_weights
from kd_lab.run.build import build
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


def rebuilt(description: Mapping[str, Any], weights: Path) -> nn.Module:
    """The network that a run kept, from its `network.json` and its weights.

    Raises:
        UserError: a class of yours cannot be imported from here, or is not what it was.
    """
    given = {"num_classes": description["num_classes"], "input_shape": tuple(description["input_shape"])}
    network: nn.Module = build("network", description["node"], given)
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
    description = json.loads((folder / Path(names.ARTIFACT_NETWORK).name).read_text(encoding="utf-8"))
    return Model(rebuilt(description, folder / Path(names.ARTIFACT_WEIGHTS).name))
