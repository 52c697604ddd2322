"""Settings, plans and networks as a command line would make them, without running a job."""

import copy
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from kd_lab.job.aliases import register
from kd_lab.job.arguments import expand
from kd_lab.job.catalogue import conf_dir
from kd_lab.job.plan import Plan
from kd_lab.job.ready import ready
from kd_lab.job.settings import Settings

OF_TEXTS = {"minilm", "patient", "tinybert"}
"""Losses of transformers alone; tests/job/test_texts.py has networks for them."""
CNNS = ["teacher=cnn", "student=cnn", "student.channels=[8,16]", "tuned/loss=none"]


def config(*overrides: str) -> dict[str, Any]:
    return copy.deepcopy(_composed(str(conf_dir()), *overrides))


@cache
def _composed(folder: str, *overrides: str) -> dict[str, Any]:
    """Hydra takes a quarter of a second, and many tests begin from the same."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(folder, version_base="1.3"):
        composed = compose("config", overrides=["study=test", *expand(list(overrides))])
    found: Any = OmegaConf.to_container(composed, resolve=True)
    return {str(k): v for k, v in found.items()}


def settings(*overrides: str) -> Settings:
    return Settings.of(config(*overrides))


def plan(*overrides: str) -> Plan:
    return ready(settings(*overrides))
