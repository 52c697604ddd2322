"""What of a job's recipes is not as usual, in sentences: what a step is, what is mixed, which weights are kept."""

from kd_lab import names
from kd_lab.job.plan import Plan
from kd_lab.job.settings import RecipeSettings
from kd_lab.models.ensemble import Ensemble


def described(plan: Plan) -> list[str]:
    """Of the teacher, where it is trained, and of the student."""
    specs, taught = plan.specs, []
    if specs.teacher is not None and specs.teacher.is_trained:
        taught = _of(names.TEACHER, specs.teacher.recipe, len(plan.data.train))
        taught += _ensemble(plan)
    return [*taught, *_of(names.STUDENT, specs.student.recipe, len(plan.student_rows())), *_relational(plan)]


def _of(role: str, recipe: RecipeSettings, num_rows: int) -> list[str]:
    told = []
    if recipe.accumulate > 1:
        told.append(f"{role}: {recipe.accumulate} batches of {recipe.batch_size} to an optimizer step")
    if recipe.by_length:
        told.append(f"{role}: a step has texts of like length, so that less of it is padding")
    if recipe.mix is not None and recipe.mixes:
        kind = str(recipe.mix["_target_"]).rpartition(".")[2]
        told.append(f"{role}: learns from pairs of samples that {kind} makes one, and from no sample by itself")
    if recipe.ema is not None:
        told.append(_averaged(role, recipe.ema, recipe.steps_over(num_rows)))
    if recipe.no_decay and not recipe.optimizer.get("weight_decay"):
        told.append(f"{role}.recipe.no_decay is not used: there is no weight decay to spare biases and norms")
    return told


def _ensemble(plan: Plan) -> list[str]:
    """Its members are trained one by one, and none of their epochs is one of the ensemble."""
    if plan.settings.checkpoint.keep == "last" or plan.built is None or not isinstance(plan.built.teacher, Ensemble):
        return []
    return ["teacher: an ensemble has no best epoch, so its last weights alone are kept"]


def _averaged(role: str, decay: float, steps: int) -> str:
    """Which weights are kept, and whether the training is too short for such an average."""
    reach = 1 / (1 - decay)
    told = f"{role}: the moving average of its weights is kept, over about the last {reach:,.0f} of {steps:,} steps"
    short = f"; it ends near its beginning, which ema={1 - 10 / max(steps, 20):.3g} would not"
    return told if reach <= steps else f"{told}{short}"


def _relational(plan: Plan) -> list[str]:
    recipe = plan.specs.student.recipe
    if recipe.accumulate == 1 or plan.built is None:
        return []
    terms = plan.built.bound.objective.terms
    return [
        f"{name} compares the samples of one batch of {recipe.batch_size}, not of all {recipe.step_size} of a step"
        for name, term in terms.items()
        if term.loss.batch_relational
    ]
