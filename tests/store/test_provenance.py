import platform
import socket
import subprocess

import numpy as np

from kd_lab.names import TAG_CPU, TAG_CPU_CORES, TAG_GIT_COMMIT, TAG_GIT_DIRTY, TAG_PLATFORM
from kd_lab.store.provenance import provenance


def git(folder, *command):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", *identity, *command], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_provenance__clean_repository__commit(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "x")
    (tmp_path / "mlflow.db").write_text("untracked")
    tags = provenance(tmp_path)
    assert tags[TAG_GIT_COMMIT] == git(tmp_path, "rev-parse", "HEAD")
    assert tags[TAG_GIT_DIRTY] == "false"
    (tmp_path / "file").write_text("2")
    assert provenance(tmp_path)[TAG_GIT_DIRTY] == "true"


def test_provenance__no_repository__no_git_tags(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert not {TAG_GIT_COMMIT, TAG_GIT_DIRTY} & set(provenance(tmp_path))


def test_provenance__versions_and_machine(tmp_path):
    tags = provenance(tmp_path)
    assert tags["kd_lab.version.python"] == platform.python_version()
    assert tags["kd_lab.version.numpy"] == np.__version__
    assert {f"kd_lab.version.{name}" for name in ("torch", "lightning", "hydra", "mlflow")} <= set(tags)
    assert int(tags[TAG_CPU_CORES]) >= 1
    assert tags[TAG_CPU]
    assert platform.machine() in tags[TAG_PLATFORM]


def test_provenance__host_name__not_told(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "secret-host")
    monkeypatch.setattr(platform, "node", lambda: "secret-host")
    assert not any("secret-host" in value for value in provenance(tmp_path).values())
