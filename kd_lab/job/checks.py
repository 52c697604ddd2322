"""What can be wrong with a job and is found before anything is trained: each a sentence that names key and value."""

import re
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn

from kd_lab.errors import UserError
from kd_lab.inputs import call as call_network
from kd_lab.inputs import eval_mode, mask_of, shapes
from kd_lab.insight.int8 import layers
from kd_lab.job.bind import loss_class
from kd_lab.job.build import build, call, check_arguments, is_node, locate, parameters
from kd_lab.job.describe import strategy_name
from kd_lab.job.settings import MeasureSettings, RecipeSettings, Settings
from kd_lab.job.specs import PRETRAINED, NetworkSpec
from kd_lab.job.strict import Node
from kd_lab.losses.common.loss import Loss
from kd_lab.models.common.fitted import Fitted
from kd_lab.models.common.weights import load_weights
from kd_lab.outside.ids import RUN
from kd_lab.strategies.common.strategy import Parties, Strategy
from kd_lab.types import Data, Mix


def check_terms(settings: Settings, *, has_teacher: bool) -> None:
    """What of the losses can be judged without data and networks: classes, names of settings, schedules, a teacher."""
    for name, term in settings.loss.terms.items():
        key = f"loss.terms.{name}"
        kind = loss_class(name, term)
        if settings.student.recipe.mixes:
            _check_mixed(name, kind, settings.student.recipe.mix)
        if kind.needs_teacher and not has_teacher:
            raise UserError(
                f"teacher=none: loss={'+'.join(settings.loss.terms)} needs a teacher; "
                "choose one, such as teacher=cnn, or loss=none"
            )
        own = {k: v for k, v in term.node.items() if k != "_target_"}
        check_arguments(key, kind, {k: v for k, v in own.items() if not is_node(v)})
        if all(n in own or p.default is not p.empty for n, p in parameters(kind).items()):
            build(key, term.node)  # it wants to know nothing of data and networks: its own checks speak now
        for setting, node in term.schedules.items():
            build(f"{key}.schedules.{setting}", node)


def _check_mixed(name: str, kind: type[Loss], mix: Node | None) -> None:
    """Raise a UserError for a loss that asks whose label, or which sample, it is."""
    label = kind.reads_labels or kind.labelled_only
    if label or kind.has_memory:
        what = "reads the label of each sample" if label else "remembers each sample"
        raise UserError(
            f"student.recipe.mix._target_={(mix or {}).get('_target_')}: loss={name} {what}, and these are two samples "
            "in one; choose student/recipe/mix=none or another loss, such as loss=kd"
        )


def asks_teacher(settings: Settings) -> bool:
    """Whether a term of the loss does."""
    return any(loss_class(name, term).needs_teacher for name, term in settings.loss.terms.items())


def check_asks(settings: Settings, strategy: Strategy) -> None:
    """Raise a UserError for a strategy that is nothing without a loss that asks a teacher, where there is none."""
    if settings.strategy is not None and strategy.needs_loss and not asks_teacher(settings):
        named = "+".join(settings.loss.terms) or "none"
        raise UserError(
            f"loss={named}: asks no teacher, and strategy={strategy_name(settings.strategy)} says who teaches; "
            "choose a loss that does, such as loss=kd"
        )
    if settings.strategy is not None and strategy.replaces_loss and list(settings.loss.terms) != ["kd"]:
        raise UserError(
            f"loss={'+'.join(settings.loss.terms) or 'none'}: strategy={strategy_name(settings.strategy)} has terms of "
            "its own in its place; expected loss=kd, whose settings have no effect there"
        )


def check_share(share: float, teacher: NetworkSpec) -> None:
    """Raise a UserError for a teacher that cannot be trained for a share of its steps."""
    if not teacher.is_trained:
        raise UserError(
            f"strategy.teacher_share={share:g}: the teacher comes with its weights ({teacher.source}), and "
            "those of before its end are not known; expected strategy.teacher_share=1, or teacher.weights=null"
        )


def check_strategy(strategy: Strategy, parties: Parties) -> None:
    """Let a strategy look at the networks of a job.

    Raises:
        UserError: they do not fit it, or the loss has no meaning with it.
    """
    try:
        strategy.check(parties)
    except ValueError as error:
        told = " ".join(str(error).split())
        setting = re.match(r"\w+", told)
        own = setting is not None and setting[0] in parameters(type(strategy))
        kind = type(strategy)
        name = strategy_name({"_target_": f"{kind.__module__}.{kind.__name__}"})
        raise UserError(f"strategy.{told}" if own else f"strategy={name}: {told}") from error


def check_optimizer(key: str, recipe: RecipeSettings) -> None:
    """Build the optimizer once for one parameter: its own checks speak now, not later."""
    call(f"{key}.optimizer", build(f"{key}.optimizer", recipe.optimizer), {"params": [nn.Parameter(torch.zeros(1))]})
    build(f"{key}.schedule", recipe.schedule)


def mix_of(key: str, recipe: RecipeSettings) -> Mix | None:
    """What mixes samples under a recipe, if anything does."""
    mix: Mix | None = build(key, recipe.mix) if recipe.mixes and recipe.mix is not None else None
    return mix


def check_drawn(key: str, recipe: RecipeSettings, data: Data) -> None:
    """Look for what tells lengths, and mix two samples: what does not fit the data speaks now."""
    if recipe.by_length and mask_of(data.example(1)) is None:
        raise UserError(
            f"{key}.by_length=true: the samples of dataset {data.name} are no texts of different lengths; leave it away"
        )
    mix = mix_of(f"{key}.mix", recipe)
    if mix is not None:
        one, other = data.example(2), data.example(2)
        call(f"{key}.mix", mix, {"inputs": one, "others": other, "seed": 0})


def check_validated(settings: Settings, data: Data) -> None:
    """Raise a UserError if an epoch is to be chosen on the validation part, and there is none."""
    if len(data.validation):
        return
    networks = {"student": settings.student, "baseline": settings.baseline, "teacher": settings.teacher}
    patience = {key: network.recipe.early_stopping for key, network in networks.items() if network is not None}
    told = [f"{key}.recipe.early_stopping={epochs}" for key, epochs in patience.items() if epochs is not None]
    told += ["checkpoint.keep=both"] if settings.checkpoint.keep == "both" else []
    if told:
        raise UserError(
            f"{told[0]}: needs a validation part, and there is none; expected one, such as dataset.validation=100"
        )


def callbacks_of(settings: Settings) -> list[pl.Callback]:
    """The user's own callbacks, new ones for each training.

    Raises:
        UserError: one cannot be built, or is no Lightning callback.
    """
    built = {name: build(f"callbacks.{name}", node) for name, node in settings.callbacks.items()}
    for name, one in built.items():
        if not isinstance(one, pl.Callback):
            raise UserError(
                f"callbacks.{name}._target_={settings.callbacks[name]['_target_']}: expected a "
                f"pytorch_lightning.Callback, got {type(one).__name__}"
            )
    return list(built.values())


def check_pretrained(weights: str | None, node: Node) -> None:
    """Raise a UserError if published weights are asked of a network that has none."""
    if weights == PRETRAINED and "pretrained" not in parameters(locate("teacher", node.get("_target_"))):
        raise UserError(
            f"teacher.weights=pretrained: {node.get('_target_')} has no published weights; "
            "choose teacher=timm or teacher=torchvision"
        )


def check_weights(weights: str | None, network: nn.Module) -> None:
    """Try a file of weights now."""
    if weights in {None, PRETRAINED} or str(weights).startswith(RUN):
        return
    try:
        load_weights(network, Path(str(weights)).expanduser())
    except UserError as error:
        raise UserError(f"teacher.{error}") from error


def check_batch(key: str, recipe: RecipeSettings, num_rows: int) -> None:
    """Raise a UserError if there are fewer samples than one batch, or one optimizer step, takes."""
    if recipe.batch_size > num_rows:
        raise UserError(
            f"{key}.batch_size={recipe.batch_size}: larger than the {num_rows} samples it is drawn from; "
            f"expected at most {num_rows}"
        )
    if recipe.step_size > num_rows:
        raise UserError(
            f"{key}.accumulate={recipe.accumulate}: so many batches of {recipe.batch_size} are more than the "
            f"{num_rows} samples they are drawn from; expected at most {num_rows // recipe.batch_size}"
        )


def check_fitted(teacher: Fitted, data: Data, *, is_augmented: bool) -> None:
    """Check that a teacher that is fitted can learn from these classes, and that its answers are those to be taught.

    Raises:
        UserError: too few samples of a class; answers to samples as they are, where a student sees them otherwise.
    """
    teacher.check(data.targets[data.train])
    if is_augmented and (told := teacher.described()) is not None:
        raise UserError(
            f"teacher.answers: what a teacher says {told} belongs to samples as they are, and the student sees them "
            "augmented; expected student.recipe.augment=false, or teacher.answers=in_bag"
        )


def check_int8(measure: MeasureSettings, student: nn.Module) -> None:
    """Raise a UserError if the student is to be measured in int8 and has nothing that is rounded."""
    if measure.int8 and not layers(student):
        raise UserError(
            "measure.int8=true: the student has no linear layer and no convolution, so nothing of it can be rounded; "
            "leave it away, or choose another one, such as student=mlp"
        )


def check_logits(key: str, network: nn.Module, data: Data) -> None:
    """Run two samples through the network and check that logits for this dataset's classes come out.

    Raises:
        UserError: The network cannot take the dataset's samples, or answers for another number of classes.
    """
    example = data.example(2)
    try:
        with eval_mode(network), torch.no_grad():
            logits = call_network(network, example)
    except Exception as error:  # a user's network may raise anything
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{key}: the network cannot take this dataset's samples of shape {shapes(example)} ({reason}); "
            "expected a network for that shape"
        ) from error
    got = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if got != [2, data.num_classes]:
        raise UserError(
            f"{key}: expected logits of shape [batch, {data.num_classes}], one for each class of the dataset, "
            f"but a batch of 2 gave {got}"
        )
