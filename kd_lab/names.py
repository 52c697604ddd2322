"""Every metric, parameter and tag key that kd-lab writes, with its unit in the name. Imports nothing."""

TEACHER = "teacher"
BASELINE = "baseline"
STUDENT = "student"
ASSISTANT = "assistant"
"""What a strategy obtains before the student, and is no teacher of the labels: a link of a chain, a generation."""
PEER = "peer"
"""What is trained with the student, in the same steps."""
ROLES = (TEACHER, BASELINE, STUDENT)
"""Those that tables compare."""
TRIAL = "trial"
"""A student that a search tries out: trained, measured on the validation part alone. No comparison reads it."""

EXPORT = "export"
"""A network of another run as a file, which was measured there. No comparison reads it."""

# During training; the step is the optimizer step, the value the mean since the point before.
TRAIN_LOSS_TOTAL = "train/loss_total"
TRAIN_LOSS_HARD = "train/loss_hard"
TRAIN_LEARNING_RATE = "train/learning_rate"
VAL_ACCURACY_TOP1 = "val/accuracy_top1"
VAL_NLL_NATS = "val/nll_nats"
# Of the epoch whose weights did best there, where they are kept beside the last ones; never in one field with these.
VAL_BEST_ACCURACY_TOP1 = "val/best_accuracy_top1"
VAL_BEST_EPOCH = "val/best_epoch"
TRAIN_STOPPED_EPOCH = "train/stopped_after_epoch"  # where nothing had become better for long enough

# After training, on the test part, read once. Accuracies, agreements and calibration errors are fractions 0..1.
TEST_ACCURACY_TOP1 = "test/accuracy_top1"
TEST_ACCURACY_TOP5 = "test/accuracy_top5"
TEST_ACCURACY_BALANCED = "test/accuracy_balanced"
TEST_F1_MACRO = "test/f1_macro"
TEST_AUROC_MACRO = "test/auroc_macro"
TEST_MAJORITY = "test/majority_class"  # the accuracy of always answering the commonest class
TEST_CLASSES_ANSWERED = "test/classes_answered"  # how many classes are the answer to some sample
TEST_NLL_NATS = "test/nll_nats"
TEST_BRIER = "test/brier"
TEST_ECE = "test/ece_15_bins"
TEST_AGREEMENT_TOP1 = "test/agreement_top1"
TEST_AGREEMENT_TEACHER_WRONG = "test/agreement_where_teacher_wrong"
TEST_KL_NATS = "test/kl_teacher_student_nats"
TEST_GAP_RECOVERED = "test/gap_recovered"
TEST_SOURCE_AGREEMENT_TOP1 = "test/source_agreement_top1"  # of an exported file with the network it was made of
TEST_INT8_ACCURACY_TOP1 = "test/int8_accuracy_top1"  # with its weights and activations rounded to 8 bits
TEST_ENSEMBLE_ACCURACY_TOP1 = "test/ensemble_accuracy_top1"  # of the mean probability of a student and its links
# The same of the student alone, on the run of the student that stands beside both: a baseline serves many teachers.
TEST_ALONE_AGREEMENT_TOP1 = "test/alone_agreement_top1"
TEST_ALONE_AGREEMENT_TEACHER_WRONG = "test/alone_agreement_where_teacher_wrong"
TEST_ALONE_KL_NATS = "test/alone_kl_teacher_student_nats"
OF_ALONE = {
    TEST_AGREEMENT_TOP1: TEST_ALONE_AGREEMENT_TOP1,
    TEST_AGREEMENT_TEACHER_WRONG: TEST_ALONE_AGREEMENT_TEACHER_WRONG,
    TEST_KL_NATS: TEST_ALONE_KL_NATS,
}
"""By the key of the student's fidelity, that of the student alone."""

COST_PARAMS_TOTAL = "cost/params_total"
COST_PARAMS_TRAINABLE = "cost/params_trainable"
COST_MACS = "cost/macs"
COST_WEIGHTS_BYTES = "cost/weights_bytes"
COST_INT8_WEIGHTS_BYTES = "cost/int8_weights_bytes"
COST_LATENCY_MS_P50 = "cost/latency_ms_p50"
COST_LATENCY_MS_P95 = "cost/latency_ms_p95"
COST_THROUGHPUT = "cost/throughput_samples_per_s"
COST_TRAIN_WALL_S = "cost/train_wall_s"
COST_TRAIN_ASKING_S = "cost/train_asking_s"  # of it: before the first step, a teacher that was asked for all at once
COST_TRAIN_SAMPLES_PER_S = "cost/train_samples_per_s"
COST_CHAIN_WALL_S = "cost/chain_train_wall_s"  # training of the student and of all that stand behind it
COST_TEACHER_SAMPLES = "cost/teacher_samples"  # answered by forward passes for this training; those kept on disk are 0
COST_TRAIN_STEPS = "cost/train_steps"
COST_TRAIN_PEAK_MEMORY_BYTES = "cost/train_peak_memory_bytes"
COST_TRACKING_S = "cost/tracking_s"

_HIGHER = frozenset(
    {
        VAL_ACCURACY_TOP1,
        TEST_ACCURACY_TOP1,
        TEST_ACCURACY_TOP5,
        TEST_ACCURACY_BALANCED,
        TEST_F1_MACRO,
        TEST_AUROC_MACRO,
        TEST_AGREEMENT_TOP1,
        TEST_SOURCE_AGREEMENT_TOP1,
        TEST_GAP_RECOVERED,
        TEST_ENSEMBLE_ACCURACY_TOP1,
        TEST_INT8_ACCURACY_TOP1,
        COST_THROUGHPUT,
        COST_TRAIN_SAMPLES_PER_S,
    }
)
HIGHER_IS_BETTER = _HIGHER | {key.replace("/", "/best_", 1) for key in _HIGHER if key.startswith(("test/", "val/"))}
"""Of every other metric less is better; agreeing with the teacher where it is wrong is copying its errors."""


# Tags. What MLflow's own UI reads keeps MLflow's names.
TAG_ROLE = "role"
TAG_KEY = "kd_lab.key"
TAG_SWEEP = "kd_lab.sweep"
TAG_JOB = "kd_lab.job"
TAG_JOB_KEY = "kd_lab.job_key"
TAG_WEIGHTS_FROM = "kd_lab.weights_from"
TAG_TUNED = "kd_lab.tuned"  # the settings that conf/tuned brought, and nobody typed
TAG_PUBLISHED = "kd_lab.published"  # the settings that conf/published brought for the pair and the loss
TAG_EXPERIMENT = "kd_lab.experiment"  # the experiment that was chosen: cifar100/resnet32x4_resnet8x4
TAG_EXPERIMENT_LOSS = "kd_lab.experiment_loss"  # kd, crd+kd, kd standardized: as tables of published figures call it
TAG_EXPERIMENT_CHANGED = "kd_lab.experiment_changed"  # what of it is otherwise in this run, as it is typed
TAG_JOBS_AT_ONCE = "kd_lab.jobs_at_once"
TAG_CONFIGURATIONS_TRIED = "kd_lab.configurations_tried"  # those that a student was chosen from, on the validation part
TAG_WEIGHTS_SHA256 = "kd_lab.weights_sha256"
TAG_DATA_CONTEXT = "mlflow.data.context"  # of a dataset of a run: what it is read for
TAG_DATA_FINGERPRINT = "kd_lab.data_fingerprint"
TAG_TEACHER_RUN = "kd_lab.teacher_run"
TAG_TEACHER_WEIGHTS_SHA256 = "kd_lab.teacher_weights_sha256"
TAG_BASELINE_RUN = "kd_lab.baseline_run"
TAG_LINK_RUN = "kd_lab.link_run"  # the last of the networks that a strategy wanted before the student
TAG_STUDENT_RUN = "kd_lab.student_run"  # on a peer: with whom it was trained
TAG_SOURCE_RUN = "kd_lab.source_run"  # on an export: whose network it is
TAG_REASON = "kd_lab.reason"
TAG_PARENT = "mlflow.parentRunId"
TAG_LOCAL_ID = "kd_lab.local_id"
TAG_HOST = "kd_lab.host"
REFERENCES = (TAG_TEACHER_RUN, TAG_BASELINE_RUN, TAG_LINK_RUN, TAG_STUDENT_RUN, TAG_SOURCE_RUN, TAG_PARENT)
"""The tags whose value is the id of another run."""
TAG_GIT_COMMIT = "mlflow.source.git.commit"
TAG_GIT_DIRTY = "kd_lab.git_dirty"
TAG_VERSION = "kd_lab.version."  # and the name of the package
TAG_CODE = "kd_lab.code_sha256"  # of the source of all that the result follows from
TAG_TEST_SAMPLES = "kd_lab.test_samples"
TAG_REMARKS = "kd_lab.remarks"  # on a student: what to know before believing its result, a sentence a line
TAG_LEARNED = "kd_lab.learned"  # on a student: what was learned beside it, and from which part of the data
TAG_UNMEASURED = "kd_lab.unmeasured"  # what of a saved network could not be measured, or is not yet
TAG_PLATFORM = "kd_lab.platform"
TAG_CPU = "kd_lab.cpu"
TAG_CPU_CORES = "kd_lab.cpu_cores"
TAG_DEVICE = "kd_lab.device"
TAG_PROCESSES = "kd_lab.processes"
TAG_THREADS = "kd_lab.threads"  # while it is measured
TAG_TRAIN_THREADS = "kd_lab.train_threads"
TAG_RUN_NAME = "mlflow.runName"
TAG_MODELS = "mlflow.log-model.history"
TAG_NOTE = "mlflow.note.content"

# Artifacts, as paths inside a run.
ARTIFACT_CONFIG = "config.yaml"
ARTIFACT_WEIGHTS = "model/weights.safetensors"
ARTIFACT_WEIGHTS_BEST = "model/weights_best.safetensors"
ARTIFACT_NETWORK = "model/network.json"
ARTIFACT_MLMODEL = "model/MLmodel"
ARTIFACT_EXAMPLE = "model/input_example.json"
ARTIFACT_REPORT = "report.md"
ARTIFACT_JOBS = "jobs.csv"
ARTIFACT_TRIALS = "trials.csv"
ARTIFACT_MEMBERS = "members.csv"
ARTIFACT_FAILED = "failed_jobs.txt"
ARTIFACT_PAGE = "comparison.html"
ARTIFACT_CONFUSION = "figures/confusion_matrix.png"
ARTIFACT_RELIABILITY = "figures/reliability_diagram.png"
ARTIFACT_MEMBERS_FIGURE = "figures/members.png"
ARTIFACT_SAMPLES = "figures/made_samples.png"
ARTIFACT_EXPORT = "export/network"  # and the ending of each file
ARTIFACT_GATES = "figures/layer_gates.png"
ARTIFACT_PREDICTIONS = "predictions.npz"

# What that file holds of each test sample; probabilities are fractions 0..1.
SAMPLE_INDEX = "index"
SAMPLE_NAME = "name"
SAMPLE_TARGET = "target"
SAMPLE_PREDICTED = "predicted"
SAMPLE_CLASS = "class"
SAMPLE_CONFIDENCE = "confidence"
SAMPLE_TARGET_PROBABILITY = "target_probability"
SAMPLE_PROBABILITIES = "probabilities"


def of_best(key: str) -> str:
    """The key of the same fact of the best epoch's weights: `test/best_accuracy_top1`."""
    return key.replace("/", "/best_", 1)


def train_loss(term: str) -> str:
    """The key of one named term of the objective, unweighted: `train/loss_kd`."""
    return f"train/loss_{term}"


def train_reading(reading: str) -> str:
    """The key of what a loss says of itself, or of a scheduled setting: `train/kd_temperature`."""
    return f"train/{reading}"


def of_stage(term: str, key: str) -> str:
    """The key of a training metric of a loss's own first stage: `first_stage_ab/train/loss_total`."""
    return f"first_stage_{term}/{key}"


def of_member(index: int, key: str) -> str:
    """The key of a training metric of one member of an ensemble: `member_0/train/loss_total`."""
    return f"member_{index}/{key}"


def beside(name: str, key: str) -> str:
    """The key of a training metric of what is trained in the student's steps: `peer_1/val/accuracy_top1`."""
    return f"{name}/{key}"


def sample_probability(number: int) -> str:
    """The column of one class in a table of predictions: `probability_3`."""
    return f"probability_{number}"
