"""`kd-lab doctor`: what a job would compare, and how strongly each term pulls at the first step; trains nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.insight.probe import SAMPLES, Probe
from kd_lab.insight.stages import stages
from kd_lab.job import notes, parts, published, recipes, tuned
from kd_lab.job.beside import reuses
from kd_lab.job.bind import Bound, meet
from kd_lab.job.console import busy
from kd_lab.job.describe import network_name
from kd_lab.job.lessons import asked
from kd_lab.job.plan import Plan
from kd_lab.job.ready import ready
from kd_lab.job.settings import Settings
from kd_lab.job.sources import take_weights
from kd_lab.job.specs import NetworkSpec
from kd_lab.models.common.weights import load_weights
from kd_lab.outside.console import console
from kd_lab.outside.ids import RUN
from kd_lab.store.store import Store
from kd_lab.training.distiller import Distiller

NO_TEACHER = "No teacher: the student learns from hard labels."
DOMINATES = 0.9
"""A term with this share of the gradient decides alone where the student goes."""


@dataclass(frozen=True)
class Pull:
    """One term at the first step: its value, its weight, and the size of its weighted gradient in the student."""

    name: str
    value: float
    weight: float
    gradient_norm: float


def doctor(config: Mapping[str, Any]) -> list[Pull]:
    """Print what the job of this config would do, and return how strongly each term pulls.

    Raises:
        UserError: something in the config cannot work.
    """
    with busy("checking the config, loading the data"):
        plan = ready(Settings.of(config))
    assert plan.built is not None
    teacher, told = _teacher(plan, plan.built.teacher)
    links = _links(plan)
    student, bound = plan.built.student, plan.built.bound
    if plan.taught_by and (last := plan.taught_by[-1].built) is not None and last.teacher is not None:
        meet(bound, student, last.teacher, plan.data)
    out = console()
    for line in [*plan.data.told, *notes.described(plan), *recipes.described(plan)]:
        out.print(line, soft_wrap=True)
    out.print(parts.table(plan))
    if plan.settings.tuned:
        out.print(tuned.sentence(plan.settings.tuned, plan.data.name), soft_wrap=True)
    for line in published.described(plan.settings):
        out.print(line, soft_wrap=True)
    for role, network, spec in (("teacher", teacher, plan.specs.teacher), ("student", student, None)):
        if network is not None:
            named = network_name(spec.node if spec else plan.built.student_node)
            out.print(f"{role}: {_network(named, network, plan)}", soft_wrap=True)
    for line in [told, *links]:
        out.print(line, soft_wrap=True)
    if bound.pairs:
        out.print(_pairs(bound))
    if plan.strategy.replaces_loss:
        out.print("The strategy's terms are its own: none of the loss pulls.")
        return []
    tutor = plan.taught_by[-1] if plan.taught_by else plan
    found = pulls(tutor, bound, student, tutor.built.teacher if tutor.built else None)
    out.print(_pulls(found))
    for line in [*_stages(bound), *_verdict(found)]:
        out.print(line)
    return found


def _teacher(plan: Plan, network: nn.Module | None) -> tuple[nn.Module | None, str]:
    """The teacher with its weights, if they are there without training; and a sentence that says which they are."""
    spec, settings = plan.specs.teacher, plan.settings.teacher
    if spec is None or settings is None or network is None:
        return None, "No teacher of the job's own." if plan.built and plan.built.links else NO_TEACHER
    uri = plan.settings.tracking.uri
    if not spec.is_trained:
        if spec.source.startswith(RUN):
            take_weights(network, Store.existing(uri), spec.source)
        return network, f"The teacher is that of {spec.source}."
    if settings.reuse and (found := _found(plan, spec, network)) is not None:
        return network, f"The teacher is {found}."
    return network, "The teacher is not trained yet: the numbers below are those of untrained weights."


def _links(plan: Plan) -> list[str]:
    """Of each network that the strategy obtains before the student, whether it would be found again; it has its weights
    then."""
    assert plan.built is not None
    lines = []
    for number, link in enumerate(plan.built.links, start=1):
        assert link.built is not None
        spec = replace(link.specs.student, node=link.built.student_node)
        found = _found(link, spec, link.student) if reuses(plan.settings) else None
        lines.append(f"{spec.role} {number}, {network_name(spec.node)}: {found or 'not trained yet'}.")
    return lines


def _found(plan: Plan, spec: NetworkSpec, network: nn.Module) -> str | None:
    """The run that a network would be found again in, whose weights it has now; None where there is none."""
    try:
        found = Store.existing(plan.settings.tracking.uri).find(plan.specs.world.key(spec))
    except UserError:  # no store yet
        return None
    if found is None:
        return None
    with found.opened(names.ARTIFACT_WEIGHTS) as path:
        load_weights(network, path)
    accuracy = found.metrics.get(names.TEST_ACCURACY_TOP1, float("nan"))
    return f"run {found.run_id[:8]}, accuracy {accuracy:.2%}"


def _network(name: str, network: nn.Module, plan: Plan) -> str:
    """One line: parameters, classifier, ends of the stages."""
    probe = Probe.of(network, plan.data.example(SAMPLES))
    ends = [layer for maps in (True, False) for layer in stages(probe, maps=maps)]
    listed = ", ".join(f"{layer.path} {list(layer.shape)}" for layer in ends) or "none"
    count = sum(p.numel() for p in network.parameters())
    return f"{name}, {count:,} parameters; classifier {probe.head or 'none'}; stages {listed}"


def _pairs(bound: Bound) -> Table:
    table = Table(title="What is compared", title_justify="left")
    for column in ("term", "student's layer", "", "teacher's layer", "", "own parameters"):
        table.add_column(column, justify="right" if column.startswith("own") else "left")
    for name, pairs in bound.pairs.items():
        stage = bound.stages.get(name)
        loss = bound.objective.losses[name] if name in bound.objective.losses else stage[0].loss if stage else None
        count = sum(p.numel() for p in loss.parameters()) if loss is not None else 0
        for i, pair in enumerate(pairs):
            first = (name, f"{count:,}") if i == 0 else ("", "")
            own, theirs = str(list(pair.student_shape)), str(list(pair.teacher_shape))
            table.add_row(first[0], pair.student.name, own, pair.teacher.name, theirs, first[1])
    return table


def pulls(plan: Plan, bound: Bound, student: nn.Module, teacher: nn.Module | None) -> list[Pull]:
    """Each term's value and gradient on the first batch of the student's training."""
    rows = plan.student_rows()
    recipe = plan.recipe("student.recipe", plan.settings.student.recipe, len(rows))
    batch = next(iter(plan.feed(rows, recipe, plan.settings.seed, bound.views)))
    student.train()
    asking = asked(plan, teacher, bound) if teacher is not None else None
    step = Distiller(student, bound.objective, teacher=asking, taps=bound.student_taps)
    step.attach(torch.device("cpu"))
    try:
        terms = step(batch).terms
    finally:
        step.release()
    weights = {"hard": bound.objective.hard_weight, **bound.objective.weights}
    trained = [p for p in student.parameters() if p.requires_grad]
    return [_pull(name, value, weights[name], trained) for name, value in terms.items()]


def _pull(name: str, value: Tensor, weight: float, trained: list[nn.Parameter]) -> Pull:
    gradients = torch.autograd.grad(value * weight, trained, retain_graph=True, allow_unused=True)
    norm = sum(float(g.square().sum()) for g in gradients if g is not None) ** 0.5
    return Pull(name, float(value.detach()), weight, norm)


def _pulls(found: list[Pull]) -> Table:
    table = Table(title="At the first step, at full weight", title_justify="left")
    for column in ("term", "value", "weight", "weighted", "gradient norm", "share, %"):
        table.add_column(column, justify="left" if column == "term" else "right")
    for pull in found:
        weighted, share = pull.value * pull.weight, 100 * share_of(pull, found)
        numbers = (
            f"{pull.value:.4g}",
            f"{pull.weight:g}",
            f"{weighted:.4g}",
            f"{pull.gradient_norm:.4g}",
            f"{share:.1f}",
        )
        table.add_row(pull.name, *numbers)
    return table


def share_of(pull: Pull, found: list[Pull]) -> float:
    """The term's part in the sum of the gradients' norms."""
    total = sum(other.gradient_norm for other in found)
    return pull.gradient_norm / total if total else 0.0


def _stages(bound: Bound) -> list[str]:
    return [
        f"{name} has a first stage of {stage.epochs} epochs, before the student's own training"
        + (", and no term in it." if stage.only else ".")
        for name, (stage, _) in bound.stages.items()
    ]


def _verdict(found: list[Pull]) -> list[str]:
    if len(found) < 2:
        return []
    strongest = max(found, key=lambda pull: pull.gradient_norm)
    share = share_of(strongest, found)
    if share < DOMINATES:
        return [f"No term decides alone: the strongest, {strongest.name}, has {share:.0%} of the gradient."]
    return [f"{strongest.name} decides alone at first: it has {share:.1%} of the gradient."]
