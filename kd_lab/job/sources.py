"""Weights that a network comes with: those that an MLflow run kept, or a file of the user's."""

from pathlib import Path

from torch import nn

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.job.pyfunc import Description
from kd_lab.job.strict import Node
from kd_lab.models.common.weights import load_weights, weights_sha256
from kd_lab.outside.ids import RUN
from kd_lab.store.store import Store
from kd_lab.store.stored_run import StoredRun
from kd_lab.types import Data


def take_weights(network: nn.Module, store: Store, source: str) -> None:
    """Give a network the weights of a run, or of a file.

    Args:
        network: built for them.
        store: where `run:ID` is looked up.
        source: `run:ID` or the path of a file.

    Raises:
        UserError: they do not fit, or are not those that the run recorded.
    """
    if not source.startswith(RUN):
        load_weights(network, Path(source).expanduser())
        return
    stored = store.get(source.removeprefix(RUN))
    with stored.opened(names.ARTIFACT_WEIGHTS) as path:
        load_weights(network, path)
    if stored.tags.get(names.TAG_WEIGHTS_SHA256) not in {None, weights_sha256(network)}:
        raise UserError(
            f"teacher.weights={source}: its weights are not those that the run recorded (their sha256 differs); "
            "expected an undamaged file, so restore it or take another run"
        )


def look_up(data: Data, uri: str, source: str, *, although_away: bool = False) -> tuple[StoredRun, Node]:
    """The run that `run:ID` names, and what builds its network; the choice `teacher=NAME` does not matter.

    Raises:
        UserError: There is no such run, it kept no network, or one for other classes or inputs.
    """
    try:
        stored = Store.existing(uri, although_away=although_away).get(source.removeprefix(RUN))
        with stored.opened(names.ARTIFACT_NETWORK) as path:
            kept = Description.of_file(path, f"{source}: network")
    except UserError as error:
        raise UserError(f"teacher.weights={error}") from error
    for what, theirs, ours in (
        ("classes", kept.num_classes, data.num_classes),
        ("an input shape of", kept.input_shape, data.input_shape),
    ):
        if theirs != ours:
            raise UserError(
                f"teacher.weights={source}: that network was trained for {what} {theirs}, but the dataset and the "
                f"student have {ours}; expected a teacher of the same"
            )
    kept.check_meaning(
        data,
        f"teacher.weights={source}",
        "expected a teacher of the same training texts and settings, or both with the same dataset.tokenizer"
        if data.tokens is not None
        else "expected a teacher of the same, in the same order",
    )
    return stored, kept.node
