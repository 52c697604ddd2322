import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from kd_lab.datasets import anndata as module
from kd_lab.datasets.anndata import AnnData
from kd_lab.datasets.common.counts import LogCounts
from kd_lab.errors import UserError
from kd_lab.job.build import build
from kd_lab.outside.nodes import PREPARE
from kd_lab.types import UNLABELLED, Data, InMemory

anndata = pytest.importorskip("anndata")

COUNTS = np.random.default_rng(0).poisson(0.7, (40, 6)).astype(np.float32)
COUNTS[3] = 0
TYPES = np.array(["T cell", "B cell"])[np.arange(40) % 2]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _names(start: str, count: int) -> "pd.Index[Any]":
    """As objects: anndata 0.12 cannot write pandas 3's own texts."""
    return pd.Index([f"{start}{i}" for i in range(count)], dtype=object)


def _categories(names: Any) -> pd.Categorical:
    known = pd.Index(sorted({str(name) for name in names if name is not None}), dtype=object)
    return pd.Categorical.from_codes(known.get_indexer(pd.Index(names, dtype=object)), known)


def save(X: Any = None, types: Any = TYPES, **layers: Any) -> str:
    cells = anndata.AnnData(
        sparse.csr_matrix(COUNTS) if X is None else X,
        obs=pd.DataFrame(
            {"cell_type": _categories(types), "n_counts": COUNTS.sum(1) + np.linspace(0, 0.9, 40)},
            index=_names("c", 40),
        ),
        var=pd.DataFrame(index=_names("g", 6)),
        layers=layers,
    )
    cells.raw = anndata.AnnData(COUNTS * 2, var=cells.var)
    cells.write_h5ad("my.h5ad")
    return "my.h5ad"


def load(**settings: Any) -> Data:
    data = AnnData(**({"path": "my.h5ad", "label": "cell_type"} | settings)).load()
    assert isinstance(data, Data)
    return data


def refused(message: str, **settings: Any) -> None:
    with pytest.raises(UserError, match="^" + message):
        load(**settings)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, np.asarray], ids=["csr", "csc", "dense"])
def test_anndata__reads_sparse_and_dense_matrices(kind: Any) -> None:
    save(kind(COUNTS))
    data = load()
    assert np.array_equal(data.read(torch.arange(40)), COUNTS)
    assert data.class_names == ("B cell", "T cell")
    assert data.targets.tolist() == [1, 0] * 20
    assert (len(data.train), len(data.test), data.input_shape) == (32, 8, (6,))
    assert data.told == (
        "anndata: 40 cells, 6 genes (X); classes B cell, T cell; fewest: B cell, 20 cells, about 4 of them in the test",
    )


def test_anndata__reads_raw_and_layers() -> None:
    save(scaled=COUNTS - 1)
    assert np.array_equal(load(matrix="raw").read(torch.arange(40)), COUNTS * 2)
    assert np.array_equal(load(matrix="scaled").read(torch.arange(40)), COUNTS - 1)
    assert load(matrix="raw").fingerprint != load().fingerprint


def test_anndata__log_of_counts_per_10000() -> None:
    save()
    data = load(normalise="log1p")
    given = data.rows(torch.arange(40)).batch(0, 40, "cpu")
    sums = COUNTS.sum(1, keepdims=True)
    np.testing.assert_allclose(given, np.log1p(COUNTS * 1e4 / np.where(sums > 0, sums, 1)), rtol=1e-6)
    assert isinstance(data.prepare, LogCounts)
    again = build("network.prepare", data.prepare.node, allowed=PREPARE)
    assert torch.equal(again(data.read(torch.arange(40))), given)


def test_anndata__of_many_cells_a_batch_is_read_when_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    save()
    whole = load()
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 100)
    data = load()
    assert not isinstance(data.source, InMemory)
    rows = torch.tensor([7, 3, 7, 39])
    assert torch.equal(data.read(rows), whole.read(rows))
    assert torch.equal(data.test, whole.test)
    assert torch.equal(pickle.loads(pickle.dumps(data.source)).read(rows), whole.read(rows))
    first = data.fingerprint
    assert load().fingerprint == first
    assert load(matrix="raw").fingerprint != first


def test_anndata__a_cell_without_a_label_is_for_transfer_alone() -> None:
    types = TYPES.astype(object)
    types[5] = None
    save(types=types)
    data = load()
    assert data.targets[5] == UNLABELLED
    assert set(data.transfer.tolist()) - set(data.train.tolist()) == {5}


def test_anndata__refuses_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    refused(r"dataset\.path=my\.h5ad: there is no such file")
    Path("my.h5ad").write_bytes(b"no HDF5")
    refused(r"dataset\.path=my\.h5ad: damaged or no \.h5ad file")
    save(spliced=COUNTS)
    refused(r"dataset\.label=celltype: obs of my\.h5ad has no such column; did you mean cell_type\?", label="celltype")
    refused(r"dataset\.matrix=splice: my\.h5ad has no such matrix; did you mean spliced\?", matrix="splice")
    refused(r"dataset\.label=n_counts: 40 labels hold .* different numbers, .* kd-lab classifies", label="n_counts")
    monkeypatch.setitem(sys.modules, "anndata", None)
    refused(r"dataset=anndata: needs anndata, pip install 'kd-lab\[biology\]'")


def test_anndata__refuses_a_class_of_one_cell_and_what_are_no_counts(caplog: pytest.LogCaptureFixture) -> None:
    save(types=np.where(np.arange(40) == 3, "rare", TYPES))
    refused(r"dataset\.label=cell_type: class rare has only 1 labelled example, at least 2 are needed .* fewer classes")
    save(COUNTS - 1)
    refused(r"dataset\.normalise=log1p: X has negative values \(down to -1\), which no counts are", normalise="log1p")
    save(COUNTS + 0.5)
    load(normalise="log1p")
    assert "X holds numbers that are not whole" in caplog.text
    save(np.where(np.arange(40)[:, None] == 4, np.nan, COUNTS))
    refused(r"dataset\.path=my\.h5ad: X has values that are NaN or infinite, first in cell 4")
