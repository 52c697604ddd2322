"""In Python what the `kd-lab` command does."""

from kd_lab.errors import UserError
from kd_lab.job.arguments import parse
from kd_lab.job.compose import Config, check_complete, composing
from kd_lab.job.console import Reporter
from kd_lab.job.job import run
from kd_lab.job.offline import check_servers
from kd_lab.job.order import Context
from kd_lab.types import RunResult


def distil(*overrides: str, quiet: bool = False) -> RunResult:
    """Run one job, as `kd-lab OVERRIDES` does: teacher, the student alone, the distilled student, kept in MLflow.

    Args:
        overrides: as on the command line, such as `"loss=at"` or `"student.recipe.epochs=3"`.
        quiet: print nothing; what must be known is in the result and in the runs.

    Returns:
        What was measured of each network, and the id of its run.

    Raises:
        UserError: something in the overrides or the data cannot work; nothing was written.
        TrainingFailedError: training stopped by itself; its run is FAILED.

    Example:
        result = kd_lab.distil("dataset=digits", "loss=dkd", "seed=1")
        result.student.measurement["test/accuracy_top1"]
    """
    options = parse(list(overrides))
    if options.multirun or options.showing:
        raise UserError("distil: runs one job; expected overrides such as seed=1, and no options")
    with composing(options) as compose:
        config = compose.single(options.overrides, "a single value, or one call for each")
    reporter = Reporter()
    reporter.console.quiet = quiet
    return run_alone(config, reporter)


def run_alone(config: Config, reporter: Reporter) -> RunResult:
    """Run the job of a composed config, which belongs to no sweep; see `distil` for errors."""
    check_complete(config)
    check_servers([config])
    with reporter.listening():
        return run(config, Context(), reporter)
