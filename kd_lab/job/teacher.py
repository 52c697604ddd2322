"""A teacher that somebody trained before: from an MLflow run, a file of weights, or published weights."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from torch import nn

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.job.keeper import Keeper, Order
from kd_lab.job.plan import TRAIN
from kd_lab.job.pyfunc import Description
from kd_lab.job.settings import NetworkSettings
from kd_lab.job.strict import Node
from kd_lab.models.common.weights import load_weights
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.stored_run import StoredRun
from kd_lab.types import Data, Measurement

Opened = Callable[[], AbstractContextManager[Path]]
Train = Callable[[Keeper, NetworkSettings, nn.Module, Run], Measurement]


def given_teacher(keeper: Keeper, settings: NetworkSettings, weights: str, train: Train) -> Order:
    """The order for `teacher.weights`: `run:ID`, `pretrained`, or a file.

    Raises:
        UserError: There is no such run or file, or its network answers for other classes or inputs.
    """
    if weights == "pretrained":
        return _pretrained(keeper, settings, train)
    if weights.startswith("run:"):
        return _from_run(keeper, settings, weights)
    path = Path(weights).expanduser()
    return _order(keeper, settings, settings.node, lambda: nullcontext(path), weights)


def _order(keeper: Keeper, settings: NetworkSettings, node: Node, opened: Opened, source: str) -> Order:
    with opened() as path:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    def load(network: nn.Module, _run: Run) -> Measurement:
        with opened() as path:
            load_weights(network, path)
        return {}

    return Order(
        role=names.TEACHER,
        node=node,
        recipe=settings.recipe,
        seed=settings.seed,
        key=keeper.plan.key(names.TEACHER, node, None, 0, weights=sha256),
        reuse=settings.reuse,
        train=load,
        tags={"kd_lab.weights_from": source},
    )


def _from_run(keeper: Keeper, settings: NetworkSettings, weights: str) -> Order:
    """The network that run kept, with its own architecture; the choice `teacher=NAME` does not matter."""
    stored, node = look_up(keeper.plan.data, keeper.store, weights)
    return _order(keeper, settings, node, lambda: stored.opened(names.ARTIFACT_WEIGHTS), weights)


def look_up(data: Data, store: Store, weights: str) -> tuple[StoredRun, Node]:
    """The run that `run:ID` names, and what builds its network.

    Raises:
        UserError: There is no such run, it kept no network, or one for other classes or inputs.
    """
    try:
        stored = store.get(weights.removeprefix("run:"))
        with stored.opened(names.ARTIFACT_NETWORK) as path:
            kept = Description.of_file(path, f"{weights}: network")
    except UserError as error:
        raise UserError(f"teacher.weights={error}") from error
    for what, theirs, ours in (
        ("classes", kept.num_classes, data.num_classes),
        ("an input shape of", kept.input_shape, data.input_shape),
    ):
        if theirs != ours:
            raise UserError(
                f"teacher.weights={weights}: that network was trained for {what} {theirs}, but the dataset and the "
                f"student have {ours}; expected a teacher of the same"
            )
    return stored, kept.node


def _pretrained(keeper: Keeper, settings: NetworkSettings, train: Train) -> Order:
    """Published weights with a new last layer for the dataset's classes, fine-tuned by the teacher's recipe."""
    node = {**settings.node, "pretrained": True}

    def tune(network: nn.Module, run: Run) -> Measurement:
        return train(keeper, settings, network, run)

    return Order(
        role=names.TEACHER,
        node=node,
        recipe=settings.recipe,
        seed=settings.seed,
        key=keeper.plan.key(names.TEACHER, node, settings.recipe, settings.seed),
        reuse=settings.reuse,
        train=tune,
        part=TRAIN,
        tags={"kd_lab.weights_from": "pretrained"},
    )
