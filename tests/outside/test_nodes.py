import sys

import pytest

from kd_lab.errors import UserError
from kd_lab.job.build import build, check_named
from kd_lab.models.mlp import MLP
from kd_lab.outside.nodes import DATASET, NETWORK, TRUST, from_store_dataset, is_trusted, is_trusted_folder, trust

REFUSED = r"from a store .* (only|add trust=)"
GIVEN = {"num_classes": 10, "input_shape": (20,)}


@pytest.fixture(autouse=True)
def _no_trust(monkeypatch):
    monkeypatch.setenv(TRUST, "")


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.run",
        "builtins.eval",
        "kd_labs.evil.Net",
        "torch_evil.Net",
        "torch.os.system",
        "torch.hub.load",
        "torch.load",
        "torch.utils.cpp_extension.load",
        "torch.nn.functional.relu",
        "torch.optim.Adam",
        "torch.testing._internal.common_utils.TestCase",
        "torch.nn.Module.__subclasses__",
        "torch..nn.Linear",
        "timm.create_model",
        "torchvision.datasets.MNIST",
        "kd_lab.cli.main.main",
        "kd_lab.store.provenance.subprocess.run",
        "kd_lab.job.build.importlib.import_module",
        "",
        None,
        5,
    ],
)
def test_network__of_a_store__refused_before_it_is_called(name):
    with pytest.raises(UserError, match=r"^run:1: network\._target_=.*" + REFUSED):
        check_named("run:1: network", {"_target_": name}, NETWORK)
    with pytest.raises(UserError, match=REFUSED):
        build("network", {"_target_": name, "command": "touch owned"}, GIVEN, NETWORK)


@pytest.mark.parametrize("name", ["os.system", "my_module.Net"])
def test_network__inside_of_another__refused(name):
    member = {"_target_": "kd_lab.models.mlp.MLP", "widths": [4], "_partial_": True, "inner": {"_target_": name}}
    node = {"_target_": "kd_lab.models.ensemble.Ensemble", "size": 1, "member": member}
    with pytest.raises(UserError, match=rf"^network\.member\.inner\._target_={name}: .*" + REFUSED):
        build("network", node, GIVEN, NETWORK)
    with pytest.raises(UserError, match=rf"^network\.member\.inner\._target_={name}: .*" + REFUSED):
        check_named("network", node, NETWORK)


@pytest.mark.parametrize("use", [check_named, lambda key, node, allowed: build(key, node, GIVEN, allowed)])
def test_network__in_a_mapping_inside__refused(use):
    node = {"_target_": "kd_lab.models.mlp.MLP", "parts": {"a": {"b": {"_target_": "os.system", "command": "x"}}}}
    with pytest.raises(UserError, match=r"^network\.parts\.a\.b\._target_=os\.system: .*" + REFUSED):
        use("network", node, NETWORK)


def test_network__of_a_store__ours_and_torchs():
    node = {"_target_": "kd_lab.models.ensemble.Ensemble", "size": 2}
    node["member"] = {"_target_": "kd_lab.models.mlp.MLP", "_partial_": True, "widths": [4]}
    check_named("network", node, NETWORK)
    assert isinstance(build("network", node, GIVEN, NETWORK).members[1], MLP)
    linear = build("network", {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2}, GIVEN, NETWORK)
    assert linear.weight.shape == (2, 3)


def test_network__refused_before_anything_is_imported(tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("import pathlib; pathlib.Path('imported').touch()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(UserError, match=r"if the code of evil_module here is yours .* add trust=evil_module"):
        build("network", {"_target_": "evil_module.Net"}, GIVEN, NETWORK)
    assert not (tmp_path / "imported").exists()
    assert "evil_module" not in sys.modules


def test_trust__a_module_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "my_trusted_module.py").write_text(
        "from torch import nn\nclass Net(nn.Linear):\n    def __init__(self): super().__init__(2, 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    trust("other,my_trusted_module")
    trust("third")
    assert is_trusted("my_trusted_module.Net")
    assert not is_trusted("my_trusted_module_2.Net")
    assert not is_trusted("os.system")
    assert type(build("network", {"_target_": "my_trusted_module.Net"}, GIVEN, NETWORK)).__name__ == "Net"


@pytest.mark.parametrize("said", ["", "a,", "a b", "my-module", "../x", "a..b"])
def test_trust__no_module__user_error(said):
    with pytest.raises(UserError, match=r"^trust=.*expected the name of a module"):
        trust(said)


def test_trust__a_folder(tmp_path):
    trust(str(tmp_path / "shared"))
    assert is_trusted_folder(tmp_path / "shared" / "artifacts")
    assert not is_trusted_folder(tmp_path / "shared2")
    assert not is_trusted_folder(tmp_path / "shared" / ".." / "other")


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "kd_lab.datasets.common.idx.gzip.open",
        "kd_lab.datasets.common.idx.Path",
        "kd_lab.models.mlp.MLP",
        "torch.load",
        "kd_lab.cli.main.main",
        "kd_lab.datasets",
    ],
)
def test_dataset__of_a_store__only_ours(name):
    with pytest.raises(UserError, match=r"^dataset\._target_=.*a dataset that comes " + REFUSED):
        build("dataset", {"_target_": name}, allowed=DATASET)


def test_dataset__of_a_store__ours():
    node = {
        "_target_": "kd_lab.datasets.digits.Digits",
        "augment": {"_target_": "kd_lab.augment.shift.Shift", "pixels": 1},
    }
    assert build("dataset", node, allowed=DATASET).load().num_classes == 10


def test_dataset__of_a_store__downloads_nothing_to_where_it_says():
    assert from_store_dataset({"_target_": "x", "path": "/home/victim", "download": True})["download"] is False
    assert from_store_dataset({"_target_": "x"}) == {"_target_": "x"}
