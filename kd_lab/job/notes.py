"""What a user is told of a plan before it runs: who teaches, what is left out of the data."""

from kd_lab.job import chain, sharded
from kd_lab.job.describe import network_name
from kd_lab.job.plan import Plan
from kd_lab.job.specs import PRETRAINED, TRAIN
from kd_lab.models.common.fitted import Fitted
from kd_lab.outside.ids import RUN
from kd_lab.types import UNLABELLED


def described(plan: Plan) -> list[str]:
    """Sentences: how the student is taught, another teacher than the config chooses, data left out."""
    told = [*_strategy(plan), *_other_teacher(plan), *_own_answers(plan), *_unlabelled(plan), *sharded.described(plan)]
    without = sorted({*plan.settings.student.without_classes})
    if not without:
        return told
    called = "class" if len(without) == 1 else "classes"
    kept = f"{len(plan.seen.transfer):,} of {len(plan.data.transfer):,} training points"
    return [*told, f"student and baseline see no sample of {called} {', '.join(map(str, without))}: {kept}"]


def _unlabelled(plan: Plan) -> list[str]:
    if (few := plan.settings.student.unlabelled) is None:
        return []
    if plan.student_part() == TRAIN:
        return [f"student.unlabelled={few} is not used: no loss asks a teacher, so labels alone teach"]
    hidden = int((plan.data.targets[plan.data.transfer] == UNLABELLED).sum())
    return [f"the student is taught on {few:,} of {hidden:,} points without a label"]


def _other_teacher(plan: Plan) -> list[str]:
    chosen, spec = plan.settings.teacher, plan.specs.teacher
    if chosen is None or spec is None or spec.source == PRETRAINED or spec.node == chosen.node:
        return []
    name, other = network_name(spec.node), network_name(chosen.node)
    if plan.teacher_node is not None:
        kept = spec.source[: len(RUN) + 8]
        return [f"the teacher is what {kept} kept, {name}; the network that teacher= chooses is not used"]
    shape = plan.data.input_shape
    shown = f"samples of shape {list(shape)}" if isinstance(shape, tuple) else f"samples of {', '.join(shape)}"
    return [f"the teacher is {name} in the place of {other}: {shown} are no images"]


def _own_answers(plan: Plan) -> list[str]:
    teacher = plan.built.teacher if plan.built is not None else None
    told = teacher.described() if isinstance(teacher, Fitted) and plan.distils else None
    return (
        []
        if told is None
        else [f"teacher: the {len(plan.data.train):,} samples that it learns from are answered {told}"]
    )


def _strategy(plan: Plan) -> list[str]:
    if plan.settings.strategy is None:
        return []
    return [chain.sentence(plan.settings, plan.strategy, plan.specs.student)]
