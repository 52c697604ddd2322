"""The weights of the epoch that did best on the validation part, beside those of the last one."""

from pathlib import Path

import torch
from torch import nn

from kd_lab.models.common.weights import save_weights
from kd_lab.training.state import State


class Best:
    """Writes a file at every epoch that is more accurate than all before it; the first of equal ones stays.

    A file, so that it comes home from a spawned process too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._accuracy = -1.0

    def see(self, network: nn.Module, accuracy: float) -> bool:
        """Keep the network's weights if they are the best so far, and say whether they are."""
        if accuracy <= self._accuracy:
            return False
        self._accuracy = accuracy
        save_weights(network, self.path)
        return True

    def state_dict(self) -> State:
        """The best accuracy, and the file byte by byte."""
        there = self.path.is_file()
        file = torch.frombuffer(bytearray(self.path.read_bytes()), dtype=torch.uint8) if there else None
        return {"accuracy": self._accuracy, "file": file}

    def load_state_dict(self, state_dict: State) -> None:
        """Write it again."""
        self._accuracy = state_dict["accuracy"]
        if state_dict["file"] is not None:
            self.path.write_bytes(state_dict["file"].cpu().numpy().tobytes())
