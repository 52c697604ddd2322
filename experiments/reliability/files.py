"""Files of every kind that kd-lab reads, made whole and then hostile: empty, cut, noise, of another kind, bombs."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save, save_file

from experiments.reliability.ends import QUICK
from kd_lab.models.mlp import MLP
from tests.datasets import cifar_files, idx_files, picture_files, series_files

STEPS = ["teacher.recipe.steps=5", "student.recipe.steps=5", "baseline=false", *QUICK]
FEW = ["teacher.recipe.batch_size=8", "student.recipe.batch_size=8"]
MLPS = ["teacher=mlp", "student=mlp", *STEPS]
CNNS = ["teacher=cnn", "student=cnn", "student.channels=[4,8]", *STEPS, "dataset.labels=null"]
CODE = "posix.system"
BOMB_BYTES = 3 * 10**9


class Owns:
    """A pickle that runs a command where it is read."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch owned",)


@dataclass(frozen=True)
class Kind:
    """A kind of file. make: writes all that the command needs into a folder. file: the one that is made hostile."""

    file: str
    make: Callable[[Path], object]
    command: tuple[str, ...]


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


def _arrays(**change: Any) -> dict[str, Any]:
    return {"X": _random().standard_normal((120, 4)).astype(np.float32), "y": np.arange(120) % 3} | change


def _csv(folder: Path) -> None:
    rows = [
        f"{x:.3f},{'red' if i % 2 else 'blue'},{'yes' if i % 3 else 'no'}" for i, x in enumerate(_random().random(150))
    ]
    (folder / "it.csv").write_text("\n".join(["size,color,class", *rows]) + "\n")


def _parquet(folder: Path) -> None:
    import pandas as pd

    _csv(folder)
    pd.read_csv(folder / "it.csv").to_parquet(folder / "it.parquet")
    (folder / "it.csv").unlink()


def _texts(folder: Path) -> None:
    words = ["good fine great", "bad poor sad"]
    lines = [json.dumps({"text": f"{words[i % 2]} number {i}", "label": ["up", "down"][i % 2]}) for i in range(120)]
    (folder / "it.jsonl").write_text("\n".join(lines) + "\n")


def _cells(folder: Path) -> None:
    import anndata
    import pandas as pd

    counts = _random().poisson(3, (120, 6)).astype(np.float32)
    types = pd.Categorical.from_codes([i % 3 for i in range(120)], _names("t", 3))
    about, genes = pd.DataFrame({"type": types}, index=_names("c", 120)), pd.DataFrame(index=_names("g", 6))
    anndata.AnnData(counts, obs=about, var=genes).write_h5ad(folder / "it.h5ad")


def _names(start: str, count: int) -> Any:
    import pandas as pd

    return pd.Index([f"{start}{number}" for number in range(count)], dtype=object)


def _series(folder: Path) -> None:
    series_files.write(folder, series_files.ts(series_files.TRAINING * 5), series_files.ts(series_files.TESTING * 5))


def _cifar(folder: Path) -> None:
    cifar_files.write(folder / "cifar-10-batches-py", cifar_files.as_python(cifar_files.cifar10()))


def _cifar_packed(folder: Path) -> None:
    files = cifar_files.as_python(cifar_files.cifar10())
    cifar_files.pack(folder / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)


def _weights() -> dict[str, torch.Tensor]:
    return MLP(10, (20,), widths=[32]).state_dict()


def _own_yaml(folder: Path) -> None:
    (folder / "own" / "loss").mkdir(parents=True)
    text = (
        "# @package loss.terms.mine\n_target_: kd_lab.losses.kd.KD\ntemperature: 2.0\nweight: 1.0\nhard_weight: 0.0\n"
    )
    (folder / "own" / "loss" / "mine.yaml").write_text(text)


HERE = ("dataset.path=.", "dataset.validation=0")
ARRAYS, TABLE = ("dataset=arrays",), ("dataset=table", "dataset.target=class")
SYNTHETIC = ("dataset=synthetic", *MLPS)
KINDS = {
    "npz": Kind("it.npz", lambda f: np.savez(f / "it.npz", **_arrays()), (*ARRAYS, "dataset.path=it.npz", *MLPS)),
    "npy": Kind(
        "it.npy",
        lambda f: (np.save(f / "it.npy", _arrays()["X"]), np.save(f / "y.npy", _arrays()["y"])),
        ("dataset=arrays", "dataset.path=it.npy", "dataset.targets=y.npy", *MLPS),
    ),
    "csv": Kind("it.csv", _csv, (*TABLE, "dataset.path=it.csv", *MLPS)),
    "parquet": Kind("it.parquet", _parquet, (*TABLE, "dataset.path=it.parquet", *MLPS)),
    "jsonl": Kind(
        "it.jsonl", _texts,
        ("dataset=text", "dataset.path=it.jsonl", "teacher=sklearn_text", "student=bag_of_embeddings", *STEPS),
    ),
    "h5ad": Kind("it.h5ad", _cells, ("dataset=anndata", "dataset.path=it.h5ad", "dataset.label=type", *MLPS)),
    "ts": Kind("Made_TRAIN.ts", _series, ("dataset=series", "dataset.path=.", *FEW, *MLPS)),
    "idx": Kind(
        "train-images-idx3-ubyte", idx_files.write, ("dataset=mnist", *HERE, *FEW, *CNNS)
    ),
    "idx.gz": Kind(
        "train-labels-idx1-ubyte.gz",
        lambda f: idx_files.write(f, packed=True),
        ("dataset=mnist", *HERE, *FEW, *CNNS),
    ),
    "cifar pickle": Kind(
        "cifar-10-batches-py/data_batch_2", _cifar, ("dataset=cifar10", *HERE, *FEW, *CNNS)
    ),
    "cifar tar.gz": Kind(
        "cifar-10-python.tar.gz", _cifar_packed, ("dataset=cifar10", *HERE, *FEW, *CNNS)
    ),
    "png": Kind(
        "train/bee/0007.png",
        lambda f: picture_files.in_parts(f, train=6, val=3),
        ("dataset=image_folder", "dataset.path=.", "dataset.size=32", *FEW, *CNNS, "dataset.validation=0"),
    ),
    "pt": Kind("it.pt", lambda f: torch.save(_weights(), f / "it.pt"), (*SYNTHETIC, "teacher.weights=it.pt")),
    "safetensors": Kind(
        "it.safetensors",
        lambda f: save_file(_weights(), f / "it.safetensors"),
        (*SYNTHETIC, "teacher.weights=it.safetensors"),
    ),
    "yaml": Kind("own/loss/mine.yaml", _own_yaml, ("--config-dir=own", "loss=mine", *SYNTHETIC)),
}  # fmt: skip

Spoil = Callable[[Path], object]
EVERY: dict[str, Spoil] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut in the middle": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5]),
    "noise": lambda path: path.write_bytes(_random().bytes(max(64, path.stat().st_size))),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def _bomb(path: Path) -> None:
    """A zip entry of zeros that declares, and unpacks to, more than there is memory for."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("X.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array_header_2_0(entry, {"descr": "<f4", "fortran_order": False, "shape": (BOMB_BYTES, 4)})
        for _ in range(64):
            entry.write(bytes(2**20))


def _npy_declares(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_2_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 4)})


def _png_bomb(path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10**6))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def _label_of_99(path: Path) -> None:
    held = {name: (cifar_files.pixels(20, 0), [99] * 20) for name in ("data_batch_2", "another", "a third")}
    path.write_bytes(cifar_files.as_python(held)["data_batch_2"])


def _tar_that_climbs(path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name in ("../../owned", "/tmp/owned", "cifar-10-batches-py/data_batch_1"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"owns"))


def _pt(change: Callable[[torch.Tensor], torch.Tensor]) -> Spoil:
    return lambda path: torch.save({name: change(tensor) for name, tensor in _weights().items()}, path)


def _npz(**change: Any) -> Spoil:
    return lambda path: np.savez(path, **_arrays(**change))


def _text(text: str | bytes) -> Spoil:
    return lambda path: path.write_bytes(text if isinstance(text, bytes) else text.encode())


def _sparse(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_sparse()


NAN = np.full((120, 4), np.nan, np.float32)
SPECIAL: dict[tuple[str, str], Spoil] = {
    ("npz", "bomb"): _bomb,
    ("npz", "objects"): _npz(X=np.array([Owns()] * 120, dtype=object)),
    ("npz", "NaN"): _npz(X=NAN),
    ("npz", "infinite"): _npz(X=np.full((120, 4), np.inf, np.float32)),
    ("npz", "complex numbers"): _npz(X=np.ones((120, 4), np.complex64)),
    ("npz", "no samples"): _npz(X=np.empty((0, 4), np.float32), y=np.empty(0, np.int64)),
    ("npz", "a class of 2**62"): _npz(y=np.array([0, 1, 2**62] * 40)),
    ("npz", "texts as labels"): _npz(y=np.array(["a", "b", "c"] * 40)),
    ("npy", "declares 16 TB"): _npy_declares,
    ("npy", "header is code"): _text(b"\x93NUMPY\x01\x00\x46\x00__import__('os').system('touch owned')" + b" " * 32),
    ("npy", "objects"): lambda path: np.save(path, np.array([Owns()] * 120, dtype=object), allow_pickle=True),
    ("csv", "null bytes"): _text(b"size,class\n" + b"\x00,\x00\n" * 100),
    ("csv", "UTF-16"): lambda path: path.write_bytes(path.read_text().encode("utf-16")),
    ("csv", "rows of other lengths"): lambda path: path.write_text(path.read_text() + "1,2,3,4,5\n" * 3),
    ("csv", "a header alone"): _text("size,color,class\n"),
    ("csv", "one class"): _text("size,color,class\n" + "1,red,yes\n" * 60),
    ("csv", "an open quote"): lambda path: path.write_text(path.read_text() + '"' + "x" * 200_000),
    ("jsonl", "no object"): _text("[1, 2]\n" * 50),
    ("jsonl", "deep"): _text("[" * 100_000 + "\n"),
    ("ts", "NaN"): _text(series_files.ts([("nan,2,3", "b"), ("4,nan,5", "a")] * 10)),
    ("ts", "a label that is not announced"): _text(series_files.ts([("1,2,3", "z"), ("4,6,5", "a")] * 10)),
    ("ts", "other lengths"): _text(series_files.ts([("1,2,3", "a"), ("1,2", "b")] * 10)),
    ("idx", "declares 2**32 images"): _text(struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 28, 28) + bytes(28 * 28)),
    ("idx", "of floats"): lambda path: path.write_bytes(struct.pack(">4B", 0, 0, 13, 3) + path.read_bytes()[4:]),
    ("idx.gz", "bomb"): lambda path: path.write_bytes(
        gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, 60) + bytes(2 * 10**8), compresslevel=1)
    ),
    ("cifar pickle", "code"): lambda path: path.write_bytes(pickle.dumps(Owns())),
    ("cifar pickle", "code among the arrays"): lambda path: path.write_bytes(
        pickle.dumps({b"data": Owns(), b"labels": [0] * 20}, protocol=2)
    ),
    ("cifar pickle", "a list"): lambda path: path.write_bytes(pickle.dumps([1, 2, 3])),
    ("cifar pickle", "a label of 99"): _label_of_99,
    ("cifar tar.gz", "climbs out"): _tar_that_climbs,
    ("png", "bomb"): _png_bomb,
    ("png", "text"): _text("I am no picture"),
    ("png", "SVG"): _text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
    ("pt", "code"): lambda path: torch.save({"a": Owns()}, path),
    ("pt", "plain pickle with code"): lambda path: path.write_bytes(pickle.dumps(Owns())),
    ("pt", "sparse"): _pt(_sparse),
    ("pt", "meta"): _pt(lambda tensor: tensor.to("meta")),
    ("pt", "quantized"): _pt(lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)),
    ("pt", "NaN"): _pt(lambda tensor: tensor * float("nan")),
    ("pt", "other shapes"): _pt(lambda tensor: torch.cat([tensor, tensor])),
    ("pt", "a list"): lambda path: torch.save([1, 2], path),
    ("safetensors", "NaN"): lambda path: save_file({k: v * float("nan") for k, v in _weights().items()}, path),
    ("safetensors", "1e30"): lambda path: save_file({k: v * 0 + 1e30 for k, v in _weights().items()}, path),
    ("safetensors", "declares 2**60"): _text(struct.pack("<Q", 2**60) + b"{}"),
    ("safetensors", "names other tensors"): lambda path: path.write_bytes(save({"x": torch.zeros(3)})),
    ("safetensors", "header is no JSON"): _text(struct.pack("<Q", 8) + b"not json" + bytes(32)),
    ("yaml", "code"): _text("_target_: !!python/object/apply:os.system [touch owned]\n"),
    ("yaml", "a program"): _text("# @package loss.terms.mine\n_target_: os.system\ncommand: touch owned\n"),
    ("yaml", "deep"): _text("a: " + "[" * 3000),
    ("yaml", "tabs"): _text("a:\n\t- b\n"),
}  # fmt: skip
OTHERWISE = dict.fromkeys([("pt", "NaN"), ("safetensors", "NaN"), ("safetensors", "1e30")], (1,))
"""What is not refused before it is used: of weights without a finite answer the run is FAILED, and says so."""


def hostile() -> dict[str, tuple[Kind, Spoil, tuple[int, ...]]]:
    """All of them by name: what is spoiled, how, and the exit codes that are right."""
    found = {}
    for name, kind in KINDS.items():
        for how, spoil in EVERY.items():
            found[f"{name}: {how}"] = (kind, spoil, OTHERWISE.get((name, how), (2,)))
    for (name, how), spoil in SPECIAL.items():
        found[f"{name}: {how}"] = (KINDS[name], spoil, OTHERWISE.get((name, how), (2,)))
    return found
