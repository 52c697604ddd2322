"""kd-lab: train a teacher, distil it into a small student, and measure what the student gained."""

from importlib import import_module

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`kd_lab.distil`, which imports torch, Lightning and MLflow when it is asked for."""
    if name == "distil":
        return import_module("kd_lab.job.api").distil
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
