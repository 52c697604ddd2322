"""What kd-lab uses of others that no release of theirs promises: an upgrade may take it away.

Everything else that it uses of Hydra, Lightning, MLflow, Optuna and torch is documented by them. `gone` is asked by the
tests: with a new version of one of them it says by name what has to be done in another way, and where.
"""

import importlib
import inspect
from functools import reduce
from typing import cast

LAUNCHERS = "pytorch_lightning.strategies.launchers.multiprocessing"

NAMES = {
    "hydra.core.config_search_path:ConfigSearchPath.append": "kd_lab.job.aliases",
    "hydra.core.global_hydra:GlobalHydra.config_loader": "kd_lab.job.compose: the choices behind glob(*)",
    "hydra.core.hydra_config:HydraConfig.set_config": "kd_lab.job.compose: ${hydra:runtime.choices.dataset}",
    "hydra.core.object_type:ObjectType.CONFIG": "kd_lab.job.aliases",
    "hydra.core.override_parser.overrides_parser:OverridesParser.create": "kd_lab.job.compose: what is swept over",
    "hydra.core.override_parser.types:Glob": "kd_lab.sweep.space",
    "hydra.core.override_parser.types:IntervalSweep": "kd_lab.sweep.space",
    "hydra.core.override_parser.types:Override.get_key_element": "kd_lab.sweep.multirun",
    "hydra.core.override_parser.types:Override.get_value_element_as_str": "kd_lab.sweep.multirun",
    "hydra.core.override_parser.types:Override.is_discrete_sweep": "kd_lab.sweep.multirun",
    "hydra.core.override_parser.types:Override.is_sweep_override": "kd_lab.job.compose, kd_lab.sweep.multirun, .space",
    "hydra.core.override_parser.types:Override.sweep_string_iterator": "kd_lab.sweep.multirun, kd_lab.sweep.space",
    "hydra.core.override_parser.types:RangeSweep": "kd_lab.sweep.space",
    "hydra.core.override_parser.types:Quote.double": "kd_lab.job.quoting",
    "hydra.core.override_parser.types:QuotedString.with_quotes": "kd_lab.job.quoting",
    "hydra.core.plugins:Plugins.register": "kd_lab.job.aliases",
    "hydra.plugins.completion_plugin:DefaultCompletionPlugin._query": "kd_lab.cli.completion",
    "hydra.plugins.completion_plugin:DefaultCompletionPlugin.strip_python_or_app_name": "kd_lab.cli.completion",
    "huggingface_hub.constants:HF_HUB_OFFLINE": "kd_lab.models.timm: no waiting for a hub that is away",
    "mlflow.store.artifact.artifact_repository_registry:get_artifact_repository": "kd_lab.store.guard",
    "mlflow.store.entities:PagedList": "kd_lab.store.guard",
    "mlflow.utils.credentials:get_default_host_creds": "kd_lab.store.records: a server's pages as JSON",
    "mlflow.utils.rest_utils:http_request_safe": "kd_lab.store.records: a server's pages as JSON",
    "optuna.storages:BaseStorage.get_trial_id_from_study_id_trial_number": "kd_lab.sweep.trials",
    "optuna.storages:BaseStorage.set_trial_intermediate_value": "kd_lab.sweep.trials",
    "optuna.storages:BaseStorage.set_trial_user_attr": "kd_lab.sweep.trials",
    "pytorch_lightning:Trainer.callback_metrics": "kd_lab.training.callbacks: what spawned processes bring home",
    "pytorch_lightning:Trainer.precision_plugin": "kd_lab.training.module: the scale of 16-mixed",
    f"{LAUNCHERS}:_GlobalStateSnapshot.capture": "kd_lab.training.launcher",
    f"{LAUNCHERS}:_MultiProcessingLauncher._collect_rank_zero_results": "kd_lab.training.launcher: torchrun",
    f"{LAUNCHERS}:_MultiProcessingLauncher._recover_results_in_main_process": "kd_lab.training.launcher",
    "torch._dynamo:reset": "kd_lab.insight.taps: code compiled before knows nothing of hooks",
    "torch.nn.modules.batchnorm:_BatchNorm": "kd_lab.norm",
    "torch.nn.modules.conv:_ConvNd": "kd_lab.insight.probe",
    "torch:Tensor._version": "kd_lab.insight.probe: a map that was written to",
    "atexit:_run_exitfuncs": "kd_lab.sweep.endings: leaving without taking the interpreter apart",
}
"""`module:name`, and where it is used."""

WORDS = {
    ("pytorch_lightning.plugins.precision:MixedPrecision", "scaler"): "kd_lab.training.module",
    ("pytorch_lightning.strategies:DDPStrategy", "_spawn_find_unused_parameters_true"): "kd_lab.job.fit",
    ("pytorch_lightning.trainer:call", "exit(1)"): "kd_lab.job.fit: Ctrl-C",
    ("pytorch_lightning.strategies:DDPStrategy", "self.configure_ddp()"): "kd_lab.training.quiet: FSDP in its place",
    ("torch._dynamo:OptimizedModule", "_orig_mod"): "kd_lab.insight.taps",
    ("torch.nn:Module", "_compiled_call_impl"): "kd_lab.training.distiller",
    ("torch.nn.parallel:DistributedDataParallel", "_ddp_params_and_buffers_to_ignore"): "kd_lab.training.module",
    ("torch.optim:Adam", "_step_supports_amp_scaling"): "kd_lab.training.module",
}
"""A word in the source of something, where that is all there is to find; and where it is used."""

VALUES = {
    "mlflow.utils.mlflow_tags:MLFLOW_DATASET_CONTEXT": "mlflow.data.context",
    "mlflow.utils.mlflow_tags:MLFLOW_GIT_COMMIT": "mlflow.source.git.commit",
    "mlflow.utils.mlflow_tags:MLFLOW_LOGGED_MODELS": "mlflow.log-model.history",
    "mlflow.utils.mlflow_tags:MLFLOW_PARENT_RUN_ID": "mlflow.parentRunId",
    "mlflow.utils.mlflow_tags:MLFLOW_RUN_NOTE": "mlflow.note.content",
}
"""The tags that MLflow's pages read, which kd_lab.names writes in full: it imports nothing."""


def gone() -> list[str]:
    """What is not there any more, and where kd-lab uses it."""
    missing = [f"{name} ({where})" for name, where in NAMES.items() if not _there(name)]
    for (name, word), where in WORDS.items():
        if not (_there(name) and word in inspect.getsource(cast("type", _found(name)))):
            missing.append(f"{name}: {word} ({where})")
    changed = [name for name, value in VALUES.items() if not _there(name) or _found(name) != value]
    return [*missing, *(f"{name} ({VALUES[name]} in kd_lab.names)" for name in changed)]


def _there(name: str) -> bool:
    try:
        _found(name)
    except (ImportError, AttributeError):
        return False
    return True


def _found(name: str) -> object:
    module, _, path = name.partition(":")
    return reduce(getattr, path.split("."), importlib.import_module(module))
