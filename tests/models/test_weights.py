import copy
import json
import pickle
import struct
import warnings
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

from kd_lab.errors import UserError
from kd_lab.models.cnn import CNN
from kd_lab.models.common.weights import load_weights, save_weights, weights_sha256
from kd_lab.models.ensemble import Ensemble
from kd_lab.models.resnet import ResNet


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight


class Wrapper(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network


def _cnn():
    return CNN(3, (1, 4, 4), channels=[2], hidden=4)


def _lightning(path, **parts):
    state = {f"{prefix}.{k}": v for prefix, module in parts.items() for k, v in module.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3, "pytorch-lightning_version": "2.6.6"}, path)
    return path


@pytest.fixture
def saved():
    torch.manual_seed(0)
    return _cnn()


def test_weights__round_trip_is_exact(saved, tmp_path):
    other = _cnn()
    assert weights_sha256(other) != weights_sha256(saved)
    save_weights(saved, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    assert weights_sha256(other) == weights_sha256(saved)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_weights__half_precision_and_double_keep_their_bytes(tmp_path):
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        source, target = nn.Linear(3, 2).to(dtype), nn.Linear(3, 2).to(dtype)
        save_weights(source, tmp_path / "w.safetensors")
        load_weights(target, str(tmp_path / "w.safetensors"))
        assert weights_sha256(target) == weights_sha256(source)


def test_weights__shared_tensors_stay_shared(tmp_path):
    source, target = Tied(), Tied()
    save_weights(source, tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert torch.equal(target.second.weight, source.first.weight)
    assert target.second.weight is target.first.weight


def test_weights__transposed_memory(tmp_path):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    source.weight.data = torch.randn(3, 2).T
    save_weights(source, tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert torch.equal(target.weight, source.weight)


def test_weights_sha256__known_value():
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(1.0)
    # printf 'weight|torch.float32|(1, 1)|\x00\x00\x80\x3f' | sha256sum
    assert weights_sha256(module) == "ab6ba1926742e9e6537daf86a4b3678182250268d89c3ba49634a1dee7283b77"


@pytest.mark.parametrize("change", ["value", "name", "shape", "dtype", "buffer"])
def test_weights_sha256__sees_every_change(change, saved):
    other = copy.deepcopy(saved)
    assert weights_sha256(other) == weights_sha256(saved)
    if change == "value":
        other.classifier[0].bias.data[0] += 1e-6
    elif change == "name":
        other = Wrapper(other)
    elif change == "shape":
        other.classifier[0].weight.data = other.classifier[0].weight.data.reshape(8, -1)
    elif change == "dtype":
        other = other.to(torch.bfloat16)
    else:
        other.features[1].num_batches_tracked += 1
    assert weights_sha256(other) != weights_sha256(saved)


@pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("prefix", ["", "module.", "network._orig_mod."])
def test_load_weights__state_dict_of_pytorch(ending, prefix, saved, tmp_path):
    path, other = tmp_path / f"w{ending}", _cnn()
    torch.save({prefix + k: v for k, v in saved.state_dict().items()}, path)
    load_weights(other, path)
    assert weights_sha256(other) == weights_sha256(saved)


@pytest.mark.parametrize("prefix", ["network", "model", "student"])
def test_load_weights__lightning_checkpoint_with_more_than_the_network(prefix, saved, tmp_path):
    path, other = _lightning(tmp_path / "last.ckpt", **{prefix: saved, "loss": nn.Linear(7, 7)}), _cnn()
    load_weights(other, path)
    assert weights_sha256(other) == weights_sha256(saved)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("old", [False, True], ids=["zip", "file of PyTorch 0.4"])
def test_load_weights__teacher_as_published(prefix, old, tmp_path):
    """As CRD's scripts keep them: the best epoch and the last one, whose options come as a Namespace."""
    source, other = (ResNet(3, (3, 8, 8), depth=8, channels=[4, 4, 6, 8]) for _ in range(2))
    state = {prefix + k: v for k, v in source.state_dict().items() if not old or "num_batches" not in k}
    content = {"epoch": 240, "model": state, "best_acc": torch.tensor(79.42), "optimizer": {"state": {}, "lr": [0.05]}}
    options = Namespace(model="resnet8", learning_rate=0.05, lr_decay_epochs=[150, 180, 210])
    for name, more in (("best.pth", {}), ("last.pth", {"opt": options})):
        torch.save(content | more, tmp_path / name, _use_new_zipfile_serialization=not old)
        load_weights(other, tmp_path / name)
        assert weights_sha256(other) == weights_sha256(source)
        nn.init.zeros_(other.fc.weight)


def test_load_weights__options_that_hold_more_than_values_are_refused(saved, tmp_path):
    content = {"model": saved.state_dict(), "opt": Namespace(network=nn.ReLU())}
    torch.save(content, tmp_path / "last.pth")
    _refused(saved, tmp_path / "last.pth", "expected weights only, but the file holds Python objects")


def test_load_weights__bare_network_into_its_wrapper(saved, tmp_path):
    other = Wrapper(_cnn())
    torch.save(saved.state_dict(), tmp_path / "w.pth")
    load_weights(other, tmp_path / "w.pth")
    assert weights_sha256(other.network) == weights_sha256(saved)


def test_load_weights__an_ensemble_is_not_one_of_its_members(saved, tmp_path):
    ensemble = Ensemble(_cnn, 2)
    save_weights(ensemble, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"several do \(prefixes: members\.0\., members\.1\.\)"):
        load_weights(saved, tmp_path / "w.safetensors")
    other = Ensemble(_cnn, 2)
    load_weights(other, tmp_path / "w.safetensors")
    assert weights_sha256(other) == weights_sha256(ensemble)


def _refused(module, path, message):
    before = weights_sha256(module)
    with pytest.raises(UserError, match=message) as caught:
        load_weights(module, path)
    assert weights_sha256(module) == before
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"weights={path}: ")


def test_load_weights__no_such_file(saved, tmp_path):
    _refused(saved, tmp_path / "no.pt", "expected a file, but there is none")


def test_load_weights__unknown_kind(saved, tmp_path):
    (tmp_path / "w.h5").write_bytes(b"x")
    _refused(saved, tmp_path / "w.h5", r"but got \.h5")


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "text"])
def test_load_weights__damaged_file(ending, damage, saved, tmp_path):
    path = tmp_path / f"w{ending}"
    if ending == ".pt":
        torch.save(saved.state_dict(), path)
    else:
        save_weights(saved, path)
    whole = path.read_bytes()
    noise = bytes(range(256)) * 4
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": noise, "text": b"hello\n"}[damage])
    _refused(saved, path, rf"readable {ending} file, but it is empty, cut short or damaged \(\d+ bytes\)")


def _packed(source, target, **more):
    """The archive of PyTorch, compressed, and with more members."""
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in given.namelist():
            packed.writestr(name, given.read(name))
        for name, content in more.items():
            packed.writestr(f"w/data/{name}", content)


@pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt"])
def test_load_weights__a_zip_that_declares_more_than_its_size(ending, saved, tmp_path, monkeypatch):
    torch.save(saved.state_dict(), tmp_path / "w.pt")
    _packed(tmp_path / "w.pt", tmp_path / f"bomb{ending}", bomb=bytes(2**23))
    with zipfile.ZipFile(tmp_path / f"bomb{ending}") as archive:
        assert archive.testzip() is None

    def load(*_, **__):
        raise AssertionError("was read")

    monkeypatch.setattr(torch, "load", load)
    _refused(
        saved,
        tmp_path / f"bomb{ending}",
        r"declares 8\.39 MB in a file of \d+ KB, expected one that is not compressed; save it again with torch",
    )


def test_load_weights__what_torch_writes_declares_what_it_holds(tmp_path):
    """Also where names and padding are most of the file, or noise all of it."""
    for size in (1, 1000):
        source, other = nn.Linear(size, size), nn.Linear(size, size)
        torch.save(source.state_dict(), tmp_path / "w.pt")
        load_weights(other, tmp_path / "w.pt")
        assert weights_sha256(other) == weights_sha256(source)


def test_load_weights__the_old_format_of_torch_is_no_zip(saved, tmp_path):
    torch.save(saved.state_dict(), tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    other = _cnn()
    load_weights(other, tmp_path / "w.pth")
    assert weights_sha256(other) == weights_sha256(saved)


@pytest.mark.parametrize(
    ("shape", "length", "declared"),
    [
        ([2**40], 2**42, None),  # what the file would have to go on with
        ([2**40], 16, None),  # more than its own place in the file
        ([4], 16, 2**40),  # a header longer than the file
        ([4], 16, 2**20),
        ([2**62, 2**62], 16, None),
    ],
)
def test_load_weights__safetensors_that_declare_more_than_they_hold(shape, length, declared, saved, tmp_path):
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, length]}
    header = json.dumps({"w": entry}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", declared or len(header)) + header + bytes(16))
    _refused(saved, path, r"readable \.safetensors file, but it is empty, cut short or damaged \(\d+ bytes\)")


def test_load_weights__pickles_are_refused_unread(saved, tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    torch.save({"state_dict": saved.state_dict(), "hyper_parameters": Evil()}, tmp_path / "w.ckpt")
    _refused(saved, tmp_path / "w.ckpt", "expected weights only, but the file holds Python objects")
    assert not ran.exists()


def test_load_weights__a_pickle_of_a_later_protocol__no_warning_beside_the_sentence(saved, tmp_path):
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Path("x"), protocol=4))
    with warnings.catch_warnings(action="error"):
        _refused(saved, tmp_path / "w.pt", "expected weights only, but the file holds Python objects")


def test_load_weights__a_whole_module_is_refused(saved, tmp_path):
    torch.save(saved, tmp_path / "w.pt")
    _refused(saved, tmp_path / "w.pt", r"expected weights only, .* save network\.state_dict\(\)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.to_sparse(),
            r"expected plain tensors, but some are not \(sparse: .*weight\); save the",
        ),
        (lambda w: w.flatten(1).to_sparse_csr(), "sparse: "),
        (lambda w: w.to("meta"), "meta, which has no values: "),
        (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), "quantized: "),
        (lambda w: w.to(torch.complex64), "do not fit .*complex, where the network's are real: "),
    ],
)
def test_load_weights__tensors_that_are_not_plain_numbers(change, message, saved, tmp_path):
    state = saved.state_dict()
    name = next(name for name in state if name.endswith("weight"))
    torch.save(state | {name: change(state[name])}, tmp_path / "w.pt")
    _refused(saved, tmp_path / "w.pt", message)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, torch.zeros(3)])
def test_load_weights__no_state_dict(content, saved, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    _refused(saved, tmp_path / "w.pt", "expected a state dict")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            CNN(5, (1, 4, 4), channels=[2], hidden=4),
            r"of another shape: classifier\.3\.weight \(5, 4\) instead of \(3, 4\)",
        ),
        (CNN(3, (1, 4, 4), channels=[2, 2], hidden=4), r"not in the network: .* and \d+ more"),
        (nn.Linear(2, 2), r"missing: features\.0\.weight, .*, .* and \d+ more; not in the network: weight, bias"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "network."])
def test_load_weights__does_not_fit(other, message, prefix, saved, tmp_path):
    from safetensors.torch import save_file

    save_file({prefix + k: v.contiguous() for k, v in other.state_dict().items()}, tmp_path / "w.safetensors")
    _refused(saved, tmp_path / "w.safetensors", message.replace("weight, bias", f"{prefix}(weight|bias), .*"))


def test_load_weights__one_tensor_too_few(saved, tmp_path):
    state = saved.state_dict()
    del state["features.1.running_mean"]
    torch.save(state, tmp_path / "w.pt")
    _refused(_cnn(), tmp_path / "w.pt", r"\(missing: features\.1\.running_mean\)")


def test_save_weights__a_failure_leaves_the_old_file(saved, tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(saved, path)
    before = path.read_bytes()

    def fail(_, name):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError("disk is full")

    monkeypatch.setattr("safetensors.torch.save_model", fail)
    with pytest.raises(OSError, match="disk is full"):
        save_weights(_cnn(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
