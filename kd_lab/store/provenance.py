"""Where a result comes from: the code, the versions and the machine, as tags of a run."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import kd_lab
from kd_lab.names import TAG_CPU, TAG_CPU_CORES, TAG_GIT_COMMIT, TAG_GIT_DIRTY, TAG_PLATFORM, TAG_VERSION

PACKAGES = {
    "kd-lab": "kd_lab",
    "torch": "torch",
    "pytorch-lightning": "lightning",
    "hydra-core": "hydra",
    "mlflow": "mlflow",
    "numpy": "numpy",
}


def provenance(folder: Path | None = None) -> dict[str, str]:
    """Tags for a run; who ran it, and on which host, is not among them.

    Args:
        folder: whose git repository is meant, by default that of kd_lab itself: the folder that one stands in may be
            anybody's, and a repository's own settings name programs that git starts.

    Returns:
        git commit and whether tracked files differ from it ("true" or "false"; both left out where the folder is not
        part of a repository, as in an installed package), the versions, platform, processor and the number of
        cores that this process may use.
    """
    tags = _git(folder or Path(kd_lab.__file__).parent)
    tags[f"{TAG_VERSION}python"] = platform.python_version()
    for distribution, name in PACKAGES.items():
        try:
            tags[TAG_VERSION + name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    tags[TAG_PLATFORM] = f"{platform.system()}-{platform.release()}-{platform.machine()}"
    tags[TAG_CPU] = _cpu_name()
    tags[TAG_CPU_CORES] = str(_cores())
    return tags


def _git(folder: Path) -> dict[str, str]:
    commit = _git_says(folder, "rev-parse", "HEAD")
    # A package that is installed inside of somebody's repository is no part of it.
    if not commit or not _git_says(folder, "ls-files", "."):
        return {}
    # Untracked files do not count: a run's own outputs (mlflow.db) would make every result dirty.
    changed = _git_says(folder, "status", "--porcelain", "--untracked-files=no")
    tags = {TAG_GIT_COMMIT: commit}
    if changed is not None:
        tags[TAG_GIT_DIRTY] = "true" if changed else "false"
    return tags


def _git_says(folder: Path, *command: str) -> str | None:
    """What git prints, None where it cannot answer (no git, no repository, no commit yet)."""
    try:
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", *command],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
