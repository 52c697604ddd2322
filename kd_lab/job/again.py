"""A job that was done before, found again as a sweep finds its jobs: by all that its result follows from."""

import copy

from kd_lab import names
from kd_lab.errors import TrainingFailedError, UserError
from kd_lab.job.keeper import Keeper
from kd_lab.models.common.weights import load_weights, weights_sha256
from kd_lab.store.stored_run import StoredRun
from kd_lab.types import NetworkResult, RunResult


def done_before(keeper: Keeper) -> RunResult | None:
    """The result of the newest finished run of this job in its study, where `student.reuse` asks for it; else None.

    Nothing is measured again: the student's weights are compared with the hash that its run recorded.
    """
    plan, reporter = keeper.plan, keeper.reporter
    if not plan.settings.student.reuse:
        return None
    key = plan.specs.job_key()
    finished = keeper.store.finished(plan.settings.study, names.STUDENT)
    student = next((run for run in finished if run.tags.get(names.TAG_JOB_KEY) == key), None)
    if student is None or names.TEST_ACCURACY_TOP1 not in student.metrics:
        return None
    called = f"student: run {student.run_id[:8]}"
    try:
        if not _is_whole(keeper, student):
            reporter.note(f"{called} is not what its record says; the job is done anew")
            return None
        result = _result(keeper, student)
    except (UserError, TrainingFailedError) as error:
        reporter.note(f"{called} cannot be used ({error}); the job is done anew")
        return None
    reporter.note(f"{called} found again, and with it the whole job: nothing is trained (student.reuse=true)")
    return result


def _is_whole(keeper: Keeper, student: StoredRun) -> bool:
    network = copy.deepcopy(keeper.built.student)
    with student.opened(names.ARTIFACT_WEIGHTS) as path:
        load_weights(network, path)
    return weights_sha256(network) == student.tags.get(names.TAG_WEIGHTS_SHA256)


def _result(keeper: Keeper, student: StoredRun) -> RunResult:
    """What the job found then; the student's run names those of the two that stand beside it.

    Raises:
        UserError: one of them is not there any more.
    """
    data, remarks = keeper.plan.data, student.tags.get(names.TAG_REMARKS, "")
    teacher, alone = (
        keeper.store.get(student.tags[tag]) if tag in student.tags else None
        for tag in (names.TAG_TEACHER_RUN, names.TAG_BASELINE_RUN)
    )
    fidelity = {key: student.metrics[kept] for key, kept in names.OF_ALONE.items() if kept in student.metrics}
    return RunResult(
        teacher=_of(names.TEACHER, teacher) if teacher else None,
        baseline=_of(names.BASELINE, alone, fidelity) if alone else None,
        student=_of(names.STUDENT, student),
        validation_accuracy=student.metrics.get(names.VAL_ACCURACY_TOP1),
        test_samples=len(data.test),
        num_classes=data.num_classes,
        remarks=tuple(remarks.splitlines()),
    )


def _of(role: str, run: StoredRun, more: dict[str, float] | None = None) -> NetworkResult:
    sha256 = run.tags.get(names.TAG_WEIGHTS_SHA256, "")
    return NetworkResult(role, run.run_id, run.metrics | (more or {}), sha256, reused=True)
